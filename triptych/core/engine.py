"""What every engine offers: the one interface between the training loop and the frameworks.

Above it there are NumPy arrays and plain data in one canonical layout, and no framework is imported.
"""

from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any, Protocol

import numpy as np

from .plan import Plan
from .split import Split
from .state import State

DeviceSplit = Any  # a split on an engine's device, in the engine's own types
SAMPLES_EVALUATED_AT_ONCE = 1_000  # a convolution of ten thousand does not fit into memory


class Engine(Protocol):
    """What every engine does. ``Engine(network, recipe, device="cpu", backend=None)`` builds one.

    Arrays on this side are NumPy in the canonical layout and in ``recipe.dtype``. A loss is the mean data loss of a
    step before its update. No engine leaves a global of its framework changed, and two of different dtype live in one process.
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


@dataclass(frozen=True)
class EngineInfo:
    """What is known of an engine before its framework is imported.

    Attributes
    ----------
    name : str
        The engine's name on the command line, and of its folder in `triptych.engines`.
    label : str
        What people call the framework.
    requires : str
        The module that must be installed.
    install : str
        The command that installs it.
    backends : dict of str to str
        Ways to run, each with a few words; the first is the default.
    argued : dict of str to str
        What a report tells without a measurement, by the keys gpu, debugging and scalability.
    packages : tuple of str
        Other modules whose versions are recorded.
    environment : dict of str to str
        Variables of its process, read when it is imported; ``{threads}`` stands for how many it may use.
    optional : bool
        If true, the engine is skipped silently when its package is missing, unless it was
        requested by name.
    notices : tuple of str
        Parts of lines that it writes to standard error when it is imported and that mean nothing to
        a user.
    reduced : tuple of str
        Backends that compute in less than the recipe's precision: that is what they are for.
    color : tuple of str or None
        In charts, on a light and on a dark page, each as ``#rrggbb``. Backends have shades of it.
    layout : dict of str to str
        How the framework stores arrays of each role, as einops patterns from the canonical layout;
        a role without an entry is stored in the canonical layout (`triptych.core.layout`).
    module : str
        The module whose class ``Engine`` is the engine; ``triptych.engines.NAME.engine`` if empty.
    """

    name: str
    label: str
    requires: str
    install: str
    backends: dict[str, str]
    argued: dict[str, str]
    packages: tuple[str, ...] = ()
    environment: dict[str, str] = field(default_factory=dict[str, str])
    optional: bool = False
    reduced: tuple[str, ...] = ()
    notices: tuple[str, ...] = ()
    color: tuple[str, str] | None = None
    layout: dict[str, str] = field(default_factory=dict[str, str])
    module: str = ""

    @property
    def installed(self) -> bool:
        return find_spec(self.requires) is not None

    @property
    def default_backend(self) -> str:
        return next(iter(self.backends))
