"""Kills at random moments, and a hundred mutants of every file of a run folder: minutes each, so
they are marked slow.
"""

import json
import random
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from support import damage
from support.commands import run
from support.trainings import check_log, outcome, states, trained

from triptych.spec import zoo
from triptych.spec.callbacks import EarlyStopping, ReduceLROnPlateau
from triptych.spec.optimizers import Adam
from triptych.spec.recipe import Recipe
from triptych.training import checkpoint, loggers

pytestmark = pytest.mark.slow

RECIPE = Recipe(
    6,
    64,
    Adam(),
    validation=0.1,
    callbacks=(EarlyStopping(patience=4), ReduceLROnPlateau(threshold=0.5, patience=1)),
)
NETWORK = zoo.dense("tiny", [32], 0.2)

# A checkpoint after every block, so that a kill often comes in the middle of a write.
TRAIN = """
import sys
from triptych.cli import app as cli
from triptych.training import loggers as observers
observers.SECONDS_BETWEEN_CHECKPOINTS = 0.0
observers.SECONDS_BETWEEN_EPOCHS_SAVED = 0.0
cli.main(sys.argv[1:])
"""


@pytest.fixture
def every_block(monkeypatch) -> None:
    monkeypatch.setattr(loggers, "SECONDS_BETWEEN_CHECKPOINTS", 0.0)
    monkeypatch.setattr(loggers, "SECONDS_BETWEEN_EPOCHS_SAVED", 0.0)


def test_killed_runs_end_as_if_nothing_had_happened(tmp_path, digits, scale: int, every_block):
    """SIGKILL at random moments, several times a run."""
    rng = random.Random(scale)
    straight = trained(tmp_path / "straight", digits, RECIPE, network=NETWORK)
    expected, weights = outcome(straight), states(straight)
    kills = 0
    while kills < 20 * scale:
        folder = trained(
            tmp_path / f"{kills}", digits, RECIPE, until=rng.randrange(1, 40), network=NETWORK
        )
        for _ in range(rng.randrange(1, 4)):
            command = [sys.executable, "-c", TRAIN, "train", "numpy", "--resume", str(folder)]
            with subprocess.Popen(
                command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
            ) as process:
                # From the moment at which it writes on: before that a kill changes nothing.
                before = (folder / "last" / "state.safetensors").stat().st_mtime_ns
                while (
                    process.poll() is None
                    and (folder / "last" / "state.safetensors").stat().st_mtime_ns == before
                ):
                    time.sleep(0.001)
                time.sleep(rng.random() * 0.3)
                killed = process.poll() is None
                process.kill()
                assert "Traceback" not in process.communicate()[1]
            kills += killed
            for name in ("last", "best"):
                if (folder / name / "state.safetensors").exists():
                    checkpoint.load_state(folder / name / "state.safetensors")
            if not killed:
                break
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0 or "this run is finished" in done.stderr, done.stderr
        assert outcome(folder) == expected
        assert states(folder) == weights
        check_log(folder, 6)
        assert not [path for path in folder.rglob(".*") if path.name != ".lock"]


@pytest.fixture(scope="module")
def young(tmp_path_factory, digits) -> Path:
    """A run that was stopped in its fourth epoch."""
    return trained(tmp_path_factory.mktemp("young"), digits, RECIPE, until=73, network=NETWORK)


@pytest.fixture(scope="module")
def expected(tmp_path_factory, digits) -> dict:
    """What it comes to when nothing is damaged."""
    return outcome(trained(tmp_path_factory.mktemp("expected"), digits, RECIPE, network=NETWORK))


