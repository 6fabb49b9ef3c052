"""The comparison: it proves, then trains and times all rows in interleaved blocks. A generator of events, and no words.

Order for each seed: workers, imports and first steps, each alone; the float64 walk and the K-step check; the float32
verdict; then the training run itself, in rounds in which every row makes the same K steps in rotated order while the
others have been idle for 50 ms. If the training is over before 15 rounds are timed, the rounds go on, and what they do to
the weights is thrown away.
"""

import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from .. import metrics, state
from ..data.dataset import Dataset
from ..errors import EngineError
from ..network import Network
from ..parity import lockstep, rounding
from ..parity.compare import BOUND
from ..plan import Plan, Schedule, Span
from ..recipe import Recipe
from ..state import State
from . import machine
from .remote import Remote, RemoteEngine, WorkerDied
from .rows import Block, Row, Spec, valid_rounds

Event = dict[str, Any]

PROOF_STEPS = 50
ROUNDS = 15  # that are valid; at most MOST_ROUNDS are added to reach them
MOST_ROUNDS = 45
BLOCK_SECONDS = 0.1  # aimed at with the reference's step time; at least 50 ms is wanted of the fastest row
LONGEST_BLOCK = 1.0
IDLE_SECONDS = 0.05
WHOLE = 0.8  # of a block's steps: what is shorter is not timed
EVALUATIONS = 20


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
    """

    network: Network
    recipe: Recipe
    rows: list[Spec]
    threads: int = 1
    device: str = "cpu"


class Comparison:
    """One seed's comparison. Iterate over `events`; `rows`, `states` and `result` are complete when it ends."""

    def __init__(self, dataset: Dataset, settings: Settings) -> None:
        settings.network.check_fits(dataset.train.images.shape[1:])
        self.dataset, self.settings = dataset, settings
        self.rows = [Row(spec) for spec in settings.rows]
        self.states: dict[str, State] = {}
        self.drawing: list[float] = []
        self.start = state.initial(settings.network, settings.recipe)
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
            yield from self._open()
            yield from self._first_steps()
            yield from self._prove_float64()
            if self.settings.recipe.dtype == "float32":
                yield from self._prove_float32()
            yield from self._train()
            yield from self._finish()
        finally:
            for remote in [self._witness, *(row.remote for row in self.rows)]:
                if remote:
                    remote.close()

    @property
    def live(self) -> list[Row]:
        return [row for row in self.rows if not row.failed]

    @property
    def reference(self) -> Row:
        return self.rows[0]

    @property
    def witness(self) -> Remote:
        if self._witness is None:
            self._witness = Remote("numpy", "eager", threads=self.settings.threads)
            self._witness.greet()
        return self._witness

    def _schedule(self, block: int, **changes: Any) -> Schedule:
        return Schedule(self.settings.network, replace(self.settings.recipe, **changes), len(self.dataset.train), block)

    def _try(self, row: Row, action: Callable[[], Any]) -> Iterator[Event]:
        """Do something for one row; a failure takes the row out and leaves the others."""
        try:
            action()
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

    def _each(self, action: Callable[[Row], Any]) -> Iterator[Event]:
        """Do the same for every row that is left."""
        for row in self.live:
            yield from self._try(row, lambda row=row: action(row))

    def _open(self) -> Iterator[Event]:
        for row in self.rows:  # one after the other, so that each import is timed alone
            yield {"type": "importing", "row": row.spec.key}

            def build(row: Row = row) -> None:
                remote = row.remote = Remote(row.spec.engine, row.spec.backend, threads=self.settings.threads, device=self.settings.device)
                row.timing["import"] = remote.greet()
                row.engine = remote.build("timed", self.settings.network, self.settings.recipe)
                row.timing["build"] = row.engine.build_s
                row.test = row.engine.put(self.dataset.test)
                row.train = row.engine.put(self.dataset.train)
                row.timing["transfer"] = row.engine.put_s
                row.engine.load(self.start)

            yield from self._try(row, build)
            if not row.failed and row.engine:
                yield {"type": "ready", "row": row.spec.key, "device": row.engine.device, "seconds": dict(row.timing)}
        if len(self.live) < 2:
            raise EngineError(
                "a comparison needs NumPy and one more engine; " + "; ".join(f"{r.spec.label}: {r.failed}" for r in self.rows[1:])
            )

    def _first_steps(self) -> Iterator[Event]:
        """Time the very first step of each process, compilation included, and choose K by the reference's pace."""
        plan = next(self._schedule(1).plans())
        for row in self.live:
            yield {"type": "compiling", "row": row.spec.key}
            yield from self._try(row, lambda row=row: self._first(row, plan))
            if not row.failed:
                yield {"type": "first", "row": row.spec.key, "seconds": row.timing["first_step"]}
        engine = _engine(self.reference)
        steps: list[float] = []
        for _ in range(5):
            engine.run(self.reference.train, plan)
            steps.append(engine.wall_s)
        engine.sync()
        pace = min(steps)
        whole = pace * self._schedule(1).steps
        target = min(max(BLOCK_SECONDS, whole / 100), LONGEST_BLOCK)
        self.block_steps = max(1, round(target / pace))
        self.schedule = self._schedule(self.block_steps)
        yield {"type": "pace", "seconds": pace, "block": self.block_steps, "steps": self.schedule.steps}

    def _first(self, row: Row, plan: Plan) -> None:
        engine = _engine(row)
        engine.run(row.train, plan)
        engine.sync()
        row.timing["first_step"] = engine.wall_s

    def _prove_float64(self) -> Iterator[Event]:
        recipe = replace(self.settings.recipe, dtype="float64", random="matched")
        start = state.initial(self.settings.network, recipe)
        schedule = replace(self.schedule, recipe=recipe)
        reference = self.witness.build("reference", self.settings.network, recipe)
        steps = list(schedule.proof(PROOF_STEPS))
        for row in self.live:

            def prove(row: Row = row) -> None:
                engine = _remote(row).build("exact", self.settings.network, recipe)
                for row.walked in lockstep.walk(reference, engine, self.dataset.train, steps, start):
                    pass
                row.blocked = lockstep.blocks(engine, self.dataset.train, schedule, start)
                engine.drop()

            yield {"type": "proving", "row": row.spec.key, "what": "float64"}
            yield from self._try(row, prove)
            if row.walked and row.blocked:
                figure = {"walk": row.walked.largest, "blocks": row.blocked.largest, "bound": BOUND, "steps": row.walked.steps}
                yield {"type": "float64", "row": row.spec.key, "unproved": row.unproved} | figure
        reference.drop()

    def _prove_float32(self) -> Iterator[Event]:
        recipe = replace(self.settings.recipe, random="matched")
        reference = self.witness.build("reference", self.settings.network, recipe)
        exact = self.witness.build("exact", self.settings.network, replace(recipe, dtype="float64"))
        start, errors = state.initial(self.settings.network, recipe), dict[str, list[float]]()
        schedule = replace(self.schedule, recipe=recipe)
        free = self.settings.recipe.random == "free"  # then a second engine, fed its masks, stands for the one that is timed
        for row in self.live:

            def judge(row: Row = row) -> None:
                engine = _remote(row).build("matched", self.settings.network, recipe) if free else _engine(row)
                errors[row.spec.key] = rounding.shared_steps(reference, exact, engine, self.dataset.train, schedule, start)
                if free:
                    engine.drop()

            yield {"type": "proving", "row": row.spec.key, "what": "float32"}
            yield from self._try(row, judge)
            if not row.failed:
                proved = row.unproved is None
                row.rounding = rounding.judge(errors[row.spec.key], errors[self.reference.spec.key], proved)
                figures = vars(row.rounding) | {"factor": row.rounding.factor}
                yield {"type": "float32", "row": row.spec.key, "errors": errors[row.spec.key]} | figures
        reference.drop()
        exact.drop()

    def _train(self) -> Iterator[Event]:
        recipe, network = self.settings.recipe, self.settings.network

        def begin(row: Row) -> None:
            _engine(row).load(self.start)
            begun = _engine(row).state()
            row.same_start = all(np.array_equal(begun[name], array) for name, array in self.start.items())

        yield from self._each(begin)
        yield {"type": "start", "same": all(row.same_start for row in self.live), "parameters": network.parameter_count}
        # Twins show what one unit in the last place does. Where each engine draws its own masks there is nothing to show.
        nudged = rounding.twins(self.start, recipe.seed) if recipe.random == "matched" else []
        twins = [self.witness.build(f"twin{i}", network, recipe) for i in range(len(nudged))]
        for twin, weights in zip(twins, nudged, strict=True):
            twin.put(self.dataset.train)
            twin.load(weights)
        yield from self._each(lambda row: _remote(row).ask("reset_memory"))
        groups = list(self.schedule.groups(self.block_steps))
        every, seen, done = max(1, len(groups) // EVALUATIONS), set[tuple[int, int]](), 0
        yield from self._evaluate(0, twins)
        for number, spans in enumerate(groups):
            plans = yield from self._round(number, self.schedule, spans, done, seen)
            done += sum(map(len, plans))
            for twin in twins:
                twin.run_all(self.dataset.train.digest, plans)
                twin.sync()
            if number % every == every - 1 or number == len(groups) - 1:
                yield from self._evaluate(done, twins)
        yield from self._each(self._take)
        for twin in twins:
            twin.drop()
        # The same K as in the run, because that is the K that was proved.
        endless = replace(self.schedule, block=self.schedule.block_steps, recipe=replace(recipe, epochs=10**9))
        for number, spans in enumerate(endless.groups(self.block_steps), len(groups)):
            if len(valid_rounds(self.live)) >= ROUNDS or number >= len(groups) + MOST_ROUNDS:
                break
            yield from self._round(number, endless, spans, done, seen, training=False)

    def _take(self, row: Row) -> None:
        """Keep what the training came to, before the timing goes on."""
        self.states[row.spec.key] = _engine(row).state()
        row.predictions = metrics.predictions(_engine(row).logits(row.test))
        answer, _ = _remote(row).ask("memory")
        row.peak_bytes, row.blas = answer["peak_bytes"], answer["blas"]

    def _round(
        self, number: int, schedule: Schedule, spans: list[Span], done: int, seen: set[tuple[int, int]], *, training: bool = True
    ) -> Generator[Event, None, list[Plan]]:
        """Let every row make the same steps, in rotated order, each alone."""
        before = time.perf_counter()
        plans = [schedule.plan(*span) for span in spans]
        steps = sum(map(len, plans))
        self.drawing.append((time.perf_counter() - before) / steps)
        shapes = {(k, batch) for _, k, batch in spans}
        warm = not shapes <= seen
        seen |= shapes
        live = self.live
        turn = number % len(live)
        for row in live[turn:] + live[:turn]:
            time.sleep(IDLE_SECONDS)
            others = [self.witness.pid, *(_remote(other).pid for other in self.live if other is not row)]
            used = sum(map(machine.cpu_seconds, others))
            failures = list(self._try(row, lambda row=row: _engine(row).run_all(row.train, plans)))
            yield from failures
            if failures:
                continue
            engine = _engine(row)
            used = sum(map(machine.cpu_seconds, others)) - used
            losses = [float(f"{loss:.7g}") for loss in engine.sync()]
            block = Block(number, engine.wall_s / steps, engine.cpu_s / engine.wall_s, used / engine.wall_s)
            if training:
                row.losses += losses
            if warm:
                row.warmups.append(block)
            elif steps >= WHOLE * self.block_steps:  # what is left at the end of a run is too short to count
                row.blocks.append(block)
            about = {"round": number, "step": done + steps, "steps": steps, "warm": warm, "training": training}
            figures = {"seconds": block.seconds, "cpu_share": block.cpu_share, "disturbance": block.disturbance}
            yield {"type": "block", "row": row.spec.key} | about | figures | {"losses": losses}
        return plans

    def _evaluate(self, step: int, twins: list[RemoteEngine]) -> Iterator[Event]:
        network, train, labels = self.settings.network, self.dataset.train.digest, self.dataset.test.labels
        probe = self.schedule.probe(rounding.PROBE_ROWS)
        looks: dict[str, rounding.Look] = {}
        rows: dict[str, dict[str, float]] = {}

        def see(row: Row) -> None:
            predicted = metrics.predictions(_engine(row).logits(row.test))
            looks[row.spec.key] = rounding.look(_engine(row), row.train, probe)
            rows[row.spec.key] = {"accuracy": metrics.accuracy(predicted, labels)}

        yield from self._each(see)
        own = looks[self.reference.spec.key]
        for row in self.live[1:]:
            rows[row.spec.key] |= rounding.drift(network, own, looks[row.spec.key])
        beside = [rounding.drift(network, own, rounding.look(twin, train, probe)) for twin in twins]
        yield {"type": "evaluation", "step": step, "rows": rows, "twins": beside}

    def _finish(self) -> Iterator[Event]:
        from .result import result

        yield {"type": "result", "result": result(self)}


def _engine(row: Row) -> RemoteEngine:
    assert row.engine
    return row.engine


def _remote(row: Row) -> Remote:
    assert row.remote
    return row.remote
