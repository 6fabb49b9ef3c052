"""Activations, with their derivatives; at the kink at 0 those of the left side."""

from math import pi, sqrt

import numpy as np

from .layers import Layer, Training
from .products import Array


class ReLU(Layer):
    """max(x, 0); its derivative is 1 where x > 0 and 0 elsewhere, the kink at 0 included."""

    remembers = False

    def forward(self, x: Array, training: Training | None = None) -> Array:
        self.y = np.maximum(x, 0, out=self.room("y", x))
        return self.y

    def backward(self, dy: Array, into: bool = True) -> Array:
        return np.multiply(dy, self.y > 0, out=self.passing_room("dx", dy))


class LeakyReLU(Layer):
    """x where x > 0, slope·x elsewhere; the derivative at 0 is the slope."""

    remembers = False

    def __init__(self, name: str, slope: float) -> None:
        super().__init__(name)
        self.slope = slope

    def forward(self, x: Array, training: Training | None = None) -> Array:
        self.factor = np.where(x > 0, x.dtype.type(1), x.dtype.type(self.slope))
        return x * self.factor

    def backward(self, dy: Array, into: bool = True) -> Array:
        return dy * self.factor


class Tanh(Layer):
    """tanh x, with derivative 1 - tanh² x."""

    remembers = False

    def forward(self, x: Array, training: Training | None = None) -> Array:
        self.y = np.tanh(x)
        return self.y

    def backward(self, dy: Array, into: bool = True) -> Array:
        return dy * (1 - self.y**2)


class Sigmoid(Layer):
    """σ(x) = 1/(1 + exp(-x)), with derivative σ·(1 - σ)."""

    remembers = False

    def forward(self, x: Array, training: Training | None = None) -> Array:
        self.y = sigmoid(x)
        return self.y

    def backward(self, dy: Array, into: bool = True) -> Array:
        return dy * self.y * (1 - self.y)


class SiLU(Layer):
    """x·σ(x), with derivative σ·(1 + x·(1 - σ))."""

    def forward(self, x: Array, training: Training | None = None) -> Array:
        self.x, self.s = x, sigmoid(x)
        return x * self.s

    def backward(self, dy: Array, into: bool = True) -> Array:
        return dy * self.s * (1 + self.x * (1 - self.s))


class GELU(Layer):
    """x·Φ(x), with derivative Φ + x·φ, Φ and φ those of the standard normal distribution."""

    def forward(self, x: Array, training: Training | None = None) -> Array:
        from scipy.special import erf  # NumPy has none

        self.x, self.phi = x, 0.5 * (1 + erf(x / sqrt(2)))
        return x * self.phi

    def backward(self, dy: Array, into: bool = True) -> Array:
        density = np.exp(-0.5 * self.x**2) / sqrt(2 * pi)
        return dy * (self.phi + self.x * density)


class GELUTanh(Layer):
    """½x·(1 + tanh u) with u = √(2/π)·(x + 0.044715·x³)."""

    def forward(self, x: Array, training: Training | None = None) -> Array:
        self.x, self.t = x, np.tanh(sqrt(2 / pi) * (x + 0.044715 * x**3))
        return 0.5 * x * (1 + self.t)

    def backward(self, dy: Array, into: bool = True) -> Array:
        du = sqrt(2 / pi) * (1 + 3 * 0.044715 * self.x**2)
        return dy * 0.5 * (1 + self.t + self.x * (1 - self.t**2) * du)


def sigmoid(x: Array) -> Array:
    """1/(1 + exp(-x)) by way of tanh, which cannot overflow."""
    return 0.5 * (1 + np.tanh(0.5 * x))
