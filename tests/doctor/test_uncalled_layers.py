"""Layers that a model holds and never calls are compared by their weights alone."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import triptych as tt

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402

pytestmark = pytest.mark.framework

GENERATOR = np.random.default_rng(0)
BATCH = {"x": GENERATOR.normal(size=(8, 4)).astype(np.float32), "y": np.arange(8) % 3}


class Net(nn.Module):
    """A network with a head that it does not use, after the one that it uses."""

    def __init__(self, slope: float) -> None:
        super().__init__()
        self.body = nn.Linear(4, 5)
        self.activation = nn.LeakyReLU(slope)
        self.head = nn.Linear(5, 3)
        self.other_head = nn.Linear(5, 2)

    def forward(self, x: Any) -> Any:
        return self.head(self.activation(self.body(x)))


def side(slope: float, reduction: str = "mean") -> Callable[[], dict[str, Any]]:
    def build() -> dict[str, Any]:
        model = Net(slope)
        return {
            "model": model,
            "loss": nn.CrossEntropyLoss(reduction=reduction),
            "optimizer": torch.optim.SGD(model.parameters(), lr=0.1),
        }

    return build


def test_both_sides_may_have_a_layer_that_is_never_called() -> None:
    answer = tt.diagnose(side(0.1), side(0.1), BATCH)
    assert answer.verdict == "equal"
    assert [row.a for row in answer.layers] == ["body", "head"]
    assert answer.uncarried == ()


def test_faults_beside_it_are_found() -> None:
    answer = tt.diagnose(side(0.1), side(0.2, "sum"), BATCH)
    slope, reduction = answer.findings
    assert (slope.stage, slope.cause, slope.proved) == ("forward", "D26", True)
    assert (reduction.stage, reduction.proved) == ("loss", True)
    assert reduction.values["a"].endswith("mean over the samples")
    assert reduction.values["b"].endswith("sum")
