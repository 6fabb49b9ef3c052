"""A split of a data set, as engines take it."""

from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from typing import Any

import numpy as np
from numpy.typing import NDArray


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
