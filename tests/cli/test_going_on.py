"""Runs that go on: after a stop, for more epochs, while another process trains, with damaged
files around them.
"""

import errno
import json
import os
import random
import shutil
from contextlib import closing
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from support import damage
from support.trainings import NETWORK, PER_EPOCH, RECIPE, check_log, outcome, states, trained

from triptych.core import state
from triptych.errors import TriptychError
from triptych.spec import zoo
from triptych.spec.callbacks import EarlyStopping, ReduceLROnPlateau
from triptych.spec.schedules import Cosine, RateSchedule, Step
from triptych.training import checkpoint, loggers, run_folder
from triptych.training.saved import SavedRun
from triptych.training.session import Session, Settings

pytestmark = pytest.mark.process


RECIPES = {
    "constant": RECIPE,
    "a staircase": replace(RECIPE, schedule=Step(every=2.0, warmup=0.5)),
    "a cosine of its own length": replace(RECIPE, schedule=Cosine(epochs=4.0)),
    "cuts on a plateau": replace(
        RECIPE, callbacks=(ReduceLROnPlateau(threshold=0.9, factor=0.5, patience=1),)
    ),
    "early stopping that does not come": replace(RECIPE, callbacks=(EarlyStopping(patience=4),)),
}


@pytest.mark.parametrize("kind", RECIPES)
def test_more_epochs_are_those_of_a_run_that_had_them_from_the_beginning(
    driver, tmp_path, digits, kind: str
):
    recipe = RECIPES[kind]
    folder = trained(tmp_path / "three", digits, recipe)
    assert outcome(folder)["recipe"]["epochs"] == 3
    status, output, errors = driver.run("train", "numpy", "--resume", str(folder), "--epochs", "5")
    assert status == 0, errors
    assert "epoch 4/5" in output
    assert "lasts to the end of the run" not in output
    straight = trained(tmp_path / "five", digits, replace(recipe, epochs=5))
    assert states(folder) == states(straight)
    assert outcome(folder) == outcome(straight)
    check_log(folder, 5)


def test_a_run_that_was_stopped_is_lengthened_and_shortened(driver, tmp_path, digits):
    for epochs in (2, 5):
        folder = trained(tmp_path / f"{epochs}", digits, until=PER_EPOCH + 3)
        assert not (folder / "results.json").exists()
        assert (
            driver.run("train", "numpy", "--resume", str(folder), "--epochs", str(epochs))[0] == 0
        )
        straight = trained(tmp_path / f"straight-{epochs}", digits, replace(RECIPE, epochs=epochs))
        assert states(folder) == states(straight)
        assert outcome(folder) == outcome(straight)
        check_log(folder, epochs)


def test_a_schedule_that_lasts_to_the_end_changes_its_rates_from_there_on(driver, tmp_path, digits):
    schedule: RateSchedule = Cosine(floor=0.1)
    folder = trained(tmp_path, digits, replace(RECIPE, schedule=schedule))
    status, output, _ = driver.run("train", "numpy", "--resume", str(folder), "--epochs", "5")
    assert status == 0
    assert (
        "The schedule cosine lasts to the end of the run, so its rates change from here on"
        in output
    )
    rates = [epoch["rate"] for epoch in outcome(folder)["history"]]
    expected = [
        schedule.at(PER_EPOCH * n - 1, PER_EPOCH, 3 if n <= 3 else 5) * 0.001 for n in range(1, 6)
    ]
    assert rates == pytest.approx(expected, rel=1e-12)


