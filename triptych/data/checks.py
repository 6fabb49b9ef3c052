"""What every reader shares: bounded decompression, and the checks that turn raw arrays into a split."""

import gzip
import zlib
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError
from .dataset import DIGITS, Split

SIDE = 28
PIXELS = SIDE * SIDE
LIMIT = 2 * 2**30  # bytes of one decompressed file; MNIST as CSV is 110 MB


@contextmanager
def opened(path: Path) -> Generator[IO[bytes]]:
    """Open a file, through gzip where its first bytes say so, and turn what can go wrong into a `DataError`."""
    try:
        with path.open("rb") as raw:
            zipped = raw.read(2) == b"\x1f\x8b"
            raw.seek(0)
            if zipped:
                with gzip.open(raw) as stream:
                    yield stream  # pyright: ignore[reportReturnType]
            else:
                yield raw
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except IsADirectoryError:
        raise DataError(f"{path}: is a folder, not a file") from None
    except EOFError:
        raise DataError(f"{path}: the gzip data is truncated; fetch the file again") from None
    except (gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{path}: the gzip data is damaged ({error}); fetch the file again") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from None


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
