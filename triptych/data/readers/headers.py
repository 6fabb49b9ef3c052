"""What the names of columns say: pixels, in which order, of images of which shape."""

import re
from math import prod

import numpy as np
from numpy.typing import NDArray

from .samples import Columns

LONGEST_NUMBER = 15  # digits of a number in a name that are looked at

PIXELS = ("pixel", "pixels", "px", "pix", "p", "img", "image")
# Names that are used for pixels and for other features.
LETTERS = ("", "x", "v", "c", "f", "a", "i")
WORDS = ("col", "column", "feature", "features", "attr", "attribute", "att", "var", "dim")
OPEN = (*LETTERS, *WORDS)


def is_pixel_name(name: str) -> bool:
    """Return whether a name is one of a pixel: pixel7, 1x28, px_3_4."""
    stem, numbers = _parts(name)
    return bool(numbers) and (stem[0] in PIXELS or (len(numbers) > 1 and _is_grid(stem)))


def columns_of(names: tuple[str, ...]) -> tuple[Columns, NDArray[np.intp] | None]:
    """Return what the names of features mean, and in which order their numbers are.

    Parameters
    ----------
    names : tuple of str
        Empty where there are none.

    Returns
    -------
    columns : Columns
        With the names in their new order.
    order : ndarray of int, shape (features,), optional
        The place of each column in the file, in the order of the numbers in the names. None where
        the columns are in that order, or their names are not numbered.
    """
    if not names:
        return Columns(), None
    text = "\n".join(names).lower()
    if not _differ_only_in_numbers(text):
        are_numbers = all(re.fullmatch(r"\d+(\.\d+)?", name.strip()) for name in names)
        return Columns(names, None if are_numbers else False), None
    stem, _ = _parts(names[0])
    length = len(stem) - 1
    are_pixels = stem[0] in PIXELS or (length > 1 and _is_grid(stem))
    may_be_pixels = length == 1 and stem[0] in OPEN and not stem[-1]
    if not are_pixels and not may_be_pixels:
        return Columns(names, False), None
    numbers = [int(digits[:LONGEST_NUMBER]) for digits in re.findall(r"\d+", text)]
    return _in_order(names, np.array(numbers).reshape(-1, length), are_pixels)


def _differ_only_in_numbers(text: str) -> bool:
    """Return whether names, one a line, are the same but for the numbers in them."""
    stems = set(re.sub(r"\d+", "#", text).split("\n"))
    return len(stems) == 1 and "#" in min(stems)


def _in_order(
    names: tuple[str, ...], numbers: NDArray[np.int64], are_pixels: bool
) -> tuple[Columns, NDArray[np.intp] | None]:
    """Return what numbered names mean, and their order.

    Parameters
    ----------
    names : tuple of str
    numbers : ndarray of int64, shape (features, numbers in a name)
    are_pixels : bool
        Whether the names are certainly those of pixels.
    """
    pixels = True if are_pixels else None
    lowest = numbers.min(axis=0)
    sides = tuple(int(side) for side in numbers.max(axis=0) - lowest + 1)
    order = np.lexsort(numbers.T[::-1])
    is_complete = False
    if prod(sides) == len(names):
        places = np.ravel_multi_index(tuple((numbers - lowest)[order].T), sides)
        is_complete = bool(np.all(np.diff(places) == 1))
    if lowest.max() > 1 or not is_complete:
        return Columns(names, pixels, gaps=are_pixels), None
    shape = None
    if len(sides) == 2:
        shape = (sides[0], sides[1], 1)
    if len(sides) == 3 and sides[2] <= 4:
        shape = (sides[0], sides[1], sides[2])
    columns = Columns(tuple(names[i] for i in order), pixels, shape)
    is_moved = not np.array_equal(order, np.arange(len(names)))
    return columns, order if is_moved else None


def _parts(name: str) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Return the texts around the numbers in a name, and the numbers."""
    pieces = re.split(r"(\d+)", name.strip().lower())
    stem = tuple(piece.strip(" _-.[](),") for piece in pieces[::2])
    return stem, tuple(int(piece) for piece in pieces[1::2] if len(piece) < 10)


def _is_grid(stem: tuple[str, ...]) -> bool:
    """Return whether the letters around two or three numbers are those of rows and columns."""
    start = stem[0]
    between = stem[1:-1]
    if stem[-1] or any(mark not in ("", "x", "c", "col", "column") for mark in between):
        return False
    return start in ("r", "row", "c") or (start == "" and between[0] == "x")
