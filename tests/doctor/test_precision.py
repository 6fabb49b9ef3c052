"""Precision is named as precision: autocast, policies and dtypes, on one side only."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from support.fake_side import FakeSide, dense, examined

from triptych import diagnose
from triptych.doctor.findings import Acquittal, Diagnosis, Finding
from triptych.doctor.observation import Description
from triptych.doctor.precision import examine_precision, fix_of, precision_of

RANDOM = np.random.default_rng(3)
BATCH = {
    "x": RANDOM.normal(size=(8, 6)).astype(np.float32),
    "y": RANDOM.integers(3, size=8),
}


def described(framework: str, dtype: str = "float32", precision: str = "") -> Description:
    return Description(framework, "1", "Net", dtype, (), precision=precision)


FIXES = [
    (described("torch", precision="autocast"), described("keras"), "enabled=False"),
    (described("torch", "float64"), described("keras"), "model.float()"),
    (described("torch"), described("keras", "float64"), "model.double()"),
    (described("torch"), described("keras", precision="mixed_float16"), None),
    (
        described("torch", precision="float32 matmul precision high"),
        described("keras"),
        'torch.set_float32_matmul_precision("highest")',
    ),
    (
        described("keras", precision="mixed_bfloat16"),
        described("torch"),
        'keras.config.set_dtype_policy("float32")',
    ),
    (described("keras", "float64"), described("torch"), 'keras.config.set_floatx("float32")'),
    (described("other"), described("torch", "float64"), None),
]


@pytest.mark.parametrize(("side", "other", "fix"), FIXES)
def test_a_fix_takes_a_policy_away_or_names_the_dtype(side: Any, other: Any, fix: Any) -> None:
    line = fix_of(side, other)
    assert (line is None) is (fix is None)
    assert fix is None or fix in (line or "")


def test_precision_is_the_policy_or_the_dtype() -> None:
    assert precision_of(described("torch", "float64")) == "float64"
    assert precision_of(described("keras", precision="mixed_float16")) == "mixed_float16"


def network(torch: Any, run: Any = None, smoothing: float = 0.0) -> Any:
    """Return a build function of a small network, whose forward pass goes through `run`."""
    from torch import nn

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.hidden = nn.Linear(6, 16)
            self.out = nn.Linear(16, 3)

        def layers(self, x: Any) -> Any:
            return self.out(torch.relu(self.hidden(x)))

        forward = run or layers

    def build() -> Any:
        return {"model": Net(), "loss": nn.CrossEntropyLoss(label_smoothing=smoothing)}

    return build


def only(diagnosis: Diagnosis) -> Finding:
    (finding,) = diagnosis.findings
    return finding


@pytest.fixture
def torch() -> Any:
    return pytest.importorskip("torch")


def in_bfloat16(self: Any, x: Any) -> Any:
    """Run the layers of a network under autocast."""
    import torch

    with torch.autocast("cpu", dtype=torch.bfloat16):
        return self.layers(x).float()


@pytest.mark.framework
def test_autocast_is_named_and_proved_without_it(torch: Any) -> None:
    diagnosis = diagnose(network(torch), network(torch, in_bfloat16), {"x": BATCH["x"]})
    finding = only(diagnosis)
    assert (diagnosis.verdict, diagnosis.dtype) == ("differ", "float64")
    assert (finding.stage, finding.cause, finding.proved) == ("forward", "D124", True)
    assert finding.values == {"a": "float32", "b": "autocast"}
    # bfloat16 has 8 significant bits.
    assert 2.0**-12 < finding.effect["b"] < 2.0**-5
    assert finding.effect["a"] < 2.0**-20
    assert finding.fix["a"] is None
    assert "enabled=False" in (finding.fix["b"] or "")


@pytest.mark.framework
def test_autocast_on_both_sides_is_no_difference(torch: Any) -> None:
    build = network(torch, in_bfloat16)
    diagnosis = diagnose(build, build, {"x": BATCH["x"]})
    assert diagnosis.verdict in ("equal", "rounding")


@pytest.mark.framework
def test_autocast_does_not_hide_another_fault(torch: Any) -> None:
    smoothed = network(torch, in_bfloat16, smoothing=0.1)
    findings = diagnose(network(torch), smoothed, BATCH).findings
    assert [each.stage for each in findings] == ["forward", "loss"]
    assert findings[0].cause == "D124"
    assert findings[1].values["b"] != findings[1].values["a"]


@pytest.mark.framework
@pytest.mark.parametrize(("dtype", "effect"), [("float64", 1e-8), ("bfloat16", 1e-3)])
def test_weights_of_another_dtype_are_named(torch: Any, dtype: str, effect: float) -> None:
    def build() -> Any:
        parts = network(torch)()
        parts["model"].to(getattr(torch, dtype))
        return {"model": parts["model"]}

    finding = only(diagnose(network(torch), build, {"x": BATCH["x"]}))
    assert (finding.stage, finding.cause, finding.proved) == ("forward", "D124", True)
    assert finding.values["b"] in (dtype, f"weights in {dtype}")
    assert max(finding.effect["a"], finding.effect["b"]) > effect


def test_a_setting_without_effect_here_is_acquitted() -> None:
    sides = [FakeSide(name, "torch", [dense("1", 6, 16, 1), dense("2", 16, 3, 2)]) for name in "AB"]
    batch = {"x": BATCH["x"]}
    examination = examined(sides[0], sides[1], batch, ["data"])
    assert examine_precision(examination) is None
    setting = "float32 matmul precision high"
    examination.b_description = replace(examination.b_description, precision=setting)
    found = examine_precision(examination)
    assert isinstance(found, Acquittal)
    assert found.cause == "D88"
    assert "without effect on this machine" in found.title


def test_where_double_precision_is_not_possible_precision_is_suspected() -> None:
    sides = [FakeSide(name, "keras", [dense("1", 6, 3, 1)]) for name in "AB"]
    examination = examined(sides[0], sides[1], {"x": BATCH["x"]}, ["data"])
    policy = replace(examination.b_description, precision="mixed_float16")
    suspected = replace(examination, dtype="native", b_description=policy)
    found = examine_precision(suspected)
    assert isinstance(found, Finding)
    assert (found.cause, found.proved) == ("D124", False)


@pytest.mark.framework
@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_policies_of_keras_are_named(policy: str) -> None:
    """The policy is that of one layer, or of all that are built after it was set."""
    keras = pytest.importorskip("keras")

    def model(dtype: str | None) -> Any:
        inputs = keras.Input((6,))
        hidden = keras.layers.Dense(16, "relu", dtype=dtype)(inputs)
        return {"model": keras.Model(inputs, keras.layers.Dense(3, dtype="float32")(hidden))}

    def everywhere() -> Any:
        before = keras.config.dtype_policy()
        keras.mixed_precision.set_global_policy(policy)
        try:
            return model(None)
        finally:
            keras.config.set_dtype_policy(before)

    for build in (lambda: model(policy), everywhere):
        diagnosis = diagnose(lambda: model(None), build, {"x": BATCH["x"]})
        finding = only(diagnosis)
        assert diagnosis.dtype == "float64"
        assert (finding.stage, finding.cause, finding.proved) == ("forward", "D124", True)
        assert finding.values == {"a": "float32", "b": policy}
        assert finding.effect["b"] > 2.0**-13
        assert keras.config.floatx() == "float32"
        assert keras.layers.Dense(1).dtype_policy.name == "float32"
