"""The losses of the NumPy engine, each with its gradient."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...core.builders import BuilderTable
from ...spec.losses import Loss, MeanSquaredError, SoftmaxCrossEntropy
from .scratch.loss import softmax_cross_entropy

Array = NDArray[Any]
Labels = NDArray[np.integer]
LossFunction = Callable[[Array, Labels, Labels], tuple[Array, Array]]

LossBuilder = Callable[[Any], LossFunction]

LOSSES: BuilderTable[LossBuilder] = BuilderTable("NumPy", "loss")


def register_loss(spec_class: type[Loss], builder: LossBuilder) -> None:
    """Use `builder` for losses of `spec_class`.

    Parameters
    ----------
    spec_class : type of Loss
        The description that `builder` implements.
    builder : callable
        Takes an instance of `spec_class` and returns a function of (logits, labels, batch_labels):
        some rows of a batch, shapes (rows, classes) and (rows,), and the labels of the whole batch,
        shape (batch,). The function returns what these rows add to the batch's loss, shape (), and
        its gradient with respect to the logits, shape (rows, classes), both in the logits' dtype.
    """
    LOSSES.register(spec_class, builder)


def build_loss(loss: Loss) -> LossFunction:
    """Return the function that computes a loss; see `register_loss`."""
    return LOSSES.find(loss)(loss)


def _cross_entropy(
    loss: SoftmaxCrossEntropy, logits: Array, labels: Labels, batch_labels: Labels
) -> tuple[Array, Array]:
    divisor = loss.divisor(batch_labels, logits.shape[1])
    return softmax_cross_entropy(logits, labels, loss, divisor)


def mean_squared_error(logits: Array, labels: Labels, batch_labels: Labels) -> tuple[Array, Array]:
    """Return Σ (logit - one_hot(label))² / N and its gradient, with N = batch · classes."""
    count = len(batch_labels) * logits.shape[1]
    difference = logits.copy()
    difference[np.arange(len(labels)), labels] -= 1
    return (difference**2).sum() / count, (2 / count) * difference


register_loss(SoftmaxCrossEntropy, lambda loss: partial(_cross_entropy, loss))
register_loss(MeanSquaredError, lambda loss: mean_squared_error)
