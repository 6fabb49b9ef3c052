"""The losses: value, and gradient at the last layer with weights.

Both sides are compared on the same values of that layer, whatever follows it: one may return
logits and the other probabilities, if each has the loss that fits. Where they differ, the formula
of each is found out from its value and its gradient.
"""

from dataclasses import replace

import numpy as np

from .. import catalogue
from ..bounds import FEWEST_UNITS, PRECISION, UNIT_ROUNDOFF, relative_difference
from ..examination import Examination, Result
from ..findings import Acquittal, Finding
from ..frameworks.adapter import ModelError
from ..loss_differences import differences_of, relative, same_poisson
from ..loss_ends import (
    HEADS,
    NO_NUMBERS,
    Head,
    are_numbers,
    clipping_cause,
    evidence_of,
    expected_families,
    explain_end,
    finding_of,
    fix_of,
    gradient_difference,
    gradients_of,
    of_penalties,
    only_outputs,
    tail_of,
    unknown_formula,
)
from ..losses import FITS
from ..losses_of_outputs import of_outputs
from ..observation import Arrays, outputs_of
from ..places import as_output
from ..wording import fix_lines

# By how much the sum of probabilities may differ from 1.
SUM_OF_PROBABILITIES = 1e-4


def examine(examination: Examination) -> Result:
    """Compare the losses."""
    if not examination.has("loss") or not examination.targets:
        return Result()
    trained = (examination.a_training, examination.b_training)
    if all(len(outputs_of(each.arrays)) > 1 for each in trained):
        return of_outputs(examination)
    return _of_one_output(examination)


def _of_one_output(examination: Examination) -> Result:
    """Compare the losses of models of which at least one has a single output."""
    a, b = _heads(examination)
    if a is None or b is None:
        return Result()
    if not are_numbers(a, b):
        return Result(missing=NO_NUMBERS)
    value = relative(a.value, b.value)
    gradient = gradient_difference(a, b)
    unit = UNIT_ROUNDOFF[examination.dtype]
    bound = max(PRECISION, FEWEST_UNITS * unit)
    if value <= bound and gradient <= bound:
        return Result(largest=max(value, gradient), bound=bound)
    effect = {"loss": value, "gradient": gradient, "bound": bound}
    if gradient <= bound and relative(a.value + a.penalty, b.value + b.penalty) <= bound:
        return Result((), (of_penalties(a, b),), gradient, bound)
    at_zero = _norm_at_zero(examination, a, b, bound) if value <= bound else None
    if at_zero is not None:
        return Result((at_zero,), (), value, bound)
    target = next(iter(examination.targets.values()))
    explained = [
        explain_end(examination, head, family, target)
        for head, family in zip((a, b), expected_families(examination), strict=True)
    ]
    if same_poisson(*explained) and max(value, gradient) <= FITS[examination.dtype]:
        return Result((), (_of_epsilon(a, b),), 0.0, bound)
    if not _is_of_loss(examination, a, b, bound):
        return Result(largest=0.0, bound=bound)
    named = differences_of(
        explained[0], explained[1], (a.value, b.value), clipping_cause(examination.descriptions)
    )
    if not named:
        return Result((unknown_formula(effect, explained),), (), 0.0, bound)
    evidence = evidence_of(explained, (a.value, b.value))
    fixes = [fix_of(examination, each, a, b, explained) for each in named]
    findings = [
        finding_of(each, effect, fix, evidence) for each, fix in zip(named, fixes, strict=True)
    ]
    return Result(tuple(findings), (), 0.0, bound)


def _heads(examination: Examination) -> tuple[Head | None, Head | None]:
    a_arrays = examination.a_training.arrays
    b_arrays = examination.b_training.arrays
    forced: Arrays = {}
    place = ""
    called = examination.alignment.called
    if called:
        forced = examination.alignment.forced(examination.a_training)
        place = f"{called[-1].b_calls[-1]}/output"
    a = _head(a_arrays, forced, place)
    b = _head(b_arrays, {**b_arrays, **only_outputs(forced)}, place)
    if not examination.whole or a is None or b is None:
        return a, b
    if examination.results["forward"].findings:
        b = _with_outputs(examination, a, b)
    return _with_scores(a), _with_scores(b)


