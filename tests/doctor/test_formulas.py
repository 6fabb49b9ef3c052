"""NumPy formulas agree with PyTorch's."""

import numpy as np
import pytest

from triptych.doctor.formulas import (
    ACTIVATIONS,
    activate,
    batch_statistics,
    moving_statistics,
    pool,
)

pytestmark = pytest.mark.framework

PYTORCH = {
    "relu": ("relu", {}),
    "relu6": ("relu6", {}),
    "leaky_relu": ("leaky_relu", {"negative_slope": 0.3}),
    "elu": ("elu", {"alpha": 0.7}),
    "celu": ("celu", {"alpha": 0.7}),
    "selu": ("selu", {}),
    "silu": ("silu", {}),
    "mish": ("mish", {}),
    "tanh": ("tanh", {}),
    "sigmoid": ("sigmoid", {}),
    "log_sigmoid": ("logsigmoid", {}),
    "softplus": ("softplus", {}),
    "softsign": ("softsign", {}),
    "hard_tanh": ("hardtanh", {}),
    "hard_sigmoid": ("hardsigmoid", {}),
    "hard_silu": ("hardswish", {}),
    "tanh_shrink": ("tanhshrink", {}),
    "softmax": ("softmax", {"dim": -1}),
    "log_softmax": ("log_softmax", {"dim": -1}),
    "softmin": ("softmin", {"dim": -1}),
}
SETTINGS = {"leaky_relu": {"slope": 0.3}, "elu": {"alpha": 0.7}, "celu": {"alpha": 0.7}}


def values():
    return np.random.default_rng(1).normal(scale=3, size=(5, 7))


def test_every_activation_is_compared():
    assert set(ACTIVATIONS) - set(PYTORCH) == {"linear", "gelu", "exponential"}


@pytest.mark.parametrize("name", PYTORCH)
def test_activations(name):
    torch = pytest.importorskip("torch")
    function, arguments = PYTORCH[name]
    expected = getattr(torch.nn.functional, function)(torch.from_numpy(values()), **arguments)
    made = activate(values(), {"function": name} | SETTINGS.get(name, {}))
    np.testing.assert_allclose(made, expected.numpy(), atol=1e-8)


@pytest.mark.parametrize(("approximate", "word"), [(True, "tanh"), (False, "none")])
def test_gelu(approximate, word):
    torch = pytest.importorskip("torch")
    expected = torch.nn.functional.gelu(torch.from_numpy(values()), approximate=word)
    made = activate(values(), {"function": "gelu", "approximate": approximate})
    np.testing.assert_allclose(made, expected.numpy(), atol=1e-12)


def test_the_hard_sigmoid_of_keras_2():
    x = np.array([-3.0, -2.5, -1.0, 0.0, 2.0, 2.5, 2.75])
    made = activate(x, {"function": "hard_sigmoid", "gain": 0.2})
    np.testing.assert_allclose(made, [0, 0, 0.3, 0.5, 0.9, 1, 1], atol=1e-15)


@pytest.mark.parametrize("kind", ["max", "average"])
@pytest.mark.parametrize("count_padding", [True, False])
@pytest.mark.parametrize("padding", [0, 1])
def test_pools(kind, count_padding, padding):
    torch = pytest.importorskip("torch")
    x = np.random.default_rng(2).normal(size=(2, 7, 8, 3))
    settings = {"pooling": kind, "size": [3, 3], "strides": [2, 1]}
    settings |= {"padding": [[padding, padding]] * 2, "count_padding": count_padding}
    image = torch.from_numpy(x).permute(0, 3, 1, 2)
    functional = torch.nn.functional
    if kind == "max":
        expected = functional.max_pool2d(image, 3, (2, 1), padding)
    else:
        expected = functional.avg_pool2d(image, 3, (2, 1), padding, count_include_pad=count_padding)
    made = pool(x, settings)
    np.testing.assert_allclose(made, expected.permute(0, 2, 3, 1).numpy(), atol=1e-12)


def test_same_padding_is_that_of_tensorflow():
    tensorflow = pytest.importorskip("tensorflow")
    x = np.random.default_rng(3).normal(size=(2, 8, 9, 3)).astype(np.float32)
    settings = {"pooling": "max", "size": [3, 3], "strides": [2, 2], "padding": "same"}
    expected = tensorflow.nn.max_pool2d(x, 3, 2, "SAME").numpy()
    np.testing.assert_array_equal(pool(x, settings), expected)


@pytest.mark.parametrize("training", [True, False])
def test_batch_normalization(training):
    torch = pytest.importorskip("torch")
    x = np.random.default_rng(4).normal(2.0, 3.0, (8, 5))
    layer = torch.nn.BatchNorm1d(5, eps=1e-3).double().train(training)
    with torch.no_grad():
        layer.weight.uniform_(0.5, 2)
        layer.bias.uniform_(-1, 1)
        layer.running_mean.uniform_(-1, 1)
        layer.running_var.uniform_(0.5, 2)
        weights = {"scale": layer.weight.numpy().copy(), "offset": layer.bias.numpy().copy()}
        weights |= {"mean": layer.running_mean.numpy().copy()}
        weights |= {"variance": layer.running_var.numpy().copy()}
        expected = layer(torch.from_numpy(x)).numpy()
    formula = batch_statistics if training else moving_statistics
    np.testing.assert_allclose(formula(x, weights, 1e-3), expected, atol=1e-12)