def test_epochs_that_make_no_sense_are_refused(driver, tmp_path, digits):
    done, begun = (
        trained(tmp_path / "done", digits),
        trained(tmp_path / "begun", digits, until=PER_EPOCH + 3),
    )
    before = (done / "results.json").read_bytes()
    for folder, epochs, says in (
        (
            done,
            3,
            (
                "--epochs 3: this run is finished after 3 epochs, and --epochs is the total; "
                "give 4 or more"
            ),
        ),
        (
            done,
            2,
            (
                "--epochs 2: this run is finished after 3 epochs, and --epochs is the total; "
                "give 4 or more"
            ),
        ),
        (
            begun,
            1,
            (
                "--epochs 1: this run is in its epoch 2 already, and --epochs is the total; give "
                "2 or more"
            ),
        ),
        (begun, -1, "--epochs -1: this run is in its epoch 2 already"),
    ):
        assert says in (
            driver.refused("train", "numpy", "--resume", str(folder), "--epochs", str(epochs)) or ""
        )
    assert "this run is finished after 3 epochs; train it further with --epochs N" in (
        driver.refused("train", "numpy", "--resume", str(done)) or ""
    )
    assert (done / "results.json").read_bytes() == before


def test_a_run_that_early_stopping_ended_is_not_lengthened(driver, tmp_path, digits):
    recipe = replace(RECIPE, epochs=20, callbacks=(EarlyStopping(patience=1, threshold=5.0),))
    folder = trained(tmp_path, digits, recipe)
    assert outcome(folder)["stopped"]
    message = driver.refused("train", "numpy", "--resume", str(folder), "--epochs", "30")
    assert message
    assert (
        "a callback ended this run after epoch 2 (validation_loss was not better for 1 epochs)"
        in message
    )


def test_the_finished_result_stays_until_the_longer_run_is_finished(driver, tmp_path, digits):
    folder = trained(tmp_path / "run", digits)
    before = (folder / "results.json").read_bytes()
    saved = SavedRun.read(folder).extended(5)
    settings = Settings("numpy", "eager")
    running = Session(settings, saved.network, saved.recipe, digits, tmp_path, saved)
    for event in running.events():
        if getattr(event, "step", 0) >= 4 * PER_EPOCH + 2:
            running.training.stop()
    assert (folder / "results.json").read_bytes() == before
    status, output, _ = driver.run("show", str(folder))
    assert status == 0
    assert "Test accuracy, weights of epoch 3" in output
    assert (
        f"Not finished: saved after step {running.training.position.step}, in epoch 5 of 5; go on "
        "with: triptych train --resume" in output
    )
    assert driver.run("train", "numpy", "--resume", str(folder))[0] == 0
    straight = trained(tmp_path / "five", digits, replace(RECIPE, epochs=5))
    assert states(folder) == states(straight)
    assert outcome(folder) == outcome(straight)


def test_trained_and_killed_before_the_test(driver, tmp_path, digits):
    folder = trained(tmp_path, digits)
    before = outcome(folder)
    (folder / "results.json").unlink()
    assert (
        "Not finished: trained for 3 epochs, and not yet tested"
        in driver.run("show", str(folder))[1]
    )
    assert driver.run("train", "numpy", "--resume", str(folder))[0] == 0
    assert outcome(folder) == before


def test_the_best_state_belongs_to_the_run(driver, tmp_path, digits):
    recipe = replace(RECIPE, epochs=4, callbacks=(EarlyStopping(patience=3),))
    folder = trained(tmp_path / "run", digits, recipe, until=3 * PER_EPOCH + 2)
    path = folder / "best" / "state.safetensors"
    whole = path.read_bytes()
    saved, network, recipe, provenance = checkpoint.load_state(path)
    other = zoo.dense("other", [5], 0.2)
    wrong = {
        "of another network or recipe": (state.initial(other, recipe), other, recipe, provenance),
        "another network or recipe": (saved, network, replace(recipe, seed=1), provenance),
        "not the one that this run saved in epoch": (
            state.initial(network, recipe),
            network,
            recipe,
            provenance,
        ),
        "of epoch 1, where the run had its best in epoch": (
            saved,
            network,
            recipe,
            provenance | {"epoch": 1},
        ),
        "must be a whole number": (saved, network, recipe, provenance | {"epoch": "1"}),
        "KeyError": (saved, network, recipe, {"engine": "numpy"}),
    }
    assert provenance["epoch"] == 3
    for says, (arrays, of, by, provenance) in wrong.items():
        checkpoint.save_state(path, arrays, of, by, provenance)
        message = driver.refused("train", "numpy", "--resume", str(folder)) or ""
        assert says in message
        assert str(path) in message
    path.unlink()
    assert "missing, where the run had its best in epoch 3" in (
        driver.refused("train", "numpy", "--resume", str(folder)) or ""
    )
    path.write_bytes(whole)
    assert driver.run("train", "numpy", "--resume", str(folder))[0] == 0
    assert outcome(folder) == outcome(trained(tmp_path / "straight", digits, recipe))


