"""Starts the processes of a recorded script, waits for them, and ends all of them in any case."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Generator, Sequence
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from queue import Queue

from ...core.events import Event, ScriptStep
from ...core.logs import last_line
from ...errors import EngineError, TriptychError, counted, one_line
from ...process import machine
from .records import ERROR, FACTS, OUTPUT, STEP_PREFIX, Json, Run, Settings

SERVER = "triptych.doctor.script.torch.server"
SECONDS_BETWEEN_LOOKS = 0.05
SECONDS_FOR_OTHERS = 3.0  # to tell their errors, after one process has failed
SECONDS_TO_END = 30.0  # without work, for the others, after one process has ended as it should
SECONDS_OF_WORK = 0.1  # of the processor, which more than looking for a signal takes
ON_PROCESSOR = "every script is run on the processor"
LINES_SHOWN = 12  # of what a failed script has written


class ScriptFailed(TriptychError):
    """The script cannot be compared.

    Parameters
    ----------
    message : str
        Why, in one line.
    lines : sequence of str
        The last lines that the script has written, or its traceback.
    """

    def __init__(self, message: str, lines: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.lines = [one_line(line) for line in lines[-LINES_SHOWN:]]


class Server:
    """Has imported PyTorch, and starts processes that have it at once. A context manager.

    Parameters
    ----------
    threads : int
        Threads of each process.

    Attributes
    ----------
    pid : int
        Its number.
    statuses : dict of int to int
        By the numbers of processes that have ended, their exit statuses.

    Raises
    ------
    TriptychError
        Without PyTorch, or on Windows.
    """

    def __init__(self, threads: int) -> None:
        if not hasattr(os, "fork"):
            raise TriptychError("scripts are compared on Linux and macOS; on Windows, use WSL")
        if find_spec("torch") is None:
            raise EngineError("a script of PyTorch needs PyTorch: pip install torch")
        self.statuses: dict[int, int] = {}
        self._pids: Queue[int] = Queue()
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - `close` closes it
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", SERVER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            # Compiled code hides the layers, and may compute in another order.
            env=machine.environment(threads, "cpu") | {"TORCHDYNAMO_DISABLE": "1"},
            start_new_session=True,  # Ctrl-C must not reach it
        )
        self.pid = self._process.pid
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        """Note which processes have begun and ended."""
        assert self._process.stdout
        for line in self._process.stdout:
            reply = json.loads(line)
            if "status" in reply:
                self.statuses[reply["pid"]] = reply["status"]
            else:
                self._pids.put(reply["pid"])
        self._pids.put(0)

    def fork(self, settings: Path, folder: Path, environment: dict[str, str]) -> int:
        """Begin a process; return its number.

        Parameters
        ----------
        settings : Path
            What it is told.
        folder : Path
            Where it writes.
        environment : dict of str to str
            What is added to its environment.
        """
        request = {"settings": str(settings), "folder": str(folder), "environment": environment}
        assert self._process.stdin
        with suppress(OSError):
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
            self._process.stdin.flush()
        pid = self._pids.get()
        if not pid:
            why = last_line(self._log) or "it wrote nothing"
            raise EngineError(f"the process that imports PyTorch has ended: {why}")
        return pid

    def close(self) -> None:
        """End it, and with it its processes."""
        self._process.kill()
        self._process.wait()
        self._reader.join()
        for stream in (self._process.stdin, self._process.stdout):
            with suppress(OSError):
                if stream:
                    stream.close()
        self._log.close()

    def __enter__(self) -> "Server":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Processes:
    """The processes of one run of a script. A context manager, which ends them.

    Parameters
    ----------
    server : Server
        Starts them.
    settings : Settings
        How the script is run.
    """

    def __init__(self, server: Server, settings: Settings) -> None:
        self.settings = settings
        self._server = server
        self._name = Path(settings.script).name
        self._pids: list[int] = []
        path = settings.write()
        try:
            for rank in range(settings.workers):
                folder = settings.of_worker(rank)
                folder.mkdir()
                variables = environment(rank, settings.workers)
                self._pids.append(server.fork(path, folder, variables))
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> "Processes":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End all processes, and what they have started."""
        for pid in self._pids:
            if pid in self._server.statuses:
                continue  # another process may have its number
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(pid, signal.SIGKILL)

    def _status(self, rank: int) -> int | None:
        """Return the exit status of a process, or None if it still runs."""
        return self._server.statuses.get(self._pids[rank])

    def _statuses(self) -> list[int | None]:
        return [self._status(rank) for rank in range(self.settings.workers)]

    def wait(self, timeout: float) -> Generator[Event, None, Run]:
        """Wait for the end of all processes, and yield the progress.

        Parameters
        ----------
        timeout : float
            Seconds in which no process makes a step, after which the script counts as hanging.

        Returns
        -------
        Run
            What was recorded.

        Raises
        ------
        ScriptFailed
            If a process fails or hangs.
        """
        workers = self.settings.workers
        done = -1
        since = time.monotonic()
        idle = _Idle()
        while None in self._statuses():
            steps = self._steps()
            if steps != done:
                done, since = steps, time.monotonic()
                yield ScriptStep(workers, done // workers, self.settings.steps)
            if any(self._statuses()):
                break
            if time.monotonic() - since > timeout:
                self._hang(done, timeout)
            if 0 in self._statuses() and idle.lasts(self._running()):
                self._wait_in_vain()
            time.sleep(SECONDS_BETWEEN_LOOKS)
        if any(self._statuses()):
            self._fail()
        return Run(self.settings, self._facts())

    def _steps(self) -> int:
        """Return how many steps all processes together have made."""
        folders = [self.settings.of_worker(rank) for rank in range(self.settings.workers)]
        names = [name for folder in folders for name in os.listdir(folder)]
        return sum(name.startswith(STEP_PREFIX) for name in names)

    def _facts(self) -> list[Json]:
        """Return what each process has told at its end."""
        folders = [self.settings.of_worker(rank) for rank in range(self.settings.workers)]
        return [json.loads((folder / FACTS).read_text()) for folder in folders]

    def _running(self) -> list[int]:
        """Return the numbers of the processes that still run."""
        pairs = zip(self._pids, self._statuses(), strict=True)
        return [pid for pid, status in pairs if status is None]

    def _wait_in_vain(self) -> None:
        """Raise an error about processes that wait for others, which have ended."""
        rank = next((rank for rank, each in enumerate(self._statuses()) if each is None), 0)
        counts = Run(self.settings, []).counts
        made = ", ".join(map(str, counts))
        advice = "all must call backward, all_reduce and barrier equally often"
        if len(set(counts)) > 1:
            advice = "give all workers equally many batches"
        raise ScriptFailed(
            f"{self._name}: worker {rank + 1} of {self.settings.workers} waits for others, which "
            f"have ended; they have made {made} steps; {advice}",
            self._last_lines(rank),
        )

    def _hang(self, done: int, timeout: float) -> None:
        workers = self.settings.workers
        counts = Run(self.settings, []).counts
        made = ", ".join(map(str, counts))
        if workers == 1:
            what = f"it made no step for {timeout:g} s, after {counted(done, 'step')}"
        else:
            what = (
                f"no worker made a step for {timeout:g} s; they have made {made}, and may wait for "
                "each other: all must call backward, all_reduce and barrier equally often"
            )
        slowest = counts.index(min(counts))
        raise ScriptFailed(
            f"{self._name}, {counted(workers, 'worker')}: {what}; all processes were ended "
            "(--timeout changes the time)",
            self._last_lines(slowest),
        )

    def _fail(self) -> None:
        """Raise the error of the process that has failed first."""
        limit = time.monotonic() + SECONDS_FOR_OTHERS
        while time.monotonic() < limit and None in self._statuses():
            time.sleep(SECONDS_BETWEEN_LOOKS)
        errors: list[tuple[float, int, list[str]]] = []
        for rank in range(self.settings.workers):
            path = self.settings.of_worker(rank) / ERROR
            if path.exists():
                error = json.loads(path.read_text())
                errors.append((error["time"], rank, error["lines"]))
        if errors:
            _, rank, lines = min(errors)
            what = one_line(lines[-1], 160) if lines else "it has failed"
            if "cuda" in what.lower() or "nccl" in what.lower():
                what = f"{what} ({ON_PROCESSOR})"
        else:
            rank, status = next((rank, each) for rank, each in enumerate(self._statuses()) if each)
            lines = self._last_lines(rank)
            what = _described(status)
        where = f", worker {rank + 1} of {self.settings.workers}"
        raise ScriptFailed(f"{self._name}{where}: {what}", lines)

    def _last_lines(self, rank: int) -> list[str]:
        path = self.settings.of_worker(rank) / OUTPUT
        text = path.read_text(errors="replace") if path.exists() else ""
        return text.rstrip().splitlines()[-LINES_SHOWN:]


class _Idle:
    """Tells for how long processes have done nothing."""

    def __init__(self) -> None:
        self._used = -1.0
        self._since = time.monotonic()

    def lasts(self, pids: list[int]) -> bool:
        """Return whether some processes have used no processor time for a while."""
        used = sum(machine.tree_cpu_seconds(pid) for pid in pids)
        if abs(used - self._used) >= SECONDS_OF_WORK:
            self._used = used
            self._since = time.monotonic()
        return bool(pids) and time.monotonic() - self._since > SECONDS_TO_END


def _described(code: int) -> str:
    if code < 0:
        return f"it was ended by the signal {signal.Signals(-code).name}"
    return f"it ended with exit status {code}"


def environment(rank: int, workers: int) -> dict[str, str]:
    """Return what torchrun adds to the environment."""
    return {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "GROUP_RANK": "0",
        "WORLD_SIZE": str(workers),
        "LOCAL_WORLD_SIZE": str(workers),
        # The processes find each other by a file, so that nothing listens there.
        "MASTER_ADDR": machine.LOOPBACK,
        "MASTER_PORT": "29500",
        "TORCHELASTIC_RUN_ID": "triptych",
    }
