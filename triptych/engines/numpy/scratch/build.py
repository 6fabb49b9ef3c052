"""From the description of layers to the layers."""

from collections.abc import Callable, Sequence
from typing import Any

from ....spec import layers as spec
from ....spec.placement import Layer as Description
from ....spec.placement import PlacedLayer
from .activations import GELU, GELUTanh, LeakyReLU, ReLU, Sigmoid, SiLU, Tanh
from .chain import Chain, Residual
from .convolution import AvgPool2D, Conv2D, GlobalAvgPool, MaxPool2D
from .crew import Crew
from .layers import Dense, Dropout, Flatten, Layer
from .normalisation import BatchNorm, LayerNorm
from .stretch import Line

LAYERS: dict[type[Description], Callable[[Any], Layer]] = {
    spec.Flatten: lambda s: Flatten(s.name),
    spec.Dense: lambda s: Dense(s.name),
    spec.Conv2D: lambda s: Conv2D(s.name, s.size, s.stride, s.padding, s.groups),
    spec.MaxPool2D: lambda s: MaxPool2D(s.name, s.size, s.stride, s.padding),
    spec.AvgPool2D: lambda s: AvgPool2D(s.name, s.size, s.stride, s.padding),
    spec.GlobalAvgPool: lambda s: GlobalAvgPool(s.name),
    spec.BatchNorm: lambda s: BatchNorm(s.name, s.momentum, s.epsilon, s.unbiased),
    spec.LayerNorm: lambda s: LayerNorm(s.name, s.epsilon),
    spec.Dropout: lambda s: Dropout(s.name, s.rate),
    spec.ReLU: lambda s: ReLU(s.name),
    spec.LeakyReLU: lambda s: LeakyReLU(s.name, s.slope),
    spec.GELU: lambda s: (GELU if s.form == "erf" else GELUTanh)(s.name),
    spec.SiLU: lambda s: SiLU(s.name),
    spec.Tanh: lambda s: Tanh(s.name),
    spec.Sigmoid: lambda s: Sigmoid(s.name),
}


def build(place: PlacedLayer, crew: Crew) -> Layer:
    """Return the layer that implements a description."""
    layer = place.layer
    if not isinstance(layer, spec.Residual):
        return LAYERS[type(layer)](layer)
    ways = (place.branch, place.projection)
    branch, projection = ([build(inner, crew) for inner in places] for places in ways)
    if any(inner.mixes for one in (*branch, *projection) for inner in one.every()):
        return Residual(layer.name, Chain(branch, ways[0], crew), Chain(projection, ways[1], crew))
    return Residual(layer.name, Line(branch, ways[0]), Line(projection, ways[1]))  # which parts of a batch go through


def chain(places: Sequence[PlacedLayer], crew: Crew) -> Chain:
    """Return layers in their places."""
    return Chain([build(place, crew) for place in places], places, crew)
