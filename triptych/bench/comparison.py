"""The comparison: it proves, then trains and times all rows in interleaved blocks. A generator of events, and no words.

Order for each seed: the workers' imports, while the data is read; building and first steps, each alone; the float64 walk
and the K-step check; the float32 verdict; then the training run itself, in rounds in which every row makes the same K steps
in rotated order while the others have been idle for 50 ms. If the training is over before 15 rounds are timed, the rounds go
on, and what they do to the weights is thrown away.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from ..core import registry, state
from ..core.plan import Plan
from ..core.planner import BatchPlanner
from ..core.selection import EngineSpec
from ..core.state import State
from ..data.dataset import Dataset
from ..errors import EngineError
from ..process import machine
from ..process.client import Remote, WorkerDied
from ..process.pool import Workers
from ..spec.network import Network
from ..spec.recipe import Recipe
from . import load, proof, timing
from .contestants import (
    Row,
    described,
    engine_of,
    remote_of,
    valid_rounds,
)
from .results import result

Event = dict[str, Any]

BLOCK_SECONDS = (
    0.1  # aimed at with the reference's step time; at least 50 ms is wanted of the fastest row
)
LONGEST_BLOCK = 1.0
PACE_STEPS = 5  # from which the length of a block follows
PACE_SECONDS = 10.0  # after so long fewer steps will do
PIECES = 12  # of a training, at the least


@dataclass(frozen=True)
class Settings:
    """What is to be compared.

    Attributes
    ----------
    network, recipe
    rows : list of Spec
        The first is NumPy, the reference.
    threads : int
        Of every worker.
    device : str
    patience : float
        How long to wait, in all, for a busy machine to become calm, in seconds.
    """

    network: Network
    recipe: Recipe
    rows: list[EngineSpec]
    threads: int = 1
    device: str = "cpu"
    patience: float = timing.PATIENCE_SECONDS


class Comparison:
    """One seed's comparison. Iterate over `events`; `rows` and `states` are complete when it ends.

    Parameters
    ----------
    dataset : Dataset
    settings : Settings
    workers : Workers, optional
        Those of the rows where they were started before, while the data was read.
    """

    def __init__(
        self, dataset: Dataset, settings: Settings, workers: Workers | None = None
    ) -> None:
        settings.network.check_fits(dataset.shape, len(dataset.classes))
        self.dataset, self.settings = dataset, settings
        self.rows = [Row(spec) for spec in settings.rows]
        self.states: dict[str, State] = {}
        self.drawing: list[float] = []
        self.others: dict[int, float] = {}  # by round: the share of the machine that others used
        self.patience = settings.patience
        self.start = state.initial(settings.network, settings.recipe)
        self._workers = workers
        # What proves and what is drawn beside lives in a NumPy process of its own, in nobody's time and memory.
        self._witness: Remote | None = None

    def events(self) -> Iterator[Event]:
        """Run the comparison.

        Yields
        ------
        dict
            With a ``type``; documented in docs/results.md.

        Raises
        ------
        EngineError
            Where the reference itself cannot run, or no second row can.
        """
        yield {"type": "machine"} | machine.describe() | {"threads": self.settings.threads}
        try:
            with self._workers or Workers(
                self.settings.rows, self.settings.threads, self.settings.device
            ) as workers:
                yield from self._open(workers)
            yield from self._first_steps()
            yield from proof.float64(self)
            if self.settings.recipe.dtype == "float32" and len(self.live) > 1:
                yield from proof.float32(self)
            yield from timing.train(self)
            yield {"type": "result", "result": result(self)}
        finally:
            for remote in [self._witness, *(row.remote for row in self.rows)]:
                if remote:
                    remote.close()

    @property
    def live(self) -> list[Row]:
        return [row for row in self.rows if not row.failed]

    @property
    def calm_rounds(self) -> set[int]:
        """The valid rounds in which the machine was calm."""
        return load.calm_rounds(self.live, valid_rounds(self.live), self.others)

    @property
    def reference(self) -> Row:
        return self.rows[0]

    @property
    def witness(self) -> Remote:
        if self._witness is None:
            self._witness = Remote("numpy", "eager", threads=self.settings.threads)
            self._witness.greet()
        return self._witness

    def _schedule(self, block: int, **changes: Any) -> BatchPlanner:
        return BatchPlanner(
            self.settings.network,
            replace(self.settings.recipe, **changes),
            len(self.dataset.train),
            block,
        )

    def attempt(self, row: Row, action: Callable[[], Any]) -> Iterator[Event]:
        """Do something for one row; a failure takes the row out and leaves the others."""

        def silently() -> Iterator[Event]:
            action()
            yield from ()

        yield from self.attempt_events(row, silently())

    def attempt_events(self, row: Row, events: Iterator[Event]) -> Iterator[Event]:
        """Do something for one row that tells how far it is; a failure is treated as by `attempt`.

        Parameters
        ----------
        row : Row
        events : iterator of dict
            Does the work as it is iterated over.
        """
        try:
            yield from events
        except EngineError as error:
            if isinstance(error, WorkerDied):
                if error.remote is self._witness:
                    raise
                error.remote.close()
                row.remote = None
            row.failed = str(error)
            yield {"type": "failed", "row": row.spec.key, "why": row.failed}
            if row is self.reference:
                raise EngineError(f"the reference cannot run: {row.failed}") from error

    def each(self, action: Callable[[Row], Any]) -> Iterator[Event]:
        """Do the same for every row that is left."""
        for row in self.live:
            yield from self.attempt(row, lambda row=row: action(row))

    def _open(self, workers: Workers) -> Iterator[Event]:
        for row in self.rows:
            yield {"type": "importing", "row": row.spec.key}

            def take(row: Row = row) -> None:
                row.remote, row.timing["import"] = workers.take(row.spec)

            yield from self.attempt(row, take)
        for row in self.live:  # when all are imported, so that each is built alone
            yield {"type": "building", "row": row.spec.key}

            def build(row: Row = row) -> None:
                row.engine = remote_of(row).build(
                    "timed", self.settings.network, self.settings.recipe
                )
                row.timing["build"] = row.engine.build_s
                row.test = row.engine.upload(self.dataset.test)
                row.train = row.engine.upload(self.dataset.train)
                row.timing["transfer"] = row.engine.upload_s
                row.engine.load(self.start)

            yield from self.attempt(row, build)
            if not row.failed and row.engine:
                yield {
                    "type": "ready",
                    "row": row.spec.key,
                    "device": row.engine.device,
                    "seconds": dict(row.timing),
                }
        # Engines that are not installed leave NumPy alone. Engines that cannot run are a mistake.
        broken = [
            row for row in self.rows[1:] if row.failed and registry.entry(row.spec.engine).installed
        ]
        if broken and len(self.live) < 2:
            raise EngineError(
                "no engine except NumPy could run; " + "; ".join(described(row) for row in broken)
            )

    def _first_steps(self) -> Iterator[Event]:
        """Time the very first step of each process, compilation included, and choose K by the reference's pace."""
        plan = next(self._schedule(1).plans())
        for row in self.live:
            yield {"type": "compiling", "row": row.spec.key}
            yield from self.attempt(row, lambda row=row: self._first(row, plan))
            if not row.failed:
                yield {"type": "first", "row": row.spec.key, "seconds": row.timing["first_step"]}
        engine = engine_of(self.reference)
        yield {"type": "pacing", "row": self.reference.spec.key}
        steps: list[float] = []
        while len(steps) < PACE_STEPS and sum(steps) < PACE_SECONDS:
            engine.run(self.reference.train, plan)
            steps.append(engine.wall_s)
        engine.wait()
        pace = min(steps)
        whole = pace * self._schedule(1).steps
        target = min(max(BLOCK_SECONDS, whole / 100), LONGEST_BLOCK)
        self.block_steps = max(1, round(target / pace))
        # A short training is cut into smaller pieces, so that there is a curve to see; the timed blocks stay as long.
        self.piece_steps = min(self.block_steps, -(-self._schedule(1).steps // PIECES))
        self.schedule = self._schedule(self.piece_steps)
        yield {
            "type": "pace",
            "seconds": pace,
            "block": self.block_steps,
            "steps": self.schedule.steps,
        }

    def _first(self, row: Row, plan: Plan) -> None:
        engine = engine_of(row)
        engine.run(row.train, plan)
        engine.wait()
        row.timing["first_step"] = engine.wall_s