def test_a_later_best_state_is_met_again(driver, tmp_path, digits):
    """A kill between best/ and last/."""
    folder = trained(tmp_path / "run", digits, until=PER_EPOCH + 2)
    later = trained(tmp_path / "later", digits, until=2 * PER_EPOCH + 2)
    shutil.copy(later / "best" / "state.safetensors", folder / "best" / "state.safetensors")
    assert driver.run("train", "numpy", "--resume", str(folder))[0] == 0
    straight = trained(tmp_path / "straight", digits)
    assert states(folder) == states(straight)
    assert outcome(folder) == outcome(straight)


def old_format(path: Path) -> None:
    """Rewrite a state as format 2 had it: a digest of the arrays and the position, and no name of
    the best state.
    """
    content = path.read_bytes()
    saved = checkpoint.load_state(path)[0]
    metadata = damage.about_of(content)
    h = sha256()
    for name, array in saved.items():
        h.update(f"{name} {array.dtype} {array.shape}\n".encode())
        h.update(array.tobytes())
    if "training" in metadata["provenance"]:
        h.update(json.dumps(metadata["provenance"]["training"], sort_keys=True).encode())

    def change(metadata: dict) -> None:
        metadata["provenance"].pop("best", None)
        metadata["format"] = 2
        del metadata["sha256"]
        metadata["SHA"] = h.hexdigest()

    path.write_bytes(damage.forged_state(content, change).replace(b"SHA", b"sha256", 1))
    blob = (
        path.read_bytes()
    )  # the name above is longer than its place: the header's length and end are put right
    end = blob.index(b"}", blob.rindex(b"data_offsets")) + 2
    arrays = blob[len(blob) - sum(array.nbytes for array in saved.values()) :]
    header = blob[8:end]
    header += b" " * (-len(header) % 8)
    path.write_bytes(len(header).to_bytes(8, "little") + header + arrays)


def test_a_run_of_the_format_before_goes_on(driver, tmp_path, digits):
    folder = trained(tmp_path / "run", digits, until=PER_EPOCH + 3)
    for name in ("last", "best"):
        old_format(folder / name / "state.safetensors")
        assert damage.about_of((folder / name / "state.safetensors").read_bytes())["format"] == 2
    assert driver.run("show", str(folder))[0] == 0
    assert driver.run("train", "numpy", "--resume", str(folder))[0] == 0
    straight = trained(tmp_path / "straight", digits)
    assert states(folder) == states(straight)
    assert outcome(folder) == outcome(straight)
    assert damage.about_of((folder / "best" / "state.safetensors").read_bytes())["format"] == 3


def test_one_process_at_a_time(driver, tmp_path, digits):
    folder = trained(tmp_path, digits, until=PER_EPOCH + 3)
    with run_folder.locked(folder):
        message = driver.refused("train", "numpy", "--resume", str(folder)) or ""
    assert f"{folder}: another process is training in this run folder" in message
    assert driver.run("train", "numpy", "--resume", str(folder))[0] == 0


