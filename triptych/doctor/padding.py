"""Padding of arrays by amounts that a file may have made up."""

from collections.abc import Sequence
from math import prod

import numpy as np

from .observation import Array

# The most numbers of a padded array: MOST_TIMES those of the array, plus MOST_MORE.
MOST_TIMES = 8
MOST_MORE = 2**20


def padded(array: Array, around: Sequence[Sequence[int]], fill: float = 0.0) -> Array | None:
    """Return an array with constant numbers around it.

    Parameters
    ----------
    array : ndarray
        The array.
    around : sequence of pairs of int
        How many numbers are added before and after it, for each axis.
    fill : float
        What is added.

    Returns
    -------
    ndarray or None
        None if it would be much larger than the array: no model pads so much.
    """
    sides = [size + sum(pair) for size, pair in zip(array.shape, around, strict=True)]
    if prod(sides) > MOST_TIMES * array.size + MOST_MORE:
        return None
    return np.pad(array, around, constant_values=fill)
