"""The metrics, on the outputs of side A, each in its own form.

Targets are permuted, too: two metrics that agree by chance on one batch do not on several.
"""

import numpy as np
from scipy.special import expit

from .. import catalogue
from ..bounds import relative_difference
from ..code_lines import value_text
from ..examination import Examination, Result, Side
from ..findings import Finding
from ..frameworks.adapter import ModelError
from ..metrics import Formula, identify
from ..observation import Arrays, Description, outputs_of
from ..wording import fix_lines

# Metrics are often kept in float32, and means over batches are rounded again.
EQUAL = 1e-5
PERMUTATIONS = 3

# The range in which outputs that are not negative are spread.
SMALLEST_PROBABILITY = 0.05
LARGEST_PROBABILITY = 0.95


def examine(examination: Examination) -> Result:
    """Compare the metrics."""
    if not examination.has("metric") or not examination.targets:
        return Result()
    a_outputs = outputs_of(examination.a_evaluation.arrays)
    b_outputs = outputs_of(examination.b_evaluation.arrays)
    targets = [examination.targets, *_permuted(examination.targets)]
    result = _compared(examination, a_outputs, b_outputs, targets)
    spread = _spread(a_outputs, b_outputs)
    if result.findings or spread is None:
        return result
    try:
        again = _compared(examination, *spread, targets)
    except ModelError:  # a recording knows the metric of its own outputs only
        return result
    return again if again.findings else result


def _compared(
    examination: Examination, a_outputs: Arrays, b_outputs: Arrays, targets: list[Arrays]
) -> Result:
    """Compare the metrics of given outputs."""
    a_values, b_values = _values(examination, a_outputs, b_outputs, targets)
    differences = [abs(a - b) for a, b in zip(a_values, b_values, strict=True)]
    size = max(1.0, *(abs(value) for value in (*a_values, *b_values)))
    worst = max(differences) / size
    if worst <= EQUAL:
        return Result(largest=worst, bound=EQUAL)
    return Result((_finding(examination, a_outputs, b_outputs, targets, a_values, b_values),))


def _spread(a_outputs: Arrays, b_outputs: Arrays) -> tuple[Arrays, Arrays] | None:
    """Return outputs that lie on both sides of every usual threshold.

    A new model may return numbers between which two thresholds make no difference. None is returned
    unless both sides return the same single number for each sample.
    """
    if len(a_outputs) != 1 or len(b_outputs) != 1:
        return None
    ((a_name, a),) = a_outputs.items()
    ((b_name, b),) = b_outputs.items()
    if a.shape[:1] != (a.size,) or a.size != b.size or np.ptp(a) == 0:
        return None
    if relative_difference(a.ravel(), b.ravel()) > EQUAL:
        return None
    shift, scale = a.mean(), a.std()
    if a.min() >= 0:  # perhaps probabilities, which must not become 0 or 1
        scale = np.ptp(a) / (LARGEST_PROBABILITY - SMALLEST_PROBABILITY)
        shift = a.min() - SMALLEST_PROBABILITY * scale
    return {a_name: (a - shift) / scale}, {b_name: (b - shift) / scale}


def _permuted(targets: Arrays) -> list[Arrays]:
    """Return the targets in other orders."""
    generator = np.random.default_rng(0)
    count = len(next(iter(targets.values())))
    orders = [generator.permutation(count) for _ in range(PERMUTATIONS)]
    return [{name: array[order] for name, array in targets.items()} for order in orders]


def _values(
    examination: Examination, a_outputs: Arrays, b_outputs: Arrays, targets: list[Arrays]
) -> tuple[list[float], list[float]]:
    """Return both metrics, of as many targets as side A answers: a recording has the first."""
    a_values: list[float] = []
    b_values: list[float] = []
    for each in targets:
        try:
            a_values.append(_metric(examination.a, a_outputs, each, examination.dtype))
        except ModelError:
            if not a_values:
                raise
            break
        b_values.append(_metric(examination.b, b_outputs, each, examination.dtype))
    return a_values, b_values


def _metric(side: Side, outputs: Arrays, targets: Arrays, dtype: str) -> float:
    """Return a side's metric; some operations of TensorFlow do not exist in float64."""
    try:
        return side.metric(outputs, targets, dtype)
    except ModelError:
        return side.metric(_single(outputs), _single(targets), "native")


def _single(arrays: Arrays) -> Arrays:
    """Return arrays with float32 in place of float64."""
    return {
        name: array.astype(np.float32) if array.dtype == np.float64 else array
        for name, array in arrays.items()
    }


