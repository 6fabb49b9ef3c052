"""What watches the validation loss: plateau rules and early stopping, on the batch's ``val_loss``.

Both sides live through the same epochs. Their rules are found out from what they did.
"""

from itertools import combinations
from typing import Any

from .. import catalogue
from ..code_lines import value_text
from ..examination import Examination, Result
from ..findings import Acquittal, Finding
from ..observation import Description, Settings
from ..plateaus import (
    Plateau,
    Stopping,
    described_plateau,
    differing,
    found_plateau,
    found_stopping,
    same_rate,
    same_rates,
    taking,
    watching,
)
from ..wording import fix_lines

# The settings of a plateau rule that belong together, and their number in the catalogue.
GROUPS: dict[str, tuple[str | None, tuple[str, ...], str]] = {
    "patience": ("D64", ("wait",), ""),
    "threshold": ("D65", ("threshold", "relative"), ""),
    "cooldown": (None, ("cooldown", "skips_last"), "Cooldown after a cut of the rate"),
    "factor": (None, ("factor",), "Factor by which the rate is cut"),
    "floor": (None, ("floor",), "The smallest rate"),
    "mode": (None, ("maximum",), "Whether smaller or larger is better"),
}

Epochs = dict[str, Any]


def examine(examination: Examination) -> Result:
    """Compare what both sides do at the ends of epochs."""
    losses = examination.batch.get("val_loss")
    descriptions = examination.descriptions
    if losses is None or not any(_watches(each) for each in descriptions):
        return Result()
    series = [float(loss) for loss in losses]
    dtype = examination.dtype
    a = examination.a.epochs(series, dtype)
    b = examination.b.epochs(series, dtype)
    findings: list[Finding] = []
    acquitted: list[Acquittal] = []
    if (a["stopped"], a["restored"]) != (b["stopped"], b["restored"]):
        findings.append(_of_stopping(series, a, b, descriptions))
    epochs = min(len(a["rates"]), len(b["rates"]))
    rates = (a["rates"][:epochs], b["rates"][:epochs])
    if epochs:
        more, innocent = _of_rates(series[:epochs], rates, descriptions)
        findings += more
        acquitted += innocent
    return Result(tuple(findings), tuple(acquitted), 0.0, 0.0)


def _watches(description: Description) -> bool:
    schedule = description.schedule
    plateau = schedule is not None and "Plateau" in schedule.type
    return plateau or bool(description.callbacks)


def _settings(description: Description) -> list[Settings]:
    return [each.settings for each in watching(description)]


def _of_stopping(
    losses: list[float], a: Epochs, b: Epochs, descriptions: tuple[Description, Description]
) -> Finding:
    rules = [
        found_stopping(losses, each["stopped"], _settings(description))
        for each, description in zip((a, b), descriptions, strict=True)
    ]
    evidence = f"on the {len(losses)} given losses"
    cause = "D66" if _is_of_keras_defaults(a, b, descriptions) else None
    title = catalogue.get("D66").title
    fix = fix_lines(cause, descriptions)
    both_stop = a["stopped"] is not None and b["stopped"] is not None
    if both_stop and rules[0] and rules[1] and rules[0].wait != rules[1].wait:
        evidence += f": A waits {rules[0].wait} epochs without progress, B {rules[1].wait}"
        if cause is None:
            title = f"{title}: another number of epochs without progress"
            fix = _stopping_fixes((rules[0], rules[1]), descriptions)
    return Finding(
        "callback",
        cause,
        title,
        values={"a": _epochs_text(a), "b": _epochs_text(b)},
        effect={"epochs": float(abs(_end(a, losses) - _end(b, losses)))},
        fix=fix,
        proved=all(rules),
        evidence=evidence,
    )


