"""Progress on terminals of several widths, and in a pipe."""

import io
import re

import pytest
from rich.console import Console

from triptych.cli.progress import TrainingProgress, loss_note
from triptych.cli.progress import tested_line as result_line  # pytest would collect that name
from triptych.cli.view import View
from triptych.core import events
from triptych.core.events import BlockTrained, EpochEnded
from triptych.spec.losses import MeanSquaredError, SoftmaxCrossEntropy
from triptych.spec.recipe import Recipe

LABELS = {"numpy": "NumPy", "torch-compiled": "PyTorch compiled"}


def terminal(width: int) -> Console:
    return Console(file=io.StringIO(), width=width, force_terminal=True, color_system=None)


def rendered(console: Console, thing) -> list[str]:
    with console.capture() as capture:
        console.print(thing)
    return capture.get().splitlines()


@pytest.mark.parametrize(
    ("width", "shown"), [(60, "loss"), (80, "validation accuracy"), (120, "rate")]
)
@pytest.mark.parametrize(
    ("seconds", "left"),
    [(83, r"0:01:\d\d"), (80_000, r"22:\d\d:\d\d"), (500_000, r"13\d:\d\d:\d\d")],
)
def test_the_time_left_is_never_cut(width: int, shown: str, seconds: float, left: str, monkeypatch):
    """The rate goes first, then the accuracy."""
    console = terminal(width)
    progress = TrainingProgress(console, 500, 26)
    now = [0.0]
    monkeypatch.setattr(progress._bar, "get_time", lambda: now[0])
    progress._bar.reset(progress._task, total=13_000)
    each = seconds / (13_000 - 24)
    for step in range(1, 25):
        now[0] += each
        progress.on_event(BlockTrained(1, step, 1, 0.00339, 1.0, [0.6412]))
        if step == 2:
            progress.on_event(epoch_ended(0.6))
    (line,) = rendered(console, progress._bar.get_renderable())
    assert len(line.rstrip()) <= width
    assert re.search(rf"{left} *$", line), line
    assert line.startswith("epoch 1/500, step 24/26 ")
    assert shown in line
    assert ("rate" in line) == (width == 120)


def epoch_ended(loss: float) -> EpochEnded:
    return EpochEnded(1, 26, loss, 0.00339, 0.00339, 1.0, 1.0, 0.1571, 0.985)


def test_an_epochs_line_names_the_validation_accuracy():
    out = io.StringIO()
    progress = TrainingProgress(Console(file=out, width=60), 5, 26)
    progress.on_event(epoch_ended(0.6412))
    said = (
        "epoch 1/5: loss 0.6412, validation loss 0.1571, validation accuracy 98.50%, rate "
        "0.00339, 1 s\n"
    )
    assert out.getvalue() == said


def test_label_smoothing_is_explained_where_both_losses_are_seen():
    smoothed = Recipe(5, 64, loss=SoftmaxCrossEntropy(label_smoothing=0.1), validation=0.1)
    assert "Label smoothing 0.1 adds to the loss, but not to the validation loss" in loss_note(
        smoothed
    )
    assert loss_note(Recipe(5, 64, validation=0.1)) is None
    assert loss_note(Recipe(5, 64, loss=SoftmaxCrossEntropy(label_smoothing=0.1))) is None


def block(row: str, step: int, number: int, *, training: bool) -> events.BlockTimed:
    return events.BlockTimed(
        row=row,
        round=number,
        step=step,
        steps=step,
        warm=False,
        timed=True,
        training=training,
        seconds=0.0012,
        cpu_share=1.0,
        disturbance=0.0,
        losses=[0.5],
    )


def ended(number: int, counted: int, *, training: bool = False) -> events.RoundEnded:
    return events.RoundEnded(number, 0.0, True, counted, 15, training)


@pytest.mark.parametrize("width", [60, 80, 120])
def test_the_view_fits_and_breaks_no_name(width: int):
    console = terminal(width)
    view = View(console, LABELS)
    view.on_event(events.PaceMeasured(0.001, 100, 13_000))
    for row in LABELS:
        view.on_event(block(row, 400, 0, training=True))
    view.on_event(ended(0, 0, training=True))
    view.on_event(events.Evaluated(400, {row: {"accuracy": 0.985} for row in LABELS}, []))
    view.on_event(ended(12, 9))
    lines = rendered(console, view)
    assert max(len(line.rstrip()) for line in lines) <= width
    assert any(
        line.startswith("PyTorch compiled ") and "98.50%" in line and "1.2" in line
        for line in lines
    )
    said = " ".join(line.strip() for line in lines)
    assert (
        "trained; timing goes on, round 12 of at most 45: 9 of 15 needed rounds are timed" in said
    )


def piped(*happened: events.Event) -> list[str]:
    out = io.StringIO()
    view = View(Console(file=out, width=80), LABELS)
    for event in happened:
        view.on_event(event)
    return out.getvalue().splitlines()


def test_a_wait_says_until_when_once():
    waits = [events.WaitingForCalm(others, seconds) for others, seconds in ((None, 60), (0.62, 59))]
    (line,) = piped(*waits)
    assert re.fullmatch(
        r"the machine is busy: waiting until \d\d:\d\d:\d\d at the latest, .*; "
        r"Ctrl-C ends the comparison without a result, --wait 0 does not wait",
        line,
    )
    console = terminal(80)
    view = View(console, LABELS)
    view.on_event(waits[1])
    assert "the machine is busy (others use 62% of it): waiting until" in " ".join(
        rendered(console, view)
    )


def test_a_missing_engine_is_named_once():
    why = "PyTorch is not installed: pip install 'triptych[torch]'"
    view_labels = {"torch": "PyTorch"}
    out = io.StringIO()
    View(Console(file=out, width=80), view_labels).on_event(events.RowFailed("torch", why))
    assert out.getvalue() == why + "\n"


def test_a_pipe_hears_of_a_long_proof(monkeypatch):
    """The thread repeats the status after a silence, with the step of the proof."""
    monkeypatch.setattr("triptych.cli.view.TICK_SECONDS", 0.01)
    monkeypatch.setattr("triptych.cli.view.QUIET_SECONDS", 0.05)
    out = io.StringIO()
    with View(Console(file=out, width=80), LABELS) as view:
        view.on_event(events.ProofStarted("numpy", "float64"))
        view.on_event(events.ProofStep("numpy", "float64", 12, 50))
        for _ in range(1000):
            if "step 12 of 50" in out.getvalue():
                break
            view._ended.wait(0.01)
    assert "NumPy: proving it equal in float64, step 12 of 50, for " in out.getvalue()


@pytest.mark.parametrize(
    ("loss", "last", "noted"),
    [
        (SoftmaxCrossEntropy(), 2.0, False),
        (SoftmaxCrossEntropy(), 2.5, True),
        (MeanSquaredError(), 0.08, False),
        (MeanSquaredError(), 2.0, True),
        (None, 2.5, False),  # of a package that is not imported
    ],
)
def test_a_training_that_did_not_learn_is_judged_by_its_own_loss(loss, last: float, noted: bool):
    recipe = Recipe(loss=loss or SoftmaxCrossEntropy()).to_json()
    if loss is None:
        recipe["loss"] = {"name": "elsewhere"}
    result = {
        "accuracy": {"value": 0.1, "low": 0.05, "high": 0.2, "right": 18, "of": 180},
        "history": [{"loss": 1.9}, {"loss": last}],
        "steps": 500,
        "recipe": recipe,
        "confusion": [[0] * 10] * 10,
        "tested_epoch": 2,
    }
    assert ("did not learn" in result_line(result)) == noted
