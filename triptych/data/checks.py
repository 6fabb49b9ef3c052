"""What every reader shares: bounded decompression, and the checks that turn raw arrays into a split."""

import gzip
import lzma
import stat
import zipfile
import zlib
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError, TriptychError
from .dataset import DIGITS, Split

SIDE = 28
PIXELS = SIDE * SIDE
LIMIT = 2 * 2**30  # bytes of one decompressed file; MNIST as CSV is 110 MB
MESSAGE = 300  # characters of a message, its path left aside


@contextmanager
def reading(path: Path) -> Generator[None]:
    """Turn whatever goes wrong while a file is read into a `DataError`. Every reader uses it.

    The file must be a regular one: a named pipe or a device has no end, or waits for a writer.
    A message has one line, no control characters, and at most `MESSAGE` characters after the path.

    Parameters
    ----------
    path : Path
        The file that an error is about. A folder is left to the reader inside.

    Raises
    ------
    DataError
        Naming the file, and the cause.
    """
    try:
        refuse_special(path)
        yield
    except DataError as error:
        raise DataError(one_line(str(error), MESSAGE + len(str(path)))) from None
    except FileNotFoundError:
        raise DataError(f"{_shown(path)}: no such file") from None
    except IsADirectoryError:
        raise DataError(f"{_shown(path)}: is a folder, not a file") from None
    except EOFError:
        raise DataError(f"{_shown(path)}: the compressed data is truncated; fetch the file again") from None
    except (gzip.BadGzipFile, zlib.error, lzma.LZMAError, zipfile.BadZipFile) as error:
        why = f"the compressed data is damaged ({_brief(error)}); fetch the file again"
        raise DataError(f"{_shown(path)}: {why}") from None
    except MemoryError:
        raise DataError(f"{_shown(path)}: does not fit into the memory that is free") from None
    except OSError as error:
        raise DataError(f"{_shown(path)}: cannot be read ({_brief(error)})") from None
    except TriptychError:
        raise
    except Exception as error:
        raise DataError(f"{_shown(path)}: damaged, or not what it seems ({_brief(error)})") from None


def refuse_special(path: Path) -> None:
    """Raise `DataError` where `path` is neither a regular file nor a folder, or links to such a thing.

    Raises
    ------
    DataError
        Naming the path and what it is.
    OSError
        Where nothing is there.
    """
    mode = path.stat().st_mode
    if stat.S_ISREG(mode) or stat.S_ISDIR(mode):
        return
    kinds = {stat.S_IFIFO: "a named pipe", stat.S_IFSOCK: "a socket"}
    kind = kinds.get(stat.S_IFMT(mode), "a device")
    raise DataError(f"{_shown(path)}: is {kind}; a regular file is needed, copy the data into one")


def one_line(text: str, most: int = MESSAGE) -> str:
    """Return `text` as one line of at most `most` characters, control characters escaped."""
    line = " ".join(text.split())
    if not line.isprintable():
        line = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in line)
    return line if len(line) <= most else line[: most - 1] + "…"


def listed(names: Iterable[str], most: int = 150) -> str:
    """Return names for a message, with commas between them; of many, the first ones and the last."""
    names = list(names)
    if not names:
        return "nothing"
    shown = [one_line(name, 40) for name in names]
    if len(", ".join(shown)) <= most:
        return ", ".join(shown)
    first: list[str] = []
    for name in shown[:-1]:
        if len(", ".join([*first, name, shown[-1]])) > most - 5:
            break
        first.append(name)
    return ", ".join([*first, "…", shown[-1]])


def _shown(path: Path) -> str:
    """Return a path for a message."""
    return one_line(str(path), 4096)


def _brief(error: Exception) -> str:
    """Return what an error of another library says."""
    said = (isinstance(error, OSError) and error.strerror) or str(error) or type(error).__name__
    return one_line(said, 160)


@contextmanager
def opened(path: Path) -> Generator[IO[bytes]]:
    """Open a file, through gzip where its first bytes say so; what goes wrong is a `DataError`."""
    with reading(path), path.open("rb") as raw:
        zipped = raw.read(2) == b"\x1f\x8b"
        raw.seek(0)
        if zipped:
            with gzip.open(raw) as stream:
                yield stream  # pyright: ignore[reportReturnType]
        else:
            yield raw


def read_exactly(stream: IO[bytes], size: int) -> bytes:
    """Read up to `size` bytes in pieces, so that memory grows with what is there and not with what was promised."""
    pieces: list[bytes] = []
    while size > 0 and (piece := stream.read(min(size, 2**20))):
        pieces.append(piece)
        size -= len(piece)
    return b"".join(pieces)


def split_of(path: Path, images: NDArray[Any], labels: NDArray[Any]) -> Split:
    """Check images (n, …784 pixels…) and labels (n,) and return them as a split.

    Raises
    ------
    DataError
        Naming the file and the first sample whose label or pixel is not a whole number in range.
    """
    if not images.ndim or not labels.ndim:
        raise DataError(f"{path}: images or labels are a single number")
    if labels.size != len(labels):
        raise DataError(f"{path}: labels of shape {labels.shape}; one whole number a sample is needed, not one-hot rows")
    if len(images) != len(labels):
        raise DataError(f"{path}: {len(images):,} images but {len(labels):,} labels; they must be as many")
    if not len(labels):
        raise DataError(f"{path}: holds no samples")
    if images.reshape(len(images), -1).shape[1] != PIXELS:
        raise DataError(f"{path}: images of shape {images.shape[1:]} where {SIDE}×{SIDE} pixels are needed")
    check_whole(path, "label", labels.reshape(-1), len(DIGITS) - 1)
    check_whole(path, "pixel", images.reshape(len(images), -1), 255)
    check_varied(path, labels)
    return Split(images.astype(np.uint8).reshape(-1, SIDE, SIDE, 1), labels.astype(np.int32).reshape(-1))


def check_varied(path: Path, labels: NDArray[Any], classes: tuple[str, ...] = DIGITS) -> None:
    """Raise `DataError` unless at least two classes occur."""
    found = np.unique(labels)
    if len(found) == 1:
        raise DataError(f"{path}: every label is {classes[int(found[0])]}; a classifier needs at least two classes")


def check_whole(path: Path, what: str, values: NDArray[Any], most: int, each: str = "sample") -> None:
    """Raise `DataError` for the first of `values` (n,) or (n, pixels) that is not a whole number from 0 to `most`."""
    if values.dtype.kind not in "uif":
        raise DataError(f"{path}: {what}s are of type {values.dtype}, not numbers")
    if values.dtype == np.uint8 and most == 255:
        return
    with np.errstate(invalid="ignore"):
        bad = ~((values >= 0) & (values <= most))
        if values.dtype.kind == "f":
            bad |= values != np.floor(values)
    if bad.any():
        at = np.unravel_index(int(np.argmax(bad)), bad.shape)
        where = f"{each} {at[0] + 1:,}" + (f", pixel {at[1] + 1}" if len(at) > 1 else "")
        value = values[at]
        text = "NaN" if value != value else f"{value:g}"
        raise DataError(f"{path}: {where}: {what} {text} is not a whole number from 0 to {most}")
