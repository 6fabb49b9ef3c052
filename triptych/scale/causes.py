"""Why several workers compute another training than one: mistakes, each tested as a hypothesis.

A hypothesis computes a step as one process would with the mistake in it. The mistake is named only
if that gives the very numbers of the workers, in the step that differed and in the steps around it.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import reduce
from itertools import combinations
from operator import add
from typing import Protocol

import numpy as np

from ..core.engine import DeviceSplit, ShardingEngine
from ..core.gradients import SummedGradients
from ..core.plan import Plan
from ..core.planner import BatchPlanner
from ..core.sharding import shard, take_rows
from ..core.state import State, kind

MOST_MISTAKES = 2  # that are tested together


@dataclass(frozen=True)
class ObservedStep:
    """A step of all workers.

    Attributes
    ----------
    number : int
        Of the step in the run, from 0.
    plan : Plan
        What one process does in it.
    before, after : dict of str to ndarray
        The states of the first worker.
    """

    number: int
    plan: Plan
    before: State
    after: State


@dataclass(frozen=True)
class StepMistakes:
    """What is wrong in how the parts of a step become one.

    Attributes
    ----------
    mean_of_means : bool
        Whether every worker divides by its own weight, and the means are averaged.
    statistics_per_worker : bool
        Whether BatchNorm has the statistics of each worker's part instead of the whole batch.
    summed_twice : bool
        Whether the gradients of the whole batch are added over the workers once more.
    """

    mean_of_means: bool = False
    statistics_per_worker: bool = False
    summed_twice: bool = False


@dataclass(frozen=True)
class Setting:
    """What a mistake may depend on.

    Attributes
    ----------
    planner : BatchPlanner
        The planner of the run.
    workers : int
        How many workers there are.
    """

    planner: BatchPlanner
    workers: int


Change = Callable[[Setting, int, Plan], Plan]


@dataclass(frozen=True)
class Cause:
    """A mistake that makes several workers compute another training.

    Attributes
    ----------
    name : str
        As reports name it.
    explanation : str
        What happens, and what is right instead, in a sentence.
    change : callable or None
        Takes the setting, the number of the step and its plan; returns what is done instead.
    mistakes : StepMistakes
        What is wrong inside the step.
    """

    name: str
    explanation: str
    change: Change | None = None
    mistakes: StepMistakes = StepMistakes()


def _stepped_by_every_process(setting: Setting, number: int, plan: Plan) -> Plan:
    """Return the step with the rate of a schedule that every process has advanced once a step."""
    planner = setting.planner
    factor = planner.recipe.schedule.at(
        number * setting.workers, planner.steps_per_epoch, planner.recipe.epochs
    )
    return replace(plan, rates=np.array([planner.recipe.optimizer.rate * factor]))


def _padding(setting: Setting, plan: Plan) -> int:
    """Return how many samples are missing until all workers have equally many."""
    return -_batch(setting, plan) % setting.workers


def _batch(setting: Setting, plan: Plan) -> int:
    return setting.planner.samples if plan.indices is None else plan.indices.shape[1]


def _padded_from_batch(setting: Setting, number: int, plan: Plan) -> Plan:
    """Return the step with the first samples of its batch repeated at the end."""
    del number
    batch = _batch(setting, plan)
    rows = np.resize(np.arange(batch), batch + _padding(setting, plan))
    return take_rows(plan, rows, setting.planner.samples)


def _padded_from_epoch(setting: Setting, number: int, plan: Plan) -> Plan:
    """Return the step with the first samples of its epoch at the end, as a sampler appends them."""
    planner = setting.planner
    padded = _padded_from_batch(setting, number, plan)
    missing = _padding(setting, plan)
    if padded.indices is None or not missing:
        return padded
    first = planner.plan(number - number % planner.steps_per_epoch, 1, planner.batch)
    if first.indices is None:
        return padded
    indices = padded.indices.copy()
    indices[:, -missing:] = np.resize(first.indices[0], missing)
    return replace(padded, indices=indices)


PADDED = "padding by the sampler"
PADDED_EXPLANATION = (
    "a batch that the number of workers does not divide is filled up with samples that it has "
    "already, which then count twice; give the workers unequal parts"
)
MEAN_OF_MEANS = Cause(
    "mean of means over unequal shards",
    "every worker divides its gradients by its own number of samples, and the means are "
    "averaged; add the sums, and divide once by the number of samples of all",
    mistakes=StepMistakes(mean_of_means=True),
)
STEPPED_PER_PROCESS = Cause(
    "schedule stepped per process",
    "the schedule advances once a step for every process, so that the rate is that of a later "
    "step; advance it once a step",
    _stepped_by_every_process,
)
PADDED_FROM_BATCH = Cause(PADDED, PADDED_EXPLANATION, _padded_from_batch)
NORM_PER_SHARD = Cause(
    "BatchNorm per shard",
    "every worker normalises with the mean and variance of its own part of the batch; take "
    "them over the whole batch (synchronised BatchNorm)",
    mistakes=StepMistakes(statistics_per_worker=True),
)
SUMMED_TWICE = Cause(
    "gradients summed twice",
    "the gradients are as many times too large as there are workers: those of the whole batch "
    "are added over the workers once more, or means are added and not averaged; add them once, "
    "and divide once",
    mistakes=StepMistakes(summed_twice=True),
)
# These are simulated: see `explain`.
CAUSES = (
    MEAN_OF_MEANS,
    STEPPED_PER_PROCESS,
    PADDED_FROM_BATCH,
    Cause(PADDED, PADDED_EXPLANATION, _padded_from_epoch),
    NORM_PER_SHARD,
    SUMMED_TWICE,
)

# Those that only a user's own script can have; `triptych.doctor.script` tests them by its numbers.
PADDED_BY_SAMPLER = Cause(
    PADDED,
    "DistributedSampler repeats samples until all workers have equally many, and these count "
    "twice; leave some out with drop_last=True, or choose a number of workers that divides the "
    "data set",
)
DROPPED = Cause(
    "samples dropped by the sampler",
    "some samples are left out so that all workers have equally many; choose a number of workers "
    "that divides the data set, or leave the same ones out with one process",
)
SAME_SAMPLES = Cause(
    "the same samples in every worker",
    "the data is not divided among the workers, so that N of them do the work of one; give the "
    "DataLoader sampler=DistributedSampler(data)",
)
NO_SEED = Cause(
    "random numbers without a seed",
    "two runs of the script differ also with one process; call torch.manual_seed, and seed random "
    "and numpy.random where the script draws from them",
)
RANDOM_CONTENT = Cause(
    "augmentation drawn per worker",
    "the samples are the same, but what the model is given of them is not: it is drawn from the "
    "random numbers of each worker; draw it from the index of the sample and the epoch",
)
DIFFERENT_WEIGHTS = Cause(
    "different initial weights in the workers",
    "every worker draws or loads its own, and DDP copies those of the first worker only while it "
    "wraps the model; make the weights before that, or in the same way in all workers",
)
WEIGHTS_BY_WORKERS = Cause(
    "initial weights that depend on the number of workers",
    "the seed, or how the model is made, depends on RANK or WORLD_SIZE; draw the weights with the "
    "same seed in all runs",
)
NOT_AVERAGED = Cause(
    "gradients not averaged over the workers",
    "each worker makes the update with its own gradients; call the model that DDP has returned and "
    "not model.module, and leave no_sync() before the last backward pass of a step",
)
DIVIDED_TWICE = Cause(
    "gradients divided twice",
    "the loss of each worker is a sum, or is divided by what all workers have, and the average "
    "over the workers divides once more: multiply it by the number of workers",
)
CLIPPED_FIRST = Cause(
    "clipping before the gradients are averaged",
    "each worker clips its own gradients by their own norm; average them first, then clip",
)
RATE_SCALED = Cause(
    "rate scaled by the number of workers",
    "the whole batch is that of one process, and the rate is not; scale the rate only if the whole "
    "batch grows with the number of workers",
)
RATES_DIFFER = Cause(
    "schedule stepped by some workers only",
    "the workers make the update with different rates; advance the schedule in all of them",
)


class Simulation(Protocol):
    """Makes the steps of several workers in one process, with or without mistakes."""

    def step(self, before: State, plan: Plan, workers: int, mistakes: StepMistakes) -> State:
        """Return the state of the first worker after a step.

        Parameters
        ----------
        before : dict of str to ndarray
            The state before it.
        plan : Plan
            One step of all workers together.
        workers : int
            How many there are.
        mistakes : StepMistakes
            What is wrong in it.
        """
        ...


class Replay:
    """Takes the place of the all-reduce while one engine computes the parts one after the other.

    The whole batch is computed first, and its sums are recorded; then each part is given these.
    """

    def __init__(self) -> None:
        self._sums: list[np.ndarray] = []
        self._at: int | None = None  # the next sum that is given; None if arrays stay as they are

    def record(self) -> None:
        """Keep what is to be added from now on, and return it as it is."""
        self._sums = []
        self._at = None

    def play(self) -> None:
        """Return what was kept, from the beginning."""
        self._at = 0

    def __call__(self, array: np.ndarray) -> np.ndarray:
        """Return the sum over all workers."""
        if self._at is None:
            self._sums.append(array.copy())
            return array.copy()
        self._at += 1
        return self._sums[self._at - 1].copy()


@dataclass(frozen=True)
class SerialSimulation:
    """Computes the parts of all workers one after the other in one engine; see `Simulation`.

    Attributes
    ----------
    engine : ShardingEngine
        It was built with `replay` as its all-reduce.
    replay : Replay
        What layers with statistics of the whole batch call.
    data : object
        The split, as the engine's `upload` returned it.
    samples : int
        Number of samples of the split.
    """

    engine: ShardingEngine
    replay: Replay
    data: DeviceSplit
    samples: int

    def step(self, before: State, plan: Plan, workers: int, mistakes: StepMistakes) -> State:
        """Return the state of the first worker after a step."""
        parts, after_forward = self._parts(before, plan, workers, mistakes)
        self.engine.load(after_forward)
        self.engine.update(_combined(parts, mistakes), float(plan.rates[0]))
        return self.engine.state()

    def _parts(
        self, before: State, plan: Plan, workers: int, mistakes: StepMistakes
    ) -> tuple[list[SummedGradients], State]:
        """Return the parts of all workers, and the first one's state before the update."""
        shards = [shard(plan, rank, workers, self.samples) for rank in range(workers)]
        parts: list[SummedGradients] = []
        states: list[State] = []
        if not mistakes.statistics_per_worker:
            self.engine.load(before)
            self.replay.record()
            self.engine.gradients(self.data, plan)
            states.append(self.engine.state())
        for part in shards:
            self.engine.load(before)
            if mistakes.statistics_per_worker:
                self.replay.record()
            else:
                self.replay.play()
            parts.append(self.engine.gradients(self.data, part))
            states.append(self.engine.state())
        return parts, states[0]


