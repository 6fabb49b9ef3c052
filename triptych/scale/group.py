"""The coordinator's side of a group of workers: together they are one engine."""

import tempfile
from collections.abc import Callable
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from ..core import registry
from ..core.plan import Plan
from ..core.selection import EngineSpec
from ..core.split import Split
from ..core.state import State
from ..errors import EngineError
from ..process.client import Remote, RemoteEngine, RowFailed, WorkerDied
from ..spec.network import Network
from ..spec.recipe import Recipe
from .messages import LOST

T = TypeVar("T")

SECONDS_FOR_THE_CAUSE = 10  # for the worker that has failed, after another one has missed it


class ShardRemote(Remote):
    """A worker process of a group."""

    worker = "triptych.scale.worker"

    def digest(self, key: str) -> str:
        """Return the SHA-256 of the state of an engine."""
        return self.ask("digest", key=key).values["digest"]


class WorkerGroup:
    """Worker processes of one engine that compute each step together. A context manager.

    If one of them fails, all are ended, and one line says which and why. They end with the process
    that has started them, too.

    Parameters
    ----------
    spec : EngineSpec
        The engine and its backend.
    workers : int
        How many processes.
    threads : int
        Threads of each.
    device : str
        The device of their engines.
    native : bool
        Whether the framework's own data-parallel training adds the gradients.

    Raises
    ------
    EngineError
        If the framework is not installed, or `native` is true and it has no such training.
    """

    remote: type[ShardRemote] = ShardRemote  # what each process is

    def __init__(
        self,
        spec: EngineSpec,
        workers: int,
        *,
        threads: int = 1,
        device: str = "cpu",
        native: bool = False,
    ) -> None:
        if native:
            registry.check_native(registry.entry(spec.engine))
        self.workers = workers
        self._native = spec.engine if native else None
        self._folder = tempfile.TemporaryDirectory(prefix="triptych-")
        self._pool = ThreadPoolExecutor(workers)
        self.remotes: list[ShardRemote] = []
        try:
            for _ in range(workers):
                remote = self.remote(spec.engine, spec.backend, threads=threads, device=device)
                self.remotes.append(remote)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> "WorkerGroup":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self) -> None:
        """Wait until all processes have imported their framework and know each other."""
        self.each(lambda rank, remote: remote.greet())
        rendezvous = str(Path(self._folder.name) / "rendezvous")
        self.each(
            lambda rank, remote: remote.ask(
                "join",
                rank=rank,
                workers=self.workers,
                rendezvous=rendezvous,
                native=self._native,
            )
        )

    def build(self, key: str, network: Network, recipe: Recipe) -> "GroupEngine":
        """Build an engine in every process; return what they are together.

        Raises
        ------
        EngineError
            If the engine refuses the network, and then the processes go on; or if one fails.
        """

        def built(rank: int, remote: ShardRemote) -> RemoteEngine | EngineError:
            try:
                return remote.build(key, network, recipe)
            except (RowFailed, WorkerDied):
                raise
            except EngineError as refusal:
                return refusal

        engines: list[RemoteEngine] = []
        for answer in self.each(built):  # all refuse alike
            if isinstance(answer, EngineError):
                raise answer
            engines.append(answer)
        return GroupEngine(self, engines)

    def each(self, ask: Callable[[int, ShardRemote], T]) -> list[T]:
        """Ask all processes at the same time; return their answers in order of rank.

        Parameters
        ----------
        ask : callable
            Takes the rank and the process.

        Raises
        ------
        EngineError
            If a process fails. All have been ended then.
        """
        futures = [self._pool.submit(ask, rank, each) for rank, each in enumerate(self.remotes)]
        try:
            wait(futures, return_when=FIRST_EXCEPTION)
            if any(_failure(future) for future in futures):
                self._fail(futures)
        except BaseException:  # Ctrl-C, too: no answer is waited for
            self._kill()
            raise
        return [future.result() for future in futures]

    def _fail(self, futures: "list[Future[Any]]") -> None:
        """Raise the error of the worker that has failed, and not of those that have missed it."""
        if all(_missed_another(_failure(future)) for future in futures if _failure(future)):
            wait(futures, SECONDS_FOR_THE_CAUSE)
        failed = {rank: _failure(future) for rank, future in enumerate(futures)}
        failed = {rank: error for rank, error in failed.items() if error}
        rank = min(failed, key=lambda rank: (_missed_another(failed[rank]), rank))
        self._kill()
        wait(futures)
        error = failed[rank]
        if not isinstance(error, EngineError):
            assert error
            raise error
        raise EngineError(f"worker {rank + 1} of {self.workers}: {error}") from error

    def _kill(self) -> None:
        for remote in self.remotes:
            remote.kill()

    def close(self) -> None:
        """End all processes."""
        for remote in self.remotes:
            remote.close()
        self._pool.shutdown()
        self._folder.cleanup()


def _failure(future: "Future[Any]") -> BaseException | None:
    return future.exception() if future.done() else None


def _missed_another(error: BaseException | None) -> bool:
    """Return whether an error only tells that another worker has ended."""
    return str(error) == LOST


class GroupEngine:
    """All workers of a group as one engine, with the interface of `triptych.core.engine.Engine`.

    Parameters
    ----------
    group : WorkerGroup
        The processes.
    engines : list of RemoteEngine
        The engine in each, in order of rank.
    """

    def __init__(self, group: WorkerGroup, engines: list[RemoteEngine]) -> None:
        self.group = group
        self.engines = engines
        self.device = engines[0].device

    def load(self, state: State) -> None:
        """Load a state into every worker."""
        self.group.each(lambda rank, remote: self.engines[rank].load(state))

    def state(self) -> State:
        """Return the state of the first worker."""
        return self.engines[0].state()

    def digests(self) -> list[str]:
        """Return the SHA-256 of the state of every worker: equal if the states are, to the bit."""
        return self.group.each(lambda rank, remote: remote.digest(self.engines[rank].key))

    def upload(self, split: Split) -> str:
        """Copy a split to every worker; return its name there."""
        return self.group.each(lambda rank, remote: self.engines[rank].upload(split))[0]

    def run(self, data: str, plan: Plan) -> None:
        """Make a plan's steps together."""
        self.group.each(lambda rank, remote: self.engines[rank].run(data, plan))

    def wait(self) -> np.ndarray:
        """Return the losses of the whole batches since the last call, shape (steps,)."""
        losses = [engine.wait() for engine in self.engines]
        return losses[0]

    def logits(self, data: str) -> np.ndarray:
        """Return the logits of every sample in evaluation mode, from the first worker."""
        return self.engines[0].logits(data)

    def drop(self) -> None:
        """Let the workers forget their engines and the data."""
        self.group.each(lambda rank, remote: self.engines[rank].drop())
