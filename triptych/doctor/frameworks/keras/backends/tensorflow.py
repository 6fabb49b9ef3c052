"""Keras on TensorFlow."""

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, nullcontext
from types import FunctionType, ModuleType
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from ....observation import Array

VERSION = f"tensorflow {tf.__version__}"

TENSOR = tf.Tensor
VARIABLES = (tf.Variable, keras.Variable)
MODULE = tf.Module
FUNCTION_TYPES = (FunctionType,)
double_precision = nullcontext


def namespaces() -> dict[str, ModuleType]:
    """Return the modules whose functions a user's model calls, by the name that users write."""
    return {
        "tf": tf,
        "tf.nn": tf.nn,
        "tf.nn.experimental": tf.nn.experimental,
        "tf.math": tf.math,
        "tf.image": tf.image,
        "tf.linalg": tf.linalg,
        "tf.random": tf.random,
    }


def to_tensor(array: Array) -> Any:
    """Return an array as a tensor of the same dtype."""
    return tf.constant(array)


def to_numpy(tensor: Any) -> Array:
    """Return a tensor or variable of the backend as an array."""
    if isinstance(tensor, tf.IndexedSlices):
        tensor = tf.convert_to_tensor(tensor)
    return tensor.numpy() if hasattr(tensor, "numpy") else np.asarray(tensor)


def is_concrete(tensor: Any) -> bool:
    """Return whether a tensor has numbers and is no symbol of a graph."""
    return hasattr(tensor, "numpy")


def new_tensor(tensor: Any) -> Any:
    """Return a tensor with the same numbers and a gradient of its own."""
    return tf.identity(tensor)


def needs_channels_last() -> bool:
    """Return whether convolutions and pools with channels first are not implemented here."""
    return not tf.config.list_logical_devices("GPU")


def resize_corners(images: Any, height: int, width: int, method: str) -> Any:
    """Return resized images whose corners stay where they are."""
    return tf.compat.v1.image.resize(images, (height, width), method=method, align_corners=True)


@contextmanager
def eagerly() -> Generator[None]:
    """Run functions that the user has decorated with tf.function line by line."""
    before = tf.config.functions_run_eagerly()
    tf.config.run_functions_eagerly(True)
    try:
        yield
    finally:
        tf.config.run_functions_eagerly(before)


def compiled(function: Callable[[], Any]) -> Callable[[], Any]:
    """Return a function as users of this backend run it: as a graph."""
    return tf.function(function)


def threads() -> int | None:
    """Return the number of threads of an operation, None if the system chooses it."""
    return tf.config.threading.get_intra_op_parallelism_threads() or None


class Tape:
    """Records a computation; gradients may be asked for more than once."""

    def __init__(self) -> None:
        self._tape = tf.GradientTape(persistent=True)

    def __enter__(self) -> "Tape":
        self._tape.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._tape.__exit__(*error)

    def watch(self, tensor: Any) -> Any:
        """Return a tensor whose gradient may be asked for, though it is no variable."""
        self._tape.watch(tensor)
        return tensor

    def gradients(self, target: Any, sources: Sequence[Any]) -> list[Any]:
        """Return the gradient of a number at each tensor; None where it has none.

        The gradient of an embedding may be sparse, as the optimizer gets it.
        """
        return self._tape.gradient(target, list(sources))
