"""Augmentation in NumPy. What each does, and the formulas, stands in `triptych.spec.augmentation`."""

from collections.abc import Callable
from typing import Any

import numpy as np

from ....core.augmentation import Draws
from ....spec.augmentation import Augmentation
from .products import Array


def augment(how: Augmentation, x: Array, drawn: Draws) -> Array:
    """Return the batch (B, h, w, c) as the integers drawn for it say."""
    for name in how.active:
        x = KINDS[name](x, drawn[name].astype(np.int64), getattr(how, name))
    return x


def rotate(x: Array, s: Array, most: float) -> Array:
    n, h, w, _ = x.shape
    angle = (s * (np.pi / 1800))[:, None, None]
    i, j = np.arange(h)[:, None] - (h - 1) / 2, np.arange(w) - (w - 1) / 2
    up, left = (h - 1) / 2 + np.cos(angle) * i + np.sin(angle) * j, (w - 1) / 2 - np.sin(angle) * i + np.cos(angle) * j
    top, west = np.floor(up), np.floor(left)
    images, y = np.arange(n)[:, None, None], np.zeros_like(x)
    for down in (0, 1):
        for right in (0, 1):
            row, column = (top + down).astype(int), (west + right).astype(int)
            near = (1 - np.abs(up - row)) * (1 - np.abs(left - column))
            near *= (row >= 0) & (row < h) & (column >= 0) & (column < w)
            y += x[images, row.clip(0, h - 1), column.clip(0, w - 1)] * near[..., None].astype(x.dtype)
    return y


def window(wide: Array, at: Array, h: int, w: int) -> Array:
    """Take from each image the (h, w) window whose first row and column are given."""
    rows, columns = at[:, :1] + np.arange(h), at[:, 1:] + np.arange(w)
    return wide[np.arange(len(wide))[:, None, None], rows[:, :, None], columns[:, None, :]]


def crop(x: Array, s: Array, most: int) -> Array:
    return window(np.pad(x, ((0, 0), (most, most), (most, most), (0, 0)), mode="reflect"), s, *x.shape[1:3])


def shift(x: Array, s: Array, most: int) -> Array:
    return window(np.pad(x, ((0, 0), (most, most), (most, most), (0, 0))), most - s, *x.shape[1:3])


def flip(x: Array, s: Array, on: bool) -> Array:
    return np.where(s[:, None, None, None] == 1, x[:, :, ::-1], x)


def cutout(x: Array, s: Array, side: int) -> Array:
    first = s - side // 2
    rows, columns = (
        (np.arange(n) >= first[:, axis, None]) & (np.arange(n) < first[:, axis, None] + side) for axis, n in enumerate(x.shape[1:3])
    )
    return np.where((rows[:, :, None] & columns[:, None, :])[..., None], x.dtype.type(0), x)


KINDS: dict[str, Callable[[Array, Array, Any], Array]] = {"rotate": rotate, "crop": crop, "shift": shift, "flip": flip, "cutout": cutout}
