"""The narrow waist: NumPy arrays and plain data above, one framework each below.

An engine is one file or folder here, found by its name and imported on first use. At its top it says what it is in plain
literals, the fields of an `EngineInfo` in capitals, which are read without importing anything, NumPy included.
"""

import ast
import os
from dataclasses import dataclass, field, fields
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Protocol

from ..errors import EngineError, suggest
from . import notices

if TYPE_CHECKING:
    import numpy as np

    from ..data.dataset import Split
    from ..spec.network import Network
    from ..spec.recipe import Recipe
    from .plan import Plan
    from .state import State

DeviceSplit = Any  # a split on an engine's device, in its own types
DEVICES = ("cpu", "cuda", "mps")
MEANT = {"gpu": "cuda", "nvidia": "cuda", "metal": "mps"}  # what people type for a device, too
OUT_OF_MEMORY = "not enough memory; make the network, the batch or the images smaller"
# What the frameworks say in errors of classes that also stand for other failures.
ALLOCATION_FAILED = (
    "DefaultCPUAllocator",
    "out of memory",
    "Out of memory",
    "OOM when allocating",
    "RESOURCE_EXHAUSTED",
)
AT_ONCE = 1_000  # samples evaluated at once: what a convolution makes of ten thousand does not fit into memory


class Engine(Protocol):
    """What every engine does. ``Engine(network, recipe, device="cpu", backend=None)`` builds one.

    Arrays on this side are NumPy in the canonical layout and in ``recipe.dtype``. A loss is the mean data loss of a
    step before its update. No engine leaves a global of its framework changed, and two of different dtype live in one process.
    """

    device: str

    def load(self, state: "State") -> None:
        """Take weights and optimizer slots in; ValueError names the first array that does not fit."""
        ...

    def state(self) -> "State":
        """Give weights and optimizer slots out, as copies."""
        ...

    def upload(self, split: "Split") -> DeviceSplit:
        """Move a whole split onto the device, once."""
        ...

    def run(self, data: DeviceSplit, plan: "Plan") -> None:
        """Make the plan's K training steps; they may still be in flight on return."""
        ...

    def wait(self) -> "np.ndarray":
        """Wait, and return the losses since the last wait: this is where a stopwatch stops."""
        ...

    def logits(self, data: DeviceSplit) -> "np.ndarray":
        """Return the logits of every sample in evaluation mode, shape (samples, classes)."""
        ...

    def trace(self, data: DeviceSplit, plan: "Plan", *, outputs: bool = True) -> "State":
        """Return what one training step (the plan's first) computes, in order, and change nothing.

        Keys are ``output/LAYER`` forward (left out without `outputs`), ``loss``, then ``gradient/LAYER/LEAF`` backward.
        """
        ...


