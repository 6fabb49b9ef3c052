"""Whether a model computes the same again, and numbers at all: without that nothing is compared."""

from collections.abc import Callable

import numpy as np

from .bounds import UNIT_ROUNDOFF, relative_difference
from .frameworks.adapter import ModelError
from .observation import Observation, outputs_of, random_functions

# Sums in another order, of several threads, change a result by less.
MOST_UNITS = 2.0**14


def check_repeats(first: Observation, again: Observation, dtype: str) -> None:
    """Check that a model is deterministic in evaluation mode.

    Parameters
    ----------
    first, again : Observation
        Two passes with the same inputs and weights, and with other random numbers.
    dtype : str
        In which they were made.

    Raises
    ------
    ModelError
        If the outputs differ; the message names the first layer whose outputs do.
    """
    bound = MOST_UNITS * UNIT_ROUNDOFF[dtype]

    def differs(name: str) -> bool:
        if name not in again.arrays:
            return True
        return relative_difference(first.arrays[name], again.arrays[name]) > bound

    if not any(map(differs, outputs_of(first.arrays))):
        return
    place = _first_place(first, differs)
    names = random_functions(first)
    drawn = f" ({', '.join(names)} draws numbers in it)" if names else ""
    raise ModelError(
        f"the model gives other outputs when it runs again on the same batch in evaluation mode, "
        f"first {place}{drawn}; what is random must be off in evaluation mode"
    )


def check_numbers(observation: Observation, side: str) -> None:
    """Check that no output of a model is NaN.

    Parameters
    ----------
    observation : Observation
        A pass in evaluation mode.
    side : str
        Whose, for the message.

    Raises
    ------
    ModelError
        If one is; the message names the first layer that makes NaN.
    """

    def has_nan(name: str) -> bool:
        return bool(np.isnan(observation.arrays[name]).any())

    if any(map(has_nan, outputs_of(observation.arrays))):
        place = _first_place(observation, has_nan)
        masked = ""
        if "attention" in place.lower():
            masked = "; attention whose keys are all masked is NaN in PyTorch (D127)"
        raise ModelError(
            f"{side}: the model returns NaN in evaluation mode, first {place}; with such a "
            f"reference nothing can be compared{masked}"
        )


def _first_place(observation: Observation, holds: Callable[[str], bool]) -> str:
    """Return the first call for whose output something holds, in words."""
    for call in observation.calls:
        name = f"{call.number}/output"
        if name in observation.arrays and holds(name):
            return f"in {call.layer} ({call.name})" if call.layer else f"in {call.name}"
    return "after its last layer"
