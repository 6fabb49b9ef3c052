"""Gradients by central differences, for tests of gradients that are written by hand."""

from collections.abc import Callable

import numpy as np


def numerical(f: Callable[[], float], x: np.ndarray, step: float = 1e-5) -> np.ndarray:
    """Return ∂f/∂x by central differences; `f` must read `x` in place.

    Their error is of order step², and of rounding over step.
    """
    gradient = np.zeros_like(x)
    for index in np.ndindex(*x.shape):
        kept = x[index]
        x[index] = kept + step
        up = f()
        x[index] = kept - step
        gradient[index] = (up - f()) / (2 * step)
        x[index] = kept
    return gradient
