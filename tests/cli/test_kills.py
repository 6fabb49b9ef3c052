"""Kills at random moments: no process is left behind, and no traceback is printed."""

import random
import signal
import subprocess
import sys
import time

import psutil
import pytest
from support.commands import start, wait_for_step
from support.engines import needs_torch

pytestmark = [
    pytest.mark.process,
    pytest.mark.slow,
    needs_torch,
    pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals"),
]

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


def family(process: subprocess.Popen[str]) -> list[psutil.Process]:
    try:
        return psutil.Process(process.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def assert_none_left(processes: list[psutil.Process]) -> None:
    _, alive = psutil.wait_procs(processes, timeout=10)
    assert alive == []


def test_ctrl_c_at_any_moment(tmp_path, scale: int):
    drawn = random.Random(0)
    for number in range(8 * scale):
        cwd = tmp_path / str(number)
        cwd.mkdir()
        process = start(*COMPARE, "--epochs", "100000", cwd=cwd)
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
    process = start(*COMPARE, "--epochs", "100000", cwd=tmp_path)
    wait_for_step(tmp_path)
    workers = family(process)
    assert len(workers) == 3  # a process for each row, and the witness
    process.send_signal(getattr(signal, name))
    process.communicate(timeout=60)
    assert_none_left(workers)


@pytest.mark.parametrize(("which", "status"), [("torch", 1), ("numpy", 2)])
def test_a_worker_is_killed(tmp_path, which: str, status: int):
    """NumPy's workers are the reference and the witness: without either there is nothing to compare
    with.
    """
    process = start(*COMPARE, "--epochs", "1000", cwd=tmp_path)
    wait_for_step(tmp_path)
    workers = family(process)
    next(worker for worker in workers if which in worker.cmdline()).kill()
    said, errors = process.communicate(timeout=300)
    assert process.returncode == status, said + errors
    assert "Traceback" not in errors
    assert "ended with status -9" in said + errors
    assert_none_left(workers)


def test_a_frozen_worker_and_ctrl_c(tmp_path):
    process = start(*COMPARE, "--epochs", "100000", cwd=tmp_path)
    wait_for_step(tmp_path)
    workers = family(process)
    frozen = next(worker for worker in workers if "torch" in worker.cmdline())
    frozen.suspend()
    time.sleep(1)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "Traceback" not in errors
    assert_none_left(workers)
