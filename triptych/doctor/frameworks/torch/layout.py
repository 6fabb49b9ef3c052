"""Which axis of a tensor holds the features, as far as its history tells.

PyTorch's layers for images and signals take channels in axis 1, and its recurrent layers may take
time in axis 0. In the canonical layout the batch is first and the features are last. A tensor gets
a layout when such a layer returns it or when the model moves its axes, and hands it on to what is
computed of it.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from ...observation import Array

CHANNELS_FIRST = "channels_first"
TIME_FIRST = "time_first"


class Layouts:
    """The layouts of the tensors of one forward pass; a tensor without one is as it should be."""

    def __init__(self) -> None:
        # The tensors are held, because the id of one that is freed may be given to another.
        self._tensors: dict[int, tuple[torch.Tensor, str]] = {}

    def get(self, tensor: torch.Tensor) -> str:
        """Return the layout of a tensor; empty if it is canonical or not known."""
        held = self._tensors.get(id(tensor))
        return held[1] if held else ""

    def set(self, tensor: torch.Tensor, layout: str) -> None:
        """Note the layout of a tensor."""
        if layout:
            self._tensors[id(tensor)] = (tensor, layout)
        else:
            self._tensors.pop(id(tensor), None)

    def hand_on(self, inputs: Sequence[torch.Tensor], result: Any) -> None:
        """Give the results the layout of the first input that has one and as many axes."""
        for tensor in tensors_in(result):
            for each in inputs:
                if each.ndim == tensor.ndim and self.get(each):
                    self.set(tensor, self.get(each))
                    break


def tensors_in(value: Any) -> list[torch.Tensor]:
    """Return the tensors in a tensor, a list, a tuple or a dict of them."""
    if isinstance(value, torch.Tensor):
        return [value]
    if isinstance(value, dict):
        value = tuple(value.values())
    if isinstance(value, (list, tuple)):
        return [tensor for each in value for tensor in tensors_in(each)]
    return []


def to_array(tensor: torch.Tensor, layout: str = "") -> Array:
    """Return a copy of a tensor as an array in the canonical layout."""
    tensor = tensor.detach()
    if tensor.dtype in (torch.bfloat16, torch.float16):
        tensor = tensor.float()
    if layout == CHANNELS_FIRST:
        tensor = tensor.movedim(1, -1)
    elif layout == TIME_FIRST:
        tensor = tensor.transpose(0, 1)
    return np.array(tensor.numpy(), order="C")


def to_tensor(array: Array, layout: str = "") -> torch.Tensor:
    """Return a new tensor of an array in the canonical layout."""
    tensor = torch.from_numpy(np.array(array, order="C"))
    if layout == CHANNELS_FIRST:
        tensor = tensor.movedim(-1, 1).contiguous()
    elif layout == TIME_FIRST:
        tensor = tensor.transpose(0, 1).contiguous()
    return tensor


def canonical_shape(tensor: torch.Tensor, layout: str) -> list[int]:
    """Return the shape of a tensor in the canonical layout."""
    return [tensor.shape[axis] for axis in _order(tensor.ndim, layout)]


def canonical_axis(axis: int, dimensions: int, layout: str) -> int:
    """Return an axis of a tensor as one of the canonical layout, counted from the end."""
    axis = axis % dimensions
    return _order(dimensions, layout).index(axis) - dimensions


def axis_in_tensor(axis: int, dimensions: int, layout: str) -> int:
    """Return an axis of the canonical layout as one of a tensor; the inverse."""
    return _order(dimensions, layout)[axis % dimensions]


def _order(dimensions: int, layout: str) -> list[int]:
    axes = list(range(dimensions))
    if layout == CHANNELS_FIRST:
        axes.append(axes.pop(1))
    elif layout == TIME_FIRST:
        axes[:2] = [1, 0]
    return axes


def after_moving(order: Sequence[int], layout: str, *, integers: bool) -> str:
    """Return the layout of a tensor whose axes were moved.

    Parameters
    ----------
    order : sequence of int
        For each axis of the result the axis it was before, as in `torch.permute`.
    layout : str
        The layout before.
    integers : bool
        Whether the tensor holds integers, of which one with two axes is (batch, time).
    """
    dimensions = len(order)
    held_before = _order(dimensions, layout)  # by canonical axis, the axis before
    held_after = [order.index(axis) for axis in held_before]
    for candidate in ("", CHANNELS_FIRST, TIME_FIRST):
        least = 2 if candidate == TIME_FIRST and integers else 3
        if (not candidate or dimensions >= least) and held_after == _order(dimensions, candidate):
            return candidate
    return ""
