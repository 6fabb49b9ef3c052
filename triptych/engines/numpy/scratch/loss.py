"""Softmax cross-entropy, stable, with its gradient. The formulas of its variants stand in `triptych.spec.losses`."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ....spec.losses import SoftmaxCrossEntropy


def softmax_cross_entropy(
    logits: NDArray[Any], labels: NDArray[np.integer], loss: SoftmaxCrossEntropy | None = None, divisor: float | None = None
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the loss of a batch, or its share in a larger one's, and its gradient with respect to the logits.

    With targets t and divisor D: loss = Σ t·(log Σ exp(z) - z) / D, and ∂loss/∂z = (softmax(z)·Σ_c t_c - t) / D.

    Parameters
    ----------
    logits : ndarray, shape (batch, classes)
    labels : ndarray of int, shape (batch,)
    loss : SoftmaxCrossEntropy, optional
        By default the plain mean: t = one_hot(label), D = batch.
    divisor : float, optional
        D of the larger batch that this is a part of.

    Returns
    -------
    loss : ndarray, shape (), of the logits' dtype
    gradient : ndarray, shape (batch, classes)
    """
    loss = loss or SoftmaxCrossEntropy()
    # Class-major: reductions over axis 0 run along memory, four times as fast as over rows of ten.
    z = np.array(logits.T, order="C")
    shares = loss.tables(len(z))[0] / (loss.divisor(labels, len(z)) if divisor is None else divisor)
    table = shares.astype(z.dtype)  # row y holds t/D of a sample with label y
    t, weight = table.T.take(labels, axis=1), table.sum(axis=1).take(labels)
    z -= z.max(axis=0)  # softmax does not change, and exp cannot overflow
    p = np.exp(z)
    total = p.sum(axis=0)
    value = weight @ np.log(total) - np.vdot(t, z)
    p *= weight / total
    p -= t
    return value, p.T
