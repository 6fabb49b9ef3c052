"""Splits and datasets: whole pixels and labels, with digests."""

from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from typing import Any

import numpy as np
from numpy.typing import NDArray

CLASSES = 10


@dataclass(frozen=True)
class Split:
    """Labelled images.

    Attributes
    ----------
    images : ndarray of uint8, shape (n, h, w, c)
        Pixels as they are stored, 0–255, channels last.
    labels : ndarray of int32, shape (n,)
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.labels)

    def pixels(self, dtype: str) -> NDArray[Any]:
        """Return the images scaled to [0, 1] in `dtype`, each pixel/255 rounded once."""
        return (np.arange(256) / 255).astype(dtype)[self.images]

    @cached_property
    def digest(self) -> str:
        """SHA-256 of shape, pixels and labels."""
        h = sha256(repr(self.images.shape).encode())
        h.update(np.ascontiguousarray(self.images).data)
        h.update(np.ascontiguousarray(self.labels).data)
        return h.hexdigest()


@dataclass(frozen=True)
class Dataset:
    """A training and a test split.

    Attributes
    ----------
    name : str
        What to call it in a table.
    source : str
        Where it came from, for a person.
    train, test : Split
    """

    name: str
    source: str
    train: Split
    test: Split

    def describe(self) -> dict[str, Any]:
        """Return what a result must say about its data, as JSON."""
        return {
            "name": self.name,
            "source": self.source,
            "train": len(self.train),
            "test": len(self.test),
            "classes": CLASSES,
            "image": list(self.train.images.shape[1:]),
            "train_sha256": self.train.digest,
            "test_sha256": self.test.digest,
        }
