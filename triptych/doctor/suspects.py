"""Which calls without weights differ between two layers with weights, by what they return."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from .observation import Array, Call, Observation

# Two results are the same numbers, in whatever order, if these figures agree.
FIGURES = 6
SAME = {"native": 1e-4, "float64": 1e-6}

MOST_RESULTS = 300  # between two layers


@dataclass(frozen=True)
class Result:
    """A call without weights and what it returns.

    Attributes
    ----------
    call : Call
        The call.
    output : ndarray
        Its result.
    figures : ndarray
        Size, mean, deviation and other figures that the order of the numbers does not change.
    """

    call: Call
    output: Array
    figures: Array

    def same(self, other: "Result", tolerance: float) -> bool:
        """Return whether two results are the same numbers, in whatever order."""
        return same_figures(self.figures, other.figures, tolerance)


@dataclass(frozen=True)
class Suspect:
    """A call of A and a call of B that return other numbers, or one without a counterpart.

    Attributes
    ----------
    a, b : Result or None
        The calls.
    before : ndarray or None
        What both sides had before it, in B's form, if it is known.
    """

    a: Result | None
    b: Result | None
    before: Array | None


def figures_of(array: Array) -> Array:
    """Return figures of an array that do not depend on the order of its numbers."""
    if not array.size:
        return np.zeros(FIGURES)
    wide = np.asarray(array, np.float64)
    finite = np.where(np.isfinite(wide), wide, 0.0)
    return np.array(
        [
            array.size,
            finite.mean(),
            np.sqrt((finite**2).mean()),
            np.abs(finite).mean(),
            finite.max(),
            finite.min(),
        ]
    )


def same_figures(first: Array, second: Array, tolerance: float) -> bool:
    """Return whether two arrays with these figures hold the same numbers, in whatever order."""
    if first[0] != second[0]:
        return False
    scale = max(np.abs(first[1:]).max(), np.abs(second[1:]).max())
    return bool(np.abs(first - second).max() <= tolerance * scale)


def results(
    observation: Observation,
    start: int,
    stop: int,
    tolerance: float,
    within: int | None = None,
) -> list[Result]:
    """Return the calls without weights between two numbers that change the numbers they get.

    Parameters
    ----------
    observation : Observation
        Of one side.
    start, stop : int
        Numbers of calls; both are left out.
    tolerance : float
        What counts as the same numbers.
    within : int, optional
        The number of the call of a layer of the user's, of which the functions are meant.
    """
    found: list[Result] = []
    part = "output" if within is None else "input"
    before = observation.arrays.get(f"{start}/{part}", np.empty(0))
    figures = figures_of(before)
    for call in observation.calls:
        if not start < call.number < stop or call.anchor or call.within != within:
            continue
        output = observation.arrays.get(f"{call.number}/output")
        if output is None or not np.issubdtype(output.dtype, np.floating):
            continue
        new_figures = figures_of(output)
        if not same_figures(figures, new_figures, tolerance):
            found.append(Result(call, output, new_figures))
        if len(found) == MOST_RESULTS:
            break  # each is compared with each of the other side
        figures = new_figures
    return found


def suspects(
    a: Sequence[Result], b: Sequence[Result], before: Array | None, tolerance: float
) -> list[Suspect]:
    """Return the calls that return other numbers on the two sides, in the order of execution.

    Parameters
    ----------
    a, b : sequence of Result
        The calls of both sides in a segment.
    before : ndarray or None
        What both sides had at its start, in B's form.
    tolerance : float
        What counts as the same numbers.
    """
    found: list[Suspect] = []
    ends = [*common(a, b, tolerance), (len(a), len(b))]
    a_start = b_start = 0
    for a_stop, b_stop in ends:
        found += _gap(a[a_start:a_stop], b[b_start:b_stop], before)
        if b_stop < len(b):
            before = b[b_stop].output
        a_start, b_start = a_stop + 1, b_stop + 1
    return found


def common(a: Sequence[Result], b: Sequence[Result], tolerance: float) -> list[tuple[int, int]]:
    """Return the places of the longest common subsequence of two sequences of results."""
    return _longest(a, b, lambda one, other: one.same(other, tolerance))


def _longest(
    a: Sequence[Result], b: Sequence[Result], matches: Callable[[Result, Result], bool]
) -> list[tuple[int, int]]:
    """Return the places of the longest sequence of results that match one by one."""
    lengths = np.zeros((len(a) + 1, len(b) + 1), int)
    same = np.zeros((len(a), len(b)), bool)
    for row in range(len(a) - 1, -1, -1):
        for column in range(len(b) - 1, -1, -1):
            same[row, column] = matches(a[row], b[column])
            longest = max(lengths[row + 1, column], lengths[row, column + 1])
            if same[row, column]:
                longest = max(longest, lengths[row + 1, column + 1] + 1)
            lengths[row, column] = longest
    common: list[tuple[int, int]] = []
    row = column = 0
    while row < len(a) and column < len(b):
        if same[row, column] and lengths[row, column] == lengths[row + 1, column + 1] + 1:
            common.append((row, column))
            row += 1
            column += 1
        elif lengths[row + 1, column] >= lengths[row, column + 1]:
            row += 1
        else:
            column += 1
    return common


def _gap(a: Sequence[Result], b: Sequence[Result], before: Array | None) -> list[Suspect]:
    """Return the suspects between two calls that agree: those of the same kind belong together."""
    pairs = _longest(a, b, lambda one, other: one.call.kind == other.call.kind)
    if len(a) == len(b) == 1:
        pairs = [(0, 0)]
    found: list[tuple[Result | None, Result | None]] = []
    a_start = b_start = 0
    for a_stop, b_stop in pairs:
        # Calls before it have no counterpart.
        found += [(each, None) for each in a[a_start:a_stop]]
        found += [(None, each) for each in b[b_start:b_stop]]
        found.append((a[a_stop], b[b_stop]))
        a_start, b_start = a_stop + 1, b_stop + 1
    found += [(each, None) for each in a[a_start:]]
    found += [(None, each) for each in b[b_start:]]
    return [
        Suspect(first, second, None if place else before)
        for place, (first, second) in enumerate(found)
    ]
