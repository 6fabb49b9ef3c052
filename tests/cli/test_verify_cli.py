"""The proof as a user runs it: the documented commands, and what is shown meanwhile."""

import io
import re
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console
from support.commands import run
from support.engines import needs_all, needs_torch

from triptych.cli import proof_view
from triptych.core import events, registry
from triptych.core.events import Event
from triptych.parity.divergence import Divergence
from triptych.parity.specimens import SPECIMENS
from triptych.parity.verify import default_steps
from triptych.spec import zoo

pytestmark = pytest.mark.process


@needs_all
@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "rows"), [((), 1), (("--layers", "--steps", "50"), len(SPECIMENS))]
)
def test_the_command_proves_every_engine_equal(options: tuple[str, ...], rows: int, tmp_path: Path):
    done = run("verify", *options, cwd=tmp_path, timeout=3600, COLUMNS="80")
    assert done.returncode == 0, done.stdout + done.stderr
    here = sum(entry.installed for entry in registry.entries().values()) - 1
    assert f"All {rows * here} rows equal" in done.stdout.splitlines()[-1]
    assert "DIFFERS" not in done.stdout


@needs_torch
def test_layers_with_one_optimizer(tmp_path: Path):
    done = run(
        "verify", "--layers", "--steps", "2", "--engines", "numpy,torch", cwd=tmp_path, COLUMNS="80"
    )
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert "All 3 rows equal" in lines[-1]
    assert re.fullmatch(r"K at once +\d\.\de[+-]\d\d", lines[-2])
    # The header of the table is the first line after the two lines about the data.
    assert [line.split()[0] for line in lines[2:6]] == ["network", "smooth", "edged", "normed"]


def shown(
    happened: list[Event],
    titles: list[tuple[str, str]],
    clock: list[float],
    monkeypatch,
    terminal: bool = False,
) -> str:
    """Return what is printed of some events that come at the times of a clock, in seconds."""
    times = iter([0.0, *clock])
    monkeypatch.setattr(proof_view.time, "monotonic", lambda: next(times))
    console = Console(file=io.StringIO(), force_terminal=terminal, width=80)
    progress = proof_view.ProofProgress(console, titles, LABELS)
    for event in happened:
        progress.on_event(event)
    return console.file.getvalue()  # pyright: ignore[reportAttributeAccessIssue]


LABELS = {"torch": "PyTorch", "tensorflow": "TensorFlow"}
TWO = [("classic", "sgd"), ("resnet20", "adam")]
BEGUN = [
    events.WorkerImporting("torch"),
    events.VerificationEstimateStarted(),
    events.VerificationEstimated([1000.0, 9000.0], rows=2),
    events.CaseStarted("classic", "sgd", 500),
    events.RowStarted("torch"),
    events.RowStarted("tensorflow"),
    events.CaseStarted("resnet20", "adam", 500),
    events.RowStarted("torch"),
]


def test_an_estimate_and_then_a_line_now_and_then(monkeypatch):
    """The estimate is 20,000 s; 2,000 of them are over after the first case, and half of a row
    after the last event.
    """
    steps = [events.ProofStep("torch", "float64", done, 500) for done in (1, 2, 250)]
    printed = shown(BEGUN + steps, TWO, [0, 0, 5, 2000, 2000, 2001, 6500], monkeypatch)
    assert printed.splitlines() == [
        "Estimate: about 6 hours for 4 rows (Ctrl-C stops it).",
        "row 3 of 4, about 5 hours left: resnet20 adam PyTorch, building",
        "row 3 of 4, about 4 hours left: resnet20 adam PyTorch, step 250 of 500",
    ]


def test_the_measured_pace_replaces_the_estimate(monkeypatch):
    """Three times as slow as estimated: (6000 + 2000) / (2000 + 2000) of the 18,000 s that are
    left.
    """
    printed = shown(BEGUN, TWO, [0, 0, 0, 6000], monkeypatch)
    assert "row 3 of 4, about 10 hours left: resnet20 adam PyTorch" in printed


def test_a_short_proof_is_not_estimated(monkeypatch):
    short = [
        events.VerificationEstimated([3.0], rows=2),
        events.CaseStarted("classic", "sgd", 500),
        events.RowStarted("torch"),
    ]
    assert shown(short, TWO[:1], [0, 1], monkeypatch) == ""


def compared(
    steps: int,
    worst: dict[str, float],
    block_worst: float = 0.0,
    block_divergence: str | None = None,
    closest: tuple[float, float] = (0.0, 1e-11),
) -> events.RowCompared:
    return events.RowCompared(
        "torch", steps, worst, None, None, block_worst, block_divergence, *closest
    )


