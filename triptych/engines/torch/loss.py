"""The losses: PyTorch's own functions wherever their formula is the one of the specification.

A builder of a loss is a function ``builder(loss, classes, dtype)`` that returns a function of
logits (batch, classes) and labels (batch,) with a scalar result. It is called on the engine's
device.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from ...core.builders import BuilderTable
from ...spec.losses import Loss, MeanSquaredError, SoftmaxCrossEntropy

LossFunction = Callable[[Tensor, Tensor], Tensor]
LossBuilder = Callable[..., LossFunction]

LOSSES: BuilderTable[LossBuilder] = BuilderTable("PyTorch", "loss")


def register_loss(spec_class: type[Loss], builder: LossBuilder) -> None:
    """Use `builder` for losses of `spec_class`; see the top of this file."""
    LOSSES.register(spec_class, builder)


def build_loss(loss: Loss, classes: int, dtype: torch.dtype) -> LossFunction:
    """Return the loss of a batch as a function of logits and labels."""
    builder = LOSSES.find(loss)
    return builder(loss, classes, dtype)


def cross_entropy(loss: SoftmaxCrossEntropy, classes: int, dtype: torch.dtype) -> LossFunction:
    """Return softmax cross-entropy: PyTorch's, or a table of targets."""
    weights = None
    if loss.class_weights:
        if (loss.weigh, loss.divide) != ("terms", "weights"):  # Keras's convention (D40)
            return tabulated_cross_entropy(loss, classes, dtype)
        weights = torch.tensor(loss.class_weights, dtype=dtype)

    def compute(logits: Tensor, labels: Tensor) -> Tensor:
        # As one sample with a label at each position of a line. Over a short last axis, such as ten
        # classes, PyTorch's softmax is not vectorized on a CPU and takes six times as long.
        return functional.cross_entropy(
            logits.t()[None], labels[None], weights, label_smoothing=loss.label_smoothing
        )

    return compute


def tabulated_cross_entropy(
    loss: SoftmaxCrossEntropy, classes: int, dtype: torch.dtype
) -> LossFunction:
    """Return softmax cross-entropy as Keras weighs it, with a table of targets."""
    target_table, divisor_table = loss.tables(classes)
    targets = torch.tensor(target_table, dtype=dtype)
    divisors = torch.tensor(divisor_table, dtype=dtype)

    def compute(logits: Tensor, labels: Tensor) -> Tensor:
        total = -(targets[labels] * logits.log_softmax(1)).sum()
        return total / divisors[labels].sum()

    return compute


def mean_squared_error(loss: MeanSquaredError, classes: int, dtype: torch.dtype) -> LossFunction:
    """Return the mean squared difference between logits and one-hot labels."""
    one_hot = torch.eye(classes, dtype=dtype)

    def compute(logits: Tensor, labels: Tensor) -> Tensor:
        return functional.mse_loss(logits, one_hot[labels])

    return compute


register_loss(SoftmaxCrossEntropy, cross_entropy)
register_loss(MeanSquaredError, mean_squared_error)
