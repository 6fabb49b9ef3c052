"""What differs inside a layer that the user wrote: among the functions that it calls.

Both sides' layers have taken the same numbers. What their functions return is compared as between
layers, and what differs is tried. Where no setting tells it, the numbers of A take the place of
what a function of B returns: where the layers agree then, the difference is before that.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product

from .code_lines import arithmetic_line, value_text
from .formulas import compute
from .hypotheses import (
    IGNORED,
    KNOWN_VALUES,
    Hypothesis,
    another_function,
    change_of,
    differing,
    equal_values,
    hypotheses,
)
from .observation import Array, Call, Settings
from .suspects import SAME, Result, Suspect, common, figures_of, same_figures

# An epsilon is at most this.
LARGEST_EPSILON = 0.1

FEATURES = [-1]  # the axes of a normalisation of each position
NEUTRAL: Settings = {"scale": 1.0, "offset": 0.0}
NOTHING: Settings = {"function": "linear"}

MOST_FORCED = 32  # runs in which what a function returns is replaced
MOST_SHOWN = 4  # calls in a title


def inner_hypotheses(
    a: Sequence[Result], b: Sequence[Result], suspects: Sequence[Suspect]
) -> Iterator[Hypothesis]:
    """Yield what may make the functions inside two layers differ, the likely causes first.

    Parameters
    ----------
    a, b : sequence of Result
        The functions of both sides.
    suspects : sequence of Suspect
        Those that return other numbers.
    """
    for suspect in suspects:
        if suspect.a is not None and suspect.b is not None:
            yield from _of_pair(b, suspect.a.call, suspect.b.call)
    # The sides may call the same in another order.
    alone_a = [each.a.call for each in suspects if each.a is not None and each.b is None]
    alone_b = [each.b.call for each in suspects if each.b is not None and each.a is None]
    for first, second in product(alone_a, alone_b):
        if first.kind == second.kind == "reduction":
            yield from _of_pair(b, first, second)
    for suspect in suspects:
        if suspect.a is None and suspect.b is not None:
            yield from _left_out(b, suspect.b.call)
        elif suspect.b is None and suspect.a is not None:
            yield from _put_in(a, b, suspect.a)
    yield from _epsilons(a, b, suspects)


def _of_pair(b: Sequence[Result], first: Call, second: Call) -> Iterator[Hypothesis]:
    if _is_epsilon(first) and _is_epsilon(second):
        yield _other_epsilon(b, first, second, first.settings["offset"])
        return
    for hypothesis in hypotheses(first, second):
        yield replace(hypothesis, kind=_kind(b, second))


def _is_epsilon(call: Call) -> bool:
    """Return whether a call adds a small positive number."""
    settings = call.settings
    return (
        call.kind == "rescaling"
        and settings["scale"] == 1
        and 0 < settings["offset"] <= LARGEST_EPSILON
    )


def _other_epsilon(b: Sequence[Result], first: Call, second: Call, value: float) -> Hypothesis:
    """Return that A adds another epsilon than a call of B."""
    changes = (change_of(second, "offset", value),)
    values = {"epsilon": (value, second.settings["offset"])}
    return Hypothesis(_normalisation(b, second), values, changes, first, second)


def _normalisation(results: Sequence[Result], call: Call) -> str:
    """Return the kind of the normalisation that adds an epsilon, or that of the call itself."""
    before = [each.call for each in results if each.call.number < call.number]
    reductions = [each for each in before if each.kind == "reduction"]
    if any(each.settings["axis"] != FEATURES for each in reductions[-2:]):
        return call.kind
    functions = [each.settings["function"] for each in reductions]
    if "variance" in functions or functions.count("mean") > 1:
        return "layer_norm"
    return "rms_norm" if functions == ["mean"] else call.kind


def _kind(results: Sequence[Result], call: Call) -> str:
    """Return what a call is a part of: ``scores`` for the arithmetic before a softmax."""
    if call.kind != "rescaling":
        return call.kind
    after = [each.call for each in results if each.call.number >= call.number]
    for each in after:
        if each.kind == "activation":
            return "scores" if each.settings.get("function") == "softmax" else call.kind
    return call.kind


def _neutral(call: Call) -> Settings | None:
    """Return the settings with which a call returns what it takes, or None."""
    return {"rescaling": NEUTRAL, "activation": NOTHING}.get(call.kind)


def _values(call: Call, *, of_a: bool) -> dict[str, tuple[object, object]]:
    """Return the settings of a call that the other side lacks, as values of A and B."""
    neutral = _neutral(call) or {}
    values = {
        setting: (call.settings[setting], other)
        for setting, other in neutral.items()
        if call.settings[setting] != other
    }
    return values if of_a else {setting: (b, a) for setting, (a, b) in values.items()}


def _left_out(b: Sequence[Result], call: Call) -> Iterator[Hypothesis]:
    """Yield that A lacks a rescaling or an activation of B."""
    neutral = _neutral(call)
    if neutral is None:
        return
    other = replace(call, settings=neutral)
    if call.kind == "activation":
        yield replace(another_function(other, call), lacks="a")
        return
    changes = tuple(change_of(call, setting, value) for setting, value in neutral.items())
    yield Hypothesis(_kind(b, call), _values(call, of_a=False), changes, other, call, "a")


def _put_in(a: Sequence[Result], b: Sequence[Result], one: Result) -> Iterator[Hypothesis]:
    """Yield that B lacks a rescaling or an activation of A, where B has what that takes."""
    call = one.call
    neutral = _neutral(call)
    if neutral is None:
        return
    for each in b:
        made = compute(call.kind, each.output, call.settings)
        if made is None or not same_figures(figures_of(made), one.figures, SAME["native"]):
            continue
        lacking = replace(each.call, settings=neutral, kind=call.kind)
        changes = (change_of(each.call, "then", call.settings),)
        yield Hypothesis(_kind(a, call), _values(call, of_a=True), changes, call, lacking, "b")


def _epsilons(
    a: Sequence[Result], b: Sequence[Result], suspects: Sequence[Suspect]
) -> Iterator[Hypothesis]:
    """Yield that A has another epsilon than B, whatever it calls."""
    paired = [each.b.call for each in suspects if each.a is not None and each.b is not None]
    of_a = [each.call for each in a if _is_epsilon(each.call) or "epsilon" in each.call.settings]
    for call in [each.call for each in b if _is_epsilon(each.call)]:
        for each in of_a:
            name = "epsilon" if "epsilon" in each.settings else "offset"
            yield _other_epsilon(b, each, call, each.settings[name])
        for value in KNOWN_VALUES["epsilon"] if call not in paired else ():
            if not equal_values(value, call.settings["offset"]):
                yield _other_epsilon(b, replace(call, settings={}), call, value)


@dataclass(frozen=True)
class Located:
    """Functions behind which two layers agree, if B gets what A's function returns.

    Attributes
    ----------
    a, b : tuple of Result
        The calls up to these functions with results that the other side has not.
    known : tuple of ndarray
        What both sides had before.
    remaining : float
        The difference of the layers with A's result in B.
    """

    a: tuple[Result, ...]
    b: tuple[Result, ...]
    known: tuple[Array, ...]
    remaining: float

    @property
    def texts(self) -> tuple[str, str]:
        """What both sides call."""
        return _text(self.a), _text(self.b)

    @property
    def is_same(self) -> bool:
        """Whether both sides call the same, so that its numbers must be in another order."""
        a, b = self.a[-1].call, self.b[-1].call
        if a.kind not in ("activation", "reduction") or a.kind != b.kind:
            return False
        return len(self.a) == len(self.b) == 1 and not differing(a.settings, b.settings)


def _text(results: Sequence[Result]) -> str:
    shown = [call_text(each.call) for each in results[-MOST_SHOWN:]]
    return ", ".join(["…", *shown] if len(results) > MOST_SHOWN else shown)


def call_text(call: Call) -> str:
    """Return a call with its settings: ``ops.mean(axis=-1)``; arithmetic as ``* 0.5``."""
    settings = call.settings
    if call.kind == "rescaling":
        return arithmetic_line(settings).removeprefix("x").strip() or "* 1"
    shown = {
        setting: value
        for setting, value in settings.items()
        if setting not in (*IGNORED, "function", "arguments") and not isinstance(value, dict)
    }
    written = [f"{setting}={value_text(value)}" for setting, value in shown.items()]
    return f"{call.name}({', '.join(written)})" if written else call.name


def locate(
    a: Sequence[Result],
    b: Sequence[Result],
    before: Array | None,
    tolerance: float,
    remaining: Callable[[Result, Result], float],
    bound: float,
) -> Located | None:
    """Return the first functions behind which two layers agree, or None.

    Parameters
    ----------
    a, b : sequence of Result
        The functions of both sides.
    before : ndarray or None
        What both layers take.
    tolerance : float
        What counts as the same numbers.
    remaining : callable
        Returns the difference of the layers if B gets what a function of A returns in place of
        what a function of B returns.
    bound : float
        The largest difference that counts as equal.
    """
    tried = 0
    a_start = b_start = 0
    known = [] if before is None else [before]
    for a_stop, b_stop in [*common(a, b, tolerance), (len(a), len(b))]:
        places = product(range(a_start, a_stop), range(b_start, b_stop))
        for one, other in sorted(places, key=sum):
            if a[one].output.shape != b[other].output.shape or tried == MOST_FORCED:
                continue
            tried += 1
            difference = remaining(a[one], b[other])
            if difference <= bound:
                calls = _unshared(a, b, one, tolerance), _unshared(b, a, other, tolerance)
                return Located(*calls, tuple(known), difference)
        known += [each.output for each in b[b_stop : b_stop + 1]]
        a_start, b_start = a_stop + 1, b_stop + 1
    return None


def _unshared(
    results: Sequence[Result], others: Sequence[Result], last: int, tolerance: float
) -> tuple[Result, ...]:
    """Return the results up to one that the other side has not, and that one."""
    before = [
        each for each in results[:last] if not any(each.same(other, tolerance) for other in others)
    ]
    return (*before, results[last])
