"""The layers of the Numba engine: objects that call compiled functions.

A builder of a layer is a function ``builder(place)`` that takes a `PlacedLayer` and returns a
`Layer`. The engine sets its ``parameters``, ``buffers`` and ``gradients``, which are dictionaries
of arrays by leaf (``kernel``, ``running_mean``). A layer reads the first and writes into the
others, in place.

Images are (batch, rows, columns, channels), vectors are (batch, features), both C-contiguous.
"""

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import numpy as np

from ...core.builders import BuilderTable
from ...spec import layers as spec
from ...spec.placement import Layer as Description
from ...spec.placement import PlacedLayer
from .convolution import Conv2D, build_block, find_blocks
from .kernels import activations
from .kernels.activations import activate_parts, multiply_parts, sweep_address
from .kernels.dense import dense_forward, dense_gradients, dense_input_gradient
from .layer import Array, Layer, Training
from .normalization import BatchNorm, LayerNorm
from .pooling import AvgPool2D, GlobalAvgPool, MaxPool2D
from .threads import share_count

# Multiplications of a dense layer that a thread makes at least: for fewer, waking it takes longer.
LEAST_PRODUCTS = 2**20


class Chain(Layer):
    """Layers, one after the other.

    Parameters
    ----------
    layers : sequence of Layer
        In order of computation.
    blocks : sequence of Layer
        The same with fewer sweeps: a block may compute what several layers do. The outputs in
        between do not exist then, so that a trace computes the layers.
    """

    def __init__(self, layers: Sequence[Layer], blocks: Sequence[Layer]) -> None:
        super().__init__("")
        self.layers = list(layers)
        self.blocks = list(blocks)
        self.used = self.blocks  # in the last forward pass

    def forward(self, x: Array, training: Training | None) -> Array:
        """Return the output of the last layer."""
        outputs = None if training is None else training.outputs
        self.used = self.blocks if outputs is None else self.layers
        for layer in self.used:
            x = layer.forward(x, training)
            if outputs is not None:
                outputs[layer.name] = x.copy()
        return x

    def backward(self, dy: Array) -> Array:
        """Write all gradients and return that of the input."""
        for layer in reversed(self.used):
            dy = layer.backward(dy)
        return dy

    def parameter_gradients(self, dy: Array) -> None:
        """Write all gradients; nothing is computed for layers before the first that learns."""
        if not self.learns:
            return
        first = next(i for i, layer in enumerate(self.used) if layer.learns)
        for layer in reversed(self.used[first + 1 :]):
            dy = layer.backward(dy)
        self.used[first].parameter_gradients(dy)

    @property
    def learns(self) -> bool:
        """Whether one of its layers has parameters."""
        return any(layer.learns for layer in self.layers)

    def with_inner(self) -> list[Layer]:
        """Return all layers, those inside others too, in order of computation."""
        return [inner for layer in self.layers for inner in layer.with_inner()]


class Residual(Layer):
    """The sum of two chains with the same input; an empty chain is the identity."""

    def __init__(self, name: str, branch: Chain, projection: Chain) -> None:
        super().__init__(name)
        self.branch = branch
        self.projection = projection

    def forward(self, x: Array, training: Training | None) -> Array:
        """Return branch(x) + projection(x)."""
        return self.branch.forward(x, training) + self.projection.forward(x, training)

    def parameter_gradients(self, dy: Array) -> None:
        """Write the gradients of both chains."""
        self.branch.parameter_gradients(dy)
        self.projection.parameter_gradients(dy)

    def backward(self, dy: Array) -> Array:
        """Write the gradients of both chains; the input's gradient is the sum of theirs."""
        return self.branch.backward(dy) + self.projection.backward(dy)

    @property
    def learns(self) -> bool:
        """Whether one of its chains has parameters."""
        return self.branch.learns or self.projection.learns

    def with_inner(self) -> list[Layer]:
        """Return the layers of both chains, then this one."""
        return [*self.branch.with_inner(), *self.projection.with_inner(), self]


class Flatten(Layer):
    """An image as a vector."""

    def forward(self, x: Array, training: Training | None) -> Array:
        """Return x in the shape (batch, features)."""
        self.shape = x.shape
        return x.reshape(len(x), prod(x.shape[1:]))

    def input_gradient(self, dy: Array) -> Array:
        """Return dy in the shape of the input."""
        return dy.reshape(self.shape)


class Dense(Layer):
    """y = x·W + b; ∂W = xᵀ·dy, ∂b = Σ dy, ∂x = dy·Wᵀ."""

    def forward(self, x: Array, training: Training | None) -> Array:
        """Return x·W + b, shape (batch, outputs)."""
        kernel = self.parameters["kernel"]
        self.x = x
        self.shares = share_count(len(x) * kernel.size, LEAST_PRODUCTS)
        y = self.reuse("y", (len(x), kernel.shape[1]), x.dtype)
        dense_forward(x, kernel, self._bias(self.parameters), y, self.shares)
        return y

    def parameter_gradients(self, dy: Array) -> None:
        """Write xᵀ·dy and Σ dy."""
        kernel = self.gradients["kernel"]
        dense_gradients(self.x, dy, kernel, self._bias(self.gradients), self.shares)

    def input_gradient(self, dy: Array) -> Array:
        """Return dy·Wᵀ, shape (batch, inputs)."""
        dx = self.reuse("dx", self.x.shape, dy.dtype)
        dense_input_gradient(dy, self.parameters["kernel"], dx, self.shares)
        return dx

    def _bias(self, arrays: dict[str, Array]) -> Array:
        """Return the bias, or its gradient; an empty array for a layer without bias."""
        return arrays.get("bias", np.zeros(0, arrays["kernel"].dtype))


