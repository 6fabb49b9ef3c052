"""``triptych train --workers`` with Ray itself, in a namespace that has nothing but loopback."""

import os
import re
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest
from support.commands import events_in, run, wait_for_step
from support.namespace import needs_namespace
from support.ray_commands import (
    LOOPBACK_IN_PROC,
    WITH_A_NETWORK,
    RayCommand,
    is_loopback,
    listening_addresses,
)
from support.trainings import check_log

from triptych.core.state import State
from triptych.training import checkpoint, run_folder

pytestmark = [pytest.mark.slow, pytest.mark.process, needs_namespace, pytest.mark.timeout(900)]

EPOCHS = 6
COMMON = ("--data", "digits", "--network", "custom", "--batch-size", "64", "--optimizer", "adam")
SHORT = (*COMMON, "--epochs", str(EPOCHS), "--dtype", "float64")
LONG = (*COMMON, "--epochs", "100000")
WORKER = "ray::RayTrainWorker"


@pytest.fixture
def train(tmp_path: Path) -> Iterator[Callable[..., RayCommand]]:
    """Start trainings; those that a failed test has left are ended."""
    started: list[RayCommand] = []

    def start(*arguments: str, **values: tuple[str, ...]) -> RayCommand:
        started.append(RayCommand(tmp_path, "train", *arguments, **values))
        return started[-1]

    yield start
    for each in started:
        each.clean()


def state_in(runs: Path) -> State:
    """Return the last state of the only run in a folder."""
    (folder,) = runs.iterdir()
    return checkpoint.load_state(folder / "last" / checkpoint.STATE)[0]


def largest_difference(one: State, other: State) -> float:
    """Return the largest |difference| of any array, over its largest |value|."""
    return max(
        float(np.abs(array - one[name]).max() / max(np.abs(one[name]).max(), 1e-300))
        for name, array in other.items()
    )


def bits(state: State) -> dict[str, bytes]:
    return {name: array.tobytes() for name, array in state.items()}


def workers_of(command: RayCommand, count: int) -> list[psutil.Process]:
    command.wait_for(lambda: len(command.named(WORKER)) == count)
    return command.named(WORKER)


def wait_for(command: RayCommand, cwd: Path, step: int) -> None:
    """Wait until a step was made."""
    command.wait_for(
        lambda: any(e["type"] == "block" and e["step"] >= step for e in events_in(cwd))
    )


def test_three_workers_stopped_and_resumed_with_two_are_one_process(train, tmp_path: Path):
    """Unequal parts: 64 samples are 22, 21 and 21. Ctrl-C and SIGTERM end the steps in flight."""
    alone = run("train", "numpy", *SHORT, "--runs", "alone", cwd=tmp_path)
    assert alone.returncode == 0, alone.stderr
    three = train("numpy", *SHORT, "--workers", "3")
    wait_for(three, tmp_path, 30)
    three.process.send_signal(signal.SIGINT)
    status, _, errors = three.end()
    assert status == 130, errors
    three.assert_none_left()
    command = errors.splitlines()[-1].split()
    assert command[:4] == ["triptych", "train", "numpy", "--resume"]
    assert command[-2:] == ["--workers", "3"]
    folder = command[4]
    assert "Traceback" not in errors
    two = train("--resume", folder, "--workers", "2")
    status, output, errors = two.end()
    assert status == 0, errors
    two.assert_none_left()
    assert largest_difference(state_in(tmp_path / "alone"), state_in(tmp_path / "runs")) <= 1e-12
    check_log(tmp_path / folder, EPOCHS)
    began = [e for e in run_folder.read_events(tmp_path / folder) if e["type"] == "begin"]
    assert [event["workers"] for event in began] == [3, 2]
    results = run_folder.read_results(tmp_path / folder, "train")
    of_one = run_folder.read_results(next((tmp_path / "alone").iterdir()), "train")
    assert results["workers"] == 2
    assert results["confusion"] == of_one["confusion"]
    # It is an ordinary run folder.
    assert run("show", folder, cwd=tmp_path).returncode == 0
    assert run("predict", folder, cwd=tmp_path).returncode == 0
    assert re.search(r"Test accuracy, weights of epoch 6: ", output)


def test_kill_9_of_a_worker_changes_no_bit(train, tmp_path: Path):
    undisturbed = train("torch", *SHORT, "--workers", "2", "--runs", "undisturbed")
    assert undisturbed.end()[0] == 0
    killed = train("torch", *SHORT, "--workers", "2", "--checkpoint-every", "25")
    wait_for(killed, tmp_path, 60)
    workers_of(killed, 2)[1].kill()
    status, output, errors = killed.end()
    assert status == 0, errors
    killed.assert_none_left()
    (folder,) = (tmp_path / "runs").iterdir()
    events = run_folder.read_events(folder)
    (restarted,) = [event for event in events if event["type"] == "workers-restarted"]
    assert restarted["step"] >= 50
    assert restarted["step"] % 25 == 0
    assert restarted["again"] <= 25
    assert restarted["why"] in ("worker 1 of 2 has ended", "worker 2 of 2 has ended")
    assert restarted["why"] in output
    check_log(folder, EPOCHS)
    assert bits(state_in(tmp_path / "runs")) == bits(state_in(tmp_path / "undisturbed"))


def test_kill_9_of_the_command_leaves_nothing_and_nothing_listens_on_a_network(
    train, tmp_path: Path
):
    started = train("numpy", *LONG, "--workers", "2", before=("sh", "-c", WITH_A_NETWORK, "sh"))
    wait_for(started, tmp_path, 10)
    workers = workers_of(started, 2)
    addresses = listening_addresses(workers[0])
    assert addresses
    assert addresses <= LOOPBACK_IN_PROC
    (driver,) = started.running("triptych.scale.training.driver")
    files = Path(driver.cmdline()[-1])
    assert list(files.iterdir())
    os.kill(started.process.pid, signal.SIGKILL)
    assert started.end()[0] == -signal.SIGKILL
    started.assert_none_left()
    assert not files.exists()
    folder = wait_for_step(tmp_path)
    assert run_folder.is_unfinished(folder)


def test_no_process_tries_to_reach_anything_but_loopback(train, tmp_path: Path):
    """As the system sees it: every connect of the command and of all that it starts."""
    trace = tmp_path / "connects"
    strace = ("strace", "-f", "--seccomp-bpf", "-qq", "-e", "trace=connect", "-o", str(trace))
    started = train("numpy", *COMMON, "--epochs", "1", "--workers", "2", before=strace)
    status, _, errors = started.end()
    assert status == 0, errors
    asked = set(re.findall(r"sin6?_(?:addr|port).*?\"([^\"]+)\"", trace.read_text()))
    assert asked
    assert {address for address in asked if not is_loopback(address)} == set()


def test_an_engine_without_synchronised_batchnorm_refuses(train, tmp_path: Path):
    started = train(
        "jax", "--data", "digits", "--network", "lenet-bn", "--epochs", "1", "--workers", "2"
    )
    status, _, errors = started.end()
    assert status == 2
    (line,) = errors.splitlines()
    assert "JAX has no synchronised BatchNorm" in line
    started.assert_none_left()
    assert not list((tmp_path / "runs").glob("*"))
