"""The stage of the learning rates."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from support.doctor_sides import NumpySide, compared, optimized

from triptych.doctor.findings import Finding
from triptych.doctor.observation import Change, Component
from triptych.doctor.stages import schedule

STEPS = 10
UPDATES = 400
LONGEST = 2000  # no schedule is looked at for longer


def side(name: str, kind: str, rates: Sequence[float], unit: str = "batch") -> NumpySide:
    """Return a side with a series of rates."""
    framework = "torch" if name == "A" else "keras"
    made = optimized(name, framework, "SGD", rate=rates[0], series=list(rates))
    settings = {"decay_steps": UPDATES // 2}
    component = Component(kind, settings, unit)
    made.described = replace(made.described, schedule=component, steps_per_epoch=STEPS)
    return made


def found(a: NumpySide, b: NumpySide) -> list[Finding]:
    return list(schedule.examine(compared(a, b)).findings)


def staircase(every: int, factor: float = 0.5, start: float = 0.1) -> list[float]:
    return [start * factor ** (t // every) for t in range(LONGEST)]


def cosine(length: int, floor: float = 0.0) -> list[float]:
    """Return a cosine that stays at its floor."""
    times = np.minimum(np.arange(LONGEST), length) / length
    return list(floor + (0.1 - floor) * 0.5 * (1 + np.cos(np.pi * times)))


def test_equal_series_have_no_finding() -> None:
    a = side("A", "StepLR", staircase(40), "epoch")
    b = side("B", "ExponentialDecay", [float(np.float32(rate)) for rate in staircase(40)])
    assert not found(a, b)


def test_a_unit() -> None:
    a = side("A", "StepLR", staircase(2 * STEPS), "epoch")
    b = side("B", "ExponentialDecay", staircase(2))
    (finding,) = found(a, b)
    assert finding.cause == "D67"
    assert finding.proved
    assert finding.fix["b"] == (
        f"keras.optimizers.schedules.ExponentialDecay(..., decay_steps={UPDATES // 2 * STEPS})"
    )
    assert "t // 10" in finding.evidence


def test_a_factor_of_all_rates_and_a_unit() -> None:
    a = side("A", "StepLR", staircase(2 * STEPS), "epoch")
    b = side("B", "ExponentialDecay", staircase(2, start=0.01))
    causes = {finding.cause for finding in found(a, b)}
    assert causes == {"D67", "D53"}


def test_continuous_and_staircase() -> None:
    a = side("A", "StepLR", staircase(40), "epoch")
    b = side("B", "ExponentialDecay", [0.1 * 0.5 ** (t / 40) for t in range(LONGEST)])
    (finding,) = found(a, b)
    assert finding.cause == "D69"


def test_a_boundary_that_is_one_update_late() -> None:
    a = side("A", "MultiStepLR", [0.1] * 30 + [0.01] * (LONGEST - 30))
    b = side("B", "PiecewiseConstantDecay", [0.1] * 31 + [0.01] * (LONGEST - 31))
    (finding,) = found(a, b)
    assert finding.cause == "D97"
    assert finding.proved


def test_the_floor_of_a_cosine() -> None:
    a = side("A", "CosineAnnealingLR", cosine(200, floor=0.02))
    (finding,) = found(a, side("B", "CosineDecay", cosine(200)))
    assert finding.cause == "D68"


def test_a_cosine_after_its_end_matters_if_the_training_is_longer() -> None:
    times = np.arange(LONGEST) / 200
    a = side("A", "CosineAnnealingLR", list(0.05 * (1 + np.cos(np.pi * times))))
    b = side("B", "CosineDecay", cosine(200))
    result = schedule.examine(compared(a, b))
    assert not result.findings
    assert [each.cause for each in result.acquitted] == ["D68"]
    # 30 epochs of 10 updates.
    longer = compared(a, b, batch={"val_loss": np.ones(30)})
    (finding,) = schedule.examine(longer).findings
    assert finding.cause == "D68"


def test_a_warm_up() -> None:
    rest = [0.1] * (LONGEST - 5)
    a = side("A", "LinearLR", [0.1 * (1 / 3 + t * 2 / 15) for t in range(5)] + rest)
    b = side("B", "Warmup", [0.1 * t / 5 for t in range(5)] + rest)
    (finding,) = found(a, b)
    assert finding.cause == "D119"


@pytest.mark.parametrize(
    ("rates", "title"),
    [
        (staircase(40, 0.1), "By what the learning rate drops"),
        (staircase(30), "When the learning rate drops"),
        ([0.1] * LONGEST, "Only one side changes its learning rate"),
    ],
)
def test_a_difference_without_a_number(rates: list[float], title: str) -> None:
    a = side("A", "StepLR", staircase(40))
    b = side("B", "PiecewiseConstantDecay", rates)
    (finding,) = found(a, b)
    assert finding.cause is None
    assert finding.title == title


def test_a_setting_of_the_same_schedule_is_proved_by_changing_it() -> None:
    class Stepping(NumpySide):
        def rates(self, updates: int, dtype: str = "native") -> list[float]:
            every = self.changed.get("step_size", self.every)
            return staircase(every)[:updates]

        def change(self, changes: Sequence[Change], dtype: str = "native") -> None:
            self.changed = {each.setting: each.value for each in changes}

    def stepping(name: str, every: int) -> NumpySide:
        made = side("A", "StepLR", staircase(every), "epoch")
        component = Component("StepLR", {"step_size": every, "gamma": 0.5}, "epoch")
        described = replace(made.described, schedule=component)
        stepped = Stepping(name, described, made.rule, start=made.start)
        stepped.every = every
        return stepped

    (finding,) = found(stepping("A", 40), stepping("B", 20))
    assert (finding.cause, finding.proved) == (None, True)
    assert finding.title == "StepLR: step_size=40 in A, step_size=20 in B"
    assert finding.fix["b"] == "torch.optim.lr_scheduler.StepLR(..., step_size=40)"


def one_cycle(name: str, momenta: Sequence[float]) -> NumpySide:
    """Return a side of PyTorch whose schedule changes Adam's first beta."""
    rates = cosine(200)
    made = optimized(name, "torch", "Adam", rate=rates[0], series=rates, betas=[0.95, 0.999])
    component = Component("OneCycleLR", {"total_steps": 200}, "batch", momenta=list(momenta))
    made.described = replace(made.described, schedule=component)
    return made


