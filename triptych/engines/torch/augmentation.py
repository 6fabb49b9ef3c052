"""Augmentation in PyTorch, on the device. What each does, and the formulas, stands in `triptych.spec.augmentation`."""

from collections.abc import Callable
from math import pi
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ...spec.augmentation import Augmentation


def augment(how: Augmentation, x: Tensor, drawn: dict[str, Tensor]) -> Tensor:
    """Return the batch (B, c, h, w) as the integers drawn for it say."""
    for name in how.active:
        x = KINDS[name](x, drawn[name], getattr(how, name))
    return x


def rotate(x: Tensor, s: Tensor, most: float) -> Tensor:
    n, _, h, w = x.shape
    angle = (s.to(x.dtype) * (pi / 1800))[:, None, None]
    i = (torch.arange(h, dtype=x.dtype, device=x.device) - (h - 1) / 2)[:, None]
    j = torch.arange(w, dtype=x.dtype, device=x.device) - (w - 1) / 2
    up, left = (
        (h - 1) / 2 + angle.cos() * i + angle.sin() * j,
        (w - 1) / 2 - angle.sin() * i + angle.cos() * j,
    )
    top, west, images, y = (
        up.floor(),
        left.floor(),
        torch.arange(n, device=x.device)[:, None, None],
        torch.zeros_like(x),
    )
    for down in (0, 1):
        for right in (0, 1):
            row, column = (top + down).long(), (west + right).long()
            near = (1 - (up - row).abs()) * (1 - (left - column).abs())
            near = near * ((row >= 0) & (row < h) & (column >= 0) & (column < w))
            y += (
                x[images, :, row.clamp(0, h - 1), column.clamp(0, w - 1)].movedim(-1, 1)
                * near[:, None]
            )
    return y


def window(wide: Tensor, at: Tensor, h: int, w: int) -> Tensor:
    images = torch.arange(len(wide), device=wide.device)[:, None, None]
    rows = (at[:, :1] + torch.arange(h, device=wide.device))[:, :, None]
    columns = (at[:, 1:] + torch.arange(w, device=wide.device))[:, None, :]
    return wide[images, :, rows, columns].movedim(-1, 1)


def crop(x: Tensor, s: Tensor, most: int) -> Tensor:
    return window(F.pad(x, (most,) * 4, mode="reflect"), s, *x.shape[2:])


def shift(x: Tensor, s: Tensor, most: int) -> Tensor:
    return window(F.pad(x, (most,) * 4), most - s, *x.shape[2:])


def flip(x: Tensor, s: Tensor, on: bool) -> Tensor:
    return torch.where(s[:, None, None, None] == 1, x.flip(3), x)


def cutout(x: Tensor, s: Tensor, side: int) -> Tensor:
    first = s - side // 2
    rows, columns = (
        (torch.arange(n, device=x.device) >= first[:, axis, None])
        & (torch.arange(n, device=x.device) < first[:, axis, None] + side)
        for axis, n in enumerate(x.shape[2:])
    )
    return x.masked_fill((rows[:, :, None] & columns[:, None, :])[:, None], 0)


KINDS: dict[str, Callable[[Tensor, Tensor, Any], Tensor]] = {
    "rotate": rotate,
    "crop": crop,
    "shift": shift,
    "flip": flip,
    "cutout": cutout,
}
