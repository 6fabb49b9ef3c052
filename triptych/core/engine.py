"""The interface between the training loop and the engines.

Code above this interface uses NumPy arrays and plain data in one canonical layout, and imports no
framework.
"""

from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

import numpy as np

from ..spec.network import Network
from ..spec.recipe import Recipe
from .gradients import SummedGradients
from .plan import Plan
from .split import Split
from .state import State

DeviceSplit = Any  # a split on an engine's device, in the engine's own types
# Takes the gradient at a layer's output; returns that at its input, and those of its parameters.
LayerPullback = Callable[[np.ndarray], tuple[np.ndarray, State]]
# Takes what the samples of one worker add to a step; returns the sum of all workers.
Exchange = Callable[[SummedGradients], SummedGradients]
SAMPLES_EVALUATED_AT_ONCE = 1_000  # a convolution of ten thousand images needs too much memory


class Trainer(Protocol):
    """What trains: an engine, or several workers as one engine.

    All arrays that enter or leave it are NumPy arrays in the canonical layout and in
    ``recipe.dtype``. A loss is the mean data loss of a step before its update.
    """

    def load(self, state: State) -> None:
        """Replace weights, buffers and optimizer slots by those of a state.

        Raises
        ------
        ValueError
            If a name, shape or dtype does not fit; the message names the first such array.
        """
        ...

    def state(self) -> State:
        """Return copies of the weights, buffers and optimizer slots."""
        ...

    def upload(self, split: Split) -> DeviceSplit:
        """Copy a whole split onto the device and return it in the engine's own types."""
        ...

    def run(self, data: DeviceSplit, plan: Plan) -> None:
        """Start the plan's K training steps; they may still be running on return."""
        ...

    def wait(self) -> np.ndarray:
        """Wait until all steps are finished: a timer stops when this method returns.

        Returns
        -------
        ndarray, shape (steps,)
            The losses of all steps since the last call.
        """
        ...


class Engine(Trainer, Protocol):
    """What every engine does. ``Engine(network, recipe, device="cpu", backend=None)`` builds one.

    An engine restores every global setting of its framework that it changes, so that engines of
    different dtype can be used in one process.

    Attributes
    ----------
    device : str
        The device that the engine uses: ``cpu``, ``cuda`` or ``mps``.
    """

    device: str

    def logits(self, data: DeviceSplit) -> np.ndarray:
        """Return the logits of every sample in evaluation mode, shape (samples, classes)."""
        ...

    def trace(self, data: DeviceSplit, plan: Plan, *, outputs: bool = True) -> State:
        """Return what the first training step of a plan computes, without changing the engine.

        Parameters
        ----------
        data : object
            The split, as `upload` returned it.
        plan : Plan
            Its first step is traced.
        outputs : bool
            Whether the outputs of the layers are returned too.

        Returns
        -------
        dict of str to ndarray
            In order of computation: ``output/LAYER`` of the forward pass, ``loss``, then
            ``gradient/LAYER/LEAF`` of the backward pass.
        """
        ...


class ReferenceEngine(Engine, Protocol):
    """What the reference offers in addition: every layer's output in evaluation mode."""

    def layer_outputs(self, images: np.ndarray) -> State:
        """Return the output of every layer in evaluation mode, by the layer's name.

        Parameters
        ----------
        images : ndarray of uint8 or floats, shape (n, h, w, c)
            As in `Split`.
        """
        ...


class UpdatingEngine(Engine, Protocol):
    """What an engine offers in addition: updates from given gradients."""

    def update(self, gradients: State, rate: float) -> None:
        """Make the update of a step from given gradients instead of its own.

        Parameters
        ----------
        gradients : dict of str to ndarray
            By the name of the parameter, as `trace` computes them: before penalty and clipping.
        rate : float
            The learning rate of the step.
        """
        ...


class ShardingEngine(UpdatingEngine, Protocol):
    """What an engine offers in addition if several workers can share its steps.

    In a step every worker calls `gradients` for its part of the batch. The results of all workers
    are added, and every worker calls `update` with the sum of the gradients divided by the sum of
    the weights.

    The constructor has one more keyword, ``all_reduce``, a `triptych.core.gradients.AllReduce`;
    None means that there is one worker. Layers whose statistics are those of the whole batch, such
    as BatchNorm, call it in their forward and backward passes. It waits for all workers. So all
    must call `gradients` for the same steps, and a worker without samples still makes these calls.
    An engine that has no such layer calls `triptych.core.gradients.check_synchronised`, which
    raises `EngineError` for a network that needs one.
    """

    def gradients(self, data: DeviceSplit, plan: Plan) -> SummedGradients:
        """Return what the samples of a plan's first step add to the gradients of a larger batch.

        Running statistics change as in a step. Weights and optimizer slots do not change. For a
        plan without samples all sums are zero.

        Parameters
        ----------
        data : object
            A split, as `upload` returned it.
        plan : Plan
            Only its first step is computed, with this worker's samples, masks and augmentations.
        """
        ...


