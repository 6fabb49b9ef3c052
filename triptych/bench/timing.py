"""The third phase of a comparison: the training, timed in rounds.

More rounds follow until enough of them count.
"""

import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from ..core import events, metrics
from ..core.events import Event
from ..core.plan import Plan
from ..core.planner import BatchPlanner, Span
from ..core.state import State
from ..data.dataset import Dataset
from ..errors import EngineError
from ..parity.float32 import (
    Snapshot,
    measure_drift,
    perturbed_starts,
    probe_plan,
    take_snapshot,
)
from ..process.client import Remote, RemoteEngine
from . import load
from .contestants import Failure, RunningRow, Settings, attempt, remaining
from .proof import Proved
from .rounds import MOST_ROUNDS, ROUNDS, Block, Dropout, Elapsed, RoundOver, Turn, race
from .starting import Started
from .validity import Rounds, RowBlocks

T = TypeVar("T")

SMALLEST_SHARE_OF_A_BLOCK = 0.8  # what has fewer of a block's steps is not timed
EVALUATIONS = 20  # of a training
LOSS_DIGITS = 7  # a float32 number has no more


@dataclass(frozen=True)
class Round:
    """What every row does in one round.

    Attributes
    ----------
    plans : list of Plan
        Made one after the other, as one block.
    steps : int
        Steps of all plans.
    step : int
        Steps of the training after it.
    warm : bool
        Whether a plan has a shape for the first time, so that compilation may be in the time.
    training : bool
        False after the end of the training: then the round is made only to be timed.
    """

    plans: list[Plan]
    steps: int
    step: int
    warm: bool
    training: bool


@dataclass(frozen=True)
class Trained:
    """What a row's training came to, before the timing went on.

    Attributes
    ----------
    state : State
        The trained weights, buffers and optimizer slots.
    predictions : ndarray of int32, shape (test samples,)
        The predicted classes.
    peak_bytes : int or None
        The largest resident size of the worker during the training, if the system tells it.
    blas : list of str
        The BLAS and OpenMP libraries that the worker has loaded.
    """

    state: State
    predictions: NDArray[np.int32]
    peak_bytes: int | None
    blas: list[str]


@dataclass(frozen=True)
class Timed:
    """The rows after the third phase.

    Dictionaries are by the key of the row; losses and trained states are of rows that did not fail.

    Attributes
    ----------
    failures : dict of str to str
        By key, why a row took no further part, since the beginning.
    same_start : dict of str to bool
        Whether a row held the first weights, to the bit, when the training began.
    rounds : Rounds
        What was timed.
    losses : dict of str to list of float
        The loss of every training step, seven significant digits.
    trained : dict of str to Trained
    drawing_seconds : list of float
        By round, the time to draw the plan of one step, in seconds.
    patience : float
        The time that is left for waiting for a calm machine, in seconds.
    """

    failures: dict[str, str]
    same_start: dict[str, bool]
    rounds: Rounds
    losses: dict[str, list[float]]
    trained: dict[str, Trained]
    drawing_seconds: list[float]
    patience: float


def train_and_time(
    dataset: Dataset, settings: Settings, started: Started, proved: Proved, witness: Remote
) -> Generator[Event, None, Timed]:
    """Train and time every row; then go on timing until enough rounds count.

    Raises
    ------
    EngineError
        If the reference or the witness cannot go on.
    """
    failures = dict(proved.failures)
    phase = _Phase(dataset, settings, started, witness, failures, settings.patience)
    yield from phase.begin()
    yield from phase.evaluate(0)
    yield from phase.race()
    return phase.finished()


