"""Arrays of JAX."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import jax
import numpy as np
from jax import numpy as jnp

from ....observation import Array
from .interface import Function, Pullback

VERSION = f"jax {jax.__version__}"
WITHOUT_GRADIENTS = ""


def precision(*, double: bool) -> AbstractContextManager[Any]:
    """Return a context for computations, in float64 or as written."""
    return jax.enable_x64(True) if double else nullcontext()


def to_tensor(array: Array) -> Any:
    """Return an array as the user's function gets it."""
    return jnp.asarray(array)


def to_array(tensor: Any) -> Array:
    """Return a result as an array."""
    array = np.asarray(tensor)
    return array.astype(np.float32) if array.dtype.name == "bfloat16" else array


def with_pullback(function: Function, tensors: Sequence[Any]) -> tuple[list[Any], Pullback]:
    """Return what a function makes of tensors, and what its gradients are computed with."""
    made, pulled_back = jax.vjp(function, list(tensors))

    def pullback(gradients: Sequence[Any]) -> list[Any]:
        given = [
            gradient if jnp.issubdtype(output.dtype, jnp.floating) else _nothing(output)
            for output, gradient in zip(made, gradients, strict=True)
        ]
        return pulled_back(given)[0]

    return made, pullback


def _nothing(output: Any) -> Any:
    """Return the gradient at an output that has none."""
    return np.zeros(output.shape, jax.dtypes.float0)
