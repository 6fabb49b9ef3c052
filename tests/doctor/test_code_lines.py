"""Layers and functions of one framework, written in the other one."""

import numpy as np
import pytest

from triptych.doctor.code_lines import layer_like, pool_line, without_line
from triptych.doctor.observation import Layer

PADDED = {"strides": [2, 2], "padding": [[1, 1], [1, 1]], "dilation": [1, 1], "groups": 1}


def weights(**shapes):
    return {role: np.ones(shape) for role, shape in shapes.items()}


CASES = [
    (
        Layer("d", "Dense", "dense"),
        weights(kernel=(4, 5)),
        2,
        "torch",
        "nn.Linear(4, 5, bias=False)",
    ),
    (Layer("d", "Linear", "dense"), weights(kernel=(4, 5), bias=5), 2, "keras", "layers.Dense(5)"),
    (
        Layer("c", "Conv2D", "conv", PADDED),
        weights(kernel=(3, 3, 4, 8), bias=8),
        4,
        "torch",
        "nn.Conv2d(4, 8, 3, stride=2, padding=1)",
    ),
    (
        Layer("c", "Conv1d", "conv", {"strides": [1], "padding": [[0, 0]]}),
        weights(kernel=(3, 4, 8), bias=8),
        3,
        "keras",
        "layers.Conv1D(8, 3)",
    ),
    (
        Layer("c", "Conv2d", "depthwise_conv"),
        weights(kernel=(3, 3, 4, 2), bias=8),
        4,
        "torch",
        "nn.Conv2d(4, 8, 3, groups=4)",
    ),
    (
        Layer("c", "Conv2d", "depthwise_conv"),
        weights(kernel=(3, 3, 4, 2), bias=8),
        4,
        "keras",
        "layers.DepthwiseConv2D(3, depth_multiplier=2)",
    ),
    (
        Layer("n", "BatchNormalization", "batch_norm", {"epsilon": 1e-3, "momentum": 0.01}),
        weights(scale=6, offset=6, mean=6, variance=6),
        4,
        "torch",
        "nn.BatchNorm2d(6, eps=1e-3)",
    ),
    (
        Layer("r", "LSTM", "lstm", {"batch_first": True, "bidirectional": False}),
        weights(kernel=(4, 12), recurrent_kernel=(3, 12), bias=12),
        3,
        "torch",
        "nn.LSTM(4, 3, batch_first=True)",
    ),
    (
        Layer("a", "MultiheadAttention", "attention", {"heads": 2}),
        weights(query_kernel=(6, 6), query_bias=6),
        3,
        "keras",
        "layers.MultiHeadAttention(2, 3)",
    ),
]


@pytest.mark.parametrize(("layer", "arrays", "axes", "framework", "expected"), CASES)
def test_a_layer_is_written_in_either_framework(layer, arrays, axes, framework, expected):
    assert layer_like(framework, layer, arrays, axes) == expected


def test_a_bias_is_written_where_the_line_must_say_so():
    layer, arrays = Layer("d", "Dense", "dense"), weights(kernel=(4, 5))
    assert layer_like("keras", layer, arrays, 2, bias=True) == "layers.Dense(5, use_bias=True)"
    assert layer_like("torch", layer, arrays, 2, bias=True) == "nn.Linear(4, 5, bias=True)"


def test_a_layer_that_a_framework_does_not_have_is_not_written():
    assert layer_like("torch", Layer("x", "Mine", "other"), weights(w=(3,)), 2) is None
    assert layer_like("numpy", Layer("d", "Dense", "dense"), weights(kernel=(4, 5)), 2) is None


def test_a_role_is_left_out_by_the_argument_of_that_layer():
    norm = Layer("n", "LayerNorm", "layer_norm")
    arrays = weights(scale=5, offset=5)
    assert without_line("torch", norm, arrays, "offset") == "nn.LayerNorm(5, bias=False)"
    batch = Layer("b", "BatchNormalization", "batch_norm")
    expected = "layers.BatchNormalization(center=False)"
    assert without_line("keras", batch, arrays, "offset") == expected
    attention = Layer("a", "MultiheadAttention", "attention", {"heads": 2})
    line = without_line("torch", attention, weights(query_kernel=(6, 6)), "key_bias")
    assert line == "nn.MultiheadAttention(6, 2, bias=False)"
    part = Layer("a.query", "MultiHeadAttention", "dense")
    line = without_line("keras", part, weights(kernel=(6, 6)), "bias")
    assert line == "layers.MultiHeadAttention(..., use_bias=False)"


def test_a_pooling_is_written_in_either_framework():
    settings = {"pooling": "max", "size": [2, 2], "strides": [2, 2], "padding": [[0, 0], [0, 0]]}
    assert pool_line("torch", settings) == "nn.MaxPool2d(2)"
    average = {"pooling": "average", "size": [3], "strides": [2], "padding": "same"}
    assert pool_line("keras", average) == 'layers.AveragePooling1D(3, strides=2, padding="same")'
    assert pool_line("torch", {"pooling": "max", "size": "global"}) is None
