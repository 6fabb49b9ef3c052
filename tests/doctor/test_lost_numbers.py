"""NaN and infinity that only one side has are found where they begin."""

from typing import Any

import numpy as np
import pytest
from support.fake_side import FakeSide, Step, activation, dense

from triptych.doctor.diagnosis import diagnose

GENERATOR = np.random.default_rng(8)
BATCH = {"x": GENERATOR.normal(size=(12, 5)), "y": GENERATOR.normal(size=(12, 2))}

FIRST = dense("1", 5, 6, 1).weights
POSITIVE = int((BATCH["x"] @ FIRST["kernel"] + FIRST["bias"] > 0).sum())  # relu keeps these

pytestmark = pytest.mark.filterwarnings("ignore:invalid value encountered")


def squared_error(output: Any, target: Any) -> Any:
    return ((output - target) ** 2).mean(), 2 * (output - target) / target.size


def scaled(factor: float, name: str) -> Step:
    return Step("", "function", {"factor": factor}, {}, name)


def diagnosed(a_middle: list[Step], b_middle: list[Step], before: bool = False) -> Any:
    """Return the diagnosis of two networks with something between their layers, or before them."""
    sides = []
    for name, framework, middle in (("A", "torch", a_middle), ("B", "keras", b_middle)):
        layers = [dense("1", 5, 6, 1), *middle, activation("relu"), dense("2", 6, 2, 2)]
        if before:
            layers = [*middle, dense("1", 5, 6, 1), activation("relu"), dense("2", 6, 2, 2)]
        sides.append(FakeSide(name, framework, layers, loss_function=squared_error))
    return diagnose(sides[0], sides[1], BATCH)


@pytest.mark.parametrize(
    ("factor", "name", "what", "why"),
    [
        (np.nan, "/", "NaN", "first in /: 0/0"),
        (np.inf, "ops.log", "infinity", "first in ops.log: the logarithm of 0"),
        (np.nan, "ops.sqrt", "NaN", "first in ops.sqrt: the root of a negative number"),
        (np.nan, "ops.rsqrt", "NaN", "first in ops.rsqrt: the root of a negative number"),
        (np.inf, "ops.rsqrt", "infinity", "first in ops.rsqrt: 1/√0"),
        (np.inf, "/", "infinity", "first in /: a division by 0, or by too small a number"),
        (np.nan, "ops.power", "NaN", "first in ops.power"),
        (np.nan, "ops.logaddexp", "NaN", "first in ops.logaddexp"),
    ],
)
@pytest.mark.parametrize("before", [True, False])
def test_the_first_call_that_loses_numbers_is_named(
    factor: float, name: str, what: str, why: str, before: bool
) -> None:
    answer = diagnosed([], [scaled(factor, name), scaled(1.0, "ops.multiply")], before)
    assert answer.verdict == "differ"
    (finding,) = answer.findings
    assert finding.stage == "forward"
    assert finding.layer["b"] == name
    assert f"Keras has {what}, {why}; PyTorch has numbers" in finding.title
    size = 12 * (5 if before else 6)
    lost = size if before or np.isnan(factor) else POSITIVE
    assert finding.values == {"a": "numbers", "b": f"{what} in {lost} of {size} values"}
    assert "here, all finite" in finding.evidence


def test_infinity_that_becomes_nan_is_named() -> None:
    (finding,) = diagnosed([], [scaled(np.inf, "ops.log"), scaled(np.nan, "/")], True).findings
    assert finding.layer["b"] == "/"
    assert "NaN, first in /: after infinity in ops.log, the logarithm of 0" in finding.title


def test_an_input_that_is_not_finite_is_not_called_finite(monkeypatch: Any) -> None:
    x = BATCH["x"].copy()
    x[0, 0] = np.inf
    monkeypatch.setitem(BATCH, "x", x)
    steps = [activation("sigmoid")]
    (finding,) = diagnosed(steps, [*steps, scaled(np.nan, "/")], True).findings
    assert "has NaN, first in /" in finding.title
    assert finding.evidence.startswith("both sides get the same numbers here; all other")


def test_a_fault_behind_lost_numbers_is_found_too() -> None:
    a = [activation("relu")]
    b = [activation("relu"), scaled(np.nan, "/"), dense("3", 6, 6, 3), activation("sigmoid")]
    answer = diagnosed([*a, dense("3", 6, 6, 3), activation("relu")], b)
    lost, function = answer.findings
    assert "first in /: 0/0" in lost.title
    assert {lost.stage, function.stage} == {"forward"}
    assert function.values == {"a": "relu", "b": "sigmoid"}


def test_a_softmax_of_masked_scores_is_that_of_the_catalogue() -> None:
    def masked(value: float) -> list[Step]:
        settings = {"scale": 0.0, "offset": value}
        return [Step("", "rescaling", settings, {}, "where"), activation("softmax")]

    (finding,) = diagnosed(masked(-1.0), masked(-np.inf)).findings
    assert finding.cause == "D127"
    assert finding.layer["b"] == "softmax"
    assert not diagnosed(masked(-1.0), masked(-1.0)).findings
