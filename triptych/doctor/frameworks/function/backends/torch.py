"""Tensors of PyTorch."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import torch

from ....observation import Array
from ...torch.state import default_dtype
from .interface import Function, Pullback

VERSION = f"torch {torch.__version__}"
WITHOUT_GRADIENTS = ""


def precision(*, double: bool) -> AbstractContextManager[Any]:
    """Return a context for computations, in float64 or as written."""
    return default_dtype(torch.float64) if double else nullcontext()


def to_tensor(array: Array) -> Any:
    """Return an array as the user's function gets it."""
    return torch.from_numpy(np.array(array))


def to_array(tensor: Any) -> Array:
    """Return a result as an array."""
    if not isinstance(tensor, torch.Tensor):
        return np.asarray(tensor)
    tensor = tensor.detach().cpu()
    return (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy()


def with_pullback(function: Function, tensors: Sequence[Any]) -> tuple[list[Any], Pullback]:
    """Return what a function makes of tensors, and what its gradients are computed with."""
    given = [tensor.detach().clone().requires_grad_(True) for tensor in tensors]
    with torch.enable_grad():
        made = function(given)

    def pullback(gradients: Sequence[Any]) -> list[Any]:
        pairs = [
            (output, gradient)
            for output, gradient in zip(made, gradients, strict=True)
            if getattr(output, "requires_grad", False)
        ]
        if not pairs:
            return [None] * len(given)
        outputs, at_outputs = zip(*pairs, strict=True)
        return list(torch.autograd.grad(outputs, given, at_outputs, allow_unused=True))

    return made, pullback
