"""Models with several outputs: a loss for each, their weights, and another order."""

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
from triptych.doctor.loss_lines import weight_line  # noqa: E402
from triptych.doctor.model_file import Parts  # noqa: E402
from triptych.doctor.observation import Component  # noqa: E402
from triptych.doctor.side import local_side  # noqa: E402

pytestmark = [pytest.mark.framework, pytest.mark.slow]

RNG = np.random.default_rng(4)
BATCH = {
    "x": RNG.normal(size=(16, 5)).astype(np.float32),
    "y": RNG.integers(0, 3, 16),
    "y2": RNG.normal(size=(16, 1)).astype(np.float32),
}
# Made before the model, as at the top of a file: in single precision.
CLASSES = keras.losses.SparseCategoricalCrossentropy(from_logits=True)

Made = dict[str, Any]


class TorchHeads(nn.Module):
    def __init__(self, *, named: bool) -> None:
        super().__init__()
        self.trunk = nn.Linear(5, 8)
        self.label = nn.Linear(8, 3)
        self.value = nn.Linear(8, 1)
        self.named = named

    def forward(self, x: Any) -> Any:
        x = torch.tanh(self.trunk(x))
        label, value = self.label(x), self.value(x)
        return {"value": value, "label": label} if self.named else (label, value)


def of_torch(named: bool = False, **parts: Any) -> Callable[[], Made]:
    def build() -> Made:
        model = TorchHeads(named=named)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        return {"model": model, "optimizer": optimizer} | parts

    return build


def of_keras(form: str = "list", compiled: Made | None = None, **parts: Any) -> Callable[[], Made]:
    def build() -> Made:
        inputs = keras.Input((5,))
        x = layers.Dense(8, activation="tanh", name="trunk")(inputs)
        label = layers.Dense(3, name="label")(x)
        value = layers.Dense(1, name="value")(x)
        outputs = {
            "list": [label, value],
            "turned": [value, label],
            "dict": {"label": label, "value": value},
        }
        model = keras.Model(inputs, outputs[form])
        if compiled is None:
            return {"model": model, "optimizer": keras.optimizers.SGD(0.1)} | parts
        model.compile(keras.optimizers.SGD(0.1), **compiled)
        return {"model": model} | parts

    return build


def diagnosed(a: Callable[[], Made], b: Callable[[], Made]) -> Any:
    sides = [local_side(name, Parts(Path(__file__), build)) for name, build in (("A", a), ("B", b))]
    return diagnose(sides[0], sides[1], BATCH)


def both(weight: float = 1.0, **settings: Any) -> Callable[[Any, Any], Any]:
    def loss(output: Any, target: Any) -> Any:
        return F.cross_entropy(output[0], target[0]) + weight * F.mse_loss(
            output[1], target[1], **settings
        )

    return loss


def by_name(output: Any, target: Any) -> Any:
    return F.cross_entropy(output["label"], target[0]) + 0.5 * F.mse_loss(
        output["value"], target[1]
    )


def turned(y_true: Any, y_pred: Any) -> Any:
    squares = ops.mean(ops.square(y_pred[0] - y_true[1]))
    return CLASSES(y_true[0], y_pred[1]) + squares


NAMED = {"label": CLASSES, "value": "mse"}
WEIGHTS = {"label": 1.0, "value": 0.5}

EQUAL = {
    "list": (of_torch(loss=both(0.5)), of_keras(loss=[CLASSES, "mse"], loss_weights=[1.0, 0.5])),
    "dict": (of_torch(True, loss=by_name), of_keras("dict", loss=NAMED, loss_weights=WEIGHTS)),
    "compiled": (
        of_torch(loss=both(0.5)),
        of_keras(compiled={"loss": NAMED, "loss_weights": WEIGHTS}),
    ),
    "both sides": (
        of_torch(loss=[nn.CrossEntropyLoss(), nn.MSELoss()], loss_weights=[2.0, 1.0]),
        of_keras(loss=[CLASSES, keras.losses.MeanSquaredError()], loss_weights=[2.0, 1.0]),
    ),
    "turned": (of_torch(loss=both()), of_keras("turned", loss=turned)),
}


