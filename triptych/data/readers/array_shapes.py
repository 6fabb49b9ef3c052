"""Whether the rows of an array are images, of which shape and order, or the rows of a table."""

from dataclasses import dataclass
from math import isqrt, prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import DataError
from ..checks import not_whole
from ..reading import Options, image_shape
from .pixel_values import are_fractions_of_255
from .samples import Columns, Samples
from .text import listed

LEAST_SIDE = 8  # pixels; a smaller square of unnamed columns is a table
SHARE_LIKE_PIXELS = 0.99  # of the values must be whole numbers from 0 to 255
MANY_COLUMNS = 256  # that look like pixels are refused where they form no square
CHANNELS = (1, 2, 3, 4)
# In rows of this length CIFAR's files have blocks of one colour, and other files have pixels.
AMBIGUOUS_COLUMNS = 32 * 32 * 3
SMOOTHER = 1.15  # how many times one order of colours must be smoother than the other
MOST_SAMPLES_COMPARED = 500  # to find the order of the colours

Shape = tuple[int, int, int]  # height, width, channels


@dataclass(frozen=True)
class Layout:
    """How the numbers of a sample form an image.

    Attributes
    ----------
    shape : tuple of (h, w, c)
    channels_first : bool
        Whether each channel is a block of its own, (c, h, w). Otherwise the channels of a pixel are
        neighbours.
    """

    shape: Shape
    channels_first: bool = False

    def arrange(self, values: NDArray[Any]) -> NDArray[Any]:
        """Return values (n, …) as images (n, h, w, c), a view where that is possible."""
        height, width, channels = self.shape
        if self.channels_first:
            return values.reshape(-1, channels, height, width).transpose(0, 2, 3, 1)
        return values.reshape(-1, height, width, channels)


def layout_of_part(part: Samples, train: Samples, layout: Layout) -> Layout:
    """Return how the samples of a set form images of the same shape as those of the training set.

    Parameters
    ----------
    part : Samples
        The training set or the test set.
    train : Samples
    layout : Layout
        Of the training set.

    Raises
    ------
    DataError
        The samples have another shape, or are rows in which the order of the colours is unknown.
    """
    inner = part.values.shape[1:]
    if len(inner) > 1:
        own = _layout_of_shape(inner)
        if own is not None and own.shape == layout.shape:
            return own
    else:
        order_is_known = train.values.ndim == 2 or layout.shape[2] == 1
        if order_is_known and prod(inner) == prod(layout.shape):
            return layout
    size = "×".join(map(str, layout.shape))
    raise DataError(
        f"{part.path}: test images of shape {inner}, but training images of {size}; "
        "give both sets the same shape"
    )


def find_layout(
    part: Samples, columns: Columns, options: Options, notes: list[str]
) -> Layout | None:
    """Return how samples form images; None where they are the rows of a table.

    Parameters
    ----------
    part : Samples
        Of the training set.
    columns : Columns
    options : Options
    notes : list of str
        To which is added what the user should know about the decision.

    Raises
    ------
    DataError
        The samples have a shape that no image has, or more than one reading is possible.
    """
    if part.values.ndim > 2:
        return _layout_of_images(part, options, notes)
    if options.shape is not None:
        return _layout_of_option(part, options.shape)
    if columns.shape is not None:
        return Layout(columns.shape)
    if columns.pixels is False:
        return None
    return _layout_of_rows(part, columns, notes)


def _layout_of_option(part: Samples, option: str) -> Layout | None:
    """Return the layout that ``--shape`` gives; None for a table."""
    count = part.values.shape[1]
    given = image_shape(option)
    if given is None:
        return None
    shape, channels_first = given
    if prod(shape) != count:
        needed = f"--shape {option} needs {prod(shape):,}"
        raise DataError(f"{part.path}: {count:,} numbers in each row; {needed}")
    return Layout(shape, channels_first)


