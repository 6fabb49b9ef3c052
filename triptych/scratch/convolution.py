"""Convolution and pooling of images (batch, h, w, c).

A convolution is a matrix product with the windows of the image laid out as rows (im2col). It is made one image at a time,
so that the rows, size² as much as the image, never leave the processor's cache; the backward lays them out again instead of
keeping them. With channels last, every row of a window is one contiguous piece of memory.
"""

from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

from .layers import Layer, Training

Array = NDArray[Any]


class Window(Layer):
    """Base of what slides a window over an image."""

    pad_value = 0.0

    def __init__(self, name: str, size: int, stride: int, padding: int) -> None:
        super().__init__(name)
        self.size, self.stride, self.padding = size, stride, padding

    def padded(self, x: Array) -> Array:
        """Return `x` with the padding around it; the interior is a view of the result."""
        p = self.padding
        if not p:
            return x
        n, h, w, c = x.shape
        wide = np.full((n, h + 2 * p, w + 2 * p, c), self.pad_value, x.dtype)
        wide[:, p : p + h, p : p + w] = x
        return wide

    def cropped(self, wide: Array) -> Array:
        """Return the interior: the gradient of `padded`."""
        p = self.padding
        return wide[:, p : wide.shape[1] - p, p : wide.shape[2] - p] if p else wide

    def counts(self, wide: Array) -> tuple[int, int]:
        """Return how many windows fit, down and across."""
        return (wide.shape[1] - self.size) // self.stride + 1, (wide.shape[2] - self.size) // self.stride + 1

    def taps(self, wide: Array) -> list[Array]:
        """Return size² views, (batch, rows, columns, c): what each place of the window sees, in row-major order."""
        rows, columns = self.counts(wide)
        s = self.stride
        return [
            wide[:, i : i + s * (rows - 1) + 1 : s, j : j + s * (columns - 1) + 1 : s] for i in range(self.size) for j in range(self.size)
        ]


class Conv2D(Window):
    """y[p, q] = Σ x[p·stride + i, q·stride + j]·W[i, j] + b, summed over the window and the channels of the group.

    With X the windows as rows: y = X·W, ∂W = Xᵀ·dy, ∂b = Σ dy, and ∂x adds dy·W[i, j]ᵀ to where tap (i, j) looked.
    """

    learns = True

    def __init__(self, name: str, size: int, stride: int, padding: int, groups: int) -> None:
        super().__init__(name, size, stride, padding)
        self.groups = groups

    def forward(self, x: Array, training: Training | None = None) -> Array:
        self.wide = self.padded(x)
        kernel = self.parameters["kernel"]
        parts: list[Array] = []
        for inputs, outputs in self._groups():
            wide, weights = self.wide[..., inputs], np.ascontiguousarray(kernel[..., outputs])
            y = np.empty((len(x), *self.counts(wide), weights.shape[-1]), x.dtype)
            windows = self._rows(wide)
            for i in range(len(x)):
                np.matmul(self._lay(wide[i], windows), weights.reshape(-1, weights.shape[-1]), out=y[i].reshape(len(windows), -1))
            parts.append(y)
        y = parts[0] if self.groups == 1 else np.concatenate(parts, axis=-1)
        if "bias" in self.parameters:
            y += self.parameters["bias"]
        return y

    def backward(self, dy: Array, into: bool = True) -> Array:
        kernel = self.parameters["kernel"]
        self.gradients = {"kernel": np.empty_like(kernel)}
        if "bias" in self.parameters:
            self.gradients["bias"] = dy.sum(axis=(1, 2)).sum(axis=0)
        into_wide = np.zeros_like(self.wide) if into else None
        for inputs, outputs in self._groups():
            wide, weights = self.wide[..., inputs], kernel[..., outputs]
            *_, channels, filters = weights.shape
            down = np.ascontiguousarray(dy[..., outputs]).reshape(len(dy), -1, filters)
            windows = self._rows(wide)
            gradient = np.zeros((windows.shape[1], filters), dy.dtype)
            for i in range(len(dy)):
                gradient += self._lay(wide[i], windows).T @ down[i]
            self.gradients["kernel"][..., outputs] = gradient.reshape(weights.shape)
            if into_wide is not None:
                turned = np.ascontiguousarray(weights.transpose(0, 1, 3, 2)).reshape(-1, filters, channels)
                seen = np.empty((len(turned), *down.shape[1:2], channels), dy.dtype)
                taps = self.taps(into_wide[..., inputs])
                for i in range(len(dy)):
                    np.matmul(down[i], turned, out=seen)  # one product for each tap
                    for tap, part in zip(taps, seen, strict=True):
                        tap[i] += part.reshape(tap[i].shape)
        return dy if into_wide is None else self.cropped(into_wide)

    def _groups(self) -> list[tuple[slice, slice]]:
        """Return the input channels and the filters of each group."""
        *_, inputs, filters = self.parameters["kernel"].shape
        each = filters // self.groups
        return [(slice(g * inputs, (g + 1) * inputs), slice(g * each, (g + 1) * each)) for g in range(self.groups)]

    def _rows(self, wide: Array) -> Array:
        """Return room for the windows of one image, (windows, size²·channels)."""
        rows, columns = self.counts(wide)
        return np.empty((rows * columns, self.size**2 * wide.shape[-1]), wide.dtype)

    def _lay(self, image: Array, rows: Array) -> Array:
        """Lay the windows of one image out as rows."""
        down, across, channel = image.strides
        s, k, channels = self.stride, self.size, image.shape[-1]
        shape = ((image.shape[0] - k) // s + 1, (image.shape[1] - k) // s + 1, k, k, channels)
        np.copyto(rows.reshape(shape), as_strided(image, shape, (s * down, s * across, down, across, channel)))
        return rows


class MaxPool2D(Window):
    """The largest value of each window. Its gradient goes to the first of equals, in row-major order."""

    pad_value = -np.inf

    def forward(self, x: Array, training: Training | None = None) -> Array:
        self.wide = self.padded(x)
        first, *others = self.taps(self.wide)
        self.y = first.copy()
        for tap in others:
            np.maximum(self.y, tap, out=self.y)
        return self.y

    def backward(self, dy: Array, into: bool = True) -> Array:
        into_wide = np.zeros_like(self.wide)
        left = dy.copy()  # what has not found its maximum yet
        for tap, target in zip(self.taps(self.wide), self.taps(into_wide), strict=True):
            here = left * (tap == self.y)
            target += here
            left -= here
        return self.cropped(into_wide)


class AvgPool2D(Window):
    """The sum of each window over size², padded zeros included."""

    def forward(self, x: Array, training: Training | None = None) -> Array:
        wide = self.padded(x)
        self.shape = wide.shape
        first, *others = self.taps(wide)
        y = first.copy()
        for tap in others:
            y += tap
        return y / self.size**2

    def backward(self, dy: Array, into: bool = True) -> Array:
        into_wide = np.zeros(self.shape, dy.dtype)
        share = dy / self.size**2
        for target in self.taps(into_wide):
            target += share
        return self.cropped(into_wide)


class GlobalAvgPool(Layer):
    """The mean over rows and columns."""

    def forward(self, x: Array, training: Training | None = None) -> Array:
        self.shape = x.shape
        return x.mean(axis=(1, 2))

    def backward(self, dy: Array, into: bool = True) -> Array:
        _, h, w, _ = self.shape
        return np.broadcast_to((dy / (h * w))[:, None, None], self.shape)
