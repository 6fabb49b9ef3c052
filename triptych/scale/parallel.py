"""One of several workers that train one network: any engine, with its part of every step.

A step is the same in every worker: the summed gradients of its part of the batch, one all-reduce,
and the update by the gradients of the whole batch. All workers begin with the same state, so they
keep the same state.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Generic, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from ..core.engine import DeviceSplit, Engine, ShardingEngine, SharedStepsEngine
from ..core.gradients import AllReduce, SummedGradients
from ..core.plan import Plan
from ..core.sharding import shard
from ..core.split import Split
from ..core.state import State
from ..data.streaming.split import StreamedSplit
from ..training.feeding import StreamFeed, streamed_logits

E = TypeVar("E", bound=Engine)


class CountedSplit(NamedTuple):
    """A split on the device, with its number of samples and their classes."""

    data: DeviceSplit
    samples: int
    labels: NDArray[np.int32]

    def spans(self, plan: Plan) -> Iterator[Plan]:
        """Yield the steps of a plan whose samples are taken at once: all of them."""
        yield plan

    def take(self, part: Plan) -> tuple[DeviceSplit, Plan]:
        """Return the samples of a worker's part of a plan, and the plan with indices there."""
        return self.data, part

    def logits(self, engine: Engine) -> np.ndarray:
        """Return what an engine computes of every sample, shape (samples, classes)."""
        return engine.logits(self.data)


class StreamPart(NamedTuple):
    """What one worker reads of a stream: its part of each step, or all samples to evaluate.

    Attributes
    ----------
    split : StreamedSplit
        All samples.
    feed : StreamFeed or None
        Reads the part of this worker; None of a split that is evaluated.
    """

    split: StreamedSplit
    feed: StreamFeed | None

    @property
    def samples(self) -> int:
        """Number of samples of all workers."""
        return len(self.split)

    def spans(self, plan: Plan) -> Iterator[Plan]:
        """Yield the steps of a plan whose samples are taken at once: each alone."""
        yield from plan.single()

    def take(self, part: Plan) -> tuple[DeviceSplit, Plan]:
        """Return the samples of this worker's part of the next plan, and the plan for them."""
        assert self.feed is not None
        return self.feed.take(part)

    def logits(self, engine: Engine) -> np.ndarray:
        """Return what an engine computes of every sample, shape (samples, classes)."""
        return streamed_logits(engine, self.split)


class WorkerEngine(Generic[E]):
    """What every worker does alike, however gradients are added.

    Parameters
    ----------
    engine : Engine
        It computes.
    rank : int
        The number of this worker, from 0.
    workers : int
        How many there are.
    """

    def __init__(self, engine: E, rank: int, workers: int) -> None:
        self.engine = engine
        self.rank = rank
        self.workers = workers
        self.device = engine.device

    def load(self, state: State) -> None:
        """Replace weights, buffers and optimizer slots; every worker needs the same state."""
        self.engine.load(state)

    def state(self) -> State:
        """Return copies of the weights, buffers and optimizer slots."""
        return self.engine.state()

    def upload(self, split: Split) -> CountedSplit:
        """Copy a whole split onto the device: every worker holds all samples."""
        return CountedSplit(self.engine.upload(split), len(split), split.labels)

    def part_of(self, plan: Plan, samples: int) -> Plan:
        """Return what this worker computes of a plan.

        Parameters
        ----------
        plan : Plan
            Steps of all workers together.
        samples : int
            Number of samples of the split.
        """
        return shard(plan, self.rank, self.workers, samples)

    def logits(self, data: CountedSplit | StreamPart) -> np.ndarray:
        """Return the logits of every sample in evaluation mode, shape (samples, classes)."""
        return data.logits(self.engine)

    def trace(self, data: CountedSplit, plan: Plan, *, outputs: bool = True) -> State:
        """Return what this worker computes in a plan's first step, without changing anything."""
        part = self.part_of(next(plan.single()), data.samples)
        return self.engine.trace(data.data, part, outputs=outputs)


class ParallelEngine(WorkerEngine[ShardingEngine]):
    """An engine with the interface of `triptych.core.engine.Engine`, for one worker of a group.

    It is given the plans of all workers together and takes its part of each step.

    Parameters
    ----------
    engine : ShardingEngine
        It computes; it was built with the same `all_reduce`.
    rank : int
        The number of this worker, from 0.
    workers : int
        How many there are.
    all_reduce : callable
        Adds an array over all workers.
    """

    def __init__(
        self, engine: ShardingEngine, rank: int, workers: int, all_reduce: AllReduce
    ) -> None:
        super().__init__(engine, rank, workers)
        self.all_reduce = all_reduce
        self.shared = engine if isinstance(engine, SharedStepsEngine) else None
        self._losses: list[float] = []

    def run(self, data: CountedSplit | StreamPart, plan: Plan) -> None:
        """Make the plan's steps together with the other workers."""
        for span in data.spans(plan):
            device_split, part = data.take(self.part_of(span, data.samples))
            part = replace(part, rates=self.rates_of(span))
            if self.shared:
                self._losses += self.shared.run_shared(device_split, part, self.total_of)
            else:
                self._losses += self._steps(device_split, part)

    def _steps(self, data: DeviceSplit, part: Plan) -> Iterator[float]:
        """Make the steps of a plan one by one, and yield their losses."""
        for step in part.single():
            total = self.total_of(self.engine.gradients(data, step))
            self.engine.update(total.mean_gradients, float(step.rates[0]))
            yield total.mean_loss

    def total_of(self, part: SummedGradients) -> SummedGradients:
        """Return the sum of the parts of all workers."""
        return part.reduced(self.all_reduce)

    def rates_of(self, plan: Plan) -> NDArray[np.float64]:
        """Return the learning rate of each step of a plan, shape (steps,)."""
        return plan.rates

    def wait(self) -> np.ndarray:
        """Return the losses of the whole batches since the last call, shape (steps,)."""
        losses = np.array(self._losses)
        self._losses = []
        return losses
