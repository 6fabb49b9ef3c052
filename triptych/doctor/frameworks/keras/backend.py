"""What depends on Keras' backend: tensors, gradients, and the names of its functions.

TensorFlow is the only backend so far.
"""

from collections.abc import Sequence
from types import ModuleType
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from ...observation import Array
from ..adapter import ModelError

NAME = "tensorflow"

# The classes whose operators a user's code calls, and the operators.
TENSOR_CLASS = tf.Tensor
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
}

# Only these functions of TensorFlow draw a dropout.
DROPOUTS = ("tf.nn.dropout", "keras.random.dropout", "tf.nn.experimental.stateless_dropout")


def check() -> None:
    """Raise an error if Keras runs on another backend."""
    if keras.backend.backend() != NAME:
        raise ModelError(
            f"Keras runs on the backend {keras.backend.backend()}; set KERAS_BACKEND={NAME}"
        )


def version() -> str:
    """Return the versions of Keras and its backend."""
    return f"keras {keras.__version__} (tensorflow {tf.__version__})"


def namespaces() -> dict[str, ModuleType]:
    """Return the modules whose functions a user's model calls, by the name that users write."""
    return {
        "ops": keras.ops,
        "ops.nn": keras.ops.nn,
        "ops.numpy": keras.ops.numpy,
        "ops.image": keras.ops.image,
        "activations": keras.activations,
        "keras.random": keras.random,
        "tf": tf,
        "tf.nn": tf.nn,
        "tf.nn.experimental": tf.nn.experimental,
        "tf.math": tf.math,
        "tf.image": tf.image,
        "tf.linalg": tf.linalg,
    }


def to_tensor(array: Array) -> Any:
    """Return an array as a tensor of the same dtype."""
    return tf.constant(array)


def to_numpy(tensor: Any) -> Array:
    """Return a tensor, variable or number as an array; bfloat16 becomes float32."""
    if isinstance(tensor, tf.IndexedSlices):
        tensor = tf.convert_to_tensor(tensor)
    if isinstance(tensor, keras.Variable):
        tensor = tensor.value
    array = np.asarray(tensor.numpy() if hasattr(tensor, "numpy") else tensor)
    if array.dtype.name == "bfloat16":
        return array.astype(np.float32)
    return array


def needs_channels_last() -> bool:
    """Return whether convolutions and pools with channels first are not implemented here."""
    return not tf.config.list_logical_devices("GPU")


def is_tensor(value: object) -> bool:
    """Return whether a value is a tensor with numbers, not a symbol of a graph."""
    return isinstance(value, tf.Tensor) and hasattr(value, "numpy")


def is_variable(value: object) -> bool:
    """Return whether a value is a variable of Keras or of its backend."""
    return isinstance(value, (tf.Variable, keras.Variable))


def dtype_of(value: Any) -> str:
    """Return the name of the dtype of a tensor or variable."""
    return keras.backend.standardize_dtype(value.dtype)


def is_module(value: object) -> bool:
    """Return whether a value is a module of the backend that is no layer of Keras."""
    return isinstance(value, tf.Module) and not isinstance(value, keras.layers.Layer)


def is_floating(tensor: Any) -> bool:
    """Return whether a tensor has a gradient."""
    return bool(tensor.dtype.is_floating)


def new_tensor(tensor: Any) -> Any:
    """Return a tensor with the same numbers and a gradient of its own."""
    return tf.identity(tensor)


def cast(tensor: Any, like: Any) -> Any:
    """Return a tensor with another's dtype."""
    return tf.cast(tensor, like.dtype)


def detached(tensor: Any) -> Any:
    """Return a tensor through which no gradient goes back."""
    return tf.stop_gradient(tensor)


def inner_product(tensor: Any, other: Any, dtype: Any) -> Any:
    """Return the sum of the products of all elements, as a number of another dtype."""
    return tf.cast(tf.reduce_sum(tensor * tf.cast(other, tensor.dtype)), dtype)


class Tape:
    """Records a computation; gradients may be asked for more than once."""

    def __init__(self) -> None:
        self._tape = tf.GradientTape(persistent=True)

    def __enter__(self) -> "Tape":
        self._tape.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._tape.__exit__(*error)

    def watch(self, tensor: Any) -> None:
        """Record what is computed with a tensor that is no variable."""
        self._tape.watch(tensor)

    def gradients(self, target: Any, sources: Sequence[Any]) -> list[Any]:
        """Return the gradient of a number at each source; None where it has none.

        The gradient of an embedding may be sparse, as the optimizer gets it.
        """
        tensors = [
            source.value if isinstance(source, keras.Variable) else source for source in sources
        ]
        return self._tape.gradient(target, tensors)
