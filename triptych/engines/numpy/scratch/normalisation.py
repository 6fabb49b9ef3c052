"""Normalisation of batches and of layers."""

from collections.abc import Iterable

import numpy as np

from .layers import Layer, Training, parts
from .products import Array


class BatchNorm(Layer):
    """y = gamma·x̂ + beta with x̂ = (x - mean)/√(variance + epsilon), each channel over all the others' axes.

    With N values to a channel and s = 1/√(variance + epsilon), in training
    ∂x = gamma·s·(dy - mean(dy) - x̂·mean(dy·x̂)): mean and variance depend on x, too (Ioffe & Szegedy 2015, section 3).
    """

    learns = True
    mixes = True

    def __init__(self, name: str, momentum: float, epsilon: float, unbiased: bool) -> None:
        super().__init__(name)
        self.momentum, self.epsilon, self.unbiased = momentum, epsilon, unbiased

    def forward(self, x: Array, training: Training | None = None) -> Array:
        seen, self.pixels = rows(x), x.shape[-2] if x.ndim == 4 else 1
        if training is None:
            mean, variance = self.buffers["running_mean"], self.buffers["running_variance"]
        else:
            self.x, self.count = seen, x.size // x.shape[-1]
            mean = self.mean = self._sum(pieces(seen)) / self.count
            variance = self.variance = self._sum((piece - self._wide(mean)) ** 2 for piece in pieces(seen)) / self.count
        self.s = 1 / np.sqrt(variance + self.epsilon)
        y = self.output(x)
        centre, scale, beta = map(self._wide, (mean, self.parameters["gamma"] * self.s, self.parameters["beta"]))
        for piece, out in zip(pieces(seen), pieces(rows(y)), strict=True):
            np.subtract(piece, centre, out=out)
            out *= scale
            out += beta
        return y

    def backward(self, dy: Array, into: bool = True) -> Array:
        down, centre = rows(dy), self._wide(self.mean)
        level = self._sum(pieces(down)) / self.count
        along = self._sum(d * (seen - centre) for d, seen in zip(pieces(down), pieces(self.x), strict=True)) * self.s / self.count
        np.multiply(along, self.count, out=self.gradient("gamma"))
        np.multiply(level, self.count, out=self.gradient("beta"))
        if not into:
            return dy
        dx = self.passing_room("dx", dy)
        tilt, level, scale = map(self._wide, (along * self.s, level, self.parameters["gamma"] * self.s))
        for d, seen, out in zip(pieces(down), pieces(self.x), pieces(rows(dx)), strict=True):
            np.subtract(centre, seen, out=out)
            out *= tilt
            out += d
            out -= level
            out *= scale
        return dx

    def _wide(self, values: Array) -> Array:
        """Return the values of the channels once for every pixel of a row."""
        return np.tile(values, self.pixels)

    def _sum(self, pieces: Iterable[Array]) -> Array:
        """Return the sum of each channel: within each piece, then over the pieces, so that float32 sums stay short."""
        sums = [np.ones(len(piece), piece.dtype) @ piece for piece in pieces]  # BLAS is faster at it than sum(axis=0)
        return np.sum(sums, axis=0).reshape(self.pixels, -1).sum(axis=0)

    def advance(self) -> None:
        # Of one value the unbiased variance would be 0/0: it is taken as 0, like the biased one.
        unbiased = self.count / max(self.count - 1, 1) if self.unbiased else 1.0
        for name, seen in (("running_mean", self.mean), ("running_variance", self.variance * unbiased)):
            running = self.buffers[name]
            running *= 1 - self.momentum
            running += self.momentum * seen


class LayerNorm(Layer):
    """As BatchNorm in training, but over the last axis of each sample, and alike in evaluation."""

    learns = True
    remembers = False

    def __init__(self, name: str, epsilon: float) -> None:
        super().__init__(name)
        self.epsilon = epsilon

    def forward(self, x: Array, training: Training | None = None) -> Array:
        centred = x - x.mean(axis=-1, keepdims=True)
        self.s = 1 / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + self.epsilon)
        self.normal = centred * self.s
        return self.normal * self.parameters["gamma"] + self.parameters["beta"]

    def backward(self, dy: Array, into: bool = True) -> Array:
        axes = tuple(range(dy.ndim - 1))
        (dy * self.normal).sum(axis=axes, out=self.gradient("gamma"))
        dy.sum(axis=axes, out=self.gradient("beta"))
        if not into:
            return dy
        d = dy * self.parameters["gamma"]
        return self.s * (d - d.mean(axis=-1, keepdims=True) - self.normal * (d * self.normal).mean(axis=-1, keepdims=True))


def rows(x: Array) -> Array:
    """View images as rows of pixels, (batch·h, w·c), and vectors as they are: along the short last axis NumPy is slow."""
    return x.reshape(-1, x.shape[-2] * x.shape[-1]) if x.ndim == 4 else x


def pieces(x: Array) -> list[Array]:
    """Return views of a few rows each."""
    return [x[part] for part in parts(len(x), 4 * x.shape[1])]
