"""What every engine offers: the interface between the training loop and the frameworks.

Above it there are NumPy arrays and plain data in one canonical layout, and no framework is imported.
"""

from typing import Any, Protocol

import numpy as np

from .plan import Plan
from .split import Split
from .state import State

DeviceSplit = Any  # a split on an engine's device, in the engine's own types
SAMPLES_EVALUATED_AT_ONCE = 1_000  # a convolution of ten thousand does not fit into memory


class Engine(Protocol):
    """What every engine does. ``Engine(network, recipe, device="cpu", backend=None)`` builds one.

    Arrays above this interface are NumPy's, in the canonical layout and in ``recipe.dtype``. A loss
    is the mean data loss of a step before its update. No engine leaves a global setting of its
    framework changed; two engines of different dtype can be used in one process.
    """

    device: str

    def load(self, state: State) -> None:
        """Take weights and optimizer slots in; ValueError names the first array that does not fit."""
        ...

    def state(self) -> State:
        """Give weights and optimizer slots out, as copies."""
        ...

    def upload(self, split: Split) -> DeviceSplit:
        """Move a whole split onto the device, once."""
        ...

    def run(self, data: DeviceSplit, plan: Plan) -> None:
        """Make the plan's K training steps; they may still be in flight on return."""
        ...

    def wait(self) -> np.ndarray:
        """Wait, and return the losses since the last wait: this is where a stopwatch stops."""
        ...

    def logits(self, data: DeviceSplit) -> np.ndarray:
        """Return the logits of every sample in evaluation mode, shape (samples, classes)."""
        ...

    def trace(self, data: DeviceSplit, plan: Plan, *, outputs: bool = True) -> State:
        """Return what one training step (the plan's first) computes, in order, and change nothing.

        Keys are ``output/LAYER`` forward (left out without `outputs`), ``loss``, then ``gradient/LAYER/LEAF`` backward.
        """
        ...
