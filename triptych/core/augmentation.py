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
    h, w = image[:2] if augmentation.active else (0, 0)
    degrees = round(10 * augmentation.rotate)
    kinds: dict[str, Callable[..., NDArray[Any]]] = {
        "rotate": lambda *k: _between(batch, -degrees, degrees, *k),
        "crop": lambda *k: np.stack(
            [_between(batch, 0, 2 * augmentation.crop, *k, axis) for axis in (0, 1)], axis=-1
        ),
        "shift": lambda *k: np.stack(
            [_between(batch, -augmentation.shift, augmentation.shift, *k, axis) for axis in (0, 1)],
            axis=-1,
        ),
        "flip": lambda *k: _between(batch, 0, 1, *k) == 1,
        "cutout": lambda *k: np.stack(
            [_between(batch, 0, n - 1, *k, axis) for axis, n in ((0, h), (1, w))], axis=-1
        ),
    }
    return {
        name: np.stack([kinds[name](*key, name, start + k) for k in range(steps)])
        for name in augmentation.active
    }


def _between(count: int, low: int, high: int, *key: int | str) -> NDArray[np.int16]:
    """Return uniform integers from `low` to `high`, both included, int16 of shape (count,).

    The probability of each integer is exact to within 2⁻³².
    """
    words = rng.bits(count, *key) >> np.uint64(32)
    offsets = (words * np.uint64(high - low + 1)) >> np.uint64(32)
    return (low + offsets.astype(np.int64)).astype(np.int16)
