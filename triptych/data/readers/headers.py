"""What the names of columns say: pixels, in which order, of images of which shape."""

import re
from math import prod

import numpy as np
from numpy.typing import NDArray

from .samples import Columns

PIXELS = ("pixel", "pixels", "px", "pix", "p", "img", "image")
OPEN = (
    "",
    "x",
    "v",
    "c",
    "f",
    "a",
    "i",
    "col",
    "column",
    "feature",
    "features",
    "attr",
    "attribute",
    "att",
    "var",
    "dim",
)


def is_pixel_name(name: str) -> bool:
    """Return whether a name is one of a pixel: pixel7, 1x28, px_3_4."""
    stem, numbers = _parts(name)
    return bool(numbers) and (stem[0] in PIXELS or (len(numbers) > 1 and _is_grid(stem)))


def columns_of(names: tuple[str, ...]) -> tuple[Columns, NDArray[np.intp] | None]:
    """Return what the names of features say, and the order of their numbers where they are in another.

    Parameters
    ----------
    names : tuple of str
        Empty where there are none.

    Returns
    -------
    columns : Columns
        With the names in their new order.
    order : ndarray of int, shape (features,), optional
    """
    if not names:
        return Columns(), None
    text = "\n".join(names).lower()
    stems = set(re.sub(r"\d+", "#", text).split("\n"))
    if len(stems) > 1 or "#" not in min(stems):
        plain = all(re.fullmatch(r"\d+(\.\d+)?", name.strip()) for name in names)
        return Columns(names, None if plain else False), None
    stem, _ = _parts(names[0])
    length = len(stem) - 1
    pixels = stem[0] in PIXELS or (length > 1 and _is_grid(stem))
    if not pixels and (length > 1 or stem[0] not in OPEN or stem[-1]):
        return Columns(names, False), None
    numbers = np.array([int(digits[:15]) for digits in re.findall(r"\d+", text)]).reshape(
        -1, length
    )
    low, high = numbers.min(axis=0), numbers.max(axis=0)
    sides = tuple(int(side) for side in high - low + 1)
    order = np.lexsort(numbers.T[::-1])
    steps = (
        np.diff(np.ravel_multi_index(tuple((numbers - low)[order].T), sides))
        if prod(sides) == len(names)
        else [0]
    )
    if low.max() > 1 or not np.all(np.asarray(steps) == 1):
        return Columns(names, True if pixels else None, gaps=pixels), None
    moved = not np.array_equal(order, np.arange(len(names)))
    shape = None
    if length == 2:
        shape = (sides[0], sides[1], 1)
    if length == 3 and sides[2] <= 4:
        shape = (sides[0], sides[1], sides[2])
    ordered = tuple(names[i] for i in order)
    return Columns(ordered, True if pixels else None, shape), order if moved else None


def _parts(name: str) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Return a name as what stands around its numbers, and the numbers."""
    pieces = re.split(r"(\d+)", name.strip().lower())
    stem = tuple(piece.strip(" _-.[](),") for piece in pieces[::2])
    return stem, tuple(int(piece) for piece in pieces[1::2] if len(piece) < 10)


def _is_grid(stem: tuple[str, ...]) -> bool:
    """Return whether the letters around two or three numbers are those of rows and columns."""
    start, between, end = stem[0], stem[1:-1], stem[-1]
    if end or any(mark not in ("", "x", "c", "col", "column") for mark in between):
        return False
    return start in ("r", "row", "c") or (start == "" and between[0] == "x")
