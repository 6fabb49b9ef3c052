"""What augmentation does to each image of each step, drawn as integers.

The meaning of the integers is in `triptych.spec.augmentation`.
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
    """Draw what K steps do to their batches, each step's a pure function of the key and its number.

    Returns
    -------
    dict of str to ndarray
        ``rotate`` int16 (K, B), ``crop`` int16 (K, B, 2), ``shift`` int16 (K, B, 2), ``flip`` bool (K, B), ``cutout``
        int16 (K, B, 2); only those that are asked for.
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
    """Return whole numbers from `low` to `high`, both included; even to within 2⁻³²."""
    words = rng.bits(count, *key) >> np.uint64(32)
    return (low + ((words * np.uint64(high - low + 1)) >> np.uint64(32)).astype(np.int64)).astype(
        np.int16
    )
