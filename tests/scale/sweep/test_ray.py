"""Sweeps with Ray itself, each in a network namespace that has nothing but loopback.

No process of a sweep may be there afterwards.
"""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pyarrow.parquet as pq
import pytest
from support.namespace import needs_namespace
from support.ray_commands import (
    LOOPBACK_IN_PROC,
    WITH_A_NETWORK,
    RayCommand,
    is_loopback,
    listening_addresses,
)

pytestmark = [pytest.mark.slow, pytest.mark.process, needs_namespace, pytest.mark.timeout(600)]

MODULES = {"supervisor": "triptych.scale.ray.supervisor", "driver": "triptych.scale.sweep.driver"}
LONG = 100_000  # epochs of a cell that does not end by itself
COMMON = 'data = ["digits"]\nengines = ["numpy"]\n'


class Sweep(RayCommand):
    """A command ``triptych sweep`` in a namespace.

    Parameters
    ----------
    folder : Path
        Its working directory.
    text : str
        The grid.
    *options : str
        More words of the command.
    before : tuple of str
        Words in front of the command, inside of the namespace.
    """

    def __init__(
        self, folder: Path, text: str, *options: str, before: tuple[str, ...] = ()
    ) -> None:
        (folder / "grid.toml").write_text(text, encoding="utf-8")
        self.folder = folder / "runs" / "sweep-grid"
        super().__init__(folder, "sweep", "grid.toml", *options, before=before)

    def events(self) -> list[dict[str, Any]]:
        log = self.folder / "events.jsonl"
        if not log.exists():
            return []
        lines = log.read_text(encoding="utf-8").splitlines(keepends=True)
        return [json.loads(line) for line in lines if line.endswith("\n")]

    def wait_for_workers(self, count: int = 1) -> list[psutil.Process]:
        """Wait until some workers of Ray train; return them."""
        self.wait_for(lambda: len(self.named("ray::run_cell")) >= count)
        return self.named("ray::run_cell")

    def rows(self) -> dict[tuple[str, int], dict[str, Any]]:
        """Return the rows of the table by network and seed."""
        table = pq.read_table(self.folder / "cells.parquet").to_pylist()
        return {(row["network"], row["seed"]): row for row in table}


@pytest.fixture
def sweep(tmp_path: Path) -> Iterator[Callable[..., Sweep]]:
    """Start sweeps; those that a failed test has left are ended."""
    started: list[Sweep] = []

    def start(text: str, *options: str, **values: Any) -> Sweep:
        started.append(Sweep(tmp_path, text, *options, **values))
        return started[-1]

    yield start
    for each in started:
        each.clean()


def grid(networks: str, epochs: int, **others: str) -> str:
    recipe = f"{{ epochs = {epochs}, batch_size = 64, optimizer = {{ name = 'adam' }} }}"
    lines = [f"networks = {networks}", f"recipes = [{recipe}]"]
    return COMMON + "\n".join([*lines, *(f"{key} = {value}" for key, value in others.items())])


def test_a_sweep_trains_what_train_does_and_is_not_run_twice(sweep, tmp_path: Path):
    """The oracle is the same training in this process."""
    import triptych as tt

    text = grid("[{ hidden = [8] }, { hidden = [16] }]", 2, seeds="[0, 3]")
    first = sweep(text)
    first.wait_for_workers()
    status, output, errors = first.end()
    assert status == 0, errors
    first.assert_none_left()
    rows = first.rows()
    assert set(rows) == {("dense-8", 0), ("dense-8", 3), ("dense-16", 0), ("dense-16", 3)}
    recipe = tt.Recipe(epochs=2, batch_size=64, optimizer=tt.optimizers.Adam(), seed=3)
    alone = tt.train("numpy", tt.dense(784, 16, 10), recipe, tt.load_data("digits"), runs=None)
    assert rows["dense-16", 3]["accuracy"] == alone.accuracy
    assert rows["dense-16", 3]["loss"] == alone.history[-1]["loss"]
    assert (first.folder / "report.html").is_file()
    assert "dense-16" in output

    # One more width: the four finished cells are not run again.
    second = sweep(text.replace("{ hidden = [16] }", "{ hidden = [16] }, { hidden = [4] }"))
    status, output, errors = second.end()
    assert status == 0, errors
    assert "6 cells, 4 finished before" in output
    assert len(second.rows()) == 6
    started = [event["cell"] for event in second.events() if event["type"] == "cell-started"]
    assert len(started) == 6  # four in the first call, two in the second
    assert len(set(started)) == 6

    # And nothing at all: Ray is not even started.
    third = sweep(text)
    status, output, errors = third.end()
    assert status == 0, errors
    assert "Ray" not in output.split("Table:")[0]
    assert len(third.rows()) == 4


