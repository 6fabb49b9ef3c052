"""Augmentation in NumPy; `triptych.spec.augmentation` has the formulas.

Each function changes a batch of images (batch, h, w, c). `draws` are the integers that were drawn
for them, shape (batch,) or (batch, 2), and `strength` is the setting of the recipe.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from ...core.augmentation import Draws
from ...spec.augmentation import Augmentation
from .layer import Array


def augment(augmentation: Augmentation, images: Array, draws: Draws) -> Array:
    """Return the images changed by every kind of augmentation that is switched on."""
    for name in augmentation.active:
        strength = getattr(augmentation, name)
        images = AUGMENTATIONS[name](images, draws[name].astype(np.int64), strength)
    return images


def rotate(images: Array, draws: Array, strength: float) -> Array:
    """Rotate by tenths of a degree, bilinearly; outside the image there are zeros."""
    batch, height, width, _ = images.shape
    angle = (draws * (np.pi / 1800))[:, None, None]
    center_row = (height - 1) / 2
    center_column = (width - 1) / 2
    i = np.arange(height)[:, None] - center_row
    j = np.arange(width) - center_column
    source_row = center_row + np.cos(angle) * i + np.sin(angle) * j
    source_column = center_column - np.sin(angle) * i + np.cos(angle) * j
    number = np.arange(batch)[:, None, None]
    rotated = np.zeros_like(images)
    for down, right in np.ndindex(2, 2):  # the four pixels around each source
        row = np.floor(source_row).astype(int) + down
        column = np.floor(source_column).astype(int) + right
        weight = 1 - np.abs(source_row - row)
        weight *= 1 - np.abs(source_column - column)
        weight *= (row >= 0) & (row < height)
        weight *= (column >= 0) & (column < width)
        inside_row = row.clip(0, height - 1)
        inside_column = column.clip(0, width - 1)
        pixels = images[number, inside_row, inside_column]
        rotated += pixels * weight[..., None].astype(images.dtype)
    return rotated


def crop(images: Array, draws: Array, strength: int) -> Array:
    """Cut a window out of the image, which was mirrored beyond its border."""
    return cut_window(images, draws, strength, "reflect")


def shift(images: Array, draws: Array, strength: int) -> Array:
    """Move the image; zeros come in."""
    return cut_window(images, strength - draws, strength, "constant")


def cut_window(images: Array, corner: Array, border: int, padding: Any) -> Array:
    """Return windows as large as the images; `corner` (batch, 2) is their first row and column."""
    batch, height, width, _ = images.shape
    around = (border, border)
    padded = np.pad(images, ((0, 0), around, around, (0, 0)), mode=padding)
    number = np.arange(batch)[:, None, None]
    rows = corner[:, :1] + np.arange(height)
    columns = corner[:, 1:] + np.arange(width)
    return padded[number, rows[:, :, None], columns[:, None, :]]


def flip(images: Array, draws: Array, strength: bool) -> Array:
    """Mirror left and right where 1 was drawn."""
    is_mirrored = draws[:, None, None, None] == 1
    return np.where(is_mirrored, images[:, :, ::-1], images)


def cutout(images: Array, draws: Array, strength: int) -> Array:
    """Set a square to zero, of which the part inside the image counts."""
    _, height, width, _ = images.shape
    first = draws - strength // 2
    in_rows = is_between(np.arange(height), first[:, :1], strength)
    in_columns = is_between(np.arange(width), first[:, 1:], strength)
    square = in_rows[:, :, None] & in_columns[:, None, :]
    return np.where(square[..., None], images.dtype.type(0), images)


def is_between(numbers: Array, first: Array, count: int) -> Array:
    """Return which numbers are among the `count` ones from `first` on, (batch, numbers)."""
    return (numbers >= first) & (numbers < first + count)


AUGMENTATIONS: dict[str, Callable[[Array, Array, Any], Array]] = {
    "rotate": rotate,
    "crop": crop,
    "shift": shift,
    "flip": flip,
    "cutout": cutout,
}
