"""All randomness: pure functions of (seed, name, step) over NumPy's Philox bit generator.

Nothing holds a state, so a run can be resumed, sharded or replayed in another framework without replaying its past.
Only raw words are used, because those never change between NumPy versions; the distributions do.
"""

from zlib import crc32

import numpy as np
from numpy.typing import NDArray

Shape = tuple[int, ...]


def bits(count: int, *key: int | str) -> NDArray[np.uint64]:
    """Return `count` uniform 64-bit words, a pure function of the key."""
    words = [part if isinstance(part, int) else crc32(part.encode()) for part in key]
    return np.random.Philox(np.random.SeedSequence(words)).random_raw(count)


def uniform(shape: Shape, *key: int | str) -> NDArray[np.float64]:
    """Return numbers in [0, 1), float64, 53 random bits each."""
    return (
        (bits(int(np.prod(shape)), *key) >> np.uint64(11)).astype(np.float64) * 2.0**-53
    ).reshape(shape)


def permutation(count: int, *key: int | str) -> NDArray[np.int32]:
    """Return 0 … count-1 in random order, int32 of shape (count,)."""
    return np.argsort(bits(count, *key), kind="stable").astype(np.int32)


def keep(shape: Shape, rate: float, *key: int | str) -> NDArray[np.bool_]:
    """Return a dropout mask: True with probability 1 - `rate`, to within 2⁻³²."""
    count = int(np.prod(shape))
    words = bits(-(-count // 2), *key).astype("<u8", copy=False).view("<u4")[:count]
    return (words >= np.uint32(min(round(rate * 2**32), 2**32 - 1))).reshape(shape)
