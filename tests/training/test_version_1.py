"""Run folders that version 1 wrote (commit 0ae0a23): they load, go on, and predict.

``fixtures/finished`` is a training of 4 epochs, ``fixtures/stopped`` the same one that was stopped
after 8 of 12 steps; both of ``fixtures/table.csv``, in NumPy. ``fixtures/compared`` is the folder
of ``triptych compare --data digits --engines numpy,torch --hidden 4 --epochs 40 --rate 0.1 --seed
3`` without figures, TensorBoard logs, the report and most of the ``walking`` events;
``shown.txt`` is what ``triptych show`` printed of it.
"""

import shutil
from pathlib import Path

import numpy as np
import pytest
from support import commands

import triptych as tt
from triptych.core import metrics, registry
from triptych.data import loading as data
from triptych.errors import TriptychError
from triptych.report import artifacts
from triptych.training import checkpoint, run_folder
from triptych.training.saved import SavedRun, resumable
from triptych.training.session import Session, Settings

FIXTURES = Path(__file__).parent / "fixtures"
COMPARED = FIXTURES / "compared"
ROWS_OF_COSTS = slice(15, 20)  # of ``shown.txt``; they had a column with lines of code

# From the report that version 1 wrote.
REPORTED = (
    "784-4-10: SGD 0.1, full batch, float32, seed 3",
    "digits, 1,617 training and 180 test images",
    "In 40 training steps in float64",
    "by more than 2.9e−15 of the largest value of its kind",
    "23.33 %",
    "17.8–30.0",
    "2.03",
    "1.96–2.24",
    "2.52–2.95",
    "3,179 ms",
    "8.6 ms",
    "340 MB",
    "2 taken for 6 (13), 3 taken for 7 (13), 0 taken for 8 (12)",
    "138 of 180 test images are classified wrongly by at least one row; 40 are shown.",
)


def finish(folder: Path, engine: str, epochs: int | None = None) -> dict:
    """Train a copied run to its end; return its results."""
    with resumable(folder) as saved:
        longer = saved.extended(epochs)
        dataset = data.load(str(FIXTURES / "table.csv"), longer.recipe.seed, longer.reading)
        longer.check_same(dataset)
        backend = registry.entry(engine).default_backend
        settings = Settings(engine, backend)
        session = Session(settings, longer.network, longer.recipe, dataset, None, longer)
        list(session.events())
    return run_folder.read_results(folder, "train")


@pytest.fixture
def stopped(tmp_path: Path) -> Path:
    return Path(shutil.copytree(FIXTURES / "stopped", tmp_path / "stopped"))


def test_a_finished_run_is_read():
    results = run_folder.read_results(FIXTURES / "finished", "train")
    saved = SavedRun.read(FIXTURES / "finished")
    assert saved.finished
    assert saved.position.step == results["steps"] == 12
    assert saved.engine == "numpy"
    assert saved.source == "table.csv"
    assert len(run_folder.read_events(FIXTURES / "finished")) > 12


def test_a_state_predicts_what_was_recorded():
    results = run_folder.read_results(FIXTURES / "finished", "train")
    state, network, recipe, _ = checkpoint.load_state(FIXTURES / "finished/last/state.safetensors")
    test = data.load(str(FIXTURES / "table.csv"), recipe.seed).test
    engine = registry.create("numpy", network, recipe)
    engine.load(state)
    predicted = metrics.predictions(engine.logits(engine.upload(test)))
    right = int((predicted == test.labels).sum())
    assert right == results["accuracy"]["right"]
    assert metrics.confusion(predicted, test.labels, 3).tolist() == results["confusion"]


def test_a_stopped_run_ends_like_the_one_that_was_not(stopped: Path):
    results = finish(stopped, "numpy")
    expected = run_folder.read_results(FIXTURES / "finished", "train")
    for key in ("steps", "accuracy", "confusion", "best_epoch", "tested_epoch"):
        assert results[key] == expected[key]
    ours = checkpoint.load_state(stopped / "last/state.safetensors")[0]
    theirs = checkpoint.load_state(FIXTURES / "finished/last/state.safetensors")[0]
    assert list(ours) == list(theirs)
    for name, array in theirs.items():
        np.testing.assert_allclose(ours[name], array, rtol=1e-5, atol=1e-7)


def test_another_engine_goes_on_and_both_are_recorded(stopped: Path):
    pytest.importorskip("torch")
    results = finish(stopped, "torch", epochs=5)
    stages = [(stage["step"], stage["engine"]) for stage in results["engines"]]
    assert stages == [(0, "numpy"), (8, "torch")]
    assert results["steps"] == 15


def test_a_comparison_is_read():
    results = run_folder.read_results(COMPARED)
    events, damaged_lines = run_folder.read_log(COMPARED)
    assert list(results["runs"][0]["rows"]) == ["numpy", "torch"]
    assert len(events) == 117
    assert damaged_lines == 0


@pytest.mark.process
def test_a_comparison_is_shown_with_the_same_figures(tmp_path: Path):
    shown = commands.run("show", str(COMPARED), cwd=tmp_path)
    assert not shown.stderr
    ours = [line.rstrip() for line in shown.stdout.splitlines()]
    theirs = (COMPARED / "shown.txt").read_text(encoding="utf-8").splitlines()
    for line, expected in zip(ours[ROWS_OF_COSTS], theirs[ROWS_OF_COSTS], strict=True):
        assert expected.startswith(line)
    del ours[ROWS_OF_COSTS], theirs[ROWS_OF_COSTS]
    assert ours == [line.rstrip() for line in theirs]


def test_a_comparison_is_reported_with_the_same_figures(tmp_path: Path):
    pytest.importorskip("matplotlib")
    folder = Path(shutil.copytree(COMPARED, tmp_path / "compared"))
    assert artifacts.illustrate(folder) is None
    report = (folder / "report.html").read_text(encoding="utf-8")
    for text in REPORTED:
        assert text in report, text
    assert (folder / "loss.png").exists()


@pytest.mark.parametrize("row", ["numpy", "torch"])
@pytest.mark.parametrize("engine", ["numpy", pytest.param("torch", marks=pytest.mark.framework)])
def test_the_states_of_a_comparison_predict_what_was_recorded(row: str, engine: str):
    if not registry.entry(engine).installed:
        pytest.skip("not installed")
    recorded = run_folder.read_results(COMPARED)["runs"][0]["rows"][row]
    test = data.load("digits", 3).test
    predicted = tt.predict(COMPARED / row, test.images, engine=engine).classes
    assert metrics.confusion(predicted, test.labels, 10).tolist() == recorded["confusion"]
    assert int((predicted == test.labels).sum()) == recorded["accuracy"]["right"] == 42


@pytest.mark.parametrize("folder", [COMPARED, COMPARED / "numpy"])
def test_a_comparison_is_not_resumed(folder: Path):
    with pytest.raises(TriptychError, match=r"holds no last.state\.safetensors; name a run folder"):
        SavedRun.read(folder)
