"""The places at which both sides are compared while B's anchors are forced to what A has.

A place is a layer with weights, which takes the same numbers on both sides, or a segment: what
happens between layers with weights, seen in what arrives at the next one or in the model's output.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from .bounds import Bounds, relative_difference
from .carrying import in_shape
from .examination import Alignment, Pair
from .observation import Array, Arrays, Observation, array_names, outputs_of

LAYER = "layer"
SEGMENT = "segment"
OUTPUT = "output"


@dataclass(frozen=True)
class Place:
    """One place.

    Attributes
    ----------
    what : str
        `LAYER`, `SEGMENT` or `OUTPUT`, the last segment.
    pair : Pair or None
        The layer, or the layer after the segment; None for the output.
    a_number, b_number : int
        The number of its call; for the output one after the last call.
    expected : dict of str to ndarray
        What A has, by the names of B's arrays and in B's form.
    """

    what: str
    pair: Pair | None
    a_number: int
    b_number: int
    expected: Arrays

    def difference(self, observation: Observation) -> float:
        """Return the largest relative difference of an observation of B from A."""
        return max(
            (
                relative_difference(array, observation.arrays[name])
                for name, array in self.expected.items()
                if name in observation.arrays
            ),
            default=0.0,
        )

    def fits(self, observation: Observation) -> bool:
        """Return whether an observation of B has arrays of A's shapes here."""
        arrays = observation.arrays
        return all(
            name not in arrays or array.shape == arrays[name].shape
            for name, array in self.expected.items()
        )

    def precision(self, bounds: Bounds) -> float:
        """Return the largest difference that constants in float32 explain."""
        return max((bounds.precision(name) for name in self.expected), default=0.0)


def places(alignment: Alignment, a: Observation, b: Observation) -> Iterator[Place]:
    """Yield all places in the order of computation in A.

    Parameters
    ----------
    alignment : Alignment
        Which layers belong together.
    a, b : Observation
        Of both sides in the same mode, B with its anchors forced.
    """
    expected = alignment.forced(a)
    numbers = a.numbers
    found: list[tuple[int, Pair, int]] = []
    for pair in alignment.pairs:
        if pair.carried:
            calls = zip(numbers.get(pair.a.path, ()), pair.b_calls, strict=False)
            found += [(one, pair, other) for one, other in calls]
    for a_number, pair, b_number in sorted(found, key=lambda each: each[0]):
        for what, part in ((SEGMENT, "input"), (LAYER, "output")):
            arrays = _parts(expected, b_number, part)
            if not arrays:
                # It does not fit into B's shape, which is a difference of its own.
                parts = array_names(a.arrays, str(a_number))
                parts = alignment.parts_to_b(pair, b_number, parts)
                arrays = _parts(_named(b_number, parts), b_number, part)
            if what == SEGMENT and a.calls[a_number].settings.get("packed"):
                arrays = {
                    name: _unpadded(each, b.arrays.get(name)) for name, each in arrays.items()
                }
            yield Place(what, pair, a_number, b_number, arrays)
    shaped = {
        name: as_output(array, b.arrays[name].shape)
        for name, array in alignment.outputs_to_b(outputs_of(a.arrays)).items()
        if name in b.arrays
    }
    yield Place(OUTPUT, None, len(a.calls), len(b.calls), shaped)


def _parts(arrays: Arrays, number: int, part: str) -> Arrays:
    """Return ``NUMBER/input``, ``NUMBER/input1``, … without gradients."""
    start = f"{number}/{part}"
    return {
        name: array
        for name, array in arrays.items()
        if name == start or (name.startswith(start) and name.removeprefix(start).isdecimal())
    }


def _unpadded(packed: Array, other: Array | None) -> Array:
    """Return a packed sequence with the other side's numbers in its padded steps.

    No layer reads these, so that they may be anything.
    """
    if other is None or packed.ndim < 3 or packed.shape != other.shape:
        return packed
    return np.where(packed.any(-1, keepdims=True), packed, other)


def _named(number: int, parts: Arrays) -> Arrays:
    return {f"{number}/{name}": array for name, array in parts.items()}


def as_output(array: Array, shape: tuple[int, ...]) -> Array:
    """Return a model output in the other side's shape, if it only has other axes.

    Axes of length 1 may be missing, and channels may be first or last.
    """
    candidates = [array]
    if array.ndim > 2:
        candidates += [np.moveaxis(array, 1, -1), np.moveaxis(array, -1, 1)]
    for candidate in candidates:
        if candidate.shape == shape:
            return candidate
    squeezed = tuple(length for length in shape if length != 1)
    if tuple(length for length in array.shape if length != 1) == squeezed:
        shaped = in_shape(array, shape)
        return array if shaped is None else shaped
    return array


def order_of_outputs(a: Observation, b: Observation, tolerance: float) -> dict[str, str]:
    """Return which output of B is which of A, if the sides have them in another order.

    Parameters
    ----------
    a, b : Observation
        Of both sides in the same mode, B with its anchors forced.
    tolerance : float
        The largest relative difference of what counts as the same numbers.
    """
    left, right = outputs_of(a.arrays), outputs_of(b.arrays)
    if len(left) != len(right) or len(left) < 2:
        return {}

    def agree(name: str, other: str) -> bool:
        shaped = as_output(left[name], right[other].shape)
        return relative_difference(shaped, right[other]) <= tolerance

    found = {name: name for name in left if agree(name, name)}
    for name in left:
        free = [other for other in right if other not in found.values()]
        other = next((each for each in free if agree(name, each)), None)
        if name not in found and other is not None:
            found[name] = other
    # What is equal to none is what is left, in this order.
    rest = [name for name in left if name not in found]
    free = [name for name in right if name not in found.values()]
    found |= dict(zip(rest, free, strict=True))
    return {name: found[name] for name in left} if any(n != o for n, o in found.items()) else {}


def unmatched_between(
    alignment: Alignment, a: Observation, b: Observation, a_number: int, b_number: int
) -> bool:
    """Return whether a layer with weights that has no counterpart comes directly before a call.

    Parameters
    ----------
    alignment : Alignment
        Which layers belong together.
    a, b : Observation
        Of both sides.
    a_number, b_number : int
        The call on both sides.
    """
    pairs = [pair for pair in alignment.pairs if pair.carried]
    return _unmatched_before(a, {pair.a.path for pair in pairs}, a_number) or _unmatched_before(
        b, {pair.b.path for pair in pairs}, b_number
    )


def _unmatched_before(observation: Observation, paths: set[str], number: int) -> bool:
    before = [call for call in observation.anchors if call.number < number]
    if not before or before[-1].layer in paths:
        return False
    # A layer that returns what it takes, such as a bias of zeros, explains no difference.
    taken, returned = (
        observation.arrays.get(f"{before[-1].number}/{part}") for part in ("input", "output")
    )
    return taken is None or returned is None or not np.array_equal(taken, returned)


def previous_anchor(observation: Observation, number: int) -> int:
    """Return the number of the last anchor before a call, or -1."""
    return max((call.number for call in observation.anchors if call.number < number), default=-1)
