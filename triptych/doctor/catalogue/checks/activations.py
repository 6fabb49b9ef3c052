"""Measurements of activations and their derivatives."""

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.special import erf

from .support import Values, apart, check, flat, installed, largest, to_numpy


@check("D26")
def leaky_relu() -> Values:
    """Measure the slope: minus the output at -1."""
    import keras
    import tensorflow as tf
    import torch

    values: Values = {
        "torch": -torch.nn.LeakyReLU()(torch.tensor(-1.0)),
        "keras.layers": -keras.layers.LeakyReLU()(np.float32([-1.0]))[0],
        "keras.activations": -keras.activations.leaky_relu(np.float32([-1.0]))[0],
        "tf.nn": -tf.nn.leaky_relu(tf.constant([-1.0]))[0],
    }
    if installed("jax"):
        import jax

        values["jax.nn"] = -jax.nn.leaky_relu(-1.0)
    return values


@check("D27")
def prelu() -> Values:
    """Measure the slope: minus the output at -1."""
    import keras
    import torch

    return {
        "torch": -torch.nn.PReLU()(torch.tensor([-1.0]))[0],
        "keras": 0 - keras.layers.PReLU()(np.float32([[-1.0]]))[0, 0],
    }


@check("D28")
def gelu() -> Values:
    """Measure the largest difference from x·Φ(x), for x from -4 to 4."""
    import keras
    import tensorflow as tf
    import torch

    x = np.linspace(-4, 4, 801, dtype=np.float32)
    exact = x * (1 + erf(x / 2**0.5)) / 2
    tensor = torch.from_numpy(x)
    values: Values = {
        "torch": apart(torch.nn.GELU()(tensor), exact),
        "torch tanh": apart(torch.nn.GELU(approximate="tanh")(tensor), exact),
        "keras.activations": apart(keras.activations.gelu(x), exact),
        "keras.ops": apart(keras.ops.gelu(x), exact),
        "tf.nn": apart(tf.nn.gelu(x), exact),
    }
    if installed("jax"):
        import jax

        values["jax.nn"] = apart(jax.nn.gelu(x), exact)
    return values


@check("D29")
def hard_sigmoid() -> Values:
    """Measure the largest difference from relu6(x + 3)/6, and from the formula of Keras 2."""
    import keras
    import torch

    x = np.linspace(-4, 4, 801, dtype=np.float32)
    formula = np.clip(x + 3, 0, 6) / 6
    keras_2 = np.clip(0.2 * x + 0.5, 0, 1)
    return {
        "torch": apart(torch.nn.Hardsigmoid()(torch.from_numpy(x)), formula),
        "keras": apart(keras.activations.hard_sigmoid(x), formula),
        "keras, from the formula of Keras 2": apart(keras.activations.hard_sigmoid(x), keras_2),
    }


@check("D30")
def relu_at_zero() -> Values:
    """Measure derivatives at exactly 0."""
    import tensorflow as tf
    import torch

    values: Values = {
        "torch relu": _torch_slope(torch.relu),
        "torch maximum": _torch_slope(lambda x: torch.maximum(x, torch.zeros(()))),
        "torch clamp": _torch_slope(lambda x: torch.clamp(x, 0, 1)),
        "torch abs": _torch_slope(torch.abs),
        "torch leaky_relu": _torch_slope(lambda x: torch.nn.functional.leaky_relu(x, 0.2)),
        "tf relu": _tensorflow_slope(tf.nn.relu),
        "tf maximum": _tensorflow_slope(lambda x: tf.maximum(x, 0.0)),
        "tf clip_by_value": _tensorflow_slope(lambda x: tf.clip_by_value(x, 0.0, 1.0)),
        "tf abs": _tensorflow_slope(tf.abs),
        "tf leaky_relu": _tensorflow_slope(lambda x: tf.nn.leaky_relu(x, 0.2)),
    }
    if installed("jax"):
        import jax
        import jax.numpy as jnp

        values["jax relu"] = jax.grad(jax.nn.relu)(0.0)
        values["jax maximum"] = jax.grad(lambda x: jnp.maximum(x, 0.0))(0.0)
        values["jax clip"] = jax.grad(lambda x: jnp.clip(x, 0.0, 1.0))(0.0)
        values["jax abs"] = jax.grad(jnp.abs)(0.0)
        values["jax leaky_relu"] = jax.grad(lambda x: jax.nn.leaky_relu(x, 0.2))(0.0)
    return values