@dataclass(frozen=True)
class EngineInfo:
    """What an engine's file says of itself.

    Attributes
    ----------
    name, label : str
        The file's name, and what people call it.
    requires, install : str
        The module that must be there, and how to get it.
    backends : dict of str to str
        Ways to run, each with a few words; the first is the default.
    argued : dict of str to str
        What a report says without having measured it: gpu, debugging, scalability.
    packages : tuple of str
        What else there is a version of, beside the module.
    environment : dict of str to str
        Variables of its process, read when it is imported; ``{threads}`` stands for how many it may use.
    optional : bool
        Nobody misses it where it is not installed, unless it is asked for.
    notices : tuple of str
        Parts of lines that it writes to standard error when it is imported and that mean nothing to
        a user.
    reduced : tuple of str
        Backends that compute in less than the recipe's precision: that is what they are for.
    color : tuple of str or None
        In charts, on a light and on a dark page, each as ``#rrggbb``. Backends have shades of it.
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

    @property
    def installed(self) -> bool:
        return find_spec(self.requires) is not None

    @property
    def default_backend(self) -> str:
        return next(iter(self.backends))


@cache
def entries() -> dict[str, EngineInfo]:
    """Return every engine by name: NumPy, the specification, first, then by label, optional ones last; nothing is imported."""
    literals = [field.name.upper() for field in fields(EngineInfo)[1:]]
    found: dict[str, EngineInfo] = {}
    engines = Path(__file__).parents[1] / "engines"
    for path in sorted(engines.glob("[!_]*/engine.py")):
        name = path.parent.name
        said = {
            node.targets[0].id: ast.literal_eval(node.value)
            for node in ast.parse(path.read_text(encoding="utf-8")).body
            if isinstance(node, ast.Assign)
            and isinstance(node.targets[0], ast.Name)
            and node.targets[0].id in literals
        }
        found[name] = EngineInfo(
            name, **{literal.lower(): value for literal, value in said.items()}
        )
    return dict(
        sorted(
            found.items(),
            key=lambda item: (item[0] != "numpy", item[1].optional, item[1].label.lower()),
        )
    )


def entry(name: str) -> EngineInfo:
    """Return one engine's entry.

    Raises
    ------
    EngineError
        Where there is none of that name.
    """
    if not isinstance(name, str) or name not in entries():
        raise EngineError(f"engine {name!r} is unknown; {suggest(name, entries())}")
    return entries()[name]


def create(
    name: str,
    network: "Network",
    recipe: "Recipe",
    *,
    device: str = "cpu",
    backend: str | None = None,
) -> Engine:
    """Import an engine and build it.

    Parameters
    ----------
    name : str
    network : Network
    recipe : Recipe
    device : str
        ``cpu``, ``cuda``, ``mps``, or ``auto`` for the fastest there is.
    backend : str, optional
        One of the engine's own; the first by default.

    Raises
    ------
    EngineError
        Where the framework is not installed, or lacks the backend or the device.
    """
    known = entry(name)
    backend = backend or known.default_backend
    if not isinstance(backend, str) or backend not in known.backends:
        raise EngineError(
            f"{known.label} has no backend {backend!r}; {suggest(backend, known.backends)}"
        )
    if not known.installed:
        raise EngineError(f"{known.label} is not installed: {known.install}")
    check_device(device)
    check_memory(network, recipe)
    module = _imported(known)
    return module.Engine(network, recipe, device=device, backend=backend)


def _imported(entry: EngineInfo) -> ModuleType:
    """Import an engine, with its variables set before, and without its framework's start-up notices."""
    for name, value in entry.environment.items():
        if "{threads}" not in value:  # how many threads there are is the caller's decision
            os.environ.setdefault(name, value)
    with notices.left_out(entry.notices):
        return import_module(f"triptych.engines.{entry.name}.engine")


def check_device(name: Any) -> None:
    """Raise `EngineError` for a device that no engine knows, with the one that was probably meant."""
    known = ("auto", *DEVICES)
    if name not in known:
        word = str(name).lower()
        raise EngineError(f"device {name!r} is unknown; {suggest(MEANT.get(word, word), known)}")


def find_device(label: str, name: str, here: dict[str, bool]) -> str:
    """Return the device to use.

    Parameters
    ----------
    label : str
        What people call the framework.
    name : str
        A device, or ``auto`` for the first that is here.
    here : dict of str to bool
        Of each device that the framework knows, the fastest first, whether this machine has it.

    Raises
    ------
    EngineError
        Saying what is missing.
    """
    if name == "auto":
        return next(device for device, found in here.items() if found)
    check_device(name)
    if name not in here:
        raise EngineError(f"{label} has no {name} device; use the device cpu or auto")
    if not here[name]:
        raise EngineError(
            f"{label} sees no {name} device on this machine; use the device cpu or auto"
        )
    return name


def ran_out_of_memory(error: BaseException) -> bool:
    """Return whether an error of any framework, or of Python, says that memory is not enough."""
    if isinstance(error, MemoryError) or type(error).__name__ in (
        "OutOfMemoryError",
        "ResourceExhaustedError",
    ):
        return True
    return isinstance(error, RuntimeError | ValueError) and any(
        words in str(error) for words in ALLOCATION_FAILED
    )


def check_memory(network: "Network", recipe: "Recipe") -> None:
    """Refuse a network whose training cannot fit into the memory of this machine.

    Weights, gradients and the optimizer's slots are counted once each, activations not at all, so
    what passes may still be too large. Without this check the system may end other processes first.

    Raises
    ------
    EngineError
        Saying how much is needed, and how much there is.
    """
    import psutil

    arrays = 2 + len(recipe.optimizer.slots)
    size = {"float32": 4, "float64": 8}[recipe.dtype]
    needed = network.parameter_count * size * arrays
    there = psutil.virtual_memory().total
    if needed > there:
        raise EngineError(
            f"{network.name}: {OUT_OF_MEMORY}: {network.parameter_count:,} parameters with their gradients "
            f"and the optimizer's slots take {needed / 2**30:,.0f} GiB, and this machine has {there / 2**30:,.0f} GiB"
        )
