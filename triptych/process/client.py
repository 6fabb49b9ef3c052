"""The coordinator's side of a worker: an engine in a process of its own, behind the same waist as one in this process."""

import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import numpy as np

from ..core import registry
from ..core.plan import Plan
from ..core.split import Split
from ..core.state import State
from ..errors import EngineError
from ..spec.network import Network
from ..spec.recipe import Recipe
from . import machine, protocol

SECONDS_BETWEEN_CHECKS = 15.0  # of a worker that is being waited for
CHECKS_WITHOUT_WORK = 20  # in a row, after which a worker is taken for frozen: five minutes


class WorkerDied(EngineError):
    """A worker process that ended by itself; the message holds the last line it wrote."""

    def __init__(self, message: str, remote: "Remote") -> None:
        super().__init__(message)
        self.remote = remote


class RowFailed(EngineError):
    """A worker that could not do what it was asked: a missing compiler, say. The process lives on."""


class Remote:
    """One worker process and its engine.

    Parameters
    ----------
    engine : str
    backend : str
    threads : int
    device : str

    Raises
    ------
    EngineError
        Where the framework is not installed.
    """

    worker = "triptych.process.server"  # what its process runs

    def __init__(self, engine: str, backend: str, *, threads: int = 1, device: str = "cpu") -> None:
        self.entry, self.backend, self.device = registry.entry(engine), backend, device
        if not self.entry.installed:
            raise EngineError(f"{self.entry.label} is not installed: {self.entry.install}")
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - open for as long as the process; close() closes it
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", self.worker, self.entry.requires],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            env=machine.environment(threads, device),
            start_new_session=True,  # Ctrl-C is the coordinator's to handle; it ends its workers in order
        )
        self.pid = self._process.pid
        self._splits: set[str] = set()
        self._waiting = threading.Event()
        self._closed = threading.Event()
        self._frozen = False
        threading.Thread(target=self._watch, daemon=True).start()

    def greet(self) -> float:
        """Wait until the framework is imported; return the seconds that its import took."""
        return self._receive()[0]["import_s"]

    def ask(
        self, do: str, arrays: State | None = None, **values: Any
    ) -> tuple[protocol.Message, State]:
        """Send one message and wait for its answer.

        Raises
        ------
        WorkerDied, RowFailed
        """
        assert self._process.stdin
        with suppress(OSError, ValueError):  # the worker is gone, or was closed: receiving says so
            protocol.send(self._process.stdin, {"do": do} | values, arrays)
        answer, result = self._receive()
        if "error" in answer:
            raise (EngineError if answer["kind"] == "user" else RowFailed)(answer["error"])
        return answer, result

    def _receive(self) -> tuple[protocol.Message, State]:
        assert self._process.stdout
        self._waiting.set()
        try:
            return protocol.receive(self._process.stdout)
        except (EOFError, OSError, ValueError):
            code = self._process.wait()
            why = f"ended with status {code}: {self.tail()}"
            if self._frozen:
                minutes = SECONDS_BETWEEN_CHECKS * CHECKS_WITHOUT_WORK / 60
                why = f"used no processor time for {minutes:.2g} minutes while it was waited for, so it was ended"
            raise WorkerDied(f"the {self.entry.label} worker {why}", self) from None
        finally:
            self._waiting.clear()

    def _watch(self) -> None:
        """End the process if it is waited for and neither it nor a child of it, a compiler say, does anything.

        Checks are counted and not seconds, because a computer may sleep meanwhile.
        """
        idle, before = 0, -1.0
        while not self._closed.wait(SECONDS_BETWEEN_CHECKS):
            used = machine.tree_cpu_seconds(self.pid) if self._waiting.is_set() else -1.0
            idle = idle + 1 if used >= 0 and used == before else 0
            before = used
            if idle >= CHECKS_WITHOUT_WORK:
                self._frozen = True
                self._process.kill()
                return

    def build(self, key: str, network: Network, recipe: Recipe) -> "RemoteEngine":
        """Build an engine in the worker and return its stand-in."""
        about: dict[str, Any] = {
            "engine": self.entry.name,
            "backend": self.backend,
            "device": self.device,
        }
        answer, _ = self.ask(
            "build", key=key, network=network.to_json(), recipe=recipe.to_json(), **about
        )
        return RemoteEngine(self, key, answer["device"], answer["build_s"])

    def send_split(self, split: Split) -> str:
        """Send a split once; return the name it has in the worker."""
        if split.digest not in self._splits:
            self.ask("split", {"images": split.images, "labels": split.labels}, name=split.digest)
            self._splits.add(split.digest)
        return split.digest

    def tail(self) -> str:
        """Return the last line the worker wrote to its standard error."""
        self._log.seek(0)
        lines = self._log.read().decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else "it wrote nothing"

    def kill(self) -> None:
        """End the process at once, whatever it is doing; `close` is still to be called."""
        self._process.kill()

    def close(self) -> None:
        """End the process: politely, then not."""
        self._closed.set()
        for stream in (self._process.stdin, self._process.stdout):
            with suppress(OSError):
                if stream:
                    stream.close()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._log.close()


class RemoteEngine:
    """An engine in a worker. It is an `Engine`; `wall_s` and `cpu_s` are of its last `run`, taken inside the worker."""

    def __init__(self, remote: Remote, key: str, device: str, build_s: float) -> None:
        self.remote, self.key, self.device, self.build_s = remote, key, device, build_s
        self.upload_s = self.wall_s = self.cpu_s = 0.0
        self._losses: list[np.ndarray] = []

    def load(self, state: State) -> None:
        self.remote.ask("load", state, key=self.key)

    def state(self) -> State:
        return self.remote.ask("state", key=self.key)[1]

    def upload(self, split: Split) -> str:
        name = self.remote.send_split(split)
        self.upload_s = self.remote.ask("upload", key=self.key, name=name)[0]["upload_s"]
        return name

    def run(self, data: str, plan: Plan) -> None:
        self.run_all(data, [plan])

    def run_all(self, data: str, plans: Sequence[Plan]) -> None:
        """Run several plans, one after the other, as one block on the stopwatch."""
        answer, result = self.remote.ask("run", protocol.pack_plans(plans), key=self.key, name=data)
        self.wall_s, self.cpu_s = answer["wall_s"], answer["cpu_s"]
        self._losses.append(result["losses"])

    def wait(self) -> np.ndarray:
        losses, self._losses = np.concatenate(self._losses) if self._losses else np.zeros(0), []
        return losses

    def logits(self, data: str) -> np.ndarray:
        return self.remote.ask("logits", key=self.key, name=data)[1]["logits"]

    def trace(self, data: str, plan: Plan, *, outputs: bool = True) -> State:
        return self.remote.ask(
            "trace", protocol.pack_plans([plan]), key=self.key, name=data, outputs=outputs
        )[1]

    def drop(self) -> None:
        """Let the worker forget this engine and its data."""
        self.remote.ask("drop", key=self.key)
