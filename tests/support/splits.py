"""Small splits: the first of the digits, and random images."""

from functools import cache

import numpy as np

from triptych.core.split import Split
from triptych.data import loading


@cache
def first_digits(count: int) -> Split:
    """Return the first training images of scikit-learn's digits."""
    train = loading.load("digits").train
    return Split(train.images[:count], train.labels[:count])


def random_split(
    count: int, shape: tuple[int, int, int], classes: int = 10, seed: int = 0
) -> Split:
    """Return random images of 8 bits and random labels."""
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (count, *shape), dtype=np.uint8)
    labels = rng.integers(0, classes, count).astype(np.int32)
    return Split(images, labels)
