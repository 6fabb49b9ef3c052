"""Keras on PyTorch."""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import Any

import keras
import numpy as np
import torch
from torch.nn import functional

from ....observation import Array
from ...adapter import Unsupported

VERSION = f"torch {torch.__version__}"

TENSOR = torch.Tensor
VARIABLES = (keras.Variable,)
MODULE = ()
eagerly = nullcontext
double_precision = nullcontext
FUNCTION_TYPES = (FunctionType, BuiltinFunctionType)


def namespaces() -> dict[str, ModuleType]:
    """Return the modules whose functions a user's model calls, by the name that users write."""
    return {"F": functional, "torch": torch}


def to_tensor(array: Array) -> Any:
    """Return an array as a tensor of the same dtype."""
    return torch.from_numpy(np.array(array))


def to_numpy(tensor: Any) -> Array:
    """Return a tensor of the backend as an array."""
    if not isinstance(tensor, torch.Tensor):
        return np.asarray(tensor)
    tensor = tensor.detach().cpu()
    return (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy()


def is_concrete(tensor: Any) -> bool:
    """Return whether a tensor has numbers."""
    return tensor.device.type != "meta"


def new_tensor(tensor: Any) -> Any:
    """Return a tensor with the same numbers and a gradient of its own."""
    return tensor.clone()


def needs_channels_last() -> bool:
    """Return whether convolutions and pools with channels first are not implemented here."""
    return False


def resize_corners(images: Any, height: int, width: int, method: str) -> Any:
    """Return resized images whose corners stay where they are."""
    raise Unsupported("align_corners can be changed on TensorFlow only")


def compiled(function: Callable[[], Any]) -> Callable[[], Any]:
    """Return a function as users of this backend run it: line by line."""
    return function


def threads() -> int | None:
    """Return the number of threads of an operation."""
    return torch.get_num_threads()


class Tape:
    """Gradients of a computation; they may be asked for more than once."""

    def __init__(self) -> None:
        self._enabled = torch.enable_grad()

    def __enter__(self) -> "Tape":
        self._enabled.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._enabled.__exit__(*error)

    def watch(self, tensor: Any) -> Any:
        """Return a tensor whose gradient may be asked for, though it is no variable."""
        return tensor if tensor.requires_grad else tensor.requires_grad_(True)

    def gradients(self, target: Any, sources: Sequence[Any]) -> list[Any]:
        """Return the gradient of a number at each tensor; None where it has none."""
        gradients: list[Any] = [None] * len(sources)
        places = [place for place, each in enumerate(sources) if each.requires_grad]
        if not target.requires_grad or not places:
            return gradients
        made = torch.autograd.grad(
            target, [sources[place] for place in places], retain_graph=True, allow_unused=True
        )
        for place, gradient in zip(places, made, strict=True):
            gradients[place] = gradient
        return gradients
