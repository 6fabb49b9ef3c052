"""An activation that only one side has, wherever it is before a place that differs."""

from collections.abc import Iterator

from .forcing import run
from .formulas import activate
from .frameworks.adapter import Unsupported
from .hypotheses import change_of
from .observation import Call, Observation, Settings
from .places import LAYER, previous_anchor
from .relations import Relation, name_of
from .trials import Case, Trials


def lacking_activation(trials: Trials, case: Case) -> Relation | None:
    """Return that one side applies an activation and the other does not, or None.

    Where A lacks it, it is taken out of B. Where B lacks it, B gets what the layer before has
    returned with the activation applied.

    Parameters
    ----------
    trials : Trials
        Both sides' runs in evaluation mode.
    case : Case
        A place that differs.
    """
    if case.place.what == LAYER:
        return None
    for side, settings, observation in _tried(trials, case):
        if case.place.difference(observation) <= case.place.precision(trials.bounds):
            other = "b" if side == "a" else "a"
            name = name_of(settings)
            title = f"{{{side}}} applies {name}, {{{other}}} does not"
            return Relation(title, {side: name, other: None}, functions={side: settings})
    return None


def _tried(trials: Trials, case: Case) -> Iterator[tuple[str, Settings, Observation]]:
    """Yield which side has an activation more, which, and what B does when that is mended."""
    a = _activations(trials.a, case.place.a_number)
    b = _activations(trials.b, case.place.b_number)
    if len(a) == len(b) + 1:
        observation = _with_activation(trials, case, a[0].settings)
        if observation is not None:
            yield "a", a[0].settings, observation
    elif len(b) == len(a) + 1:
        for call in b:
            observation = _without_activation(trials, case, call)
            if observation is not None:
                yield "b", call.settings, observation


def _activations(observation: Observation, number: int) -> list[Call]:
    """Return the activations between a call and the layer with weights before it."""
    calls = observation.calls[previous_anchor(observation, number) + 1 : number]
    return [call for call in calls if call.kind == "activation" and call.within is None]


def _with_activation(trials: Trials, case: Case, settings: Settings) -> Observation | None:
    """Return what B does if the layer before a place is followed by an activation."""
    forced = trials.alignment.forced(trials.a)
    name = f"{previous_anchor(trials.b, case.place.b_number)}/output"
    made = activate(forced[name], settings) if name in forced else None
    if made is None:
        return None
    return run(trials.examination, forced=forced | {name: made}, changes=case.changes)


def _without_activation(trials: Trials, case: Case, call: Call) -> Observation | None:
    """Return what B does without one of its activations; None if it cannot be taken out."""
    changes = (*case.changes, change_of(call, "function", "linear"))
    try:
        return run(trials.examination, changes=changes)
    except Unsupported:
        return None
