"""Run ``triptych`` and other programs as a user does, most of them in a process of their own."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

import triptych
from triptych.cli import app
from triptych.training import run_folder

ROOT = Path(triptych.__file__).parents[1]
TRIPTYCH = ("-m", "triptych")
NO_WAIT = ("--wait", "0")  # for an idle machine, which a test need not have
SECONDS_BETWEEN_LOOKS = 0.02


def environment(cwd: Path, **variables: str) -> dict[str, str]:
    """Return the environment of a command: this checkout, an empty data cache, wide lines.

    Parameters
    ----------
    cwd : Path
        The working directory of the command; the data cache is in it.
    **variables : str
        More environment variables; they replace those of this function.
    """
    settings = {
        "PYTHONPATH": str(ROOT),
        "TRIPTYCH_DATA": str(cwd / "no-data"),
        "COLUMNS": "160",
    }
    return os.environ | settings | variables


def run_python(
    *arguments: str, cwd: Path, timeout: float = 280, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run this Python with some arguments, wait for its end, and return what it printed."""
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        env=environment(cwd, **variables),
        capture_output=True,
        text=True,
        encoding=variables.get("PYTHONIOENCODING"),
        timeout=timeout,
    )


def run(
    *arguments: str, cwd: Path, timeout: float = 280, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run a command of triptych, wait for its end, and return what it printed."""
    return run_python(*TRIPTYCH, *arguments, cwd=cwd, timeout=timeout, **variables)


def run_here(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run a command of triptych in this process, and return what it printed.

    That is faster where many mistakes are tried. The command must not need a process of its own.
    """
    output = StringIO()
    errors = StringIO()
    variables = dict(os.environ)
    on_ctrl_c = signal.getsignal(signal.SIGINT)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(cwd)
        patch.setattr(app, "atexit", SimpleNamespace(register=_close_instead))
        patch.setattr(Console, "on_broken_pipe", Console.on_broken_pipe)  # the command replaces it
        os.environ.update(environment(cwd))
        try:
            with redirect_stdout(output), redirect_stderr(errors), pytest.raises(SystemExit) as end:
                app.main(list(arguments))
        finally:
            signal.signal(signal.SIGINT, on_ctrl_c)
            os.environ.clear()
            os.environ.update(variables)
    status = end.value.code
    assert isinstance(status, int)
    return subprocess.CompletedProcess(arguments, status, output.getvalue(), errors.getvalue())


def _close_instead(function: object, descriptor: int, stream: int) -> None:
    """Take the place of ``atexit.register``: this process goes on, and keeps its output."""
    del function, stream
    os.close(descriptor)


def start(*arguments: str, cwd: Path, **options: Any) -> subprocess.Popen[str]:
    """Start a command of triptych; the options are those of ``subprocess.Popen``."""
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(
        [sys.executable, *TRIPTYCH, *arguments],
        cwd=cwd,
        env=environment(cwd),
        text=True,
        **pipes | options,
    )


def wait_until(condition: Callable[[], object], seconds: float = 200) -> None:
    """Wait until a condition is true; fail after some seconds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(SECONDS_BETWEEN_LOOKS)


def events_in(cwd: Path) -> list[dict[str, Any]]:
    """Return the events of the first run folder in a working directory; none before it exists."""
    logs = list(cwd.glob("runs/*/events.jsonl"))
    return run_folder.read_events(logs[0].parent) if logs else []


def wait_for_step(cwd: Path, step: int = 0, seconds: float = 200) -> Path:
    """Wait until a block of steps has ended at this step or a later one; return the run folder."""

    def reached() -> bool:
        return any(e["type"] == "block" and e["step"] >= step for e in events_in(cwd))

    wait_until(reached, seconds)
    return next((cwd / "runs").iterdir())
