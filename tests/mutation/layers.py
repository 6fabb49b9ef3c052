"""Mistakes in dense layers, activations, dropout and residuals."""

import numpy as np
from mutation.planting import Mutation, with_description, with_layer, with_numpy_layer

from triptych.engines.numpy.layers import Dense, Dropout, Residual


def float32_inside(self, x):
    """float64 on the outside, float32 within one layer."""
    self.x = x
    single = x.astype(np.float32) @ self.parameters["kernel"].astype(np.float32)
    return single.astype(np.float64) + self.parameters["bias"]


def bias_gradient_forgotten(self, dy):
    Dense.parameter_gradients(self, dy)
    self.gradients["bias"] = np.zeros_like(self.gradients["bias"])


def leaking(self, dy):
    return dy * np.where(self.y > 0, 1, 0.01)


def unchanged(self, dy):
    return dy


def unscaled(self, x):
    y = Dropout.forward(self, x)
    if self.mask is None:
        return y
    self.scale = self.scale > 0
    return x * self.scale


def always_open(self, x):
    self.mask = None
    return Dropout.forward(self, x)


def linear(self, dy):
    """SiLU's derivative without the part that comes through the sigmoid."""
    return dy * self.sigmoid


def branch_alone(self, dy):
    return self.branch.backward(dy)


def shortcut_detached(self, x, keep, seen=None):
    return self.branch(x, keep, seen) + self.projection(x.detach(), keep, seen)


def cut_and_filled(self, x):
    """He et al.'s option A: the shortcut is every other pixel, its new channels are zeros."""
    right, projected = Residual.forward(self, x), self.projection.forward(x)
    filled = np.zeros_like(projected)
    filled[..., : x.shape[-1]] = x[:, ::2, ::2]
    return right - projected + filled


MUTATIONS = [
    Mutation(
        "float32 inside one layer",
        with_numpy_layer("hidden", forward=float32_inside),
        "output",
        "hidden",
    ),
    Mutation(
        "bias gradient forgotten",
        with_numpy_layer("hidden", parameter_gradients=bias_gradient_forgotten),
        "gradient",
        "hidden",
        array="gradient/hidden/bias",
    ),
    Mutation(
        "missing ReLU gradient",
        with_numpy_layer("relu", input_gradient=unchanged),
        "gradient",
        "hidden",
    ),
    Mutation(
        "missing ReLU gradient, deep",
        with_numpy_layer("relu1", input_gradient=unchanged),
        "gradient",
        "hidden1",
        "custom",
    ),
    Mutation(
        "ReLU that leaks going back",
        with_numpy_layer("relu", input_gradient=leaking),
        "gradient",
        "hidden",
    ),
    Mutation(
        "another slope of LeakyReLU, D26",
        with_description("leaky1", slope=0.3),
        "output",
        "leaky1",
        "edged",
        "tensorflow",
    ),
    Mutation(
        "another slope of LeakyReLU, JAX",
        with_description("leaky1", slope=0.3),
        "output",
        "leaky1",
        "edged",
        "jax",
    ),
    Mutation(
        "tanh for erf in GELU, D28",
        with_description("gelu1", form="tanh"),
        "output",
        "gelu1",
        "smooth",
        "torch",
    ),
    Mutation(
        "erf for tanh in GELU, D28",
        with_description("gelu2", form="erf"),
        "output",
        "gelu2",
        "smooth",
        "tensorflow",
    ),
    Mutation(
        "half of SiLU's derivative",
        with_numpy_layer("silu", input_gradient=linear),
        "gradient",
        "conv2",
        "smooth",
    ),
    Mutation(
        "mask not rescaled",
        with_numpy_layer("dropout1", forward=unscaled),
        "output",
        "dropout1",
        "regularized",
    ),
    Mutation(
        "mask not rescaled, PyTorch",
        with_layer("dropout1", forward=lambda self, x, keep: x * keep),
        "output",
        "dropout1",
        "smooth",
        "torch",
    ),
    Mutation(
        "dropout left in evaluation mode",
        with_numpy_layer("dropout2", forward=always_open),
        "output",
        "dropout2",
        "regularized",
    ),
    Mutation(
        "mask not applied going back",
        with_numpy_layer("dropout2", input_gradient=unchanged),
        "gradient",
        "hidden2",
        "regularized",
    ),
    Mutation(
        "residual gradient without the shortcut",
        with_numpy_layer("plain", backward=branch_alone),
        "gradient",
        "norm1",
        "normed",
    ),
    Mutation(
        "shortcut detached, PyTorch",
        with_layer("plain", forward=shortcut_detached),
        "gradient",
        "norm1",
        "normed",
        "torch",
    ),
    Mutation(
        "projection not applied",
        with_numpy_layer("projected", forward=cut_and_filled),
        "output",
        "projected",
        "normed",
    ),
]
