"""The layers: each forward beside its backward.

``forward(x, keep)`` remembers what its own gradient needs. ``gradients(dy)`` returns the gradient of each parameter,
``backward(dy)`` the gradient of the input, both from dy, the gradient of the loss with respect to the output.
Parameters are the engine's arrays, updated in place; no layer copies them or changes their dtype.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import network as spec

Array = NDArray[Any]


class Layer:
    """Base: a layer without parameters. ``keep`` is a dropout mask, or None in evaluation."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.parameters: dict[str, Array] = {}

    def forward(self, x: Array, keep: Array | None = None) -> Array:
        raise NotImplementedError(type(self))

    def gradients(self, dy: Array) -> dict[str, Array]:
        return {}

    def backward(self, dy: Array) -> Array:
        raise NotImplementedError(type(self))


class Flatten(Layer):
    def forward(self, x: Array, keep: Array | None = None) -> Array:
        self.shape = x.shape
        return x.reshape(len(x), -1)

    def backward(self, dy: Array) -> Array:
        return dy.reshape(self.shape)


class Dense(Layer):
    """y = x·W + b. With x (batch, in) and dy (batch, out): ∂W = xᵀ·dy, ∂b = Σ dy, ∂x = dy·Wᵀ."""

    def forward(self, x: Array, keep: Array | None = None) -> Array:
        self.x = x
        y = x @ self.parameters["kernel"]
        y += self.parameters["bias"]
        return y

    def gradients(self, dy: Array) -> dict[str, Array]:
        return {"kernel": self.x.T @ dy, "bias": dy.sum(axis=0)}

    def backward(self, dy: Array) -> Array:
        return dy @ self.parameters["kernel"].T


class ReLU(Layer):
    """max(x, 0); its derivative is 1 where x > 0 and 0 elsewhere, the kink at 0 included."""

    def forward(self, x: Array, keep: Array | None = None) -> Array:
        self.y = np.maximum(x, 0)
        return self.y

    def backward(self, dy: Array) -> Array:
        return dy * (self.y > 0)


class Dropout(Layer):
    """x·keep/(1-rate) in training, the identity in evaluation: the expected value stays the same."""

    def __init__(self, name: str, rate: float) -> None:
        super().__init__(name)
        self.rate = rate

    def forward(self, x: Array, keep: Array | None = None) -> Array:
        # The scale is rounded to x's dtype first, so that float32 stays float32.
        self.scaled = None if keep is None else keep * x.dtype.type(1 / (1 - self.rate))
        return x if self.scaled is None else x * self.scaled

    def backward(self, dy: Array) -> Array:
        return dy if self.scaled is None else dy * self.scaled


LAYERS: dict[type[spec.Layer], Callable[[Any], Layer]] = {
    spec.Flatten: lambda layer: Flatten(layer.name),
    spec.Dense: lambda layer: Dense(layer.name),
    spec.ReLU: lambda layer: ReLU(layer.name),
    spec.Dropout: lambda layer: Dropout(layer.name, layer.rate),
}


def build(layer: spec.Layer) -> Layer:
    """Return the layer that implements a description."""
    return LAYERS[type(layer)](layer)
