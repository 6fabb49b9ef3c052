"""The layers of the NumPy engine, made from their descriptions.

A builder of a layer is a function ``builder(description)`` that returns a `scratch.layers.Layer`.
That is an object with the methods ``forward(x, training)`` and ``backward(dy, into)``. The engine
sets its ``parameters`` and ``buffers``, which are dictionaries of arrays by leaf. ``backward``
writes the gradient of each parameter into ``self.gradient(leaf)`` and returns the gradient with
respect to the input. A layer with parameters sets ``learns = True``.
"""

from collections.abc import Callable, Sequence
from typing import Any

from ...core.builders import BuilderTable
from ...spec import layers as spec
from ...spec.placement import Layer as Description
from ...spec.placement import PlacedLayer
from .scratch.activations import GELU, GELUTanh, LeakyReLU, ReLU, Sigmoid, SiLU, Tanh
from .scratch.chain import Chain, Residual
from .scratch.convolution import AvgPool2D, Conv2D, GlobalAvgPool, MaxPool2D
from .scratch.crew import Crew
from .scratch.layers import Dense, Dropout, Flatten, Layer
from .scratch.normalisation import BatchNorm, LayerNorm
from .scratch.stretch import Line

LayerBuilder = Callable[[Any], Layer]

LAYERS: BuilderTable[LayerBuilder] = BuilderTable("NumPy", "layer")


def register_layer(spec_class: type[Description], builder: LayerBuilder) -> None:
    """Use `builder` for layers of `spec_class`; its signature is at the top of this file."""
    LAYERS.register(spec_class, builder)


def build_layer(place: PlacedLayer, crew: Crew) -> Layer:
    """Return the layer of a placed description."""
    if isinstance(place.layer, spec.Residual):
        return _build_residual(place, crew)
    return LAYERS.find(place.layer)(place.layer)


def build_chain(places: Sequence[PlacedLayer], crew: Crew) -> Chain:
    """Return the layers of a network as one object that computes them in order."""
    return Chain([build_layer(place, crew) for place in places], places, crew)


def _build_residual(place: PlacedLayer, crew: Crew) -> Layer:
    branch = [build_layer(inner, crew) for inner in place.branch]
    projection = [build_layer(inner, crew) for inner in place.projection]
    every = [inner for layer in (*branch, *projection) for inner in layer.every()]
    name = place.layer.name
    if any(layer.mixes for layer in every):
        return Residual(
            name, Chain(branch, place.branch, crew), Chain(projection, place.projection, crew)
        )
    # Without a layer that couples the samples of a batch, parts of it are computed separately.
    return Residual(name, Line(branch, place.branch), Line(projection, place.projection))


def _convolution(layer: spec.Conv2D) -> Layer:
    return Conv2D(layer.name, layer.size, layer.stride, layer.padding, layer.groups)


def _max_pool(layer: spec.MaxPool2D) -> Layer:
    return MaxPool2D(layer.name, layer.size, layer.stride, layer.padding)


def _average_pool(layer: spec.AvgPool2D) -> Layer:
    return AvgPool2D(layer.name, layer.size, layer.stride, layer.padding)


def _batch_norm(layer: spec.BatchNorm) -> Layer:
    return BatchNorm(layer.name, layer.momentum, layer.epsilon, layer.unbiased)


def _gelu(layer: spec.GELU) -> Layer:
    return GELU(layer.name) if layer.form == "erf" else GELUTanh(layer.name)


register_layer(spec.Flatten, lambda layer: Flatten(layer.name))
register_layer(spec.Dense, lambda layer: Dense(layer.name))
register_layer(spec.Conv2D, _convolution)
register_layer(spec.MaxPool2D, _max_pool)
register_layer(spec.AvgPool2D, _average_pool)
register_layer(spec.GlobalAvgPool, lambda layer: GlobalAvgPool(layer.name))
register_layer(spec.BatchNorm, _batch_norm)
register_layer(spec.LayerNorm, lambda layer: LayerNorm(layer.name, layer.epsilon))
register_layer(spec.Dropout, lambda layer: Dropout(layer.name, layer.rate))
register_layer(spec.ReLU, lambda layer: ReLU(layer.name))
register_layer(spec.LeakyReLU, lambda layer: LeakyReLU(layer.name, layer.slope))
register_layer(spec.GELU, _gelu)
register_layer(spec.SiLU, lambda layer: SiLU(layer.name))
register_layer(spec.Tanh, lambda layer: Tanh(layer.name))
register_layer(spec.Sigmoid, lambda layer: Sigmoid(layer.name))
