"""``triptych sweep`` without Ray: what it shows, counts and refuses."""

import io
from pathlib import Path

import pytest
from rich.console import Console
from support.sweeps import cell
from typer.testing import CliRunner

import triptych as tt
from triptych.cli.app import app
from triptych.cli.sweep_view import SweepView, show_failures, show_summary
from triptych.core.events import CellEnded, CellRetried, CellStarted, ClusterReady, SweepStarted
from triptych.errors import EngineError, TriptychError
from triptych.results import SweepResult
from triptych.scale.ray import client

GRID = """
networks = [{ hidden = [4] }, { hidden = [8] }]
recipes = [{ epochs = 1 }]
data = ["digits"]
engines = ["numpy", "torch"]
seeds = 3
timed = [0]
"""
FIGURES = {"accuracy": 0.9, "low": 0.8, "high": 0.95, "seconds": 1.5, "step_seconds": 0.002}
TIMED = {"timed": True, "busy": False, "first_step_seconds": 0.1}


def test_a_dry_run_counts(tmp_path: Path) -> None:
    (tmp_path / "grid.toml").write_text(GRID)
    done = CliRunner().invoke(app, ["sweep", str(tmp_path / "grid.toml"), "--dry-run"])
    assert done.exit_code == 0, done.output
    line = " ".join(done.output.split())
    assert line == (
        "12 cells: 2 rows × 1 data set × 2 networks × 1 recipe × 3 seeds; 4 of them timed"
    )


def test_without_ray_the_message_says_what_to_install(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "grid.toml").write_text(GRID)
    monkeypatch.setattr(client, "find_spec", lambda name: None)
    with pytest.raises(EngineError) as caught:
        tt.sweep(tmp_path / "grid.toml", runs=tmp_path / "runs")
    message = "a sweep needs ray, which is not installed here: pip install 'triptych[scale]'"
    assert str(caught.value) == message
    assert not (tmp_path / "runs").exists()


def test_what_is_no_grid_is_refused() -> None:
    with pytest.raises(TriptychError, match="grid must be a Grid or the path of a TOML file"):
        tt.sweep({"networks": []})  # pyright: ignore[reportArgumentType]


def test_the_help_has_a_whole_file() -> None:
    """Each line of the example is one that the file may have."""
    text = " ".join(CliRunner().invoke(app, ["sweep", "--help"]).output.split())
    for key in ("networks = [", "recipes = [", "data = [", "engines = [", "seeds = 5", "timed = ["):
        assert key in text
    assert "triptych[scale]" in text


def started() -> SweepStarted:
    cells = [cell(f"{width}-{seed}", network=f"dense-{width}") for width in (4, 8) for seed in "01"]
    return SweepStarted(cells, ["8-1"], {"name": "grid"}, "2.0.0")


def shown(terminal: bool) -> tuple[SweepView, io.StringIO]:
    output = io.StringIO()
    console = Console(file=output, width=100, height=20, force_terminal=terminal, color_system=None)
    return SweepView(console), output


def drawn(view: SweepView) -> str:
    console = Console(file=io.StringIO(), width=100, color_system=None)
    with console.capture() as capture:
        console.print(view)
    return capture.get()


def test_a_terminal_has_a_row_for_each_configuration() -> None:
    view, output = shown(terminal=True)
    with view:
        view.on_event(started())
        view.on_event(ClusterReady([{"name": "one", "processors": 2}], "2.60.0"))
        view.on_event(CellStarted("4-0", ""))
        view.on_event(CellStarted("4-1", ""))
        view.on_event(CellEnded(cell("4-0", network="dense-4", accuracy=0.5)))
        text = drawn(view)
        lines = text.splitlines()
        assert lines[1].split() == ["NumPy", "dense-4", "1/2", "1", "50.00%"]
        assert lines[2].split() == ["NumPy", "dense-8", "0/1"]
        assert "2 of 4 cells" in text
        failed = cell("4-1", network="dense-4", status="failed", error="too [large]")
        view.on_event(CellEnded(failed))
        assert drawn(view).splitlines()[1].split() == ["NumPy", "dense-4", "2/2", "1", "50.00%"]
    assert "failed, too [large]" in output.getvalue()


def test_a_terminal_of_few_lines_has_the_rows_that_run() -> None:
    view, _ = shown(terminal=True)
    view.console.height = 8
    cells = [cell(str(width), network=f"dense-{width}") for width in range(40)]
    view.on_event(SweepStarted(cells, [], {"name": "grid"}, "2.0.0"))
    view.on_event(CellStarted("33", ""))
    text = drawn(view)
    assert "dense-33" in text
    assert "… and 37 more configurations" in text


def test_a_pipe_gets_a_line_for_each_cell() -> None:
    view, output = shown(terminal=False)
    with view:
        view.on_event(started())
        view.on_event(CellStarted("4-0", "one"))
        view.on_event(CellRetried("4-0", "the worker process has ended", 2))
        values = TIMED | {"busy": True, "others": 0.3}
        view.on_event(CellEnded(cell("4-0", network="dense-4", **FIGURES | values)))
    first, retried, ended = output.getvalue().splitlines()
    assert first == "4 cells, 1 finished before"
    assert "dense-4" in retried
    assert "the worker process has ended; it is run again" in retried
    assert ended.endswith("accuracy 90.00%, 1.5 s on a busy node (others used 30%)")


def test_the_summary_has_accuracies_times_and_failures() -> None:
    cells = [
        cell("a", seed=0, **FIGURES | TIMED),
        cell("b", seed=1, **FIGURES | {"accuracy": 0.8}),
        cell("c", seed=0, network="dense-8", status="failed", error="too large"),
    ]
    console = Console(file=io.StringIO(), width=120, color_system=None)
    with console.capture() as capture:
        show_summary(console, SweepResult(cells, 4, Path("runs/sweep-grid")))
        show_failures(console, SweepResult(cells, 4, Path("runs/sweep-grid")))
    text = capture.get()
    rows = [line.split() for line in text.splitlines() if "dense" in line]
    assert rows[0] == ["NumPy", "dense-4", "2", "85.00%", "21.47–100.00", "1.5", "2"]
    assert rows[1] == ["NumPy", "dense-8", "0"]
    assert text.splitlines()[-1].endswith("failed, too large")
