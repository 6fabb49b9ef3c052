"""Workers in processes of their own: what they compute, where they listen, and how they end."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest
from support.engines import loaded_engine, needs_torch
from support.splits import random_split

from triptych import search_path
from triptych.core import state
from triptych.core.planner import BatchPlanner
from triptych.core.selection import EngineSpec
from triptych.errors import EngineError
from triptych.process.machine import LOOPBACK
from triptych.scale.group import WorkerGroup
from triptych.spec import zoo
from triptych.spec.optimizers import optimizer
from triptych.spec.recipe import Recipe

pytestmark = [pytest.mark.process, pytest.mark.framework, needs_torch]

NETWORK = zoo.dense("n", [6], 0.2, shape=(4, 4, 1), classes=3)
RECIPE = Recipe(2, 12, optimizer("momentum"), dtype="float64")
SAMPLES = 25  # two batches of 12, and one sample, which only the first worker has
NUMPY = EngineSpec("numpy", "eager")
SECONDS_TO_END = 30


def planner() -> BatchPlanner:
    return BatchPlanner(NETWORK, RECIPE, SAMPLES, 4)


def ended(pids: list[int]) -> bool:
    """Whether all processes end in time."""
    limit = time.monotonic() + SECONDS_TO_END
    while any(_runs(pid) for pid in pids) and time.monotonic() < limit:
        time.sleep(0.1)
    return not any(_runs(pid) for pid in pids)


def _runs(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.fixture(scope="module")
def split():
    return random_split(SAMPLES, (4, 4, 1), classes=3)


def test_three_processes_compute_what_one_does(split):
    single = loaded_engine("numpy", NETWORK, RECIPE)
    data = single.upload(split)
    with WorkerGroup(NUMPY, 3) as group:
        group.start()
        engine = group.build("float64", NETWORK, RECIPE)
        engine.load(state.initial(NETWORK, RECIPE))
        shared = engine.upload(split)
        for plan in planner().plans():
            single.run(data, plan)
            engine.run(shared, plan)
        assert engine.wait() == pytest.approx(single.wait(), rel=1e-13)
        assert len(set(engine.digests())) == 1
        found = engine.state()
        for key, array in single.state().items():
            np.testing.assert_allclose(found[key], array, rtol=1e-12, atol=1e-13, err_msg=key)
        assert np.allclose(engine.logits(shared), single.logits(data), rtol=0, atol=1e-12)
        pids = [remote.pid for remote in group.remotes]
        sockets = [each for pid in pids for each in psutil.Process(pid).net_connections("inet")]
    assert sockets
    addresses = {end.ip for each in sockets for end in (each.laddr, each.raddr) if end}
    assert addresses == {LOOPBACK}
    assert ended(pids)


def test_one_worker_needs_no_other(split):
    """It is the same mechanism without a sum; PyTorch is not imported."""
    with WorkerGroup(NUMPY, 1) as group:
        group.start()
        engine = group.build("float64", NETWORK, RECIPE)
        engine.load(state.initial(NETWORK, RECIPE))
        engine.run(engine.upload(split), next(planner().plans()))
        (remote,) = group.remotes
        mapped = {each.path for each in psutil.Process(remote.pid).memory_maps()}
    assert not [path for path in mapped if "libtorch" in path]


@pytest.fixture
def running(split):
    """A group of three with an engine and its data."""
    with WorkerGroup(NUMPY, 3) as group:
        group.start()
        engine = group.build("float64", NETWORK, RECIPE)
        engine.load(state.initial(NETWORK, RECIPE))
        yield group, engine, engine.upload(split)
    assert ended([remote.pid for remote in group.remotes])


def test_a_killed_worker_ends_all_with_one_line(running):
    group, engine, data = running
    psutil.Process(group.remotes[1].pid).send_signal(signal.SIGKILL)
    with pytest.raises(EngineError) as caught:
        engine.run(data, next(planner().plans()))
    expected = "worker 2 of 3: the NumPy worker ended with status -9: "
    assert str(caught.value).startswith(expected)
    assert ended([remote.pid for remote in group.remotes])


def test_the_error_of_one_worker_is_the_one_that_is_told(running):
    """The others wait for its gradients, and would only tell that they did not come."""
    group, engine, data = running
    plan = next(planner().plans())
    wrong = replace(plan, indices=plan.indices + SAMPLES + 7)

    def run(rank, remote):
        engine.engines[rank].run(data, wrong if rank == 2 else plan)

    with pytest.raises(EngineError, match=r"^worker 3 of 3: IndexError: index \d+"):
        group.each(run)
    assert ended([remote.pid for remote in group.remotes])


PARENT = """
import sys, threading, time
sys.path[:0] = {paths!r}
from scale.test_group import *
group = WorkerGroup(NUMPY, 3)
group.start()
engine = group.build("float64", NETWORK, RECIPE)
data = engine.upload(random_split(SAMPLES, (4, 4, 1), classes=3))
plan = next(planner().plans())
# The first worker waits for the parts of the others, which have nothing to do.
threading.Thread(target=engine.engines[0].run, args=(data, plan), daemon=True).start()
time.sleep(1)
print(*(remote.pid for remote in group.remotes), flush=True)
time.sleep(600)
"""


@pytest.mark.slow
def test_workers_end_with_their_parent_also_while_they_wait():
    tests = str(Path(__file__).parents[1])
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT.format(paths=[tests])],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **search_path.for_children()},
    )
    assert parent.stdout
    pids = [int(pid) for pid in parent.stdout.readline().split()]
    assert len(pids) == 3
    assert all(map(_runs, pids))
    parent.kill()
    parent.wait()
    parent.stdout.close()
    assert ended(pids)


def test_without_pytorch_several_workers_are_refused(monkeypatch, tmp_path):
    from triptych.scale.all_reduce import ProcessGroup

    monkeypatch.setitem(sys.modules, "torch.distributed", None)
    with pytest.raises(EngineError, match=r"add their gradients with PyTorch: pip install torch$"):
        ProcessGroup(0, 2, tmp_path / "rendezvous")
