"""Layers that users write themselves, with functions that differ inside, in one process."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
keras = pytest.importorskip("keras")
from keras import layers, ops  # noqa: E402
from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402

from triptych.doctor.diagnosis import diagnose  # noqa: E402
from triptych.doctor.model_file import Parts  # noqa: E402
from triptych.doctor.side import local_side  # noqa: E402

pytestmark = [pytest.mark.framework, pytest.mark.slow]

RNG = np.random.default_rng(3)
# So small that an epsilon counts.
X = 0.05 * RNG.normal(size=(12, 6, 8)).astype(np.float32)
SIZE = 8
ROLES = ("q", "k", "v", "gain", "shift")

Computed = Callable[[Any, Any], Any]


class TorchOwn(nn.Module):
    def __init__(self, compute: Computed) -> None:
        super().__init__()
        for name in ROLES[:3]:
            self.register_parameter(name, nn.Parameter(torch.randn(SIZE, SIZE)))
        for name in ROLES[3:]:
            self.register_parameter(name, nn.Parameter(torch.randn(SIZE)))
        self.compute = compute

    def forward(self, x: Any) -> Any:
        return self.compute(self, x)


class KerasOwn(layers.Layer):
    def __init__(self, compute: Computed) -> None:
        super().__init__(name="own")
        self.compute = compute

    def build(self, input_shape: Any) -> None:
        for name in ROLES[:3]:
            setattr(self, name, self.add_weight(shape=(SIZE, SIZE), name=name))
        for name in ROLES[3:]:
            setattr(self, name, self.add_weight(shape=(SIZE,), name=name))

    def call(self, x: Any) -> Any:
        return self.compute(self, x)


def diagnosed(in_torch: Computed, in_keras: Computed) -> Any:
    def torch_side() -> Any:
        return {"model": nn.Sequential(nn.Linear(8, 8), TorchOwn(in_torch), nn.Linear(8, 2))}

    def keras_side() -> Any:
        inputs = keras.Input((6, 8))
        x = KerasOwn(in_keras)(layers.Dense(8, name="first")(inputs))
        return {"model": keras.Model(inputs, layers.Dense(2, name="last")(x))}

    builds = (("A", torch_side), ("B", keras_side))
    sides = [local_side(name, Parts(Path(__file__), build)) for name, build in builds]
    return diagnose(sides[0], sides[1], {"x": X})


def torch_norm(var: Callable[[Any], Any] | None = None, epsilon: float = 1e-5) -> Computed:
    def compute(own: Any, x: Any) -> Any:
        mean = x.mean(-1, keepdim=True)
        variance = var(x) if var else x.var(-1, unbiased=False, keepdim=True)
        return (x - mean) / torch.sqrt(variance + epsilon) * own.gain + own.shift

    return compute


def keras_norm(axis: int = -1, epsilon: float = 1e-5) -> Computed:
    def compute(own: Any, x: Any) -> Any:
        # Written in another way, and in another order.
        variance = ops.var(x, axis=axis, keepdims=True)
        centred = x - ops.mean(x, axis=-1, keepdims=True)
        return own.gain * centred * ops.rsqrt(variance + epsilon) + own.shift

    return compute


def torch_attention(own: Any, x: Any) -> Any:
    q, k, v = x @ own.q, x @ own.k, x @ own.v
    scores = 1e3 * q @ k.transpose(1, 2) / math.sqrt(SIZE)
    return own.gain * (torch.softmax(scores, -1) @ v) + own.shift


def keras_attention(scale: float = 1.0, axis: int = -1) -> Computed:
    def compute(own: Any, x: Any) -> Any:
        q, k, v = (ops.matmul(x, each) for each in (own.q, own.k, own.v))
        scores = 1e3 * ops.matmul(q, ops.transpose(k, (0, 2, 1)))
        if scale != 1.0:
            scores = scores * scale
        return own.gain * ops.matmul(ops.softmax(scores, axis=axis), v) + own.shift

    return compute


def torch_gate(function: Callable[[Any], Any]) -> Computed:
    return lambda own, x: function(x @ own.q) * (x @ own.k) @ own.v * own.gain + own.shift


def keras_gate(function: Callable[[Any], Any]) -> Computed:
    def compute(own: Any, x: Any) -> Any:
        gated = function(ops.matmul(x, own.q)) * ops.matmul(x, own.k)
        return ops.matmul(gated, own.v) * own.gain + own.shift

    return compute


def by_hand(x: Any) -> Any:
    return 0.5 * x * (1 + ops.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def summed(own: Any, x: Any) -> Any:
    return (x @ own.q @ own.k @ own.v).sum(1) * own.gain + own.shift


def averaged(own: Any, x: Any) -> Any:
    x = ops.matmul(ops.matmul(ops.matmul(x, own.q), own.k), own.v)
    return ops.mean(x, axis=1) * own.gain + own.shift


CASES: list[tuple[str, Computed, Computed, str | None, dict[str, Any]]] = [
    (
        "slope",
        torch_gate(F.leaky_relu),
        keras_gate(lambda x: ops.leaky_relu(x)),
        "D26",
        {"a": 0.01, "b": 0.2},
    ),
    (
        "gelu by hand",
        torch_gate(F.gelu),
        keras_gate(by_hand),
        "D28",
        {"a": "gelu(approximate=False)", "b": "gelu(approximate=True)"},
    ),
    ("epsilon", torch_norm(), keras_norm(epsilon=1e-3), "D23", {"a": 1e-5, "b": 1e-3}),
    (
        "epsilon of a function",
        lambda own, x: F.layer_norm(x, (SIZE,), own.gain, own.shift),
        keras_norm(epsilon=1e-3),
        "D23",
        {"a": 1e-5, "b": 1e-3},
    ),
    (
        "unbiased",
        torch_norm(lambda x: x.var(-1, keepdim=True)),
        keras_norm(),
        "D78",
        {"a": True, "b": False},
    ),
    ("axis of a variance", torch_norm(), keras_norm(1), None, {"a": [-1], "b": [-2]}),
    (
        "scale",
        torch_attention,
        keras_attention(),
        "D109",
        {"a": pytest.approx(SIZE**-0.5), "b": 1.0},
    ),
    (
        "axis of a softmax",
        torch_attention,
        keras_attention(SIZE**-0.5, 1),
        "D121",
        {"a": -1, "b": -2},
    ),
    ("mean", summed, averaged, None, {"a": "sum", "b": "mean"}),
    (
        "activation",
        torch_gate(torch.tanh),
        keras_gate(lambda x: x),
        None,
        {"a": "tanh", "b": "linear"},
    ),
    (
        "order",
        torch_norm(lambda x: x.std(-1, keepdim=True, unbiased=False) ** 2),
        keras_norm(epsilon=2e-5),
        "D23",
        {"a": 1e-5, "b": 2e-5},
    ),
]


@pytest.mark.parametrize(
    ("in_torch", "in_keras", "cause", "values"),
    [case[1:] for case in CASES],
    ids=[case[0] for case in CASES],
)
def test_the_function_that_differs_inside_is_named(
    in_torch: Computed, in_keras: Computed, cause: str | None, values: dict[str, Any]
) -> None:
    diagnosis = diagnosed(in_torch, in_keras)
    (finding,) = diagnosis.findings
    assert (finding.stage, finding.cause, finding.proved) == ("forward", cause, True)
    assert finding.layer == {"a": "1", "b": "own"}
    assert finding.values == values
    assert finding.title.startswith("in 1 / own: ")


@pytest.mark.parametrize(
    ("in_torch", "in_keras"),
    [
        (torch_norm(), keras_norm()),
        (torch_attention, keras_attention(SIZE**-0.5)),
        (torch_gate(F.silu), keras_gate(lambda x: x * ops.sigmoid(x))),
    ],
)
def test_the_same_written_in_another_way_is_equal(in_torch: Computed, in_keras: Computed) -> None:
    diagnosis = diagnosed(in_torch, in_keras)
    assert diagnosis.verdict in ("equal", "rounding")
    assert not diagnosis.findings


def test_two_faults_in_one_layer_are_both_named() -> None:
    diagnosis = diagnosed(torch_norm(lambda x: x.var(-1, keepdim=True)), keras_norm(epsilon=1e-3))
    assert [each.cause for each in diagnosis.findings] == ["D78", "D23"]


def test_what_no_setting_tells_is_located() -> None:
    """An epsilon outside of the root: nothing but the place of the addition differs."""

    def outside(own: Any, x: Any) -> Any:
        mean, deviation = ops.mean(x, -1, keepdims=True), ops.std(x, -1, keepdims=True)
        return own.gain * (x - mean) / (deviation + 1e-5) + own.shift

    (finding,) = diagnosed(torch_norm(), outside).findings
    assert (finding.cause, finding.proved) == (None, True)
    assert "torch.sqrt" in finding.values["a"]
    assert "ops.std" in finding.values["b"]
    assert "+ 1e-5" in finding.values["b"]
