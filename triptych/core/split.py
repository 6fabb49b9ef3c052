"""A split of a data set, in the form that `Engine.upload` takes."""

from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .order import WindowedOrder


@dataclass(frozen=True)
class Split:
    """Labelled images.

    Attributes
    ----------
    images : ndarray of uint8 or floats, shape (n, h, w, c)
        Channels last. Bytes are pixels from 0 to 255, which engines scale to [0, 1]; floats are
        used as they are.
    labels : ndarray of int32, shape (n,)
        The class of each image, from 0.
    """

    images: NDArray[Any]
    labels: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def order(self) -> WindowedOrder | None:
        """The order of its samples in an epoch; None where all are shuffled alike."""
        return None

    def take(self, samples: NDArray[Any]) -> "Split":
        """Return some of the samples, by their indices, as copies."""
        return Split(self.images[samples], self.labels[samples])

    def pixels(self, dtype: str) -> NDArray[Any]:
        """Return a copy of the images in `dtype`, as `scaled` makes it."""
        return scaled(self.images, dtype)

    @cached_property
    def digest(self) -> str:
        """The SHA-256 of shape, pixels and labels, in hexadecimal digits."""
        h = sha256(repr(self.images.shape).encode())
        h.update(np.ascontiguousarray(self.images).data)
        h.update(np.ascontiguousarray(self.labels).data)
        return h.hexdigest()


def scaled(pixels: NDArray[Any], dtype: str) -> NDArray[Any]:
    """Return a copy of pixels in `dtype`.

    Bytes are divided by 255 in float64 and rounded once to `dtype`; floats are only converted.
    """
    if pixels.dtype.kind == "f":
        return pixels.astype(dtype)
    return (np.arange(256) / 255).astype(dtype)[pixels]
