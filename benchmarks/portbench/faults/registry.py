"""All kinds of faults."""

from . import data, forward, loss, mode, schedule, structure, update, weights
from .kind import OUTSIDE, Kind

MODULES = (data, weights, forward, structure, mode, loss, update, schedule)
KINDS: dict[str, Kind] = {kind.name: kind for module in MODULES for kind in module.KINDS}


def catalogued() -> list[Kind]:
    """Return the kinds whose cause the catalogue of differences has."""
    return [kind for kind in KINDS.values() if kind.cause != OUTSIDE]


def outside() -> list[Kind]:
    """Return the kinds whose cause is not in the catalogue."""
    return [kind for kind in KINDS.values() if kind.cause == OUTSIDE]
