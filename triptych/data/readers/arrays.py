"""Numbers as a CSV, an .npz or IDX files hold them, into splits: images of any size, or a table."""

from collections.abc import Callable
from dataclasses import dataclass, field
from math import isqrt
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...core.split import Split
from ...errors import DataError
from ..reading import Found, Options, image_shape
from .labels import Values, classes_of, codes_of, lone
from .text import listed

LEAST_SIDE = 8  # pixels; a smaller square of unnamed columns is a table
LOOKS_LIKE_PIXELS = 0.99  # of the values: whole numbers from 0 to 255
MANY_COLUMNS = 256  # from here on columns of pixels that make no square are refused
CHANNELS = (1, 2, 3, 4)
AMBIGUOUS = 32 * 32 * 3  # CIFAR's files have blocks of one colour, other people's have pixels
SMOOTHER = 1.15  # times: how much an order of colours must be smoother than the other to be certain
SAMPLED = 500  # images that are looked at to find the order of colours
ROUNDING = 0.13  # of pixel/255 · 255, with three decimals written


@dataclass(frozen=True)
class Samples:
    """What a file holds.

    Attributes
    ----------
    path : Path
    values : ndarray, shape (n, columns), (n, h, w), (n, h, w, c) or (n, c, h, w)
    labels : ndarray or sequence of str, shape (n,)
    where : callable
        Given the index of a sample, says where it is: ``line 7``.
    cell : callable
        Given the indices of a sample and of a value in it, says where that is.
    labels_path : Path, optional
        The file with the labels, where it is another.
    """

    path: Path
    values: NDArray[Any]
    labels: Values
    where: Callable[[int], str] = lambda i: f"sample {i + 1:,}"
    cell: Callable[[int, int], str] = lambda i, j: f"sample {i + 1:,}, pixel {j + 1}"
    labels_path: Path | None = None

    @property
    def about_labels(self) -> Path:
        return self.labels_path or self.path


@dataclass(frozen=True)
class Columns:
    """What the names of columns say.

    Attributes
    ----------
    names : tuple of str
        Empty where there are none.
    pixels : bool or None
        Whether they are names of pixels, or certainly not; None: the names leave it open.
    shape : tuple of (h, w, c), optional
        Where the names are a grid.
    gaps : bool
        Whether the numbers in names of pixels leave some out, or occur twice.
    """

    names: tuple[str, ...] = ()
    pixels: bool | None = None
    shape: tuple[int, int, int] | None = None
    gaps: bool = False


@dataclass
class _Reading:
    """How values become splits; what is worth a word is collected in `notes`."""

    options: Options
    columns: Columns
    notes: list[str] = field(default_factory=list[str])


def found(
    train: Samples,
    test: Samples | None,
    options: Options,
    columns: Columns | None = None,
    notes: tuple[str, ...] = (),
    classes: tuple[str, ...] = (),
) -> Found:
    """Check samples and return them as splits.

    Parameters
    ----------
    train : Samples
    test : Samples, optional
    options : Options
    columns : Columns, optional
        What is known of the columns of a CSV.
    notes : tuple of str
        What was worth a word so far.
    classes : tuple of str
        What the labels 0, 1, 2 … stand for where that is known; otherwise the training labels decide.

    Raises
    ------
    DataError
        Naming the file and the first value that is wrong.
    """
    how = _Reading(options, columns or Columns(), list(notes))
    for part in (train, test):
        if part is not None:
            _check_counts(part)
    names, labels, test_labels = _labels(train, test, classes)
    if note := lone(names, labels, train.where):
        how.notes.append(note)
    parts = [train.values] if test is None else [train.values, test.values]
    shape, planes = _shape(train, how)
    if shape is None:
        tables = [_features(part, values) for part, values in _pairs(train, test, parts)]
        if test is not None and tables[0].shape[1:] != tables[1].shape[1:]:
            counts = [f"{table.shape[-1]:,}" for table in tables]
            raise DataError(
                f"{test.path}: {counts[1]} features, but {train.path.name} has {counts[0]}"
            )
        return Found(
            Split(tables[0], labels),
            None if test is None else Split(tables[1], test_labels),
            names,
            notes=tuple(how.notes),
            features=how.columns.names or tuple(str(i + 1) for i in range(tables[0].shape[-1])),
        )
    parts = [
        _arranged(part.path, values, shape, planes) for part, values in _pairs(train, test, parts)
    ]
    parts = _pixels(_pairs(train, test, parts), how)
    return Found(
        Split(parts[0], labels),
        None if test is None else Split(parts[1], test_labels),
        names,
        notes=tuple(how.notes),
    )


