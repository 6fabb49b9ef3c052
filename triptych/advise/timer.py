"""Every row in a process of its own: proved, then timed, one row after the other."""

import time
from collections.abc import Generator, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import lru_cache
from math import ceil, inf

import numpy as np

from ..bench.proof import why_imprecise
from ..bench.rounds import Elapsed, Turn, race
from ..core import registry, state
from ..core.plan import Plan
from ..core.planner import BatchPlanner
from ..core.selection import EngineSpec
from ..core.split import Split
from ..errors import EngineError
from ..parity.float32 import judge_float32, step_errors
from ..process.client import Remote, RemoteEngine
from ..spec import zoo
from .workload import Case

IMAGES = 4096  # of random pixels, of which batches are drawn: no time depends on their content
BLOCK_SECONDS = 0.05  # of the first row; every row makes as many steps
FEWEST_BLOCKS = 3
MOST_BLOCKS = 12
AGREEMENT = 1.02  # ratio of the two shortest blocks, from which a row need not be timed again
LONGEST_SECONDS = 0.5  # of a row's blocks together, after which it is not timed again either
COMPILATION_SECONDS = 3.0  # a first step that takes longer was compiled
MOST_COMPILATIONS = 6  # of a process, because some compilers fail after a few
PROVED = Case.of(zoo.dense("proof", [128, 64]), 64)  # of which the float32 steps are judged


@lru_cache(1)
def random_split(case: Case) -> Split:
    """Return random images and labels of which a case draws its batches."""
    count = case.batch if case.recipe.batch_size == "full" else max(case.batch, IMAGES)
    rng = np.random.default_rng(0)
    return Split(
        rng.integers(256, size=(count, *case.network.input_shape), dtype=np.uint8),
        rng.integers(case.network.classes, size=count, dtype=np.int32),
    )


def _plans(case: Case, steps: int) -> list[Plan]:
    """Return plans of at least `steps` steps, all of one length, so that one is compiled."""
    planner = BatchPlanner(case.network, case.recipe, len(random_split(case)), steps)
    plan = next(planner.endless().plans())
    return [plan] * ceil(steps / len(plan))


@dataclass(eq=False)
class Timer:
    """A row, its process, and the time that it has used.

    Attributes
    ----------
    spec : EngineSpec
        The row.
    threads : int
        Threads of its process.
    allowance, spent : float
        The seconds that it may use, and has used.
    failed : str or None
        Why it takes no further part, or None.
    remote : Remote or None
        Its process.
    engine : RemoteEngine or None
        The engine of the present case in the process.
    data : str
        The name of the present case's split in the process.
    compiled : int
        First steps that its present process has compiled.
    blocks : list of float
        Seconds of a step, in each block of the present case.
    """

    spec: EngineSpec
    threads: int
    allowance: float = inf
    spent: float = 0.0
    failed: str | None = None
    remote: Remote | None = None
    engine: RemoteEngine | None = None
    data: str = ""
    compiled: int = 0
    blocks: list[float] = field(default_factory=list[float])

    @property
    def weight(self) -> int:
        """Parts of the time of all rows: two if the row is the default of an engine, else one."""
        entry = registry.entry(self.spec.engine)
        default = self.spec.backend == entry.default_backend
        return 2 if default and not entry.optional else 1

    def build(self, case: Case) -> RemoteEngine:
        """Build the engine of a case, in a new process if this one has compiled enough."""
        if self.compiled == MOST_COMPILATIONS:
            self.close()
        if self.engine:
            self.engine.drop()
        if self.remote is None:
            self.remote = Remote(self.spec.engine, self.spec.backend, threads=self.threads)
            self.compiled = 0
            self.remote.greet()
        self.engine = self.remote.build("timed", case.network, case.recipe)
        return self.engine

    def begin(self, case: Case, plan: Plan) -> None:
        """Build the engine of a case and make its first steps, which may be compiled."""
        with self.attempt():
            engine = self.build(case)
            self.data = engine.upload(random_split(case))
            engine.load(state.initial(case.network, case.recipe))
            engine.run(self.data, plan)
            self.compiled += engine.wall_s > COMPILATION_SECONDS
            self.blocks = []

    def make_steps(self, plans: list[Plan]) -> Elapsed:
        """Make the steps of some plans."""
        assert self.engine
        with self.attempt():
            self.engine.run_all(self.data, plans)
        return Elapsed(self.engine.wall_s, self.engine.cpu_s, sum(map(len, plans)))

    def settled(self, steps: int) -> bool:
        """Whether blocks of `steps` steps need not be repeated."""
        if len(self.blocks) < FEWEST_BLOCKS:
            return False
        first, second = sorted(self.blocks)[:2]
        return second <= AGREEMENT * first or sum(self.blocks) * steps > LONGEST_SECONDS

    @contextmanager
    def attempt(self) -> Generator[None]:
        """Count the time inside as spent; after an `EngineError` there the row has failed."""
        before = time.perf_counter()
        try:
            yield
        except EngineError as error:
            self.failed = str(error)
            self.close()
            raise
        finally:
            self.spent += time.perf_counter() - before

    def close(self) -> None:
        """End the process."""
        if self.remote:
            self.remote.close()
        self.remote = None
        self.engine = None


