"""Augmentation in PyTorch, on the device; `triptych.spec.augmentation` has the formulas.

Images are (batch, channels, rows, columns). `draws` are the integers drawn for each image.
"""

from collections.abc import Callable
from math import pi
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from ...spec.augmentation import Augmentation


def augment(augmentation: Augmentation, images: Tensor, draws: dict[str, Tensor]) -> Tensor:
    """Return the images changed by every kind of augmentation that is switched on."""
    for name in augmentation.active:
        strength = getattr(augmentation, name)
        images = AUGMENTATIONS[name](images, draws[name], strength)
    return images


def rotate(images: Tensor, draws: Tensor, degrees: float) -> Tensor:
    """Rotate by tenths of a degree, bilinearly; outside the image there are zeros."""
    batch, _, height, width = images.shape
    device = images.device
    angle = (draws.to(images.dtype) * (pi / 1800))[:, None, None]
    center_row = (height - 1) / 2
    center_column = (width - 1) / 2
    i = (torch.arange(height, dtype=images.dtype, device=device) - center_row)[:, None]
    j = torch.arange(width, dtype=images.dtype, device=device) - center_column
    # Where each output pixel comes from, (batch, rows, columns).
    source_row = center_row + angle.cos() * i + angle.sin() * j
    source_column = center_column - angle.sin() * i + angle.cos() * j

    first_row = source_row.floor()
    first_column = source_column.floor()
    index = torch.arange(batch, device=device)[:, None, None]
    rotated = torch.zeros_like(images)
    for down in (0, 1):
        for right in (0, 1):
            row = (first_row + down).long()
            column = (first_column + right).long()
            weight = (1 - (source_row - row).abs()) * (1 - (source_column - column).abs())
            inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
            weight = weight * inside
            pixels = images[index, :, row.clamp(0, height - 1), column.clamp(0, width - 1)]
            rotated += pixels.movedim(-1, 1) * weight[:, None]
    return rotated


def crop(images: Tensor, draws: Tensor, pixels: int) -> Tensor:
    """Cut a window out of each image, which was mirrored beyond its border."""
    padded = functional.pad(images, (pixels,) * 4, mode="reflect")
    return cut_windows(padded, draws, images.shape[2], images.shape[3])


def shift(images: Tensor, draws: Tensor, pixels: int) -> Tensor:
    """Move each image; zeros come in."""
    padded = functional.pad(images, (pixels,) * 4)
    return cut_windows(padded, pixels - draws, images.shape[2], images.shape[3])


def cut_windows(images: Tensor, corners: Tensor, height: int, width: int) -> Tensor:
    """Return a window of each image; `corners` (batch, 2) are its first row and column."""
    device = images.device
    index = torch.arange(len(images), device=device)[:, None, None]
    rows = (corners[:, :1] + torch.arange(height, device=device))[:, :, None]
    columns = (corners[:, 1:] + torch.arange(width, device=device))[:, None, :]
    return images[index, :, rows, columns].movedim(-1, 1)


def flip(images: Tensor, draws: Tensor, switched_on: bool) -> Tensor:
    """Mirror left and right where 1 was drawn."""
    mirrored = draws[:, None, None, None] == 1
    return torch.where(mirrored, images.flip(3), images)


def cutout(images: Tensor, draws: Tensor, side: int) -> Tensor:
    """Set a square to zero, of which the part inside the image counts."""
    first = draws - side // 2
    rows = torch.arange(images.shape[2], device=images.device)
    columns = torch.arange(images.shape[3], device=images.device)
    in_rows = (rows >= first[:, :1]) & (rows < first[:, :1] + side)
    in_columns = (columns >= first[:, 1:]) & (columns < first[:, 1:] + side)
    square = in_rows[:, :, None] & in_columns[:, None, :]
    return images.masked_fill(square[:, None], 0)


AUGMENTATIONS: dict[str, Callable[[Tensor, Tensor, Any], Tensor]] = {
    "rotate": rotate,
    "crop": crop,
    "shift": shift,
    "flip": flip,
    "cutout": cutout,
}