def _torch_slope(function: Callable[[Any], Any]) -> Any:
    import torch

    x = torch.zeros((), requires_grad=True)
    function(x).backward()
    return x.grad


def _tensorflow_slope(function: Callable[[Any], Any]) -> Any:
    import tensorflow as tf

    x = tf.Variable(0.0)
    with tf.GradientTape() as tape:
        y = function(x)
    return tape.gradient(y, x)


@check("D31")
def norm_at_zero() -> Values:
    """Measure the gradient of the norm of (0, 0)."""
    import keras
    import tensorflow as tf
    import torch

    x = torch.zeros(2, requires_grad=True)
    torch.linalg.norm(x).backward()
    values: Values = {
        "torch": x.grad[0],
        "tf.norm": _tensorflow_gradient(tf.norm, [0.0, 0.0])[0],
        "keras.ops.norm": _tensorflow_gradient(keras.ops.norm, [0.0, 0.0])[0],
        "tf, cut at 1e-30": _tensorflow_gradient(
            lambda x: tf.sqrt(tf.maximum(tf.reduce_sum(x * x), 1e-30)), [0.0, 0.0]
        )[0],
    }
    if installed("jax"):
        import jax
        import jax.numpy as jnp

        values["jax"] = jax.grad(jnp.linalg.norm)(jnp.zeros(2))[0]
    return values


def _tensorflow_gradient(function: Callable[[Any], Any], point: Any) -> Any:
    import tensorflow as tf

    x = tf.Variable(point)
    with tf.GradientTape() as tape:
        y = tf.reduce_sum(function(x))
    return tape.gradient(y, x)


@check("D32")
def maximum_with_ties() -> Values:
    """Measure the gradient of the maximum of (2, 2)."""
    import keras
    import torch

    everywhere = torch.full((1, 2), 2.0, requires_grad=True)
    everywhere.max().backward()
    along = torch.full((1, 2), 2.0, requires_grad=True)
    along.max(dim=1).values.sum().backward()
    amax = torch.full((1, 2), 2.0, requires_grad=True)
    torch.amax(amax, dim=1).sum().backward()
    ties = [[2.0, 2.0]]
    taken = _tensorflow_gradient(
        lambda x: keras.ops.take_along_axis(
            x * 1.0, keras.ops.argmax(x * 1.0, axis=1, keepdims=True), axis=1
        ),
        ties,
    )
    return {
        "torch max()": flat(everywhere.grad),
        "torch max(dim)": flat(along.grad),
        "torch amax": flat(amax.grad),
        "keras.ops.max": flat(_tensorflow_gradient(keras.ops.max, ties)),
        "keras.ops.max(axis)": flat(_tensorflow_gradient(lambda x: keras.ops.max(x, axis=1), ties)),
        "keras take_along_axis": flat(taken),
    }


@check("D33")
def softplus() -> Values:
    """Measure what is added to x = 20.1, in float64."""
    import keras
    import torch

    x = np.array([20.1])
    output = keras.ops.softplus(keras.ops.convert_to_tensor(x, dtype="float64"))
    return {
        "torch": torch.nn.functional.softplus(torch.from_numpy(x))[0] - x[0],
        "torch, threshold=80": torch.nn.functional.softplus(torch.from_numpy(x), threshold=80)[0]
        - x[0],
        "keras": largest(to_numpy(output) - x),
    }
