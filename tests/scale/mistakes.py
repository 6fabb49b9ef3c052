"""Mistakes of data-parallel training, each planted in what a worker does."""

from dataclasses import replace
from itertools import count
from typing import Any

import numpy as np

from triptych.core.gradients import SummedGradients
from triptych.core.plan import Plan
from triptych.core.planner import BatchPlanner
from triptych.core.sharding import take_rows
from triptych.scale.parallel import ParallelEngine


class MeanOfMeans(ParallelEngine):
    """As DistributedDataParallel: gradients of the mean loss of a worker, averaged."""

    def total_of(self, part: SummedGradients) -> SummedGradients:
        mean = SummedGradients(part.mean_gradients, part.mean_loss, 1.0)
        return mean.reduced(self.all_reduce)


class SummedTwice(ParallelEngine):
    """As Keras's `apply_gradients` under a strategy, after an own all-reduce."""

    def total_of(self, part: SummedGradients) -> SummedGradients:
        total = part.reduced(self.all_reduce)
        return SummedGradients(total.reduced(self.all_reduce).gradients, total.loss, total.weight)


class PaddedBatch(ParallelEngine):
    """Every worker has equally many samples: the first of a batch follow its last."""

    def part_of(self, step: Plan, samples: int) -> Plan:
        batch = step.indices.shape[1]
        padded = list(range(batch))
        while len(padded) % self.workers:
            padded.append(padded[len(padded) - batch])
        return take_rows(step, np.array(padded[self.rank :: self.workers]), samples)


class PaddedEpoch(ParallelEngine):
    """As DistributedSampler: the first samples of an epoch follow its last."""

    planner: BatchPlanner
    first_batch: np.ndarray | None = None

    def part_of(self, step: Plan, samples: int) -> Plan:
        batch = step.indices.shape[1]
        if self.first_batch is None:
            self.first_batch = step.indices
        missing = -batch % self.workers
        whole = np.concatenate([step.indices, self.first_batch[:, :missing]], axis=1)
        if batch < self.planner.batch:  # the epoch is over
            self.first_batch = None
        return Plan(step.rates, np.ascontiguousarray(whole[:, self.rank :: self.workers]))


def padded_epoch(planner: BatchPlanner) -> type[ParallelEngine]:
    return type("PaddedEpochOf", (PaddedEpoch,), {"planner": planner})


def schedule_per_process(planner: BatchPlanner) -> type[ParallelEngine]:
    """A schedule that all processes share and each of them advances."""

    class SchedulePerProcess(ParallelEngine):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            self.advanced = count(step=self.workers)

        def rates_of(self, plan: Plan) -> np.ndarray:
            recipe = planner.recipe
            length = planner.steps_per_epoch, recipe.epochs
            factors = [recipe.schedule.at(next(self.advanced), *length) for _ in plan.rates]
            return recipe.optimizer.rate * np.array(factors)

    return SchedulePerProcess


class FirstStepOnly(ParallelEngine):
    """Of several steps at once, all have the samples of the first."""

    def part_of(self, plan: Plan, samples: int) -> Plan:
        part = super().part_of(plan, samples)
        return replace(part, indices=np.tile(part.indices[:1], (len(plan), 1)))


class Larger(ParallelEngine):
    """The gradients of the first worker are a thousandth too large, which no hypothesis covers."""

    def total_of(self, part: SummedGradients) -> SummedGradients:
        factor = 1.001 if self.rank == 0 else 1.0
        larger = {name: factor * gradient for name, gradient in part.gradients.items()}
        return SummedGradients(larger, part.loss, part.weight).reduced(self.all_reduce)


class Unsynchronised(ParallelEngine):
    """The learning rate of all but the first worker is one unit in the last place larger."""

    def rates_of(self, plan: Plan) -> np.ndarray:
        rates = super().rates_of(plan)
        return np.nextafter(rates, 1) if self.rank else rates
