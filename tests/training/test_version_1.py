"""Run folders that version 1 wrote (commit 0ae0a23): they load, go on, and predict.

``fixtures/finished`` is a training of 4 epochs, ``fixtures/stopped`` the same one that was stopped
after 8 of 12 steps; both of ``fixtures/table.csv``, in NumPy.
"""

import shutil
from pathlib import Path

import numpy as np
import pytest

from triptych.core import metrics, registry
from triptych.data import loading as data
from triptych.training import checkpoint, run_folder
from triptych.training.saved import SavedRun, resumable
from triptych.training.session import Session, Settings

FIXTURES = Path(__file__).parent / "fixtures"


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
