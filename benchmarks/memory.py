"""Memory: the largest size of each engine's process in training, and what arithmetic predicts."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from triptych.core.planner import BatchPlanner
from triptych.core.selection import EngineSpec
from triptych.errors import EngineError
from triptych.process.client import Remote
from triptych.spec.layers import Flatten
from triptych.spec.network import Network
from triptych.spec.recipe import Recipe

from .contestants import load, opened, ours
from .job import Job
from .progress import progress
from .timing import Settings
from .training import images

BYTES_PER_MB = 1e6
EPOCHS = 3
GOAL = 1.5  # times images and activations, for NumPy


@dataclass(frozen=True)
class Predicted:
    """What a training must hold, in bytes.

    Attributes
    ----------
    images : int
        The images as the numbers that are trained on.
    stored : int
        The whole pixels that they are made of.
    activations : int
        One drawn batch with all outputs and their gradients.
    state : int
        Weights, slots and gradients.
    """

    images: int
    stored: int
    activations: int
    state: int

    @property
    def needed(self) -> int:
        """What no engine can do without; peaks are divided by it."""
        return self.images + self.activations

    def __str__(self) -> str:
        parts = {
            "images": self.images,
            "pixels as they were sent": self.stored,
            "activations": self.activations,
            "state": self.state,
        }
        return " + ".join(f"{size / BYTES_PER_MB:.1f} MB of {what}" for what, size in parts.items())


def predicted(network: Network, recipe: Recipe, samples: int) -> Predicted:
    """Return what a training on `samples` images of one byte a pixel must hold."""
    size = np.dtype(recipe.dtype).itemsize
    pixels = samples * prod(network.input_shape)
    batch = BatchPlanner(network, recipe, samples).batch
    drawn = 0 if recipe.batch_size == "full" else batch * prod(network.input_shape)
    outputs = batch * sum(
        prod(place.output_shape) for place in network.places if not isinstance(place.layer, Flatten)
    )
    numbers = network.parameter_count * (2 + len(recipe.optimizer.slots))
    return Predicted(size * pixels, pixels, size * (drawn + 2 * outputs), size * numbers)


@dataclass(frozen=True)
class Used:
    """One engine's peaks, in bytes.

    Attributes
    ----------
    key : str
        The engine.
    start : int
        Before it was given anything. The others are above this.
    loading : int
        While it loaded the images.
    epochs : list of int
        In each epoch.
    """

    key: str
    start: int
    loading: int
    epochs: list[int]

    @property
    def peak(self) -> int:
        """The largest of all."""
        return max(self.loading, *self.epochs)


@dataclass(frozen=True)
class Usage:
    """The memory of one workload. It has no ratios of times."""

    name: str
    title: str
    predicted: Predicted
    used: list[Used]
    ok = True

    def entries(self) -> list[dict[str, Any]]:
        """Return no ratios."""
        return []

    def text(self) -> Iterator[str]:
        """Yield the table that a person reads, line by line."""
        yield f"{self.name}: {self.title}"
        yield f"  predicted: {self.predicted}"
        columns = ("at start", "loading", *(f"epoch {n}" for n in range(1, EPOCHS + 1)), "peak")
        heading = "".join(f"{column:>10}" for column in columns)
        last = f"  peak / (images + activations); NumPy's goal is at most {GOAL:g}"
        yield f"  {'MB, above that at start':26}{heading}{last}"
        for used in self.used:
            sizes = [used.start, used.loading, *used.epochs, used.peak]
            cells = "".join(f"{size / BYTES_PER_MB:10.1f}" for size in sizes)
            yield f"  {used.key:26}{cells}{used.peak / self.predicted.needed:10.2f}"


@dataclass(frozen=True)
class Memory:
    """A training whose memory is measured."""

    title: str
    trained: dict[str, tuple[Network, Recipe]]
    samples: int
    timed = False

    def measure(self, name: str, settings: Settings) -> Iterator[Usage]:
        """Train in each engine with its default backend, each in a process of its own."""
        for key, (network, recipe) in self.trained.items():
            job = Job(network, recipe, images(network, self.samples, settings.data))
            used = [_train(spec, job, settings) for spec in ours() if spec.key == spec.engine]
            yield Usage(f"{name} {key}", self.title, predicted(network, recipe, self.samples), used)


def _train(spec: EngineSpec, job: Job, settings: Settings) -> Used:
    """Let one engine load and train; its peak is reset before each part."""
    progress(f"  {spec.key}", passing=True)
    with opened([spec], settings.threads) as (contestant,):
        remote = contestant.remote
        remote.reset_peak_memory()  # the import has a peak of its own
        start = _peak(remote)
        loaded = load(contestant, "timed", job)
        loading = _peak(remote)
        planner = BatchPlanner(job.network, job.recipe, len(job.split))
        epochs: list[int] = []
        for epoch in range(EPOCHS):
            loaded.engine.run_all(loaded.data, list(planner.epoch(epoch)))
            epochs.append(_peak(remote) - start)
        return Used(spec.key, start, loading - start, epochs)


def _peak(remote: Remote) -> int:
    """Return the largest size of a process since this was last asked, in bytes.

    Raises
    ------
    EngineError
        If the system does not tell it.
    """
    peak_bytes = remote.memory().peak_bytes
    remote.reset_peak_memory()
    if peak_bytes is None:
        raise EngineError("memory: this system does not tell how large a process was; leave it out")
    return peak_bytes
