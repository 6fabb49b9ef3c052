"""``triptych train`` as a user runs it: real processes, real signals, real kills."""

import csv
import json
import re
import shutil
import signal
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from support.commands import run, run_here, start, wait_for_step
from support.engines import needs_torch

from triptych.cli.train import PlaceOptions
from triptych.cli.train import _resuming as resuming_command
from triptych.core import files, metrics, registry, state
from triptych.data.dataset import Dataset
from triptych.data.loading import stratified
from triptych.spec import zoo
from triptych.training import checkpoint, run_folder
from triptych.training.session import Settings

pytestmark = pytest.mark.process


# Wide enough that an epoch of 91 steps is several blocks long, so that a signal comes in its
# middle.
OPTIONS = (
    *(
        "--hidden",
        "1024,512",
        "--dropout",
        "0.1",
        "--batch-size",
        "16",
        "--optimizer",
        "adam",
        "--dtype",
        "float64",
    ),
    *("--epochs", "3", "--validation", "0.1", "--schedule", "cosine", "--warmup", "0.5"),
)
PER_EPOCH = 91  # ceil(1455 / 16)
STEPS_PER_EPOCH_OF_ALL = 102  # ceil(1617 / 16), without validation


def folder_of(cwd: Path) -> Path:
    return next((cwd / "runs").iterdir())


def stopped_midway(cwd: Path, engine: str, step: int, *signals: signal.Signals) -> tuple[Path, str]:
    """Start, send the signals once a step is made, and return folder and last words; again where it
    was the end of an epoch.
    """
    for attempt in range(4):
        attempt_folder = cwd / str(attempt)
        attempt_folder.mkdir()
        process = start("train", engine, *OPTIONS, cwd=attempt_folder)
        wait_for_step(attempt_folder, step)
        for number in signals:
            process.send_signal(number)
            time.sleep(0.02)
        _, output = process.communicate(timeout=60)
        assert process.returncode == 130, output
        if position_of(folder_of(attempt_folder)) % PER_EPOCH:
            return folder_of(attempt_folder), output
    raise AssertionError("it was to be stopped in mid-epoch")


def position_of(folder: Path) -> int:
    return checkpoint.load_state(folder / "last" / "state.safetensors")[3]["training"]["step"]


def last(folder: Path) -> state.State:
    return checkpoint.load_state(folder / "last" / "state.safetensors")[0]


def same(a: Path, b: Path) -> bool:
    one, other = last(a), last(b)
    return list(one) == list(other) and all(np.array_equal(one[name], other[name]) for name in one)


def history(folder: Path) -> list[list[str]]:
    """The lines of history.csv, without the seconds."""
    with (folder / "history.csv").open(newline="") as file:
        return [line[:-1] for line in csv.reader(file)]


def check_whole(folder: Path) -> None:
    """Every step and every epoch is told once, in order."""
    events = run_folder.read_events(folder)
    assert len(events) == len((folder / "events.jsonl").read_text().splitlines())
    steps = [(e["step"] - e["steps"], e["step"]) for e in events if e["type"] == "block"]
    assert [first for first, _ in steps] == [0, *(after for _, after in steps[:-1])]
    assert steps[-1][1] == 3 * PER_EPOCH
    assert [e["epoch"] for e in events if e["type"] == "epoch"] == [1, 2, 3]
    assert [line[0] for line in history(folder)] == ["epoch", "1", "2", "3"]


@pytest.fixture(scope="module")
def straight(tmp_path_factory) -> tuple[Path, str]:
    """A run in NumPy that nothing interrupts."""
    cwd = tmp_path_factory.mktemp("train")
    done = run("train", "numpy", *OPTIONS, cwd=cwd)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder_of(cwd), done.stdout


def test_it_leaves_a_whole_run_folder(straight, digits: Dataset):
    folder, output = straight
    check_whole(folder)
    results = run_folder.read_results(folder, "train")
    assert results["kind"] == "train"
    assert (results["engine"], results["steps"], results["tested_epoch"]) == (
        "numpy",
        3 * PER_EPOCH,
        3,
    )
    assert results["recipe"]["schedule"] == {
        "name": "cosine",
        "warmup": 0.5,
        "epochs": None,
        "floor": 0.0,
    }
    saved, network, recipe, provenance = checkpoint.load_state(
        folder / "last" / "state.safetensors"
    )
    assert provenance["engine"] == "numpy"
    assert provenance["data"]["train_sha256"] == digits.train.digest
    engine = registry.create("numpy", network, recipe)
    engine.load(saved)
    predicted = metrics.predictions(engine.logits(engine.upload(digits.test)))
    assert results["accuracy"]["right"] == (predicted == digits.test.labels).sum()
    low, high = metrics.wilson(results["accuracy"]["right"], 180)
    assert output.splitlines()[-2] == (
        f"Test accuracy, weights of epoch 3: {results['accuracy']['right'] / 180:.2%} (95 %: "
        f"{100 * low:.2f}–{100 * high:.2f}), "
        f"{results['accuracy']['right']} of 180 right."
    )
    _, validation = stratified(digits.train, 0, 0.1)
    validated = metrics.accuracy(
        metrics.predictions(engine.logits(engine.upload(validation))), validation.labels
    )
    assert results["history"][-1]["validation_accuracy"] == validated
    assert (
        checkpoint.load_state(folder / "best" / "state.safetensors")[3]["epoch"]
        == results["best_epoch"]
    )