def _finding(
    examination: Examination,
    a_outputs: Arrays,
    b_outputs: Arrays,
    targets: list[Arrays],
    a_values: list[float],
    b_values: list[float],
) -> Finding:
    descriptions = examination.descriptions
    settings = [each.metric.settings for each in descriptions if each.metric]
    size = next((each.batch_size for each in descriptions if each.batch_size), None)
    arrays = [next(iter(each.values())) for each in targets[: len(a_values)]]
    known = [
        identify(next(iter(outputs.values())), arrays, values, settings, size, EQUAL)
        for outputs, values in ((a_outputs, a_values), (b_outputs, b_values))
    ]
    a, b = _most_alike(known[0], known[1])
    of_logits = _side_of_logits(a, b, a_outputs, b_outputs)
    if of_logits:
        cause, title = "D84", catalogue.get("D84").title
        fix = {"a": None, "b": None} | {of_logits: _logits_fix(descriptions["ab".index(of_logits)])}
    else:
        cause, title = _cause(a, b, a_outputs, b_outputs)
        fix = _fixes(cause, a, b, descriptions)
    proved = a is not None and b is not None
    texts = [each.name if each else "unknown formula" for each in (a, b)]
    return Finding(
        "metric",
        cause,
        title,
        values={
            "a": f"{value_text(a_values[0])}: {texts[0]}",
            "b": f"{value_text(b_values[0])}: {texts[1]}",
        },
        effect={"metric": abs(a_values[0] - b_values[0]), "bound": EQUAL},
        fix=fix,
        proved=proved,
        evidence=(
            f"the formulas make the values of both sides for {len(a_values)} orders of the targets"
            if proved
            else f"{len(a_values)} orders of the targets were tried"
        ),
    )


def _most_alike(a: list[Formula], b: list[Formula]) -> tuple[Formula | None, Formula | None]:
    """Return the formulas of both sides that have most in common."""
    for one in a:
        for other in b:
            if one.kind == other.kind:
                return one, other
    return (a[0] if a else None), (b[0] if b else None)


def _cause(
    a: Formula | None, b: Formula | None, a_outputs: Arrays, b_outputs: Arrays
) -> tuple[str | None, str]:
    if a is None or b is None:
        return None, "The metrics differ on the same outputs"
    if a.batches != b.batches:
        return "D82", catalogue.get("D82").title
    if a.threshold is not None and b.threshold is not None and a.threshold != b.threshold:
        # A threshold of 0 is meant for logits: it is below every probability.
        of_logits = 0 in (a.threshold, b.threshold)
        if of_logits or _are_logits(a_outputs) or _are_logits(b_outputs):
            return "D84", catalogue.get("D84").title
        return None, "Threshold of the metric"
    if a.kind == b.kind == "area":
        return "D114", catalogue.get("D114").title
    if a.kind != b.kind:
        return None, f"Another metric: {a.name} against {b.name}"
    return None, f"Another convention of {a.kind}: {a.name} against {b.name}"


def _side_of_logits(
    a: Formula | None, b: Formula | None, a_outputs: Arrays, b_outputs: Arrays
) -> str:
    """Return the side that compares logits with the threshold of probabilities, if one does.

    The other side has the same threshold, and its outputs are the probabilities of these logits.
    """
    if a is None or b is None or not a.threshold or a.threshold != b.threshold:
        return ""
    first, second = next(iter(a_outputs.values())), next(iter(b_outputs.values()))
    if first.size != second.size:
        return ""
    for side, logits, others in (("a", first, second), ("b", second, first)):
        if relative_difference(expit(logits.ravel()), others.ravel()) <= EQUAL:
            return side
    return ""


def _logits_fix(description: Description) -> str | None:
    metric = description.metric
    if description.framework == "keras" and metric:
        return f"keras.metrics.{metric.type}(threshold=0.0)"
    return catalogue.get("D84").fix_torch


def _are_logits(outputs: Arrays) -> bool:
    """Return whether outputs cannot be probabilities."""
    output = next(iter(outputs.values()))
    return bool(np.any(output < 0) or np.any(output > 1))


def _fixes(
    cause: str | None,
    a: Formula | None,
    b: Formula | None,
    descriptions: tuple[Description, Description],
) -> dict[str, str | None]:
    if cause != "D84":
        return fix_lines(cause, descriptions)
    return {
        "a": _threshold_fix(descriptions[0], a, b),
        "b": _threshold_fix(descriptions[1], b, a),
    }


def _threshold_fix(
    description: Description, own: Formula | None, target: Formula | None
) -> str | None:
    """Return the fix of the side that has the threshold of probabilities."""
    if not own or not target or not own.threshold or target.threshold is None:
        return None
    metric = description.metric
    if description.framework == "keras" and metric:
        return f"keras.metrics.{metric.type}(threshold={value_text(target.threshold)})"
    return catalogue.get("D84").fix_torch