def _pairs(
    train: Samples, test: Samples | None, arrays: list[NDArray[Any]]
) -> list[tuple[Samples, NDArray[Any]]]:
    return list(zip([train] if test is None else [train, test], arrays, strict=True))


def _check_counts(part: Samples) -> None:
    values, labels = part.values, part.labels
    if not values.ndim or (isinstance(labels, np.ndarray) and not labels.ndim):
        raise DataError(f"{part.path}: images or labels are a single number")
    if isinstance(labels, np.ndarray) and labels.size != len(labels):
        raise DataError(
            f"{part.about_labels}: labels of shape {labels.shape}; one whole number or word a sample "
            "is needed, not one-hot rows (labels.argmax(axis=1) makes numbers of them)"
        )
    if len(values) != len(labels):
        advice = "they must be as many"
        if values.ndim > 2 and values.shape[-1] == len(labels):
            order = ", ".join(map(str, [values.ndim - 1, *range(values.ndim - 1)]))
            advice = f"the samples are the last axis of {values.shape}: x.transpose({order})"
        also = "" if part.labels_path is None else f" in {part.labels_path.name}"
        raise DataError(
            f"{part.path}: {len(values):,} images but {len(labels):,} labels{also}; {advice}"
        )
    if not len(labels):
        raise DataError(f"{part.path}: holds no samples")
    if values.dtype.kind not in "uifb":
        raise DataError(f"{part.path}: values are of type {values.dtype}, not numbers")
    if values.ndim == 1:
        raise DataError(f"{part.path}: one number a sample; images or rows of a table are needed")


def _labels(
    train: Samples, test: Samples | None, classes: tuple[str, ...]
) -> tuple[tuple[str, ...], NDArray[np.int32], Any]:
    """Return the classes, and the labels of both sets as indices into them."""
    labels = train.labels
    labels = labels.reshape(-1) if isinstance(labels, np.ndarray) else labels
    numbered = tuple(str(i) for i in range(len(classes)))
    if classes:
        names, codes = classes, codes_of(train.about_labels, labels, train.where, numbered)
    else:
        names, codes = classes_of(train.about_labels, labels, train.where)
    if test is None:
        return names, codes, None
    others = test.labels.reshape(-1) if isinstance(test.labels, np.ndarray) else test.labels
    return names, codes, codes_of(test.about_labels, others, test.where, numbered or names)


# ---------------------------------------------------------------- what a row is


