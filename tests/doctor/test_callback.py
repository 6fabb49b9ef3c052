"""The stage of plateau rules and early stopping."""

import math
from dataclasses import replace
from typing import Any

import pytest
from support.doctor_sides import NumpySide, compared, optimized

from triptych.doctor.examination import Result
from triptych.doctor.observation import Component
from triptych.doctor.plateaus import Plateau, described_plateau
from triptych.doctor.stages import callback

FLAT = [1.0, 0.5, 0.4] + [0.4] * 12
SLOW = [0.01 * 0.998**epoch for epoch in range(15)]


def side(name: str, settings: dict[str, Any], losses: list[float]) -> NumpySide:
    """Return a side with ReduceLROnPlateau."""
    framework = "torch" if name == "A" else "keras"
    made = optimized(name, framework, "SGD", rate=0.1)
    component = Component("ReduceLROnPlateau", settings)
    made.described = replace(made.described, callbacks=(component,))
    rule = described_plateau(made.described)
    assert rule
    rates = rule.rates(losses, 0.1)
    made.of_epochs = lambda losses: {"rates": rates, "stopped": None, "restored": None}
    return made


def examined(a: NumpySide, b: NumpySide, losses: list[float]) -> Result:
    return callback.examine(compared(a, b, batch={"val_loss": losses}))  # type: ignore[dict-item]


@pytest.mark.framework
@pytest.mark.parametrize("losses", [FLAT, SLOW, [1, 2, 1, 2, 0.5, 0.6, 0.7, 0.4, 0.5, 0.5, 0.5]])
@pytest.mark.parametrize("settings", [
    {"patience": 1},
    {"patience": 3, "factor": 0.5},
    {"patience": 1, "cooldown": 2, "threshold": 1e-2, "threshold_mode": "abs"},
    {"patience": 0, "min_lr": 0.02},
])  # fmt: skip
def test_the_rule_of_pytorch(losses: list[float], settings: dict[str, Any]) -> None:
    import torch

    optimizer = torch.optim.SGD([torch.zeros(1)], lr=0.1)
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, **settings)
    rates = []
    for loss in losses:
        scheduler.step(loss)
        rates.append(optimizer.param_groups[0]["lr"])
    described = replace(
        optimized("A", "torch", "SGD").described, schedule=Component("ReduceLROnPlateau", settings)
    )
    rule = described_plateau(described)
    assert rule
    assert rule.rates(losses, 0.1) == pytest.approx(rates)


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
@pytest.mark.framework
@pytest.mark.parametrize("losses", [FLAT, SLOW, [1, 2, 1, 2, 0.5, 0.6, 0.7, 0.4, 0.5, 0.5, 0.5]])
@pytest.mark.parametrize("settings", [
    {"patience": 1},
    {"patience": 3, "factor": 0.5},
    {"patience": 2, "cooldown": 2, "min_delta": 1e-2},
    {"patience": 1, "min_lr": 0.02},
])  # fmt: skip
def test_the_rule_of_keras(losses: list[float], settings: dict[str, Any]) -> None:
    import keras

    class Model:
        def __init__(self) -> None:
            self.optimizer = keras.optimizers.SGD(0.1)

    rule_of_keras = keras.callbacks.ReduceLROnPlateau(monitor="val_loss", **settings)
    rule_of_keras.set_model(Model())
    rule_of_keras.on_train_begin()
    rates = []
    for epoch, loss in enumerate(losses):
        rule_of_keras.on_epoch_end(epoch, {"val_loss": loss})
        rates.append(float(rule_of_keras.model.optimizer.learning_rate.numpy()))
    described = replace(
        optimized("B", "keras", "SGD").described,
        callbacks=(Component("ReduceLROnPlateau", settings),),
    )
    rule = described_plateau(described)
    assert rule
    assert rule.rates(losses, 0.1) == pytest.approx(rates, rel=1e-5)


