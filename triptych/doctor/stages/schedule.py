"""The learning rates, update by update.

The series of one side is looked for in the other: counted in another unit, some steps earlier,
only at the ends of epochs, times a factor, up to the end of the schedule.
"""

from dataclasses import dataclass, replace

import numpy as np

from .. import catalogue
from ..bounds import relative_difference
from ..code_lines import value_text
from ..examination import Examination, Result
from ..findings import Acquittal, Finding
from ..frameworks.adapter import ModelError
from ..momenta import differing_momenta, momentum_fix
from ..observation import Array, Change, Component, Description, Settings
from ..probes import schedule_end
from ..rates import EQUAL, differ, rates_of
from ..wording import catalogue_fix

# By how many updates one side may be ahead.
MOST_SHIFT = 3
# A schedule with at most so many rates is piecewise constant.
FEW_RATES = 12


@dataclass(frozen=True)
class Named:
    """What a difference of two series is.

    Attributes
    ----------
    cause : str or None
        The id in the catalogue.
    title : str
        What differs.
    how : str
        How one series is made of the other, as a sentence; empty if it is not known.
    factor : int
        Of the unit, by which the number of steps must be multiplied; 1 otherwise.
    """

    cause: str | None
    title: str
    how: str = ""
    factor: int = 1


def examine(examination: Examination) -> Result:
    """Compare the learning rates of both sides, and the momenta that a schedule changes."""
    descriptions = examination.descriptions
    if not any(each.schedule for each in descriptions):
        return Result()
    result = _of_rates(examination)
    of_momenta = _of_momenta(descriptions)
    if of_momenta is None:
        return result
    return replace(result, findings=(*result.findings, of_momenta))


def _of_rates(examination: Examination) -> Result:
    """Compare the learning rates of both sides."""
    descriptions = examination.descriptions
    try:
        a, b = rates_of(examination)
    except ModelError as error:
        return Result(undecided=f"learning rates: {error}")
    different = differ(a, b)
    relative = relative_difference(a, b)
    if not different.any():
        return Result(largest=relative, bound=EQUAL)
    end = _end(examination)
    if end is not None and not different[: end + 1].any():
        return Result((), (_after_the_end(a, b, end),), relative, EQUAL)
    of_setting = _of_settings(examination, a, b)
    if of_setting is not None:
        return Result((of_setting,), (), 0.0, EQUAL)
    findings: list[Finding] = []
    scaled = b
    if a[0] and b[0] and differ(a[:1], b[:1]).any():
        rest = differ(a, b * (a[0] / b[0]))
        if rest.sum() < different.sum():
            scaled = b * (a[0] / b[0])
            factor = f"B's rates are {value_text(float(b[0] / a[0]))} times A's"
            named = Named(_cause_of_rate(descriptions), "Initial learning rate", factor)
            findings.append(_finding(named, a, b, descriptions))
    if differ(a, scaled).any():
        named = _named(a, scaled, descriptions)
        findings.insert(0, _finding(named, a, b, descriptions))
    return Result(tuple(findings), (), 0.0, EQUAL)


def _of_settings(examination: Examination, a: Array, b: Array) -> Finding | None:
    """Return the settings that make B's schedule A's, if both are of the same class."""
    descriptions = examination.descriptions
    one, other = (each.schedule for each in descriptions)
    if one is None or other is None or (one.type, one.unit) != (other.type, other.unit):
        return None
    if descriptions[0].framework != descriptions[1].framework:
        return None
    names = [
        name
        for name, value in one.settings.items()
        if name in other.settings and value != other.settings[name]
    ]
    for chosen in (*([name] for name in names), names):
        if chosen and _makes_equal(examination, {name: one.settings[name] for name in chosen}, a):
            return _setting_finding(chosen, a, b, descriptions)
    return None


def _makes_equal(examination: Examination, settings: Settings, a: Array) -> bool:
    """Return whether B's rates are A's with some settings of its schedule."""
    side, dtype = examination.b, examination.dtype
    changes = [Change("schedule", "", name, value) for name, value in settings.items()]
    try:
        side.change(changes, dtype)
        rates = np.asarray(side.rates(len(a), dtype))
    except ModelError:
        return False
    finally:
        side.restore(dtype)
    return not differ(a, rates).any()


