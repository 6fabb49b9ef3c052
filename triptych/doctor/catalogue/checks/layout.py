"""Measurements of layouts: weights of PyTorch are loaded into Keras."""

from typing import Any

import numpy as np

from .support import Array, Values, apart, check, draw, flat, largest, moved_to_last, to_numpy


def _loaded(layer: Any, inputs: Array, *weights: Array) -> Array:
    """Return the output of a Keras layer with given weights."""
    if not layer.built:
        layer.build(inputs.shape)
    layer.set_weights(list(weights))
    return to_numpy(layer(inputs))


@check("D10")
def dense() -> Values:
    """Measure A square kernel, as it is and transposed: distance from PyTorch's output."""
    import keras
    import torch

    inputs = draw(2, 4)
    layer = torch.nn.Linear(4, 4)
    weight = draw(4, 4, seed=1)
    layer.weight.data = torch.from_numpy(weight)
    expected = layer(torch.from_numpy(inputs))
    bias = to_numpy(layer.bias)
    dense = keras.layers.Dense(4)
    as_it_is = apart(_loaded(dense, inputs, weight, bias), expected)
    return {
        "torch shape": list(torch.nn.Linear(3, 5).weight.shape),
        "keras shape": list(_shape(keras.layers.Dense(5), None, 3)),
        "keras, loaded as it is": as_it_is,
        "keras, transposed": apart(_loaded(dense, inputs, weight.T, bias), expected),
    }


def _shape(layer: Any, *inputs: int | None) -> tuple[int, ...]:
    layer.build(inputs)
    return tuple(layer.weights[0].shape)


@check("D11")
def convolution() -> Values:
    """Measure A kernel of 2→3 channels: its shapes, and the outputs with the axes exchanged."""
    import keras
    import torch

    inputs = draw(1, 2, 5, 5)
    layer = torch.nn.Conv2d(2, 3, 3)
    weight = draw(3, 2, 3, 3, seed=1)
    layer.weight.data = torch.from_numpy(weight)
    expected = moved_to_last(to_numpy(layer(torch.from_numpy(inputs))))
    bias = to_numpy(layer.bias)
    images = moved_to_last(inputs)
    conv = keras.layers.Conv2D(3, 3)
    reshaped = _loaded(conv, images, weight.reshape(3, 3, 2, 3), bias)
    exchanged = _loaded(conv, images, weight.transpose(2, 3, 1, 0), bias)
    return {
        "torch shape": list(layer.weight.shape),
        "keras shape": list(conv.kernel.shape),
        "keras, reshaped": apart(reshaped, expected),
        "keras, axes exchanged": apart(exchanged, expected),
    }


@check("D12")
def depthwise() -> Values:
    """Measure A kernel of 3 channels with 2 outputs each."""
    import keras
    import torch

    inputs = draw(1, 3, 5, 5)
    layer = torch.nn.Conv2d(3, 6, 3, groups=3, bias=False)
    weight = draw(6, 1, 3, 3, seed=1)
    layer.weight.data = torch.from_numpy(weight)
    expected = moved_to_last(to_numpy(layer(torch.from_numpy(inputs))))
    depthwise = keras.layers.DepthwiseConv2D(3, depth_multiplier=2, use_bias=False)
    images = moved_to_last(inputs)
    kernel = weight.reshape(3, 2, 3, 3).transpose(2, 3, 0, 1)
    output = _loaded(depthwise, images, kernel)
    wrong = _loaded(depthwise, images, weight.reshape(2, 3, 3, 3).transpose(2, 3, 1, 0))
    return {
        "torch shape": list(layer.weight.shape),
        "keras shape": list(depthwise.kernel.shape),
        "keras, multiplier first": apart(wrong, expected),
        "keras, channel first": apart(output, expected),
    }


@check("D13")
def transposed_convolution() -> Values:
    """Measure 'same' with stride 2 against padding=1, for kernels of 3 and 4."""
    import keras
    import torch

    inputs = draw(1, 2, 4, 4)
    image = torch.from_numpy(inputs)
    weight = draw(2, 3, 3, 3, seed=1)
    wide = draw(2, 3, 4, 4, seed=1)
    transpose = torch.nn.functional.conv_transpose2d
    padded = transpose(image, torch.from_numpy(weight), stride=2, padding=1, output_padding=1)
    cropped = transpose(image, torch.from_numpy(weight), stride=2)[:, :, :8, :8]
    padded_wide = transpose(image, torch.from_numpy(wide), stride=2, padding=1)
    output = _transposed(keras.layers, inputs, weight)
    return {
        "torch shape": list(torch.nn.ConvTranspose2d(2, 3, 3).weight.shape),
        "keras shape": list(_shape(keras.layers.Conv2DTranspose(3, 3), None, 4, 4, 2)),
        "keras, kernel 3, from padding=1": apart(output, moved_to_last(to_numpy(padded))),
        "keras, kernel 3, from the end cropped": apart(output, moved_to_last(to_numpy(cropped))),
        "keras, kernel 4, from padding=1": apart(
            _transposed(keras.layers, inputs, wide), moved_to_last(to_numpy(padded_wide))
        ),
        "keras, 'valid' and its start cropped, from padding=1": apart(
            _transposed(keras.layers, inputs, weight, "valid")[:, 1:, 1:],
            moved_to_last(to_numpy(padded)),
        ),
    }


