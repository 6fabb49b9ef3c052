"""The losses of the Numba engine.

A builder of a loss is a function ``builder(loss, classes, dtype)``. It returns a function
``compute(logits, labels, divisor) -> (value, gradient)``: for logits of shape (rows, classes) and
labels of shape (rows,), the sum of the losses of these rows over `divisor`, which is D of the whole
batch (`triptych.spec.losses.Loss.divisor`), and its gradient at the logits.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...core.builders import BuilderTable
from ...spec.losses import Loss, MeanSquaredError, SoftmaxCrossEntropy
from .kernels.losses import CROSS_ENTROPY, SQUARED_ERROR, loss_of_batch

Array = NDArray[Any]
LossFunction = Callable[[Array, NDArray[np.int32], float], tuple[float, Array]]
LossBuilder = Callable[[Any, int, Any], LossFunction]

LOSSES: BuilderTable[LossBuilder] = BuilderTable("Numba", "loss")


def register_loss(spec_class: type[Loss], builder: LossBuilder) -> None:
    """Use `builder` for losses of `spec_class`; see the top of this file."""
    LOSSES.register(spec_class, builder)


def build_loss(loss: Loss, classes: int, dtype: Any) -> LossFunction:
    """Return the function that computes a loss."""
    return LOSSES.find(loss)(loss, classes, dtype)


class CompiledLoss:
    """A loss of `kernels.losses`.

    Parameters
    ----------
    code : int
        Which loss.
    targets : ndarray, shape (classes, classes)
        Row y has the targets of a sample with label y.
    """

    def __init__(self, code: int, targets: Array) -> None:
        self.code = code
        self.targets = targets

    def __call__(
        self, logits: Array, labels: NDArray[np.int32], divisor: float
    ) -> tuple[float, Array]:
        """Return the loss and its gradient, as the top of this file tells."""
        gradient = np.empty_like(logits)
        value = loss_of_batch(self.code, logits, labels, self.targets, divisor, gradient)
        return value, gradient


def cross_entropy(loss: SoftmaxCrossEntropy, classes: int, dtype: Any) -> CompiledLoss:
    """Return softmax cross-entropy with the specification's table of targets."""
    return CompiledLoss(CROSS_ENTROPY, loss.tables(classes)[0].astype(dtype))


def mean_squared_error(loss: MeanSquaredError, classes: int, dtype: Any) -> CompiledLoss:
    """Return the mean squared difference between logits and one-hot labels."""
    return CompiledLoss(SQUARED_ERROR, np.eye(classes, dtype=dtype))


register_loss(SoftmaxCrossEntropy, cross_entropy)
register_loss(MeanSquaredError, mean_squared_error)
