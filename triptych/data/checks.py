"""What every reader shares: errors, bounded decompression, checks of labels."""

import gzip
import lzma
import zipfile
import zlib
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from ..core.files import kind_of
from ..errors import DataError, TriptychError, one_line
from .published import DIGITS

LIMIT = 2 * 2**30  # bytes of one decompressed file; MNIST as CSV is 110 MB


@contextmanager
def reading(path: Path) -> Generator[None]:
    """Turn whatever goes wrong while a file is read into a `DataError`.

    Every reader uses it. The file must be a regular one: a named pipe or a device has no end, or
    waits for a writer.

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
    except TriptychError:
        raise
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except IsADirectoryError:
        raise DataError(f"{path}: is a folder, not a file") from None
    except EOFError:
        raise DataError(f"{path}: the compressed data is truncated; fetch the file again") from None
    except (gzip.BadGzipFile, zlib.error, lzma.LZMAError, zipfile.BadZipFile) as error:
        why = f"the compressed data is damaged ({_brief(error)}); fetch the file again"
        raise DataError(f"{path}: {why}") from None
    except MemoryError:
        raise DataError(f"{path}: does not fit into the memory that is free") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({_brief(error)})") from None
    except Exception as error:
        raise DataError(f"{path}: damaged, or not what it seems ({_brief(error)})") from None


def refuse_special(path: Path) -> None:
    """Raise `DataError` where a path leads to neither a regular file nor a folder.

    Raises
    ------
    DataError
        Naming the path and what it is.
    OSError
        The path leads to nothing.
    """
    kind = kind_of(path)
    if kind not in ("file", "folder"):
        raise DataError(f"{path}: is a {kind}; a regular file is needed, copy the data into one")


def _brief(error: Exception) -> str:
    """Return in one line what an error of another library means."""
    first = error.args[0] if error.args else None
    text = first if isinstance(first, str) else str(error)
    reason = (isinstance(error, OSError) and error.strerror) or text or type(error).__name__
    return one_line(reason, 160)


@contextmanager
def opened(path: Path, inside: str = "") -> Generator[IO[bytes]]:
    """Open a file, also a gzipped one; what goes wrong is a `DataError`.

    Parameters
    ----------
    path : Path
    inside : str
        A zip archive is opened, too, where it holds one file whose name ends so.
    """
    with reading(path), ExitStack() as stack:
        raw = stack.enter_context(path.open("rb"))
        head = raw.read(4)
        raw.seek(0)
        if inside and head == b"PK\x03\x04":
            archive = stack.enter_context(zipfile.ZipFile(raw))
            names = [
                name
                for name in archive.namelist()
                if name.lower().endswith(inside) and not name.startswith("__MACOSX/")
            ]
            if len(names) == 1:
                yield stack.enter_context(archive.open(names[0]))
                return
            if len(names) > 1:
                raise DataError(f"{path}: an archive with {_several(names, inside)}")
            raw.seek(0)
        if head[:2] == b"\x1f\x8b":
            unpacked = stack.enter_context(gzip.open(raw))
            if unpacked.peek(2)[:2] == b"\x1f\x8b":
                raise DataError(f"{path}: compressed with gzip twice; unpack it once")
            yield unpacked  # pyright: ignore[reportReturnType]
            return
        yield raw


def _several(names: list[str], ending: str) -> str:
    """Return what to do with the files of an archive with the same ending, for a message."""
    first, second = (one_line(name, 40) for name in names[:2])
    files = f"{len(names):,} {ending} files, such as {first} and {second}"
    return f"{files}; unpack it and give one of them, or their folder"


def read_exactly(stream: IO[bytes], size: int) -> bytes:
    """Read up to `size` bytes in pieces, so that memory grows with what is really there."""
    pieces: list[bytes] = []
    while size > 0 and (piece := stream.read(min(size, 2**20))):
        pieces.append(piece)
        size -= len(piece)
    return b"".join(pieces)


def check_varied(path: Path, labels: NDArray[Any], classes: tuple[str, ...] = DIGITS) -> None:
    """Raise `DataError` unless at least two classes occur.

    Parameters
    ----------
    path : Path
        The file that the error names.
    labels : ndarray of int, shape (n,)
        Indices into `classes`.
    classes : tuple of str
    """
    present = np.unique(labels)
    if len(present) == 1:
        only = classes[int(present[0])]
        raise DataError(f"{path}: every label is {only}; a classifier needs at least two classes")


def check_whole(
    path: Path, what: str, values: NDArray[Any], most: int, each: str = "sample"
) -> None:
    """Raise `DataError` for the first value that is not a whole number from 0 to `most`.

    Parameters
    ----------
    path : Path
        The file that the error names.
    what : str
        What a value is: ``label``.
    values : ndarray, shape (n,)
    most : int
    each : str
        What the places of the values are called: ``row``.
    """
    if values.dtype.kind not in "uif":
        raise DataError(f"{path}: {what}s are of type {values.dtype}, not numbers")
    wrong = not_whole(values, most)
    if wrong.any():
        at = int(np.argmax(wrong))
        where = f"{path}: {each} {at + 1:,}"
        text = shown(values[at])
        raise DataError(f"{where}: {what} {text} is not a whole number from 0 to {most}")


def not_whole(values: NDArray[Any], most: int) -> NDArray[np.bool_]:
    """Return which numbers are not whole ones from 0 to `most`; the shape stays."""
    with np.errstate(invalid="ignore"):
        wrong = ~((values >= 0) & (values <= most))
        if values.dtype.kind == "f":
            wrong |= values != np.floor(values)
    return wrong


def shown(value: Any) -> str:
    """Return a number of an array for a message."""
    return "NaN" if np.isnan(value) else f"{value:g}"
