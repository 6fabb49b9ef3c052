"""One of several workers that train one network by their framework's own means.

It takes the same part of every step as a `ParallelEngine`; the framework adds the gradients.
"""

from functools import partial

import numpy as np
from numpy.typing import NDArray

from ..core.engine import NativeEngine
from ..core.gradients import weights_of_steps
from ..core.plan import Plan
from ..core.sharding import take_rows
from ..errors import EngineError
from ..spec.network import Network
from ..spec.recipe import Recipe
from .messages import LOST
from .parallel import CountedSplit, WorkerEngine


class NativeParallelEngine(WorkerEngine[NativeEngine]):
    """An engine with the interface of `triptych.core.engine.Engine`, for one worker of a group.

    Parameters
    ----------
    engine : NativeEngine
        It computes, together with those of the other workers.
    network, recipe
        What is trained, and how.
    rank : int
        The number of this worker, from 0.
    workers : int
        How many there are.
    """

    def __init__(
        self,
        engine: NativeEngine,
        network: Network,
        recipe: Recipe,
        rank: int,
        workers: int,
    ) -> None:
        super().__init__(engine, rank, workers)
        self.network = network
        self.recipe = recipe

    def run(self, data: CountedSplit, plan: Plan) -> None:
        """Make the plan's steps together with the other workers.

        Raises
        ------
        EngineError
            If another worker has ended.
        """
        part = self.part_of(plan, data.samples)
        factors = self.factors_of(plan, part, data.labels)
        if part.empty and not self.engine.takes_empty_parts:
            part = take_rows(plan, slice(0, 1), data.samples)
        try:
            self.engine.run_part(data.data, part, factors)
        except Exception as error:
            if self.engine.lost_worker(error):
                raise EngineError(LOST) from error
            raise

    def factors_of(self, plan: Plan, part: Plan, labels: NDArray[np.int32]) -> NDArray[np.float64]:
        """Return what the mean loss of this worker's samples is multiplied by in each step.

        The framework averages over the workers, but their parts have different weights. So each
        mean becomes a sum, and is divided by the worker's share of the weight of all. Every worker
        knows all labels, so the weights need no communication.

        Parameters
        ----------
        plan, part : Plan
            K steps of all workers, and this worker's part of them.
        labels : ndarray of int, shape (samples,)
            The classes of the split.
        """
        weights = partial(weights_of_steps, self.network, self.recipe, labels)
        return self.workers * weights(part) / weights(plan)

    def wait(self) -> NDArray[np.floating]:
        """Return the losses of the whole batches since the last call, shape (steps,)."""
        return self.engine.wait()