@pytest.mark.parametrize("name", ["last", "best"])
@pytest.mark.parametrize("change", [damage.flipped, damage.cut])
def test_damaged_states_are_refused(
    driver, tmp_path, young, mutants: int, name: str, change: Callable
):
    """In training; and of the last, in showing the run."""
    rng = random.Random(f"{name} {change}")
    folder = tmp_path / "run"
    shutil.copytree(young, folder)
    path = folder / name / "state.safetensors"
    whole = path.read_bytes()
    header = 8 + int.from_bytes(whole[:8], "little")
    for _ in range(mutants // 2):
        # Half of the damage is in the metadata, which is a small part of the file.
        part = change(whole[:header], rng) + (whole[header:] if change is damage.flipped else b"")
        path.write_bytes(part if rng.random() < 0.5 else change(whole, rng))
        for command in (("show", str(folder)), ("train", "numpy", "--resume", str(folder))):
            assert str(path) in (driver.refused(*command) or "")


def test_forged_states_are_refused_or_trained(driver, tmp_path, young, mutants: int):
    """Metadata changed at one place, with a digest that is right: whatever comes of it, no
    traceback and no gigabytes.
    """
    rng = random.Random(5)
    refused = 0
    for number in range(mutants):
        folder = tmp_path / "run"
        shutil.copytree(young, folder)
        path = folder / ("best" if number % 5 == 0 else "last") / "state.safetensors"
        path.write_bytes(
            damage.forged_state(path.read_bytes(), lambda about: damage.changed(about, rng))
        )
        driver.refused("show", str(folder))
        recipe = damage.about_of((folder / "last" / "state.safetensors").read_bytes()).get("recipe")
        if isinstance(recipe, dict) and recipe.get("epochs") in (2**63, 10**12, 10**400):
            shutil.rmtree(folder)
            continue  # that is a valid recipe, and would train for ever
        refused += driver.refused("train", "numpy", "--resume", str(folder)) is not None
        shutil.rmtree(folder)
    assert refused > mutants // 2


@pytest.mark.parametrize("change", [damage.flipped, damage.cut])
def test_a_damaged_log_changes_nothing(
    driver, tmp_path, young, expected, mutants: int, change: Callable
):
    rng = random.Random(f"{change}")
    for _ in range(mutants // 4):
        folder = tmp_path / "run"
        shutil.copytree(young, folder)
        log = folder / "events.jsonl"
        log.write_bytes(change(log.read_bytes(), rng))
        table = folder / "history.csv"
        table.write_bytes(change(table.read_bytes(), rng))
        assert driver.refused("train", "numpy", "--resume", str(folder)) is None
        assert outcome(folder) == expected
        shutil.rmtree(folder)


def test_forged_logs_change_nothing(driver, tmp_path, young, expected, mutants: int):
    rng = random.Random(7)
    for _ in range(mutants // 2):
        folder = tmp_path / "run"
        shutil.copytree(young, folder)
        log = folder / "events.jsonl"
        events = [json.loads(line) for line in log.read_text().splitlines()]
        for _ in range(3):
            damage.changed(rng.choice(events) or {"": 0}, rng)
        log.write_text("".join(json.dumps(event) + "\n" for event in events))
        assert driver.refused("train", "numpy", "--resume", str(folder)) is None
        assert outcome(folder) == expected
        shutil.rmtree(folder)


@pytest.fixture(scope="module")
def compared(tmp_path_factory) -> Path:
    """The run folder of a small comparison."""
    pytest.importorskip("torch")
    cwd = tmp_path_factory.mktemp("compared")
    options = (
        "--data",
        "digits",
        "--engines",
        "numpy,torch",
        "--hidden",
        "4",
        "--batch-size",
        "256",
        "--epochs",
        "2",
        "--wait",
        "0",
    )
    done = run("compare", *options, cwd=cwd)
    folder = next((cwd / "runs").iterdir())
    assert (folder / "report.html").exists(), done.stderr
    return folder


def drawn(folder: Path) -> str:
    """The report without its pictures of the units, and without the data of the curves."""
    page = (folder / "report.html").read_text()
    return re.sub(r"<script.*?</script>", "", page, flags=re.DOTALL)


def test_damaged_results_are_refused(driver, tmp_path, compared, young, mutants: int):
    rng = random.Random(11)
    finished = tmp_path / "finished"
    shutil.copytree(young, finished)
    assert driver.refused("train", "numpy", "--resume", str(finished)) is None
    for source, commands in ((compared, ("show", "report")), (finished, ("show",))):
        folder = tmp_path / "run"
        shutil.copytree(source, folder)
        path = folder / "results.json"
        whole = path.read_bytes()
        for number in range(mutants // 2):
            path.write_bytes((damage.cut if number % 4 == 0 else damage.flipped)(whole, rng))
            for command in commands:
                assert str(path) in (driver.refused(command, str(folder)) or "")
        shutil.rmtree(folder)


def test_forged_results_are_refused_or_shown(driver, tmp_path, compared, young, mutants: int):
    rng = random.Random(13)
    finished = tmp_path / "finished"
    shutil.copytree(young, finished)
    assert driver.refused("train", "numpy", "--resume", str(finished)) is None
    for source in (compared, finished):
        folder = tmp_path / "run"
        shutil.copytree(source, folder)
        path = folder / "results.json"
        whole = path.read_bytes()
        for _ in range(mutants // 2):
            path.write_bytes(
                damage.forged_results(whole, lambda results: damage.changed(results, rng))
            )
            driver.refused("show", str(folder))
            driver.refused("report", str(folder))
            assert not [
                place for place in tmp_path.iterdir() if place.name not in ("finished", "run")
            ]
        shutil.rmtree(folder)


def test_a_report_of_a_damaged_log_says_so_and_keeps_its_figures(
    driver, tmp_path, compared, mutants: int
):
    rng = random.Random(17)
    folder = tmp_path / "run"
    shutil.copytree(compared, folder)
    assert driver.refused("report", str(folder)) is None
    expected = drawn(folder)
    log = folder / "events.jsonl"
    whole = log.read_bytes()
    told = 0
    for number in range(mutants // 4):
        log.write_bytes((damage.cut if number % 4 == 0 else damage.flipped)(whole, rng))
        status, said, errors = driver.run("report", str(folder))
        assert status == 0, errors
        assert str(folder / "report.html") in said
        told += "left out of the curves" in errors
        if number % 4:
            assert drawn(folder) == expected
    assert told


def test_a_report_of_a_damaged_state_is_refused(driver, tmp_path, compared, scale: int):
    rng = random.Random(23)
    folder = tmp_path / "run"
    shutil.copytree(compared, folder)
    path = folder / "torch" / "state.safetensors"
    whole = path.read_bytes()
    for number in range(10 * scale):
        path.write_bytes((damage.cut if number % 4 == 0 else damage.flipped)(whole, rng))
        assert str(path) in (driver.refused("report", str(folder)) or "")
    path.unlink()
    assert (
        driver.refused("report", str(folder)) is None
    )  # without it there are no pictures of its units


def test_forged_networks_and_recipes_are_refused_or_shown(driver, tmp_path, mutants: int):
    rng = random.Random(19)
    sources = [
        ("--network", zoo.get(name).to_json()) for name in ("regularized", "lenet-bn", "resnet20")
    ]
    sources += [("--recipe", RECIPE.to_json()), ("--recipe", zoo.recipe("fast"))]
    for number in range(mutants):
        option, content = sources[number % len(sources)]
        text = json.dumps(content)
        path = tmp_path / "file.json"
        if number % 3:
            mutant = json.loads(text)
            damage.changed(mutant, rng)
            path.write_text(json.dumps(mutant))
        else:
            path.write_bytes((damage.cut if number % 2 else damage.flipped)(text.encode(), rng))
        driver.refused("show", option, str(path))