def _is_of_keras_defaults(
    a: Epochs, b: Epochs, descriptions: tuple[Description, Description]
) -> bool:
    """Return whether Keras' EarlyStopping has no patience, or only one side restores weights."""
    return a["restored"] != b["restored"] or any(
        each.type == "EarlyStopping" and each.settings.get("patience") == 0
        for description in descriptions
        for each in description.callbacks
        if description.framework == "keras"
    )


def _stopping_fixes(
    rules: tuple[Stopping, Stopping], descriptions: tuple[Description, Description]
) -> dict[str, str | None]:
    """Return for each side the patience with which it waits as long as the other."""
    fixes: dict[str, str | None] = {}
    for side, description, rule, other in zip(
        "ab", descriptions, rules, reversed(rules), strict=True
    ):
        fixes[side] = None
        for each in description.callbacks:
            patience = each.settings.get("patience")
            if isinstance(patience, int) and patience > 0:
                wanted = patience + other.wait - rule.wait
                fixes[side] = f"{each.type}(..., patience={wanted})"
    return fixes


def _end(epochs: Epochs, losses: list[float]) -> int:
    return len(losses) if epochs["stopped"] is None else int(epochs["stopped"])


def _epochs_text(epochs: Epochs) -> str:
    stopped, restored = epochs["stopped"], epochs["restored"]
    text = "does not stop" if stopped is None else f"stops after epoch {stopped}"
    if restored is None:
        return f"{text}, keeps the last weights"
    return f"{text}, keeps the weights of epoch {restored}"


def _of_rates(
    losses: list[float],
    rates: tuple[list[float], list[float]],
    descriptions: tuple[Description, Description],
) -> tuple[list[Finding], list[Acquittal]]:
    equal = same_rates(_scaled(rates[0]), _scaled(rates[1]))
    rules = [
        _rule(losses, series, description)
        for series, description in zip(rates, descriptions, strict=True)
    ]
    if rules[0] is None or rules[1] is None:
        return ([] if equal else [_unknown(losses, rates)]), []
    groups = [
        name
        for name, (_, settings, _) in GROUPS.items()
        if set(settings) & set(differing(rules[0], rules[1]))
    ]
    chosen = [] if equal else _smallest_set(losses, rules[0], rules[1], groups)
    findings = [
        _finding(name, losses, rates, (rules[0], rules[1]), descriptions) for name in chosen
    ]
    acquitted = [
        _acquittal(name, rules[0], rules[1]) for name in groups if equal and GROUPS[name][0]
    ]
    if not equal and not findings:
        findings = [_unknown(losses, rates)]
    return findings, acquitted


def _scaled(rates: list[float]) -> list[float]:
    """Return rates relative to the first: how large it is belongs to another stage."""
    return [rate / rates[0] for rate in rates] if rates and rates[0] else rates


def _first_difference(a: list[float], b: list[float]) -> int:
    """Return the epoch after which two series of rates first differ."""
    pairs = enumerate(zip(a, b, strict=True))
    return next((epoch for epoch, (one, other) in pairs if not same_rate(one, other)), 0)


def _rule(losses: list[float], rates: list[float], description: Description) -> Plateau | None:
    """Return the rule that makes a side's rates."""
    described = described_plateau(description)
    start = _start(rates, description)
    if described and same_rates(described.rates(losses, start), rates):
        return described
    return found_plateau(losses, rates, start, _settings(description))


def _start(rates: list[float], description: Description) -> float:
    """Return the rate before the first epoch."""
    settings = description.optimizer.settings if description.optimizer else {}
    rate = settings.get("lr", settings.get("learning_rate"))
    return float(rate) if isinstance(rate, (int, float)) else rates[0]


def _smallest_set(losses: list[float], a: Plateau, b: Plateau, groups: list[str]) -> list[str]:
    """Return the fewest settings of B's rule that must be A's, to make A's rates."""
    for count in range(1, len(groups) + 1):
        for chosen in combinations(groups, count):
            settings = [each for name in chosen for each in GROUPS[name][1]]
            made = taking(b, a, settings).rates(losses, 1.0)
            if same_rates(_scaled([1.0, *made]), _scaled([1.0, *a.rates(losses, 1.0)])):
                return list(chosen)
    return list(groups)


