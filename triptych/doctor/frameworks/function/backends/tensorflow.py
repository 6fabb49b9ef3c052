"""Tensors of TensorFlow."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import tensorflow as tf

from ....observation import Array
from .interface import Function, Pullback

VERSION = f"tensorflow {tf.__version__}"
WITHOUT_GRADIENTS = ""


def precision(*, double: bool) -> AbstractContextManager[Any]:
    """Return a context for computations; the dtype is that of the tensors."""
    return nullcontext()


def to_tensor(array: Array) -> Any:
    """Return an array as the user's function gets it."""
    return tf.constant(array)


def to_array(tensor: Any) -> Array:
    """Return a result as an array."""
    if isinstance(tensor, tf.IndexedSlices):  # the gradient of an embedding
        tensor = tf.convert_to_tensor(tensor)
    array = np.asarray(tensor)
    return array.astype(np.float32) if array.dtype.name == "bfloat16" else array


def with_pullback(function: Function, tensors: Sequence[Any]) -> tuple[list[Any], Pullback]:
    """Return what a function makes of tensors, and what its gradients are computed with."""
    given = [tf.identity(tensor) for tensor in tensors]
    with tf.GradientTape() as tape:
        tape.watch(given)
        made = function(given)

    def pullback(gradients: Sequence[Any]) -> list[Any]:
        return tape.gradient(made, given, output_gradients=list(gradients))

    return made, pullback
