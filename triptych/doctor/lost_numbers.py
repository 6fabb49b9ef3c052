"""Where one side has NaN or infinity in place of numbers that the other side has."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from .observation import Array, Call, Observation
from .places import LAYER
from .trials import Case, Trials

NAN = "NaN"
INFINITY = "infinity"
LOGARITHMS = frozenset({"log", "log2", "log10", "log1p"})


@dataclass(frozen=True)
class Lost:
    """What one side has lost at a place.

    Attributes
    ----------
    side : str
        ``a`` or ``b``: the side without numbers.
    what : str
        `NAN` or `INFINITY`.
    count, size : int
        How many values of the place are lost, and how many there are.
    call : Call or None
        The first call of the side that returns it.
    why : str
        What has made it of numbers, if that is known; otherwise empty.
    masked : bool
        Whether it is attention whose keys are all masked.
    agree : bool
        Whether no other values differ from those of the other side.
    """

    side: str
    what: str
    count: int
    size: int
    call: Call | None
    why: str
    masked: bool
    agree: bool


def lost_numbers(trials: Trials, case: Case, tolerance: float, earlier: Case | None) -> Lost | None:
    """Return what one side has lost at a place where the other has numbers; None if nothing.

    Parameters
    ----------
    trials : Trials
        Both sides' runs in evaluation mode.
    case : Case
        A place that differs.
    tolerance : float
        The largest relative difference of numbers that agree.
    earlier : Case or None
        The last one before, at which numbers are lost already.
    """
    for a, b in _compared(trials, case):
        a_lost, b_lost = ~np.isfinite(a), ~np.isfinite(b)
        side, lost = (
            ("b", b_lost & ~a_lost) if np.any(b_lost & ~a_lost) else ("a", a_lost & ~b_lost)
        )
        if not lost.any():
            continue
        values = (b if side == "b" else a)[lost]
        what = NAN if np.isnan(values).any() else INFINITY
        call, before, infinite = _first_call(trials, case, side, what, earlier)
        finite = ~(a_lost | b_lost)
        apart = np.abs(a[finite] - b[finite]).max(initial=0.0)
        return Lost(
            side,
            what,
            int(lost.sum()),
            lost.size,
            call,
            _why(call, what, infinite),
            _is_masked(call, before, trials.a if side == "a" else trials.b),
            bool(apart <= tolerance * np.abs(a[finite]).max(initial=0.0)),
        )
    return None


def _compared(trials: Trials, case: Case) -> Iterator[tuple[Array, Array]]:
    """Yield what both sides have at a place."""
    for name, expected in case.place.expected.items():
        made = trials.b.arrays.get(name)
        if made is not None and made.shape == expected.shape and made.dtype.kind == "f":
            yield np.asarray(expected, np.float64), np.asarray(made, np.float64)


def _first_call(
    trials: Trials, case: Case, side: str, what: str, earlier: Case | None
) -> tuple[Call | None, Array | None, Call | None]:
    """Return the first call of a side that returns NaN or infinity.

    What a segment computes may be called before another layer with weights is.

    Returns
    -------
    call : Call or None
        The call.
    before : ndarray or None
        What the call before it has returned.
    infinite : Call or None
        The first call before it that returns infinity.
    """
    observation = trials.a if side == "a" else trials.b
    number, start = (
        -1 if each is None else each.place.a_number if side == "a" else each.place.b_number
        for each in (case, earlier)
    )
    if case.place.what == LAYER:
        return observation.calls[number], None, None
    is_lost = np.isnan if what == NAN else np.isinf
    before: Array | None = None
    infinite: Call | None = None
    for call, output in _outputs(observation, start, number):
        if is_lost(output).any():
            return call, before, infinite
        if infinite is None and np.isinf(output).any():
            infinite = call
        before = output
    return None, None, None


def _outputs(observation: Observation, start: int, stop: int) -> Iterator[tuple[Call, Array]]:
    """Yield the calls without weights between two numbers, and their results."""
    for call in observation.calls[start + 1 : stop]:
        output = observation.arrays.get(f"{call.number}/output")
        if not call.anchor and output is not None and output.dtype.kind == "f":
            yield call, output


def _why(call: Call | None, what: str, infinite: Call | None) -> str:
    """Return what makes a call lose numbers, by its name and what was infinite before."""
    if infinite is not None:
        reason = _why(infinite, INFINITY, None)
        return f"after infinity in {infinite.name}" + (f", {reason}" if reason else "")
    name = "" if call is None else call.name.lower()
    if name.rpartition(".")[2].strip("_") in LOGARITHMS:
        return "the logarithm of 0" if what == INFINITY else "the logarithm of a negative number"
    if "div" in name or name == "/":
        return "0/0" if what == NAN else "a division by 0, or by too small a number"
    if "sqrt" in name:
        return "1/√0" if what == INFINITY else "the root of a negative number"
    return ""


def _is_masked(call: Call | None, before: Array | None, observation: Observation) -> bool:
    """Return whether a call is attention, or a softmax of rows in which all scores are masked.

    Parameters
    ----------
    call : Call or None
        The call.
    before : ndarray or None
        What the call before it has returned.
    observation : Observation
        Of its side.
    """
    if call is None:
        return False
    if call.kind == "attention":
        # All features of a row are lost together if its keys are masked.
        output = observation.arrays.get(f"{call.number}/output")
        rows = [] if output is None else np.isnan(output)
        return bool(np.all(np.all(rows, -1) == np.any(rows, -1)))
    if call.settings.get("function") not in ("softmax", "log_softmax") or before is None:
        return False
    return bool((np.isneginf(before) | np.isnan(before)).all(-1).any())