def test_a_cell_that_fails_keeps_its_error(sweep):
    """One network is larger than the memory of any machine."""
    text = grid("[{ hidden = [8] }, { hidden = [1_000_000_000] }]", 1, seeds="2")
    started = sweep(text)
    status, output, errors = started.end()
    assert status == 1, errors
    rows = started.rows()
    for seed in (0, 1):
        assert rows["dense-8", seed]["status"] == "finished"
        failed = rows["dense-1000000000", seed]
        assert failed["status"] == "failed"
        assert "not enough memory" in failed["error"]
        assert failed["accuracy"] is None
    assert "not enough memory" in output
    page = (started.folder / "report.html").read_text(encoding="utf-8")
    assert "2 of 4 cells finished, 2 failed" in page
    # Failed cells are tried again, the others are not.
    again = sweep(text)
    assert again.end()[0] == 1
    ended = [event["cell"]["key"] for event in again.events() if event["type"] == "cell"]
    assert len(ended) == 6
    assert len(set(ended)) == 4


def test_a_timed_cell_runs_alone_with_its_load(sweep):
    text = grid("[{ hidden = [8] }]", 3, seeds="3", timed="[1]")
    started = sweep(text)
    status, _, errors = started.end()
    assert status == 0, errors
    rows = started.rows()
    timed = rows["dense-8", 1]
    assert timed["timed"]
    assert timed["others"] is not None
    assert timed["load"] is not None
    assert timed["busy"] == (timed["others"] > 0.05)
    assert 1 <= timed["attempts"] <= 3
    assert timed["attempts"] == 3 or not timed["busy"]
    assert timed["seconds"] > 0
    assert timed["step_seconds"] > 0
    for seed in (0, 2):
        assert not rows["dense-8", seed]["timed"]
        assert rows["dense-8", seed]["others"] is None
    # It began when the other cells had ended.
    order = [event for event in started.events() if event["type"].startswith("cell")]
    keys = [event["cell"] if isinstance(event["cell"], str) else None for event in order]
    at = keys.index(timed["key"])
    assert sum(event["type"] == "cell" for event in order[:at]) == 2
    assert order[at]["node"]


