"""Compare two sets of named arrays: by how much they differ, and where they first differ.

The relative error of a kind is the largest |difference| over all of its arrays, divided by the
largest |reference value| of that kind. The kinds are the weights, each optimizer slot by name, the
gradients, the loss, and the output of each single layer. A kind that consists of rounding only is
measured against the smallest scale that is meaningful for it (`_floors`).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ..core.state import State
from ..core.state import kind as state_kind
from ..spec.optimizers import OPTIMIZERS

Limit = Callable[[str, str], float]  # the bound on an array, by its kind and its name

BOUND = 1e-11  # on relative errors in float64, at every step of a whole run

# A gradient at the logits is a mean of differences of probabilities, and a probability is known to
# one unit in the last place of 1. If the true gradient is zero, what is computed is that rounding,
# and two correct engines have nothing in common. So a difference of one unit counts as equal, in a
# gradient and in the slots that are means or sums of gradients; of their squares, its square.
ROUNDING = float(np.finfo(np.float64).eps)


@dataclass(frozen=True)
class Divergence:
    """The first array in which two implementations differ.

    Attributes
    ----------
    stage : str
        The part of the step: ``initial state``, ``output``, ``loss``, ``gradient`` or ``update``.
    layer : str
        The layer that the array belongs to, or ``-`` if it belongs to none.
    name : str
        The name of the array.
    index : tuple of int
        The element that differs most; empty if the shapes or dtypes differ.
    reference, candidate : str
        Both values, or both shapes or dtypes.
    error : float
        The relative error; inf for NaN, infinity, or a missing array.
    why : str
        ``missing``, ``shape``, ``dtype``, ``not finite`` or ``value``.
    """

    stage: str
    layer: str
    name: str
    index: tuple[int, ...]
    reference: str
    candidate: str
    error: float
    why: str

    def __str__(self) -> str:
        where = self.stage if self.layer == "-" else f"{self.stage}, layer {self.layer}"
        element = f"[{', '.join(map(str, self.index))}]" if self.index else ""
        reason = f"{self.error:.1e} of the largest" if self.why == "value" else self.why
        return (
            f"{where}: {self.name}{element} is {self.candidate}, "
            f"the reference has {self.reference} ({reason})"
        )


class ArrayError(NamedTuple):
    """How much one array differs.

    Attributes
    ----------
    name : str
        The name of the array.
    kind : str
        The kind that the array belongs to.
    error : float
        The array's largest |difference| over the largest |reference value| of its kind; inf if the
        array is missing, has another shape or dtype, or is not finite.
    """

    name: str
    kind: str
    error: float


def array_errors(
    reference: State, candidate: State, stage: str | None = None
) -> Iterator[ArrayError]:
    """Yield the relative error of every array of the reference, in order.

    Parameters
    ----------
    reference, candidate : dict of str to ndarray
        Two states or two traces.
    stage : str, optional
        As in `first_divergence`.
    """
    scales = _scales(reference, stage)
    for name, expected in reference.items():
        kind = _locate(name, stage).kind
        gap = _largest_difference(expected, candidate.get(name))
        yield ArrayError(name, kind, _ratio(gap, scales[kind]))


def first_divergence(
    reference: State,
    candidate: State,
    bound: float | Limit,
    stage: str | None = None,
) -> Divergence | None:
    """Compare the arrays in order and return the first that exceeds its bound, or None.

    Each array is compared in shape, then in dtype, then in value.

    Parameters
    ----------
    reference, candidate : dict of str to ndarray
        Two states or two traces.
    bound : float or callable
        The bound on the relative error; one for all arrays, or a function of kind and name.
    stage : str, optional
        The stage that two *states* belong to. If it is None, the arrays are *traces*, whose names
        contain the stage.
    """
    scales = _scales(reference, stage)
    added = [name for name in candidate if name not in reference]
    for name in [*reference, *added]:
        place = _locate(name, stage)
        limit = bound(place.kind, name) if callable(bound) else bound
        expected = reference.get(name)
        actual = candidate.get(name)
        divergence = _compare_types(place, name, expected, actual)
        if divergence:
            return divergence
        assert expected is not None
        assert actual is not None
        error = _ratio(_largest_difference(expected, actual), scales[place.kind])
        if not error <= limit:
            return _value_divergence(place, name, expected, actual, error)
    return None


class _Place(NamedTuple):
    """The part of a step that an array belongs to."""

    stage: str
    layer: str
    kind: str


def _locate(name: str, stage: str | None) -> _Place:
    """Return the place of an array of a state (if a stage is given) or of a trace."""
    head, _, rest = name.partition("/")
    if stage:
        return _Place(stage, head if rest else "-", state_kind(name))
    if head == "output":
        return _Place("output", rest, name)
    if head == "gradient":
        return _Place("gradient", rest.partition("/")[0], "gradients")
    return _Place(name, "-", name)


def _compare_types(
    place: _Place, name: str, expected: np.ndarray | None, actual: np.ndarray | None
) -> Divergence | None:
    """Return the divergence of two arrays whose presence, shape or dtype differs, or None."""

    def divergence(reference: str, candidate: str, why: str) -> Divergence:
        return Divergence(place.stage, place.layer, name, (), reference, candidate, np.inf, why)

    if expected is None or actual is None:
        shapes = ["not there" if a is None else str(a.shape) for a in (expected, actual)]
        return divergence(shapes[0], shapes[1], "missing")
    if actual.shape != expected.shape:
        return divergence(str(expected.shape), str(actual.shape), "shape")
    if actual.dtype != expected.dtype:
        return divergence(str(expected.dtype), str(actual.dtype), "dtype")
    return None


def _value_divergence(
    place: _Place, name: str, expected: np.ndarray, actual: np.ndarray, error: float
) -> Divergence:
    """Return the divergence of two arrays of one type, at the element that differs most."""
    with np.errstate(invalid="ignore"):
        difference = np.abs(actual.astype(np.float64) - expected)
    difference = np.where(np.isfinite(difference), difference, np.inf)
    largest = np.unravel_index(int(np.argmax(difference)), difference.shape)
    index = tuple(int(i) for i in largest)
    return Divergence(
        place.stage,
        place.layer,
        name,
        index,
        f"{expected[index]:.17g}",
        f"{actual[index]:.17g}",
        error,
        "value" if np.isfinite(error) else "not finite",
    )


def _scales(reference: State, stage: str | None) -> dict[str, float]:
    """Return the number by which the differences of each kind are divided."""
    floors = _floors()
    scales: dict[str, float] = {}
    for name, expected in reference.items():
        kind = _locate(name, stage).kind
        least = floors.get(kind, 0.0) / BOUND
        scales[kind] = max(scales.get(kind, least), float(np.abs(expected).max(initial=0)))
    return scales


def _floors() -> dict[str, float]:
    """Return the rounding that counts as equal, for gradients and for slots made of them."""
    floors = {"gradients": ROUNDING}
    for optimizer in OPTIMIZERS.values():
        for name, slot in optimizer.slot_kinds.items():
            if slot.power:
                floors[name] = ROUNDING**slot.power
    return floors


def _largest_difference(expected: np.ndarray, actual: np.ndarray | None) -> float:
    """Return the largest |difference|; inf if the arrays cannot be compared or are not finite."""
    if actual is None or actual.shape != expected.shape or actual.dtype != expected.dtype:
        return np.inf
    if not (np.isfinite(actual).all() and np.isfinite(expected).all()):
        return np.inf
    return float(np.abs(actual.astype(np.float64) - expected).max(initial=0))


def _ratio(difference: float, scale: float) -> float:
    """Return difference/scale; 0 for 0/0."""
    if difference == 0:
        return 0.0
    if scale == 0 or not np.isfinite(difference):
        return np.inf
    return difference / scale
