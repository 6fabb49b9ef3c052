"""Mistakes in the Numba engine: in compiled sweeps that do several things, and between threads."""

from typing import Any

import numpy as np
from mutation.convolution import whole
from mutation.planting import Mutation, trained, with_function, with_layer, with_recipe

from triptych.spec.optimizers import Adam


def summed(code, logits, labels, targets, divisor, gradient):
    from triptych.engines.numba.kernels.losses import loss_of_batch

    return len(labels) * loss_of_batch(code, logits, labels, targets, divisor, gradient)


def one_share_taken(x, dy, kernel_gradient, bias_gradient, shares):
    """The samples are divided between two threads, and only the sums of one are kept."""
    from triptych.engines.numba.kernels.dense import dense_gradients

    half = len(x) // 2
    dense_gradients(x[:half], dy[:half], kernel_gradient, bias_gradient, shares)


def last_of_equal_values(self, dy):
    """The gradient of a window goes to the last of its largest values, not to the first."""
    size, stride, padding = self.window
    around = ((0, 0), (padding, padding), (padding, padding), (0, 0))
    x = np.pad(self.x, around, constant_values=-np.inf)
    dx = np.zeros_like(x)
    for n, r, q, c in np.ndindex(dy.shape):
        rows = slice(r * stride, r * stride + size)
        columns = slice(q * stride, q * stride + size)
        window = x[n, rows, columns, c]
        i, j = np.argwhere(window == window.max())[-1]
        dx[n, rows, columns, c][i, j] += dy[n, r, q, c]
    _, h, w, _ = self.x.shape
    return dx[:, padding : padding + h, padding : padding + w].copy()


def remembering(self, x, training):
    """As the right forward pass; the mistake above needs the input."""
    self.x = x.copy()
    return type(self).forward(self, x, training)


def in_fused_steps(change: Any) -> Any:
    """Only the function that makes all steps of a plan is wrong, not the layers of a trace."""

    def mistake(base: Any) -> Any:
        class Wrong(base):
            def __init__(self, network, recipe):
                super().__init__(network, recipe)
                change(self.dense_steps)

        return Wrong

    return mistake


def without_scale(fused: Any) -> None:
    from triptych.engines.numba.kernels.steps import SCALE

    fused.numbers[:, SCALE] = 1


def without_mask(fused: Any) -> None:
    from triptych.engines.numba.kernels.steps import HAS_MASK

    fused.table[:, HAS_MASK] = 0


def without_bias(fused: Any) -> None:
    """The gradient of the bias is never written: it stays 0, whatever the memory had before."""
    from triptych.engines.numba.kernels.steps import HAS_BIAS

    fused.table[:1, HAS_BIAS] = 0
    fused.reuse("gradients", (1, fused.weights.size), fused.weights.dtype).fill(0)


MUTATIONS = [
    Mutation(
        "mask scale forgotten, Numba",
        with_layer("dropout1", scale=1.0),
        "output",
        "dropout1",
        network="regularized",
        engine="numba",
    ),
    Mutation(
        "sum instead of mean, Numba",
        with_function("triptych.engines.numba.loss.loss_of_batch", summed),
        "loss",
        "-",
        engine="numba",
    ),
    Mutation(
        "the sum of one of two threads, Numba",
        with_function("triptych.engines.numba.layers.dense_gradients", one_share_taken),
        "gradient",
        "output",
        engine="numba",
    ),
    Mutation(
        "ties to the last maximum, Numba",
        with_layer("pool2", forward=remembering, input_gradient=last_of_equal_values),
        "gradient",
        "conv2",
        "edged",
        "numba",
        start=whole,
    ),
    Mutation(
        "epsilon before the bias correction, Numba, D47",
        with_recipe(optimizer=Adam(epsilon_first=True)),
        "update",
        "hidden",
        engine="numba",
        recipe=trained("adam"),
    ),
    Mutation(
        "mask scale forgotten in fused steps, Numba",
        in_fused_steps(without_scale),
        "loss",
        "-",
        network="regularized",
        engine="numba",
    ),
    Mutation(
        "mask forgotten in fused steps, Numba",
        in_fused_steps(without_mask),
        "loss",
        "-",
        network="regularized",
        engine="numba",
    ),
    Mutation(
        "bias forgotten in fused steps, Numba",
        in_fused_steps(without_bias),
        "update",
        "hidden",
        engine="numba",
    ),
]