def test_a_timed_cell_on_a_busy_node_is_repeated_and_marked(sweep):
    """Other programs compute without a pause on every processor of this machine."""
    code = "while True: pass"
    others = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(os.cpu_count() or 1)]
    try:
        started = sweep(grid("[{ hidden = [8] }]", 2, timed="true"))
        status, output, errors = started.end()
    finally:
        for process in others:
            process.kill()
            process.wait()
    assert status == 0, errors
    (row,) = started.rows().values()
    assert row["attempts"] == 3
    assert row["busy"]
    assert row["others"] > 0.05
    assert "busy node" in output
    assert "busy" in (started.folder / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("victim", ["command", "supervisor", "driver"])
def test_kill_9_of_any_process_above_ray_leaves_none(sweep, tmp_path: Path, victim: str):
    text = grid("[{ hidden = [8] }, { hidden = [16] }]", LONG, seeds="2")
    started = sweep(text)
    started.wait_for_workers(2)
    assert len(started.seen) > 6  # the supervisor, the driver, Ray's processes, the workers
    (driver,) = started.running("triptych.scale.sweep.driver")
    folder = Path(driver.cmdline()[-1])  # in which Ray has its files
    assert list(folder.iterdir())
    pid = started.process.pid
    if victim != "command":
        (process,) = started.running(MODULES[victim])
        pid = process.pid
    os.kill(pid, signal.SIGKILL)
    status, _, errors = started.end()
    if victim == "command":
        assert status == -signal.SIGKILL
    else:
        assert status == 2
        assert re.search(r"triptych: Ray has ended", errors), errors
        assert "Traceback" not in errors
    started.assert_none_left()
    assert not folder.exists()


def test_after_kill_9_the_same_command_goes_on(sweep):
    text = grid("[{ hidden = [8] }]", 30, seeds="12")
    started = sweep(text)
    started.wait_for(lambda: sum(event["type"] == "cell" for event in started.events()) >= 3)
    started.process.send_signal(signal.SIGKILL)
    started.end()
    started.assert_none_left()
    before = [event["cell"]["key"] for event in started.events() if event["type"] == "cell"]
    assert 3 <= len(before) < 12
    again = sweep(text)
    status, output, errors = again.end()
    assert status == 0, errors
    assert f"12 cells, {len(before)} finished before" in output
    rows = again.rows().values()
    assert len(rows) == 12
    ended = [event["cell"]["key"] for event in again.events() if event["type"] == "cell"]
    assert len(ended) == len(set(ended)) == 12


def test_kill_9_of_a_worker_runs_its_cell_again(sweep):
    text = grid("[{ hidden = [8] }, { hidden = [128] }]", 60, seeds="2")
    started = sweep(text)
    worker = started.wait_for_workers(1)[0]
    worker.kill()
    status, _, errors = started.end()
    assert status == 0, errors
    retried = [event for event in started.events() if event["type"] == "cell-retried"]
    assert len(retried) == 1
    assert retried[0]["why"] == "the worker process has ended"
    rows = started.rows()
    assert {row["status"] for row in rows.values()} == {"finished"}
    assert sorted(row["runs"] for row in rows.values()) == [1, 1, 1, 2]
    started.assert_none_left()


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_ctrl_c_leaves_whole_files_and_says_how_to_go_on(sweep, name: str):
    text = grid("[{ hidden = [8] }]", 30, seeds="40")
    started = sweep(text)
    started.wait_for(lambda: sum(event["type"] == "cell" for event in started.events()) >= 2)
    started.process.send_signal(getattr(signal, name))
    status, _, errors = started.end()
    assert status == 130, errors
    assert "Traceback" not in errors
    assert errors.splitlines()[-1] == "triptych sweep grid.toml"
    started.assert_none_left()
    ended = [event for event in started.events() if event["type"] == "cell"]
    assert len(started.rows()) == len(ended) < 40
    page = (started.folder / "report.html").read_text(encoding="utf-8")
    assert f"{len(ended)} of 40 cells finished" in page


# A cluster in the namespace, which ends with the command behind it.
IN_A_CLUSTER = """
ray=$1; shift
folder=$(mktemp -d /tmp/ray-XXXXXX)  # the paths of sockets must be short
RAY_AUTH_MODE=token "$ray" get-auth-token --generate >/dev/null
RAY_AUTH_MODE=token RAY_USAGE_STATS_ENABLED=0 RAY_USAGE_STATS_REPORT_URL=http://127.0.0.1:9 \\
  "$ray" start --head --block --node-ip-address=127.0.0.1 --port=6379 --num-cpus=2 \\
  --include-dashboard=false --object-store-memory=80000000 --temp-dir="$folder" >/dev/null 2>&1 &
head=$!
log="$folder"/session_latest/logs/gcs_server.out
until grep -q 'server started, listening' "$log" 2>/dev/null; do
  kill -0 $head || exit 9
  sleep 0.5
done
"$@"
status=$?
kill -TERM $head
wait $head
rm -rf "$folder"
exit $status
"""


@pytest.mark.parametrize("has_token", [True, False])
def test_a_cluster_is_used_by_those_who_have_its_token(sweep, tmp_path: Path, has_token: bool):
    ray = str(Path(sys.executable).with_name("ray"))
    other_home = () if has_token else ("env", f"HOME={tmp_path}")
    before = ("sh", "-c", IN_A_CLUSTER, "sh", ray, *other_home)
    text = grid("[{ hidden = [8] }]", 2, seeds="2", timed="[1]")
    started = sweep(text, "--address", "127.0.0.1:6379", before=before)
    while started.process.poll() is None:
        started.family()
        time.sleep(0.2)
    status, _, errors = started.end()
    if has_token:
        assert status == 0, errors
        rows = started.rows()
        assert {row["status"] for row in rows.values()} == {"finished"}
        assert rows["dense-8", 1]["others"] is not None
    else:
        assert status == 2
        assert "triptych: no Ray at 127.0.0.1:6379: " in errors
        assert "Traceback" not in errors
        assert not (started.folder / "cells.parquet").exists()
    started.assert_none_left()


def test_an_address_at_which_nothing_listens_is_reported_at_once(sweep):
    started = sweep(grid("[{ hidden = [8] }]", 1), "--address", "127.0.0.1:6379")
    status, _, errors = started.end()
    assert status == 2
    assert errors == "triptych: no Ray at 127.0.0.1:6379: Connection refused\n"


def test_two_sweeps_run_at_the_same_time_but_not_in_one_folder(sweep, tmp_path: Path):
    """One Ray of each; what they listen at does not collide."""
    text = grid("[{ hidden = [8] }]", 60, seeds="2")
    both = '"$@" --runs one & "$@" --runs two; wait'
    first = sweep(text, before=("sh", "-c", both, "sh"))
    status, _, errors = first.end()
    assert status == 0, errors
    for runs in ("one", "two"):
        table = pq.read_table(tmp_path / runs / "sweep-grid" / "cells.parquet").to_pylist()
        assert [row["status"] for row in table] == ["finished"] * 2
    one = sweep(grid("[{ hidden = [8] }]", LONG))
    one.wait_for_workers()
    other = sweep(grid("[{ hidden = [8] }]", LONG))
    status, _, errors = other.end()
    assert status == 2
    assert "another sweep is running in this folder" in errors


def test_no_process_tries_to_reach_anything_but_loopback(sweep, tmp_path: Path):
    """As the system sees it: every connect of the command and of all that it starts."""
    trace = tmp_path / "connects"
    strace = ("strace", "-f", "--seccomp-bpf", "-qq", "-e", "trace=connect", "-o", str(trace))
    started = sweep(grid("[{ hidden = [8] }]", 1), before=strace)
    status, _, errors = started.end()
    assert status == 0, errors
    asked = set(re.findall(r"sin6?_(?:addr|port).*?\"([^\"]+)\"", trace.read_text()))
    assert asked
    assert {address for address in asked if not is_loopback(address)} == set()


def test_where_there_is_a_network_nothing_listens_on_it(sweep):
    started = sweep(grid("[{ hidden = [8] }]", LONG), before=("sh", "-c", WITH_A_NETWORK, "sh"))
    (worker, *_) = started.wait_for_workers()
    addresses = listening_addresses(worker)
    assert addresses
    assert addresses <= LOOPBACK_IN_PROC
