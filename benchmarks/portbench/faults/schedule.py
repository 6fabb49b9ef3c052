"""Faults of schedules and callbacks."""

from __future__ import annotations

from ..design import Pair, Part
from ..style import Style
from .kind import EVERY_FAMILY, OUTSIDE, Kind, Unsuitable, culprit

SCHEDULE = frozenset({"schedule", "optimizer"})
CALLBACK = frozenset({"callback", "schedule", "optimizer"})
PLATEAU = (1.0, 0.9, 0.84, 0.80, 0.78, 0.77, 0.765)  # then nothing improves


def set_schedule(pair: Pair, rate: float, kind: str, **options: object) -> None:
    """Give both sides plain SGD with a schedule."""
    for side in pair.sides:
        side.optimizer = Part("sgd", {"lr": rate})
        side.schedule = Part(kind, dict(options))


def schedule_of(pair: Pair, framework: str) -> Part:
    """Return the schedule of a side."""
    schedule = pair.side(framework).schedule
    if schedule is None:
        raise Unsuitable("no schedule")
    return schedule


def _unit_prepare(pair: Pair, style: Style) -> None:
    """Halve the rate every few epochs, which Keras counts in updates."""
    steps = style.pick("steps per epoch", (5, 10, 20))
    epochs = style.pick("epochs", (1, 2))
    set_schedule(pair, style.pick("lr", (0.1, 0.2)), "step", size=steps * epochs, gamma=0.5,
                 unit="epoch", steps_per_epoch=steps)  # fmt: skip


def _unit_apply(pair: Pair, style: Style) -> None:
    schedule_of(pair, "keras")["size"] //= schedule_of(pair, "keras")["steps_per_epoch"]


def _batch_unit_prepare(pair: Pair, style: Style) -> None:
    """Count updates on both sides."""
    set_schedule(pair, style.pick("lr", (0.1, 0.2)), "step", size=style.pick("size", (3, 4, 6)),
                 gamma=style.pick("gamma", (0.5, 0.8)), unit="batch")  # fmt: skip


def _batch_unit_apply(pair: Pair, style: Style) -> None:
    schedule = schedule_of(pair, "torch")
    schedule["unit"] = "epoch"
    schedule["steps_per_epoch"] = style.pick("steps per epoch", (5, 10))
    schedule["size"] *= schedule["steps_per_epoch"]  # the number that is written stays


def _stairs_apply(pair: Pair, style: Style) -> None:
    schedule_of(pair, "keras")["continuous"] = True


def _boundary_prepare(pair: Pair, style: Style) -> None:
    set_schedule(pair, style.pick("lr", (0.1, 0.2)), "piecewise", unit="batch", gamma=0.1,
                 at=style.pick("at", ([3], [4], [5], [3, 6])))  # fmt: skip


def _boundary_apply(pair: Pair, style: Style) -> None:
    schedule_of(pair, "keras")["shift"] = 1


def _cosine_prepare(pair: Pair, style: Style) -> None:
    rate = style.pick("lr", (0.1, 0.2, 0.05))
    floor = style.pick("floor", (0.01, 0.02))
    set_schedule(pair, rate, "cosine", unit="batch", length=style.pick("length", (60, 80, 100)),
                 floor=floor, alpha=float(f"{floor / rate:.6g}"))  # fmt: skip


def _cosine_apply(pair: Pair, style: Style) -> None:
    schedule = schedule_of(pair, "keras")
    schedule["alpha"] = schedule["floor"]


def _polynomial_prepare(pair: Pair, style: Style) -> None:
    set_schedule(pair, style.pick("lr", (0.1, 0.05)), "polynomial", unit="batch",
                 length=style.pick("length", (20, 30, 40)), power=style.pick("power", (1.0, 2.0)),
                 end=0.0)  # fmt: skip


def _polynomial_apply(pair: Pair, style: Style) -> None:
    schedule_of(pair, "keras")["end"] = 1e-4


def _warm_prepare(pair: Pair, style: Style) -> None:
    set_schedule(pair, style.pick("lr", (0.1, 0.2)), "warm-up", unit="batch", offset=1,
                 length=style.pick("length", (4, 5, 8)))  # fmt: skip


def _warm_apply(pair: Pair, style: Style) -> None:
    schedule_of(pair, culprit(style))["offset"] = 0


def _losses(pair: Pair, style: Style) -> None:
    """Draw a validation loss that improves, and then stays."""
    epochs = style.pick("epochs", (20, 24, 30))
    values = list(PLATEAU) + [PLATEAU[-1] + 0.002 * (i % 3) for i in range(epochs - len(PLATEAU))]
    pair.data["val_loss"] = [round(value, 4) for value in values]


