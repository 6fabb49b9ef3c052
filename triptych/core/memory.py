"""Whether a training fits into the memory of this machine, and how a failure to fit is recognised."""

import psutil

from ..errors import EngineError
from ..spec.network import Network
from ..spec.recipe import Recipe

OUT_OF_MEMORY = "not enough memory; make the network, the batch or the images smaller"
# What the frameworks say in errors of classes that also stand for other failures.
ALLOCATION_FAILED = (
    "DefaultCPUAllocator",
    "out of memory",
    "Out of memory",
    "OOM when allocating",
    "RESOURCE_EXHAUSTED",
)


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


def check_memory(network: Network, recipe: Recipe) -> None:
    """Refuse a network whose training cannot fit into the memory of this machine.

    Weights, gradients and the optimizer's slots are counted once each, activations not at all, so
    what passes may still be too large. Without this check the system may end other processes first.

    Raises
    ------
    EngineError
        Saying how much is needed, and how much there is.
    """
    arrays = 2 + len(recipe.optimizer.slots)
    size = {"float32": 4, "float64": 8}[recipe.dtype]
    needed = network.parameter_count * size * arrays
    there = psutil.virtual_memory().total
    if needed > there:
        raise EngineError(
            f"{network.name}: {OUT_OF_MEMORY}: {network.parameter_count:,} parameters with their gradients "
            f"and the optimizer's slots take {needed / 2**30:,.0f} GiB, and this machine has {there / 2**30:,.0f} GiB"
        )