@runtime_checkable
class SharedStepsEngine(ShardingEngine, Protocol):
    """What a sharding engine offers in addition: several steps, with gradients in its own layout.

    It spares what calls of the framework cost, and the way to the canonical layout and back.
    """

    def run_shared(self, data: DeviceSplit, plan: Plan, exchange: Exchange) -> list[float]:
        """Make the plan's K training steps together with the other workers.

        Parameters
        ----------
        data : object
            A split, as `upload` returned it.
        plan : Plan
            This worker's samples, masks and augmentations of each step.
        exchange : callable
            It is called once in each step. The arrays have the engine's layout, in all workers.

        Returns
        -------
        list of float
            The losses of the whole batches.

        Raises
        ------
        EngineError
            That of `exchange`.
        """
        ...


class NativeEngine(Engine, Protocol):
    """An engine whose workers share steps by the framework's own data-parallel training.

    Attributes
    ----------
    takes_empty_parts : bool
        Whether `run_part` takes a plan without samples.
    """

    takes_empty_parts: bool

    def run_part(self, data: DeviceSplit, plan: Plan, factors: np.ndarray) -> None:
        """Make the plan's K training steps together with the other workers.

        The losses that `wait` returns are those of the whole batches.

        Parameters
        ----------
        data : object
            A split, as `upload` returned it.
        plan : Plan
            This worker's samples, masks and augmentations of each step.
        factors : ndarray of float64, shape (steps,)
            What the mean loss of the worker's samples is multiplied by in each step. The mean of
            the products over all workers is the loss of the whole batch.
        """
        ...

    def lost_worker(self, error: Exception) -> bool:
        """Return whether an error of `run_part` only tells that another worker has ended."""
        ...


class NativeWorkers(Protocol):
    """The workers of one engine, joined by its framework; `triptych.core.registry.join_native`."""

    def create(
        self, network: Network, recipe: Recipe, *, device: str, backend: str | None
    ) -> NativeEngine:
        """Build an engine, together with all other workers.

        Raises
        ------
        EngineError
            In all workers alike, if the framework cannot train the network in this way.
        """
        ...


class FrameworkEngine(Engine, Protocol):
    """What an engine with a framework offers in addition, for exports."""

    def native_model(self) -> object:
        """Return the framework's own model: images (n, h, w, c), 0 to 1, in; logits out.

        It is in evaluation mode.
        """
        ...


class LayerProbe(Protocol):
    """One layer, the loss or the update of an engine at a time, with its present state.

    All arrays are in the canonical layout and in the recipe's dtype.
    """

    def layer(
        self, name: str, x: np.ndarray, *, training: bool, mask: np.ndarray | None = None
    ) -> tuple[np.ndarray, LayerPullback]:
        """Return what a layer without inner layers makes of an input, and how gradients pass it.

        Parameters
        ----------
        name : str
            Of the layer.
        x : ndarray, shape (batch, …)
            Its input.
        training : bool
            Training mode, in which running statistics take over those of the batch; or evaluation
            mode, in which the gradients are not defined.
        mask : ndarray of bool, shape (batch, …), optional
            Of a dropout in training, True where a value is kept; without it everything is kept as
            it is.

        Returns
        -------
        output : ndarray, shape (batch, …)
            A copy.
        pullback : callable
            Takes the gradient at the output, shape (batch, …). Returns that at the input, and the
            gradients of the parameters by their names, ``LAYER/LEAF``. It must be called before
            the next pass through the same layer.
        """
        ...

    def loss(self, logits: np.ndarray, labels: np.ndarray) -> tuple[float, np.ndarray]:
        """Return the mean data loss of a batch, and its gradient at the logits.

        Parameters
        ----------
        logits : ndarray, shape (batch, classes)
            The outputs of the network.
        labels : ndarray of int32, shape (batch,)
            The classes, from 0.
        """
        ...

    def update(self, gradients: State, rate: float) -> None:
        """Apply gradients: penalty, clipping, weight decay and the optimizer, as in a step.

        Parameters
        ----------
        gradients : dict of str to ndarray
            Of every parameter, by its name.
        rate : float
            The learning rate.
        """
        ...


class ProbedEngine(Engine, Protocol):
    """What an engine offers in addition whose layers can be observed one by one."""

    def probe(self) -> LayerProbe:
        """Return access to the engine's layers, its loss and its update."""
        ...
