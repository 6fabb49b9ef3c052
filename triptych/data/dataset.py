"""Splits and datasets: whole pixels and labels, with digests."""

from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from typing import Any

import numpy as np
from numpy.typing import NDArray

DIGITS = tuple("0123456789")


@dataclass(frozen=True)
class Split:
    """Labelled images.

    Attributes
    ----------
    images : ndarray of uint8 or floats, shape (n, h, w, c)
        Pixels as they are stored, 0–255, channels last; or numbers that are taken as they are.
    labels : ndarray of int32, shape (n,)
    """

    images: NDArray[Any]
    labels: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.labels)

    def pixels(self, dtype: str) -> NDArray[Any]:
        """Return a copy of the images in `dtype`, scaled."""
        return scaled(self.images, dtype)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of shape, pixels and labels."""
        h = sha256(repr(self.images.shape).encode())
        h.update(np.ascontiguousarray(self.images).data)
        h.update(np.ascontiguousarray(self.labels).data)
        return h.hexdigest()


def scaled(pixels: NDArray[Any], dtype: str) -> NDArray[Any]:
    """Return a copy in `dtype`: pixels scaled to [0, 1], each pixel/255 rounded once; floats as they are."""
    if pixels.dtype.kind == "f":
        return pixels.astype(dtype)
    return (np.arange(256) / 255).astype(dtype)[pixels]


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
    classes : tuple of str
        What the labels 0, 1, 2 … stand for.
    left_out : tuple of str
        Which images could not be read, and why: a line each.
    """

    name: str
    source: str
    train: Split
    test: Split
    classes: tuple[str, ...] = DIGITS
    left_out: tuple[str, ...] = ()

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one image, (h, w, c)."""
        return self.train.images.shape[1:]

    def describe(self) -> dict[str, Any]:
        """Return what a result must say about its data, as JSON."""
        return {
            "name": self.name,
            "source": self.source,
            "train": len(self.train),
            "test": len(self.test),
            "left_out": len(self.left_out),
            "classes": len(self.classes),
            "class_names": list(self.classes),
            "image": list(self.shape),
            "train_sha256": self.train.digest,
            "test_sha256": self.test.digest,
        }
