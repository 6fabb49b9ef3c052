"""How long a training step takes, row by row: each in a worker process of its own, in short blocks, in turn."""

import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from math import inf
from typing import Any

import numpy as np

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

    def block(self, name: str, plans: list[Plan]) -> float:
        """Make some steps and return the seconds of one; of a single thread those that it had a processor for, so that others may run."""
        assert self.engine
        self.engine.run_all(name, plans)
        self.engine.wait()
        seconds = self.engine.cpu_s if self.threads == 1 else self.engine.wall_s
        return seconds / sum(map(len, plans))

    def settled(self, steps: int) -> bool:
        """Whether blocks of so many steps need not be repeated."""
        first, second = sorted(self.blocks)[:2] if len(self.blocks) >= LEAST else (0.0, 1.0)
        return second <= AGREED * first or (
            len(self.blocks) >= LEAST and sum(self.blocks) * steps > PATIENCE
        )

    @contextmanager
    def reckoned(self) -> Generator[None]:
        """Reckon the time that is spent inside; a failure there takes the row out."""
        before = time.perf_counter()
        try:
            yield
        except EngineError as error:
            self.failed = str(error)
            self.close()
        finally:
            self.spent += time.perf_counter() - before

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
        data, one, plans = self.split(case), case.schedule(1).plan(0, 1, case.batch), list[Plan]()
        taking_part = [
            timer for timer in self.timers if not timer.failed and timer.spent < timer.allowance
        ]
        for timer in taking_part:
            with timer.reckoned():
                timer.first(case, data, plans[0] if plans else one)
                if not plans:  # every other row makes as many steps in a block as this one
                    pace = min(timer.block(data.digest, [one]) for _ in range(3))
                    plans = _block(case, max(1, round(BLOCK_SECONDS / pace)))
        steps = sum(map(len, plans))
        for number in range(MOST):
            turn = number % max(1, len(taking_part))
            for timer in taking_part[turn:] + taking_part[:turn]:
                if not timer.failed and not timer.settled(steps):
                    with timer.reckoned():
                        timer.blocks.append(timer.block(data.digest, plans))
        return {timer.spec.key: min(timer.blocks) for timer in taking_part if not timer.failed}

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