def test_the_summary_names_the_difference_that_is_closest_to_its_own_bound():
    """A large difference under a wide bound is not the one to worry about."""
    console = Console(file=io.StringIO(), width=80)
    report = proof_view.ProofReport(console, TWO, LABELS)
    for steps, closest in ((500, (4e-10, 1e-9)), (501, (9e-12, 1e-11))):
        report.on_event(events.CaseStarted("any", "any", 500))
        report.on_event(compared(steps, {"weights": closest[0]}, closest=closest))
    report.explain_steps(default=True)
    lines = console.file.getvalue().splitlines()  # pyright: ignore[reportAttributeAccessIssue]
    assert [line.split()[3] for line in lines[1:3]] == ["500", "500+1"]
    assert lines[3:] == ["+1: the smaller last batch of an epoch, if the steps did not reach it."]
    assert report.summary() == (
        "All 2 rows equal. The difference that is closest to its bound is 9.0e-12 (bound 1.0e-11)."
    )


def test_a_step_that_magnifies_rounding_is_told():
    console = Console(file=io.StringIO(), width=200)
    report = proof_view.ProofReport(console, TWO, LABELS)
    report.on_event(events.CaseStarted("classic", "sgd", 41))
    report.on_event(replace(compared(41, {"weights": 1e-12}), magnified_at=2))
    report.explain_steps(default=False)
    line = console.file.getvalue().splitlines()[-1]  # pyright: ignore[reportAttributeAccessIssue]
    assert line.startswith("classic sgd, PyTorch: in step 2 the optimizer has magnified")


def test_the_summary_of_one_row_without_any_difference():
    report = proof_view.ProofReport(Console(file=io.StringIO(), width=80), TWO, LABELS)
    report.on_event(events.CaseStarted("any", "any", 500))
    report.on_event(compared(500, {"weights": 0.0}))
    assert report.summary() == "The row is equal. There is no difference at all."


def test_a_precision_that_the_backend_announces_is_no_difference():
    console = Console(file=io.StringIO(), width=80)
    report = proof_view.ProofReport(console, TWO, LABELS)
    report.on_event(events.CaseStarted("any", "any", 500))
    report.on_event(compared(500, {"weights": 0.0}))
    judged = events.RoundingJudged("torch", "precision", 1e-3, 1e-7, 1e4, as_announced=True)
    report.on_event(judged)
    assert report.conclude() == 0
    report.on_event(replace(judged, as_announced=False))
    assert report.conclude() == 1
    printed = console.file.getvalue()  # pyright: ignore[reportAttributeAccessIssue]
    assert "float32: precision (as its backend announces), median error" in printed


@pytest.mark.parametrize(
    ("network", "steps"), [("classic", 500), ("fast", 500), ("best", 205), ("resnet", 10)]
)
def test_heavy_networks_are_compared_over_fewer_steps(network: str, steps: int):
    assert default_steps(zoo.get(network)) == steps


def test_a_difference_of_k_steps_at_once_is_not_a_layers():
    """One network has it; the table of layers shows what single steps have."""
    networks = [make(zoo.GREY, 10) for make in SPECIMENS]
    console = Console(file=io.StringIO(), width=80)
    titles = [(network.name, "sgd") for network in networks]
    report = proof_view.ProofReport(console, titles, LABELS)
    parted = str(Divergence("loss", "-", "loss", (7,), "1", "1.5", 0.5, "value"))
    for network in networks:
        wrong = network.name == "normed"
        report.on_event(events.CaseStarted(network.name, "sgd", 5))
        report.on_event(
            compared(
                steps=5,
                worst={"weights": 3e-15},
                block_worst=0.5 if wrong else 2e-16,
                block_divergence=parted if wrong else None,
            )
        )
    report.by_layer(networks, ["sgd"])
    lines = console.file.getvalue().splitlines()  # pyright: ignore[reportAttributeAccessIssue]
    for line in lines:
        if line.split()[:1] in (["Dense"], ["BatchNorm"], ["Residual"]):
            assert line.split()[1] == "3.0e-15"
    assert lines[-1].split() == ["K", "at", "once", "5.0e-01"]
    assert report.largest == 0.5
    (line,) = report.divergences
    assert line == (
        "normed sgd, PyTorch, K steps in one call against K calls: loss: loss[7] is 1.5, the "
        "reference has 1 (5.0e-01 of the largest)"
    )
