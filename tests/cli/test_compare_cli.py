"""The whole main job, as a user runs it: real processes, real data, real files."""

import json
import os
import shutil
import signal
import subprocess
from pathlib import Path

import numpy as np
import psutil
import pytest
from support.commands import NO_WAIT, ROOT, run, run_python, start, wait_for_step, wait_until
from support.engines import ALL_INSTALLED, loaded_engine, needs_all, needs_torch

from triptych.core import registry
from triptych.core.planner import BatchPlanner
from triptych.core.selection import specs
from triptych.process.pool import Workers
from triptych.training import checkpoint, run_folder

pytestmark = pytest.mark.process

ROWS = {spec.key: spec.label for spec in specs()}  # of a comparison that is asked for none


def compare(*arguments: str, cwd: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run ``triptych compare``, which shall not wait for a calm machine."""
    return run("compare", *arguments, *NO_WAIT, cwd=cwd, **variables)


def hide(folder: Path, *modules: str) -> None:
    """Let Python, started with this folder on its path, find no module of these names."""
    (folder / "sitecustomize.py").write_text(
        "import importlib.util as u\nreal = u.find_spec\nu.find_spec = lambda name, *a: None if "
        f"name in {modules!r} else real(name, *a)\n"
    )


@pytest.fixture(scope="module")
def compared(tmp_path_factory) -> tuple[Path, str]:
    """One default comparison on digits, shortened to 60 steps, through the launcher at the root."""
    if not ALL_INSTALLED:
        pytest.skip("PyTorch and TensorFlow are not both installed")
    cwd = tmp_path_factory.mktemp("compare")
    launcher = str(ROOT / "compare_all_implementations.py")
    done = run_python(launcher, "--epochs", "60", *NO_WAIT, cwd=cwd, COLUMNS="80")
    assert done.returncode == 0, done.stdout + done.stderr
    return next((cwd / "runs").iterdir()), done.stdout


def test_the_first_line_says_which_data_and_how_to_get_mnist(compared):
    first = compared[1].splitlines()[0]
    assert first.startswith("Data: digits, 1,617 training and 180 test images of 28×28, 10 classes")
    assert first.endswith("triptych data fetch mnist")


def test_the_three_are_proved_equal_and_the_verdict_says_so(compared):
    assert f"Proved equal: {', '.join(ROWS.values())}" in compared[1].replace("\n", " ")
    results = run_folder.read_results(compared[0])
    rows = results["runs"][0]["rows"]
    assert list(rows) == list(ROWS)
    for row in rows.values():
        assert row["proved"]
        assert row["float64"]["largest"] <= 1e-11
        assert row["float64"]["steps"] == 50
        assert row["blocks"]["divergence"] is None
        assert row["float32"]["verdict"] == "rounding"
        assert row["step"]["rounds"] >= 1
        assert row["step"]["low"] <= row["step"]["median"] <= row["step"]["high"]
        assert row["ratio"]["median"] > 0
        assert row["peak_bytes"] > 20e6
        assert set(row["seconds"]) == {"import", "build", "transfer", "first_step"}
        assert row["accuracy"]["low"] < row["accuracy"]["value"] < row["accuracy"]["high"]
        assert np.sum(row["confusion"]) == 180
        assert row["differing_predictions"] <= 1
    assert (
        rows["numpy"]["seconds"]["import"] > 0.01
    )  # measured, before anything of ours brought NumPy in
    result = results["runs"][0]
    assert result["rounds"]["timed"] >= 15
    assert 0 <= result["rounds"]["calm"] <= result["rounds"]["timed"]
    if result["busy"]:  # this machine may be busy
        assert result["fastest"] is None
        assert any(result["busy"] in note for note in result["notes"])
        assert "because the machine was busy" in compared[1]


def test_the_events_tell_the_whole_run(compared):
    events = run_folder.read_events(compared[0])
    types = [event["type"] for event in events]
    assert types[0] == "machine"
    assert types[-1] == "result"
    assert next(e for e in events if e["type"] == "start")["same"] is True
    for key in ROWS:
        mine = [e for e in events if e["type"] == "block" and e["row"] == key]
        assert sum(e["steps"] for e in mine if e["training"]) == 60
        assert mine[0]["warm"]
    rounds = [e for e in events if e["type"] == "round"]
    assert [e["round"] for e in rounds] == list(range(len(rounds)))
    assert all(0 <= e["others"] <= 2 for e in rounds)
    walked = [
        (e["what"], e["done"], e["steps"])
        for e in events
        if e["type"] == "walking" and e["row"] == "torch"
    ]
    assert walked == [
        *(("float64", n, 50) for n in range(51)),
        *(("float32", n, 16) for n in range(1, 17)),
    ]
    orders = {
        tuple(e["row"] for e in events if e["type"] == "block" and e["round"] == n)
        for n in range(6)
    }
    assert len(orders) == len(ROWS), "the order of the rows must rotate"
    by_round = [
        {e["row"] for e in events if e["type"] == "block" and e["round"] == n} for n in range(6)
    ]
    assert all(found == set(ROWS) for found in by_round)


def test_the_same_losses_in_every_engine(compared):
    events = run_folder.read_events(compared[0])
    losses = {
        key: [
            x
            for e in events
            if e["type"] == "block" and e["row"] == key and e["training"]
            for x in e["losses"]
        ]
        for key in ROWS
    }
    assert losses["numpy"][0] > losses["numpy"][-1]
    assert all(np.allclose(losses["numpy"], found, rtol=1e-5) for found in losses.values())


def test_the_states_are_those_of_the_run(compared, digits):
    """NumPy's file is what the NumPy engine reaches by itself, to the bit: nothing of the timing
    rounds is in it.
    """
    found, network, recipe, provenance = checkpoint.load_state(
        compared[0] / "numpy" / "state.safetensors"
    )
    assert provenance["source"] == "digits"
    assert provenance["data"]["train_sha256"] == digits.train.digest
    engine = loaded_engine("numpy", network, recipe)
    data = engine.upload(digits.train)
    for plan in BatchPlanner(network, recipe, len(digits.train)).plans():
        engine.run(data, plan)
    reached = engine.state()
    assert list(found) == list(reached)
    for name, array in found.items():
        assert np.array_equal(reached[name], array), name


def test_tensorboard_sees_three_overlaid_runs(compared):
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    for key in ROWS:
        seen = reader.EventAccumulator(str(compared[0] / key), size_guidance={"scalars": 0})
        seen.Reload()
        assert {"loss", "accuracy", "ms_per_step"} <= set(seen.Tags()["scalars"])
        assert [e.step for e in seen.Scalars("loss")] == list(range(1, 61))


def test_figures_and_the_report_are_there_and_small(compared):
    folder = compared[0]
    for name in ("loss", "accuracy", "difference", "step-time"):
        assert (folder / f"{name}.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    page = (folder / "report.html").read_text()
    assert len(page.encode()) < 500_000
    assert "http://" not in page.replace("http://www.w3.org/2000/svg", "")
    assert "https://" not in page
    assert "engines are equal" in page
    assert "original" not in page  # this is another job than the original's
    assert "Misclassified test images" in page
    assert str(ROOT) not in page
    (folder / "report.html").unlink()
    again = run("report", str(folder), cwd=folder)
    assert again.returncode == 0, again.stderr
    assert (folder / "report.html").exists()


@needs_all
@pytest.mark.slow
def test_an_engine_that_follows_another_formula_gets_no_ratio(tmp_path):
    """A copy of the package with one mistake in PyTorch's update, and nothing else changed."""
    shutil.copytree(
        ROOT / "triptych", tmp_path / "triptych", ignore=shutil.ignore_patterns("__pycache__")
    )
    path = tmp_path / "triptych" / "engines" / "torch" / "optimizers.py"
    source = path.read_text()
    assert 'group["lr"] = rate' in source
    path.write_text(source.replace('group["lr"] = rate', 'group["lr"] = 1.001 * rate'))
    options = ["--epochs", "5", "--engines", "torch"]
    done = compare(*options, cwd=tmp_path, PYTHONPATH=str(tmp_path))
    assert done.returncode == 1, done.stdout + done.stderr
    assert "no ratio without proof of equality" in done.stdout
    assert (
        "differs in float64 at step 1: update, layer hidden: hidden/kernel"
        in done.stdout.replace("\n", " ")
    )
    assert "withheld" in done.stdout
    row = run_folder.read_results(next((tmp_path / "runs").iterdir()))["runs"][0]["rows"]["torch"]
    assert (row["proved"], row["ratio"]) == (False, None)
    proof = run(
        "verify", "--steps", "5", "--engines", "torch", cwd=tmp_path, PYTHONPATH=str(tmp_path)
    )
    assert proof.returncode == 1
    assert "classic sgd, PyTorch, step 1: update, layer hidden: hidden/kernel[" in proof.stdout
    assert "the reference has" in proof.stdout


def without_frameworks(cwd: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    hide(cwd, "numba", "torch", "tensorflow", "jax")
    return compare("--epochs", "5", *arguments, cwd=cwd, PYTHONPATH=f"{cwd}{os.pathsep}{ROOT}")


@pytest.mark.parametrize(
    "engines_asked", [(), pytest.param(("--engines", "numpy"), marks=pytest.mark.slow)]
)
def test_without_any_framework_numpy_is_trained_and_timed_alone(tmp_path, engines_asked):
    done = without_frameworks(tmp_path, *engines_asked)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Nothing to compare with: NumPy was trained and timed alone." in done.stdout
    for name in ("numba", "torch", "tensorflow", "jax"):
        assert f"pip install 'triptych[{name}]'" in done.stdout
    for column in ("float64", "NumPy = 1", "weights apart"):
        assert f" {column} " not in done.stdout
    (folder,) = (tmp_path / "runs").iterdir()
    assert (folder / "numpy" / "state.safetensors").exists()
    assert (folder / "report.html").exists()
    result = run_folder.read_results(folder)["runs"][0]
    ran = [row for row in result["rows"].values() if not row["failed"]]
    assert [row["engine"] for row in ran] == ["numpy"]
    assert ran[0]["step"]["median"] > 0
    assert ran[0]["accuracy"]["of"] == 180
    assert ran[0]["blocks"]["divergence"] is None
    assert result["fastest"] is None


def test_engines_that_were_asked_for_and_are_missing_are_a_mistake(tmp_path):
    done = without_frameworks(tmp_path, "--engines", "torch,tensorflow")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "PyTorch is not installed: pip install 'triptych[torch]'" in done.stderr
    assert "TensorFlow is not installed: pip install 'triptych[tensorflow]'" in done.stderr
    assert not (tmp_path / "runs").exists()


def test_a_comparison_that_cannot_begin_leaves_no_folder(tmp_path):
    done = compare("--engines", "torch", "--device", "mps", "--epochs", "2", cwd=tmp_path)
    assert done.returncode == 2, done.stdout
    assert "no engine except NumPy could run" in done.stderr or "not installed" in done.stderr
    assert not list(tmp_path.glob("runs/*"))


@needs_torch
@pytest.mark.slow
def test_the_loss_is_chosen_by_name(tmp_path):
    options = ("--loss", "mse", "--epochs", "5", "--engines", "torch")
    done = compare(*options, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    results = run_folder.read_results(next((tmp_path / "runs").iterdir()))
    assert results["recipe"]["loss"]["name"] == "mean_squared_error"
    assert results["runs"][0]["rows"]["torch"]["proved"]
    verified = run("verify", "--loss", "mse", "--steps", "5", "--engines", "torch", cwd=tmp_path)
    assert verified.returncode == 0, verified.stdout + verified.stderr
    assert "The row is equal" in verified.stdout


@needs_all
@pytest.mark.slow
@pytest.mark.parametrize("missing", [("torch",), ("numba", "tensorflow")])
def test_missing_frameworks_leave_the_others_compared(missing: tuple[str, ...], tmp_path: Path):
    hide(tmp_path, *missing)
    done = compare("--epochs", "5", cwd=tmp_path, PYTHONPATH=f"{tmp_path}{os.pathsep}{ROOT}")
    assert done.returncode == 0, done.stdout + done.stderr
    shown = " ".join(done.stdout.split())
    for name in missing:
        entry = registry.entry(name)
        assert f"{entry.label} is not installed: {entry.install}" in shown
    others = ", ".join(label for name, label in ROWS.items() if name not in missing)
    assert f"Proved equal: {others} (float64" in shown


def test_workers_begin_by_themselves_and_end_with_whoever_began_them():
    rows, own = specs([]), psutil.Process()
    before = set(own.children())
    with Workers(rows, 1, "cpu"):  # while the data is read: a mistake in it ends them
        wait_until(lambda: set(own.children()) - before)
    assert set(own.children()) == before
    with Workers(rows, 1, "cpu") as workers:
        remote, seconds = workers.take(rows[0])
    assert seconds > 0
    assert remote.ask("memory")[0]["peak_bytes"] > 1e6  # it is its taker's, and goes on
    remote.close()
    assert set(own.children()) == before


@needs_all
@pytest.mark.slow
def test_ctrl_c_leaves_things_whole_and_no_process_behind(tmp_path):
    process = start("compare", "--engines", "torch", *NO_WAIT, "--epochs", "100000", cwd=tmp_path)
    wait_for_step(tmp_path)
    workers = psutil.Process(process.pid).children(recursive=True)
    assert len(workers) == 3  # a process for each row, and the witness
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "stopped" in said
    assert "Traceback" not in said
    _, alive = psutil.wait_procs(workers, timeout=10)
    assert not alive
    folder = next((tmp_path / "runs").iterdir())
    for line in (folder / "events.jsonl").read_text().splitlines():
        json.loads(line)
    assert not (folder / "results.json").exists()


@needs_all
@pytest.mark.slow
def test_a_worker_that_dies_takes_only_its_row_out(tmp_path):
    process = start("compare", "--engines", "torch", *NO_WAIT, "--epochs", "500", cwd=tmp_path)
    wait_for_step(tmp_path)
    torch = next(p for p in psutil.Process(process.pid).children() if "torch" in p.cmdline())
    torch.kill()
    said, errors = process.communicate(timeout=200)
    assert process.returncode == 1, said + errors  # NumPy alone is left: nothing was compared
    assert "Traceback" not in errors
    assert "PyTorch is not in the table: the PyTorch worker ended with status -9" in said.replace(
        "\n", " "
    )
    row = run_folder.read_results(next((tmp_path / "runs").iterdir()))["runs"][0]["rows"]["torch"]
    assert "status -9" in row["failed"]


@needs_all
@pytest.mark.slow
def test_a_training_that_diverges_is_reported_and_not_judged(tmp_path):
    done = compare("--engines", "torch", "--epochs", "5", "--rate", "1e30", cwd=tmp_path)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "nothing to judge by" in done.stdout
    folder = next((tmp_path / "runs").iterdir())
    assert "NaN" not in (folder / "results.json").read_text()
    assert (folder / "report.html").exists()


@needs_all
@pytest.mark.slow
def test_over_seeds_there_is_a_spread(tmp_path):
    done = compare("--engines", "torch", "--epochs", "3", "--seeds", "2", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 seeds" in done.stdout
    assert "NumPy = 1: median over seeds of each seed's own ratio" in done.stdout
    folder = next((tmp_path / "runs").iterdir())
    results = run_folder.read_results(folder)
    assert [result["seed"] for result in results["runs"]] == [0, 1]
    assert len(results["spread"]["torch"]["accuracies"]) == 2
    assert (folder / "seed-1" / "torch" / "state.safetensors").exists()
    assert "Over 2 seeds" in (folder / "report.html").read_text()


@pytest.mark.slow
@needs_all
@pytest.mark.skipif(not shutil.which("g++"), reason="torch.compile needs g++")
def test_all_backends_are_rows_of_their_own(tmp_path):
    done = compare(
        *(
            "--hidden",
            "16,8",
            "--dropout",
            "0.2",
            "--batch-size",
            "77",  # of 1,617 images: all batches have one size, so that nothing is compiled twice
            "--optimizer",
            "adam",
            "--epochs",
            "1",
        ),
        *("--backends", "all"),
        cwd=tmp_path,
    )
    rows = run_folder.read_results(next((tmp_path / "runs").iterdir()))["runs"][0]["rows"]
    assert list(rows) == [spec.key for spec in specs(all_backends=True)]
    assert not any(
        row["failed"] or row["float64"]["divergence"] or row["blocks"]["divergence"]
        for row in rows.values()
    )
    found = {key: row["float32"]["verdict"] for key, row in rows.items()}
    assert found == dict.fromkeys(rows, "rounding") | {"torch-bf16": "precision"}
    assert {key for key, row in rows.items() if not (row["proved"] and row["ratio"])} == {
        "torch-bf16"
    }
    assert (
        "PyTorch bf16: no ratio without proof of equality. It computes in reduced precision"
        in done.stdout.replace("\n", " ")
    )
    assert done.returncode == 0, done.stdout + done.stderr  # it never promised more


@needs_all
@pytest.mark.slow
def test_a_row_whose_compiler_is_missing_says_so(tmp_path):
    done = compare(
        "--engines",
        "torch,torch/compiled",
        "--epochs",
        "3",
        cwd=tmp_path,
        CXX="/nonexistent/c++",
        TORCHINDUCTOR_CACHE_DIR=str(tmp_path / "cache"),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "PyTorch compiled is not in the table" in done.stdout
    assert "InvalidCxxCompiler" in done.stdout or "C++" in done.stdout


@needs_all
@pytest.mark.slow
def test_free_randomness_runs_and_says_what_it_proved(tmp_path):
    done = compare(
        *(
            "--engines",
            "torch",
            "--hidden",
            "8",
            "--dropout",
            "0.3",
            "--batch-size",
            "128",
            "--epochs",
            "2",
            "--random",
            "free",
        ),
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert (
        run_folder.read_results(next((tmp_path / "runs").iterdir()))["recipe"]["random"] == "free"
    )