@pytest.mark.parametrize("name", EQUAL)
def test_the_same_losses_of_several_outputs_are_equal(name: str) -> None:
    diagnosis = diagnosed(*EQUAL[name])
    assert diagnosis.verdict in ("equal", "rounding"), diagnosis.findings
    losses = next(row for row in diagnosis.stages if row.stage == "loss")
    assert losses.compared
    assert not losses.note
    order = [each.title for each in diagnosis.acquitted if "another order" in each.title]
    assert bool(order) == (name in ("turned", "dict"))  # PyTorch has its names in another order


WEIGHT = "Weight of its loss"
DIFFERENT = {
    "weight": (
        of_torch(loss=both(0.25)),
        of_keras(loss=[CLASSES, "mse"], loss_weights=[1.0, 0.5]),
        (None, f"output 2: {WEIGHT}"),
        {"a": "0.25", "b": "0.5"},
        "loss_weights=[1, 0.25]",
    ),
    "turned": (
        of_torch(loss=both(0.25)),
        of_keras("turned", loss=turned),
        (None, f"output 2: {WEIGHT}"),
        {"a": "0.25", "b": "1"},
        "loss = loss_2 + 0.25 * loss_1",  # the numbers are those of B's outputs
    ),
    "sum": (
        of_torch(loss=both(reduction="sum")),
        of_keras(loss=[CLASSES, "mse"]),
        (None, "output 2: What the sum of the losses is divided by"),
        {"a": "squared error, sum", "b": "squared error, mean over the samples"},
        None,
    ),
    "logits": (
        of_torch(loss=both()),
        of_keras(loss=["sparse_categorical_crossentropy", "mse"]),
        ("D37", "output 1: Logits given to a loss that expects probabilities"),
        {
            "a": "cross-entropy of the logits, mean over the samples",
            "b": "cross-entropy of logits that are taken for probabilities, mean over the samples",
        },
        "losses.SparseCategoricalCrossentropy(from_logits=True)",
    ),
    "left out": (
        of_torch(loss=both()),
        of_keras(loss=[CLASSES, None]),
        (None, "output 2: One side has no loss of it"),
        {"a": "counts", "b": "does not count"},
        None,
    ),
}


@pytest.mark.parametrize("name", DIFFERENT)
def test_the_loss_of_an_output_that_differs_is_named(name: str) -> None:
    a, b, (cause, title), values, fix = DIFFERENT[name]
    (finding,) = diagnosed(a, b).findings
    assert (finding.stage, finding.cause, finding.title) == ("loss", cause, title)
    assert finding.values == values
    assert finding.fix["b"] == fix
    path = "label" if title.startswith("output 1") else "value"
    assert finding.layer == {"a": path, "b": path}


def test_another_order_without_a_loss_is_a_finding() -> None:
    (finding,) = diagnosed(of_torch(), of_keras("turned")).findings
    assert (finding.stage, finding.proved) == ("forward", True)
    assert finding.values == {"a": [1, 2], "b": [2, 1]}


def test_the_line_of_a_weight_has_one_for_each_output_of_the_side() -> None:
    built_in = Component("MeanSquaredError", {})
    assert weight_line("keras", 1, 2, "0.5", built_in) == "loss_weights=[0.5, 1]"
    listed = Component("mse", {"loss_weights": [1.0, 3.0]})
    assert weight_line("torch", 2, 2, "0.5", listed) == "loss_weights=[1, 0.5]"
    # The names of a dict may come in another order than the outputs.
    named = Component("mse", {"loss_weights": {"label": 1.0, "value": 3.0}})
    assert weight_line("keras", 2, 2, "0.5", named) == "loss = loss_1 + 0.5 * loss_2"
