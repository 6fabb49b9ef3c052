"""How long a training step takes in each row: in a process for each, which are timed in turn."""

import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import lru_cache
from math import ceil, inf
from typing import Any

import numpy as np

from ..bench.rounds import Elapsed, Turn, race
from ..core import state
from ..core.plan import Plan
from ..core.planner import BatchPlanner
from ..core.selection import EngineSpec
from ..core.split import Split
from ..errors import EngineError
from ..process.client import Remote, RemoteEngine
from .workload import Case

IMAGES = 4096  # of random pixels, of which batches are drawn: no time depends on their content
BLOCK_SECONDS = 0.05  # of the first row; every row makes as many steps
FEWEST_BLOCKS = 3
MOST_BLOCKS = 12
AGREEMENT = 1.02  # ratio of the two shortest blocks, from which a row need not be timed again
LONGEST_SECONDS = 0.5  # of a row's blocks together, after which it is not timed again either
COMPILATION_SECONDS = 3.0  # a first step that takes longer was compiled
MOST_COMPILATIONS = 6  # of a process, because some compilers fail after a few


@lru_cache(1)
def random_split(case: Case) -> Split:
    """Return random images and labels of which a case draws its batches."""
    images = case.batch if case.recipe.batch_size == "full" else max(case.batch, IMAGES)
    rng = np.random.default_rng(0)
    pixels = rng.integers(256, size=(images, *case.network.input_shape), dtype=np.uint8)
    labels = rng.integers(case.network.classes, size=images, dtype=np.int32)
    return Split(pixels, labels)


def planner(case: Case, block: int = 1) -> BatchPlanner:
    """Return a planner of a run without end, with `block` steps in a plan."""
    images = len(random_split(case))
    return BatchPlanner(case.network, case.recipe, images, block).endless()


def _plans(case: Case, steps: int) -> list[Plan]:
    """Return plans of at least `steps` steps, all of one length, so that one is compiled."""
    plan = next(planner(case, steps).plans())
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
            self.engine.wait()
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


class Stopwatch:
    """Times cases in every row. A context manager: the processes end with it.

    Parameters
    ----------
    specs : list of EngineSpec
        The rows; the first sets the number of steps in a block.
    threads : int
        Threads of every row.
    """

    def __init__(self, specs: list[EngineSpec], threads: int = 1) -> None:
        self.threads = threads
        self.timers = [Timer(spec, threads) for spec in specs]

    def __enter__(self) -> "Stopwatch":
        return self

    def __exit__(self, *_: Any) -> None:
        for timer in self.timers:
            timer.close()

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
                    blocks = [timer.make_steps(plans) for _ in range(FEWEST_BLOCKS)]
                    pace = min(block.wall_seconds for block in blocks)
                    plans = _plans(case, max(1, round(BLOCK_SECONDS / pace)))
                timers.append(timer)
        return timers, plans
