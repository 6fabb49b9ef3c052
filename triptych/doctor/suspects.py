"""Which calls without weights differ between two layers with weights, by what they return."""

from collections.abc import Sequence
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


def results(observation: Observation, start: int, stop: int, tolerance: float) -> list[Result]:
    """Return the calls without weights between two numbers that change the numbers they get.

    Parameters
    ----------
    observation : Observation
        Of one side.
    start, stop : int
        Numbers of calls; both are left out.
    tolerance : float
        What counts as the same numbers.
    """
    found: list[Result] = []
    before = observation.arrays.get(f"{start}/output", np.empty(0))
    figures = figures_of(before)
    for call in observation.calls:
        if not start < call.number < stop or call.anchor:
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
    ends = [*_common(a, b, tolerance), (len(a), len(b))]
    a_start = b_start = 0
    for a_stop, b_stop in ends:
        found += _gap(a[a_start:a_stop], b[b_start:b_stop], before)
        if b_stop < len(b):
            before = b[b_stop].output
        a_start, b_start = a_stop + 1, b_stop + 1
    return found


def _common(a: Sequence[Result], b: Sequence[Result], tolerance: float) -> list[tuple[int, int]]:
    """Return the longest common subsequence of two sequences of results."""
    lengths = np.zeros((len(a) + 1, len(b) + 1), int)
    same = np.zeros((len(a), len(b)), bool)
    for row in range(len(a) - 1, -1, -1):
        for column in range(len(b) - 1, -1, -1):
            same[row, column] = a[row].same(b[column], tolerance)
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
    found: list[Suspect] = []
    left = list(b)
    for first in a:
        partner = next((each for each in left if each.call.kind == first.call.kind), None)
        if partner is None and len(a) == len(b) == 1:
            partner = left[0]
        if partner is not None:
            # B's calls before it have no counterpart.
            position = left.index(partner)
            found += [Suspect(None, each, before) for each in left[:position]]
            del left[: position + 1]
        found.append(Suspect(first, partner, before if not found else None))
    return found + [Suspect(None, each, before if not found else None) for each in left]
