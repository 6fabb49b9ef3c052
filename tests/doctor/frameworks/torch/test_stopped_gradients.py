"""Gradients that do not flow back in PyTorch, which has None in their place."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import triptych as tt

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402

pytestmark = pytest.mark.framework

BATCH = {
    "x": np.random.default_rng(0).normal(size=(8, 4)).astype(np.float32),
    "y": np.arange(8) % 3,
}


class Net(nn.Module):
    def __init__(self, stopped: str) -> None:
        super().__init__()
        self.body = nn.Linear(4, 5)
        self.head = nn.Linear(5, 3)
        self.stopped = stopped

    def forward(self, x: Any) -> Any:
        hidden = torch.tanh(self.body(x))
        return self.head(hidden.detach() if self.stopped == "activations" else hidden)


def side(stopped: str = "", *, optimizer: bool = False) -> Callable[[], dict[str, Any]]:
    def build() -> dict[str, Any]:
        model = Net(stopped)
        made = {"model": model, "loss": nn.CrossEntropyLoss()}
        if optimizer:
            made["optimizer"] = torch.optim.SGD(model.parameters(), lr=0.1)
        return made

    return build


@pytest.mark.parametrize("optimizer", [False, True])
@pytest.mark.parametrize("stops", ["a", "b"])
def test_activations_that_are_detached_on_one_side(stops: str, optimizer: bool) -> None:
    sides = {
        name: side("activations" if name == stops else "", optimizer=optimizer) for name in "ab"
    }
    answer = tt.diagnose(sides["a"], sides["b"], BATCH)
    (finding,) = answer.findings
    assert (finding.stage, finding.proved) == ("gradient", True)
    assert finding.layer == {"a": "body", "b": "body"}
    assert f"zero in {stops.upper()}" in finding.title
    assert finding.values[stops] == 0.0
    assert answer.verdict == "differ"


def test_activations_that_are_detached_on_both_sides_are_equal() -> None:
    both = side("activations", optimizer=True)
    assert tt.diagnose(both, both, BATCH).verdict == "equal"


def test_a_layer_that_is_frozen_has_no_gradient() -> None:
    def frozen() -> dict[str, Any]:
        made = side()()
        made["model"].body.requires_grad_(False)
        return made

    (finding,) = tt.diagnose(side(), frozen, BATCH).findings
    assert "body is frozen in B" in finding.title
