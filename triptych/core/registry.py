"""Every engine by name. No framework is imported before an engine is created.

The engines of this package are listed in `BUILT_IN`; each describes itself in
``triptych/engines/NAME/info.py``. Other packages add engines through entry points of the group
``triptych.engines``, each of which names an `EngineInfo`.
"""

import os
from functools import cache
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING

from .. import plugins
from ..errors import EngineError, suggest
from . import notices
from .devices import check_device
from .engine_info import EngineInfo

if TYPE_CHECKING:
    from ..spec.network import Network
    from ..spec.recipe import Recipe
    from .engine import Engine, NativeWorkers
    from .gradients import AllReduce

BUILT_IN = ("numpy", "numba", "torch", "tensorflow", "jax")
ENTRY_POINTS = "triptych.engines"
REFERENCE = "numpy"  # the engine with which every other one is compared
OTHER_NAMES = {"keras": "tensorflow", "tf": "tensorflow", "pytorch": "torch"}


@cache
def entries() -> dict[str, EngineInfo]:
    """Return every engine by name.

    Returns
    -------
    dict of str to EngineInfo
        NumPy, the reference, comes first; then the others by label, optional ones last.
    """
    infos = [import_module(f"triptych.engines.{name}.info").INFO for name in BUILT_IN]
    infos.extend(_other_packages())
    infos.sort(key=lambda info: (info.name != REFERENCE, info.optional, info.label.lower()))
    return {info.name: info for info in infos}


def _other_packages() -> list[EngineInfo]:
    """Return the engines of other packages; one that cannot be used is left out with a warning."""
    infos: list[EngineInfo] = []

    def add(info: object) -> None:
        if not isinstance(info, EngineInfo) or info.name in BUILT_IN:
            names = ", ".join(BUILT_IN)
            raise EngineError(f"it must be an EngineInfo with a name other than {names}")
        infos.append(info)

    plugins.use(ENTRY_POINTS, "engine", add)
    return infos


def entry(name: str) -> EngineInfo:
    """Return what is known of an engine.

    Raises
    ------
    EngineError
        If no engine has this name.
    """
    if not isinstance(name, str) or name not in entries():
        meant = OTHER_NAMES.get(str(name).lower())
        advice = f"did you mean {meant!r}?" if meant else suggest(name, entries())
        raise EngineError(f"engine {name!r} is unknown; {advice}")
    return entries()[name]


def create(
    name: str,
    network: "Network",
    recipe: "Recipe",
    *,
    device: str = "cpu",
    backend: str | None = None,
    all_reduce: "AllReduce | None" = None,
) -> "Engine":
    """Import an engine and build it.

    Parameters
    ----------
    name : str
        The engine's name.
    network : Network
        The network that it will train.
    recipe : Recipe
        How it will train the network.
    device : str
        ``cpu``, ``cuda``, ``mps``, or ``auto`` for the fastest available one.
    backend : str, optional
        One of the engine's backends; the first by default.
    all_reduce : callable, optional
        Adds arrays over the workers that train together; see `triptych.core.engine.ShardingEngine`.

    Raises
    ------
    EngineError
        Where the framework is not installed, or lacks the backend or the device, or the network
        has a layer that it cannot divide among workers, or free dropout masks.
    """
    known = entry(name)
    backend = known.backend(backend)
    if not known.installed:
        raise EngineError(f"{known.label} is not installed: {known.install}")
    from .memory import check_memory

    check_device(device)
    check_memory(network, recipe)
    module = _import_engine(known)
    if all_reduce is None:
        return module.Engine(network, recipe, device=device, backend=backend)
    if not hasattr(module.Engine, "gradients"):
        raise EngineError(f"{known.label} cannot divide a step among workers; use one process")
    check_shared_masks(network, recipe)
    return module.Engine(network, recipe, device=device, backend=backend, all_reduce=all_reduce)


def check_shared_masks(network: "Network", recipe: "Recipe") -> None:
    """Raise `EngineError` if several workers would draw dropout masks of their own."""
    if recipe.random == "free" and network.dropouts:
        raise EngineError(
            "several workers share the dropout masks of one process, so a recipe cannot leave them "
            'to the framework; set "random" to "matched"'
        )


def join_native(
    name: str, rank: int, workers: int, all_reduce: "AllReduce", address: str
) -> "NativeWorkers":
    """Join the workers of an engine by its framework's own data-parallel training.

    It must be called before anything else of the framework is used, by all workers together.

    Parameters
    ----------
    name : str
        The engine's name.
    rank : int
        The number of this worker, from 0.
    workers : int
        How many there are.
    all_reduce : callable
        Adds arrays over the workers. The default process group of torch.distributed is theirs.
    address : str
        The address of this machine by which the other workers reach it.

    Raises
    ------
    EngineError
        If the framework is not installed, or has no data-parallel training.
    """
    known = entry(name)
    check_native(known)
    if not known.installed:
        raise EngineError(f"{known.label} is not installed: {known.install}")
    _import_engine(known)
    package = known.engine_module.rpartition(".")[0]
    module = import_module(f"{package}.native")
    return module.NativeWorkers(rank, workers, all_reduce, address)


def check_native(info: EngineInfo) -> None:
    """Raise `EngineError` if a framework has no data-parallel training of its own."""
    if not info.native:
        raise EngineError(
            f"{info.label} has no data-parallel training of its own; leave native out"
        )


def _import_engine(entry: EngineInfo) -> ModuleType:
    """Set an engine's environment variables, import it, and load the builders of plug-ins.

    The start-up notices of the framework are hidden.
    """
    for name, value in entry.environment.items():
        if "{threads}" not in value:  # the caller decides on the number of threads
            os.environ.setdefault(name, value)
    with notices.left_out(entry.notices):
        module = import_module(entry.engine_module)
    plugins.load(entry.name)
    return module