def _setting_finding(
    names: list[str], a: Array, b: Array, descriptions: tuple[Description, Description]
) -> Finding:
    texts: dict[str, str] = {}
    kind = ""
    for side, description in zip("ab", descriptions, strict=True):
        assert description.schedule
        kind = description.schedule.type
        settings = description.schedule.settings
        texts[side] = ", ".join(f"{name}={value_text(settings[name])}" for name in names)
    first = int(np.flatnonzero(differ(a, b))[0])
    schedules = {"torch": "torch.optim.lr_scheduler.", "keras": "keras.optimizers.schedules."}
    start = schedules.get(descriptions[0].framework, "") + kind
    return Finding(
        "schedule",
        None,
        f"{kind}: {texts['a']} in A, {texts['b']} in B",
        values=dict(texts),
        effect={"rate": relative_difference(a, b), "bound": EQUAL},
        fix={"a": f"{start}(..., {texts['b']})", "b": f"{start}(..., {texts['a']})"},
        proved=True,
        evidence=f"first at update {first}: {value_text(float(a[first]))} against "
        f"{value_text(float(b[first]))}; with A's settings the rates of B are A's",
    )


def _of_momenta(descriptions: tuple[Description, Description]) -> Finding | None:
    """Return the finding that a schedule changes the momentum as the other side does not."""
    series = differing_momenta(descriptions)
    if series is None:
        return None
    a, b = series
    changing = [description for description in descriptions if description.momenta]
    cause = "D125" if len(changing) == 1 else None
    title = catalogue.get(cause).title if cause else "The schedules change the momentum otherwise"
    first = int(np.flatnonzero(differ(a, b))[0])
    return Finding(
        "schedule",
        cause,
        title,
        values={
            side: _momentum_text(description, each)
            for side, description, each in zip("ab", descriptions, series, strict=True)
        },
        effect={"momentum": relative_difference(a, b), "bound": EQUAL},
        fix={
            side: momentum_fix(description)
            for side, description in zip("ab", descriptions, strict=True)
        },
        proved=True,
        evidence=f"first at step {first} of the schedule: {value_text(float(a[first]))} against "
        f"{value_text(float(b[first]))}",
    )


def _momentum_text(description: Description, series: Array) -> str:
    ends = value_text(float(series.min())), value_text(float(series.max()))
    if ends[0] == ends[1]:
        return f"momentum {ends[0]} throughout"
    assert description.schedule
    return f"{description.schedule.type}: momentum between {ends[0]} and {ends[1]}"


def _end(examination: Examination) -> int | None:
    """Return the last update of both schedules, if the training is not known to be longer."""
    descriptions = examination.descriptions
    ends = [schedule_end(each) for each in descriptions]
    if ends[0] is None or ends[1] is None:
        return None
    end = min(ends[0], ends[1])
    losses = examination.batch.get("val_loss")
    steps = next((each.steps_per_epoch for each in descriptions if each.steps_per_epoch), 1)
    return None if losses is not None and len(losses) * steps > end + 1 else end


def _after_the_end(a: Array, b: Array, end: int) -> Acquittal:
    first = int(np.flatnonzero(differ(a, b))[0])
    return Acquittal(
        "schedule",
        "D68",
        catalogue.get("D68").title,
        f"equal up to the end of the schedule, update {end}; only a longer training differs, "
        f"from update {first} on: {value_text(float(a[first]))} against "
        f"{value_text(float(b[first]))}",
    )


def _cause_of_rate(descriptions: tuple[Description, Description]) -> str | None:
    types = {each.optimizer.type for each in descriptions if each.optimizer}
    return "D53" if types == {"SGD"} else None


def _named(a: Array, b: Array, descriptions: tuple[Description, Description]) -> Named:
    """Return what makes two series different, the most special explanation first."""
    constant = [not differ(series, np.full_like(series, series[0])).any() for series in (a, b)]
    if any(constant):
        return Named(None, "Only one side changes its learning rate")
    for one, other, names in ((a, b, "AB"), (b, a, "BA")):
        start = f"{names[0]}'s rate at update t is {names[1]}'s at update"
        for steps in _units(one, other, descriptions):
            index = np.arange(len(one)) // steps
            if not differ(one, other[index]).any():
                how = f"{start} t // {steps}"
                return Named("D67", catalogue.get("D67").title, how, steps)
        for steps in _units(one, other, descriptions):
            index = np.arange(len(one)) // steps * steps
            if not differ(one, other[index]).any():
                return _within(descriptions, f"{start} t // {steps} * {steps}")
        for shift in range(1, MOST_SHIFT + 1):
            if not differ(one[:-shift], other[shift:]).any():
                return _shifted(a, b, f"{start} t + {shift}")
    return _by_place(a, b, descriptions)


