"""How long a training step takes, row by row: each in a worker process of its own, in short blocks, in turn."""

import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import repeat
from math import inf
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

IMAGES = 4096  # of random pixels, from which batches are drawn: no time depends on what is in them
RATE = 1e-4  # with which nothing grows beyond what floats hold
BLOCK_SECONDS = 0.05  # aimed at, with the first row's pace
LEAST, MOST = (
    3,
    12,
)  # blocks: until the two shortest agree, or a row has been timed for so many seconds
AGREED, PATIENCE = 1.02, 0.5
STEPS_THAT_SET_THE_PACE = 3
COMPILED, MOST_COMPILED = (
    3.0,
    6,
)  # seconds of a first step, and how many a process may take: compilers give up after a few


@dataclass(frozen=True)
class Case:
    """One network, how it is trained, and with how many samples a step."""

    network: Network
    recipe: Recipe
    batch: int

    @classmethod
    def of(cls, network: Network, batch: int, name: str = "sgd", *, full: bool = False) -> "Case":
        """Return a case with an optimizer of that name; `full` sees all images as they lie in every step."""
        recipe = Recipe(
            1, "full" if full else batch, replace(optimizer(name), rate=RATE), random="free"
        )
        return cls(network, recipe, batch)

    def to_json(self) -> dict[str, Any]:
        return {
            "network": self.network.to_json(),
            "recipe": self.recipe.to_json(),
            "batch": self.batch,
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "Case":
        return cls(
            Network.from_json(data["network"]), Recipe.from_json(data["recipe"]), data["batch"]
        )

    @property
    def images(self) -> int:
        """How many the split has that the batches are drawn of."""
        return self.batch if self.recipe.batch_size == "full" else max(self.batch, IMAGES)

    def schedule(self, block: int) -> BatchPlanner:
        return BatchPlanner(self.network, replace(self.recipe, epochs=10**9), self.images, block)


@dataclass
class Timer:
    """A row, its process, and what it has taken so far."""

    spec: EngineSpec
    threads: int
    allowance: float = inf  # seconds
    spent: float = 0.0
    failed: str | None = None
    remote: Remote | None = None
    engine: RemoteEngine | None = None
    compiled: int = 0  # by this process
    blocks: list[float] = field(default_factory=list[float])

    def build(self, case: Case) -> RemoteEngine:
        """Build the engine of a case, in a new process where this one has compiled enough."""
        if self.compiled == MOST_COMPILED:
            self.close()
        if self.engine:
            self.engine.drop()
        if self.remote is None:
            self.remote, self.compiled = (
                Remote(self.spec.engine, self.spec.backend, threads=self.threads),
                0,
            )
            self.remote.greet()
        self.engine = self.remote.build("timed", case.network, case.recipe)
        return self.engine

    def first(self, case: Case, data: Split, plan: Plan) -> None:
        """Build the engine and let it make its first steps, compilation included."""
        engine = self.build(case)
        engine.upload(data)
        engine.load(state.initial(case.network, case.recipe))
        engine.run(data.digest, plan)
        self.compiled += engine.wall_s > COMPILED
        self.blocks = []

    def block(self, name: str, plans: list[Plan]) -> Elapsed:
        """Make some steps."""
        assert self.engine
        self.engine.run_all(name, plans)
        self.engine.wait()
        return Elapsed(self.engine.wall_s, self.engine.cpu_s, sum(map(len, plans)))

    def settled(self, steps: int) -> bool:
        """Whether blocks of so many steps need not be repeated."""
        first, second = sorted(self.blocks)[:2] if len(self.blocks) >= LEAST else (0.0, 1.0)
        return second <= AGREED * first or (
            len(self.blocks) >= LEAST and sum(self.blocks) * steps > PATIENCE
        )

    @contextmanager
    def reckoned(self) -> Generator[None]:
        """Reckon the time that is spent inside; a failure there takes the row out."""
        try:
            with self.spending():
                yield
        except EngineError as error:
            self.fail(error)

    @contextmanager
    def spending(self) -> Generator[None]:
        """Add the time that is spent inside to what the row has spent."""
        before = time.perf_counter()
        try:
            yield
        finally:
            self.spent += time.perf_counter() - before

    def fail(self, error: EngineError) -> None:
        """Take the row out."""
        self.failed = str(error)
        self.close()

    def close(self) -> None:
        if self.remote:
            self.remote.close()
        self.remote = self.engine = None


class Stopwatch:
    """Times cases in every row. A context manager: the processes end with it.

    Parameters
    ----------
    specs : list of Spec
        The first sets the pace.
    threads : int
        Of every row.
    """

    def __init__(self, specs: list[EngineSpec], threads: int = 1) -> None:
        self.timers = [Timer(spec, threads) for spec in specs]
        # Processor time of a single thread is the same if other programs run, too.
        self.processor_time = threads == 1
        self._last: Split | None = None

    def __enter__(self) -> "Stopwatch":
        return self

    def __exit__(self, *_: Any) -> None:
        for timer in self.timers:
            timer.close()

    def time(self, case: Case) -> dict[str, float]:
        """Return the seconds of a step by row: the least of a few blocks, because whatever else runs only adds to it.

        Rows that failed before, or have spent their allowance, are left out.
        """
        data = self.split(case)
        plans: list[Plan] = []
        taking_part = [
            timer for timer in self.timers if not timer.failed and timer.spent < timer.allowance
        ]
        for timer in taking_part:
            with timer.reckoned():
                single = case.schedule(1).plan(0, 1, case.batch)
                timer.first(case, data, plans[0] if plans else single)
                if not plans:  # every other row makes as many steps in a block as this one
                    pace = self._pace(timer, data.digest, single)
                    plans = _block(case, max(1, round(BLOCK_SECONDS / pace)))
        self._race([timer for timer in taking_part if not timer.failed], data.digest, plans)
        return {timer.spec.key: min(timer.blocks) for timer in taking_part if not timer.failed}

    def _pace(self, timer: Timer, name: str, plan: Plan) -> float:
        """Return the seconds of a step, from the shortest of three."""
        seconds: list[float] = []
        for _ in range(STEPS_THAT_SET_THE_PACE):
            elapsed = timer.block(name, [plan])
            seconds.append(elapsed.cpu_seconds if self.processor_time else elapsed.wall_seconds)
        return min(seconds)

    def _race(self, timers: list[Timer], name: str, plans: list[Plan]) -> None:
        """Fill the blocks of the rows, until each is settled or has made as many as it may."""
        steps = sum(map(len, plans))

        def make_block(timer: Timer, plans: list[Plan]) -> Elapsed:
            with timer.spending():
                return timer.block(name, plans)

        def is_settled(timer: Timer) -> bool:
            return bool(timer.failed) or timer.settled(steps)

        # The least of a row's blocks counts, so nothing is gained by waiting before each.
        timed = race(
            timers,
            make_block,
            repeat(plans, MOST),
            pid=lambda timer: timer.remote.pid if timer.remote else None,
            processor_time=self.processor_time,
            idle_seconds=0.0,
            resting=is_settled,
        )
        for item in timed:
            if isinstance(item, Turn):
                item.contestant.blocks.append(item.block.seconds)
            elif isinstance(item, Dropout):
                item.contestant.fail(item.error)
            elif all(map(is_settled, timers)):
                return

    def split(self, case: Case) -> Split:
        """Return random images and labels of which a case draws its batches."""
        shape = (case.images, *case.network.input_shape)
        if self._last is None or self._last.images.shape != shape:
            pixels = rng.bits(-(-int(np.prod(shape)) // 8), "pixels").view(np.uint8)[
                : int(np.prod(shape))
            ]
            labels = (rng.uniform(shape[:1], "labels") * case.network.classes).astype(np.int32)
            self._last = Split(pixels.reshape(shape), labels)
        return self._last


def _block(case: Case, steps: int) -> list[Plan]:
    """Return plans of at least so many steps, all of one length, because a new one would be compiled anew."""
    schedule = case.schedule(steps)
    return [schedule.plan(0, schedule.block_steps, case.batch)] * -(-steps // schedule.block_steps)