@dataclass
class _Phase:
    """The state of the third phase while it runs."""

    dataset: Dataset
    settings: Settings
    started: Started
    witness: Remote
    failures: dict[str, str]
    patience: float
    same_start: dict[str, bool] = field(default_factory=dict[str, bool])
    blocks: dict[str, RowBlocks] = field(default_factory=dict[str, RowBlocks])
    others: dict[int, float] = field(default_factory=dict[int, float])
    losses: dict[str, list[float]] = field(default_factory=dict[str, list[float]])
    trained: dict[str, Trained] = field(default_factory=dict[str, Trained])
    drawing_seconds: list[float] = field(default_factory=list[float])
    twins: list[RemoteEngine] = field(default_factory=list[RemoteEngine])

    # ---- Beginning and end ----------------------------------------------------------------------

    def begin(self) -> Generator[Event]:
        """Give every row the first weights, and build the runs that show the effect of rounding."""
        for row in self.live:
            same = yield from self._attempt(row, partial(self._load, row))
            if not isinstance(same, Failure):
                self.same_start[row.key] = same
                self.blocks[row.key] = RowBlocks(row.spec.label, row.engine.device)
                self.losses[row.key] = []
        all_same = all(self.same_start[row.key] for row in self.live)
        yield events.RoundsStarted(all_same, self.settings.network.parameter_count)
        # If each engine draws its own masks, the runs differ in more than rounding.
        if self.settings.recipe.random == "matched":
            self.twins = self._build_twins()
        for row in self.live:
            yield from self._attempt(row, row.remote.reset_peak_memory)

    def finished(self) -> Timed:
        """Return what was found, of the rows that did not fail."""
        keys = [row.key for row in self.live]
        return Timed(
            failures=self.failures,
            same_start=self.same_start,
            rounds=self.rounds,
            losses={key: self.losses[key] for key in keys},
            trained={key: self.trained[key] for key in keys},
            drawing_seconds=self.drawing_seconds,
            patience=self.patience,
        )

    @property
    def live(self) -> list[RunningRow]:
        return remaining(self.started.rows, self.failures)

    @property
    def rounds(self) -> Rounds:
        return Rounds({row.key: self.blocks[row.key] for row in self.live}, self.others)

    def _load(self, row: RunningRow) -> bool:
        """Load the first weights and return whether the row then holds them, to the bit."""
        row.engine.load(self.started.weights)
        loaded = row.engine.state()
        return all(
            np.array_equal(loaded[name], array) for name, array in self.started.weights.items()
        )

    def _build_twins(self) -> list[RemoteEngine]:
        """Return NumPy runs that begin one unit in the last place away from the first weights."""
        twins: list[RemoteEngine] = []
        starts = perturbed_starts(self.started.weights, self.settings.recipe.seed)
        for number, weights in enumerate(starts):
            twin = self.witness.build(f"twin{number}", self.settings.network, self.settings.recipe)
            twin.upload(self.dataset.train)
            twin.load(weights)
            twins.append(twin)
        return twins

    def _attempt(
        self, row: RunningRow, action: Callable[[], T]
    ) -> Generator[Event, None, T | Failure]:
        """Do something for one row, and note it if the row fails."""
        done = yield from attempt(
            row.spec, action, required=self._is_reference(row), witness=self.witness
        )
        if isinstance(done, Failure):
            self.failures[row.key] = done.why
        return done

    def _is_reference(self, row: RunningRow) -> bool:
        return row.spec == self.settings.rows[0]

    # ---- Rounds ---------------------------------------------------------------------------------

    def race(self) -> Generator[Event]:
        """Let every row make the same steps, in turn; end when enough rounds count."""
        groups = list(self.planner.groups(self.planner.block))
        last = len(groups) - 1
        rounds_between_evaluations = max(1, len(groups) // EVALUATIONS)
        timed = race(
            self.live,
            _make_steps,
            self._draw_rounds(groups),
            pid=self._pid,
            bystanders=[self.witness.pid],
            resting=self._has_failed,
        )
        for item in timed:
            if isinstance(item, Turn):
                yield self._record(item.contestant, item.job, item.block)
            elif isinstance(item, Dropout):
                yield from self._drop(item.contestant, item.error)
            else:
                yield self._end_round(item)
                if item.number < last:
                    self._let_twins_follow(item.job)
                    if (item.number + 1) % rounds_between_evaluations == 0:
                        yield from self.evaluate(item.job.step)
                    continue
                if item.number == last:
                    self._let_twins_follow(item.job)
                    yield from self.evaluate(item.job.step)
                    yield from self._end_training()
                if not (yield from self._needs_more(item.number, last + MOST_ROUNDS)):
                    return

    @property
    def planner(self) -> BatchPlanner:
        return self.started.pace.planner

    def _pid(self, row: RunningRow) -> int | None:
        return None if self._has_failed(row) else row.remote.pid

    def _has_failed(self, row: RunningRow) -> bool:
        return row.key in self.failures

    def _draw_rounds(self, groups: list[list[Span]]) -> Iterator[Round]:
        """Draw the rounds of the training, then further ones, practically without end."""
        seen: set[tuple[int, int]] = set()
        step = 0
        for spans in groups:
            step += sum(count for _, count, _ in spans)
            yield self._draw(self.planner, spans, step, seen, training=True)
        # With the K of the training, because that one was proved.
        further = replace(self.planner, block=self.planner.block_steps).endless()
        for spans in further.groups(self.started.pace.block_steps):
            after = step + sum(count for _, count, _ in spans)
            yield self._draw(further, spans, after, seen, training=False)

    def _draw(
        self,
        planner: BatchPlanner,
        spans: list[Span],
        step: int,
        seen: set[tuple[int, int]],
        *,
        training: bool,
    ) -> Round:
        """Draw the plans of one round, and add their shapes to those that were `seen` before."""
        before = time.perf_counter()
        plans = [planner.plan(*span) for span in spans]
        seconds = time.perf_counter() - before
        steps = sum(map(len, plans))
        self.drawing_seconds.append(seconds / steps)
        shapes = {(count, batch) for _, count, batch in spans}
        warm = not shapes <= seen
        seen |= shapes
        return Round(plans, steps, step, warm, training)

    def _record(self, row: RunningRow, job: Round, block: Block) -> Event:
        losses = [float(f"{loss:.{LOSS_DIGITS}g}") for loss in row.engine.wait()]
        if job.training:
            self.losses[row.key] += losses
        wanted = SMALLEST_SHARE_OF_A_BLOCK * self.started.pace.block_steps
        timed = not job.warm and job.steps >= wanted
        if job.warm:
            self.blocks[row.key].warmups.append(block)
        elif timed:
            self.blocks[row.key].blocks.append(block)
        return events.BlockTimed(
            row=row.key,
            round=block.round,
            step=job.step,
            steps=job.steps,
            warm=job.warm,
            timed=timed,
            training=job.training,
            seconds=block.seconds,
            cpu_share=block.cpu_share,
            disturbance=block.disturbance,
            losses=losses,
        )

    def _drop(self, row: RunningRow, error: EngineError) -> Generator[Event]:
        def fail() -> None:
            raise error

        yield from self._attempt(row, fail)

    def _end_round(self, over: RoundOver[Round]) -> Event:
        self.others[over.number] = over.others
        calm = self.rounds.calm
        return events.RoundEnded(
            round=over.number,
            others=over.others,
            calm=over.number in calm,
            counted=len(calm),
            needed=ROUNDS,
            training=over.job.training,
        )

    def _let_twins_follow(self, job: Round) -> None:
        for twin in self.twins:
            twin.run_all(self.dataset.train.digest, job.plans)
            twin.wait()

    def _needs_more(self, last: int, most: int) -> Generator[Event, None, bool]:
        """Return whether another round is to be timed, after waiting for a calm machine."""
        pids = [self.witness.pid, *(row.remote.pid for row in self.live)]
        more, self.patience = yield from needs_more(self.rounds, last, most, self.patience, pids)
        return more

    # ---- Evaluation -----------------------------------------------------------------------------

    def evaluate(self, step: int) -> Generator[Event]:
        """Compare all rows and the twins with the reference after some steps."""
        probe = probe_plan(self.planner)
        snapshots: dict[str, Snapshot] = {}
        figures: dict[str, dict[str, float]] = {}
        for row in self.live:
            accuracy = yield from self._attempt(row, partial(self._accuracy, row))
            look = partial(take_snapshot, row.engine, row.train, probe)
            snapshot = yield from self._attempt(row, look)
            if not (isinstance(accuracy, Failure) or isinstance(snapshot, Failure)):
                snapshots[row.key] = snapshot
                figures[row.key] = {"accuracy": accuracy}
        network = self.settings.network
        reference, *others = snapshots
        for key in others:
            drift = measure_drift(network, snapshots[reference], snapshots[key])
            figures[key] |= drift.to_json()
        twins: list[dict[str, float]] = []
        for twin in self.twins:
            snapshot = take_snapshot(twin, self.dataset.train.digest, probe)
            twins.append(measure_drift(network, snapshots[reference], snapshot).to_json())
        yield events.Evaluated(step, figures, twins)

    def _accuracy(self, row: RunningRow) -> float:
        predicted = metrics.predictions(row.engine.logits(row.test))
        return metrics.accuracy(predicted, self.dataset.test.labels)

    def _end_training(self) -> Generator[Event]:
        """Take the trained states out, before further rounds change them."""
        for row in self.live:
            trained = yield from self._attempt(row, partial(_take_trained, row))
            if not isinstance(trained, Failure):
                self.trained[row.key] = trained
        for twin in self.twins:
            twin.drop()


def _make_steps(row: RunningRow, job: Round) -> Elapsed:
    row.engine.run_all(row.train, job.plans)
    return Elapsed(row.engine.wall_s, row.engine.cpu_s, job.steps)


def _take_trained(row: RunningRow) -> Trained:
    state = row.engine.state()
    predictions = metrics.predictions(row.engine.logits(row.test))
    used = row.remote.memory()
    return Trained(state, predictions, used.peak_bytes, used.blas)


def needs_more(
    rounds: Rounds, last: int, most: int, patience: float, pids: list[int]
) -> Generator[Event, None, tuple[bool, float]]:
    """Find out whether another round is to be timed, after waiting for a calm machine.

    Parameters
    ----------
    rounds, last, patience, pids
        As for `wait_for_calm`.
    most : int
        The number of the last round that may be timed.

    Yields
    ------
    WaitingForCalm
        Once a second.

    Returns
    -------
    more : bool
        Whether another round is to be timed.
    patience : float
        The time that is left for waiting, in seconds.
    """
    if len(rounds.calm) >= ROUNDS or last >= most:
        return False, patience
    if len(rounds.valid) < ROUNDS:
        return True, patience
    return (yield from wait_for_calm(rounds, last, patience, pids))


def wait_for_calm(
    rounds: Rounds, last: int, patience: float, pids: list[int]
) -> Generator[Event, None, tuple[bool, float]]:
    """Wait until the machine is calm.

    Without a second row there is no ratio that a busy machine could make wrong, so there is nothing
    to wait for.

    Parameters
    ----------
    rounds : Rounds
        What is timed so far.
    last : int
        The number of the last round. If it was calm, there is no waiting.
    patience : float
        The longest time to wait, in seconds.
    pids : list of int
        The processes of the comparison.

    Yields
    ------
    WaitingForCalm
        Once a second.

    Returns
    -------
    calm : bool
        Whether the machine is calm.
    patience : float
        The time that is left for waiting, in seconds.
    """
    if len(rounds.rows) < 2:
        return False, patience
    if last in rounds.calm:
        return True, patience
    others: float | None = None
    while patience > 0:
        yield events.WaitingForCalm(others, patience)
        before = time.perf_counter()
        others = load.others_now(min(load.SECONDS_OF_A_LOOK, patience), pids)
        patience -= time.perf_counter() - before
        if others <= load.LARGEST_SHARE_OF_OTHERS:
            return True, patience
    return False, patience
