"""Convolutions of images (batch, h, w, c), alone or with what follows them."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np
from numba import get_num_threads

from ...spec import layers as spec
from ...spec.placement import PlacedLayer
from .kernels import convolution as kernels
from .kernels import winograd
from .layer import Layer, Training

# Rows of a block of windows: enough for a product that is not slowed down by copying the kernel.
ROWS_OF_BLOCK = 288
# Tiles of a block: its patches and products of 32 and 64 channels take half of a second-level
# cache of 1 MB.
TILES_OF_BLOCK = 72
# With fewer channels the transforms take longer than the products that they save.
LEAST_CHANNELS = 16

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

    @property
    def rows_of_unit(self) -> int:
        """How many rows of windows are computed together."""
        return 2 if self.pooled else 1

    def forward(self, x: np.ndarray, training: Training | None) -> np.ndarray:
        """Return pool(relu(x ∗ kernel + bias)), images (batch, rows, columns, filters)."""
        n, h, w, c = x.shape
        rows = (h + 2 * self.padding - self.size) // self.stride + 1
        columns = (w + 2 * self.padding - self.size) // self.stride + 1
        filters = self.parameters["kernel"].shape[-1]
        shape = (n, rows // self.rows_of_unit, columns // self.rows_of_unit, filters)
        self.x = x
        self.columns = columns
        self.y = self.reuse("y", shape, x.dtype)
        self.winner = NO_WINNER
        if self.pooled:
            self.winner = self.reuse("winner", shape, np.uint8)
        self.method: _Method = _Windows(self)
        if self.size == 3 and self.stride == 1 and self.groups == 1 and self.padding <= 2:
            if min(c, filters) >= LEAST_CHANNELS:
                self.method = _Winograd(self)
        self.method.forward()
        return self.y

    def parameter_gradients(self, dy: np.ndarray) -> None:
        """Write the gradients of kernel and bias."""
        bias_sums = self.get("bias sums", get_num_threads(), 2, dy.shape[-1])
        self.method.kernel_gradient(dy, self.gradients["kernel"], bias_sums)
        if "bias" in self.gradients:
            np.sum(bias_sums[:, 0], axis=0, out=self.gradients["bias"])

    def input_gradient(self, dy: np.ndarray) -> np.ndarray:
        """Return the gradient with respect to the images."""
        dx = self.reuse("dx", self.x.shape, dy.dtype)
        self.method.input_gradient(dy, dx)
        return dx

    def bias(self) -> np.ndarray:
        """Return the bias, or zeros."""
        kernel = self.parameters["kernel"]
        bias = self.parameters.get("bias")
        return np.zeros(kernel.shape[-1], kernel.dtype) if bias is None else bias

    def get(self, use: str, *shape: int) -> np.ndarray:
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
    def kernel_gradient(self, dy: np.ndarray, gradient: np.ndarray, bias_sums: np.ndarray) -> None:
        """Write the gradient of the kernel, and each share's gradient of the bias."""

    @abstractmethod
    def input_gradient(self, dy: np.ndarray, dx: np.ndarray) -> None:
        """Write the gradient with respect to the images."""


