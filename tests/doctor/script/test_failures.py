"""Scripts that cannot be compared: what is said, and that no process stays."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from support.engines import needs_torch

import triptych as tt
from triptych import search_path
from triptych.core import events
from triptych.doctor.script.launch import Server
from triptych.doctor.script.verification import Script, compare_with
from triptych.process.machine import LOOPBACK

pytestmark = [pytest.mark.process, pytest.mark.framework, pytest.mark.slow, needs_torch]

BEGIN = """
import os, sys, time
import torch, torch.distributed as dist
from torch import nn
dist.init_process_group("gloo")
rank, workers = dist.get_rank(), dist.get_world_size()
torch.manual_seed(0)
model = nn.parallel.DistributedDataParallel(nn.Linear(3, 2))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
"""
STEP = """
optimizer.zero_grad()
model(torch.ones(4 // workers, 3)).mean().backward()
optimizer.step()
"""
SECONDS_TO_END = 20


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server(1) as server:
        yield server


def failed(server: Server, folder: Path, text: str, workers: int = 2) -> events.ScriptFailed:
    path = folder / "train.py"
    path.write_text(text)
    *_, last = compare_with(server, Script(path, timeout=4), [workers])
    assert isinstance(last, events.ScriptFailed), last
    assert not running(server)
    return last


def running(server: Server) -> list[int]:
    """Return the processes of scripts that still run, some seconds later."""
    limit = time.monotonic() + SECONDS_TO_END
    while time.monotonic() < limit:
        left = psutil.Process(server.pid).children(recursive=True)
        if not left:
            return []
        time.sleep(0.1)
    return [each.pid for each in left]


def test_the_traceback_of_one_worker_is_that_of_the_script(server: Server, tmp_path: Path):
    text = BEGIN + STEP + 'if rank == 1:\n    raise ValueError("bad label")\n' + STEP
    event = failed(server, tmp_path, text)
    assert event.workers == 2
    assert event.why == "train.py, worker 2 of 2: ValueError: bad label"
    assert event.lines[0] == "Traceback (most recent call last):"
    assert event.lines[-1] == "ValueError: bad label"
    files = [line for line in event.lines if line.startswith("  File")]
    assert len(files) == 1
    assert "train.py" in files[0]


def test_an_error_with_one_process_ends_the_comparison(server: Server, tmp_path: Path):
    event = failed(server, tmp_path, "import argparse\nargparse.ArgumentParser().error('no data')")
    assert event.workers == 1
    assert event.why == "train.py, worker 1 of 1: it ended with exit status 2"
    assert event.lines[-1] == "train.py: error: no data"


def test_a_script_without_a_process_group(server: Server, tmp_path: Path):
    text = BEGIN.replace('dist.init_process_group("gloo")\n', "").replace(
        "dist.get_rank(), dist.get_world_size()", "0, 1"
    )
    text = text.replace("nn.parallel.DistributedDataParallel(nn.Linear(3, 2))", "nn.Linear(3, 2)")
    event = failed(server, tmp_path, text + STEP)
    assert event.workers == 2
    assert "it never called torch.distributed.init_process_group" in event.why


def test_a_script_without_an_update(server: Server, tmp_path: Path):
    event = failed(server, tmp_path, BEGIN)
    assert "it ended without an update of the weights (no model was trained)" in event.why


def test_a_script_that_starts_its_workers(server: Server, tmp_path: Path):
    text = "import torch.multiprocessing as mp\nmp.spawn(print, (1,), nprocs=2)"
    event = failed(server, tmp_path, text)
    assert "the script starts its workers itself" in event.lines[-1]


def test_an_optimizer_that_computes_the_loss_itself(server: Server, tmp_path: Path):
    text = BEGIN.replace("SGD(", "LBFGS(") + "optimizer.step(lambda: 0.0)"
    assert (
        "NotRecorded: LBFGS computes the loss several times" in failed(server, tmp_path, text).why
    )


def test_workers_that_wait_for_each_other(server: Server, tmp_path: Path):
    event = failed(server, tmp_path, BEGIN + STEP + "if rank == 1:\n    dist.barrier()\n" + STEP)
    assert "no worker made a step for 4 s; they have made 1, 1" in event.why
    assert "may wait for each other" in event.why


def test_a_script_that_sleeps(server: Server, tmp_path: Path):
    event = failed(server, tmp_path, "import time\nprint('at rest')\ntime.sleep(600)")
    assert "1 worker: it made no step for 4 s, after 0 steps" in event.why
    assert event.lines == ["at rest"]


def test_a_worker_that_ends_early(server: Server, tmp_path: Path):
    event = failed(server, tmp_path, BEGIN + STEP + "if rank == 1:\n    sys.exit()\n" + STEP)
    assert event.workers == 2
    assert "worker 1 of 2" in event.why


def test_a_worker_that_is_killed(server: Server, tmp_path: Path):
    text = BEGIN + STEP + "if rank == 1:\n    os.kill(os.getpid(), 9)\ntime.sleep(600)"
    event = failed(server, tmp_path, text.replace("sleep(600)", "sleep(600 * (workers - 1))"))
    assert event.why == "train.py, worker 2 of 2: it was ended by the signal SIGKILL"


def test_what_a_script_saves_is_kept_apart(server: Server, tmp_path: Path):
    path = tmp_path / "train.py"
    saved = tmp_path / "model.pt"
    save = f"torch.save(model.state_dict(), {str(saved)!r})\n"
    load = f"model.load_state_dict(torch.load({str(saved)!r}))\n"
    path.write_text(BEGIN + STEP + save + "dist.barrier()\n" + load + STEP)
    *_, last = compare_with(server, Script(path, timeout=20), [2])
    assert isinstance(last, events.ScriptCompared)
    assert not saved.exists()
    assert last.steps == 2


def test_only_loopback_is_listened_on(server: Server, tmp_path: Path):
    path = tmp_path / "train.py"
    path.write_text(BEGIN + STEP + "time.sleep(3)\n" + STEP)
    listening: set[str] = set()
    for _ in compare_with(server, Script(path, timeout=20), [2]):
        for child in psutil.Process(server.pid).children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                connections = child.net_connections()
                listening |= {each.laddr.ip for each in connections if each.status == "LISTEN"}
    assert listening == {LOOPBACK}


def test_nothing_stays_after_ctrl_c(tmp_path: Path):
    path = tmp_path / "train.py"
    path.write_text(
        BEGIN + f"print(1)\n{STEP}open({str(tmp_path / 'ready')!r}, 'w')\ntime.sleep(600)"
    )
    command = subprocess.Popen(
        [sys.executable, "-m", "triptych", "verify", "--script", str(path), "--workers", "2"],
        env={**os.environ, **search_path.for_children()},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    limit = time.monotonic() + 60
    while not (tmp_path / "ready").exists() and time.monotonic() < limit:
        time.sleep(0.1)
    children = psutil.Process(command.pid).children(recursive=True)
    assert len(children) == 2  # the server, and the script
    command.send_signal(signal.SIGINT)
    _, text = command.communicate(timeout=60)
    assert command.returncode == 130
    assert "stopped" in text
    _, alive = psutil.wait_procs(children, SECONDS_TO_END)
    assert not alive


def test_errors_before_anything_is_run(tmp_path: Path):
    with pytest.raises(tt.TriptychError, match=r"no\.py: no such file"):
        tt.verify_script(tmp_path / "no.py")
    path = tmp_path / "train.py"
    path.write_text("")
    with pytest.raises(tt.TriptychError, match=r"3 workers do not divide 64"):
        tt.verify_script(path, ["--batch={64/workers}"], workers=[2, 3])
