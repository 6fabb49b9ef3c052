"""What is measured on predictions."""

from math import sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..spec.losses import Loss

SHORT = 100  # steps, after which a training that learns is better than guessing


def unlearned(first: float, last: float, steps: int, loss: Loss, classes: int) -> str | None:
    """Return a sentence for a training whose loss ended above that of guessing, or None.

    Parameters
    ----------
    first, last : float
        Mean training losses at the beginning and at the end.
    steps : int
        A short training is not blamed for weights that are still close to the first ones.
    loss : Loss
    classes : int
    """
    guessing = loss.of_guessing(classes)
    if last <= guessing or (steps < SHORT and last <= first):
        return None
    return (
        f"the training did not learn: its last loss, {last:.4g}, is above {guessing:.4g}, that of guessing "
        f"among {classes} classes; try a lower learning rate"
    )


def predictions(logits: NDArray[Any]) -> NDArray[np.int32]:
    """Return the class with the largest logit of each row; the first of equals."""
    return logits.argmax(axis=1).astype(np.int32)


def accuracy(predicted: NDArray[np.int32], labels: NDArray[np.int32]) -> float:
    """Return the share of predictions that are right, in [0, 1]."""
    return float((predicted == labels).mean())


def wilson(right: int, count: int, z: float = 1.959964) -> tuple[float, float]:
    """Return the Wilson score interval of a proportion, 95 % by default (Wilson 1927, eq. 1)."""
    p, n = right / count, count
    centre, spread = p + z * z / (2 * n), z * sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return max(0.0, (centre - spread) / (1 + z * z / n)), min(
        1.0, (centre + spread) / (1 + z * z / n)
    )


def confusion(
    predicted: NDArray[np.int32], labels: NDArray[np.int32], classes: int
) -> NDArray[np.int64]:
    """Return counts by true class (row) and predicted class (column), int64 of shape (classes, classes)."""
    return np.bincount(labels * classes + predicted, minlength=classes * classes).reshape(
        classes, classes
    )
