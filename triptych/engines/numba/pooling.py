"""Pooling of images (batch, h, w, c)."""

import numpy as np
from numba import get_num_threads

from ...spec import layers as spec
from .kernels import pooling as kernels
from .layer import Layer, Training


class _Pool(Layer):
    """Base of the layers that slide a window over each channel.

    Notes
    -----
    `forward` and `input_gradient` return arrays that their next call overwrites.
    """

    def __init__(self, pool: spec.Pool) -> None:
        super().__init__(pool.name)
        self.window = (pool.size, pool.stride, pool.padding)

    def output(self, x: np.ndarray) -> np.ndarray:
        """Return where to write the output, and remember the shape of the images."""
        self.shape = x.shape
        n, h, w, c = x.shape
        size, stride, padding = self.window
        rows = (h + 2 * padding - size) // stride + 1
        columns = (w + 2 * padding - size) // stride + 1
        return self.reuse("y", (n, rows, columns, c), x.dtype)


class MaxPool2D(_Pool):
    """The largest value of each window; padding never wins.

    Of equal values the first in row-major order receives the gradient.
    """

    def forward(self, x: np.ndarray, training: Training | None) -> np.ndarray:
        """Return images (batch, rows, columns, c), and keep where each number comes from."""
        y = self.output(x)
        self.winner = self.reuse("winner", y.shape, np.int32)
        kernels.max_pool(x, *self.window, get_num_threads(), y, self.winner)
        return y

    def input_gradient(self, dy: np.ndarray) -> np.ndarray:
        """Return images in which each number of dy is where the output came from."""
        dx = self.reuse("dx", self.shape, dy.dtype)
        dx.fill(0)
        kernels.max_pool_gradient(dy, self.winner, get_num_threads(), dx)
        return dx


class AvgPool2D(_Pool):
    """The sum of each window over size², padded zeros included."""

    def forward(self, x: np.ndarray, training: Training | None) -> np.ndarray:
        """Return images (batch, rows, columns, c)."""
        y = self.output(x)
        kernels.average_pool(x, *self.window, get_num_threads(), y)
        return y

    def input_gradient(self, dy: np.ndarray) -> np.ndarray:
        """Return dy/size², added over the windows that a pixel is in."""
        dx = self.reuse("dx", self.shape, dy.dtype)
        dx.fill(0)
        kernels.average_pool_gradient(dy, *self.window, get_num_threads(), dx)
        return dx


class GlobalAvgPool(Layer):
    """The mean of each channel: (h, w, c) becomes (c,).

    It is a small part of a network, so NumPy computes it: no kernel has to be compiled.
    """

    def forward(self, x: np.ndarray, training: Training | None) -> np.ndarray:
        """Return vectors (batch, c)."""
        self.shape = x.shape
        return x.mean(axis=(1, 2))

    def input_gradient(self, dy: np.ndarray) -> np.ndarray:
        """Return dy/(h·w) for every pixel."""
        _, h, w, _ = self.shape
        dx = np.empty(self.shape, dy.dtype)
        dx[...] = (dy / (h * w))[:, None, None]
        return dx
