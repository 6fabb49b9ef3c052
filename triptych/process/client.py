"""The coordinator's side of a worker: an engine in another process, with the interface of one."""

import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import numpy as np

from ..core import registry
from ..core.logs import last_line
from ..core.plan import Plan
from ..core.split import Split
from ..core.state import State
from ..errors import EngineError, debugging
from ..spec.network import Network
from ..spec.recipe import Recipe
from . import machine, protocol
from .machine import MemoryUse
from .protocol import Message

SECONDS_BETWEEN_CHECKS = 15.0  # of a worker that is being waited for
CHECKS_WITHOUT_WORK = 20  # in a row, after which a worker counts as frozen: five minutes
SECONDS_TO_END = 5.0  # for a worker whose streams are closed; then it is killed


class WorkerDied(EngineError):
    """A worker process ended by itself; the message contains the last line that it wrote."""

    def __init__(self, message: str, remote: "WorkerProcess") -> None:
        super().__init__(message)
        self.remote = remote


class RowFailed(EngineError):
    """A worker could not do what it was asked, for example without a compiler. It still runs."""


class WorkerProcess:
    """A process that answers messages.

    Parameters
    ----------
    label : str
        What the process is, for messages.
    arguments : sequence of str
        The module that the process runs, and its arguments.
    environment : dict of str to str
        Its environment variables.
    """

    def __init__(self, label: str, arguments: Sequence[str], environment: dict[str, str]) -> None:
        self.label = label
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - `close` closes it
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=None if debugging() else self._log,
            env=environment,
            # Ctrl-C must not reach the worker: the coordinator handles it and ends its workers.
            start_new_session=True,
        )
        self.pid = self._process.pid
        self._unanswered = threading.Event()  # while a reply has not been read to its end
        self._closed = threading.Event()
        self._frozen = False
        threading.Thread(target=self._watch, daemon=True).start()

    def greet(self) -> float:
        """Wait until the framework is imported; return the seconds that its import took."""
        return self._receive().values["import_s"]

    def ask(self, do: str, arrays: State | None = None, **values: Any) -> Message:
        """Send one request and wait for the reply.

        Parameters
        ----------
        do : str
            What the worker has to do: a key of ``handlers`` in `triptych.process.server.Worker`.
        arrays : dict of str to ndarray, optional
            Arrays that belong to the request.
        values
            Further entries of the request, of types that JSON can hold.

        Raises
        ------
        WorkerDied, RowFailed, EngineError
        """
        assert self._process.stdin
        # If the worker has ended or was closed, sending fails, and receiving reports the reason.
        with suppress(OSError, ValueError):
            protocol.send(self._process.stdin, {"do": do} | values, arrays)
        return checked(self._receive())

    def _receive(self) -> Message:
        assert self._process.stdout
        self._unanswered.set()
        try:
            message = protocol.receive(self._process.stdout)
        except (EOFError, OSError, ValueError):
            raise WorkerDied(f"the {self.label} worker {self._end()}", self) from None
        self._unanswered.clear()
        return message

    def _end(self) -> str:
        """Wait for the end of the process and return its reason."""
        code = self._process.wait()
        if self._frozen:
            minutes = SECONDS_BETWEEN_CHECKS * CHECKS_WITHOUT_WORK / 60
            return (
                f"used no processor time for {minutes:.2g} minutes while it was waited for, "
                "so it was ended"
            )
        return f"ended with status {code}: {self.tail()}"

    def _watch(self) -> None:
        """End the process if it is waited for and neither it nor a child of it does anything.

        Checks are counted instead of seconds, because a computer may sleep meanwhile. A
        child may be a compiler.
        """
        idle_checks = 0
        before = -1.0
        while not self._closed.wait(SECONDS_BETWEEN_CHECKS):
            used = machine.tree_cpu_seconds(self.pid) if self._unanswered.is_set() else -1.0
            if used >= 0 and used == before:
                idle_checks += 1
            else:
                idle_checks = 0
            before = used
            if idle_checks >= CHECKS_WITHOUT_WORK:
                self._frozen = True
                self._process.kill()
                return

    def tail(self) -> str:
        """Return the last line that the worker wrote to its standard error."""
        return last_line(self._log) or "it wrote nothing"

    def kill(self) -> None:
        """End the process at once; `close` must still be called."""
        self._process.kill()

    def close(self) -> None:
        """End the process: by the end of its input, or by force if that does not help.

        After Ctrl-C it may still compute a reply that is no longer needed, and a thread that reads
        this reply would block this method. Then it is ended by force at once.
        """
        self._closed.set()
        if self._unanswered.is_set():
            self._process.kill()
        for stream in (self._process.stdin, self._process.stdout):
            with suppress(OSError):
                if stream:
                    stream.close()
        try:
            self._process.wait(SECONDS_TO_END)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._log.close()


def checked(reply: Message) -> Message:
    """Return a reply; raise `EngineError` or `RowFailed` if it is the report of a failure."""
    if "error" in reply.values:
        error = EngineError if reply.values["kind"] == "user" else RowFailed
        raise error(reply.values["error"])
    return reply


