"""The activations other than ReLU.

With y = f(x), dx = dy·f′(x).
"""

from math import pi, sqrt

import numpy as np

from .layer import Array, Layer


class LeakyReLU(Layer):
    """LeakyReLU: x with a slope where it is negative."""

    def forward(self, x: Array) -> Array:
        """Return x where x > 0, slope·x elsewhere."""
        one = x.dtype.type(1)
        self.derivative = np.where(x > 0, one, one * self.spec.slope)
        return x * self.derivative

    def input_gradient(self, dy: Array) -> Array:
        """Return dy where x > 0, slope·dy elsewhere, also at the kink."""
        return dy * self.derivative


class Tanh(Layer):
    """The hyperbolic tangent."""

    def forward(self, x: Array) -> Array:
        """Return y = tanh x."""
        self.y = np.tanh(x)
        return self.y

    def input_gradient(self, dy: Array) -> Array:
        """Return dx = dy·(1 - y²)."""
        return dy * (1 - self.y**2)


class Sigmoid(Layer):
    """The logistic function σ."""

    def forward(self, x: Array) -> Array:
        """Return y = σ(x) = 1/(1 + exp(-x))."""
        self.y = sigmoid(x)
        return self.y

    def input_gradient(self, dy: Array) -> Array:
        """Return dx = dy·y·(1 - y)."""
        return dy * self.y * (1 - self.y)


class SiLU(Layer):
    """x times its sigmoid."""

    def forward(self, x: Array) -> Array:
        """Return y = x·σ(x)."""
        self.x = x
        self.sigmoid = sigmoid(x)
        return x * self.sigmoid

    def input_gradient(self, dy: Array) -> Array:
        """Return dx = dy·σ·(1 + x·(1 - σ))."""
        return dy * self.sigmoid * (1 + self.x * (1 - self.sigmoid))


class GELU(Layer):
    """x times Φ(x), the distribution function of the standard normal distribution."""

    def forward(self, x: Array) -> Array:
        """Return y = x·Φ(x)."""
        from scipy.special import erf  # NumPy has none

        self.x = x
        self.probability = 0.5 * (1 + erf(x / sqrt(2)))
        return x * self.probability

    def input_gradient(self, dy: Array) -> Array:
        """Return dx = dy·(Φ + x·φ), with φ the density of the normal distribution."""
        density = np.exp(-0.5 * self.x**2) / sqrt(2 * pi)
        return dy * (self.probability + self.x * density)


class GELUTanh(Layer):
    """An approximation of GELU."""

    def forward(self, x: Array) -> Array:
        """Return y = ½x·(1 + tanh u) with u = √(2/π)·(x + 0.044715·x³)."""
        self.x = x
        u = sqrt(2 / pi) * (x + 0.044715 * x**3)
        self.tanh = np.tanh(u)
        return 0.5 * x * (1 + self.tanh)

    def input_gradient(self, dy: Array) -> Array:
        """Return dx = dy·½·(1 + tanh u + x·(1 - tanh² u)·u′)."""
        du = sqrt(2 / pi) * (1 + 3 * 0.044715 * self.x**2)
        dtanh = 1 - self.tanh**2
        return dy * 0.5 * (1 + self.tanh + self.x * dtanh * du)


def sigmoid(x: Array) -> Array:
    """Return 1/(1 + exp(-x)), by way of tanh, which cannot overflow."""
    return 0.5 * (1 + np.tanh(0.5 * x))
