"""What an engine is given for its steps: a whole split once, or block after block of a stream."""

from collections.abc import Iterator
from dataclasses import replace
from math import prod
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from ..core.engine import DeviceSplit, Engine
from ..core.plan import Plan
from ..core.planner import BatchPlanner
from ..core.sharding import shard_order
from ..core.split import Split
from ..data.streaming.split import StreamedSplit
from ..errors import SpecError
from ..spec.network import Network
from ..spec.recipe import Recipe


class Feed(Protocol):
    """Gives an engine the samples of its steps."""

    @property
    def waited(self) -> float | None:
        """Seconds in which the engine had to wait for samples; None if it never has to."""
        ...

    def take(self, plan: Plan) -> tuple[DeviceSplit, Plan]:
        """Return the samples of a plan on the device, and the plan with their indices there.

        Parameters
        ----------
        plan : Plan
            Of the whole split; of a stream, that of the next steps.
        """
        ...

    def close(self) -> None:
        """End what it has started."""
        ...


@runtime_checkable
class StreamingEngine(Engine, Protocol):
    """Several workers as one engine that read a stream themselves, each its part."""

    def stream(self, split: StreamedSplit, step: int | None) -> DeviceSplit:
        """Let the workers read a split.

        Parameters
        ----------
        split : StreamedSplit
            What is read.
        step : int or None
            The first training step whose samples are read; None for a split that is evaluated.
        """
        ...


class WholeFeed:
    """A split of which all samples are at hand where the engine is.

    Parameters
    ----------
    data : object
        The split, as the engine holds it.
    """

    def __init__(self, data: DeviceSplit) -> None:
        self._data = data
        self.waited = None

    def take(self, plan: Plan) -> tuple[DeviceSplit, Plan]:
        """Return the split and the plan as they are."""
        return self._data, plan

    def close(self) -> None:
        """Do nothing."""


class StreamFeed:
    """Uploads the samples of one plan at a time, in the order of the planner.

    Reading begins with the first plan.

    Parameters
    ----------
    engine : Engine
        Of this worker.
    split : StreamedSplit
        The training split.
    planner : BatchPlanner
        Whose plans will be taken, one after the other.
    step : int
        The first step that is taken.
    rank, workers : int
        Which part of each batch is taken, as of `triptych.core.sharding.shard`.
    """

    def __init__(
        self,
        engine: Engine,
        split: StreamedSplit,
        planner: BatchPlanner,
        step: int = 0,
        rank: int = 0,
        workers: int = 1,
    ) -> None:
        self._engine = engine
        self._split = split
        self._orders = _orders(planner, step, rank, workers)
        self._reader = split.prefetched(self._orders)

    @property
    def waited(self) -> float:
        """Seconds in which the engine had to wait for samples."""
        return self._reader.waited

    def take(self, plan: Plan) -> tuple[DeviceSplit, Plan]:
        """Return the samples of a plan and the plan that counts through them."""
        assert plan.indices is not None
        samples = plan.indices.ravel()
        images = self._reader.take(len(samples))
        block = Split(images, self._split.labels[samples])
        within = np.arange(len(samples), dtype=np.int32).reshape(plan.indices.shape)
        return self._engine.upload(block), replace(plan, indices=within)

    def close(self) -> None:
        """End the threads that read."""
        self._reader.close()


def _orders(
    planner: BatchPlanner, step: int, rank: int, workers: int
) -> Iterator[NDArray[np.int32]]:
    """Yield the samples of each epoch in the order of its steps, from a step on."""
    epoch, done = divmod(step, planner.steps_per_epoch)
    while epoch < planner.recipe.epochs:
        order = planner.epoch_order(epoch)[done * planner.batch :]
        yield shard_order(order, planner.batch, rank, workers)
        epoch += 1
        done = 0


def planner_of(network: Network, recipe: Recipe, train: Split) -> BatchPlanner:
    """Return the planner of a training split, in the order in which the split is read.

    Raises
    ------
    SpecError
        A split that is not in memory is to be trained on in full batches.
    """
    if not isinstance(train, StreamedSplit):
        return BatchPlanner(network, recipe, len(train))
    if recipe.batch_size == "full":
        raise SpecError(
            "streamed data is trained on in mini-batches, and the recipe has full batches; "
            "give a size, --batch-size 64 for example"
        )
    sample = prod(train.stream.shape) * np.dtype(recipe.dtype).itemsize
    return BatchPlanner(network, recipe, len(train), order=train.order, sample_bytes=sample)


def feed_of(engine: Engine, train: Split, planner: BatchPlanner, step: int = 0) -> Feed:
    """Return what feeds an engine in one process from a step on."""
    if not isinstance(train, StreamedSplit):
        return WholeFeed(engine.upload(train))
    if isinstance(engine, StreamingEngine):
        return WholeFeed(engine.stream(train, step))
    return StreamFeed(engine, train, planner, step)


class Evaluator:
    """Computes the logits of a split that is evaluated several times.

    Parameters
    ----------
    engine : Engine
        That computes.
    split : Split
        A split in memory is uploaded once.
    """

    def __init__(self, engine: Engine, split: Split) -> None:
        self._engine = engine
        self.split = split
        self._data: DeviceSplit = None
        if not isinstance(split, StreamedSplit):
            self._data = engine.upload(split)
        elif isinstance(engine, StreamingEngine):
            self._data = engine.stream(split, None)

    def logits(self) -> np.ndarray:
        """Return the logits of all samples in evaluation mode, shape (samples, classes)."""
        if isinstance(self.split, StreamedSplit) and self._data is None:
            return streamed_logits(self._engine, self.split)
        return self._engine.logits(self._data)


def streamed_logits(engine: Engine, split: StreamedSplit) -> np.ndarray:
    """Return the logits of the samples of a stream, which are read a block at a time."""
    return np.concatenate([engine.logits(engine.upload(block)) for block in split.blocks()])
