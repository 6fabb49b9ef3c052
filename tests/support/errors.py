"""By how much two states or traces differ, as one number for each kind of array."""

from triptych.core.state import State
from triptych.parity.divergence import array_errors


def relative_errors(
    reference: State, candidate: State, stage: str | None = None
) -> dict[str, float]:
    """Return the relative error of every kind.

    Parameters
    ----------
    reference, candidate : dict of str to ndarray
        Two states or two traces.
    stage : str, optional
        As in `first_divergence`.
    """
    errors: dict[str, float] = {}
    for _, kind, error in array_errors(reference, candidate, stage):
        errors[kind] = max(error, errors.get(kind, 0.0))
    return errors
