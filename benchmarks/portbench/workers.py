"""Processes that have imported the frameworks and do each job in a fork of themselves."""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from triptych.errors import TriptychError

from .runner import READY

ROOT = Path(__file__).resolve().parents[2]
# A job takes seconds. The limits are for programs that hang, also on a busy machine.
SECONDS_TO_START = 600
SECONDS_PER_JOB = 600
SETTINGS = {
    "KERAS_BACKEND": "tensorflow",
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "CUDA_VISIBLE_DEVICES": "",
    "OMP_NUM_THREADS": "1",
}


class JobError(TriptychError):
    """A program raised, or took too long."""


class NoAnswer(JobError):
    """A process has ended, or a job took too long."""


class Worker:
    """A process that does jobs, each in a fork of itself.

    Parameters
    ----------
    module : str
        The module of this package that it runs: ``runner`` or ``function_runner``.
    argument : str
        The module's argument.
    seconds : float
        The time limit of a job.
    """

    def __init__(self, module: str, argument: str, seconds: float = SECONDS_PER_JOB) -> None:
        self.label = argument
        self.seconds = seconds
        inherited = os.environ.get("PYTHONPATH")
        folders = [str(ROOT), inherited] if inherited else [str(ROOT)]
        self.process = subprocess.Popen(
            [sys.executable, "-m", f"{__package__}.{module}", argument],
            cwd=ROOT,
            env={**os.environ, **SETTINGS, "PYTHONPATH": os.pathsep.join(folders)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            start_new_session=True,  # so that `close` ends a running job, too
        )
        self.is_ready = False

    def run(self, job: dict[str, Any]) -> Path:
        """Run a job; return the file that it wrote.

        Parameters
        ----------
        job : dict
            What JSON can hold; ``out`` is the file to write.

        Raises
        ------
        JobError
            If the job failed or took too long.
        TriptychError
            If the process cannot do any job.
        """
        if not self.is_ready:
            greeting = self._answer(SECONDS_TO_START)
            if greeting != READY:
                raise TriptychError(greeting)
            self.is_ready = True
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(job) + "\n")
        self.process.stdin.flush()
        status = self._answer(self.seconds)
        if status != "0":
            error = Path(job["out"]).with_suffix(".error")
            text = error.read_text() if error.exists() else f"status {status}"
            raise JobError(f"{self.label}: {text.strip().splitlines()[-1]}")
        return Path(job["out"])

    def _answer(self, seconds: float) -> str:
        stream = self.process.stdout
        assert stream is not None
        deadline = time.monotonic() + seconds
        with selectors.DefaultSelector() as selector:
            selector.register(stream, selectors.EVENT_READ)
            while time.monotonic() < deadline:
                if selector.select(timeout=1):
                    line = stream.readline()
                    if not line:
                        raise NoAnswer(f"the process of {self.label} has ended")
                    return line.strip()
        raise NoAnswer(f"{self.label}: no answer after {seconds:g} seconds")

    def close(self) -> None:
        """End the process."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout):
            if stream is not None:
                with suppress(OSError):  # an unfinished line cannot be sent any more
                    stream.close()


class Workers:
    """One process for each framework; use it in a ``with`` statement."""

    def __init__(self) -> None:
        self.by_framework = {name: Worker("runner", name) for name in ("torch", "keras")}

    def __enter__(self) -> Workers:
        """Return the workers, which are starting."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End both processes."""
        for worker in self.by_framework.values():
            worker.close()

    def run(self, framework: str, job: dict[str, Any]) -> Path:
        """Run a job in a framework's process; start it again if it has ended."""
        worker = self.by_framework[framework]
        if worker.process.poll() is not None:
            worker.close()
            self.by_framework[framework] = worker = Worker("runner", framework)
        try:
            return worker.run(job)
        except NoAnswer:
            worker.close()  # it may still be busy
            raise