class _Windows(_Method):
    """By products of windows, for every convolution."""

    def forward(self) -> None:
        block = self.block
        kernel = self._kernel_of_groups(block.parameters["kernel"])
        weights = np.ascontiguousarray(kernel.transpose(1, 0, 2))
        windows, z, part = self._memory("forward", block.pooled)
        kernels.convolve(
            block.x,
            weights,
            block.bias(),
            block.relu,
            block.pooled,
            block.size,
            block.stride,
            block.padding,
            block.y,
            block.winner,
            windows,
            z,
            part,
        )

    def kernel_gradient(self, dy: np.ndarray, gradient: np.ndarray, bias_sums: np.ndarray) -> None:
        block = self.block
        gradient = self._kernel_of_groups(gradient)
        inputs, groups, outputs = gradient.shape
        shares = len(bias_sums)
        sums = block.get("sums", shares, groups, inputs, outputs)
        kernels.convolve_weight_gradient(
            block.x,
            dy,
            block.y,
            block.winner,
            block.relu,
            block.pooled,
            block.size,
            block.stride,
            block.padding,
            sums,
            bias_sums,
            *self._memory("kernel", block.relu or block.pooled),
            block.get("product", shares, inputs, outputs),
        )
        np.sum(sums.transpose(0, 2, 1, 3), axis=0, out=gradient)

    def input_gradient(self, dy: np.ndarray, dx: np.ndarray) -> None:
        block = self.block
        kernel = self._kernel_of_groups(block.parameters["kernel"])
        weights = np.ascontiguousarray(kernel.transpose(1, 2, 0))
        kernels.convolve_input_gradient(
            dy,
            block.y,
            block.winner,
            block.relu,
            block.pooled,
            weights,
            block.size,
            block.stride,
            block.padding,
            dx,
            *self._memory("input", block.relu or block.pooled),
        )

    def _kernel_of_groups(self, kernel: np.ndarray) -> np.ndarray:
        """View a kernel as (inputs of a group, groups, outputs of a group)."""
        groups = self.block.groups
        return kernel.reshape(-1, groups, kernel.shape[-1] // groups)

    def _memory(self, use: str, whole: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return memory for windows, for outputs if `whole`, and for those of a group."""
        block = self.block
        inputs, groups, outputs = self._kernel_of_groups(block.parameters["kernel"]).shape
        rows_of_unit = block.rows_of_unit * block.columns
        units = len(block.y) * block.y.shape[1]
        rows = max(1, min(ROWS_OF_BLOCK // rows_of_unit, units)) * rows_of_unit
        shares = get_num_threads()
        windows = block.get(f"{use} windows", shares, rows, inputs)
        z = block.get(f"{use} z", shares, rows if whole else 0, groups * outputs)
        part = block.get(f"{use} part", shares, rows if groups > 1 else 0, outputs)
        return windows, z, part


class _Winograd(_Method):
    """By Winograd's algorithm, for 3×3 windows with many channels."""

    def forward(self) -> None:
        block = self.block
        kernel = block.parameters["kernel"]
        winograd.convolve(
            block.x,
            block.x,
            NO_WINNER,
            False,
            False,
            self._transformed(kernel),
            block.bias(),
            block.relu,
            block.pooled,
            block.padding,
            block.y,
            block.winner,
            *self._memory("forward", *kernel.shape[2:], block.y, block.pooled),
        )

    def kernel_gradient(self, dy: np.ndarray, gradient: np.ndarray, bias_sums: np.ndarray) -> None:
        block = self.block
        _, _, inputs, outputs = gradient.shape
        shares = len(bias_sums)
        winograd.convolve_weight_gradient(
            block.x,
            dy,
            block.y,
            block.winner,
            block.relu,
            block.pooled,
            block.padding,
            gradient,
            bias_sums,
            block.get("sums", shares, 16, inputs, outputs),
            block.get("product", shares, inputs, outputs),
            *self._memory("kernel", inputs, outputs, dy, block.pooled),
        )

    def input_gradient(self, dy: np.ndarray, dx: np.ndarray) -> None:
        # Each pixel's gradient is a sum over the windows that it is in: the convolution of dz with
        # the kernel turned around.
        block = self.block
        turned = block.parameters["kernel"][::-1, ::-1].transpose(0, 1, 3, 2)
        inputs, outputs = turned.shape[2:]
        winograd.convolve(
            dy,
            block.y,
            block.winner,
            block.relu,
            block.pooled,
            self._transformed(np.ascontiguousarray(turned)),
            np.zeros(outputs, dx.dtype),
            False,
            False,
            2 - block.padding,
            dx,
            NO_WINNER,
            *self._memory("input", inputs, outputs, dx, False),
        )

    def _transformed(self, kernel: np.ndarray) -> np.ndarray:
        transformed = self.block.get("transformed", 16, *kernel.shape[2:])
        winograd.transform_kernel(kernel, transformed)
        return transformed

    def _memory(
        self, use: str, inputs: int, outputs: int, y: np.ndarray, pooled: bool
    ) -> tuple[np.ndarray, ...]:
        """Return memory for lines, half transformed lines, outputs, patches, and products."""
        block = self.block
        n, rows, tiles, _ = y.shape
        if not pooled:
            rows = (rows + 1) // 2
            tiles = (tiles + 1) // 2
        count = max(1, min(TILES_OF_BLOCK // tiles, n * rows)) * tiles
        width = max(2 * tiles + 2, block.x.shape[2])
        shares = get_num_threads()
        return (
            block.get(f"{use} lines", shares, 4, 2 * tiles + 2, inputs),
            block.get(f"{use} half", shares, 4, width * inputs),
            block.get(f"{use} z", shares, 2, 2 * tiles, outputs),
            block.get(f"{use} patches", shares, 16, count, inputs),
            block.get(f"{use} products", shares, 16, count, outputs),
        )
