"""What is measured on predictions."""

from math import sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray


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
    return max(0.0, (centre - spread) / (1 + z * z / n)), min(1.0, (centre + spread) / (1 + z * z / n))


def confusion(predicted: NDArray[np.int32], labels: NDArray[np.int32], classes: int) -> NDArray[np.int64]:
    """Return counts by true class (row) and predicted class (column), int64 of shape (classes, classes)."""
    return np.bincount(labels * classes + predicted, minlength=classes * classes).reshape(classes, classes)
