"""The workers of a comparison, started while something else is done: while the data is read."""

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

from ..core.selection import EngineSpec
from .client import Remote


class Workers:
    """Starts a worker for each row, one after the other in a thread, so that each import is timed alone. A context manager.

    Parameters
    ----------
    rows : iterable of Spec
    threads : int
        Of every worker.
    device : str
    """

    def __init__(self, rows: Iterable[EngineSpec], threads: int, device: str) -> None:
        self.threads, self.device = threads, device
        self._untaken: dict[str, Remote] = {}
        self._pool = ThreadPoolExecutor(1)
        self._begun = {spec.key: self._pool.submit(self._begin, spec) for spec in rows}

    def __enter__(self) -> "Workers":
        return self

    def __exit__(self, *_: object) -> None:
        """End the workers that nobody took; an import that is under way is not waited for."""
        for future in self._begun.values():
            future.cancel()
        for remote in list(self._untaken.values()):
            remote.kill()
        self._pool.shutdown()
        for remote in self._untaken.values():
            remote.close()

    def take(self, spec: EngineSpec) -> tuple[Remote, float]:
        """Wait for the worker of a row; return it and the seconds that its import took. Whoever takes it closes it.

        Raises
        ------
        EngineError
            Where the framework is not installed, or its import fails.
        """
        begun = self._begun[spec.key].result()
        del self._untaken[spec.key]
        return begun

    def _begin(self, spec: EngineSpec) -> tuple[Remote, float]:
        remote = self._untaken[spec.key] = Remote(
            spec.engine, spec.backend, threads=self.threads, device=self.device
        )
        return remote, remote.greet()
