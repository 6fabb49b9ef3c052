"""Convolutions of images (batch, h, w, c), alone or with what follows them."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np
from numba import get_num_threads

from ...spec import layers as spec
from ...spec.placement import PlacedLayer
from .kernels import convolution as kernels
from .kernels import winograd
from .layer import Array, Layer, Training

# Rows of a block of windows: enough for a product that is not slowed down by copying the kernel.
ROWS_OF_BLOCK = 288
# Tiles of a block: its patches and products of 32 and 64 channels take half of a second-level
# cache of 1 MB.
TILES_OF_BLOCK = 72
# With 16 channels in and out Winograd's algorithm takes as long as the windows (images of
# 26×26, float32); with 24 it takes 0.57 to 0.81 of their time, with 32 it takes 0.54 to 0.65.
LEAST_CHANNELS = 24

NO_WINNER = np.zeros((1, 1, 1, 1), np.uint8)


class ConvolutionBlock(Layer):
    """A convolution, perhaps with ReLU, perhaps with 2×2 max-pooling after it, in one sweep.

    The outputs of the layers in between are never in memory: R3's second convolution writes 2.4 MB
    for 64 images instead of 21 MB. The arrays of parameters and gradients are the convolution's.

    Parameters
    ----------
    convolution : spec.Conv2D
        The description of the convolution.
    relu, pooled : bool
        Whether ReLU and max-pooling with size 2, stride 2 and no padding follow.

    Notes
    -----
    `forward` and `input_gradient` return arrays that their next call overwrites.
    """

    def __init__(
        self, convolution: spec.Conv2D, *, relu: bool = False, pooled: bool = False
    ) -> None:
        super().__init__(convolution.name)
        self.size = convolution.size
        self.stride = convolution.stride
        self.padding = convolution.padding
        self.groups = convolution.groups
        self.relu = relu
        self.pooled = pooled

    def forward(self, x: Array, training: Training | None) -> Array:
        """Return pool(relu(x ∗ kernel + bias)), images (batch, rows, columns, filters)."""
        n, h, w, c = x.shape
        rows = (h + 2 * self.padding - self.size) // self.stride + 1
        columns = (w + 2 * self.padding - self.size) // self.stride + 1
        filters = self.parameters["kernel"].shape[-1]
        shape = (n, rows, columns, filters)
        if self.pooled:
            shape = (n, rows // 2, columns // 2, filters)
        self.x = x
        self.rows = rows
        self.columns = columns
        self.y = self.reuse("y", shape, x.dtype)
        self.winner = NO_WINNER
        if self.pooled:
            self.winner = self.reuse("winner", shape, np.uint8)
        possible = self.size == 3 and self.stride == 1 and self.groups == 1 and self.padding <= 2
        self.method: _Method = _Windows(self)
        if possible and min(c, filters) >= LEAST_CHANNELS:
            self.method = _Winograd(self)
        self.method.forward()
        return self.y

    def parameter_gradients(self, dy: Array) -> None:
        """Write the gradients of kernel and bias; keep that of the convolution's output."""
        self.dz = dy
        if self.relu or self.pooled:
            shape = (len(dy), self.rows, self.columns, dy.shape[-1])
            self.dz = self.reuse("dz", shape, dy.dtype)
        bias_sums = self.get("bias sums", get_num_threads(), 2, dy.shape[-1])
        bias_sums.fill(0)
        kernels.spread_gradient(dy, self.y, self.winner, self.relu, self.pooled, self.dz, bias_sums)
        if "bias" in self.gradients:
            np.sum(bias_sums[:, 0], axis=0, out=self.gradients["bias"])
        self.method.kernel_gradient(self.dz, self.gradients["kernel"])

    def input_gradient(self, dy: Array) -> Array:
        """Return the gradient with respect to the images, after `parameter_gradients`."""
        dx = self.reuse("dx", self.x.shape, dy.dtype)
        self.method.input_gradient(self.dz, dx)
        return dx

    def bias(self) -> Array:
        """Return the bias, or zeros."""
        kernel = self.parameters["kernel"]
        bias = self.parameters.get("bias")
        return np.zeros(kernel.shape[-1], kernel.dtype) if bias is None else bias

    def get(self, use: str, *shape: int) -> Array:
        """Return memory in the dtype of the layer."""
        return self.reuse(use, shape, self.parameters["kernel"].dtype)


class Conv2D(ConvolutionBlock):
    """y[p, q] = Σ x[p·stride + i, q·stride + j]·kernel[i, j] + bias.

    The sum is over the window and over the channels of the group. Rows and columns of zeros are
    around x.
    """

    def __init__(self, convolution: spec.Conv2D) -> None:
        super().__init__(convolution)


