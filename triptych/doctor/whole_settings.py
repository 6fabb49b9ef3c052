"""Settings that may be the cause where one side is a function, in which none can be seen.

The settings of the other side's layers are changed to values that users meet, all layers of a kind
at once, until both sides return the same.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, islice
from typing import Any

from .bounds import relative_difference
from .examination import ChangeableSide, Examination
from .frameworks.adapter import Unsupported
from .hypotheses import KNOWN_VALUES, Hypothesis, another_function, change_of, equal_values
from .observation import Arrays, Call, Settings
from .places import as_output
from .relations import USUAL

MOST_TRIALS = 96

NOTHING: Settings = {"function": "linear"}


@dataclass(frozen=True)
class Explanation:
    """Settings with which both sides return the same.

    Attributes
    ----------
    hypotheses : tuple of Hypothesis
        What differs; the calls of the function are stand-ins.
    side : str
        ``a`` or ``b``: the one with layers, which was changed.
    remaining : float
        The relative difference of the outputs afterwards.
    """

    hypotheses: tuple[Hypothesis, ...]
    side: str
    remaining: float


def explain(examination: Examination, bound: float) -> Explanation | None:
    """Return the fewest settings of one side's layers that make the sides agree, or None.

    Parameters
    ----------
    examination : Examination
        The comparison; B has A's weights.
    bound : float
        The largest relative difference of the outputs that counts as equal.
    """
    sides = (("a", examination.a), ("b", examination.b))
    for name, side in sides:
        description = examination.a_description if name == "a" else examination.b_description
        changeable = side.changeable()
        if description.whole or changeable is None:
            continue
        trial = _Trial(examination, name, changeable)
        for hypotheses in islice(trial.sets(), MOST_TRIALS):
            remaining = trial.difference(hypotheses)
            if remaining <= bound:
                return Explanation(tuple(map(trial.turned, hypotheses)), name, remaining)
    return None


class _Trial:
    """Changes one side, which has layers, and compares it with the function.

    Parameters
    ----------
    examination : Examination
        The comparison.
    name : str
        ``a`` or ``b``: which side is changed.
    side : ChangeableSide
        The side.
    """

    def __init__(self, examination: Examination, name: str, side: ChangeableSide) -> None:
        self.examination = examination
        self.name = name
        self.side = side
        if name == "a":
            self.inputs: Arrays = examination.a_inputs
            self.wanted = examination.b_evaluation.arrays["output"]
        else:
            self.inputs = examination.alignment.inputs_to_b(examination.a_inputs)
            self.wanted = examination.a_evaluation.arrays["output"]
        observation = side.observe(self.inputs, training=False, dtype=examination.dtype)
        self.calls = observation.calls

    def sets(self) -> Iterator[tuple[Hypothesis, ...]]:
        """Yield what may be the cause: usual values of settings, other activations, two values."""
        values = list(self._of_values())
        yield from ((each,) for each in (*values, *self._of_functions()))
        for one, other in combinations(values, 2):
            if (one.kind, *one.values) != (other.kind, *other.values):
                yield one, other

    def _of_values(self) -> Iterator[Hypothesis]:
        for setting, values in KNOWN_VALUES.items():
            kinds = dict.fromkeys(call.kind for call in self.calls if setting in call.settings)
            for kind in kinds:
                calls = [each for each in self.calls if each.kind == kind]
                calls = [each for each in calls if setting in each.settings]
                for value in values:
                    if not equal_values(value, calls[0].settings[setting]):
                        yield self._changed(calls, setting, value)

    def _changed(self, calls: Sequence[Call], setting: str, value: Any) -> Hypothesis:
        """Return the hypothesis that the function has another value than all these calls."""
        first = calls[0]
        # A layer may be called several times.
        changes = {
            (change.target, change.path): change
            for change in (change_of(each, setting, value) for each in calls)
        }
        values = {setting: (value, first.settings[setting])}
        return Hypothesis(first.kind, values, tuple(changes.values()), self._stand_in(first), first)

    def _of_functions(self) -> Iterator[Hypothesis]:
        for call in self.calls:
            if call.kind != "activation":
                continue
            for settings in (NOTHING, *USUAL):
                if settings["function"] != call.settings.get("function"):
                    other = replace(self._stand_in(call), settings=settings)
                    yield another_function(other, call)

    def _stand_in(self, call: Call) -> Call:
        """Return a call of the function that belongs to one of the layers."""
        return replace(call, layer="", settings={}, anchor=False)

    def difference(self, hypotheses: Sequence[Hypothesis]) -> float:
        """Return how far the sides are apart with changes; infinity if they cannot be made."""
        dtype = self.examination.dtype
        try:
            self.side.change([each for one in hypotheses for each in one.changes], dtype)
            made = self.side.observe(self.inputs, training=False, dtype=dtype).arrays["output"]
        except Unsupported:
            return float("inf")
        finally:
            self.side.restore(dtype)
        return relative_difference(as_output(self.wanted, made.shape), made)

    def turned(self, hypothesis: Hypothesis) -> Hypothesis:
        """Return a hypothesis with A's call and values first."""
        if self.name == "b":
            return hypothesis
        values = {setting: (b, a) for setting, (a, b) in hypothesis.values.items()}
        return replace(hypothesis, values=values, a=hypothesis.b, b=hypothesis.a)
