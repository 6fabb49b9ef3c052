"""Figures that are computed from predictions and losses."""

from math import sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..spec.losses import Loss

SHORT = 100  # steps, after which a training that learns is better than guessing


def unlearned(first: float, last: float, steps: int, loss: Loss, classes: int) -> str | None:
    """Return a warning if the training ended with a higher loss than guessing has, else None.

    Parameters
    ----------
    first, last : float
        Mean training losses at the beginning and at the end.
    steps : int
        How many steps were made. A training of fewer than 100 steps gets no warning if its loss
        fell, because its weights are still close to the initial ones.
    loss : Loss
        The loss that `first` and `last` are values of.
    classes : int
        The number of classes.
    """
    guessing = loss.of_guessing(classes)
    if last <= guessing or (steps < SHORT and last <= first):
        return None
    return (
        f"the training did not learn: its last loss, {last:.4g}, is above {guessing:.4g}, "
        f"that of guessing among {classes} classes; try a lower learning rate"
    )


def predictions(logits: NDArray[Any]) -> NDArray[np.int32]:
    """Return the class of the largest logit of each row, int32 of shape (samples,).

    If several logits of a row are equally large, the first one counts.
    """
    return logits.argmax(axis=1).astype(np.int32)


def accuracy(predicted: NDArray[np.int32], labels: NDArray[np.int32]) -> float:
    """Return the fraction of correct predictions, in [0, 1]."""
    return float((predicted == labels).mean())


def wilson(right: int, count: int, z: float = 1.959964) -> tuple[float, float]:
    """Return the Wilson score interval of a proportion, 95 % by default (Wilson 1927, eq. 1)."""
    p = right / count
    n = count
    centre = p + z * z / (2 * n)
    spread = z * sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    scale = 1 + z * z / n
    return max(0.0, (centre - spread) / scale), min(1.0, (centre + spread) / scale)


def interval_text(low: float, high: float) -> str:
    """Return the interval of an accuracy in percent: ``96.41–97.62`` for 0.9641 and 0.9762."""
    return f"{100 * low:.2f}–{100 * high:.2f}"


def confusion(
    predicted: NDArray[np.int32], labels: NDArray[np.int32], classes: int
) -> NDArray[np.int64]:
    """Return the confusion matrix, int64 of shape (classes, classes).

    Entry (i, j) counts the samples of class i that were predicted as class j.
    """
    return np.bincount(labels * classes + predicted, minlength=classes * classes).reshape(
        classes, classes
    )


def tested(predicted: NDArray[np.int32], labels: NDArray[np.int32], classes: int) -> dict[str, Any]:
    """Return accuracy and confusion matrix of the test split, as in results.json.

    Returns
    -------
    dict
        ``accuracy``: ``value``, ``right``, ``of``, and the 95 % interval from ``low`` to ``high``;
        ``confusion``: of each class a list, as of `confusion`.
    """
    right = int((predicted == labels).sum())
    low, high = wilson(right, len(labels))
    return {
        "accuracy": {
            "value": right / len(labels),
            "right": right,
            "of": len(labels),
            "low": low,
            "high": high,
        },
        "confusion": confusion(predicted, labels, classes).tolist(),
    }
