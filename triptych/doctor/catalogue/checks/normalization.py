"""Measurements of normalization layers."""

from typing import Any

import numpy as np

from .support import Array, Values, check, draw, largest, to_numpy

SMALL_VARIANCE = 0.008
SUM_IN_PARTS = 5e-6  # the largest relative error of sums that are not added one after the other


def _features() -> Any:
    """Return 8 numbers with the mean 0 and the variance `SMALL_VARIANCE`."""
    signs = np.array([1, -1] * 4, np.float32)
    return signs * np.float32(SMALL_VARIANCE**0.5)


@check("D18")
def batch_norm_epsilon() -> Values:
    """Measure epsilon, and the largest output for a batch with the variance 0.008."""
    import keras
    import torch

    batch = _features()[:, None]
    torch_layer = torch.nn.BatchNorm1d(1)
    keras_layer = keras.layers.BatchNormalization()
    return {
        "torch output": largest(torch_layer(torch.from_numpy(batch))),
        "keras output": largest(keras_layer(batch, training=True)),
        "torch eps": torch_layer.eps,
        "keras epsilon": keras_layer.epsilon,
    }


@check("D19")
def batch_norm_momentum() -> Values:
    """Measure the running mean after one batch with the mean 1, and steps to 99 % of it."""
    import keras
    import torch

    batch = np.array([[0.5], [1.5]], np.float32)
    torch_layer = torch.nn.BatchNorm1d(1)
    torch_means: list[float] = []
    while not torch_means or torch_means[-1] < 0.99:
        torch_layer(torch.from_numpy(batch))
        torch_means.append(float(torch_layer.running_mean))
    keras_layer = keras.layers.BatchNormalization()
    keras_means: list[float] = []
    while not keras_means or keras_means[-1] < 0.99:
        keras_layer(batch, training=True)
        keras_means.append(float(keras_layer.moving_mean.numpy()[0]))
    return {
        "torch after one step": torch_means[0],
        "keras after one step": keras_means[0],
        "torch steps to 99 %": len(torch_means),
        "keras steps to 99 %": len(keras_means),
    }


@check("D20")
def running_variance() -> Values:
    """Measure what a batch of 8 adds to the running variance, divided by its biased variance."""
    import keras
    import tensorflow as tf
    import torch

    batch = draw(8, 1)
    biased = batch.var()
    torch_layer = torch.nn.BatchNorm1d(1, momentum=1.0)
    torch_layer(torch.from_numpy(batch))
    keras_layer = keras.layers.BatchNormalization(momentum=0.0)
    keras_layer(batch, training=True)
    one = tf.ones(1)
    fused = tf.raw_ops.FusedBatchNormV3(
        x=batch.reshape(8, 1, 1, 1),
        scale=one,
        offset=0 * one,
        mean=tf.constant([]),
        variance=tf.constant([]),
        is_training=True,
    )
    return {
        "torch": to_numpy(torch_layer.running_var)[0] / biased,
        "keras": to_numpy(keras_layer.moving_variance)[0] / biased,
        "tf FusedBatchNormV3": to_numpy(fused.batch_variance)[0] / biased,
    }


@check("D21")
def batch_of_one() -> Values:
    """Measure A batch of one sample in training mode."""
    import keras
    import torch

    sample = np.full((1, 3), 2.0, np.float32)
    try:
        outcome: Any = largest(torch.nn.BatchNorm1d(3)(torch.from_numpy(sample)))
    except ValueError as error:
        outcome = type(error).__name__
    output = keras.layers.BatchNormalization()(sample, training=True)
    return {"torch": outcome, "keras": largest(output)}


