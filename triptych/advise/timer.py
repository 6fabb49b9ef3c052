"""How long a training step takes in each row: in a process for each, which are timed in turn."""

import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from math import inf, prod
from typing import Any

import numpy as np

from ..bench.rounds import Dropout, Elapsed, Turn, race
from ..core import rng, state
from ..core.plan import Plan
from ..core.planner import BatchPlanner
from ..core.selection import EngineSpec
from ..core.split import Split
from ..errors import EngineError
from ..process.client import Remote, RemoteEngine
from ..spec.network import Network
from ..spec.optimizers import optimizer
from ..spec.recipe import Recipe

IMAGES = 4096  # of random pixels, of which batches are drawn: no time depends on their content
RATE = 1e-4  # so small that no weight overflows
BLOCK_SECONDS = 0.05  # of the first row; every row makes as many steps
FEWEST_BLOCKS = 3
MOST_BLOCKS = 12
AGREEMENT = 1.02  # ratio of the two shortest blocks, from which a row need not be timed again
LONGEST_SECONDS = 0.5  # of a row's blocks together, after which it is not timed again either
COMPILATION_SECONDS = 3.0  # a first step that takes longer was compiled
MOST_COMPILATIONS = 6  # of a process, because some compilers fail after a few


@dataclass(frozen=True)
class Case:
    """A network and how it is trained.

    Attributes
    ----------
    network : Network
        The network.
    recipe : Recipe
        How it is trained.
    batch : int
        The samples of a step.
    """

    network: Network
    recipe: Recipe
    batch: int

    @classmethod
    def of(cls, network: Network, batch: int, name: str = "sgd", *, full: bool = False) -> "Case":
        """Return a case with an optimizer of that name; if `full`, every step sees all images."""
        size = "full" if full else batch
        recipe = Recipe(1, size, replace(optimizer(name), rate=RATE), random="free")
        return cls(network, recipe, batch)

    def to_json(self) -> dict[str, Any]:
        """Return the case as a JSON object."""
        return {
            "network": self.network.to_json(),
            "recipe": self.recipe.to_json(),
            "batch": self.batch,
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "Case":
        """Return the case that `to_json` wrote."""
        network = Network.from_json(data["network"])
        return cls(network, Recipe.from_json(data["recipe"]), data["batch"])

    @property
    def images(self) -> int:
        """The size of the split."""
        return self.batch if self.recipe.batch_size == "full" else max(self.batch, IMAGES)

    def planner(self, block: int) -> BatchPlanner:
        """Return a planner of a run without end, with `block` steps in a plan."""
        return BatchPlanner(self.network, self.recipe, self.images, block).endless()

    def block(self, steps: int) -> list[Plan]:
        """Return plans of at least `steps` steps, all of one length, so that one is compiled."""
        planner = self.planner(steps)
        plan = planner.plan(0, planner.block_steps, self.batch)
        return [plan] * -(-steps // planner.block_steps)


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

    def begin(self, case: Case, data: Split, plan: Plan) -> None:
        """Build the engine of a case and make its first steps, which may be compiled."""
        engine = self.build(case)
        engine.upload(data)
        engine.load(state.initial(case.network, case.recipe))
        engine.run(data.digest, plan)
        self.compiled += engine.wall_s > COMPILATION_SECONDS
        self.blocks = []

    def make_steps(self, data: Split, plans: list[Plan]) -> Elapsed:
        """Make the steps of some plans."""
        assert self.engine
        self.engine.run_all(data.digest, plans)
        self.engine.wait()
        return Elapsed(self.engine.wall_s, self.engine.cpu_s, sum(map(len, plans)))

    def settled(self, steps: int) -> bool:
        """Whether blocks of `steps` steps need not be repeated."""
        if self.failed:
            return True
        if len(self.blocks) < FEWEST_BLOCKS:
            return False
        first, second = sorted(self.blocks)[:2]
        return second <= AGREEMENT * first or sum(self.blocks) * steps > LONGEST_SECONDS

    @contextmanager
    def spending(self) -> Generator[None]:
        """Count the time inside as spent."""
        before = time.perf_counter()
        try:
            yield
        finally:
            self.spent += time.perf_counter() - before

    @contextmanager
    def attempt(self) -> Generator[None]:
        """Count the time inside as spent; an `EngineError` there makes the row fail."""
        try:
            with self.spending():
                yield
        except EngineError as error:
            self.fail(error)

    def fail(self, error: EngineError) -> None:
        """Take no further part."""
        self.failed = str(error)
        self.close()

    def close(self) -> None:
        """End the process."""
        if self.remote:
            self.remote.close()
        self.remote = None
        self.engine = None

    @property
    def pid(self) -> int | None:
        """The number of its process, if there is one."""
        return self.remote.pid if self.remote else None


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
        self._last: Split | None = None

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
        data = self.split(case)
        timers = [t for t in self.timers if not t.failed and t.spent < t.allowance]
        plans = self._begin(case, data, timers)
        steps = sum(map(len, plans))

        def act(timer: Timer, plans: list[Plan]) -> Elapsed:
            with timer.spending():
                return timer.make_steps(data, plans)

        turns = race(
            timers,
            act,
            self._rounds(timers, plans),
            pid=lambda timer: timer.pid,
            processor_time=self.threads == 1,
            idle_seconds=0.0,  # the shortest block counts, and idling would take half of the time
            resting=lambda timer: timer.settled(steps),
        )
        for turn in turns:
            if isinstance(turn, Turn):
                turn.contestant.blocks.append(turn.block.seconds)
            elif isinstance(turn, Dropout):
                turn.contestant.fail(turn.error)
        return {timer.spec.key: min(timer.blocks) for timer in timers if not timer.failed}

    def _begin(self, case: Case, data: Split, timers: list[Timer]) -> list[Plan]:
        """Let every row make its first steps; return the plans of a block."""
        one = case.planner(1).plan(0, 1, case.batch)
        plans: list[Plan] = []
        for timer in timers:
            with timer.attempt():
                timer.begin(case, data, plans[0] if plans else one)
                if not plans:
                    blocks = [timer.make_steps(data, [one]) for _ in range(FEWEST_BLOCKS)]
                    pace = min(self._seconds(block) for block in blocks)
                    plans = case.block(max(1, round(BLOCK_SECONDS / pace)))
        return plans

    def _seconds(self, elapsed: Elapsed) -> float:
        return elapsed.cpu_seconds if self.threads == 1 else elapsed.wall_seconds

    @staticmethod
    def _rounds(timers: list[Timer], plans: list[Plan]) -> Iterator[list[Plan]]:
        steps = sum(map(len, plans))
        for _ in range(MOST_BLOCKS):
            if all(timer.settled(steps) for timer in timers):
                return
            yield plans

    def split(self, case: Case) -> Split:
        """Return random images and labels of which a case draws its batches."""
        shape = (case.images, *case.network.input_shape)
        if self._last is None or self._last.images.shape != shape:
            size = prod(shape)
            pixels = rng.bits(-(-size // 8), "pixels").view(np.uint8)[:size]
            labels = (rng.uniform(shape[:1], "labels") * case.network.classes).astype(np.int32)
            self._last = Split(pixels.reshape(shape), labels)
        return self._last