def _plateau_prepare(pair: Pair, style: Style) -> None:
    """Wait equally long: Keras counts up to its patience, PyTorch beyond it."""
    _losses(pair, style)
    rate = style.pick("lr", (0.1, 0.05))
    patience = style.pick("patience", (2, 3, 4))
    factor = style.pick("factor", (0.5, 0.1, 0.2))
    for side in pair.sides:
        side.optimizer = Part("sgd", {"lr": rate})
    pair.torch.schedule = Part("plateau", {"factor": factor, "patience": patience, "unit": "epoch",
                                           "threshold": 1e-4, "threshold mode": "abs"})  # fmt: skip
    pair.keras.callback = Part("plateau", {"factor": factor, "patience": patience + 1,
                                           "min_delta": 1e-4})  # fmt: skip


def _patience_apply(pair: Pair, style: Style) -> None:
    callback = pair.keras.callback
    if callback is None:
        raise Unsuitable("no callback")
    if culprit(style) == "keras":
        callback["patience"] -= 1
    else:
        schedule_of(pair, "torch")["patience"] += 1


def _threshold_prepare(pair: Pair, style: Style) -> None:
    """Let a small loss improve by little, which only one of the two rules takes for progress."""
    _plateau_prepare(pair, style)
    start = style.pick("start", (0.01, 0.02))
    pair.data["val_loss"] = [float(f"{start * 0.998**epoch:.6g}") for epoch in range(24)]


def _threshold_apply(pair: Pair, style: Style) -> None:
    schedule_of(pair, "torch")["threshold mode"] = "rel"


def _stopping_prepare(pair: Pair, style: Style) -> None:
    _losses(pair, style)
    patience = style.pick("patience", (3, 4, 5))
    delta = style.pick("delta", (0.0, 0.001, 0.01))
    for side in pair.sides:
        side.callback = Part("early stopping", {"patience": patience, "min_delta": delta})


def _callback(pair: Pair, framework: str) -> Part:
    callback = pair.side(framework).callback
    if callback is None:
        raise Unsuitable("no callback")
    return callback


def _no_patience_apply(pair: Pair, style: Style) -> None:
    _callback(pair, "keras")["patience"] = 0


def _late_apply(pair: Pair, style: Style) -> None:
    _callback(pair, "torch")["late"] = True


KINDS = (
    Kind("schedule-unit", "a decay counted in epochs on one side, in updates on the other",
         "schedule", "D67", EVERY_FAMILY, _unit_prepare, _unit_apply, SCHEDULE,
         accept=("update",), weight=2),
    Kind("scheduler-unit", "a scheduler stepped once per epoch instead of once per update",
         "schedule", "D67", EVERY_FAMILY, _batch_unit_prepare, _batch_unit_apply, SCHEDULE,
         accept=("update",)),
    Kind("stairs", "a continuous decay against a staircase", "schedule", "D69", EVERY_FAMILY,
         _batch_unit_prepare, _stairs_apply, SCHEDULE, accept=("update",)),
    Kind("boundary", "a rate that drops one update later", "schedule", "D97", EVERY_FAMILY,
         _boundary_prepare, _boundary_apply, SCHEDULE, accept=("update",)),
    Kind("cosine-floor", "the floor of a cosine: a rate or a fraction", "schedule", "D68",
         EVERY_FAMILY, _cosine_prepare, _cosine_apply, SCHEDULE, accept=("update",)),
    Kind("polynomial-end", "a polynomial decay ends at 1e-4 by default", "schedule", "D69",
         EVERY_FAMILY, _polynomial_prepare, _polynomial_apply, SCHEDULE, accept=("update",)),
    Kind("warm-up", "a warm-up that begins at zero", "schedule", OUTSIDE, EVERY_FAMILY,
         _warm_prepare, _warm_apply, SCHEDULE, accept=("update",)),
    Kind("plateau-patience", "patience counted up to or beyond its value", "callback", "D64",
         EVERY_FAMILY, _plateau_prepare, _patience_apply, CALLBACK, accept=("schedule",),
         weight=2),
    Kind("plateau-threshold", "progress measured absolutely or relatively", "callback", "D65",
         EVERY_FAMILY, _threshold_prepare, _threshold_apply, CALLBACK, accept=("schedule",)),
    Kind("stopping-patience", "early stopping left without patience", "callback", "D66",
         EVERY_FAMILY, _stopping_prepare, _no_patience_apply, CALLBACK),
    Kind("stopping-late", "early stopping one epoch later", "callback", OUTSIDE, EVERY_FAMILY,
         _stopping_prepare, _late_apply, CALLBACK, causes=("D64", "D66")),
)  # fmt: skip
