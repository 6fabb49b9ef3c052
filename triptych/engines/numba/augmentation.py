"""Augmentation in compiled loops; `triptych.spec.augmentation` has the formulas."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...core.augmentation import Draws
from ...spec.augmentation import Augmentation
from .kernels import augmentation as kernels

Array = NDArray[Any]


def augment(augmentation: Augmentation, images: Array, draws: Draws) -> Array:
    """Return the images changed by every kind of augmentation that is switched on.

    Parameters
    ----------
    augmentation : Augmentation
    images : ndarray, shape (batch, rows, columns, channels)
    draws : dict of str to ndarray
        What was drawn for the images of this step.
    """
    for name in augmentation.active:
        strength = getattr(augmentation, name)
        images = AUGMENTATIONS[name](images, draws[name].astype(np.int64), strength)
    return images


def rotate(images: Array, draws: Array, strength: float) -> Array:
    """Rotate by tenths of a degree."""
    changed = np.empty_like(images)
    kernels.rotate(images, draws, changed)
    return changed


def crop(images: Array, draws: Array, strength: int) -> Array:
    """Cut a window out of the image, which was mirrored beyond its border."""
    changed = np.empty_like(images)
    kernels.cut_window(images, draws - strength, True, changed)
    return changed


def shift(images: Array, draws: Array, strength: int) -> Array:
    """Move the image; zeros come in."""
    changed = np.empty_like(images)
    kernels.cut_window(images, -draws, False, changed)
    return changed


def flip(images: Array, draws: Array, strength: bool) -> Array:
    """Mirror left and right where 1 was drawn."""
    changed = np.empty_like(images)
    kernels.flip(images, draws, changed)
    return changed


def cutout(images: Array, draws: Array, strength: int) -> Array:
    """Set a square to zero, of which the part inside the image counts."""
    changed = np.empty_like(images)
    kernels.cutout(images, draws - strength // 2, strength, changed)
    return changed


AUGMENTATIONS: dict[str, Callable[[Array, Array, Any], Array]] = {
    "rotate": rotate,
    "crop": crop,
    "shift": shift,
    "flip": flip,
    "cutout": cutout,
}
