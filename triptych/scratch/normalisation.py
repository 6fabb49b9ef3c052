"""Normalisation of batches and of layers."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .layers import Layer, Training

Array = NDArray[Any]


class BatchNorm(Layer):
    """y = gamma·x̂ + beta with x̂ = (x - mean)/√(variance + epsilon), each channel over all the others' axes.

    With N values to a channel and s = 1/√(variance + epsilon), in training
    ∂x = gamma·s·(dy - mean(dy) - x̂·mean(dy·x̂)): mean and variance depend on x, too (Ioffe & Szegedy 2015, section 3).
    """

    learns = True

    def __init__(self, name: str, momentum: float, epsilon: float, unbiased: bool) -> None:
        super().__init__(name)
        self.momentum, self.epsilon, self.unbiased = momentum, epsilon, unbiased

    def forward(self, x: Array, training: Training | None = None) -> Array:
        gamma, beta = self.parameters["gamma"], self.parameters["beta"]
        if training is None:
            scale = gamma / np.sqrt(self.buffers["running_variance"] + self.epsilon)
            return x * scale + (beta - self.buffers["running_mean"] * scale)
        self.axes = tuple(range(x.ndim - 1))
        self.count = x.size // x.shape[-1]
        self.mean = mean(x, self.axes)
        centred = x - self.mean
        self.variance = mean(centred**2, self.axes)
        self.s = 1 / np.sqrt(self.variance + self.epsilon)
        centred *= self.s
        self.normal = centred
        return self.normal * gamma + beta

    def backward(self, dy: Array, into: bool = True) -> Array:
        along = mean(dy * self.normal, self.axes)
        level = mean(dy, self.axes)
        self.gradients = {"gamma": along * self.count, "beta": level * self.count}
        if not into:
            return dy
        return (self.parameters["gamma"] * self.s) * (dy - level - self.normal * along)

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
        self.gradients = {"gamma": (dy * self.normal).sum(axis=axes), "beta": dy.sum(axis=axes)}
        if not into:
            return dy
        d = dy * self.parameters["gamma"]
        return self.s * (d - d.mean(axis=-1, keepdims=True) - self.normal * (d * self.normal).mean(axis=-1, keepdims=True))


def mean(x: Array, axes: tuple[int, ...]) -> Array:
    """The mean over `axes`: first within each sample, then over samples, so that float32 sums stay short."""
    return x.mean(axis=axes[1:]).mean(axis=0) if len(axes) > 1 else x.mean(axis=0)
