"""A run folder is compared with the undisturbed training; each damage is found."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.trainings import NETWORK, PER_EPOCH, RECIPE, trained

import triptych as tt
from triptych.cli.replay_view import lines_of
from triptych.data.dataset import Dataset
from triptych.parity.replay import ReplayResult
from triptych.training import checkpoint

STEPS = 3 * PER_EPOCH


@pytest.fixture(autouse=True)
def as_many_threads(monkeypatch) -> None:
    monkeypatch.setattr("triptych.api._threads", lambda: 1)


def change_log(folder: Path, change: Callable[[list[dict[str, Any]]], Any]) -> None:
    """Change the blocks of a log in place."""
    path = folder / "events.jsonl"
    events = [json.loads(line) for line in path.read_text().splitlines()]
    blocks = [event for event in events if event["type"] == "block"]
    kept = list(blocks)
    change(blocks)
    others = [event for event in events if event not in kept]
    path.write_text("".join(json.dumps(event) + "\n" for event in others + blocks))


def test_runs_that_were_not_disturbed_or_stopped_and_resumed_are_equal_to_the_bit(
    tmp_path: Path, digits: Dataset
):
    whole = trained(tmp_path / "a", digits)
    stopped = trained(tmp_path / "b", digits, until=PER_EPOCH + 5)
    result = tt.verify_run(stopped, digits)
    assert result.equal
    assert result.exact
    assert PER_EPOCH + 5 <= result.steps < STEPS
    tt.resume(stopped, data=digits)
    for folder in (whole, stopped):
        result = tt.verify_run(folder, digits)
        assert result.equal
        assert result.exact
        assert result.steps == result.samples_compared == STEPS
        assert result.state_difference == result.loss_difference == 0
        assert result.restarts == (folder == stopped)
    assert "the run was interrupted 1 time." in lines_of(result)[0]
    assert lines_of(result)[-1] == "Equal to the bit."


def test_a_run_that_was_ended_before_its_first_step_is_equal(tmp_path: Path, digits: Dataset):
    events = tt.iter_train("numpy", NETWORK, RECIPE, digits, runs=tmp_path)
    next(events)
    events.close()
    result = tt.verify_run(next(tmp_path.iterdir()), digits)
    assert result.steps == 0
    assert result.equal
    assert result.exact


def test_each_damage_of_a_log_is_found(tmp_path: Path, digits: Dataset):
    folder = trained(tmp_path, digits)
    log = (folder / "events.jsonl").read_text()

    def found(change: Callable[[list[dict[str, Any]]], Any]) -> ReplayResult:
        (folder / "events.jsonl").write_text(log)
        change_log(folder, change)
        result = tt.verify_run(folder, digits)
        assert not result.equal
        return result

    assert found(lambda blocks: blocks.pop(2)).damages == ["step 3 is missing in the log"]
    twice = found(lambda blocks: blocks.insert(2, blocks[1]))
    assert twice.damages == ["step 2 is twice in the log"]
    last = found(lambda blocks: blocks.pop())
    assert last.damages == [f"step {STEPS} is missing in the log"]
    swapped = found(exchange_samples)
    assert swapped.damages == ["step 1 is not made with the samples of the recipe"]
    other = found(lambda blocks: blocks[3].update(losses=[blocks[3]["losses"][0] * 1.00001]))
    assert other.damages == []
    assert other.first_difference == 4
    assert other.loss_difference == pytest.approx(1e-5, rel=0.1)


def exchange_samples(blocks: list[dict[str, Any]]) -> None:
    blocks[0]["samples"] = blocks[1]["samples"]


def test_another_state_is_found(tmp_path: Path, digits: Dataset):
    folder = trained(tmp_path, digits)
    path = folder / "last" / checkpoint.STATE
    state, network, recipe, provenance = checkpoint.load_state(path)
    name = next(iter(state))
    state[name] = state[name] * (1 + 1e-6)
    checkpoint.save_state(path, state, network, recipe, provenance)
    result = tt.verify_run(folder, digits)
    assert not result.equal
    assert result.loss_difference == 0
    assert result.state_difference == pytest.approx(1e-6, rel=0.2)


def test_what_several_workers_trained_is_judged_in_float64_only(tmp_path: Path, digits: Dataset):
    """The log is changed to tell of two workers."""
    for dtype, judged in (("float64", True), ("float32", False)):
        recipe = tt.Recipe(1, 64, tt.optimizers.Adam(), dtype=dtype)
        folder = trained(tmp_path / dtype, digits, recipe)
        log = folder / "events.jsonl"
        assert '"workers": 1' in log.read_text()
        log.write_text(log.read_text().replace('"workers": 1', '"workers": 2'))
        result = tt.verify_run(folder, digits)
        assert result.equal
        assert not result.exact
        assert result.judged == judged
    assert lines_of(result)[-1].startswith("Not judged: rounding differs")
