"""The random draws of augmentation: integers for each image of each step.

`triptych.spec.augmentation` defines what the integers mean.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..spec.augmentation import Augmentation
from . import rng

Draws = dict[str, NDArray[Any]]


def draw(
    augmentation: Augmentation,
    steps: int,
    batch: int,
    image: tuple[int, ...],
    *key: int | str,
    start: int = 0,
) -> Draws:
    """Draw the augmentations of K steps.

    The draws of a step are a pure function of the key and of the step's number.

    Parameters
    ----------
    augmentation : Augmentation
        The augmentations that are switched on, with their limits.
    steps : int
        K, the number of steps.
    batch : int
        B, the number of images in a step.
    image : tuple of int
        Shape (h, w, c) of one image.
    *key : int or str
        The seed and the purpose of the draw; see `triptych.core.rng`.
    start : int
        The number of the first step.

    Returns
    -------
    dict of str to ndarray
        One entry for each augmentation that is switched on: ``rotate`` int16 (K, B), ``crop``,
        ``shift`` and ``cutout`` int16 (K, B, 2), ``flip`` bool (K, B).
    """
    draws: Draws = {}
    for name in augmentation.active:
        draw_step = STEP_DRAWS[name]
        numbers = range(start, start + steps)
        of_steps = [draw_step(augmentation, batch, image, *key, name, n) for n in numbers]
        draws[name] = np.stack(of_steps)
    return draws


def _rotations(
    augmentation: Augmentation, batch: int, image: tuple[int, ...], *key: int | str
) -> NDArray[np.int16]:
    """Return the angles of a step's images in tenths of a degree, shape (B,)."""
    limit = round(10 * augmentation.rotate)
    return _between(batch, -limit, limit, *key)


def _crops(
    augmentation: Augmentation, batch: int, image: tuple[int, ...], *key: int | str
) -> NDArray[np.int16]:
    """Return the first row and column of each window in the extended image, shape (B, 2)."""
    highest = 2 * augmentation.crop
    return _pairs(batch, (0, highest), (0, highest), *key)


def _shifts(
    augmentation: Augmentation, batch: int, image: tuple[int, ...], *key: int | str
) -> NDArray[np.int16]:
    """Return the displacements of each image in rows and columns, shape (B, 2)."""
    limit = augmentation.shift
    return _pairs(batch, (-limit, limit), (-limit, limit), *key)


def _flips(
    augmentation: Augmentation, batch: int, image: tuple[int, ...], *key: int | str
) -> NDArray[np.bool_]:
    """Return whether each image is mirrored, shape (B,)."""
    return _between(batch, 0, 1, *key) == 1


def _cutouts(
    augmentation: Augmentation, batch: int, image: tuple[int, ...], *key: int | str
) -> NDArray[np.int16]:
    """Return the row and column of the middle of each square, shape (B, 2)."""
    return _pairs(batch, (0, image[0] - 1), (0, image[1] - 1), *key)


STEP_DRAWS: dict[str, Callable[..., NDArray[Any]]] = {
    "rotate": _rotations,
    "crop": _crops,
    "shift": _shifts,
    "flip": _flips,
    "cutout": _cutouts,
}


def _pairs(
    count: int, rows: tuple[int, int], columns: tuple[int, int], *key: int | str
) -> NDArray[np.int16]:
    """Return uniform integers for rows and for columns, int16 of shape (count, 2).

    `rows` and `columns` are the lowest and the highest integer of each.
    """
    return np.stack([_between(count, *rows, *key, 0), _between(count, *columns, *key, 1)], axis=-1)


def _between(count: int, low: int, high: int, *key: int | str) -> NDArray[np.int16]:
    """Return uniform integers from `low` to `high`, both included, int16 of shape (count,).

    The probability of each integer is exact to within 2⁻³².
    """
    words = rng.bits(count, *key) >> np.uint64(32)
    offsets = (words * np.uint64(high - low + 1)) >> np.uint64(32)
    return (low + offsets.astype(np.int64)).astype(np.int16)