def _text(rule: Plateau, name: str) -> str:
    if name == "patience":
        return f"cuts the rate after {rule.wait} epochs without progress"
    if name == "threshold":
        kind = "times the best loss" if rule.relative else "absolute"
        return f"progress is more than {value_text(rule.threshold)} {kind}"
    texts = {
        "cooldown": f"cooldown {rule.cooldown}",
        "factor": f"factor {value_text(rule.factor)}",
        "floor": f"not below {value_text(rule.floor)}",
        "mode": "larger is better" if rule.maximum else "smaller is better",
    }
    return texts[name]


def _finding(
    name: str,
    losses: list[float],
    rates: tuple[list[float], list[float]],
    rules: tuple[Plateau, Plateau],
    descriptions: tuple[Description, Description],
) -> Finding:
    cause, settings, title = GROUPS[name]
    first = _first_difference(_scaled(rates[0]), _scaled(rates[1]))
    mended = taking(rules[1], rules[0], settings).rates(losses, 1.0)
    same = sum(same_rate(a, b) for a, b in zip(mended, rules[0].rates(losses, 1.0), strict=True))
    return Finding(
        "callback",
        cause,
        catalogue.get(cause).title if cause else title,
        values={"a": _text(rules[0], name), "b": _text(rules[1], name)},
        effect={"epoch": float(first)},
        fix=_plateau_fixes(name, rules, descriptions),
        proved=True,
        evidence=(
            f"the rates differ first after epoch {first}; both series are reproduced, and with "
            f"this setting of A, B's agree in {same} of {len(mended)} epochs"
        ),
    )


def _plateau_fixes(
    name: str, rules: tuple[Plateau, Plateau], descriptions: tuple[Description, Description]
) -> dict[str, str | None]:
    fixes: dict[str, str | None] = {}
    for side, description, target in zip("ab", descriptions, reversed(rules), strict=True):
        torch = description.framework == "torch"
        start = "torch.optim.lr_scheduler" if torch else "keras.callbacks"
        argument = _argument(name, target, torch=torch)
        fixes[side] = f"{start}.ReduceLROnPlateau(..., {argument})" if argument else None
    return fixes


def _argument(name: str, target: Plateau, *, torch: bool) -> str | None:
    if name == "patience":
        return f"patience={target.wait - 1 if torch else target.wait}"
    if name == "threshold":
        if torch:
            mode = "rel" if target.relative else "abs"
            return f'threshold={value_text(target.threshold)}, threshold_mode="{mode}"'
        if target.relative:
            return f"min_delta={value_text(target.threshold)} * best_loss"
        return f"min_delta={value_text(target.threshold)}"
    arguments = {
        "cooldown": f"cooldown={target.cooldown}",
        "factor": f"factor={value_text(target.factor)}",
        "floor": f"min_lr={value_text(target.floor)}",
        "mode": f'mode="{"max" if target.maximum else "min"}"',
    }
    return arguments[name]


def _acquittal(name: str, a: Plateau, b: Plateau) -> Acquittal:
    cause = GROUPS[name][0]
    assert cause
    return Acquittal(
        "callback",
        cause,
        catalogue.get(cause).title,
        f"A: {_text(a, name)}; B: {_text(b, name)}; the rates on the given losses are equal",
    )


def _unknown(losses: list[float], rates: tuple[list[float], list[float]]) -> Finding:
    first = _first_difference(*rates)
    return Finding(
        "callback",
        None,
        "The rates after an epoch differ",
        values={
            "a": f"{value_text(rates[0][first])} after epoch {first}",
            "b": f"{value_text(rates[1][first])} after epoch {first}",
        },
        evidence=f"on the {len(losses)} given losses; the rules are not known",
    )