def _shape(part: Samples, how: _Reading) -> tuple[tuple[int, int, int] | None, bool]:
    """Return the shape of an image, None for a table, and whether each colour is a block."""
    values, asked = part.values, how.options.shape
    if values.ndim > 2:
        return _of_images(part, how)
    count = values.shape[1]
    if asked is not None:
        given = image_shape(asked)
        if given is None:
            return None, False
        shape, planes = given
        if int(np.prod(shape)) != count:
            raise DataError(
                f"{part.path}: {count:,} numbers in each row; --shape {asked} needs {int(np.prod(shape)):,}"
            )
        return shape, planes
    if how.columns.shape is not None:
        return how.columns.shape, False
    if how.columns.pixels is False:
        return None, False
    if how.columns.gaps:
        raise DataError(
            f"{part.path}: {count:,} columns of pixels, {listed(how.columns.names, 60)}: some of an image are left "
            "out or there twice; give all, or --shape HEIGHTxWIDTH, or --shape table for a table of numbers"
        )
    pixels = how.columns.pixels or _look_like_pixels(values)
    grey, colour = _side(count), _side(count // 3) if count % 3 == 0 else 0
    if pixels and (grey >= LEAST_SIDE or (grey and how.columns.pixels)):
        return (grey, grey, 1), False
    if pixels and colour >= LEAST_SIDE:
        return (colour, colour, 3), _planes(part, colour, how)
    if how.columns.pixels or (pixels and count >= MANY_COLUMNS):
        raise DataError(
            f"{part.path}: {count:,} columns of pixels make no square image; "
            "give --shape HEIGHTxWIDTH, or --shape table for a table of numbers"
        )
    return None, False


def _side(count: int) -> int:
    """Return the side of a square of `count` pixels, 0 where it is none."""
    side = isqrt(count)
    return side if side * side == count else 0


def _look_like_pixels(values: NDArray[Any]) -> bool:
    """Return whether nearly all values are whole numbers from 0 to 255, or pixels divided by 255."""
    if values.dtype == np.uint8 or values.dtype.kind == "b":
        return True
    with np.errstate(invalid="ignore", over="ignore"):
        inside = (values >= 0) & (values <= 255)
        if values.dtype.kind == "f":
            whole = values == np.floor(values)
            if _of_255(values):
                return True
            inside &= whole
    return float(inside.mean()) >= LOOKS_LIKE_PIXELS


def _of_255(values: NDArray[Any]) -> bool:
    """Return whether the values are pixels divided by 255, as far as decimals were written."""
    with np.errstate(invalid="ignore", over="ignore"):
        if not (values.min() >= 0 and values.max() <= 1):
            return False
        scaled = values.astype(np.float64) * 255
        off = np.abs(scaled - np.rint(scaled))
        fractions = np.count_nonzero((values > 0) & (values < 1))
    return bool(off.max() <= (ROUNDING if fractions >= 50 else ROUNDING / 10))


def _planes(part: Samples, side: int, how: _Reading) -> bool:
    """Return whether each colour is a block of its own, from which of the two orders is smoother.

    The pixel below is `side` numbers further on in blocks of colours, and 3 · `side` where the
    colours of a pixel are neighbours.
    """
    values = part.values[:: max(1, len(part.values) // SAMPLED)].astype(np.float64)
    blocks = float(np.abs(values[:, side:] - values[:, :-side]).mean())
    pixels = float(np.abs(values[:, 3 * side :] - values[:, : -3 * side]).mean())
    shape = f"{side}x{side}x3"
    if pixels > SMOOTHER * blocks:
        how.notes.append(f"colours in blocks, as they fit together (or --shape {shape})")
        return True
    if blocks > SMOOTHER * pixels:
        how.notes.append(
            f"the colours of a pixel side by side, as they fit together (or --shape 3x{side}x{side})"
        )
        return False
    if values.shape[1] == AMBIGUOUS:
        raise DataError(
            f"{part.path}: {AMBIGUOUS:,} numbers in each row; give --shape {shape} where the colours of a "
            f"pixel are side by side, or --shape 3x{side}x{side} where each colour is a block of its own"
        )
    how.notes.append(
        f"taken as {side}×{side} with the colours of a pixel side by side (or --shape 3x{side}x{side})"
    )
    return False


def _of_images(part: Samples, how: _Reading) -> tuple[tuple[int, int, int], bool]:
    """Return the shape of images that come as an array (n, h, w) or with an axis of channels."""
    inner = part.values.shape[1:]
    square = inner[0] == inner[1]
    if len(inner) == 2:
        shape, planes = (inner[0], inner[1], 1), False
    elif len(inner) == 3 and inner[2] in CHANNELS and (inner[0] not in CHANNELS or square):
        shape, planes = (inner[0], inner[1], inner[2]), False
    elif len(inner) == 3 and inner[0] in CHANNELS and inner[2] not in CHANNELS:
        shape, planes = (inner[1], inner[2], inner[0]), True
    else:
        raise DataError(
            f"{part.path}: images of shape {inner}; needed are (height, width), "
            "(height, width, channels) or (channels, height, width), with 1 to 4 channels"
        )
    if 0 in shape:
        raise DataError(f"{part.path}: images of shape {inner} have no pixels")
    if how.options.shape is not None:
        given = image_shape(how.options.shape)
        if given is None or given[0] != shape:
            raise DataError(
                f"{part.path}: its images have the shape {inner}; leave --shape out, it is for rows of numbers"
            )
    if planes and shape[2] > 1:
        how.notes.append("channels first in the file")
    return shape, planes


def _arranged(
    path: Path, values: NDArray[Any], shape: tuple[int, int, int], planes: bool
) -> NDArray[Any]:
    """Return values as images (n, h, w, c)."""
    h, w, c = shape
    if int(np.prod(values.shape[1:])) != h * w * c:
        raise DataError(
            f"{path}: test images of shape {values.shape[1:]}, but training images of {h}×{w}×{c}"
        )
    if planes:
        return values.reshape(-1, c, h, w).transpose(0, 2, 3, 1)
    return values.reshape(-1, h, w, c)


# ---------------------------------------------------------------- what a number is


def _pixels(parts: list[tuple[Samples, NDArray[Any]]], how: _Reading) -> list[NDArray[Any]]:
    """Return images as whole pixels from 0 to 255, or as numbers from 0 to 1 that are taken as they are."""
    arrays = [values for _, values in parts]
    if all(array.dtype.kind == "b" for array in arrays):
        how.notes.append("False and True read as 0 and 255")
        return [_whole(array) * np.uint8(255) for array in arrays]
    with np.errstate(invalid="ignore"):
        least = min(float(array.min()) for array in arrays)
        most = max(float(array.max()) for array in arrays)
    if least >= 0 and most == 1:
        ones = all(
            array.dtype.kind != "f" or bool(np.isin(array, (0, 1)).all()) for array in arrays
        )
        if ones:
            how.notes.append("pixels 0 and 1 read as 0 and 255")
            return [_whole(array) * np.uint8(255) for array in arrays]
    if least >= 0 and most <= 1 and all(array.dtype.kind == "f" for array in arrays) and most > 0:
        if all(map(_of_255, arrays)):
            how.notes.append("pixels from 0 to 1 read times 255")
            return [_whole(np.rint(array.astype(np.float64) * 255)) for array in arrays]
        how.notes.append("pixels from 0 to 1, taken as they are")
        return [np.ascontiguousarray(array) for array in arrays]
    for part, values in parts:
        _check_pixels(part, values, least, most)
    return [_whole(values) for values in arrays]


def _whole(values: NDArray[Any]) -> NDArray[np.uint8]:
    return np.ascontiguousarray(values, np.uint8)


def _check_pixels(part: Samples, values: NDArray[Any], least: float, most: float) -> None:
    """Raise `DataError` for the first value that is not a whole number from 0 to 255."""
    if values.dtype == np.uint8:
        return
    rows = part.values.reshape(len(part.values), -1)  # in the order of the file
    with np.errstate(invalid="ignore"):
        bad = ~((rows >= 0) & (rows <= 255))
        if rows.dtype.kind == "f":
            bad |= rows != np.floor(rows)
    if not bad.any():
        return
    i, j = np.unravel_index(int(np.argmax(bad)), bad.shape)
    value = rows[i, j]
    text = "NaN" if value != value else f"{value:g}"
    raise DataError(
        f"{part.path}: {part.cell(int(i), int(j))}: pixel {text} is not a whole number from 0 to 255{_advice(bad, least, most)}"
    )


def _advice(bad: NDArray[np.bool_], least: float, most: float) -> str:
    """Return what to do about pixels in another range; nothing where single values are wrong."""
    if least == -1 and 0 < most <= 1:
        return "; pixels from -1 to 1 need (x + 1) · 127.5, rounded"
    if -1000 < least < 0 and bad.mean() > 0.1:
        return f"; pixels from {least:.3g} to {most:.3g} seem to be standardised, give them as they were"
    if least >= 0 and 255 < most <= 65535 and bad.mean() > 0.01:
        return f"; pixels up to {most:.5g} must be scaled to 255"
    if least >= 0 and most <= 255 and bad.mean() > 0.01:
        return "; round them"
    return ""


def _features(part: Samples, values: NDArray[Any]) -> NDArray[np.float64]:
    """Return the rows of a table, float64 of shape (n, 1, 1, features), all finite."""
    table = values.reshape(len(values), -1).astype(np.float64)
    good = np.isfinite(table)
    if not good.all():
        i, j = np.unravel_index(int(np.argmin(good)), good.shape)
        text = "NaN" if np.isnan(table[i, j]) else f"{table[i, j]:g}"
        raise DataError(
            f"{part.path}: {part.cell(int(i), int(j))}: {text} is not a finite number; fill it in, or remove the row"
        )
    return table.reshape(len(table), 1, 1, -1)