def test_tensorboard_reads_its_logs(straight):
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    seen = reader.EventAccumulator(str(straight[0]), size_guidance={"scalars": 0})
    seen.Reload()
    assert [e.step for e in seen.Scalars("loss")] == list(range(1, 3 * PER_EPOCH + 1))
    assert len(seen.Scalars("validation_accuracy")) == 3


def test_ctrl_c_twice_and_resume_lose_and_repeat_nothing(straight, tmp_path):
    folder, output = stopped_midway(tmp_path, "numpy", PER_EPOCH + 1, signal.SIGINT, signal.SIGINT)
    step = position_of(folder)
    assert f"stopped after step {step} of {3 * PER_EPOCH}, and saved" in output
    assert f"triptych train numpy --resume {folder.relative_to(folder.parents[1])}" in output
    assert "Traceback" not in output
    assert PER_EPOCH < step < 3 * PER_EPOCH
    assert not (folder / "results.json").exists()
    assert "Not finished: saved after step" in run("show", str(folder), cwd=tmp_path).stdout
    done = run("train", "numpy", "--resume", str(folder), cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert same(folder, straight[0])
    assert history(folder) == history(straight[0])
    check_whole(folder)
    a, b = (run_folder.read_results(f, "train") for f in (folder, straight[0]))
    assert (a["accuracy"], a["confusion"]) == (b["accuracy"], b["confusion"])


@needs_torch
@pytest.mark.slow
def test_sigterm_in_pytorch_and_resume_in_numpy_and_in_pytorch(straight, tmp_path):
    """PyTorch's halves make its own whole, to the bit; its first half and NumPy's second make
    NumPy's, to rounding.
    """
    whole, halves = tmp_path / "whole", tmp_path / "halves"
    whole.mkdir()
    halves.mkdir()
    folder, _ = stopped_midway(halves, "torch", 1, signal.SIGTERM)
    assert run("train", "torch", *OPTIONS, cwd=whole).returncode == 0
    copy = tmp_path / "copy"
    for path in folder.rglob("*"):
        if path.is_file():
            files.write(copy / path.relative_to(folder), path.read_bytes())
    assert run("train", "torch", "--resume", str(folder), cwd=halves).returncode == 0
    assert same(folder, folder_of(whole))
    done = run("train", "numpy", "--resume", str(copy), cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    reached, expected = last(copy), last(straight[0])
    assert all(
        np.allclose(reached[name], expected[name], rtol=1e-9, atol=1e-11) for name in expected
    )
    check_whole(copy)


@pytest.mark.slow
def test_a_kill_loses_no_more_than_since_the_last_checkpoint(straight, tmp_path):
    process = start("train", "numpy", *OPTIONS, cwd=tmp_path)
    wait_for_step(tmp_path, PER_EPOCH + 5)
    process.kill()
    process.communicate(timeout=60)
    folder = folder_of(tmp_path)
    assert position_of(folder) < 3 * PER_EPOCH
    with (folder / "events.jsonl").open("a") as log:
        log.write('{"type": "blo')  # as a kill in the middle of a line leaves it
    done = run("train", "numpy", "--resume", str(folder), cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert same(folder, straight[0])
    assert history(folder) == history(straight[0])
    check_whole(folder)


@pytest.mark.parametrize("line", ['{"type": "blo', "[1]", "3", "null"])
def test_events_end_at_the_first_line_that_is_none(tmp_path, line: str):
    (tmp_path / "events.jsonl").write_text(f'{{"type": "begin"}}\n{line}\n{{"type": "block"}}\n')
    assert run_folder.read_events(tmp_path) == [{"type": "begin"}]


@pytest.fixture
def stopped(tmp_path) -> Path:
    """A small run that was stopped before its end."""
    options = ("--hidden", "1024,512", "--batch-size", "16", "--epochs", "50")
    process = start("train", "numpy", *options, cwd=tmp_path)
    wait_for_step(tmp_path, STEPS_PER_EPOCH_OF_ALL + 1)  # the first epoch is the best so far
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130
    return folder_of(tmp_path)


def test_predict_says_that_a_run_is_not_finished(stopped: Path, tmp_path):
    done = run("predict", str(stopped), "digits", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    note = f"This run is not finished; how far it is: triptych show {stopped}"
    assert done.stdout.startswith(note)


def test_what_a_resumed_run_refuses(stopped: Path, tmp_path, digits: Dataset):
    np.savez(
        tmp_path / "other.npz",
        x_train=digits.train.images[..., 0] // 2,
        y_train=digits.train.labels,
        x_test=digits.test.images[..., 0],
        y_test=digits.test.labels,
    )
    for options, says in (
        (["--data", "other.npz"], "not the data this run began with"),
        (["--epochs", "0"], "this run is in its epoch"),
        (["--batch-size", "3"], "it comes from the run that goes on"),
        (["--seed", "0"], "it comes from the run that goes on"),
    ):
        done = run_here("train", "numpy", "--resume", str(stopped), *options, cwd=tmp_path)
        assert done.returncode == 2, options
        assert says in re.sub(r"[│╭╮╰╯─\s]+", " ", done.stdout + done.stderr)
        assert "Traceback" not in done.stderr
    best = stopped / "best" / "state.safetensors"
    best.rename(stopped / "elsewhere")
    done = run_here("train", "numpy", "--resume", str(stopped), cwd=tmp_path)
    assert done.returncode == 2
    assert "missing" in done.stderr
    (stopped / "elsewhere").rename(best)
    blob = bytearray((stopped / "last" / "state.safetensors").read_bytes())
    at = blob.index(b"base_rate")
    digit = re.compile(rb"\d").search(blob, at)
    assert digit
    blob[digit.start()] = ord("8") if blob[digit.start()] != ord("8") else ord("9")
    (stopped / "last" / "state.safetensors").write_bytes(blob)
    done = run("train", "numpy", "--resume", str(stopped), cwd=tmp_path)
    assert done.returncode == 2
    assert "its SHA-256 does not match" in done.stderr


MISTAKES = {
    "a misspelt engine": (["train", "nympy"], "did you mean 'numpy'"),
    "a misspelt schedule": (["train", "numpy", "--schedule", "cosin"], "did you mean 'cosine'"),
    "a schedule that needs numbers": (
        ["train", "numpy", "--schedule", "step"],
        "or milestones, in a recipe file",
    ),
    "a warm-up before the start": (
        ["train", "numpy", "--warmup", "-1"],
        "--warmup -1: give a number of epochs, 0 or more",
    ),
    "everything set aside": (["train", "numpy", "--validation", "1"], "validation must be below 1"),
    "nearly everything set aside": (
        ["train", "numpy", "--validation", "0.9999"],
        (
            "1617 samples are too few to split off a validation set: 99.99 % of them would leave "
            "none to train on"
        ),
    ),
    "next to nothing set aside": (
        ["train", "numpy", "--validation", "0.0001"],
        "1617 samples are too few to split off a validation set: 0.01 % of them is less than one",
    ),
    "data without a name": (["train", "numpy", "--data", ""], "the data has an empty name"),
    "a recipe of brackets": (
        ["train", "numpy", "--recipe", "deep.json"],
        "deep.json: brackets are nested too deeply",
    ),
    "a network that no memory holds": (
        ["train", "numpy", "--network", "huge.json"],
        "not enough memory; make the network",
    ),
    "an unknown recipe": (["train", "numpy", "--recipe", "nothing"], "recipe 'nothing' is unknown"),
    "a recipe that is not there": (
        ["train", "numpy", "--recipe", "nothing.json"],
        "nothing.json: cannot be read",
    ),
    "a recipe with a wrong key": (
        ["train", "numpy", "--recipe", "wrong.json"],
        "did you mean 'schedule'",
    ),
    "a backend of another": (["train", "numpy", "--backend", "xla"], "no backend 'xla'"),
    "no run to go on": (
        ["train", "numpy", "--resume", "nowhere"],
        "nowhere: no such folder; name a run folder of triptych train",
    ),
    "a rate that diverges": (
        ["train", "numpy", "--batch-size", "64", "--rate", "1e30"],
        "the training diverged; try a lower learning rate",
    ),
    "a run and a network to show": (
        ["show", "nowhere", "--network", "custom"],
        "a run is shown as it was; leave the options out",
    ),
    "no run to show": (["show", "nowhere"], "nowhere: no such folder"),
}
IN_A_PROCESS = ("a misspelt engine", "a rate that diverges")


@pytest.mark.parametrize("kind", MISTAKES)
def test_a_mistake_is_answered_in_words(tmp_path, kind: str):
    arguments, says = MISTAKES[kind]
    written(tmp_path, "wrong.json", {"schedul": {}})
    written(tmp_path, "huge.json", zoo.dense("huge", [10**11]).to_json())
    (tmp_path / "deep.json").write_text("[" * 100_000)
    command = run if kind in IN_A_PROCESS else run_here
    done = command(*arguments, cwd=tmp_path)
    output = re.sub(r"[│╭╮╰╯─\s]+", " ", done.stdout + done.stderr)
    assert done.returncode == 2, output
    assert says in output
    assert "Traceback" not in output


def test_help_teaches(tmp_path):
    done = run("train", "--help", cwd=tmp_path)
    assert done.returncode == 0
    assert "Examples" in done.stdout
    assert re.search(r"^│ train ", run("--help", cwd=tmp_path).stdout, re.MULTILINE)


def test_a_finished_run_is_shown_and_not_resumed(straight, tmp_path):
    shown = run("show", str(straight[0]), cwd=tmp_path)
    assert shown.returncode == 0, shown.stderr
    assert "epoch 3/3: loss" in shown.stdout
    assert straight[1].splitlines()[-2] in shown.stdout
    again = run("train", "numpy", "--resume", str(straight[0]), cwd=tmp_path)
    assert again.returncode == 2
    assert "this run is finished" in again.stderr
    report = run("report", str(straight[0]), cwd=tmp_path)
    assert report.returncode == 2
    assert "results of triptych train" in report.stderr


@needs_torch
@pytest.mark.slow
def test_a_recipe_file_serves_every_command_and_options_override_it(tmp_path):
    recipe = json.loads(
        run("show", "--recipe", "empty.json", cwd=written(tmp_path, "empty.json", {})).stdout
    )
    recipe |= {
        "epochs": 2,
        "batch_size": 128,
        "validation": 0.2,
        "seed": 3,
        "callbacks": [{"name": "early-stopping", "patience": 1}],
    }
    written(tmp_path, "mine.json", recipe)
    trained = run("train", "torch", "--recipe", "mine.json", "--seed", "4", cwd=tmp_path)
    assert trained.returncode == 0, trained.stderr
    results = run_folder.read_results(folder_of(tmp_path), "train")["recipe"]
    assert (results["batch_size"], results["seed"], results["validation"]) == (128, 4, 0.2)
    compared = start("compare", "--recipe", "mine.json", cwd=tmp_path, stderr=None)
    assert compared.stdout
    # The third line is printed before anything is compared.
    output = [compared.stdout.readline() for _ in range(3)][2]
    compared.send_signal(signal.SIGINT)
    compared.communicate(timeout=60)
    assert output.startswith(
        "Without validation and early-stopping: every row trains all epochs on the whole "
        "training split"
    )
    verified = run(
        "verify", "--recipe", "mine.json", "--steps", "5", "--engines", "torch", cwd=tmp_path
    )
    assert verified.returncode == 0, verified.stdout + verified.stderr
    assert "The row is equal" in verified.stdout


def test_the_loss_is_chosen_by_name_and_keeps_the_penalty(tmp_path):
    written(tmp_path, "mine.json", {"epochs": 1, "loss": {"label_smoothing": 0.1, "l2": 1e-4}})
    for options, l2 in (("--epochs", "1"), 0.0), (("--recipe", "mine.json"), 1e-4):
        shutil.rmtree(tmp_path / "runs", ignore_errors=True)
        done = run("train", "numpy", "--loss", "mse", *options, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert "mean squared error" in done.stdout
        results = run_folder.read_results(folder_of(tmp_path), "train")
        assert results["recipe"]["loss"] == {"name": "mean_squared_error", "l2": l2}
    done = run("train", "--resume", str(folder_of(tmp_path)), "--loss", "mse", cwd=tmp_path)
    assert done.returncode == 2
    assert "--loss: it comes from the run that goes on" in done.stderr


def written(cwd: Path, name: str, content: dict) -> Path:
    (cwd / name).write_text(json.dumps(content))
    return cwd


def test_the_command_that_goes_on_names_a_backend_that_is_not_the_default():
    """Also one that comes from the run folder, because the option was left out."""
    for engine, backend, words in (
        ("torch", "eager", []),
        ("torch", "compiled", ["--backend", "compiled"]),
    ):
        session = SimpleNamespace(settings=Settings(engine, backend), folder=Path("runs/x"))
        expected = ["triptych", "train", engine, "--resume", "runs/x", *words]
        assert resuming_command(session, PlaceOptions()) == " ".join(expected)


def test_the_command_that_goes_on_saves_as_often():
    session = SimpleNamespace(settings=Settings("numpy", "eager"), folder=Path("runs/x"))
    command = resuming_command(session, PlaceOptions(checkpoint_every="30s"))
    assert command == "triptych train numpy --resume runs/x --checkpoint-every 30s"
