"""The table of all differences; no framework is imported."""

from collections.abc import Iterable, Mapping
from functools import cache

from ...errors import TriptychError, suggest
from . import (
    activations,
    arithmetic,
    convolution_pooling,
    data_metrics_modes,
    initialization,
    layout,
    losses,
    normalization,
    optimizers,
    schedules_callbacks,
    sequences,
)
from .entry import Difference

# The versions with which `Difference.recorded` was measured.
RECORDED_WITH = {"torch": "2.13.0", "keras": "3.15.1", "tensorflow": "2.21.0", "jax": "0.10.2"}

# Of a recorded name, the first word tells which package is measured.
PACKAGES = {
    "torch": "torch",
    "keras": "keras",
    "tf": "tensorflow",
    "jax": "jax",
    "numpy": "numpy",
    "sklearn": "sklearn",
}

FAMILIES = (
    initialization,
    layout,
    normalization,
    activations,
    losses,
    optimizers,
    schedules_callbacks,
    convolution_pooling,
    sequences,
    data_metrics_modes,
    arithmetic,
)


@cache
def entries() -> Mapping[str, Difference]:
    """Return all differences by id, in the order of the ids."""
    every = [entry for family in FAMILIES for entry in family.ENTRIES]
    return {entry.id: entry for entry in sorted(every, key=_number)}


def get(identifier: str) -> Difference:
    """Return a difference by its id, such as ``D26``.

    Raises
    ------
    TriptychError
        If there is none.
    """
    known = entries()
    if identifier not in known:
        raise TriptychError(f"difference {identifier!r} is unknown; {suggest(identifier, known)}")
    return known[identifier]


def find(words: Iterable[str]) -> list[Difference]:
    """Return the differences in whose text each word occurs; upper and lower case are the same."""
    wanted = [word.lower() for word in words]
    return [entry for entry in entries().values() if all(word in _text(entry) for word in wanted)]


def _number(entry: Difference) -> int:
    return int(entry.id.removeprefix("D"))


def _text(entry: Difference) -> str:
    """Return all that can be searched, in lower case."""
    parts = (
        entry.id,
        entry.title,
        entry.family,
        entry.stage,
        entry.kind,
        entry.torch,
        entry.keras,
        entry.jax or "",
        entry.effect,
        entry.fix_torch or "",
        entry.fix_keras or "",
        *entry.words,
    )
    return "\n".join(parts).lower()
