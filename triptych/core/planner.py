"""The plans of a whole training run, each drawn when it is needed."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ..spec.network import Network
from ..spec.recipe import Recipe
from . import augmentation, rng
from .order import WindowedOrder, epoch_order
from .plan import Plan

Span = tuple[int, int, int]  # first step, number of steps, batch size

ENDLESS_EPOCHS = 10**9  # of a recipe whose steps are only timed, practically without end
PLAN_BYTES = 32 * 2**20  # the largest size of a plan
RATE_BYTES = 8  # of a step's learning rate, float64
INDEX_BYTES = 4  # of a sample's index, int32
AUGMENTATION_BYTES = 4  # of a sample's draws for one augmentation, two int16


@dataclass(frozen=True)
class BatchPlanner:
    """Divides a training run into plans, and draws each plan when it is needed.

    At most three pairs (K, B) occur in a run: those of the full plans, of the shorter plan at the
    end of an epoch, and of an epoch's last batch if it is smaller than the others. An engine that
    compiles its steps therefore compiles at most three times.

    Attributes
    ----------
    network : Network
        Its dropout layers determine the masks, its input shape the augmentations.
    recipe : Recipe
        Its epochs, batch size, schedule and seed determine the plans.
    samples : int
        Number of samples of the training split.
    block : int
        K, the wanted number of steps in a plan. Fewer are used where a plan would be larger than
        32 MiB, or longer than the whole batches of an epoch.
    order : WindowedOrder, optional
        Of a training split that is read in pieces; by default all samples are shuffled alike.
    sample_bytes : int
        Bytes that a sample adds to a plan, of a training split that is not in memory as a whole.
    """

    network: Network
    recipe: Recipe
    samples: int
    block: int = 64
    order: WindowedOrder | None = None
    sample_bytes: int = 0

    def __post_init__(self) -> None:
        self.recipe.check_fits(self.network)

    @property
    def batch(self) -> int:
        """Number of samples in a step; the last step of an epoch may have fewer."""
        if self.recipe.batch_size == "full":
            return self.samples
        return min(self.recipe.batch_size, self.samples)

    @property
    def full(self) -> bool:
        """Whether every step uses all samples, in the order of the split."""
        return self.recipe.batch_size == "full"

    @property
    def steps_per_epoch(self) -> int:
        """Number of steps in an epoch, including a smaller last batch."""
        return -(-self.samples // self.batch)

    @property
    def steps(self) -> int:
        """Number of steps in the run."""
        return self.recipe.epochs * self.steps_per_epoch

    @property
    def block_steps(self) -> int:
        """K of a full plan: `block`, or less where a plan would be too large or too long."""
        longest = self.recipe.epochs if self.full else max(self.samples // self.batch, 1)
        return max(1, min(self.block, PLAN_BYTES // self._bytes_per_step(), longest))

    def _bytes_per_step(self) -> int:
        per_sample = self.sample_bytes
        per_sample += AUGMENTATION_BYTES * len(self.recipe.augmentation.active)
        if not self.full:
            per_sample += INDEX_BYTES
        if self.recipe.random != "free":
            per_sample += sum(int(np.prod(shape)) for _, shape in self.network.dropouts)
        return RATE_BYTES + self.batch * per_sample

    def summary(self) -> str:
        """Return the numbers of epochs, steps and samples in a step, as text for the user."""
        size = f"{self.batch:,}"
        if self.batch == self.samples:
            size = f"all {size}"
        return f"{self.recipe.epochs:,} epochs, {self.steps:,} steps, each on {size} samples"

    def endless(self) -> "BatchPlanner":
        """Return the planner of the same run, practically without end."""
        return replace(self, recipe=replace(self.recipe, epochs=ENDLESS_EPOCHS))

    def spans(self) -> Iterator[Span]:
        """Yield (first step, number of steps, batch size) of each plan of the run."""
        if self.full:
            # A step is a whole epoch, so a plan may contain several epochs.
            k = self.block_steps
            for start in range(0, self.steps, k):
                yield start, min(k, self.steps - start), self.batch
            return
        for epoch in range(self.recipe.epochs):
            yield from self._epoch(epoch * self.steps_per_epoch)

    def singles(self) -> Iterator[Plan]:
        """Yield every step of the run as a plan with K = 1."""
        return (step for plan in self.plans() for step in plan.single())

    def groups(self, steps: int) -> Iterator[list[Span]]:
        """Yield the spans in groups of at least `steps` steps; the last group may be smaller."""
        group: list[Span] = []
        for span in self.spans():
            group.append(span)
            if sum(k for _, k, _ in group) >= steps:
                yield group
                group = []
        if group:
            yield group

    def kinds(self) -> list[Span]:
        """Return the first span of each pair (K, B) that occurs in the run."""
        first: dict[tuple[int, int], Span] = {}
        spans = self.spans() if self.full else self._epoch(0)
        for span in spans:
            first.setdefault(span[1:], span)
        return list(first.values())

    def _epoch(self, start: int, done: int = 0) -> Iterator[Span]:
        """Yield the spans of the epoch that starts at step `start`, without its first `done`."""
        k = self.block_steps
        whole_batches, rest = divmod(self.samples, self.batch)
        for at in range(done, whole_batches, k):
            yield start + at, min(k, whole_batches - at), self.batch
        if rest:
            yield start + whole_batches, 1, rest

    def within(self, epoch: int, done: int = 0) -> Iterator[Span]:
        """Yield the spans of one epoch, without its first `done` steps.

        Parameters
        ----------
        epoch : int
            The epoch's number, from 0.
        done : int
            How many of its steps are left out.
        """
        start = epoch * self.steps_per_epoch
        if done >= self.steps_per_epoch:
            return
        if self.full:
            yield start, 1, self.batch
        else:
            yield from self._epoch(start, done)

    def plans(self) -> Iterator[Plan]:
        """Yield every plan of the run."""
        return (self.plan(*span) for span in self.spans())

    def epoch(self, number: int) -> Iterator[Plan]:
        """Yield the plans of one epoch, counted from 0."""
        return (self.plan(*span) for span in self.within(number))

    def plan(self, start: int, steps: int, batch: int, rate: float | None = None) -> Plan:
        """Draw a plan.

        Parameters
        ----------
        start : int
            The number of the first step, from 0.
        steps : int
            K, the number of steps. Mini-batches of a plan must belong to one epoch.
        batch : int
            B, the number of samples in each step.
        rate : float, optional
            The learning rate that the schedule's factors multiply; by default the optimizer's. It
            differs from the optimizer's after a callback has reduced it.
        """
        base = self.recipe.optimizer.rate if rate is None else rate
        factors = [
            self.recipe.schedule.at(step, self.steps_per_epoch, self.recipe.epochs)
            for step in range(start, start + steps)
        ]
        masks = {} if self.recipe.random == "free" else self._masks(start, steps, batch)
        drawn = augmentation.draw(
            self.recipe.augmentation,
            steps,
            batch,
            self.network.input_shape,
            self.recipe.seed,
            "augment",
            start=start,
        )
        return Plan(base * np.array(factors), self._indices(start, steps, batch), masks, drawn)

    def _indices(self, start: int, steps: int, batch: int) -> NDArray[np.int32] | None:
        """Return the sample indices of some steps, int32 (K, B); None if all samples are used."""
        if self.full:
            return None
        epoch, at = divmod(start, self.steps_per_epoch)
        first = at * self.batch
        chosen = self.epoch_order(epoch)[first : first + steps * batch]
        return chosen.reshape(steps, batch).copy()

    def epoch_order(self, epoch: int) -> NDArray[np.int32]:
        """Return the samples of one epoch of mini-batches in their order, int32 (samples,)."""
        return epoch_order(self.samples, self.recipe.seed, epoch, self.order)

    def _masks(self, start: int, steps: int, batch: int) -> dict[str, NDArray[np.bool_]]:
        """Return the dropout masks of some steps, bool (K, B, …), by layer name."""
        masks: dict[str, NDArray[np.bool_]] = {}
        for layer, shape in self.network.dropouts:
            drawn = np.empty((steps, batch, *shape), np.bool_)
            for k in range(steps):
                key = (self.recipe.seed, layer.name, start + k)
                drawn[k] = rng.keep((batch, *shape), layer.rate, *key)
            masks[layer.name] = drawn
        return masks
