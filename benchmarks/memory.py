"""Memory: the largest size of each engine's process while it trains, beside what arithmetic predicts."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from triptych.bench.contestants import Row, engine_of, remote_of
from triptych.core.planner import BatchPlanner
from triptych.core.selection import EngineSpec
from triptych.errors import EngineError
from triptych.spec.layers import Flatten
from triptych.spec.network import Network
from triptych.spec.recipe import Recipe

from .contestants import opened, ours
from .progress import progress
from .proof import Job, build
from .timing import Settings
from .training import images

MB = 1e6
EPOCHS = 3
GOAL = 1.5  # times images and activations, of NumPy


@dataclass(frozen=True)
class Predicted:
    """What a training must hold, in bytes."""

    images: int  # as the numbers that are trained on
    stored: int  # as the whole pixels that they came from
    activations: int  # of one batch, drawn, with its outputs and their gradients
    state: int  # weights, slots and gradients

    @property
    def needed(self) -> int:
        """What nobody can do without: what peaks are measured by."""
        return self.images + self.activations

    def __str__(self) -> str:
        parts = {
            "images": self.images,
            "pixels as they were sent": self.stored,
            "activations": self.activations,
            "state": self.state,
        }
        return " + ".join(f"{size / MB:.1f} MB of {what}" for what, size in parts.items())


def predicted(network: Network, recipe: Recipe, samples: int) -> Predicted:
    """Return what arithmetic says of a training on `samples` images of one byte a pixel."""
    size, pixels = np.dtype(recipe.dtype).itemsize, samples * prod(network.input_shape)
    batch = BatchPlanner(network, recipe, samples).batch
    drawn = 0 if recipe.batch_size == "full" else batch * prod(network.input_shape)
    outputs = batch * sum(
        prod(place.output_shape) for place in network.places if not isinstance(place.layer, Flatten)
    )
    numbers = network.parameter_count * (2 + len(recipe.optimizer.slots))
    return Predicted(size * pixels, pixels, size * (drawn + 2 * outputs), size * numbers)


@dataclass(frozen=True)
class Used:
    """One engine's peaks, in bytes above the size it had before it was given anything."""

    key: str
    start: int
    loading: int
    epochs: list[int]

    @property
    def peak(self) -> int:
        return max(self.loading, *self.epochs)


@dataclass(frozen=True)
class Usage:
    """One workload's memory. It has no ratios of times."""

    name: str
    title: str
    predicted: Predicted
    used: list[Used]
    ok = True

    def entries(self) -> list[dict[str, Any]]:
        return []

    def text(self) -> Iterator[str]:
        yield f"{self.name}: {self.title}"
        yield f"  predicted: {self.predicted}"
        columns = ("at start", "loading", *(f"epoch {n}" for n in range(1, EPOCHS + 1)), "peak")
        of = f"  peak / (images + activations); NumPy's goal is at most {GOAL:g}"
        yield (
            f"  {'MB, above that at start':26}"
            + "".join(f"{column:>10}" for column in columns)
            + of
        )
        for used in self.used:
            sizes = [used.start, used.loading, *used.epochs, used.peak]
            yield (
                f"  {used.key:26}"
                + "".join(f"{size / MB:10.1f}" for size in sizes)
                + f"{used.peak / self.predicted.needed:10.2f}"
            )


@dataclass(frozen=True)
class Memory:
    """A training whose memory is measured."""

    title: str
    trained: dict[str, tuple[Network, Recipe]]
    samples: int
    timed = False

    def measure(self, name: str, settings: Settings) -> Iterator[Usage]:
        """Train each engine in turn, each in a process of its own."""
        for key, (network, recipe) in self.trained.items():
            job = Job(network, recipe, images(network, self.samples, settings.data))
            used = [_trained(spec, job, settings) for spec in ours() if spec.key == spec.engine]
            yield Usage(f"{name} {key}", self.title, predicted(network, recipe, self.samples), used)


def _trained(spec: EngineSpec, job: Job, settings: Settings) -> Used:
    """Let one engine load and train, its peak set back before each part."""
    progress(f"  {spec.key}", passing=True)
    with opened([spec], settings.threads) as (row,):
        remote_of(row).ask("reset_memory")  # an import's peak is not what is asked
        start = _peak(row)
        build(row, "timed", job)
        loading, epochs = _peak(row), list[int]()
        schedule = BatchPlanner(job.network, job.recipe, len(job.split))
        for epoch in range(EPOCHS):
            engine_of(row).run_all(row.train, list(schedule.epoch(epoch)))
            epochs.append(_peak(row) - start)
        return Used(spec.key, start, loading - start, epochs)


def _peak(row: Row) -> int:
    """Return the largest size of the process since this was last asked.

    Raises
    ------
    EngineError
        Where the system does not tell.
    """
    answer, _ = remote_of(row).ask("memory")
    remote_of(row).ask("reset_memory")
    if answer["peak_bytes"] is None:
        raise EngineError("memory: this system does not tell how large a process was; leave it out")
    return answer["peak_bytes"]