def _units(one: Array, other: Array, descriptions: tuple[Description, Description]) -> list[int]:
    """Return of how many updates an epoch may be."""
    found = [each.steps_per_epoch for each in descriptions if each.steps_per_epoch]
    changes = [np.flatnonzero(np.diff(series)) + 1 for series in (one, other)]
    if len(changes[0]) and len(changes[1]):
        found.append(round(float(changes[0][0] / changes[1][0])))
        found.append(int(changes[0][0]))
    return [steps for steps in dict.fromkeys(found) if 1 < steps < len(one)]


def _within(descriptions: tuple[Description, Description], how: str) -> Named:
    types = " ".join(each.schedule.type for each in descriptions if each.schedule)
    cause = "D69" if "Exponential" in types or "Polynomial" in types else "D67"
    return Named(cause, catalogue.get(cause).title, how)


def _shifted(a: Array, b: Array, how: str) -> Named:
    piecewise = len(np.unique(a)) <= FEW_RATES
    warming = a[1] > a[0] or b[1] > b[0]
    if warming:
        return Named("D119", catalogue.get("D119").title, how)
    if piecewise:
        return Named("D97", catalogue.get("D97").title, how)
    return Named(None, "The schedule is some updates ahead", how)


def _by_place(a: Array, b: Array, descriptions: tuple[Description, Description]) -> Named:
    """Return what differs, from where it differs and which schedules these are."""
    places = np.flatnonzero(differ(a, b))
    types = [each.schedule.type if each.schedule else "" for each in descriptions]
    if places[-1] < len(a) // 2 and a[places[0]] != b[places[0]] and _rises(a, b, places):
        return Named("D119", catalogue.get("D119").title, _only(places))
    if all("Cos" in name or "OneCycle" in name for name in types):
        return Named("D68", catalogue.get("D68").title, _only(places))
    if any("Polynomial" in name for name in types) or any("Linear" in name for name in types):
        return Named("D69", catalogue.get("D69").title, _only(places))
    if all(len(np.unique(series)) <= FEW_RATES for series in (a, b)):
        return _of_drops(a, b)
    return Named(None, "The schedules differ")


def _only(places: Array) -> str:
    return f"they differ only at the updates {places[0]} to {places[-1]}"


def _rises(a: Array, b: Array, places: Array) -> bool:
    end = int(places[-1]) + 1
    return any(series[end] > series[0] for series in (a, b))


def _of_drops(a: Array, b: Array) -> Named:
    """Return what differs between two piecewise constant series."""
    drops = [np.flatnonzero(np.abs(np.diff(series)) > 0) + 1 for series in (a, b)]
    if len(drops[0]) == len(drops[1]) and len(drops[0]):
        apart = drops[1] - drops[0]
        if np.all(np.abs(apart) <= 1) and np.any(apart):
            return Named("D97", catalogue.get("D97").title, "the drops are one update apart")
        if not apart.any():
            how = "both drop at the same updates"
            return Named(None, "By what the learning rate drops", how)
    return Named(None, "When the learning rate drops")


def _finding(
    named: Named, a: Array, b: Array, descriptions: tuple[Description, Description]
) -> Finding:
    first = int(np.flatnonzero(differ(a, b))[0])
    evidence = f"first at update {first}: {value_text(float(a[first]))} against "
    evidence += value_text(float(b[first]))
    if named.how:
        evidence += f"; {named.how}"
    return Finding(
        "schedule",
        named.cause,
        named.title,
        values={
            name: _value(description, float(series[first]), first)
            for name, description, series in zip("ab", descriptions, (a, b), strict=True)
        },
        effect={"rate": relative_difference(a, b), "bound": EQUAL},
        fix={
            name: _fix(named, description)
            for name, description in zip("ab", descriptions, strict=True)
        },
        proved=bool(named.how),
        evidence=evidence,
    )


def _value(description: Description, rate: float, update: int) -> str:
    schedule = description.schedule
    name = schedule.type if schedule else "constant rate"
    unit = f", counted by {schedule.unit}" if schedule and schedule.unit else ""
    return f"{name}{unit}: {value_text(rate)} at update {update}"


def _fix(named: Named, description: Description) -> str | None:
    if named.factor > 1 and description.schedule:
        return _other_unit(description, description.schedule, named.factor)
    return catalogue_fix(named.cause, description.framework)


def _other_unit(description: Description, schedule: Component, factor: int) -> str | None:
    if description.framework == "torch":
        if schedule.unit == "epoch":
            return "scheduler.step()  # after each update"
        return "scheduler.step()  # after each epoch"
    for name in ("decay_steps", "first_decay_steps"):
        steps = schedule.settings.get(name)
        if isinstance(steps, (int, float)):
            changed = f"{name}={value_text(steps * factor)}"
            return f"keras.optimizers.schedules.{schedule.type}(..., {changed})"
    return catalogue.get("D67").fix_keras
