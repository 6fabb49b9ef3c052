"""Image files into one array: every size and colour settled, what cannot be read named or left out."""

import io
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError
from .checks import LIMIT, check_varied
from .dataset import Split
from .reading import Found, Options, Progress

FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP")
GREY = ("1", "L", "LA", "I;16")  # Pillow's modes
PIXELS = 2**24  # of one image, before it is scaled
EVERY = 50  # images between two reports of progress

Sample = tuple[str, Path | bytes | None]  # what to call it; the file, its content, or nothing where there should be an image


class _Unreadable(Exception):
    """Why an image cannot be read."""


def found(
    path: Path,
    samples: Iterable[Sample],
    labels: NDArray[np.int32],
    training: int,
    classes: tuple[str, ...],
    options: Options,
    progress: Progress | None,
) -> Found:
    """Decode samples and return them as splits.

    Parameters
    ----------
    path : Path
        What an error is about.
    samples : iterable of (str, Path or bytes or None)
    labels : ndarray of int32, shape (n,)
        In the order of `samples`.
    training : int
        How many of them, from the first, are for training; n where a test set is still to be split off.
    classes : tuple of str
    options : Options
    progress : callable, optional

    Raises
    ------
    DataError
        Naming the first image that cannot be read or has another size, or the class that has too few.
    """
    images, kept, left_out = _decode(samples, len(labels), options, progress)
    n, labels = int(kept[:training].sum()), labels[kept]
    train, test = Split(images[:n], labels[:n]), Split(images[n:], labels[n:])
    whole = training == len(kept)
    if not len(train) or not (whole or len(test)):
        raise DataError(f"{path}: no {'test' if len(train) else 'training'} image is left; {left_out[0]}")
    check_varied(path, train.labels, classes)
    counts = np.bincount(train.labels, minlength=len(classes))
    for label in np.unique(labels):
        if counts[label] < 1 + whole:
            enough = "of which one could be set aside for testing; give at least 2" if whole else "but some in the test set"
            raise DataError(f"{path}: class {classes[label]!r} has {counts[label] or 'no'} training image{'s' * (not whole)}, {enough}")
    return Found(train, None if whole else test, classes, tuple(left_out))


def _decode(
    samples: Iterable[Sample], count: int, options: Options, progress: Progress | None
) -> tuple[NDArray[np.uint8], NDArray[np.bool_], list[str]]:
    """Return images (k, h, w, 1 or 3), which of the samples they are, bool of shape (count,), and why each of the others is not."""
    images, first = np.empty((0, 0, 0, 1), np.uint8), ""
    kept = np.zeros(count, bool)
    left_out: list[str] = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's, about metadata; too many pixels are refused below
        for at, (where, content) in enumerate(samples):
            if progress and at % EVERY == 0:
                progress(at, count)
            try:
                pixels = _pixels(content, options.size)
            except _Unreadable as error:
                if not options.skip_unreadable:
                    raise DataError(f"{where}: {error}; mend or remove it, or leave such images out: --skip-unreadable") from None
                left_out.append(f"{where}: {error}")
                continue
            if not first:
                images, first = np.empty(_bounded(where, (count, *pixels.shape)), np.uint8), where
            h, w = images.shape[1:3]
            if pixels.shape[:2] != (h, w):
                size = "×".join(map(str, pixels.shape[:2]))
                raise DataError(f"{where}: an image of {size}, where {first} has {h}×{w}; scale all to one size, as with --size {h}x{w}")
            if pixels.shape[2] > images.shape[3]:  # the first in colour: those before become RGB, too
                _bounded(where, (count, *pixels.shape))
                images = np.repeat(images, pixels.shape[2], axis=3)
            images[at] = pixels
            kept[at] = True
    return images if kept.all() else images[kept], kept, left_out


def _bounded(where: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return `shape` if so many bytes are within the limit."""
    if (size := int(np.prod(shape, dtype=object))) > LIMIT:
        n, h, w, _ = shape
        raise DataError(f"{where}: {n:,} images of {h}×{w} take {size:,} bytes, over the limit of {LIMIT:,}; give a smaller --size")
    return shape


def _pixels(content: Path | bytes | None, size: tuple[int, int] | None) -> NDArray[np.uint8]:
    """Return one image, uint8 of shape (h, w, 1) where it is grey, else (h, w, 3); the first frame, without transparency."""
    from PIL import Image, UnidentifiedImageError

    try:
        if not (content.stat().st_size if isinstance(content, Path) else content):
            raise _Unreadable("no bytes where an image is needed")
        with Image.open(content if isinstance(content, Path) else io.BytesIO(content or b""), formats=FORMATS) as file:
            if file.width * file.height > PIXELS:
                raise _Unreadable(f"claims {file.height:,}×{file.width:,} pixels, over the limit of {PIXELS:,}")
            image: Any = _deep(file) if file.mode == "I;16" else file.convert("L" if file.mode in GREY else "RGB")
        if size and (image.height, image.width) != size:
            image = image.resize(size[::-1], Image.Resampling.BILINEAR)  # averages where it shrinks
        return np.atleast_3d(np.asarray(image))
    except _Unreadable:
        raise
    except UnidentifiedImageError:
        raise _Unreadable("not a PNG, JPEG, BMP, GIF or WebP image") from None
    except Image.DecompressionBombError:
        raise _Unreadable(f"claims far more pixels than the limit of {PIXELS:,}") from None
    except Exception as error:  # a decoder that meets garbage may raise anything
        why = (isinstance(error, OSError) and error.strerror) or str(error) or type(error).__name__
        raise _Unreadable(f"cannot be read ({' '.join(why.split())})") from None


def _deep(file: Any) -> Any:
    """Return an image of 16 bits a pixel as one of 8: v·255/65535, rounded; Pillow's own way clips."""
    from PIL import Image

    return Image.fromarray(((np.asarray(file).astype(np.uint32) + 128) // 257).astype(np.uint8))