def adam_of_keras(beta: float) -> NumpySide:
    """Return a side of Keras with the same rates and a constant first beta."""
    rates = cosine(200)
    made = optimized("B", "keras", "Adam", rate=rates[0], series=rates, beta_1=beta)
    component = Component("CosineDecay", {"decay_steps": 200}, "batch")
    made.described = replace(made.described, schedule=component)
    return made


CYCLE = [0.95 - 0.1 * np.sin(np.pi * step / 199) for step in range(200)]


def test_a_schedule_that_changes_the_momentum_too() -> None:
    (finding,) = found(one_cycle("A", CYCLE), adam_of_keras(0.9))
    assert (finding.cause, finding.proved) == ("D125", True)
    assert finding.values["a"].startswith("OneCycleLR: momentum between 0.85")
    assert finding.values["b"] == "momentum 0.9 throughout"
    assert "cycle_momentum=False" in finding.fix["a"]
    assert '"beta_1", momenta[step]' in finding.fix["b"]


def test_a_port_of_the_rate_alone_is_right_without_a_cycle_of_the_momentum() -> None:
    assert not found(one_cycle("A", []), adam_of_keras(0.9))
    assert not found(one_cycle("A", CYCLE), one_cycle("B", CYCLE))


def test_two_schedules_that_change_the_momentum_otherwise() -> None:
    (finding,) = found(one_cycle("A", CYCLE), one_cycle("B", CYCLE[::2]))
    assert (finding.cause, finding.title) == (None, "The schedules change the momentum otherwise")


def test_the_momentum_of_an_unknown_optimizer_is_not_compared() -> None:
    other = adam_of_keras(0.9)
    optimizer = Component("CycledAdam", {"learning_rate": 0.1})
    other.described = replace(other.described, optimizer=optimizer)
    assert not found(one_cycle("A", CYCLE), other)
