"""The two processes in which programs of pairs run."""

from __future__ import annotations

import json
import os
import selectors
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from triptych.errors import TriptychError

ROOT = Path(__file__).resolve().parents[2]
SECONDS_TO_START = 120
SECONDS_PER_JOB = 120
SETTINGS = {
    "KERAS_BACKEND": "tensorflow",
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "CUDA_VISIBLE_DEVICES": "",
    "OMP_NUM_THREADS": "1",
}


class JobError(TriptychError):
    """A program raised, or took too long."""


class Worker:
    """A process that runs the programs of one framework, each in a fork of itself.

    Parameters
    ----------
    framework : str
        ``torch`` or ``keras``.
    """

    def __init__(self, framework: str) -> None:
        self.framework = framework
        self.process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.portbench.runner", framework],
            cwd=ROOT,
            env={**os.environ, **SETTINGS},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self.is_ready = False

    def run(self, job: dict[str, Any]) -> Path:
        """Run a job; return the file with what was measured.

        Raises
        ------
        JobError
            If the program raised or took too long.
        """
        if not self.is_ready:
            self._answer(SECONDS_TO_START)
            self.is_ready = True
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(job) + "\n")
        self.process.stdin.flush()
        status = self._answer(SECONDS_PER_JOB)
        if status != "0":
            error = Path(job["out"]).with_suffix(".error")
            text = error.read_text() if error.exists() else f"status {status}"
            raise JobError(f"{self.framework}: {text.strip().splitlines()[-1]}")
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
                        raise JobError(f"the process of {self.framework} has ended")
                    return line.strip()
        raise JobError(f"{self.framework}: no answer after {seconds} seconds")

    def close(self) -> None:
        """End the process."""
        self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout):
            if stream is not None:
                with suppress(OSError):  # an unfinished line cannot be sent any more
                    stream.close()


class Workers:
    """One process for each framework; use it in a ``with`` statement."""

    def __init__(self) -> None:
        self.by_framework = {name: Worker(name) for name in ("torch", "keras")}

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
            self.by_framework[framework] = worker = Worker(framework)
        try:
            return worker.run(job)
        except JobError:
            if worker.process.poll() is None and "no answer" in str(sys.exc_info()[1]):
                worker.close()
            raise