def _with_outputs(examination: Examination, a: Head, b: Head) -> Head:
    """Return the end of B with A's outputs, where B's own differ."""
    output = as_output(a.output, b.output.shape)
    made = examination.b.loss({"output": output}, examination.targets, examination.dtype)
    return Head(float(made["loss"]), b.penalty, None, None, output, made.get("output_gradient"))


def _with_scores(head: Head) -> Head:
    """Return the end of a network whose last layer is not seen, with the scores before its end.

    Probabilities are taken for those of the scores that are their logarithms, or their logits.
    """
    p, slope = head.output, head.output_gradient
    if not np.issubdtype(p.dtype, np.floating) or np.any(p < 0) or np.any(p > 1):
        return replace(head, last=p, gradient=slope)
    if p.shape[-1] > 1 and np.abs(p.sum(-1) - 1).max() < SUM_OF_PROBABILITIES:
        gradient = None if slope is None else p * (slope - (p * slope).sum(-1, keepdims=True))
        return replace(head, last=np.log(np.maximum(p, np.finfo(p.dtype).tiny)), gradient=gradient)
    if np.any(p == 0) or np.any(p == 1):
        return replace(head, last=p, gradient=slope)
    gradient = None if slope is None else p * (1 - p) * slope
    return replace(head, last=np.log(p) - np.log1p(-p), gradient=gradient)


def _head(arrays: Arrays, at_layers: Arrays, place: str) -> Head | None:
    if "loss" not in arrays or "output" not in arrays:
        return None
    return Head(
        float(arrays["loss"]),
        float(arrays.get("penalty", 0.0)),
        at_layers.get(place),
        at_layers.get(f"{place}_gradient"),
        arrays["output"],
        arrays.get("output_gradient"),
    )


def _norm_at_zero(examination: Examination, a: Head, b: Head, bound: float) -> Finding | None:
    """Return the finding that one gradient is not a number where the other is 0, if it is so.

    A norm is defined at 0, and its gradient is not: some frameworks return 0, others NaN.
    """
    both = gradients_of(a, b)
    if both is None or both[0].shape != both[1].shape:
        return None
    lost = [np.isnan(each) for each in both]
    if lost[0].any() == lost[1].any():
        return None
    faulty = "a" if lost[0].any() else "b"
    where = lost[0] | lost[1]
    other = both[1] if faulty == "a" else both[0]
    rest = [np.where(where, 0.0, each) for each in both]
    if other[where].any() or relative_difference(*rest) > bound:
        return None
    lines = fix_lines("D31", examination.descriptions)
    return Finding(
        "gradient",
        "D31",
        catalogue.get("D31").title,
        values={"a": "NaN", "b": 0} if faulty == "a" else {"a": 0, "b": "NaN"},
        effect={"gradient": float("inf"), "bound": bound},
        fix={side: line if side == faulty else None for side, line in lines.items()},
        evidence=f"the losses agree, and so do their gradients but for {where.sum()} values",
    )


def _is_of_loss(examination: Examination, a: Head, b: Head, bound: float) -> bool:
    """Return whether the losses differ, and not what the models return."""
    tails = [tail_of(each, examination.dtype) for each in (a, b)]
    if set(tails) <= HEADS or tails[0] == tails[1] != "unknown":
        return True
    try:
        of_b = examination.b.loss({"output": a.output}, examination.targets, examination.dtype)
    except ModelError:
        return True
    same_value = relative(a.value, float(of_b["loss"])) <= bound
    slope = of_b.get("output_gradient")
    if a.output_gradient is None or slope is None:
        return not same_value
    return not (same_value and relative_difference(a.output_gradient, slope) <= bound)


def _of_epsilon(a: Head, b: Head) -> Acquittal:
    return Acquittal(
        "loss",
        None,
        "One side adds a small constant before it takes a logarithm",
        f"Poisson loss {a.value:.9g} against {b.value:.9g}, of the same rates",
    )
