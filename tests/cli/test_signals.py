"""Ctrl-C, a closed terminal, a closed pipe and a frozen worker: what was done is kept, and it is
said in words.
"""

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from support.commands import run, run_python, start, wait_for_step

from triptych.process import client as remotes
from triptych.process.client import Remote, WorkerDied

pytestmark = pytest.mark.process

FEW = ("--data", "digits", "--hidden", "4", "--batch-size", "256")
LONG = ("train", "numpy", *FEW, "--epochs", "10000000")
# Sends Ctrl-C to itself when a number of modules have been looked for since the command began.
EARLY = """
import os, signal, sys
left = int(sys.argv.pop(1))
def count(event, arguments):
    global left
    if event == "import":
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGINT)
from triptych.__main__ import main
sys.addaudithook(count)
main()
"""


# Another test of this process may have imported JAX, which warns of every fork; here the child runs
# another program at once.
FORKS = pytest.mark.filterwarnings(r"ignore:os\.fork\(\) was called:RuntimeWarning")


def steps_made(folder: Path) -> int:
    from triptych.training.saved import SavedRun

    return SavedRun.read(folder).position.step


def last_step(folder: Path) -> int:
    from triptych.training.run_folder import read_events

    return max(event.get("step", 0) for event in read_events(folder))


@pytest.mark.parametrize(
    "at", [1, 60, *(pytest.param(n, marks=pytest.mark.slow) for n in (10, 150, 300))]
)
def test_ctrl_c_while_modules_are_imported_is_no_traceback(tmp_path, at: int):
    done = run_python("-c", EARLY, str(at), *LONG, cwd=tmp_path)
    assert done.returncode == 130, done.stderr
    assert "stopped" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="this system has no SIGHUP")
@pytest.mark.parametrize(
    "name",
    [
        "SIGHUP",
        pytest.param("SIGTERM", marks=pytest.mark.slow),
        pytest.param("SIGINT", marks=pytest.mark.slow),
    ],
)
def test_a_signal_saves_what_was_done(tmp_path, name: str):
    process = start(*LONG, cwd=tmp_path)
    folder = wait_for_step(tmp_path)
    process.send_signal(getattr(signal, name))
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in errors
    assert steps_made(folder) == last_step(folder) > 0


@FORKS
@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "openpty"), reason="this system has no terminals")
@pytest.mark.parametrize("ignored", [False, True])
def test_a_terminal_that_is_closed(tmp_path, ignored: bool):
    """The training is saved; where SIGHUP is ignored it goes on unseen, and ends when it is told
    to.
    """
    ours, theirs = os.openpty()
    handler = signal.SIG_IGN if ignored else signal.SIG_DFL
    process = start(
        *LONG,
        cwd=tmp_path,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
        preexec_fn=lambda: (signal.signal(signal.SIGHUP, handler), _take_terminal()),
    )
    os.close(theirs)
    folder = wait_for_step(tmp_path)
    os.close(ours)  # the system sends SIGHUP to the session whose terminal it was
    if ignored:
        before = last_step(folder)
        end = time.monotonic() + 60
        while last_step(folder) <= before:
            assert time.monotonic() < end
            assert process.poll() is None
            time.sleep(0.1)
        process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 130
    assert steps_made(folder) == last_step(folder) > 0


def _take_terminal() -> None:
    import fcntl
    import termios

    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


@pytest.mark.slow
def test_ctrl_c_many_times_changes_nothing(tmp_path):
    process = start(*LONG, cwd=tmp_path)
    folder = wait_for_step(tmp_path)
    while process.poll() is None:
        process.send_signal(signal.SIGINT)
        time.sleep(0.002)
    _, errors = process.communicate(timeout=60)
    assert "Traceback" not in errors
    assert process.returncode in (
        130,
        -signal.SIGINT,
    )  # the last one may meet an interpreter that has ended
    assert steps_made(folder) > 0


@pytest.mark.parametrize(
    "command", [("--help",), (*LONG,), pytest.param(("train", "--help"), marks=pytest.mark.slow)]
)
def test_a_reader_that_ends_is_not_a_divergence(tmp_path, command: tuple[str, ...]):
    read, write = os.pipe()
    os.close(read)
    process = start(*command, stdout=write, cwd=tmp_path)
    os.close(write)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 141
    assert errors == ""


@pytest.mark.parametrize(
    "encoding",
    [
        "ascii",
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("latin-1", "cp437", "utf-8")),
    ],
)
def test_any_encoding_of_the_terminal(tmp_path, encoding: str):
    done = run("train", "numpy", *FEW, "--epochs", "1", PYTHONIOENCODING=encoding, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "Test accuracy" in done.stdout
    assert "Traceback" not in done.stderr


def test_a_path_is_printed_as_it_is(tmp_path):
    """No markup and no emoji of rich; and what is to be typed again is quoted for a shell."""
    name = "q[/b] [bold]:smile:"
    done = run("train", "numpy", *FEW, "--epochs", "1", "--runs", name, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert f"Run folder: {name}{os.sep}" in done.stdout
    (tmp_path / "my [b] $HOME").mkdir()
    process = start(*LONG, "--runs", "my [b] $HOME/runs", cwd=tmp_path)
    wait_for_step(tmp_path / "my [b] $HOME")
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert "--resume 'my [b] $HOME/runs/" in errors


@FORKS
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no limit of a file's size")
def test_a_full_disk_names_the_file_and_how_to_go_on(tmp_path):
    import resource

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))

    process = start(*LONG, preexec_fn=limit, cwd=tmp_path)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 2, errors
    assert os.strerror(errno.EFBIG) in errors
    assert f"triptych train numpy --resume runs{os.sep}" in errors
    assert "Traceback" not in errors
    assert errors.count("\n") == 1


@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="this system cannot freeze a process")
def test_a_frozen_worker_is_ended_and_a_busy_one_is_not(monkeypatch):
    monkeypatch.setattr(remotes, "SECONDS_BETWEEN_CHECKS", 0.1)
    monkeypatch.setattr(remotes, "CHECKS_WITHOUT_WORK", 10)
    remote = Remote("numpy", "eager")
    try:
        remote.greet()
        time.sleep(2)  # not waited for: it may be idle for as long as it likes
        assert remote.ask("memory")[0]["peak_bytes"] > 0
        os.kill(remote.pid, signal.SIGSTOP)
        with pytest.raises(
            WorkerDied, match=r"used no processor time for .* minutes while it was waited for"
        ):
            remote.ask("memory")
    finally:
        remote.close()


def test_what_a_compiler_uses_counts_as_work():
    """A worker that waits for a child is not frozen."""
    code = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'while True: pass'])"
    process = subprocess.Popen([sys.executable, "-c", code])
    try:
        time.sleep(0.7)
        before = remotes.machine.tree_cpu_seconds(process.pid)
        time.sleep(0.7)
        assert remotes.machine.tree_cpu_seconds(process.pid) > before > 0
    finally:
        for child in psutil.Process(process.pid).children():
            child.kill()
        process.wait(10)
    assert remotes.machine.tree_cpu_seconds(process.pid) == -1
