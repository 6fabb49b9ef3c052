"""Small linear images of arrays, so that a training of any size can be recorded at every step.

A sketch is linear: the sketch of a sum is the sum of the sketches. So an array that should be the
mean of others is compared by their sketches alone. A small array is its own sketch.
"""

from functools import cache

import numpy as np

from ..observation import Array

MOST_ENTRIES = 4_096  # of one array
FEWEST_ENTRIES = 16
ENTRIES_OF_ALL = 20_000  # which the arrays of a model share
SUMS = 2  # of all entries with random signs, after the entries


def entries_of_each(arrays: int) -> int:
    """Return how many entries of each array a sketch has, if a model has so many arrays."""
    return max(FEWEST_ENTRIES, min(MOST_ENTRIES, ENTRIES_OF_ALL // max(1, arrays)))


def sketch(array: Array, entries: int) -> Array:
    """Return the sketch of an array.

    Parameters
    ----------
    array : ndarray
        Of numbers, of any shape.
    entries : int
        How many entries are taken as they are.

    Returns
    -------
    ndarray of float64, shape (entries + SUMS,)
        The array itself, flattened, if it is not larger. Otherwise some entries, always the same
        ones, and sums of all entries with random signs, divided by the root of their number.
    """
    flat = array.reshape(-1)
    if flat.size <= entries + SUMS:
        return flat.astype(np.float64)
    signed = [np.sum(flat * signs, dtype=np.float64) for signs in _signs(flat.size)]
    chosen = flat[positions(flat.size, entries)].astype(np.float64)
    return np.concatenate([chosen, np.array(signed) / np.sqrt(flat.size)])


@cache
def positions(size: int, entries: int) -> np.ndarray:
    """Return which entries of a flattened array are the first entries of its sketch."""
    if size <= entries + SUMS:
        return np.arange(size)
    generator = np.random.default_rng(size)
    return np.sort(generator.choice(size, entries, replace=False))


@cache
def _signs(size: int) -> tuple[np.ndarray, ...]:
    generator = np.random.default_rng(size + 1)
    return tuple(generator.choice(np.array([-1, 1], np.int8), size) for _ in range(SUMS))


def rows_sketch(array: Array) -> Array:
    """Return a sketch of each row.

    Parameters
    ----------
    array : ndarray, shape (rows, ...)
        What a layer returns, for example.

    Returns
    -------
    ndarray of float64, shape (rows, SUMS + 1)
        Sums with random signs, and the largest absolute value.
    """
    flat = array.reshape(len(array), -1).astype(np.float64)
    if not flat.shape[1]:
        return np.zeros((len(flat), SUMS + 1))
    signed = [flat @ signs / np.sqrt(flat.shape[1]) for signs in _signs(flat.shape[1])]
    return np.stack([*signed, np.max(np.abs(flat), axis=1)], axis=1)
