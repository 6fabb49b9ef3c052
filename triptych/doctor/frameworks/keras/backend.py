"""Tensors, gradients and functions of the backend that Keras runs on."""

from collections.abc import Sequence
from importlib import import_module
from types import ModuleType
from typing import Any

import keras
import numpy as np

from ...observation import Array
from ..adapter import ModelError
from ..modules import module_names
from . import backends

BACKENDS = module_names(backends)

NAME = keras.backend.backend()
if NAME not in BACKENDS:
    known = f"{', '.join(BACKENDS[:-1])} or {BACKENDS[-1]}"
    raise ModelError(f"Keras runs on {NAME}; set KERAS_BACKEND to {known}")

chosen = import_module(f".backends.{NAME}", __package__)

FUNCTION_TYPES = chosen.FUNCTION_TYPES
TENSOR = chosen.TENSOR
OPERATORS = {
    "__add__": "+",
    "__radd__": "+",
    "__sub__": "-",
    "__rsub__": "-",
    "__mul__": "*",
    "__rmul__": "*",
    "__truediv__": "/",
    "__rtruediv__": "/",
    "__matmul__": "@",
    "__pow__": "**",
    "__neg__": "-",
    "__getitem__": "[]",
    "__gt__": ">",
    "__ge__": ">=",
    "__lt__": "<",
    "__le__": "<=",
    "__invert__": "~",
}
# Operators that have the number that is written first as their second argument.
REFLECTED = (TENSOR.__rsub__, TENSOR.__rtruediv__)

to_tensor = chosen.to_tensor
new_tensor = chosen.new_tensor
needs_channels_last = chosen.needs_channels_last
resize_corners = chosen.resize_corners
eagerly = chosen.eagerly
double_precision = chosen.double_precision
compiled = chosen.compiled
threads = chosen.threads


def version() -> str:
    """Return the versions of Keras and its backend."""
    return f"keras {keras.__version__} ({chosen.VERSION})"


def namespaces() -> dict[str, ModuleType]:
    """Return the modules whose functions a user's model calls, by the name that users write."""
    return {
        "ops": keras.ops,
        "ops.nn": keras.ops.nn,
        "ops.numpy": keras.ops.numpy,
        "ops.image": keras.ops.image,
        "activations": keras.activations,
        "keras.random": keras.random,
        **chosen.namespaces(),
    }


def to_numpy(value: Any) -> Array:
    """Return a tensor, variable or number as an array; bfloat16 becomes float32."""
    if isinstance(value, keras.Variable):
        value = value.value
    array = chosen.to_numpy(value)
    return array.astype(np.float32) if array.dtype.name == "bfloat16" else array


def is_tensor(value: object) -> bool:
    """Return whether a value is a tensor with numbers, not a symbol of a graph."""
    return isinstance(value, TENSOR) and chosen.is_concrete(value)


def is_variable(value: object) -> bool:
    """Return whether a value is a variable of Keras or of its backend."""
    return isinstance(value, chosen.VARIABLES)


def is_module(value: object) -> bool:
    """Return whether a value is a module of the backend that is no layer of Keras."""
    return isinstance(value, chosen.MODULE) and not isinstance(value, keras.layers.Layer)


def dtype_of(value: Any) -> str:
    """Return the name of the dtype of a tensor or variable."""
    return keras.backend.standardize_dtype(value.dtype)


def is_floating(tensor: Any) -> bool:
    """Return whether a tensor has a gradient."""
    return "float" in dtype_of(tensor)


def inner_product(tensor: Any, other: Any, dtype: Any) -> Any:
    """Return the sum of the products of all elements, as a number of another dtype."""
    product = tensor * keras.ops.cast(other, dtype_of(tensor))
    return keras.ops.cast(keras.ops.sum(product), dtype)


class Tape(chosen.Tape):  # type: ignore[misc]
    """Records a computation; gradients may be asked for more than once."""

    def gradients(self, target: Any, sources: Sequence[Any]) -> list[Any]:
        """Return the gradient of a number at each tensor or variable; None where it has none."""
        tensors = [
            source.value if isinstance(source, keras.Variable) else source for source in sources
        ]
        return super().gradients(target, tensors)
