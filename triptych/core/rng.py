"""Random numbers as pure functions of a key (seed, name, step), from NumPy's Philox bit generator.

No generator has a state. Any step of a run can therefore be drawn again without drawing the steps
before it: a run can be resumed, split over processes, or repeated in another framework.

Only the raw 64-bit words of the generator are used, because NumPy guarantees that they do not
change between versions. It gives no such guarantee for its distributions.
"""

from zlib import crc32

import numpy as np
from numpy.typing import NDArray

Shape = tuple[int, ...]


def bits(count: int, *key: int | str) -> NDArray[np.uint64]:
    """Return `count` uniform random words, uint64 of shape (count,)."""
    words = [part if isinstance(part, int) else crc32(part.encode()) for part in key]
    return np.random.Philox(np.random.SeedSequence(words)).random_raw(count)


def uniform(shape: Shape, *key: int | str) -> NDArray[np.float64]:
    """Return uniform numbers in [0, 1), float64 of this shape, each from 53 random bits."""
    words = bits(int(np.prod(shape)), *key) >> np.uint64(11)
    return (words.astype(np.float64) * 2.0**-53).reshape(shape)


def permutation(count: int, *key: int | str) -> NDArray[np.int32]:
    """Return the integers from 0 to count - 1 in random order, int32 of shape (count,)."""
    return np.argsort(bits(count, *key), kind="stable").astype(np.int32)


def keep(shape: Shape, rate: float, *key: int | str) -> NDArray[np.bool_]:
    """Return a dropout mask, bool of this shape: True with probability 1 - `rate`.

    The probability is exact to within 2⁻³².
    """
    count = int(np.prod(shape))
    # Each 64-bit word gives two 32-bit ones, the lower half first on every machine.
    words = bits(-(-count // 2), *key).astype("<u8", copy=False).view("<u4")[:count]
    threshold = np.uint32(min(round(rate * 2**32), 2**32 - 1))
    return (words >= threshold).reshape(shape)