class EngineHost:
    """Builds engines of one kind somewhere else, with messages.

    Parameters
    ----------
    engine, backend : str
        The engine that is built, and its backend.
    device : str
        The device of the engines.

    Raises
    ------
    EngineError
        If the framework is not installed.
    """

    def __init__(self, engine: str, backend: str, device: str) -> None:
        self.entry = registry.entry(engine)
        self.backend = backend
        self.device = device
        if not self.entry.installed:
            raise EngineError(f"{self.entry.label} is not installed: {self.entry.install}")
        self._splits: set[str] = set()

    def ask(self, do: str, arrays: State | None = None, **values: Any) -> Message:
        """Send one request and wait for the reply; see `WorkerProcess.ask`."""
        raise NotImplementedError

    def build(self, key: str, network: Network, recipe: Recipe) -> "RemoteEngine":
        """Build an engine and return its stand-in.

        Parameters
        ----------
        key : str
            The name of the engine there; an engine of the same name is replaced.
        network : Network
            The network that it trains.
        recipe : Recipe
            How it trains.
        """
        reply = self.ask(
            "build",
            key=key,
            engine=self.entry.name,
            backend=self.backend,
            device=self.device,
            network=network.to_json(),
            recipe=recipe.to_json(),
        )
        return RemoteEngine(self, key, reply.values["device"], reply.values["build_s"])

    def send_split(self, split: Split) -> str:
        """Send a split unless it was sent before; return its name there."""
        if split.digest not in self._splits:
            self.ask("split", {"images": split.images, "labels": split.labels}, name=split.digest)
            self._splits.add(split.digest)
        return split.digest


class Remote(WorkerProcess, EngineHost):
    """A worker process that holds engines.

    Parameters
    ----------
    engine, backend : str
        The engine that the worker builds, and its backend.
    threads : int
        The number of threads that the worker may use.
    device : str
        The device of its engines.

    Raises
    ------
    EngineError
        If the framework is not installed.
    """

    worker = "triptych.process.server"  # the module that the process runs

    def __init__(self, engine: str, backend: str, *, threads: int = 1, device: str = "cpu") -> None:
        EngineHost.__init__(self, engine, backend, device)
        arguments = (self.worker, self.entry.requires)
        environment = machine.environment(threads, device)
        WorkerProcess.__init__(self, self.entry.label, arguments, environment)

    def memory(self) -> MemoryUse:
        """Return the peak of the worker's memory, and its BLAS libraries."""
        return MemoryUse(**self.ask("memory").values)

    def reset_peak_memory(self) -> None:
        """Start the peak of the worker's memory anew."""
        self.ask("reset_memory")


class RemoteEngine:
    """An engine in a worker, with the interface of `triptych.core.engine.Engine`.

    Attributes
    ----------
    remote : EngineHost
        The worker.
    key : str
        The name of the engine in the worker.
    device : str
        The device that it runs on.
    build_s, upload_s : float
        Seconds that building it and its last upload took, measured in the worker.
    wall_s, cpu_s : float
        Wall and processor time of its last `run`, in seconds, measured in the worker.
    """

    def __init__(self, remote: EngineHost, key: str, device: str, build_s: float) -> None:
        self.remote = remote
        self.key = key
        self.device = device
        self.build_s = build_s
        self.upload_s = 0.0
        self.wall_s = 0.0
        self.cpu_s = 0.0
        self._losses: list[np.ndarray] = []

    def load(self, state: State) -> None:
        """Take weights and optimizer slots in."""
        self.remote.ask("load", state, key=self.key)

    def state(self) -> State:
        """Return weights and optimizer slots, as copies."""
        return self.remote.ask("state", key=self.key).arrays

    def upload(self, split: Split) -> str:
        """Copy a split to the worker's device; return its name in the worker."""
        name = self.remote.send_split(split)
        self.upload_s = self.remote.ask("upload", key=self.key, name=name).values["upload_s"]
        return name

    def run(self, data: str, plan: Plan) -> None:
        """Make the plan's training steps with the split `data`, and time them."""
        self.run_all(data, [plan])

    def run_all(self, data: str, plans: Sequence[Plan]) -> None:
        """Run several plans, one after the other, and time them together."""
        reply = self.remote.ask("run", protocol.pack_plans(plans), key=self.key, name=data)
        self.wall_s = reply.values["wall_s"]
        self.cpu_s = reply.values["cpu_s"]
        self._losses.append(reply.arrays["losses"])

    def update(self, gradients: State, rate: float) -> None:
        """Make the update of a step from given gradients; see `UpdatingEngine`."""
        self.remote.ask("update", gradients, key=self.key, rate=rate)

    def wait(self) -> np.ndarray:
        """Return the losses since the last call, shape (steps,)."""
        losses = np.concatenate(self._losses) if self._losses else np.zeros(0)
        self._losses = []
        return losses

    def logits(self, data: str) -> np.ndarray:
        """Return the logits of the split `data`, shape (samples, classes)."""
        return self.remote.ask("logits", key=self.key, name=data).arrays["logits"]

    def trace(self, data: str, plan: Plan, *, outputs: bool = True) -> State:
        """Return what the plan's first step computes, and change nothing."""
        packed = protocol.pack_plans([plan])
        return self.remote.ask("trace", packed, key=self.key, name=data, outputs=outputs).arrays

    def drop(self) -> None:
        """Let the worker forget this engine and its data."""
        self.remote.ask("drop", key=self.key)
