"""Who takes part in a comparison, and what happens if a row fails."""

from collections.abc import Callable, Collection, Generator, Mapping
from dataclasses import dataclass
from typing import TypeVar

from ..core.events import Event, RowFailed
from ..core.selection import EngineSpec
from ..errors import EngineError
from ..process.client import Remote, RemoteEngine, WorkerDied
from ..spec.network import Network
from ..spec.recipe import Recipe

T = TypeVar("T")

SECONDS_OF_PATIENCE = 60.0


@dataclass(frozen=True)
class Settings:
    """What is compared.

    Attributes
    ----------
    network : Network
        What every row trains.
    recipe : Recipe
        How it is trained.
    rows : list of EngineSpec
        The first is NumPy, the reference.
    threads : int
        Threads of every worker.
    device : str
        On which the engines compute, for example ``cpu``.
    patience : float
        How long the comparison waits, in all, for a busy machine to become calm, in seconds.
    """

    network: Network
    recipe: Recipe
    rows: list[EngineSpec]
    threads: int = 1
    device: str = "cpu"
    patience: float = SECONDS_OF_PATIENCE


@dataclass(frozen=True)
class RunningRow:
    """A row whose worker runs and whose engine is built.

    Attributes
    ----------
    spec : EngineSpec
        The engine and its backend.
    remote : Remote
        The worker process.
    engine : RemoteEngine
        The engine that is timed.
    train, test : str
        The names of the two splits in the worker.
    """

    spec: EngineSpec
    remote: Remote
    engine: RemoteEngine
    train: str
    test: str

    @property
    def key(self) -> str:
        """The short name of the engine and backend."""
        return self.spec.key


@dataclass(frozen=True)
class Failure:
    """Why a row takes no further part."""

    why: str


def remaining(rows: Mapping[str, RunningRow], failures: Collection[str]) -> list[RunningRow]:
    """Return the rows that have not failed, in their order."""
    return [row for key, row in rows.items() if key not in failures]


def attempt(
    spec: EngineSpec,
    action: Callable[[], T],
    *,
    required: bool,
    witness: Remote | None = None,
) -> Generator[Event, None, T | Failure]:
    """Do something for one row; a failure ends the row's part and leaves the other rows.

    Parameters
    ----------
    spec : EngineSpec
        The row.
    action : callable
        Does the work. It may raise an EngineError.
    required : bool
        Whether the comparison is impossible without this row, because it is the reference.
    witness : Remote, optional
        The worker of the proof, which belongs to no row.

    Returns
    -------
    Failure, or what the action returned

    Raises
    ------
    EngineError
        If a required row failed.
    WorkerDied
        If the witness ended.
    """
    work = _without_events(action)
    return (yield from attempt_events(spec, work, required=required, witness=witness))


def _without_events(action: Callable[[], T]) -> Generator[Event, None, T]:
    yield from ()
    return action()


def attempt_events(
    spec: EngineSpec,
    work: Generator[Event, None, T],
    *,
    required: bool,
    witness: Remote | None = None,
) -> Generator[Event, None, T | Failure]:
    """Do as `attempt` does with work that yields events while it advances."""
    try:
        return (yield from work)
    except EngineError as error:
        failure = failed(error, witness)
        yield RowFailed(spec.key, failure.why)
        if required:
            raise EngineError(f"the reference cannot run: {failure.why}") from error
        return failure


def failed(error: EngineError, witness: Remote | None = None) -> Failure:
    """Return the failure of a row, after closing its worker if that has ended."""
    if isinstance(error, WorkerDied):
        if error.remote is witness:
            raise error
        error.remote.close()
    return Failure(str(error))