def _layout_of_rows(part: Samples, columns: Columns, notes: list[str]) -> Layout | None:
    """Return the layout of rows of numbers by their count and values; None for a table."""
    count = part.values.shape[1]
    if columns.gaps:
        raise DataError(
            f"{part.path}: {count:,} columns of pixels, {listed(columns.names, 60)}: "
            "some of an image are left out or there twice; "
            "give all, or --shape HEIGHTxWIDTH, or --shape table for a table of numbers"
        )
    named_as_pixels = bool(columns.pixels)
    if not named_as_pixels and not _look_like_pixels(part.values):
        return None
    side = _side_of_square(count)
    if side >= LEAST_SIDE or (side and named_as_pixels):
        return Layout((side, side, 1))
    side = _side_of_square(count // 3) if count % 3 == 0 else 0
    if side >= LEAST_SIDE:
        return Layout((side, side, 3), _has_channels_first(part, side, notes))
    if named_as_pixels or count >= MANY_COLUMNS:
        raise DataError(
            f"{part.path}: {count:,} columns of pixels make no square image; "
            "give --shape HEIGHTxWIDTH, or --shape table for a table of numbers"
        )
    return None


def _side_of_square(count: int) -> int:
    """Return the side of a square of `count` pixels, 0 where they form none."""
    side = isqrt(count)
    return side if side * side == count else 0


def _look_like_pixels(values: NDArray[Any]) -> bool:
    """Return whether nearly all values are whole numbers from 0 to 255, or these over 255."""
    if values.dtype == np.uint8 or values.dtype.kind == "b":
        return True
    if values.dtype.kind == "f" and are_fractions_of_255(values):
        return True
    return float((~not_whole(values, 255)).mean()) >= SHARE_LIKE_PIXELS


def _has_channels_first(part: Samples, side: int, notes: list[str]) -> bool:
    """Return whether each colour is a block of its own, by which of the two orders is smoother.

    The pixel below is `side` numbers further on in blocks of colours, and 3 · `side` numbers where
    the colours of a pixel are neighbours.
    """
    every = max(1, len(part.values) // MOST_SAMPLES_COMPARED)
    values = part.values[::every].astype(np.float64)
    step_of_blocks = float(np.abs(values[:, side:] - values[:, :-side]).mean())
    step_of_pixels = float(np.abs(values[:, 3 * side :] - values[:, : -3 * side]).mean())
    neighbours = f"{side}x{side}x3"
    blocks = f"3x{side}x{side}"
    if step_of_pixels > SMOOTHER * step_of_blocks:
        notes.append(f"colours in blocks, as they fit together (or --shape {neighbours})")
        return True
    if step_of_blocks > SMOOTHER * step_of_pixels:
        notes.append(
            f"the colours of a pixel side by side, as they fit together (or --shape {blocks})"
        )
        return False
    if values.shape[1] == AMBIGUOUS_COLUMNS:
        raise DataError(
            f"{part.path}: {AMBIGUOUS_COLUMNS:,} numbers in each row; give --shape {neighbours} "
            f"where the colours of a pixel are side by side, or --shape {blocks} where each "
            "colour is a block of its own"
        )
    size = f"{side}×{side}"
    notes.append(f"taken as {size} with the colours of a pixel side by side (or --shape {blocks})")
    return False


def _layout_of_images(part: Samples, options: Options, notes: list[str]) -> Layout:
    """Return the layout of an array (n, h, w), (n, h, w, c) or (n, c, h, w)."""
    inner = part.values.shape[1:]
    layout = _layout_of_shape(inner)
    if layout is None:
        raise DataError(
            f"{part.path}: images of shape {inner}; needed are (height, width), "
            "(height, width, channels) or (channels, height, width), with 1 to 4 channels"
        )
    if 0 in layout.shape:
        raise DataError(f"{part.path}: images of shape {inner} have no pixels")
    if options.shape is not None:
        given = image_shape(options.shape)
        if given is None or given[0] != layout.shape:
            advice = "leave --shape out, it is for rows of numbers"
            raise DataError(f"{part.path}: its images have the shape {inner}; {advice}")
    if layout.channels_first and layout.shape[2] > 1:
        notes.append("channels first in the file")
    return layout


def _layout_of_shape(inner: tuple[int, ...]) -> Layout | None:
    """Return the layout of samples of a shape; None where no image has it."""
    if len(inner) == 2:
        return Layout((inner[0], inner[1], 1))
    if len(inner) != 3:
        return None
    first, second, last = inner
    if last in CHANNELS and (first not in CHANNELS or first == second):
        return Layout((first, second, last))
    if first in CHANNELS and last not in CHANNELS:
        return Layout((second, last, first), channels_first=True)
    return None
