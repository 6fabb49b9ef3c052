"""The order in which the samples of an epoch are used, as a pure function of seed and epoch."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from . import rng


@dataclass(frozen=True)
class WindowedOrder:
    """A shuffled order in which every sample is close to others of its row group.

    The row groups are shuffled. Then as many of them as hold `window` samples, at least one, are a
    window, and the samples of each window are shuffled. So a reader needs the row groups of one
    window at a time, and reads each of them once in an epoch.

    Attributes
    ----------
    sizes : tuple of int
        Number of samples in each row group; the samples are counted from the first group on.
    window : int
        The most samples of a window that has several row groups.
    """

    sizes: tuple[int, ...]
    window: int

    def __len__(self) -> int:
        return sum(self.sizes)

    def epoch(self, seed: int, epoch: int) -> NDArray[np.int32]:
        """Return the order of the samples in one epoch, int32 of shape (samples,)."""
        windows = self.windows(seed, epoch)
        return np.concatenate(
            [
                samples[rng.permutation(len(samples), seed, "window", epoch, number)]
                for number, samples in enumerate(windows)
            ]
        )

    def windows(self, seed: int, epoch: int) -> list[NDArray[np.int32]]:
        """Return the samples of each window of an epoch, before they are shuffled."""
        ends = np.cumsum(self.sizes).tolist()
        windows: list[NDArray[np.int32]] = []
        groups: list[NDArray[np.int32]] = []
        samples = 0
        for group in rng.permutation(len(self.sizes), seed, "row groups", epoch):
            size = self.sizes[group]
            if groups and samples + size > self.window:
                windows.append(np.concatenate(groups))
                groups = []
                samples = 0
            groups.append(np.arange(ends[group] - size, ends[group], dtype=np.int32))
            samples += size
        windows.append(np.concatenate(groups))
        return windows


@lru_cache(maxsize=2)  # of this epoch and the next one
def epoch_order(
    samples: int, seed: int, epoch: int, order: WindowedOrder | None
) -> NDArray[np.int32]:
    """Return the order of the samples in one epoch, int32 of shape (samples,), not writable.

    Parameters
    ----------
    samples : int
        Number of samples of the training split.
    seed : int
        Of the recipe.
    epoch : int
        From 0.
    order : WindowedOrder or None
        Of data that is read in pieces; otherwise all samples are shuffled alike.
    """
    if order is None:
        shuffled = rng.permutation(samples, seed, "order", epoch)
    else:
        shuffled = order.epoch(seed, epoch)
    shuffled.flags.writeable = False
    return shuffled