def _combined(parts: list[SummedGradients], mistakes: StepMistakes) -> State:
    gradients = reduce(add, parts).mean_gradients
    if mistakes.mean_of_means:
        means = [part.mean_gradients for part in parts if part.weight]
        added = {name: np.sum([mean[name] for mean in means], axis=0) for name in gradients}
        gradients = {name: array / len(means) for name, array in added.items()}
    if mistakes.summed_twice:
        gradients = {name: len(parts) * gradient for name, gradient in gradients.items()}
    return gradients


Same = Callable[[State, State], bool]


def explain(
    observed: list[ObservedStep], setting: Setting, simulation: Simulation, same: Same
) -> tuple[Cause, ...]:
    """Return the mistakes that reproduce what the workers have computed; empty if none does.

    Parameters
    ----------
    observed : list of ObservedStep
        The step that differed from one process, and steps around it.
    setting : Setting
        The run.
    simulation : Simulation
        Makes steps with mistakes.
    same : callable
        Whether two states are equal, but for rounding.
    """
    for causes in _together(any(kind(name) == "buffers" for name in observed[0].before)):
        if all(
            same(step.after, _predicted(step, causes, setting, simulation)) for step in observed
        ):
            return causes
    return ()


def _together(has_statistics: bool) -> Iterator[tuple[Cause, ...]]:
    """Yield every mistake, then pairs of different ones."""
    causes = [
        cause for cause in CAUSES if has_statistics or not cause.mistakes.statistics_per_worker
    ]
    for count in range(1, MOST_MISTAKES + 1):
        for chosen in combinations(causes, count):
            if len({cause.name for cause in chosen}) == count:
                yield chosen


def _predicted(
    step: ObservedStep, causes: tuple[Cause, ...], setting: Setting, simulation: Simulation
) -> State:
    """Return the state after a step with some mistakes."""
    plan = step.plan
    for cause in causes:
        if cause.change:
            plan = cause.change(setting, step.number, plan)
    mistakes = StepMistakes(
        any(cause.mistakes.mean_of_means for cause in causes),
        any(cause.mistakes.statistics_per_worker for cause in causes),
        any(cause.mistakes.summed_twice for cause in causes),
    )
    return simulation.step(step.before, plan, setting.workers, mistakes)
