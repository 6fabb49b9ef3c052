"""Convolution and pooling of images (batch, h, w, c)."""

from collections.abc import Iterable
from math import prod

import numpy as np

from .layer import Array, Layer, sum_over_batch


class Window(Layer):
    """Base of the layers that slide a window over an image.

    There are rows · columns windows, at a distance of `stride`. The size² places of a window are
    numbered in row-major order.
    """

    padding_value = 0.0

    def pad(self, x: Array) -> Array:
        """Return images with the padding around them."""
        self.shape = x.shape
        self.dtype = x.dtype
        p = self.spec.padding
        if p == 0:
            return x
        widths = ((0, 0), (p, p), (p, p), (0, 0))
        return np.pad(x, widths, constant_values=self.padding_value)

    def places(self, padded: Array) -> list[Array]:
        """Return what each place of the window sees: size² views (batch, rows, columns, c)."""
        size = self.spec.size
        stride = self.spec.stride
        _, height, width, _ = padded.shape
        last_row = height - size
        last_column = width - size
        views: list[Array] = []
        for i, j in np.ndindex(size, size):
            rows = slice(i, last_row + i + 1, stride)
            columns = slice(j, last_column + j + 1, stride)
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
        p = self.spec.padding
        shape = (batch, height + 2 * p, width + 2 * p, channels)
        padded = np.zeros(shape, self.dtype)
        views = self.places(padded)
        for view, share in zip(views, shares, strict=True):
            view += share
        return padded[:, p : p + height, p : p + width]


class Conv2D(Window):
    """Cross-correlation: y[p, q] = Σ x[p·stride + i, q·stride + j]·W[i, j] + b.

    The windows are laid out as the rows of a matrix X (im2col), (batch·rows·columns, size²·c). So a
    convolution is the three products of a dense layer. With groups, every group of channels has
    matrices of its own.
    """

    def forward(self, x: Array) -> Array:
        """Return y = X·W + b."""
        windows = self.windows_by_group(x)
        if self.training:  # in evaluation, those of all layers would fill the memory
            self.windows = windows
        y = windows @ self.kernels()  # (groups, batch·rows·columns, filters of a group)
        y = y.swapaxes(0, 1).reshape(*self.counts, self.spec.filters)
        if "bias" in self.parameters:
            y += self.parameters["bias"]
        return y

    def parameter_gradients(self, dy: Array) -> None:
        """Set ∂L/∂W = Xᵀ·dy and ∂L/∂b = Σ dy over batch, rows and columns."""
        kernel = self.parameters["kernel"]
        windows = self.windows.swapaxes(1, 2)
        gradient = windows @ self.outputs_by_group(dy)
        self.gradients["kernel"] = gradient.swapaxes(0, 1).reshape(kernel.shape)
        if "bias" in self.parameters:
            self.gradients["bias"] = sum_over_batch(dy)

    def input_gradient(self, dy: Array) -> Array:
        """Return dx: each pixel's sum of dX = dy·Wᵀ over the windows that it is in."""
        kernels = self.kernels().swapaxes(1, 2)
        dwindows = self.outputs_by_group(dy) @ kernels
        groups, n, inner = dwindows.shape
        places = self.spec.size**2
        c = inner // places
        by_place = dwindows.reshape(groups, n, places, c).transpose(2, 1, 0, 3)
        return self.add_places(place.reshape(*self.counts, groups * c) for place in by_place)

    def windows_by_group(self, x: Array) -> Array:
        """Return X of each group of channels, (groups, batch·rows·columns, size²·c)."""
        views = np.stack(self.places(self.pad(x)), axis=3)  # (batch, rows, columns, size², c)
        self.counts = views.shape[:3]
        n = prod(self.counts)
        places = self.spec.size**2
        groups = self.spec.groups
        c = x.shape[-1] // groups
        by_group = views.reshape(n, places, groups, c).transpose(2, 0, 1, 3)
        return by_group.reshape(groups, n, places * c)

    def kernels(self) -> Array:
        """Return W of each group of channels, (groups, size²·c, filters of a group)."""
        kernel = self.parameters["kernel"]
        filters = self.spec.filters // self.spec.groups
        return kernel.reshape(-1, self.spec.groups, filters).swapaxes(0, 1)

    def outputs_by_group(self, dy: Array) -> Array:
        """Return dy of each group of filters, (groups, batch·rows·columns, filters of a group)."""
        filters = self.spec.filters // self.spec.groups
        return dy.reshape(prod(self.counts), self.spec.groups, filters).swapaxes(0, 1)


class MaxPool2D(Window):
    """The largest value of each window; padding never wins."""

    padding_value = -np.inf

    def forward(self, x: Array) -> Array:
        """Return y, the largest value of each window."""
        first, *others = self.places(self.pad(x))
        y = first.copy()
        dtype = np.min_scalar_type(self.spec.size**2)
        self.winner = np.zeros(y.shape, dtype)  # the number of a place
        for number, view in enumerate(others, 1):
            self.winner[view > y] = number
            np.maximum(y, view, out=y)
        return y

    def input_gradient(self, dy: Array) -> Array:
        """Give dy to the largest value; of equal ones, to the first in row-major order."""
        numbers = range(self.spec.size**2)
        return self.add_places(dy * (self.winner == number) for number in numbers)


class AvgPool2D(Window):
    """The mean of each window, padded zeros included."""

    def forward(self, x: Array) -> Array:
        """Return y, the mean of the size² places of each window."""
        return np.mean(self.places(self.pad(x)), axis=0)

    def input_gradient(self, dy: Array) -> Array:
        """Give dy/size² to each place of the window."""
        count = self.spec.size**2
        share = dy / count
        return self.add_places([share] * count)


class GlobalAvgPool(Layer):
    """The mean over rows and columns."""

    def forward(self, x: Array) -> Array:
        """Return y, (batch, c), of x, (batch, h, w, c)."""
        self.shape = x.shape
        return x.mean(axis=(1, 2))

    def input_gradient(self, dy: Array) -> Array:
        """Return dx = dy/(h·w) at every pixel."""
        _, height, width, _ = self.shape
        share = dy / (height * width)
        return np.broadcast_to(share[:, None, None], self.shape)
