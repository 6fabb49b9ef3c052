"""Several workers in the threads of one process, which add arrays without gloo."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier, BrokenBarrierError
from typing import Any, TypeVar

import numpy as np

from triptych.core import registry
from triptych.core.plan import Plan
from triptych.core.split import Split
from triptych.core.state import State
from triptych.scale.parallel import ParallelEngine
from triptych.scale.worker import state_digest
from triptych.spec.network import Network
from triptych.spec.recipe import Recipe

T = TypeVar("T")


class ThreadedGroup:
    """Several workers as one engine.

    Parameters
    ----------
    name : str
        The engine.
    network, recipe
        What is trained, and how.
    workers : int
        How many.
    kind : type of ParallelEngine
        What each of them is: a class with a mistake, for example.
    synchronised : bool
        Whether BatchNorm takes its statistics over all workers.
    """

    def __init__(
        self,
        name: str,
        network: Network,
        recipe: Recipe,
        workers: int,
        kind: type[ParallelEngine] = ParallelEngine,
        *,
        synchronised: bool = True,
    ) -> None:
        self.barrier = Barrier(workers, timeout=60)
        self.given: list[Any] = [None] * workers
        self.pool = ThreadPoolExecutor(workers)
        self.device = "cpu"

        def build(rank: int) -> ParallelEngine:
            def add(array: np.ndarray) -> np.ndarray:
                return self.add(rank, array)

            engine: Any = registry.create(
                name, network, recipe, all_reduce=add if synchronised else None
            )
            return kind(engine, rank, workers, add)

        self.engines = [build(rank) for rank in range(workers)]

    def add(self, rank: int, array: np.ndarray) -> np.ndarray:
        self.given[rank] = array.copy()
        self.barrier.wait()
        total = sum(self.given[1:], start=self.given[0].copy())
        self.barrier.wait()
        return total

    def each(self, ask: Callable[[ParallelEngine], T]) -> list[T]:
        def asked(engine: ParallelEngine) -> T:
            try:
                return ask(engine)
            except BrokenBarrierError:
                raise
            except BaseException:
                self.barrier.abort()  # the others do not wait
                raise

        return list(self.pool.map(asked, self.engines))

    def load(self, state: State) -> None:
        self.each(lambda engine: engine.load(state))

    def state(self) -> State:
        return self.engines[0].state()

    def digests(self) -> list[str]:
        return [state_digest(engine.state()) for engine in self.engines]

    def upload(self, split: Split) -> Any:
        return self.each(lambda engine: engine.upload(split))

    def run(self, data: Any, plan: Plan) -> None:
        self.each(lambda engine: engine.run(data[engine.rank], plan))

    def wait(self) -> np.ndarray:
        return self.each(lambda engine: engine.wait())[0]
