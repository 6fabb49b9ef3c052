"""Kills at random moments: no process is left behind, and no traceback is printed."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

import triptych
from triptych.core import registry
from triptych.training import run_folder

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not registry.entry("torch").installed, reason="PyTorch is not installed"),
    pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals"),
]

ROOT = Path(triptych.__file__).parents[1]
COMPARE = (
    "compare",
    "--data",
    "digits",
    "--hidden",
    "4",
    "--batch-size",
    "64",
    "--engines",
    "numpy,torch",
)


def started(cwd: Path, epochs: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "triptych", *COMPARE, "--epochs", str(epochs)],
        cwd=cwd,
        env=os.environ | {"PYTHONPATH": str(ROOT), "TRIPTYCH_DATA": str(cwd)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def family(process: subprocess.Popen[str]) -> list[psutil.Process]:
    try:
        return psutil.Process(process.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def wait_for_block(cwd: Path) -> None:
    end = time.monotonic() + 200
    while time.monotonic() < end:
        for log in cwd.glob("runs/*/events.jsonl"):
            if any(event["type"] == "block" for event in run_folder.read_events(log.parent)):
                return
        time.sleep(0.1)
    raise AssertionError("no block was timed in time")


def assert_none_left(processes: list[psutil.Process]) -> None:
    _, alive = psutil.wait_procs(processes, timeout=10)
    assert alive == []


def test_ctrl_c_at_any_moment(tmp_path, scale: int):
    drawn = random.Random(0)
    for number in range(20 * scale):
        cwd = tmp_path / str(number)
        cwd.mkdir()
        process = started(cwd, epochs=100_000)
        end = time.monotonic() + 0.3 + drawn.random() * 12  # from the import of typer to the rounds
        seen: set[psutil.Process] = set()
        while time.monotonic() < end and process.poll() is None:
            seen |= set(family(process))
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 130, errors
        assert "Traceback" not in errors
        assert_none_left(list(seen))


@pytest.mark.parametrize("name", ["SIGKILL", "SIGTERM", "SIGHUP"])
def test_the_coordinator_is_killed(tmp_path, name: str):
    process = started(tmp_path, epochs=100_000)
    wait_for_block(tmp_path)
    workers = family(process)
    assert len(workers) == 3  # a process for each row, and the witness
    process.send_signal(getattr(signal, name))
    process.communicate(timeout=60)
    assert_none_left(workers)


@pytest.mark.parametrize(("which", "status"), [("torch", 1), ("numpy", 2)])
def test_a_worker_is_killed(tmp_path, which: str, status: int):
    """NumPy's workers are the reference and the witness: without either there is nothing to compare with."""
    process = started(tmp_path, epochs=3_000)
    wait_for_block(tmp_path)
    workers = family(process)
    next(worker for worker in workers if which in worker.cmdline()).kill()
    said, errors = process.communicate(timeout=300)
    assert process.returncode == status, said + errors
    assert "Traceback" not in errors
    assert "ended with status -9" in said + errors
    assert_none_left(workers)


def test_a_frozen_worker_and_ctrl_c(tmp_path):
    process = started(tmp_path, epochs=100_000)
    wait_for_block(tmp_path)
    workers = family(process)
    frozen = next(worker for worker in workers if "torch" in worker.cmdline())
    frozen.suspend()
    time.sleep(1)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "Traceback" not in errors
    assert_none_left(workers)