def find_blocks(places: Sequence[PlacedLayer]) -> list[int]:
    """Return into how many layers each step of a chain is divided, for example ``[3, 1, 1]``.

    A convolution, a ReLU and a max-pooling one after the other are one step, which
    `build_block` makes; every other layer is a step of its own.

    Parameters
    ----------
    places : sequence of PlacedLayer
        The layers of the chain.
    """
    lengths: list[int] = []
    start = 0
    while start < len(places):
        length = _length_of_block(places[start:])
        lengths.append(length)
        start += length
    return lengths


def build_block(places: Sequence[PlacedLayer]) -> ConvolutionBlock:
    """Return one layer that computes what several do: a convolution and what follows it.

    Parameters
    ----------
    places : sequence of PlacedLayer
        As many layers as `find_blocks` says.
    """
    followers = [type(place.layer) for place in places[1:]]
    convolution = places[0].layer
    assert isinstance(convolution, spec.Conv2D)
    return ConvolutionBlock(
        convolution, relu=spec.ReLU in followers, pooled=spec.MaxPool2D in followers
    )


def _length_of_block(places: Sequence[PlacedLayer]) -> int:
    """Return how many layers from the first one on are one block."""
    if type(places[0].layer) is not spec.Conv2D:
        return 1
    length = 1
    if len(places) > length and type(places[length].layer) is spec.ReLU:
        length += 1
    if len(places) > length:
        pool = places[length].layer
        if type(pool) is spec.MaxPool2D and (pool.size, pool.stride, pool.padding) == (2, 2, 0):
            length += 1
    return length


class _Method(ABC):
    """How a block computes its convolution; it has the block's arrays."""

    def __init__(self, block: ConvolutionBlock) -> None:
        self.block = block

    @abstractmethod
    def forward(self) -> None:
        """Write the block's y, and its winner."""

    @abstractmethod
    def kernel_gradient(self, dz: Array, gradient: Array) -> None:
        """Write the gradient of the kernel."""

    @abstractmethod
    def input_gradient(self, dz: Array, dx: Array) -> None:
        """Write the gradient with respect to the images."""


