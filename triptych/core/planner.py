"""Every plan of a training run, drawn when it is asked for."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..spec.network import Network
from ..spec.recipe import Recipe
from . import augmentation, rng
from .plan import Plan

Span = tuple[int, int, int]  # first step, number of steps, batch size

PLAN_BYTES = 32 * 2**20  # the largest a plan may be


@dataclass(frozen=True)
class BatchPlanner:
    """Every plan of a whole training run, in order, each drawn when it is asked for.

    Attributes
    ----------
    network, recipe
    samples : int
        Size of the training split.
    block : int
        The K that is wanted; bounded so that a plan stays under 32 MB. At most three pairs (K, B) occur in a run:
        whole blocks, the rest of an epoch, and the smaller last batch.
    """

    network: Network
    recipe: Recipe
    samples: int
    block: int = 64

    def __post_init__(self) -> None:
        self.recipe.check_fits(self.network)

    @property
    def batch(self) -> int:
        """The samples of a step; the last of an epoch may have fewer."""
        if self.recipe.batch_size == "full":
            return self.samples
        return min(self.recipe.batch_size, self.samples)

    @property
    def full(self) -> bool:
        """Whether every step uses all rows, in the order of the split."""
        return self.recipe.batch_size == "full"

    @property
    def steps_per_epoch(self) -> int:
        """The steps of an epoch, a smaller last batch included."""
        return -(-self.samples // self.batch)

    @property
    def steps(self) -> int:
        """The steps of the whole run."""
        return self.recipe.epochs * self.steps_per_epoch

    @property
    def block_steps(self) -> int:
        """K of a whole block, after the bound on a plan's size."""
        masks = (
            0
            if self.recipe.random == "free"
            else sum(int(np.prod(shape)) for _, shape in self.network.dropouts)
        )
        per_step = 8 + self.batch * (
            (0 if self.full else 4) + masks + 4 * len(self.recipe.augmentation.active)
        )
        longest = self.recipe.epochs if self.full else max(self.samples // self.batch, 1)
        return max(1, min(self.block, PLAN_BYTES // per_step, longest))

    def summary(self) -> str:
        """Return for a person how many epochs and steps the run has, and how many samples a step."""
        size = f"{self.batch:,}"
        if self.batch == self.samples:
            size = f"all {size}"
        return f"{self.recipe.epochs:,} epochs, {self.steps:,} steps, each on {size} samples"

    def spans(self) -> Iterator[Span]:
        """Yield (first step, number of steps, batch size) of each plan of the run."""
        if self.full:  # every step is an epoch, and a plan may hold many
            k = self.block_steps
            yield from (
                (start, min(k, self.steps - start), self.batch) for start in range(0, self.steps, k)
            )
            return
        for epoch in range(self.recipe.epochs):
            yield from self._epoch(epoch * self.steps_per_epoch)

    def singles(self) -> Iterator[Plan]:
        """Yield every step of the run as a plan of its own."""
        return (step for plan in self.plans() for step in plan.single())

    def groups(self, steps: int) -> Iterator[list[Span]]:
        """Yield the spans of the run in groups of at least `steps` steps, the last one excepted."""
        group: list[Span] = []
        for span in self.spans():
            group.append(span)
            if sum(k for _, k, _ in group) >= steps:
                yield group
                group = []
        if group:
            yield group

    def kinds(self) -> list[Span]:
        """Return the first span of each pair (K, B): with these, every shape of the run has been seen."""
        first: dict[tuple[int, int], Span] = {}
        spans = self.spans() if self.full else self._epoch(0)
        for span in spans:
            first.setdefault(span[1:], span)
        return list(first.values())

    def _epoch(self, start: int, done: int = 0) -> Iterator[Span]:
        k, (whole, rest) = self.block_steps, divmod(self.samples, self.batch)
        yield from ((start + at, min(k, whole - at), self.batch) for at in range(done, whole, k))
        if rest:
            yield start + whole, 1, rest

    def within(self, epoch: int, done: int = 0) -> Iterator[Span]:
        """Yield the spans of one epoch, counted from 0, after its first `done` steps."""
        start = epoch * self.steps_per_epoch
        if done < self.steps_per_epoch:
            yield from [(start, 1, self.batch)] if self.full else self._epoch(start, done)

    def plans(self) -> Iterator[Plan]:
        """Yield every plan of the run."""
        return (self.plan(*span) for span in self.spans())

    def epoch(self, number: int) -> Iterator[Plan]:
        """Yield the plans of one epoch, counted from 0."""
        return (self.plan(*span) for span in self.within(number))

    def plan(self, start: int, steps: int, batch: int, rate: float | None = None) -> Plan:
        """Draw the plan of `steps` steps from step `start`, none of which may cross the end of an epoch in mini-batches.

        `rate` is what the schedule's factors are taken of; the optimizer's own where nothing has cut it.
        """
        base = self.recipe.optimizer.rate if rate is None else rate
        factors = [
            self.recipe.schedule.at(step, self.steps_per_epoch, self.recipe.epochs)
            for step in range(start, start + steps)
        ]
        indices = None
        if not self.full:
            epoch, at = divmod(start, self.steps_per_epoch)
            rows = rng.permutation(self.samples, self.recipe.seed, "order", epoch)
            indices = rows[at * self.batch :][: steps * batch].reshape(steps, batch)
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
        return Plan(base * np.array(factors), indices, masks, drawn)

    def _masks(self, start: int, steps: int, batch: int) -> dict[str, NDArray[np.bool_]]:
        masks = {
            layer.name: np.empty((steps, batch, *shape), np.bool_)
            for layer, shape in self.network.dropouts
        }
        for layer, shape in self.network.dropouts:
            for k in range(steps):
                masks[layer.name][k] = rng.keep(
                    (batch, *shape), layer.rate, self.recipe.seed, layer.name, start + k
                )
        return masks
