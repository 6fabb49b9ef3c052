"""What one pass over the images of a source has found, kept in the cache folder."""

import io
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...core.files import write
from ..cache import cache_folder, load_or_make, place_of
from ..dataset import PixelFacts
from ..readers.image_survey import Rules
from ..reading import Options

VERSION = 2  # raised when a pass would find something else in the same files


@dataclass(frozen=True)
class Findings:
    """What must be known of all images before the first one is trained on.

    Attributes
    ----------
    facts : PixelFacts
        Of the training images; of all where a test set is still to be split off.
    rules : Rules
        How the pixels of the set become whole numbers from 0 to 255.
    factor : int
        By which they are multiplied then: 255 where every pixel is 0 or 1, otherwise 1.
    is_read : ndarray of bool, shape (n,)
        Which of the samples can be read.
    stored_bytes : int
        Of all images together, as they are stored in the files.
    digest : str
        A SHA-256 of all pixels.
    left_out, notes : tuple of str
        As in `Contents`.
    """

    facts: PixelFacts
    rules: Rules
    factor: int
    is_read: NDArray[np.bool_]
    stored_bytes: int
    digest: str
    left_out: tuple[str, ...]
    notes: tuple[str, ...]

    def pack(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        """Return the findings as a JSON object and named arrays."""
        values = {
            "facts": self.facts.to_json(),
            "rules": asdict(self.rules),
            "factor": self.factor,
            "stored_bytes": self.stored_bytes,
            "digest": self.digest,
            "left_out": list(self.left_out),
            "notes": list(self.notes),
        }
        return values, {"is_read": self.is_read}

    @classmethod
    def unpack(cls, values: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> "Findings":
        """Return the findings that `pack` packed."""
        return cls(
            facts=PixelFacts.from_json(values["facts"]),
            rules=Rules(**values["rules"]),
            factor=values["factor"],
            is_read=arrays["is_read"],
            stored_bytes=values["stored_bytes"],
            digest=values["digest"],
            left_out=tuple(values["left_out"]),
            notes=tuple(values["notes"]),
        )


def folder() -> Path:
    """Return where findings are kept."""
    return cache_folder() / "scanned"


def load_or_find(
    path: Path, options: Options, files: tuple[Path, ...], find: Callable[[], Findings]
) -> Findings:
    """Return what was found before, or find it now and keep it.

    Parameters
    ----------
    path : Path
        The source.
    options : Options
        How it is read.
    files : tuple of Path
        All files of the source. If a name, a size or a time of change differs, it is scanned anew.
    find : callable
        Scans the source.
    """
    place = place_of(folder(), path, options)
    key = key_of(path, files)
    return load_or_make(partial(_read, place, key), find, lambda found: _write(place, found, key))


def key_of(path: Path, files: tuple[Path, ...]) -> str:
    """Return a SHA-256 of names, sizes and times of change: reading all files takes too long."""
    from PIL import __version__ as pillow

    h = sha256(repr((VERSION, pillow)).encode())
    base = path if path.is_dir() else path.parent
    for file in files:
        try:
            status = file.stat()
            stamp = (status.st_size, status.st_mtime_ns)
        except OSError:  # reading it will name it
            stamp = None
        h.update(repr((file.relative_to(base).parts, stamp)).encode())
    return h.hexdigest()


def _read(place: Path, key: str) -> Findings:
    with place.open("rb") as file, np.load(file, allow_pickle=False) as archive:
        header = json.loads(archive["about"].tobytes())
        if header["key"] != key:
            raise ValueError("other files")
        arrays = {"is_read": archive["is_read"]}
    if _digest(header["values"], arrays) != header["sha256"]:
        raise ValueError("damaged")
    return Findings.unpack(header["values"], arrays)


def _write(place: Path, found: Findings, key: str) -> None:
    values, arrays = found.pack()
    header = {"key": key, "sha256": _digest(values, arrays), "values": values}
    content = io.BytesIO()
    about = np.frombuffer(json.dumps(header).encode(), np.uint8)
    np.savez(content, about=about, is_read=found.is_read)
    write(place, content.getvalue())


def _digest(values: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> str:
    h = sha256(json.dumps(values, sort_keys=True).encode())
    for array in arrays.values():
        h.update(repr(array.shape).encode())
        h.update(np.ascontiguousarray(array).data)
    return h.hexdigest()
