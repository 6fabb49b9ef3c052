"""From the description of a layer to the layer."""

from collections.abc import Callable
from typing import Any

from .. import layers as spec
from ..placing import Layer as Description
from .activations import GELU, GELUTanh, LeakyReLU, ReLU, Sigmoid, SiLU, Tanh
from .convolution import AvgPool2D, Conv2D, GlobalAvgPool, MaxPool2D
from .layers import Dense, Dropout, Flatten, Layer, Residual
from .normalisation import BatchNorm, LayerNorm

LAYERS: dict[type[Description], Callable[[Any], Layer]] = {
    spec.Flatten: lambda s: Flatten(s.name),
    spec.Dense: lambda s: Dense(s.name),
    spec.Conv2D: lambda s: Conv2D(s.name, s.size, s.stride, s.padding, s.groups),
    spec.MaxPool2D: lambda s: MaxPool2D(s.name, s.size, s.stride, s.padding),
    spec.AvgPool2D: lambda s: AvgPool2D(s.name, s.size, s.stride, s.padding),
    spec.GlobalAvgPool: lambda s: GlobalAvgPool(s.name),
    spec.BatchNorm: lambda s: BatchNorm(s.name, s.momentum, s.epsilon, s.unbiased),
    spec.LayerNorm: lambda s: LayerNorm(s.name, s.epsilon),
    spec.Residual: lambda s: Residual(s.name, [*map(build, s.branch)], [*map(build, s.projection)]),
    spec.Dropout: lambda s: Dropout(s.name, s.rate),
    spec.ReLU: lambda s: ReLU(s.name),
    spec.LeakyReLU: lambda s: LeakyReLU(s.name, s.slope),
    spec.GELU: lambda s: (GELU if s.form == "erf" else GELUTanh)(s.name),
    spec.SiLU: lambda s: SiLU(s.name),
    spec.Tanh: lambda s: Tanh(s.name),
    spec.Sigmoid: lambda s: Sigmoid(s.name),
}


def build(layer: Description) -> Layer:
    """Return the layer that implements a description."""
    return LAYERS[type(layer)](layer)