class Stopwatch(ExitStack):
    """Times cases in every row. A context manager: the processes end with it.

    Parameters
    ----------
    specs : list of EngineSpec
        The rows; the first sets the number of steps in a block.
    threads : int
        Threads of every row.
    """

    def __init__(self, specs: list[EngineSpec], threads: int = 1) -> None:
        super().__init__()
        self.threads = threads
        self.timers = [Timer(spec, threads) for spec in specs]
        for timer in self.timers:
            self.callback(timer.close)

    def time(self, case: Case) -> dict[str, float]:
        """Return the seconds of a step in each row that has not failed and has time left.

        They are the shortest of some blocks, because all else that runs makes a block longer. With
        one thread they are processor time, so that other programs may run meanwhile.
        """
        timers, plans = self._begin(case)
        steps = sum(map(len, plans))
        turns = race(
            timers,
            Timer.make_steps,
            [plans] * MOST_BLOCKS,
            pid=lambda timer: timer.remote and timer.remote.pid,
            processor_time=self.threads == 1,
            idle_seconds=0.0,  # the shortest block counts, and idling would take half of the time
            resting=lambda timer: timer.settled(steps),
        )
        for turn in turns:
            if isinstance(turn, Turn):
                turn.contestant.blocks.append(turn.block.seconds)
        return {timer.spec.key: min(timer.blocks) for timer in timers if not timer.failed}

    def _begin(self, case: Case) -> tuple[list[Timer], list[Plan]]:
        """Let every row make its first steps; return those that could, and the plans of a block."""
        timers: list[Timer] = []
        plans = _plans(case, 1)
        for timer in self.timers:
            if timer.failed or timer.spent >= timer.allowance:
                continue
            with suppress(EngineError):
                timer.begin(case, plans[0])
                if not timers:
                    block = timer.make_steps(FEWEST_BLOCKS * plans)
                    step_seconds = block.wall_seconds / block.steps
                    plans = _plans(case, ceil(BLOCK_SECONDS / step_seconds))
                timers.append(timer)
        return timers, plans


def prove(timers: list[Timer]) -> Iterator[tuple[str, str | None]]:
    """Judge the float32 steps of every row.

    Yields
    ------
    tuple of (str, str or None)
        The key of the row, and why it is not proved, or None if it is.
    """
    network = PROVED.network
    recipe = PROVED.recipe
    split = random_split(PROVED)
    planner = BatchPlanner(network, recipe, len(split), 1)
    start = state.initial(network, recipe)
    with closing(Remote(registry.REFERENCE, "eager")) as numpy:
        numpy.greet()
        reference = numpy.build("reference", network, recipe)
        exact = numpy.build("exact", network, replace(recipe, dtype="float64"))
        for timer in timers:
            with suppress(EngineError):
                with timer.attempt():
                    engine = timer.build(PROVED)
                    errors = step_errors(reference, exact, engine, split, planner, start)
                    rounding = judge_float32(errors, proved=True)
                yield timer.spec.key, why_imprecise(rounding)
