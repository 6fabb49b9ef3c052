"""NumPy archives: images and labels of one set, or of a training and a test set, under the names people use."""

import re
import zipfile
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from ...errors import DataError, one_line
from ..checks import LIMIT, reading
from ..reading import Found, Options, Progress
from .arrays import found
from .content import HEAD_BYTES, mismatch
from .samples import Samples
from .text import listed

IMAGES = (
    "x",
    "image",
    "images",
    "img",
    "imgs",
    "data",
    "feature",
    "features",
    "pixels",
    "input",
    "inputs",
)
LABELS = ("y", "label", "labels", "target", "targets", "class", "classes")
PARTS = {
    "train": "train",
    "training": "train",
    "tr": "train",
    "test": "test",
    "testing": "test",
    "te": "test",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "val",
}
KNOWN = "x_train, y_train, x_test, y_test, or x and y"


@dataclass(frozen=True)
class Archive:
    """An open archive.

    Attributes
    ----------
    path : Path
    zip : ZipFile
    names : tuple of str
        Of the arrays.
    """

    path: Path
    zip: zipfile.ZipFile
    names: tuple[str, ...]

    def pick(self, part: str, label: str | None) -> tuple[str, str] | None:
        """Return the names of images and labels of a part, None where it has not both.

        Raises
        ------
        DataError
            Where two arrays may be the same.
        """
        images, labels = (self.one(part, kind) for kind in ("images", "labels"))
        if label is not None:
            asked = [name for name in self.names if name == label or _split(name, label)[0] == part]
            labels = next((name for name in asked if name != images), None)
        return (images, labels) if images and labels else None

    def one(self, part: str, kind: str) -> str | None:
        """Return the array of this part and kind."""
        found = [name for name in self.names if _split(name) == (part, kind)]
        if len(found) > 1:
            raise DataError(
                f"{self.path}: {listed(found)} may all be the {kind} of {part or 'the'} set; needed are {KNOWN}"
            )
        return found[0] if found else None

    def array(self, name: str) -> NDArray[Any]:
        """Read one array after its header and its size were found to agree: a few kilobytes can expand to gigabytes."""
        info = self.zip.getinfo(f"{name}.npy")
        said = one_line(name, 40)
        with self.zip.open(info) as member:
            shape, dtype = _header(member)
            if dtype.hasobject:
                raise DataError(
                    f"{self.path}: {said} holds Python objects, which are never loaded; save numbers or text, "
                    f"for example {one_line(name, 20)}.astype(str)"
                )
            needed = int(np.prod(shape, dtype=object)) * dtype.itemsize
            if needed > LIMIT or needed > info.file_size:
                raise DataError(
                    f"{self.path}: {said} claims {needed:,} bytes, the archive holds {info.file_size:,} and the limit is {LIMIT:,}"
                )
        with self.zip.open(info) as member:
            return npy.read_array(member, allow_pickle=False)

    def samples(self, names: tuple[str, str]) -> Samples:
        """Return images and labels."""
        return Samples(self.path, self.array(names[0]), self.array(names[1]))


def read(path: Path, options: Options, _progress: Progress | None = None) -> Found:
    """Read the training and, where the archive has one, the test split.

    Raises
    ------
    DataError
        Where the archive is damaged, lacks the arrays, or would need a pickle to be read.
    """
    with _opened(path) as archive:
        return _found(archive, options)


def read_files(train: Path, test: Path | None, options: Options) -> Found:
    """Read the training split from one archive and the test split from another.

    Raises
    ------
    DataError
        As `read`.
    """
    first = _whole(train, "train", options)
    if test is None:
        return found(first, None, options)
    return found(first, _whole(test, "test", options), options)


def _whole(path: Path, part: str, options: Options) -> Samples:
    """Return the images and labels of an archive that holds one set, whatever it is called."""
    with _opened(path) as archive:
        names = archive.pick("", options.label) or archive.pick(part, options.label)
        if names is None:
            raise DataError(
                f"{path}: holds {listed(sorted(archive.names))}; needed are x and y (images or rows, and labels): np.savez(file, x=x, y=y)"
            )
        return archive.samples(names)


@contextmanager
def _opened(path: Path) -> Generator[Archive]:
    with reading(path):
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
        wrong = None if head.startswith(b"PK") else mismatch(head, "an .npz")
        if wrong:
            raise DataError(f"{path}: {wrong}")
        with zipfile.ZipFile(path) as opened:
            names = tuple(n.removesuffix(".npy") for n in opened.namelist() if n.endswith(".npy"))
            yield Archive(path, opened, names)


def _found(archive: Archive, options: Options) -> Found:
    parts = {part: archive.pick(part, options.label) for part in ("train", "test", "val", "")}
    train, test, whole = parts["train"], parts["test"], parts[""]
    notes: list[str] = []
    if train and whole:
        raise DataError(
            f"{archive.path}: holds {listed(sorted((*train, *whole)))}, a training set and another one; needed are {KNOWN}"
        )
    if train and not test and parts["val"]:
        test = parts["val"]
        notes.append(f"{test[0]} and {test[1]} are the test set")
    elif parts["val"]:
        notes.append(f"{parts['val'][0]} and {parts['val'][1]} left out")
    if train and not parts["test"] and (lone := archive.one("test", "images")):
        notes.append(f"{lone} has no labels and is not used")
    if whole is None and train is None and set(archive.names) == {"arr_0", "arr_1"}:
        whole = ("arr_0", "arr_1")
        notes.append("arr_0 taken for the images, arr_1 for the labels")
    chosen = train or whole
    if chosen is None:
        raise DataError(
            f"{archive.path}: holds {listed(sorted(archive.names))}; needed are {KNOWN} (images or rows, and "
            "labels): np.savez(file, x=x, y=y)"
        )
    other = archive.samples(test) if test and train else None
    return found(archive.samples(chosen), other, options, notes=tuple(notes))


def _split(name: str, label: str = "") -> tuple[str, str]:
    """Return the part (train, test, val or nothing) and the kind (images, labels or nothing) of an array's name.

    Parameters
    ----------
    name : str
        X_train, trainLabels, test_images …
    label : str
        A word that stands for the labels, too.
    """
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)
    words = [word for word in re.split(r"[\s_\-./]+", spaced.lower()) if word]
    if len(words) == 1 and (
        glued := re.fullmatch(r"([xy])(train|test|val)|(train|test|val)([xy])", words[0])
    ):
        words = [piece for piece in glued.groups() if piece]
    parts = [PARTS[word] for word in words if word in PARTS]
    kinds = [word for word in words if word not in PARTS]
    part = parts[0] if len(parts) == 1 else ""
    if len(kinds) != 1 or len(parts) > 1:
        return part, ""
    if kinds[0] in IMAGES:
        return part, "images"
    return part, "labels" if kinds[0] in LABELS or kinds[0] == label.lower() else ""


def _header(member: Any) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Read the header of an array, and check the shape that it claims."""
    version = npy.read_magic(member)
    read_header = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    shape, _, dtype = read_header(member)
    if not all(type(side) is int and side >= 0 for side in shape):
        raise ValueError(f"an array claims the shape {one_line(repr(shape), 40)}")
    return shape, dtype
