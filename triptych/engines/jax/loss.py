"""The losses as pure functions.

A builder of a loss is a function ``builder(loss, classes, dtype)`` that returns a function of
logits (batch, classes) and labels (batch,) with a scalar result.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from ...core.builders import BuilderTable
from ...spec.losses import Loss, MeanSquaredError, SoftmaxCrossEntropy

LossFunction = Callable[[Array, Array], Array]
LossBuilder = Callable[[Any, int, Any], LossFunction]

LOSSES: BuilderTable[LossBuilder] = BuilderTable("JAX", "loss")


def register_loss(spec_class: type[Loss], builder: LossBuilder) -> None:
    """Use `builder` for losses of `spec_class`; see the top of this file."""
    LOSSES.register(spec_class, builder)


def build_loss(loss: Loss, classes: int, dtype: Any) -> LossFunction:
    """Return the loss of a batch as a function of logits and labels."""
    builder = LOSSES.find(loss)
    return builder(loss, classes, dtype)


def cross_entropy(loss: SoftmaxCrossEntropy, classes: int, dtype: Any) -> LossFunction:
    """Return softmax cross-entropy with the specification's table of targets."""
    target_table, divisor_table = loss.tables(classes)
    targets = jnp.asarray(target_table, dtype)
    divisors = jnp.asarray(divisor_table, dtype)

    def compute(logits: Array, labels: Array) -> Array:
        total = -(targets[labels] * jax.nn.log_softmax(logits)).sum()
        return total / divisors[labels].sum()

    return compute


def mean_squared_error(loss: MeanSquaredError, classes: int, dtype: Any) -> LossFunction:
    """Return the mean squared difference between logits and one-hot labels."""

    def compute(logits: Array, labels: Array) -> Array:
        one_hot = jax.nn.one_hot(labels, classes, dtype=dtype)
        return jnp.square(logits - one_hot).mean()

    return compute


register_loss(SoftmaxCrossEntropy, cross_entropy)
register_loss(MeanSquaredError, mean_squared_error)