def test_what_a_kill_left_is_deleted(driver, tmp_path, digits):
    folder = trained(tmp_path, digits, until=PER_EPOCH + 3)
    left = folder / "last" / ".state.safetensors.0a1b2c3d"
    left.write_bytes(b"half")
    assert driver.run("train", "numpy", "--resume", str(folder))[0] == 0
    assert not left.exists()


@pytest.mark.parametrize("log", ["", '{"type": "begin", "step": 0}\n'])
def test_a_run_that_was_killed_before_its_first_checkpoint(driver, tmp_path, log: str):
    folder = tmp_path / "20260101-000000-train-numpy"
    folder.mkdir()
    (folder / "events.jsonl").write_text(log)
    for command in (("show", str(folder)), ("train", "numpy", "--resume", str(folder))):
        message = driver.refused(*command) or ""
        assert str(folder) in message
        assert "nothing can go on from it; begin a new one" in message


@pytest.mark.parametrize(
    "kind", ["a byte", "brackets", "a step that is none", "no log", "nothing", "a pipe"]
)
def test_a_damaged_log_keeps_no_run_from_going_on(driver, tmp_path, digits, kind: str):
    if kind == "a pipe" and not hasattr(os, "mkfifo"):
        pytest.skip("this system has no named pipes")
    folder = trained(tmp_path / "run", digits, until=PER_EPOCH + 3)
    log = folder / "events.jsonl"
    content = bytearray(log.read_bytes())
    if kind == "a byte":
        content[len(content) // 2] = 0xB0
        log.write_bytes(content)
    elif kind in ("brackets", "a step that is none"):
        line = b"[" * 200_000 if kind == "brackets" else b'{"type": "x", "step": "a"}'
        log.write_bytes(content + line + b"\n")
    elif kind == "nothing":
        log.write_bytes(b"")
    else:
        log.unlink()
        if kind == "a pipe":
            os.mkfifo(log)
    assert driver.run("train", "numpy", "--resume", str(folder))[0] == 0
    straight = trained(tmp_path / "straight", digits)
    assert states(folder) == states(straight)
    assert outcome(folder) == outcome(straight)


def test_a_full_disk_names_the_file_and_the_way_on(tmp_path, digits, monkeypatch):
    monkeypatch.chdir(tmp_path)
    settings = Settings("numpy", "eager")
    running = Session(settings, NETWORK, RECIPE, digits, Path("runs"))
    monkeypatch.setattr(loggers, "SECONDS_BETWEEN_EPOCHS_SAVED", 0)
    fsync = os.fsync

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    def train() -> None:
        for event in running.events():
            if getattr(event, "step", 0) > PER_EPOCH:
                monkeypatch.setattr(os, "fsync", full)

    with pytest.raises(TriptychError) as error:
        train()
    monkeypatch.setattr(os, "fsync", fsync)
    message = str(error.value)
    assert "best/state.safetensors: No space left on device" in message
    assert f"go on with triptych train numpy --resume {running.folder}" in message
    assert SavedRun.read(running.folder).position.step == PER_EPOCH


def test_how_to_go_on_is_quoted_for_the_shell(driver, tmp_path, digits):
    folder = trained(tmp_path / "my runs [b]", digits, until=3)
    status, output, _ = driver.run("show", str(folder))
    assert status == 0
    assert f"--resume '{folder}'" in output


FORGERIES = {
    "no source": lambda metadata: metadata["provenance"].pop("source"),
    "a source of another type": lambda metadata: metadata["provenance"].update(source=["digits"]),
    "no digest of the data": lambda metadata: metadata["provenance"]["data"].pop("train_sha256"),
    "no data": lambda metadata: metadata["provenance"].update(data=None),
    "a size of one number": lambda metadata: metadata["provenance"].update(
        reading={"size": [1], "skip_unreadable": False}
    ),
    "a size of words": lambda metadata: metadata["provenance"].update(
        reading={"size": ["a", "b"], "skip_unreadable": False}
    ),
    "a step of another type": lambda metadata: metadata["provenance"]["training"].update(step="3"),
    "a step that does not fit": lambda metadata: metadata["provenance"]["training"].update(
        step=10**6
    ),
    "no memories": lambda metadata: metadata["provenance"]["training"].update(memories={}),
    "memories of another callback": lambda metadata: metadata["provenance"]["training"].update(
        memories={"early-stopping": {}}
    ),
    "a history of numbers": lambda metadata: metadata["provenance"]["training"].update(history=[1]),
    "a history without losses": lambda metadata: metadata["provenance"]["training"]["history"][
        0
    ].pop("loss"),
    "a history in another order": lambda metadata: metadata["provenance"]["training"]["history"][
        0
    ].update(epoch=7),
    "a validation that is a word": lambda metadata: metadata["provenance"]["training"]["history"][
        0
    ].update(validation_accuracy="high"),
    "a rate that is none": lambda metadata: metadata["provenance"]["training"].update(
        base_rate=None
    ),
    "a best state of another epoch": lambda metadata: metadata["provenance"]["best"].update(
        epoch=9
    ),
    "a best state that is a word": lambda metadata: metadata["provenance"].update(best="yes"),
    "provenance that is a list": lambda metadata: metadata.update(provenance=[]),
    "an order that is a number": lambda metadata: metadata.update(order=3),
    "validation that was none": lambda metadata: metadata["recipe"].update(validation=0),
}


@pytest.fixture(scope="module")
def young(tmp_path_factory, digits) -> Path:
    """A run that was stopped in its second epoch."""
    return trained(tmp_path_factory.mktemp("young"), digits, until=PER_EPOCH + 3)


@pytest.mark.parametrize("kind", FORGERIES)
def test_a_forged_checkpoint_is_refused_in_one_line(driver, tmp_path, young, kind: str):
    folder = tmp_path / "run"
    shutil.copytree(young, folder)
    path = folder / "last" / "state.safetensors"
    path.write_bytes(damage.forged_state(path.read_bytes(), FORGERIES[kind]))
    resumed = driver.refused("train", "numpy", "--resume", str(folder))
    assert resumed
    if kind != "a step that does not fit":  # only the data says how many steps an epoch has
        assert str(path) in resumed
        assert driver.refused("show", str(folder)) == resumed


def test_mutants_of_every_file_are_refused_or_change_nothing(driver, tmp_path, young, digits):
    rng = random.Random(1)
    expected = outcome(trained(tmp_path / "straight", digits))
    for number in range(12):
        folder = tmp_path / str(number)
        shutil.copytree(young, folder)
        name = ("last/state.safetensors", "best/state.safetensors", "events.jsonl")[number % 3]
        path = folder / name
        change = damage.cut if number % 4 == 0 else damage.flipped
        path.write_bytes(change(path.read_bytes(), rng))
        refused = driver.refused("train", "numpy", "--resume", str(folder))
        assert (refused is not None) == (name != "events.jsonl"), (number, refused)
        if refused is None:
            assert outcome(folder) == expected
        else:
            assert str(path) in refused


def test_a_finished_run_is_shown_whatever_became_of_its_states(driver, tmp_path, digits):
    folder = trained(tmp_path, digits)
    (folder / "last" / "state.safetensors").write_bytes(b"nothing")
    status, output, errors = driver.run("show", str(folder))
    assert status == 0, errors
    assert "Test accuracy" in output
    assert "note:" in output


def test_tensorboard_leaves_out_what_was_not_finite(tmp_path):
    pytest.importorskip("tensorboardX")
    with closing(
        loggers.TensorBoard(
            tmp_path,
            [{"type": "epoch", "step": 1, "validation_loss": None, "validation_accuracy": 0.5}],
        )
    ):
        pass
    assert np.size(list(tmp_path.glob("events.out.tfevents.*"))) == 1
