"""The layers of a network, made from their descriptions: a chain of dense layers and others.

A builder of a layer is a function ``builder(description)`` that returns a `Layer`. The engine sets
its ``parameters`` and ``buffers``, which are dictionaries of arrays by leaf, such as ``kernel``,
and before each pass ``training`` and ``mask``.
"""

from collections.abc import Callable, Iterable, Sequence
from math import prod
from typing import Any

import numpy as np

from ...core.builders import BuilderTable
from ...spec import layers as spec
from ...spec.placement import Layer as Description
from ...spec.placement import PlacedLayer
from .activations import GELU, GELUTanh, LeakyReLU, Sigmoid, SiLU, Tanh
from .convolution import AvgPool2D, Conv2D, GlobalAvgPool, MaxPool2D
from .layer import Array, Layer, sum_over_batch
from .normalization import BatchNorm, LayerNorm

LayerBuilder = Callable[[Any], Layer]

LAYERS: BuilderTable[LayerBuilder] = BuilderTable("NumPy", "layer")


def register_layer(spec_class: type[Description], builder: LayerBuilder) -> None:
    """Use `builder` for layers of `spec_class`; its signature is at the top of this file."""
    LAYERS.register(spec_class, builder)


class Chain:
    """Layers one after the other."""

    def __init__(self, layers: Sequence[Layer]) -> None:
        self.layers = layers

    def with_inner(self) -> list[Layer]:
        """Return all layers in order of computation."""
        return [inner for layer in self.layers for inner in layer.with_inner()]

    def forward(self, x: Array) -> Array:
        """Return the output of the last layer."""
        for layer in self.layers:
            x = layer.forward(x)
            if layer.outputs is not None:
                layer.outputs[layer.name] = x
        return x

    def backward(self, dy: Array) -> Array:
        """Set the gradients of all parameters, and return dx of the first layer."""
        for layer in reversed(self.layers):
            dy = layer.backward(dy)
        return dy

    def parameter_gradients(self, dy: Array) -> None:
        """Set the gradients of all parameters, without what only the input would need."""
        trained = [i for i, layer in enumerate(self.layers) if layer.learns]
        if not trained:
            return
        first = trained[0]
        for layer in reversed(self.layers[first + 1 :]):
            dy = layer.backward(dy)
        self.layers[first].parameter_gradients(dy)


def build_chain(places: Iterable[PlacedLayer]) -> Chain:
    """Return the layers of placed descriptions as a chain."""
    return Chain([build_layer(place) for place in places])


def build_layer(place: PlacedLayer) -> Layer:
    """Return the layer of a placed description."""
    if isinstance(place.layer, spec.Residual):
        branch = build_chain(place.branch)
        projection = build_chain(place.projection)
        return Residual(place.layer, branch, projection)
    builder = LAYERS.find(place.layer)
    return builder(place.layer)


class Flatten(Layer):
    """Images as vectors."""

    def forward(self, x: Array) -> Array:
        """Return (batch, h, w, c) as (batch, h·w·c)."""
        self.shape = x.shape
        return x.reshape(len(x), prod(x.shape[1:]))

    def input_gradient(self, dy: Array) -> Array:
        """Return dy in the shape of the images."""
        return dy.reshape(self.shape)


class Dense(Layer):
    """A product with a kernel W (in, out), and a bias b (out,)."""

    def forward(self, x: Array) -> Array:
        """Return y = x·W + b."""
        self.x = x
        y = x @ self.parameters["kernel"]
        if "bias" in self.parameters:
            y += self.parameters["bias"]
        return y

    def parameter_gradients(self, dy: Array) -> None:
        """Set ∂L/∂W = xᵀ·dy and ∂L/∂b = Σ dy over the batch.

        xᵀ·dy is computed as (dyᵀ·x)ᵀ: with rows of 784 numbers in place of 10, BLAS takes three
        quarters of the time.
        """
        self.gradients["kernel"] = (dy.T @ self.x).T.copy()
        if "bias" in self.parameters:
            self.gradients["bias"] = sum_over_batch(dy)

    def input_gradient(self, dy: Array) -> Array:
        """Return dx = dy·Wᵀ."""
        return dy @ self.parameters["kernel"].T


class ReLU(Layer):
    """The rectifier."""

    def forward(self, x: Array) -> Array:
        """Return y = max(x, 0)."""
        self.y = np.maximum(x, 0)
        return self.y

    def input_gradient(self, dy: Array) -> Array:
        """Return dx = dy where x > 0, and 0 elsewhere, also at the kink."""
        return dy * (self.y > 0)


class Dropout(Layer):
    """Zeroes values in training, and scales the others so that the expected value stays x."""

    def forward(self, x: Array) -> Array:
        """Return y = x·mask/(1 - rate) in training, and y = x in evaluation."""
        if self.mask is None:
            return x
        # The factor is rounded to x's dtype first, so that float32 stays float32.
        factor = x.dtype.type(1 / (1 - self.spec.rate))
        self.scale = self.mask * factor
        return x * self.scale

    def input_gradient(self, dy: Array) -> Array:
        """Return dx = dy·mask/(1 - rate), or dx = dy."""
        if self.mask is None:
            return dy
        return dy * self.scale


class Residual(Layer):
    """A branch and a projection side by side; without a projection, x itself takes its place."""

    def __init__(self, layer: spec.Residual, branch: Chain, projection: Chain) -> None:
        super().__init__(layer)
        self.branch = branch
        self.projection = projection

    def forward(self, x: Array) -> Array:
        """Return y = branch(x) + projection(x)."""
        return self.branch.forward(x) + self.projection.forward(x)

    def parameter_gradients(self, dy: Array) -> None:
        """Set the gradients of the branch and of the projection."""
        self.branch.parameter_gradients(dy)
        self.projection.parameter_gradients(dy)

    def backward(self, dy: Array) -> Array:
        """Set all gradients, and return dx: the sum of both, because x goes through both."""
        return self.branch.backward(dy) + self.projection.backward(dy)

    def with_inner(self) -> list[Layer]:
        """Return the layers of the branch, those of the projection, and this one."""
        return [*self.branch.with_inner(), *self.projection.with_inner(), self]


def build_gelu(layer: spec.GELU) -> Layer:
    """Return the layer of the description's form."""
    return GELU(layer) if layer.form == "erf" else GELUTanh(layer)


register_layer(spec.Dense, Dense)
register_layer(spec.ReLU, ReLU)
register_layer(spec.Conv2D, Conv2D)
register_layer(spec.MaxPool2D, MaxPool2D)
register_layer(spec.AvgPool2D, AvgPool2D)
register_layer(spec.GlobalAvgPool, GlobalAvgPool)
register_layer(spec.Flatten, Flatten)
register_layer(spec.Dropout, Dropout)
register_layer(spec.BatchNorm, BatchNorm)
register_layer(spec.LayerNorm, LayerNorm)
register_layer(spec.LeakyReLU, LeakyReLU)
register_layer(spec.GELU, build_gelu)
register_layer(spec.SiLU, SiLU)
register_layer(spec.Tanh, Tanh)
register_layer(spec.Sigmoid, Sigmoid)
