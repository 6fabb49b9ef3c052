"""Weights in one layout: Keras's arrays there and back, and against the layers' formulas."""

import numpy as np
import pytest

from benchmarks.portbench.layout import from_keras, from_torch, to_keras

SHAPES = {
    "dense": [(5, 3), (3,)],
    "conv1d": [(3, 2, 4), (4,)],
    "conv2d": [(3, 2, 5, 4), (4,)],
    "depthwise": [(3, 3, 4, 2), (8,)],
    "conv_transpose": [(2, 2, 4, 3), (4,)],
    "embedding": [(10, 4)],
    "bn": [(4,)] * 4,
    "ln": [(4,)] * 2,
    "lstm": [(3, 8), (2, 8), (8,)],
    "gru": [(3, 6), (2, 6), (2, 6)],
    "attention": [(4, 2, 2), (2, 2)] * 3 + [(2, 2, 4), (4,)],
}


@pytest.mark.parametrize("kind", SHAPES)
def test_there_and_back(kind):
    random = np.random.default_rng(1)
    arrays = [random.normal(size=shape) for shape in SHAPES[kind]]
    anchor = {"kind": kind, "flatten": None}
    back = to_keras(anchor, from_keras(anchor, arrays), SHAPES[kind])
    for array, other in zip(arrays, back, strict=True):
        np.testing.assert_array_equal(array, other)


def test_a_dense_layer_after_an_image_gives_the_same_product():
    random = np.random.default_rng(2)
    image = random.normal(size=(2, 3, 4, 5))  # batch, height, width, channels
    kernel = random.normal(size=(60, 7))
    named = from_keras({"kind": "dense", "flatten": [3, 4, 5]}, [kernel])
    channels_first = image.transpose(0, 3, 1, 2).reshape(2, -1)
    expected = image.reshape(2, -1) @ kernel
    np.testing.assert_allclose(channels_first @ named["weight"].T, expected, rtol=1e-12)
    back = to_keras({"kind": "dense", "flatten": [3, 4, 5]}, named, [(60, 7)])
    np.testing.assert_array_equal(back[0], kernel)


def test_the_two_biases_of_an_lstm_are_their_sum_and_one_gradient():
    anchor = {"kind": "lstm", "flatten": None}
    arrays = {"bias_ih_l0": np.array([1.0, 2.0]), "bias_hh_l0": np.array([0.5, 0.5])}
    np.testing.assert_array_equal(from_torch(anchor, arrays)["bias"], [1.5, 2.5])
    np.testing.assert_array_equal(from_torch(anchor, arrays, gradient=True)["bias"], [1.0, 2.0])
