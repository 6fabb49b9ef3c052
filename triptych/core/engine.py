"""The interface between the training loop and the engines.

Code above this interface uses NumPy arrays and plain data in one canonical layout, and imports no
framework.
"""

from typing import Any, Protocol

import numpy as np

from .plan import Plan
from .split import Split
from .state import State

DeviceSplit = Any  # a split on an engine's device, in the engine's own types
SAMPLES_EVALUATED_AT_ONCE = 1_000  # a convolution of ten thousand images needs too much memory


class Engine(Protocol):
    """What every engine does. ``Engine(network, recipe, device="cpu", backend=None)`` builds one.

    All arrays that enter or leave an engine are NumPy arrays in the canonical layout and in
    ``recipe.dtype``. A loss is the mean data loss of a step before its update. An engine restores
    every global setting of its framework that it changes, so that engines of different dtype can be
    used in one process.

    Attributes
    ----------
    device : str
        The device that the engine uses: ``cpu``, ``cuda`` or ``mps``.
    """

    device: str

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
    """What the reference of a proof offers in addition: updates from given gradients."""

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


class FrameworkEngine(Engine, Protocol):
    """What an engine with a framework offers in addition, for exports."""

    def native_model(self) -> object:
        """Return the framework's own model: images (n, h, w, c), 0 to 1, in; logits out.

        It is in evaluation mode.
        """
        ...