class Elementwise(Layer):
    """A function of each number, or a dropout; `kernels.activations` has the formulas.

    Parameters
    ----------
    name : str
        Of the layer in its network.
    code : int
        Which function.
    slope : float
        Of a leaky ReLU.
    rate : float
        The share of numbers that a dropout sets to 0.
    """

    def __init__(self, name: str, code: int, slope: float = 0.0, rate: float = 0.0) -> None:
        super().__init__(name)
        self.code = code
        self.slope = slope
        self.scale = 1 / (1 - rate)

    def forward(self, x: Array, training: Training | None) -> Array:
        """Return the function of x, in the shape of x."""
        mask = np.zeros(0, np.bool_)
        if training is not None and self.name in training.masks:
            mask = training.masks[self.name].reshape(-1)
        y = self.reuse("y", x.shape, x.dtype)
        self.factor = self.reuse("factor", x.shape, x.dtype)
        activate_parts(
            sweep_address(self.code, x.dtype.name),
            x.dtype.type(self.slope),
            x.reshape(-1),
            mask,
            x.dtype.type(self.scale),
            y.reshape(-1),
            self.factor.reshape(-1),
            share_count(x.size),
        )
        return y

    def input_gradient(self, dy: Array) -> Array:
        """Return dy times the derivative, in the shape of dy."""
        dx = self.reuse("dx", dy.shape, dy.dtype)
        shares = share_count(dy.size)
        multiply_parts(dy.reshape(-1), self.factor.reshape(-1), dx.reshape(-1), shares)
        return dx


IN_BLOCKS = (Conv2D, Elementwise, MaxPool2D)  # a builder of a plug-in may make others

LayerBuilder = Callable[[Any], Layer]

LAYERS: BuilderTable[LayerBuilder] = BuilderTable("Numba", "layer")


def register_layer(spec_class: type[Description], builder: LayerBuilder) -> None:
    """Use `builder` for layers of `spec_class`; its signature is at the top of this file."""
    LAYERS.register(spec_class, builder)


def build_layer(place: PlacedLayer) -> Layer:
    """Return the layer of a placed description."""
    return LAYERS.find(place.layer)(place)


def build_chain(places: Sequence[PlacedLayer]) -> Chain:
    """Return the layers of a network, or of a part of it, as one layer."""
    layers = [build_layer(place) for place in places]
    return Chain(layers, build_blocks(places, layers))


def build_blocks(places: Sequence[PlacedLayer], layers: Sequence[Layer]) -> list[Layer]:
    """Return layers of which each computes what one or several of `layers` do."""
    blocks: list[Layer] = []
    start = 0
    for length in find_blocks(places):
        part = layers[start : start + length]
        if length == 1 or any(type(layer) not in IN_BLOCKS for layer in part):
            blocks += part
        else:
            block = build_block(places[start : start + length])
            block.parameters = part[0].parameters
            block.gradients = part[0].gradients
            blocks.append(block)
        start += length
    return blocks


def build_residual(place: PlacedLayer) -> Layer:
    """Return the sum of two chains."""
    return Residual(place.layer.name, build_chain(place.branch), build_chain(place.projection))


def activation(code: int) -> LayerBuilder:
    """Return the builder of an activation without settings."""
    return lambda place: Elementwise(place.layer.name, code)


def build_leaky_relu(place: PlacedLayer) -> Layer:
    """Return a leaky ReLU."""
    layer: Any = place.layer
    return Elementwise(layer.name, activations.LEAKY_RELU, slope=layer.slope)


def build_gelu(place: PlacedLayer) -> Layer:
    """Return a GELU, exact or by tanh."""
    layer: Any = place.layer
    code = activations.GELU if layer.form == "erf" else activations.GELU_TANH
    return Elementwise(layer.name, code)


def build_dropout(place: PlacedLayer) -> Layer:
    """Return a dropout."""
    layer: Any = place.layer
    return Elementwise(layer.name, activations.IDENTITY, rate=layer.rate)


register_layer(spec.Flatten, lambda place: Flatten(place.layer.name))
register_layer(spec.Dense, lambda place: Dense(place.layer.name))
register_layer(spec.Conv2D, lambda place: Conv2D(place.layer))
register_layer(spec.MaxPool2D, lambda place: MaxPool2D(place.layer))
register_layer(spec.AvgPool2D, lambda place: AvgPool2D(place.layer))
register_layer(spec.GlobalAvgPool, lambda place: GlobalAvgPool(place.layer))
register_layer(spec.BatchNorm, lambda place: BatchNorm(place.layer))
register_layer(spec.LayerNorm, lambda place: LayerNorm(place.layer))
register_layer(spec.Residual, build_residual)
register_layer(spec.Dropout, build_dropout)
register_layer(spec.ReLU, activation(activations.RELU))
register_layer(spec.LeakyReLU, build_leaky_relu)
register_layer(spec.GELU, build_gelu)
register_layer(spec.SiLU, activation(activations.SILU))
register_layer(spec.Tanh, activation(activations.TANH))
register_layer(spec.Sigmoid, activation(activations.SIGMOID))
