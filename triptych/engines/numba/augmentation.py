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
        changed = np.empty_like(images)
        strength = getattr(augmentation, name)
        AUGMENTATIONS[name](images, draws[name].astype(np.int64), strength, changed)
        images = changed
    return images


def rotate(images: Array, draws: Array, strength: float, changed: Array) -> None:
    """Rotate by tenths of a degree."""
    kernels.rotate(images, draws, changed)


def crop(images: Array, draws: Array, strength: int, changed: Array) -> None:
    """Cut a window out of the image, which was mirrored beyond its border."""
    kernels.cut_window(images, draws - strength, True, changed)


def shift(images: Array, draws: Array, strength: int, changed: Array) -> None:
    """Move the image; zeros come in."""
    kernels.cut_window(images, -draws, False, changed)


def flip(images: Array, draws: Array, strength: bool, changed: Array) -> None:
    """Mirror left and right where 1 was drawn."""
    kernels.flip(images, draws, changed)


def cutout(images: Array, draws: Array, strength: int, changed: Array) -> None:
    """Set a square to zero, of which the part inside the image counts."""
    kernels.cutout(images, draws - strength // 2, strength, changed)


AUGMENTATIONS: dict[str, Callable[[Array, Array, Any, Array], None]] = {
    "rotate": rotate,
    "crop": crop,
    "shift": shift,
    "flip": flip,
    "cutout": cutout,
}
