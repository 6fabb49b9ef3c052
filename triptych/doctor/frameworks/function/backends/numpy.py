"""Arrays of NumPy, which has no gradients."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np

from ....observation import Array
from .interface import Function, Pullback

VERSION = f"numpy {np.__version__}"
WITHOUT_GRADIENTS = "NumPy computes no gradients"


def precision(*, double: bool) -> AbstractContextManager[Any]:
    """Return a context for computations, in float64 or as written."""
    return nullcontext()


def to_tensor(array: Array) -> Any:
    """Return an array as the user's function gets it."""
    return array


def to_array(tensor: Any) -> Array:
    """Return a result as an array."""
    return np.asarray(tensor)


def with_pullback(function: Function, tensors: Sequence[Any]) -> tuple[list[Any], Pullback]:
    """Return what a function makes of arrays; there are no gradients."""
    return function(tensors), lambda gradients: [None] * len(tensors)
