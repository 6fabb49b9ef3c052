"""The workers of a comparison, started in the background while the data is read."""

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

from ..core.selection import EngineSpec
from .client import Remote


class Workers:
    """Starts a worker for each row in a thread. A context manager.

    The workers start one after the other, so that no import is timed while another one runs.

    Parameters
    ----------
    rows : iterable of EngineSpec
        The rows, in the order in which their workers start.
    threads : int
        Threads of every worker.
    device : str
        The device of every worker's engines.
    """

    def __init__(self, rows: Iterable[EngineSpec], threads: int, device: str) -> None:
        self.threads = threads
        self.device = device
        self._untaken: dict[str, Remote] = {}
        self._pool = ThreadPoolExecutor(1)
        self._started = {spec.key: self._pool.submit(self._start, spec) for spec in rows}

    def __enter__(self) -> "Workers":
        return self

    def __exit__(self, *_: object) -> None:
        """End the workers that were not taken, without waiting for an import in progress."""
        for future in self._started.values():
            future.cancel()
        for remote in list(self._untaken.values()):
            remote.kill()
        self._pool.shutdown()
        for remote in self._untaken.values():
            remote.close()

    def take(self, spec: EngineSpec) -> tuple[Remote, float]:
        """Wait for the worker of a row; return it and the seconds that its import took.

        The caller must close the worker.

        Raises
        ------
        EngineError
            If the framework is not installed, or its import fails.
        """
        remote, import_seconds = self._started[spec.key].result()
        del self._untaken[spec.key]
        return remote, import_seconds

    def _start(self, spec: EngineSpec) -> tuple[Remote, float]:
        remote = Remote(spec.engine, spec.backend, threads=self.threads, device=self.device)
        self._untaken[spec.key] = remote
        return remote, remote.greet()
