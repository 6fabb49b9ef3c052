"""Convolution and pooling of images (batch, h, w, c), a few images at a time, so that what is made of them stays in the cache.

A convolution is one matrix product with the windows laid out as rows (im2col). The backward lays them out again instead of
keeping them: they are size² times as much as the images.
"""

from collections.abc import Iterator
from itertools import product
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

from .layers import Layer, Training, parts

Array = NDArray[Any]

BUFFER = 2**10  # with NumPy's own 2**13, rows of some hundred numbers are copied into a buffer before they are added
SHORT = 16  # numbers: less in one piece are slow to copy


class Window(Layer):
    """Base of what slides a window over an image."""

    pad_value = 0.0

    def __init__(self, name: str, size: int, stride: int, padding: int) -> None:
        super().__init__(name)
        self.size, self.stride, self.padding = size, stride, padding

    def measure(self, x: Array) -> None:
        """Remember the input, and how many windows fit, down and across."""
        self.x = x
        self.rows, self.columns = ((side + 2 * self.padding - self.size) // self.stride + 1 for side in x.shape[1:3])

    def output(self, training: Training | None) -> Array:
        """Return where an output with as many channels as the input is written."""
        return self.room("y", (len(self.x), self.rows, self.columns, self.x.shape[-1]), self.x, training is not None)

    def padded(self, x: Array) -> Array:
        """Return images with the padding around them."""
        p, (m, h, w, c) = self.padding, x.shape
        if not p:
            return x
        wide = np.full((m, h + 2 * p, w + 2 * p, c), self.pad_value, x.dtype)
        wide[:, p : p + h, p : p + w] = x
        return wide

    def blank(self, images: int) -> Array:
        """Return zeros of the size of padded images."""
        (h, w, c), p = self.x.shape[1:], self.padding
        return np.zeros((images, h + 2 * p, w + 2 * p, c), self.x.dtype)

    def cropped(self, wide: Array) -> Array:
        """Return the interior: the gradient of `padded`."""
        p = self.padding
        return wide[:, p : wide.shape[1] - p, p : wide.shape[2] - p]

    def taps(self, wide: Array) -> list[Array]:
        """Return size² views, (m, rows, columns, c): what each place of the window sees, in row-major order."""
        s, down, across = self.stride, self.stride * (self.rows - 1) + 1, self.stride * (self.columns - 1) + 1
        return [wide[:, i : i + down : s, j : j + across : s] for i, j in product(range(self.size), repeat=2)]


class Conv2D(Window):
    """y[p, q] = Σ x[p·stride + i, q·stride + j]·W[i, j] + b, summed over the window and the channels of the group.

    With X the windows as rows: y = X·W, ∂W = Xᵀ·dy, and ∂x adds dy·W[i, j]ᵀ to what tap (i, j) saw. The bias is one more row
    of W, for which X has a column of ones.
    """

    learns = True

    def __init__(self, name: str, size: int, stride: int, padding: int, groups: int) -> None:
        super().__init__(name, size, stride, padding)
        self.groups = groups

    def forward(self, x: Array, training: Training | None = None) -> Array:
        self.measure(x)
        weights = self._weights()
        y = self.room("y", (len(x), self.rows, self.columns, self.groups * weights.shape[-1]), x, training is not None)
        for part, windows in self._windows():
            np.matmul(windows, weights, out=self._grouped(y[part]))
        return y

    def backward(self, dy: Array, into: bool = True) -> Array:
        kernel = self.parameters["kernel"]
        size, _, channels, _ = kernel.shape
        turned = kernel.reshape(size**2, channels, self.groups, -1).transpose(0, 2, 3, 1).copy()
        gradient = np.zeros_like(self._weights())
        dx = self.room("dx", self.x.shape, dy) if into else dy
        for part, windows in self._windows():
            down = self._grouped(dy[part])
            gradient += windows.swapaxes(1, 2) @ down
            if into:
                dx[part] = self._back(down, turned)
        self.gradients = {"kernel": gradient[:, : size**2 * channels].swapaxes(0, 1).reshape(kernel.shape)}
        if "bias" in self.parameters:
            self.gradients["bias"] = gradient[:, -1].reshape(-1)
        return dx

    def _back(self, down: Array, turned: Array) -> Array:
        """Return the gradient with respect to some images, of (groups, windows, filters) and (size², groups, filters, channels)."""
        wide = self.blank(down.shape[1] // (self.rows * self.columns))
        with np.errstate():  # whose end also puts the size of NumPy's buffer back
            np.setbufsize(BUFFER)
            for tap, weights in zip(self.taps(wide), turned, strict=True):
                tap += (down @ weights).swapaxes(0, 1).reshape(tap.shape)
        return self.cropped(wide)

    def _weights(self) -> Array:
        """Return kernel and bias as one matrix for each group, (groups, size²·channels + 1, filters of the group)."""
        arrays = [self.parameters[leaf] for leaf in ("kernel", "bias") if leaf in self.parameters]
        matrices = [array.reshape(-1, self.groups, array.shape[-1] // self.groups) for array in arrays]
        return np.concatenate(matrices).swapaxes(0, 1).copy()

    def _grouped(self, y: Array) -> Array:
        """View an output as (groups, windows, filters of the group)."""
        return y.reshape(-1, self.groups, y.shape[-1] // self.groups).swapaxes(0, 1)

    def _windows(self) -> Iterator[tuple[slice, Array]]:
        """Yield parts of the batch with their windows as rows, (groups, windows, size²·channels and a 1 where there is a bias).

        All are laid out in the same room.
        """
        g, k, s, channels = self.groups, self.size, self.stride, self.x.shape[-1] // self.groups
        each, inputs, bias = self.rows * self.columns, k * k * channels, "bias" in self.parameters
        slices = parts(len(self.x), g * each * inputs)
        if k * channels < SHORT:  # memory runs along the windows
            room = np.ones((g, inputs + bias, slices[0].stop * each), self.x.dtype).swapaxes(1, 2)
        else:
            room = np.ones((g, slices[0].stop * each, inputs + bias), self.x.dtype)
        for part in slices:
            images = self.padded(self.x[part])
            n, down, across, one = images.strides
            shape = (g, len(images), self.rows, self.columns, k, k, channels)
            seen = as_strided(images, shape, (channels * one, n, s * down, s * across, down, across, one))
            rows = room[:, : len(images) * each]
            np.copyto(rows[..., :inputs].reshape(shape), seen)
            yield part, rows


class MaxPool2D(Window):
    """The largest value of each window. Its gradient goes to the first of equals, in row-major order."""

    pad_value = -np.inf

    def forward(self, x: Array, training: Training | None = None) -> Array:
        self.measure(x)
        y = self.output(training)
        self.winner = np.zeros(y.shape, np.min_scalar_type(self.size**2))  # the number of the tap
        for part in parts(len(x), 2 * x[0].size):
            largest, winner = y[part], self.winner[part]
            first, *others = self.taps(self.padded(x[part]))
            largest[...] = first
            for k, tap in enumerate(others, 1):
                np.maximum(winner, np.multiply(tap > largest, k, dtype=winner.dtype), out=winner)
                np.maximum(largest, tap, out=largest)
        return y

    def backward(self, dy: Array, into: bool = True) -> Array:
        dx = self.room("dx", self.x.shape, dy)
        for part in parts(len(dy), 2 * dx[0].size):
            wide = self.blank(len(dy[part]))
            for k, target in enumerate(self.taps(wide)):
                target += dy[part] * (self.winner[part] == k)
            dx[part] = self.cropped(wide)
        return dx


class AvgPool2D(Window):
    """The sum of each window over size², padded zeros included."""

    def forward(self, x: Array, training: Training | None = None) -> Array:
        self.measure(x)
        y = self.output(training)
        for part in parts(len(x), 2 * x[0].size):
            total = y[part]
            first, *others = self.taps(self.padded(x[part]))
            total[...] = first
            for tap in others:
                total += tap
            total /= self.size**2
        return y

    def backward(self, dy: Array, into: bool = True) -> Array:
        dx = self.room("dx", self.x.shape, dy)
        for part in parts(len(dy), 2 * dx[0].size):
            wide, share = self.blank(len(dy[part])), dy[part] / self.size**2
            for target in self.taps(wide):
                target += share
            dx[part] = self.cropped(wide)
        return dx


class GlobalAvgPool(Layer):
    """The mean over rows and columns."""

    def forward(self, x: Array, training: Training | None = None) -> Array:
        self.shape = x.shape
        return x.mean(axis=(1, 2))

    def backward(self, dy: Array, into: bool = True) -> Array:
        _, h, w, _ = self.shape
        return np.broadcast_to((dy / (h * w))[:, None, None], self.shape)
