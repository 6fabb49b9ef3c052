"""Convolution and pooling of images (batch, h, w, c)."""

from collections.abc import Iterable
from math import prod

import numpy as np

from .layer import Array, Layer, Training, sum_over_batch


class Window(Layer):
    """Base of the layers that slide a window over an image.

    There are rows · columns windows, at a distance of `stride`. The size² places of a window are
    numbered in row-major order.
    """

    padding_value = 0.0

    def __init__(self, name: str, size: int, stride: int, padding: int) -> None:
        super().__init__(name)
        self.size = size
        self.stride = stride
        self.padding = padding

    def pad(self, x: Array) -> Array:
        """Return images with the padding around them."""
        self.shape = x.shape
        self.dtype = x.dtype
        if self.padding == 0:
            return x
        border = (self.padding, self.padding)
        widths = ((0, 0), border, border, (0, 0))
        return np.pad(x, widths, constant_values=self.padding_value)

    def places(self, padded: Array) -> list[Array]:
        """Return what each place of the window sees: size² views (batch, rows, columns, c)."""
        _, height, width, _ = padded.shape
        views: list[Array] = []
        for i, j in np.ndindex(self.size, self.size):
            end_row = height - self.size + i + 1
            end_column = width - self.size + j + 1
            rows = slice(i, end_row, self.stride)
            columns = slice(j, end_column, self.stride)
            views.append(padded[:, rows, columns])
        return views

    def add_places(self, shares: Iterable[Array]) -> Array:
        """Return the gradient of `places` and `pad`: each pixel's sum over the places it is in.

        Parameters
        ----------
        shares : iterable of ndarray, shape (batch, rows, columns, c)
            The gradient of what each place sees.
        """
        batch, height, width, channels = self.shape
        p = self.padding
        shape = (batch, height + 2 * p, width + 2 * p, channels)
        padded = np.zeros(shape, self.dtype)
        for view, share in zip(self.places(padded), shares, strict=True):
            view += share
        return padded[:, p : p + height, p : p + width]


class Conv2D(Window):
    """Cross-correlation: y[p, q] = Σ x[p·stride + i, q·stride + j]·W[i, j] + b.

    The windows are laid out as the rows of a matrix X (im2col), (batch·rows·columns, size²·c). So a
    convolution is the three products of a dense layer. With groups, every group of channels has
    matrices of its own.
    """

    def __init__(self, name: str, size: int, stride: int, padding: int, groups: int) -> None:
        super().__init__(name, size, stride, padding)
        self.groups = groups

    def forward(self, x: Array, training: Training | None = None) -> Array:
        """Return y = X·W + b."""
        places = np.stack(self.places(self.pad(x)), axis=3)  # (batch, rows, columns, size², c)
        self.counts = places.shape[:3]
        n = prod(self.counts)
        g = self.groups
        c = x.shape[-1] // g
        by_group = places.reshape(n, self.size**2, g, c).transpose(2, 0, 1, 3)
        windows = by_group.reshape(g, n, self.size**2 * c)
        if training is not None:  # in evaluation, those of all layers would fill the memory
            self.windows = windows
        kernels = self.kernels()
        y = windows @ kernels  # (groups, n, filters of a group)
        y = y.swapaxes(0, 1).reshape(*self.counts, g * kernels.shape[-1])
        if "bias" in self.parameters:
            y += self.parameters["bias"]
        return y

    def parameter_gradients(self, dy: Array) -> None:
        """Set ∂L/∂W = Xᵀ·dy and ∂L/∂b = Σ dy over batch, rows and columns."""
        kernel = self.parameters["kernel"]
        gradient = self.windows.swapaxes(1, 2) @ self.outputs_by_group(dy)
        self.gradients["kernel"] = gradient.swapaxes(0, 1).reshape(kernel.shape)
        if "bias" in self.parameters:
            self.gradients["bias"] = sum_over_batch(dy)

    def input_gradient(self, dy: Array) -> Array:
        """Return dx: each pixel's sum of dX = dy·Wᵀ over the windows that it is in."""
        windows = self.outputs_by_group(dy) @ self.kernels().swapaxes(1, 2)
        g, n, inner = windows.shape
        c = inner // self.size**2
        places = windows.reshape(g, n, self.size**2, c).transpose(2, 1, 0, 3)
        return self.add_places(place.reshape(*self.counts, g * c) for place in places)

    def kernels(self) -> Array:
        """Return the kernel as a matrix for each group, (groups, size²·c, filters of a group)."""
        kernel = self.parameters["kernel"]
        by_group = kernel.reshape(-1, self.groups, kernel.shape[-1] // self.groups)
        return by_group.swapaxes(0, 1)

    def outputs_by_group(self, dy: Array) -> Array:
        """Return dy as (groups, batch·rows·columns, filters of a group)."""
        filters = dy.shape[-1] // self.groups
        return dy.reshape(prod(self.counts), self.groups, filters).swapaxes(0, 1)


class MaxPool2D(Window):
    """The largest value of each window; padding never wins."""

    padding_value = -np.inf

    def forward(self, x: Array, training: Training | None = None) -> Array:
        """Return y, the largest value of each window."""
        first, *others = self.places(self.pad(x))
        y = first.copy()
        self.winner = np.zeros(y.shape, np.min_scalar_type(self.size**2))  # a place's number
        for number, view in enumerate(others, 1):
            self.winner[view > y] = number
            np.maximum(y, view, out=y)
        return y

    def input_gradient(self, dy: Array) -> Array:
        """Give dy to the largest value; of equal ones, to the first in row-major order."""
        return self.add_places(dy * (self.winner == number) for number in range(self.size**2))


class AvgPool2D(Window):
    """The mean of each window, padded zeros included."""

    def forward(self, x: Array, training: Training | None = None) -> Array:
        """Return y, the mean of the size² places of each window."""
        return np.mean(self.places(self.pad(x)), axis=0)

    def input_gradient(self, dy: Array) -> Array:
        """Give dy/size² to each place of the window."""
        share = dy / self.size**2
        return self.add_places([share] * self.size**2)


class GlobalAvgPool(Layer):
    """The mean over rows and columns."""

    def forward(self, x: Array, training: Training | None = None) -> Array:
        """Return y, (batch, c), of x, (batch, h, w, c)."""
        self.shape = x.shape
        return x.mean(axis=(1, 2))

    def input_gradient(self, dy: Array) -> Array:
        """Return dx = dy/(h·w) at every pixel."""
        _, height, width, _ = self.shape
        share = dy / (height * width)
        return np.broadcast_to(share[:, None, None], self.shape)
