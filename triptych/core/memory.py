"""Checks whether a training fits into this machine's memory, and names what made one fail."""

import psutil

from ..errors import EngineError, TriptychError
from ..spec.network import Network
from ..spec.recipe import Recipe

OUT_OF_MEMORY = "not enough memory; make the network, the batch or the images smaller"
LONGEST_ERROR = 300  # characters of an unforeseen error
# Parts of the frameworks' messages, for exception classes that are also raised for other failures.
ALLOCATION_FAILED = (
    "DefaultCPUAllocator",
    "out of memory",
    "Out of memory",
    "OOM when allocating",
    "RESOURCE_EXHAUSTED",
)


def ran_out_of_memory(error: BaseException) -> bool:
    """Return whether an exception, of any framework or of Python, means that memory ran out."""
    if isinstance(error, MemoryError) or type(error).__name__ in (
        "OutOfMemoryError",
        "ResourceExhaustedError",
    ):
        return True
    return isinstance(error, RuntimeError | ValueError) and any(
        words in str(error) for words in ALLOCATION_FAILED
    )


def failure_line(error: Exception) -> str:
    """Return one line about an error of a training, also one that nothing foresees."""
    if ran_out_of_memory(error):
        return OUT_OF_MEMORY
    lines = [line for line in str(error).splitlines() if line.strip()]
    first = lines[0] if lines else ""
    if isinstance(error, TriptychError):
        return first
    return f"{type(error).__name__}: {first}"[:LONGEST_ERROR]


def check_memory(network: Network, recipe: Recipe) -> None:
    """Refuse a network whose training cannot fit into the memory of this machine.

    Only the weights, the gradients and the optimizer's slots are counted, not the activations, so a
    network that passes may still be too large. Without this check the operating system may end
    other processes first.

    Raises
    ------
    EngineError
        If more is needed than the machine has; the message contains both figures.
    """
    arrays = 2 + len(recipe.optimizer.slots)
    size = {"float32": 4, "float64": 8}[recipe.dtype]
    needed = network.parameter_count * size * arrays
    installed = psutil.virtual_memory().total
    if needed > installed:
        raise EngineError(
            f"{network.name}: {OUT_OF_MEMORY}: {network.parameter_count:,} parameters with their "
            f"gradients and the optimizer's slots take {needed / 2**30:,.0f} GiB, "
            f"and this machine has {installed / 2**30:,.0f} GiB"
        )
