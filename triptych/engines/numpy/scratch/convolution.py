"""Convolution and pooling of images (batch, h, w, c).

A convolution is one matrix product with the windows laid out as rows (im2col). The backward lays them out again instead of
keeping them: they are size² times as much as the images.
"""

from collections.abc import Iterator
from itertools import product as pairs

import numpy as np
from numpy.lib.stride_tricks import as_strided

from .layers import Layer, Training, parts
from .products import SMALL, Array, cross_product, largest_divisor, product

SPARE = 6  # the share of its columns by which a grid may be widened
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

    def windowed(self, x: Array, channels: int) -> Array:
        """Return where to write the output."""
        return self.output(x, (len(x), self.rows, self.columns, channels))

    def padded(self, x: Array) -> Array:
        """Return images with the padding around them."""
        p, (m, h, w, c) = self.padding, x.shape
        if not p:
            return x
        wide = self.passing.rooms.get_room("wide", (m, h + 2 * p, w + 2 * p, c), x.dtype, new=self.pad_value)
        wide[:, p : p + h, p : p + w] = x  # the padding stays as it was
        return wide

    def blank(self, images: int, like: Array) -> Array:
        """Return zeros of the size of padded images."""
        (h, w, c), p = self.x.shape[1:], self.padding
        wide = self.passing_room("blank", like, (images, h + 2 * p, w + 2 * p, c))
        wide.fill(0)
        return wide

    def cropped(self, wide: Array) -> Array:
        """Return the interior: the gradient of `padded`."""
        p = self.padding
        return wide[:, p : wide.shape[1] - p, p : wide.shape[2] - p]

    def taps(self, wide: Array) -> list[Array]:
        """Return size² views, (m, rows, columns, c): what each place of the window sees, in row-major order."""
        s, down, across = self.stride, self.stride * (self.rows - 1) + 1, self.stride * (self.columns - 1) + 1
        return [wide[:, i : i + down : s, j : j + across : s] for i, j in pairs(range(self.size), repeat=2)]


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
        y = self.windowed(x, self.groups * weights.shape[-1])
        for part, windows in self._windows():
            for group in zip(windows, weights, self._grouped(y[part]), strict=True):
                product(*group)
        return y

    def backward(self, dy: Array, into: bool = True) -> Array:
        kernel, g, f = self.gradient("kernel"), self.groups, dy.shape[-1] // self.groups
        inputs = kernel.size // dy.shape[-1]
        total, share = (self.passing_room(use, dy, (g, inputs + ("bias" in self.parameters), f)) for use in ("total", "share"))
        for part, windows in self._windows():
            for group in zip(windows, self._grouped(dy[part]), share if part.start else total, strict=True):
                cross_product(*group)
            if part.start:
                total += share
        kernel[...] = total[:, :inputs].swapaxes(0, 1).reshape(kernel.shape)
        if "bias" in self.parameters:
            self.gradient("bias")[...] = total[:, -1].reshape(-1)
        return self._back(dy) if into else dy

    def _back(self, dy: Array) -> Array:
        """Return the gradient with respect to the input, worked out for a few images at a time."""
        kernel, dx = self.parameters["kernel"], self.passing_room("dx", dy, self.x.shape)
        g, c, f = self.groups, dx.shape[-1] // self.groups, dy.shape[-1] // self.groups
        turned = kernel.reshape(self.size**2, c, g, f).transpose(0, 2, 3, 1).copy()
        beside = self.x.shape[2] + 2 * self.padding - self.columns
        shift = self.stride == 1 and beside * SPARE <= self.columns
        for part in parts(len(dx), 2 * dx[0].size + dy[0].size):
            wide = self.blank(len(dx[part]), dx)
            down, taps = self._shifted(dy[part], wide) if shift else (dy[part], self.taps(wide))
            m, rows, columns, _ = down.shape
            block = largest_divisor(rows, SMALL // (columns * f * c)) * columns
            down = down.reshape(m, -1, block, g, f).swapaxes(2, 3)
            share = self.passing_room("seen", dx, (*down.shape[:-1], c))
            for tap, weights in zip(taps, turned, strict=True):
                np.matmul(down, weights, out=share)
                tap += share.swapaxes(2, 3).reshape(m, rows * columns, -1)[:, : tap[0, ..., 0].size].reshape(tap.shape)
            dx[part] = self.cropped(wide)
        return dx

    def _shifted(self, dy: Array, wide: Array) -> tuple[Array, list[Array]]:
        """Return dy on a grid as wide as the padded images, and the taps: each is one piece of memory now, (m, length, c)."""
        m, h, w, c = wide.shape
        grid = self.passing_room("grid", dy, (m, self.rows, w, dy.shape[-1]))
        grid[:, :, self.columns :] = 0
        grid[:, :, : self.columns] = dy
        flat, length = wide.reshape(m, h * w, c), self.rows * w - (self.size - 1)
        return grid, [flat[:, i * w + j :][:, :length] for i, j in pairs(range(self.size), repeat=2)]

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
        most = slices[0].stop * each
        if k * channels < SHORT:  # memory runs along the windows
            room = self.passing.rooms.get_room("windows", (g, inputs + bias, most), self.x.dtype, new=1.0).swapaxes(1, 2)
        else:
            room = self.passing.rooms.get_room("windows", (g, most, inputs + bias), self.x.dtype, new=1.0)
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

    remembers = False
    pad_value = -np.inf

    def forward(self, x: Array, training: Training | None = None) -> Array:
        self.measure(x)
        y = self.windowed(x, x.shape[-1])
        self.winner = self.rooms.get_room("winner", y.shape, np.min_scalar_type(self.size**2))  # the number of the tap
        self.winner.fill(0)
        first, *others = self.taps(self.padded(x))
        y[...] = first
        for k, tap in enumerate(others, 1):
            np.maximum(self.winner, np.multiply(tap > y, k, dtype=self.winner.dtype), out=self.winner)
            np.maximum(y, tap, out=y)
        return y

    def backward(self, dy: Array, into: bool = True) -> Array:
        wide = self.blank(len(dy), dy)
        for k, target in enumerate(self.taps(wide)):
            if self.stride < self.size:
                target += dy * (self.winner == k)
            else:  # no pixel is in two windows
                np.multiply(dy, self.winner == k, out=target)
        return self.cropped(wide)


class AvgPool2D(Window):
    """The sum of each window over size², padded zeros included."""

    remembers = False

    def forward(self, x: Array, training: Training | None = None) -> Array:
        self.measure(x)
        y = self.windowed(x, x.shape[-1])
        first, *others = self.taps(self.padded(x))
        y[...] = first
        for tap in others:
            y += tap
        y /= self.size**2
        return y

    def backward(self, dy: Array, into: bool = True) -> Array:
        wide, share = self.blank(len(dy), dy), dy / self.size**2
        for target in self.taps(wide):
            target += share
        return self.cropped(wide)


class GlobalAvgPool(Layer):
    """The mean over rows and columns."""

    remembers = False

    def forward(self, x: Array, training: Training | None = None) -> Array:
        self.shape = x.shape
        return x.mean(axis=(1, 2))

    def backward(self, dy: Array, into: bool = True) -> Array:
        _, h, w, _ = self.shape
        return np.broadcast_to((dy / (h * w))[:, None, None], self.shape)
