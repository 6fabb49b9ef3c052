"""python -m benchmarks: what it writes, and how it ends."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import __main__ as command
from benchmarks.timing import Line, Settings, Timing
from benchmarks.workloads import WORKLOADS
from triptych.errors import EngineError

ROOT = Path(__file__).resolve().parents[2]


class Told:
    """A workload that was measured before."""

    title, timed = "a job", True

    def measure(self, name: str, settings: Settings):
        times = [Line("numpy", "", True, [1.0]), Line("torch-plain", "", False, [2.0])]
        return iter([Timing(name, self.title, settings, 0.0, times, "equal", "a step")])


@pytest.fixture
def run(monkeypatch, tmp_path, capsys):
    """Run the command over one workload.

    Return its exit status, what it printed and reported, and the ratios it wrote.
    """
    monkeypatch.setitem(WORKLOADS, "R1", Told())

    def run(*arguments: str, others: float = 0.0):
        monkeypatch.setattr(command, "others_now", lambda: others)
        path = tmp_path / "ratios.json"
        monkeypatch.setattr(sys, "argv", ["benchmarks", *arguments, "--json", str(path)])
        try:
            command.main()
            status = None
        except SystemExit as ended:
            status = ended.code
        printed = capsys.readouterr()
        return (
            status,
            printed.out,
            printed.err,
            json.loads(path.read_text()) if path.is_file() else None,
        )

    return run


def test_ratios_are_printed_and_written(run):
    status, printed, _, written = run("R1", "--threads", "1,2")
    one = {
        "workload": "R1",
        "engine": "numpy",
        "peer": "torch-plain",
        "ratio": 2.0,
        "low": 2.0,
        "high": 2.0,
    }
    assert written == [one | {"threads": 1}, one | {"threads": 2}]
    assert status is None
    assert "2.00 [2.00, 2.00]" in printed


def test_a_busy_machine_has_no_wall_ratios(run):
    status, printed, _, written = run("R1", "--threads", "1,2", others=0.5)
    assert [entry["threads"] for entry in written] == [1]
    assert "2 threads, wall time; others used 50% of the machine" in printed
    assert "no ratio" in printed
    assert str(status).startswith("benchmarks: not everything was measured")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["R33"], "workload 'R33' is unknown; did you mean 'R3'?"),
        (["--rounds", "0"], "must be at least 1"),
        (["R1", "--threads", "two"], "--threads: invalid"),
        (["R1", "--threads", "4096"], "4096 threads where this machine has"),
        (["R2", "--data", "nowhere.csv"], "benchmarks: nowhere.csv: no such file"),
    ],
)
def test_a_users_mistake_is_reported_in_one_line(run, arguments, message):
    status, _, error, _ = run(*arguments)
    assert status == 2
    assert message in error


def test_an_unwritable_file_is_reported_before_anything_is_measured(run, tmp_path):
    (tmp_path / "ratios.json").mkdir()
    status, printed, error, _ = run("R1", "--threads", "1")
    assert status == 2
    assert "ratios.json: cannot be written" in error
    assert printed == ""


def test_ctrl_c_stops_it_with_status_130(run, monkeypatch):
    def interrupted(name, settings):
        raise KeyboardInterrupt

    monkeypatch.setattr(WORKLOADS["R1"], "measure", interrupted)
    status, _, error, written = run("R1", "--threads", "1")
    assert status == 130
    assert error.endswith("benchmarks: stopped\n")
    assert written == []


def test_a_closed_pipe_ends_it_without_a_message():
    reading, writing = os.pipe()
    os.close(reading)
    command_line = [sys.executable, "-u", "-m", "benchmarks", "start-up", "--threads", "1"]
    ended = subprocess.run(
        command_line, cwd=ROOT, stdout=writing, stderr=subprocess.PIPE, text=True, timeout=120
    )
    os.close(writing)
    assert (ended.returncode, ended.stderr) == (141, "")


def test_a_workload_that_fails_leaves_the_others(run, monkeypatch):
    def fails(name, settings):
        raise EngineError("NumPy does not run")

    broken = Told()
    broken.measure = fails
    monkeypatch.setitem(WORKLOADS, "R2", broken)
    status, printed, _, written = run("R2", "R1", "--threads", "1")
    assert "R2: not measured: NumPy does not run" in printed
    assert [entry["workload"] for entry in written] == ["R1"]
    assert status


def test_every_workload_is_run_and_timed_ones_with_each_number_of_threads(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["benchmarks", "--threads", "1,2"])
    jobs = [(name, settings.threads) for name, settings in command.jobs(command.arguments())]
    assert jobs == [
        (name, threads)
        for name, workload in WORKLOADS.items()
        for threads in ((1, 2) if workload.timed else (1,))
    ]
    assert {name for name, threads in jobs if threads == 2} >= {
        "R1",
        "R2",
        "R3",
        "overhead",
        "inference",
        "advise",
    }
