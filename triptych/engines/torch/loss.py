"""The loss: F.cross_entropy wherever it is the one asked for, the specification's targets where it is not."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from ...spec.losses import SoftmaxCrossEntropy


def cross_entropy(
    loss: SoftmaxCrossEntropy, classes: int, dtype: torch.dtype, device: str
) -> Callable[[Tensor, Tensor], Tensor]:
    """Return the loss of a batch as a function of logits and labels."""
    if not loss.class_weights or (loss.weigh, loss.divide) == ("terms", "weights"):
        weights = (
            torch.tensor(loss.class_weights, dtype=dtype, device=device)
            if loss.class_weights
            else None
        )
        # As one sample that has a label at each place of a line. Along a short last axis, which the classes otherwise are,
        # PyTorch's softmax is not vectorised on a processor: six times as long for 9,000 samples of ten classes.
        return lambda z, y: F.cross_entropy(
            z.t()[None], y[None], weights, label_smoothing=loss.label_smoothing
        )
    targets, divisors = (
        torch.tensor(table, dtype=dtype, device=device) for table in loss.tables(classes)
    )
    return lambda z, y: -(targets[y] * z.log_softmax(1)).sum() / divisors[y].sum()