def _transposed(layers: Any, inputs: Array, weight: Array, padding: str = "same") -> Array:
    """Return the output of a Conv2DTranspose with stride 2 and PyTorch's weight."""
    size = weight.shape[-1]
    layer = layers.Conv2DTranspose(3, size, strides=2, padding=padding, use_bias=False)
    return _loaded(layer, moved_to_last(inputs), weight.transpose(2, 3, 1, 0))


@check("D14")
def lstm() -> Values:
    """Measure transposes and the sum of the biases; the same with two gates swapped."""
    import keras
    import torch

    inputs = draw(2, 5, 3)
    layer = torch.nn.LSTM(3, 4, batch_first=True)
    weights = _recurrent_weights(layer)
    expected = layer(torch.from_numpy(inputs))[0][:, -1]
    kernel, recurrent_kernel, bias, recurrent_bias = weights
    lstm = keras.layers.LSTM(4)
    plain = _loaded(lstm, inputs, kernel.T, recurrent_kernel.T, bias + recurrent_bias)
    swapped = _loaded(
        lstm,
        inputs,
        _gates(kernel, 0, 1, 3, 2).T,
        _gates(recurrent_kernel, 0, 1, 3, 2).T,
        _gates(bias + recurrent_bias, 0, 1, 3, 2),
    )
    return {
        "torch shape": list(layer.weight_ih_l0.shape),
        "keras shape": list(lstm.cell.kernel.shape),
        "keras, transposed": apart(plain, expected),
        "keras, with two gates swapped": apart(swapped, expected),
    }


def _recurrent_weights(layer: Any) -> list[Array]:
    """Load drawn weights into a recurrent layer of PyTorch, and return them."""
    import torch

    weights: list[Array] = []
    for number, parameter in enumerate(layer.parameters()):
        weight = draw(*parameter.shape, seed=number + 1)
        parameter.data = torch.from_numpy(weight.copy())
        weights.append(weight)
    return weights


def _gates(weight: Array, *order: int) -> Array:
    """Return a weight of PyTorch with its gates in another order."""
    blocks = np.split(weight, len(order))
    return np.concatenate([blocks[index] for index in order])


@check("D15")
def gru() -> Values:
    """Measure transposes as they are, and with the first two gates swapped."""
    import keras
    import torch

    inputs = draw(2, 5, 3)
    layer = torch.nn.GRU(3, 4, batch_first=True)
    kernel, recurrent_kernel, bias, recurrent_bias = _recurrent_weights(layer)
    expected = layer(torch.from_numpy(inputs))[0][:, -1]
    gru = keras.layers.GRU(4)
    biases = np.stack([bias, recurrent_bias])
    plain = _loaded(gru, inputs, kernel.T, recurrent_kernel.T, biases)
    swapped = _loaded(
        gru,
        inputs,
        _gates(kernel, 1, 0, 2).T,
        _gates(recurrent_kernel, 1, 0, 2).T,
        np.stack([_gates(bias, 1, 0, 2), _gates(recurrent_bias, 1, 0, 2)]),
    )
    return {
        "keras, transposed": apart(plain, expected),
        "keras, with the first two gates swapped": apart(swapped, expected),
    }


@check("D16")
def two_biases() -> Values:
    """Measure parameters of an LSTM of 8→16, and its bias after one step of SGD with the rate 1."""
    import keras
    import tensorflow as tf
    import torch

    inputs = draw(2, 5, 8)
    layer = torch.nn.LSTM(8, 16, batch_first=True)
    kernel, recurrent_kernel, bias, recurrent_bias = _recurrent_weights(layer)
    layer(torch.from_numpy(inputs))[0][:, -1].mean().backward()
    torch.optim.SGD(layer.parameters(), lr=1.0).step()
    moved = to_numpy(layer.bias_ih_l0 + layer.bias_hh_l0) - (bias + recurrent_bias)
    lstm = keras.layers.LSTM(16)
    lstm.build(inputs.shape)
    lstm.set_weights([kernel.T, recurrent_kernel.T, bias + recurrent_bias])
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(lstm(inputs))
    gradients = tape.gradient(loss, lstm.trainable_variables)
    keras.optimizers.SGD(learning_rate=1.0).apply(gradients, lstm.trainable_variables)
    keras_moved = to_numpy(lstm.cell.bias) - (bias + recurrent_bias)
    return {
        "torch parameters": sum(parameter.numel() for parameter in layer.parameters()),
        "keras parameters": lstm.count_params(),
        "torch step of the bias": largest(moved),
        "keras step of the bias": largest(keras_moved),
    }


@check("D17")
def flatten() -> Values:
    """Measure an image of 2×2 pixels and 2 channels, numbered as Keras stores it."""
    import keras
    import torch

    image = np.arange(8, dtype=np.float32).reshape(1, 2, 2, 2)
    channels_first = np.moveaxis(image, -1, 1)
    flatten_first = keras.layers.Flatten(data_format="channels_first")
    return {
        "torch": flat(torch.nn.Flatten()(torch.from_numpy(channels_first.copy()))),
        "keras": flat(keras.layers.Flatten()(image)),
        "keras channels_first": flat(flatten_first(channels_first)),
        "keras, after Permute": flat(
            keras.layers.Flatten()(keras.layers.Permute((3, 1, 2))(image))
        ),
    }