class _Windows(_Method):
    """By products of windows, for every convolution."""

    def forward(self) -> None:
        block = self.block
        kernel = self._kernel_of_groups(block.parameters["kernel"])
        windows, part = self._memory("forward")
        shares = len(windows)
        outputs = block.y.shape[-1]
        kernels.convolve(
            block.x.reshape(-1),
            self._geometry(),
            self._shape(),
            np.ascontiguousarray(kernel.transpose(1, 0, 2)),
            block.bias(),
            block.relu,
            block.pooled,
            pixels(block.y),
            block.y.reshape(-1),
            block.winner.reshape(-1),
            windows,
            block.get("products", shares, windows.shape[1] if block.pooled else 0, outputs),
            block.get("z", shares, 4, block.columns // 2 * outputs),
            part,
        )

    def kernel_gradient(self, dz: Array, gradient: Array) -> None:
        block = self.block
        gradient = self._kernel_of_groups(gradient)
        inputs, groups, outputs = gradient.shape
        windows, part = self._memory("kernel")
        shares = len(windows)
        sums = block.get("sums", shares, groups, inputs, outputs)
        sums.fill(0)
        kernels.convolve_weight_gradient(
            block.x.reshape(-1),
            self._geometry(),
            self._shape(),
            pixels(dz),
            sums,
            windows,
            part,
        )
        np.sum(sums.transpose(0, 2, 1, 3), axis=0, out=gradient)

    def input_gradient(self, dz: Array, dx: Array) -> None:
        kernel = self._kernel_of_groups(self.block.parameters["kernel"])
        weights = np.ascontiguousarray(kernel.transpose(1, 2, 0))
        dx.fill(0)
        kernels.convolve_input_gradient(
            pixels(dz),
            self._geometry(),
            self._shape(),
            weights,
            dx.reshape(-1),
            *self._memory("input"),
        )

    def _geometry(self) -> tuple[int, ...]:
        """Return h, w, c, groups, size, stride, padding."""
        block = self.block
        return (*block.x.shape[1:], block.groups, block.size, block.stride, block.padding)

    def _shape(self) -> tuple[int, int, int]:
        """Return how many images, rows of windows and columns of windows there are."""
        return len(self.block.x), self.block.rows, self.block.columns

    def _kernel_of_groups(self, kernel: Array) -> Array:
        """View a kernel as (inputs of a group, groups, outputs of a group)."""
        groups = self.block.groups
        return kernel.reshape(-1, groups, kernel.shape[-1] // groups)

    def _memory(self, use: str) -> tuple[Array, Array]:
        """Return memory for each share's windows, and for outputs of one group."""
        block = self.block
        inputs, groups, outputs = self._kernel_of_groups(block.parameters["kernel"]).shape
        two_rows = 2 * block.columns
        count = max(1, ROWS_OF_BLOCK // two_rows) * two_rows
        shares = get_num_threads()
        windows = block.get(f"{use} windows", shares, count, inputs)
        part = block.get(f"{use} part", shares, count if groups > 1 else 0, outputs)
        return windows, part


class _Winograd(_Method):
    """By Winograd's algorithm, for 3×3 windows with many channels."""

    def forward(self) -> None:
        block = self.block
        inputs, outputs = block.parameters["kernel"].shape[2:]
        tiles = block.columns // 2 if block.pooled else (block.columns + 1) // 2
        winograd.convolve(
            block.x.reshape(-1),
            block.x.shape,
            block.padding,
            transform(block.parameters["kernel"], G).reshape(16, inputs, outputs),
            block.bias(),
            block.relu,
            block.pooled,
            (block.rows, block.columns),
            block.y.reshape(-1),
            block.winner.reshape(-1),
            *self._memory("forward", tiles, inputs, outputs),
            block.get("half z", get_num_threads(), 4, tiles * outputs),
            block.get("z", get_num_threads(), 4, tiles * outputs),
        )

    def kernel_gradient(self, dz: Array, gradient: Array) -> None:
        block = self.block
        _, _, inputs, outputs = gradient.shape
        tiles = (dz.shape[2] + 1) // 2
        memory = self._memory("kernel", tiles, inputs, outputs)
        shares = len(memory[0])
        sums = block.get("sums", shares, 16, inputs, outputs)
        sums.fill(0)
        winograd.convolve_weight_gradient(
            block.x.reshape(-1),
            block.x.shape,
            block.padding,
            dz.reshape(-1),
            dz.shape,
            sums,
            *memory,
            block.get("half dz", shares, 4, 2 * tiles * outputs),
            block.get("dz lines", shares, 2, 2 * tiles * outputs),
        )
        gradient[...] = transform(sums.sum(axis=0).reshape(4, 4, inputs, outputs), G.T)

    def input_gradient(self, dz: Array, dx: Array) -> None:
        # Each pixel's gradient is a sum over the windows that it is in: the convolution of dz with
        # the kernel turned around.
        block = self.block
        turned = block.parameters["kernel"][::-1, ::-1].transpose(0, 1, 3, 2)
        inputs, outputs = turned.shape[2:]
        tiles = (dx.shape[2] + 1) // 2
        winograd.convolve(
            dz.reshape(-1),
            dz.shape,
            2 - block.padding,
            transform(turned, G).reshape(16, inputs, outputs),
            np.zeros(outputs, dx.dtype),
            False,
            False,
            dx.shape[1:3],
            dx.reshape(-1),
            NO_WINNER.reshape(-1),
            *self._memory("input", tiles, inputs, outputs),
            block.get("input half z", get_num_threads(), 4, tiles * outputs),
            block.get("input z", get_num_threads(), 4, tiles * outputs),
        )

    def _memory(self, use: str, tiles: int, inputs: int, outputs: int) -> tuple[Array, ...]:
        """Return memory of each share: lines, half transformed lines, patches, and products.

        The last two are returned twice, with tiles and channels as two axes and as one.

        Parameters
        ----------
        use : str
            What computes with it.
        tiles : int
            In a row.
        inputs, outputs : int
            Channels of patches and products.
        """
        get = self.block.get
        count = max(1, TILES_OF_BLOCK // tiles) * tiles
        shares = get_num_threads()
        patches = get(f"{use} patches", shares, 16, count, inputs)
        products = get(f"{use} products", shares, 16, count, outputs)
        return (
            get(f"{use} lines", shares, 4, 2 * (tiles + 1) * inputs),
            get(f"{use} half", shares, 4, 2 * (tiles + 1) * inputs),
            patches,
            patches.reshape(shares, 16, count * inputs),
            products,
            products.reshape(shares, 16, count * outputs),
        )


def pixels(images: Array) -> Array:
    """View images as one row for each pixel, (n·rows·columns, channels)."""
    return images.reshape(-1, images.shape[-1])


# Of F(2×2, 3×3), as in `kernels.winograd`.
G = np.array([[1, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]])


def transform(kernel: Array, matrix: Array) -> Array:
    """Return m·k·mᵀ for every pair of channels.

    Parameters
    ----------
    kernel : ndarray, shape (columns of m, columns of m, c, f)
        The matrices k.
    matrix : ndarray
        The matrix m.
    """
    m = matrix.astype(kernel.dtype)
    side, _, inputs, outputs = kernel.shape
    half = m @ kernel.reshape(side, -1)
    whole = m @ half.reshape(len(m), side, -1)
    return whole.reshape(len(m), len(m), inputs, outputs)