def test_patience_that_means_one_epoch_more() -> None:
    a = side("A", {"patience": 3, "threshold_mode": "abs"}, FLAT)
    b = side("B", {"patience": 3}, FLAT)
    (finding,) = examined(a, b, FLAT).findings
    assert finding.cause == "D64"
    assert finding.values["a"] == "cuts the rate after 4 epochs without progress"
    assert finding.fix["b"] == "keras.callbacks.ReduceLROnPlateau(..., patience=4)"
    assert finding.proved
    assert not examined(a, side("B", {"patience": 4}, FLAT), FLAT).findings


def test_a_relative_threshold() -> None:
    a = side("A", {"patience": 3}, SLOW)
    b = side("B", {"patience": 4}, SLOW)
    (finding,) = examined(a, b, SLOW).findings
    assert finding.cause == "D65"
    # The same rules on losses where it does not matter.
    result = examined(side("A", {"patience": 3}, FLAT), side("B", {"patience": 4}, FLAT), FLAT)
    assert not result.findings
    assert [each.cause for each in result.acquitted] == ["D65"]


def test_two_differences_at_once() -> None:
    losses = [*SLOW[:6], *[SLOW[5]] * 9]
    a = side("A", {"patience": 2}, losses)
    b = side("B", {"patience": 2}, losses)
    assert {each.cause for each in examined(a, b, losses).findings} == {"D64", "D65"}


def test_a_rule_of_the_user_is_read_from_its_rates() -> None:
    a = side("A", {"patience": 3, "threshold_mode": "abs"}, FLAT)
    b = side("B", {"patience": 3}, FLAT)
    rates = Plateau(wait=3).rates(FLAT, 0.1)
    b.described = replace(b.described, callbacks=(Component("MyPlateau", {"patience": 3}),))
    b.of_epochs = lambda losses: {"rates": rates, "stopped": None, "restored": None}
    assert [each.cause for each in examined(a, b, FLAT).findings] == ["D64"]


def test_early_stopping() -> None:
    a = side("A", {"patience": 3, "threshold_mode": "abs"}, FLAT)
    b = side("B", {"patience": 4}, FLAT)
    rates = [0.1] * 6
    a.of_epochs = lambda losses: {"rates": rates, "stopped": 6, "restored": 2}
    b.of_epochs = lambda losses: {"rates": rates, "stopped": 5, "restored": None}
    (finding,) = examined(a, b, FLAT).findings
    assert finding.cause == "D66"
    assert finding.values["a"] == "stops after epoch 6, keeps the weights of epoch 2"
    assert "A waits 4 epochs without progress, B 3" in finding.evidence
    assert math.isclose(finding.effect["epochs"], 1)


def stopping(name: str, patience: int, stopped: int | None) -> NumpySide:
    """Return a side with EarlyStopping that ends the training after an epoch."""
    made = optimized(name, "torch" if name == "A" else "keras", "SGD", rate=0.1)
    component = Component("EarlyStopping", {"patience": patience, "min_delta": 0.0})
    made.described = replace(made.described, callbacks=(component,))
    rates = [0.1] * (len(FLAT) if stopped is None else stopped + 1)
    made.of_epochs = lambda losses: {"rates": rates, "stopped": stopped, "restored": None}
    return made


def test_early_stopping_one_epoch_later_is_the_users_own_rule() -> None:
    (finding,) = examined(stopping("A", 3, 6), stopping("B", 3, 5), FLAT).findings
    assert finding.cause is None
    assert finding.proved
    assert finding.fix == {
        "a": "EarlyStopping(..., patience=2)",
        "b": "EarlyStopping(..., patience=4)",
    }


def test_early_stopping_without_patience() -> None:
    (finding,) = examined(stopping("A", 3, 5), stopping("B", 0, 3), FLAT).findings
    assert finding.cause == "D66"


def test_a_side_that_does_not_stop_has_no_rule() -> None:
    (finding,) = examined(stopping("A", 3, None), stopping("B", 3, 5), FLAT).findings
    assert finding.cause is None
    assert finding.fix == {"a": None, "b": None}