@check("D22")
def frozen() -> Values:
    """Measure what a frozen BatchNorm makes of a batch with the mean 5 in training mode."""
    import keras
    import torch

    batch = 5 + _features()[:, None]
    torch_layer = torch.nn.BatchNorm1d(1).requires_grad_(False)
    torch_output = torch_layer(torch.from_numpy(batch))
    keras_layer = keras.layers.BatchNormalization()
    keras_layer.build(batch.shape)
    keras_layer.trainable = False
    keras_output = keras_layer(batch, training=True)
    partly = keras.layers.BatchNormalization()
    partly.build(batch.shape)
    partly.gamma.trainable = partly.beta.trainable = False
    partly_output = partly(batch, training=True)
    return {
        "torch mean": round(float(torch_output.mean()), 3),
        "keras mean": to_numpy(keras_output).mean(),
        "keras mean, with gamma and beta frozen": round(float(to_numpy(partly_output).mean()), 3),
        "torch running mean": to_numpy(torch_layer.running_mean)[0],
        "keras moving mean": to_numpy(keras_layer.moving_mean)[0],
        "keras moving mean, with gamma and beta frozen": to_numpy(partly.moving_mean)[0],
    }


@check("D23")
def layer_norm_epsilon() -> Values:
    """Measure epsilon, and the largest output for a sample with the variance 0.008."""
    import keras
    import torch

    sample = _features()[None]
    torch_layer = torch.nn.LayerNorm(8)
    keras_layer = keras.layers.LayerNormalization()
    return {
        "torch output": largest(torch_layer(torch.from_numpy(sample))),
        "keras output": largest(keras_layer(sample)),
        "torch eps": torch_layer.eps,
        "keras epsilon": keras_layer.epsilon,
    }


@check("D24")
def group_norm_epsilon() -> Values:
    """Measure epsilon, the groups, and the largest output for a group with the variance 0.008."""
    import keras
    import torch

    sample = _features()[None]
    torch_layer = torch.nn.GroupNorm(2, 8)
    keras_layer = keras.layers.GroupNormalization(2)
    return {
        "torch output": largest(torch_layer(torch.from_numpy(sample))),
        "keras output": largest(keras_layer(sample)),
        "torch eps": torch_layer.eps,
        "keras epsilon": keras_layer.epsilon,
        "keras groups": keras.layers.GroupNormalization().groups,
    }


@check("D25")
def rms_norm_epsilon() -> Values:
    """Measure the output for activations of 1e-3 and of 1."""
    import keras
    import torch

    small = np.full((1, 4), 1e-3, np.float32)
    torch_layer = torch.nn.RMSNorm(4)
    keras_layer = keras.layers.RMSNormalization()
    return {
        "torch output": largest(torch_layer(torch.from_numpy(small))),
        "keras output": largest(keras_layer(small)),
        "torch eps": str(torch_layer.eps),
        "keras epsilon": keras_layer.epsilon,
    }


@check("D129")
def batch_norm_memory_layout() -> Values:
    """Measure relative errors of the means of 200,000 numbers in each of 8 channels, one thread."""
    import keras
    import torch

    images = 2 + draw(200, 20, 50, 8)
    exact = images.mean((0, 1, 2), dtype=np.float64)
    last = torch.from_numpy(images).movedim(3, 1)
    layouts = {
        "channels last": last,
        "channels last made contiguous": last.contiguous(),
        "channels first": torch.from_numpy(np.moveaxis(images, 3, 1).copy()),
    }
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    values: Values = {}
    for name, batch in layouts.items():
        layer = torch.nn.BatchNorm2d(8, momentum=1.0)
        layer(batch)
        values[f"torch, {name}, error of the mean"] = _error(layer.running_mean, exact)
    torch.set_num_threads(threads)
    keras_layer = keras.layers.BatchNormalization(momentum=0.0)
    keras_layer(images, training=True)
    values["keras, error of the mean"] = _error(keras_layer.moving_mean, exact)
    return values


def _error(mean: Any, exact: Array) -> float:
    """Return the largest relative error; 0 if it is that of a sum in parts, which depends on them.

    Parameters
    ----------
    mean : tensor of shape (channels,)
        In float32.
    exact : ndarray of shape (channels,)
        The same in float64.
    """
    error = float(np.abs(to_numpy(mean) / exact - 1).max())
    return 0.0 if error < SUM_IN_PARTS else error
