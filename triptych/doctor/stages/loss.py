"""The losses: value, and gradient at the last layer with weights.

Both sides are compared on the same values of that layer, whatever follows it: one may return
logits and the other probabilities, if each has the loss that fits. Where they differ, the formula
of each is found out from its value and its gradient.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import permutations

import numpy as np

from .. import catalogue
from ..bounds import FEWEST_UNITS, PRECISION, UNIT_ROUNDOFF, relative_difference
from ..code_lines import value_text
from ..examination import Examination, Pair, Result
from ..findings import Acquittal, Finding
from ..frameworks.adapter import ModelError
from ..loss_lines import (
    binary_line,
    counting_line,
    ignoring_line,
    logarithm_line,
    weight_line,
)
from ..losses import CLIP, FITS, Explained, explain, tail_between
from ..observation import Array, Arrays, Component, Description, numbers_of, outputs_of
from ..places import as_output
from ..wording import fix_lines

# Tails that turn logits into what another loss expects.
HEADS = frozenset({"identity", "softmax", "log_softmax", "sigmoid"})
NO_NUMBERS = "B's outputs are not numbers where A's are"
FACTOR = "A factor"
WEIGHT = "Weight of its loss"
LONGEST_WEIGHT = 5  # characters of a weight that users write
DIVISOR = "What the sum of the losses is divided by"
# Ratios that a user's formula may have.
FACTORS = (2.0, 0.5)
# By how much the sum of probabilities may differ from 1.
SUM_OF_PROBABILITIES = 1e-4
ALIKE = 1e-4
# What the width of Huber's loss is called.
WIDTHS = ("delta", "beta")
# What the frameworks call Huber's loss.
HUBERS = frozenset({"HuberLoss", "SmoothL1Loss", "huber_loss", "smooth_l1_loss", "Huber", "huber"})


@dataclass(frozen=True)
class Head:
    """One side at the end of its network.

    Attributes
    ----------
    value : float
        The loss without penalties.
    penalty : float
        The penalties.
    last, gradient : ndarray or None
        What the last layer with weights returns, and the gradient there.
    output, output_gradient : ndarray or None
        The model's output, and the gradient there.
    """

    value: float
    penalty: float
    last: Array | None
    gradient: Array | None
    output: Array
    output_gradient: Array | None


@dataclass(frozen=True)
class Named:
    """A difference of two losses.

    Attributes
    ----------
    cause : str or None
        The id in the catalogue.
    title : str
        What differs.
    values : tuple of str
        What A and B do.
    faulty : str
        ``a``, ``b``, or empty if either may be meant.
    binary : bool
        Whether a loss of two classes is meant, where the catalogue has several classes.
    label : int or None
        The label that only one side ignores.
    ignoring : str
        ``a`` or ``b``: the side that ignores it.
    """

    cause: str | None
    title: str
    values: tuple[str, str]
    faulty: str = ""
    binary: bool = False
    label: int | None = None
    ignoring: str = ""


def examine(examination: Examination) -> Result:
    """Compare the losses."""
    if not examination.has("loss") or not examination.targets:
        return Result()
    trained = (examination.a_training, examination.b_training)
    if all(len(outputs_of(each.arrays)) > 1 for each in trained):
        return _of_outputs(examination)
    return _of_one_output(examination)


def _of_one_output(examination: Examination) -> Result:
    """Compare the losses of models of which at least one has a single output."""
    a, b = _heads(examination)
    if a is None or b is None:
        return Result()
    if not _are_numbers(a, b):
        return Result(missing=NO_NUMBERS)
    value = _relative(a.value, b.value)
    gradient = _gradient_difference(a, b)
    unit = UNIT_ROUNDOFF[examination.dtype]
    bound = max(PRECISION, FEWEST_UNITS * unit)
    if value <= bound and gradient <= bound:
        return Result(largest=max(value, gradient), bound=bound)
    effect = {"loss": value, "gradient": gradient, "bound": bound}
    if gradient <= bound and _relative(a.value + a.penalty, b.value + b.penalty) <= bound:
        return Result((), (_of_penalties(a, b),), gradient, bound)
    at_zero = _norm_at_zero(examination, a, b, bound) if value <= bound else None
    if at_zero is not None:
        return Result((at_zero,), (), value, bound)
    target = next(iter(examination.targets.values()))
    explained = [
        _explained(examination, head, family, target)
        for head, family in zip((a, b), _expected(examination), strict=True)
    ]
    if _same_poisson(*explained) and max(value, gradient) <= FITS[examination.dtype]:
        return Result((), (_of_epsilon(a, b),), 0.0, bound)
    if not _is_of_loss(examination, a, b, bound):
        return Result(largest=0.0, bound=bound)
    named = _named(explained[0], explained[1], a, b, _clipping_cause(examination.descriptions))
    if not named:
        return Result((_unknown(effect, explained),), (), 0.0, bound)
    evidence = _evidence(explained, (a.value, b.value))
    fixes = [_fix(examination, each, a, b, explained) for each in named]
    findings = [
        _finding(each, effect, fix, evidence) for each, fix in zip(named, fixes, strict=True)
    ]
    return Result(tuple(findings), (), 0.0, bound)


def _are_numbers(a: Head, b: Head) -> bool:
    """Return whether B's outputs are numbers if A's are.

    Raises
    ------
    ModelError
        If A's are not.
    """
    if np.isnan(a.output).any():
        raise ModelError("A's outputs are not numbers")
    return bool(np.isfinite(b.output).all()) or not np.isfinite(a.output).all()


# Losses of several outputs: each is explained by its gradient alone, because only the sum of the
# losses is known.


@dataclass(frozen=True)
class End:
    """One of several outputs of both sides.

    Attributes
    ----------
    number : int
        Its place among A's outputs, from 1.
    pair : Pair or None
        The last layer with weights before it, if it is known.
    a, b : Head
        Both sides there; their value is that of the whole loss.
    """

    number: int
    pair: Pair | None
    a: Head
    b: Head

    def difference(self) -> float:
        """Return how far the gradients differ."""
        return _gradient_difference(self.a, self.b)


def _of_outputs(examination: Examination) -> Result:
    """Compare the losses of models with several outputs."""
    ends = list(_ends(examination))
    bound = max(PRECISION, FEWEST_UNITS * UNIT_ROUNDOFF[examination.dtype])
    if not ends or "loss" not in examination.b_training.arrays:
        return Result()
    if not all(_are_numbers(end.a, end.b) for end in ends):
        return Result(missing=NO_NUMBERS)
    a, b = ends[0].a, ends[0].b
    value = _relative(a.value, b.value)
    gradient = max(end.difference() for end in ends)
    if value <= bound and gradient <= bound:
        return Result(largest=max(value, gradient), bound=bound)
    if gradient <= bound and _relative(a.value + a.penalty, b.value + b.penalty) <= bound:
        return Result((), (_of_penalties(a, b),), gradient, bound)
    effect = {"loss": value, "gradient": gradient, "bound": bound}
    findings: list[Finding] = []
    if gradient <= bound:
        title = "The losses differ by a constant"
        values = dict(zip("ab", _constants(a, b), strict=True))
        findings.append(Finding("loss", None, title, values=values, effect=effect))
    for end in ends:
        if end.difference() > bound:
            findings += _of_end(examination, end, effect | {"gradient": end.difference()}, bound)
    return Result(tuple(findings), (), 0.0, bound)


def _ends(examination: Examination) -> Iterator[End]:
    """Yield the outputs that both sides have."""
    alignment = examination.alignment
    a_arrays, b_arrays = examination.a_training.arrays, examination.b_training.arrays
    forced = alignment.forced(examination.a_training)
    at_b = {**b_arrays, **_outputs(forced)}
    for number, name in enumerate(outputs_of(a_arrays), 1):
        other = alignment.outputs.get(name, name)
        if "loss" not in a_arrays or other not in b_arrays:
            continue
        pair, place = _last_before(examination, a_arrays[name], forced)
        a = _end_of(a_arrays, name, forced, place)
        b = _end_of(b_arrays, other, at_b, place)
        slopes = (a.output_gradient, b.output_gradient)
        same = relative_difference(as_output(a.output, b.output.shape), b.output) <= ALIKE
        if same and all(each is not None for each in slopes):
            a, b = (replace(each, last=None, gradient=None) for each in (a, b))
        yield End(number, pair, a, b)


def _last_before(
    examination: Examination, output: Array, forced: Arrays
) -> tuple[Pair | None, str]:
    """Return the layer of whose result a known function makes an output, with B's name of it."""
    for pair in reversed(examination.alignment.called):
        place = f"{pair.b_calls[-1]}/output"
        if place in forced and tail_between(forced[place], output, examination.dtype):
            return pair, place
    return None, ""


def _end_of(arrays: Arrays, output: str, at_layers: Arrays, place: str) -> Head:
    return Head(
        float(arrays["loss"]),
        float(arrays.get("penalty", 0.0)),
        at_layers.get(place),
        at_layers.get(f"{place}_gradient"),
        arrays[output],
        arrays.get(f"{output}_gradient"),
    )


def _of_end(
    examination: Examination, end: End, effect: dict[str, float], bound: float
) -> list[Finding]:
    """Return in what the losses of one output differ."""
    a, b = end.a, end.b
    if not _outputs_fit(a, b, examination.dtype):
        return []
    layer = end.pair.paths if end.pair else {"a": None, "b": None}
    counted = _counted(a, b)
    if counted is not None:
        explained: list[Explained | None] = []
        named = [counted]
    else:
        one, other = explained = _both_explained(examination, end)
        named = _named(one, other, a, b, _clipping_cause(examination.descriptions))
        named = [_weighted(each, one, other) for each in named]
    if not named:
        unknown = _unknown(effect, explained)
        return [replace(unknown, title=f"output {end.number}: {unknown.title}", layer=layer)]
    evidence = _evidence(explained) or "the gradient of the loss at this output"
    findings = [
        _finding(each, effect, _fix_of_end(examination, end, each, explained), evidence)
        for each in named
    ]
    return [
        replace(each, title=f"output {end.number}: {each.title}", layer=layer) for each in findings
    ]


def _fix_of_end(
    examination: Examination, end: End, named: Named, explained: list[Explained | None]
) -> dict[str, str | None]:
    """Return a line for either side, or None."""
    if named.title != WEIGHT:
        return _fix(examination, named, end.a, end.b, explained)
    wanted = zip(examination.descriptions, reversed(named.values), strict=True)
    lines = [weight_line(each.framework, end.number, weight, each.loss) for each, weight in wanted]
    return dict(zip("ab", lines, strict=True))


def _outputs_fit(a: Head, b: Head, dtype: str) -> bool:
    """Return whether the outputs agree, or are known functions of the same scores."""
    if a.last is None:
        return relative_difference(as_output(a.output, b.output.shape), b.output) <= ALIKE
    tails = [_tail(each, dtype) for each in (a, b)]
    return set(tails) <= HEADS or tails[0] == tails[1] != "unknown"


def _counted(a: Head, b: Head) -> Named | None:
    """Return that the loss of an output counts on one side only, if it is so."""
    both = _gradients(a, b)
    used = [bool(each.any()) for each in both or ()]
    if len(used) < 2 or used[0] == used[1]:
        return None
    words = tuple("counts" if each else "does not count" for each in used)
    return Named(None, "One side has no loss of it", (words[0], words[1]))


def _both_explained(examination: Examination, end: End) -> list[Explained | None]:
    """Return the formulas of both sides, of the target that explains the most."""
    targets = list(examination.targets.values())
    own = targets[end.number - 1 : end.number]
    best: list[Explained | None] = [None, None]
    for target in [*own, *targets]:
        found = [
            _explained(examination, replace(head, value=float("nan")), family, target)
            for head, family in zip((end.a, end.b), _expected(examination), strict=True)
        ]
        if sum(each is not None for each in found) > sum(each is not None for each in best):
            best = found
    return best


def _weighted(named: Named, one: Explained | None, other: Explained | None) -> Named:
    """Return a difference; that of a factor which no reduction has is one of weights."""
    if named.title != DIVISOR and not named.title.startswith(FACTOR):
        return named
    if one is None or other is None or one.scale is None or other.scale is None:
        return named
    known = [value for value, _ in _scales_of_reductions(one)]
    ratio = other.scale / one.scale
    reductions = [first / second for first, second in permutations(known, 2) if first != second]
    if any(abs(ratio - each) < ALIKE * each for each in reductions):
        return named
    # The mean over the samples of class losses, over all elements of others, if the weights are
    # numbers that users write then.
    means = known[1:3] if one.rows.classes else known[2:0:-1]
    written = [
        (value_text(one.scale / each), value_text(other.scale / each))
        for each in (*means, known[0], known[3])
    ]
    usual = next((pair for pair in written if max(map(len, pair)) <= LONGEST_WEIGHT), written[0])
    return Named(None, WEIGHT, usual)


def _relative(one: float, other: float) -> float:
    size = max(abs(one), abs(other))
    return abs(one - other) / size if size else 0.0


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
    b = _head(b_arrays, {**b_arrays, **_outputs(forced)}, place)
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


def _outputs(forced: Arrays) -> Arrays:
    return {name: array for name, array in forced.items() if name.endswith("/output")}


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


def _gradients(a: Head, b: Head) -> tuple[Array, Array] | None:
    """Return the gradients of both losses at the last layer, or else at the outputs.

    They have A's shape if they have as many values.
    """
    for first, second in ((a.gradient, b.gradient), (a.output_gradient, b.output_gradient)):
        if first is not None and second is not None:
            fits = first.size == second.size
            return first, second.reshape(first.shape) if fits else second
    return None


def _gradient_difference(a: Head, b: Head) -> float:
    both = _gradients(a, b)
    return 0.0 if both is None else relative_difference(*both)


def _norm_at_zero(examination: Examination, a: Head, b: Head, bound: float) -> Finding | None:
    """Return the finding that one gradient is not a number where the other is 0, if it is so.

    A norm is defined at 0, and its gradient is not: some frameworks return 0, others NaN.
    """
    both = _gradients(a, b)
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


def _expected(examination: Examination) -> list[str]:
    """Return the family of formulas that each side's loss is expected to be of, or empty.

    Where all differences are small, Huber's loss is half of the squared error. A loss that has its
    name or a width is Huber's, and so may be the one that the user wrote for the other side.
    """
    losses = [each.loss for each in examination.descriptions]
    are_huber = [bool(each and _is_huber(each)) for each in losses]
    families: list[str] = []
    for each, is_huber, other_is in zip(losses, are_huber, reversed(are_huber), strict=True):
        may_be = other_is and (each is None or bool(each.source))
        families.append("Huber" if is_huber or may_be else "")
    return families


def _is_huber(loss: Component) -> bool:
    """Return whether a loss is Huber's by its name or its settings; Keras does not tell a width."""
    return loss.type in HUBERS or bool(numbers_of([loss.settings], WIDTHS))


def _explained(
    examination: Examination, head: Head, expected: str, target: Array
) -> Explained | None:
    settings = [each.loss.settings for each in examination.descriptions if each.loss]
    last = head.output if head.last is None else head.last
    gradient = head.output_gradient if head.last is None else head.gradient
    return explain(
        last,
        head.output,
        gradient,
        head.output_gradient,
        target,
        head.value,
        settings,
        examination.dtype,
        expected,
    )


def _is_of_loss(examination: Examination, a: Head, b: Head, bound: float) -> bool:
    """Return whether the losses differ, and not what the models return."""
    tails = [_tail(each, examination.dtype) for each in (a, b)]
    if set(tails) <= HEADS or tails[0] == tails[1] != "unknown":
        return True
    try:
        of_b = examination.b.loss({"output": a.output}, examination.targets, examination.dtype)
    except ModelError:
        return True
    same_value = _relative(a.value, float(of_b["loss"])) <= bound
    slope = of_b.get("output_gradient")
    if a.output_gradient is None or slope is None:
        return not same_value
    return not (same_value and relative_difference(a.output_gradient, slope) <= bound)


def _tail(head: Head, dtype: str) -> str:
    tail = None if head.last is None else tail_between(head.last, head.output, dtype)
    return tail.name if tail else "unknown"


def _of_penalties(a: Head, b: Head) -> Acquittal:
    return Acquittal(
        "loss",
        "D115",
        "One side counts its penalty as a part of the loss",
        f"loss {a.value:.6g} against {b.value:.6g}; with penalties {a.value + a.penalty:.6g} "
        f"against {b.value + b.penalty:.6g}, and the gradients agree",
    )


def _same_poisson(one: Explained | None, other: Explained | None) -> bool:
    """Return whether two Poisson losses differ only in where the exponential is."""
    if one is None or other is None:
        return False
    if not one.formula.family == other.formula.family == "Poisson":
        return False
    return one.formula.reads != other.formula.reads and _rate(one) == _rate(other)


def _rate(each: Explained) -> str:
    """Return what a Poisson loss takes for the rate: a function of the last layer's output."""
    if each.formula.reads != "logarithms":
        return each.tail
    return "exp" if each.tail == "identity" else f"exp of {each.tail}"


def _of_epsilon(a: Head, b: Head) -> Acquittal:
    return Acquittal(
        "loss",
        None,
        "One side adds a small constant before it takes a logarithm",
        f"Poisson loss {a.value:.9g} against {b.value:.9g}, of the same rates",
    )


def _unknown(effect: dict[str, float], explained: list[Explained | None]) -> Finding:
    values = [_text(each) if each else "unknown formula" for each in explained]
    return Finding(
        "loss",
        None,
        "The losses differ on the same outputs",
        values={"a": values[0], "b": values[1]},
        effect=effect,
        evidence="no known formula makes both values and gradients",
    )


def _evidence(
    explained: Sequence[Explained | None], values: tuple[float, float] | None = None
) -> str:
    """Return which formulas explain what; the values of the losses if they are known."""
    texts: list[str] = []
    for place, each in enumerate(explained):
        if each:
            what = "gradient is that"
            if values is not None:
                what = f"loss {values[place]:.6g} and gradient are those"
            texts.append(f"{'AB'[place]}'s {what} of {_text(each)}")
    return "; ".join(texts)


def _finding(
    named: Named, effect: dict[str, float], fix: dict[str, str | None], evidence: str
) -> Finding:
    return Finding(
        "loss",
        named.cause,
        named.title,
        values={"a": named.values[0], "b": named.values[1]},
        effect=effect,
        fix={side: line if named.faulty in ("", side) else None for side, line in fix.items()},
        proved=True,
        evidence=evidence,
    )


# Lines of code that make either side agree with the other.


def _fix(
    examination: Examination, named: Named, a: Head, b: Head, explained: list[Explained | None]
) -> dict[str, str | None]:
    """Return a line for either side, or None."""
    frameworks = [each.framework for each in examination.descriptions]
    families = {each.formula.family if each else "" for each in explained}
    if named.cause in ("D45", None) and families == {"Huber"}:
        wanted = reversed(explained)
        lines = [
            _huber_line(framework, each) if each else None
            for framework, each in zip(frameworks, wanted, strict=True)
        ]
        return dict(zip("ab", lines, strict=True))
    if named.cause == "D45" and families == {"cosine"}:
        form = "1 - cos" if b.value > a.value else "-cos"
        other = "-cos" if form == "1 - cos" else "1 - cos"
        return {
            "a": COSINES.get((frameworks[0], form)),
            "b": COSINES.get((frameworks[1], other)),
        }
    return _lines(named, examination.descriptions)


def _lines(named: Named, descriptions: tuple[Description, Description]) -> dict[str, str | None]:
    """Return a line for either side: the catalogue's, or one that fits this loss."""
    lines = fix_lines(named.cause, descriptions)
    for side, description in zip("ab", descriptions, strict=True):
        framework = description.framework
        if named.title == WITHOUT_LOGARITHM:
            lines[side] = logarithm_line(framework, binary=named.binary)
        if named.binary:
            lines[side] = binary_line(named.cause, framework) or lines[side]
        if named.label is not None:
            line_of = counting_line if side == named.ignoring else ignoring_line
            lines[side] = line_of(framework, named.label)
    return lines


COSINES = {
    ("torch", "-cos"): "-F.cosine_similarity(output, target).mean()",
    ("torch", "1 - cos"): "(1 - F.cosine_similarity(output, target)).mean()",
    ("keras", "-cos"): "losses.CosineSimilarity()",
    ("keras", "1 - cos"): "1 + losses.CosineSimilarity()(y_true, y_pred)",
}


def _huber_line(framework: str, wanted: Explained) -> str | None:
    """Return the line of a Huber loss; None where it has no usual scale."""
    if wanted.scale is None:
        return None
    width = float(wanted.formula.settings["delta"])
    text = value_text(width)
    kept = len(wanted.scales) - int(wanted.ignored.sum())
    scale = wanted.scale * kept * wanted.rows.values.shape[1]
    if _relative(scale, 1.0) < ALIKE:
        lines = {"torch": f"nn.HuberLoss(delta={text})", "keras": f"losses.Huber(delta={text})"}
    elif _relative(scale, 1 / width) < ALIKE:
        lines = {
            "torch": f"nn.SmoothL1Loss(beta={text})",
            "keras": f"losses.huber(y_true, y_pred, delta={text}) / {text}",
        }
    else:
        return None
    return lines.get(framework)


# What a formula means.

EXACT = "of the logits"
CLIPPED = "of clipped probabilities"
TWICE = "after a second softmax"
MISSING = "of logits that are taken for probabilities"
WITHOUT_LOGARITHM = "The logarithm is missing"
NO_LOGARITHM = "of probabilities that are taken for their logarithms"

MEANINGS = {
    ("identity", "logits"): EXACT,
    ("log_softmax", "logits"): EXACT,
    ("log_softmax", "log-probabilities"): EXACT,
    ("softmax", "probabilities"): EXACT,
    ("sigmoid", "probabilities"): EXACT,
    ("softmax", "logits"): TWICE,
    ("sigmoid", "logits"): TWICE,
    ("identity", "probabilities"): MISSING,
    ("identity", "log-probabilities"): MISSING,
    ("softmax", "log-probabilities"): NO_LOGARITHM,
    ("sigmoid", "log-probabilities"): NO_LOGARITHM,
}


def _meaning(each: Explained) -> str:
    """Return what a cross-entropy is taken of; empty for other losses."""
    if "cross-entropy" not in each.formula.family:
        return ""
    meaning = MEANINGS.get((each.tail, each.formula.reads), EXACT)
    clips = each.formula.settings.get("clip") == CLIP
    return CLIPPED if meaning == EXACT and clips else meaning


def _text(each: Explained) -> str:
    """Return a loss in words."""
    formula = each.formula
    parts = [f"{formula.family} {_meaning(each)}".strip()]
    if formula.family in ("Poisson", "Kullback-Leibler divergence"):
        parts[0] += f" of {formula.reads}"
    parts += [
        f"{name} {value_text(float(formula.settings[name]))}"
        for name in ("smoothing", "delta", "gamma", "alpha")
        if name in formula.settings
    ]
    if formula.settings.get("broadcast"):
        parts.append("each output against each target")
    return ", ".join([*parts, *_reduction(each)])


def _scales_of_reductions(each: Explained) -> tuple[tuple[float, str], ...]:
    """Return by what usual reductions multiply each row, with their names."""
    count, entries = each.rows.values.shape
    kept = count - int(each.ignored.sum())
    return (
        (1.0, "sum"),
        (1 / kept, "mean over the samples"),
        (1 / (kept * entries), "mean over all elements"),
        (1 / each.rows.shape[0], "sum over a sample, mean over the batch"),
    )


def _reduction(each: Explained) -> list[str]:
    """Return in words how the rows are put together."""
    count = len(each.scales)
    texts: list[str] = []
    if each.scale is not None:
        known = _scales_of_reductions(each)
        names = [name for value, name in known if abs(each.scale - value) < ALIKE * value]
        texts.append(names[0] if names else f"{value_text(each.scale)} times the sum")
    elif each.by_label():
        total = float(np.nansum(each.scales))
        by = "their sum" if abs(total - 1) < ALIKE else "the number of samples"
        texts.append(f"weighted by class, divided by {by}")
    if each.ignored.any():
        texts.append(f"{int(each.ignored.sum())} of {count} rows ignored")
    return texts


def _clipping_cause(descriptions: tuple[Description, Description]) -> str | None:
    """Return the id in the catalogue of clipped probabilities where both sides are Keras.

    A side clips them if it does not find the logits: that depends on the backend, or on how the
    model computes its softmax.
    """
    if any(each.framework != "keras" for each in descriptions):
        return None
    return "D35" if descriptions[0].version == descriptions[1].version else "D36"


def _named(
    one: Explained | None, other: Explained | None, a: Head, b: Head, clipping: str | None
) -> list[Named]:
    """Return the differences of two losses that were explained.

    Parameters
    ----------
    one, other : Explained or None
        The losses of A and of B.
    a, b : Head
        The ends of both networks.
    clipping : str or None
        The id in the catalogue of clipped probabilities, if it is not that of the formula.
    """
    if one is None or other is None:
        return []
    values = (_text(one), _text(other))
    found = [
        *_of_meaning(one, other, values, clipping),
        *_of_family(one, other, values),
        *_of_numbers(one, other, values),
    ]
    same = one.formula.family == other.formula.family
    if same or not found:
        found += _of_scales(one, other, values)
    if not found and _relative(a.value, b.value) > ALIKE:
        cause = "D45" if one.formula.family == "cosine" else None
        found.append(Named(cause, "The losses differ by a constant", _constants(a, b)))
    return found


def _constants(a: Head, b: Head) -> tuple[str, str]:
    return (f"{a.value:.6g}", f"{b.value:.6g}")


def _of_meaning(
    one: Explained, other: Explained, values: tuple[str, str], clipping: str | None
) -> list[Named]:
    meanings = (_meaning(one), _meaning(other))
    if meanings[0] == meanings[1] or not all(meanings):
        return []
    binary = "binary" in one.formula.family or "binary" in other.formula.family
    for meaning, cause in ((TWICE, "D38"), (MISSING, "D37"), (NO_LOGARITHM, None)):
        if meaning in meanings:
            title = catalogue.get(cause).title if cause else WITHOUT_LOGARITHM
            faulty = "a" if meanings[0] == meaning else "b"
            if binary and meaning == TWICE:
                title = "Sigmoid twice"
            return [Named(cause, title, values, faulty, binary)]
    cause = clipping or ("D39" if binary else "D34")
    return [Named(cause, catalogue.get(cause).title, values)]


def _of_family(one: Explained, other: Explained, values: tuple[str, str]) -> list[Named]:
    families = (one.formula.family, other.formula.family)
    if families[0] == families[1]:
        return []
    if set(families) == {"categorical hinge", "multi-margin"}:
        return [Named("D116", catalogue.get("D116").title, values)]
    return [Named(None, f"Another loss: {families[0]} against {families[1]}", values)]


def _of_numbers(one: Explained, other: Explained, values: tuple[str, str]) -> list[Named]:
    first, second = one.formula.settings, other.formula.settings
    found: list[Named] = []
    if bool(first.get("broadcast")) != bool(second.get("broadcast")):
        faulty = "a" if first.get("broadcast") else "b"
        found.append(Named("D44", catalogue.get("D44").title, values, faulty))
    if first.get("smoothing", 0.0) != second.get("smoothing", 0.0):
        found.append(Named("D41", catalogue.get("D41").title, values))
    if one.formula.family != other.formula.family:
        return found
    reads = (one.formula.reads, other.formula.reads)
    if reads[0] != reads[1] and one.formula.family == "Poisson" and not _same_poisson(one, other):
        found.append(Named("D45", catalogue.get("D45").title, values))
    if _are_focal(one, other):
        if first.get("alpha") != second.get("alpha"):
            found.append(Named("D126", catalogue.get("D126").title, values))
        if _relative(first["gamma"], second["gamma"]) > ALIKE:
            found.append(Named(None, "Another gamma of the focal loss", values))
    if one.formula.family == "Huber" and _relative(first["delta"], second["delta"]) > ALIKE:
        found.append(Named(None, "Another width of Huber's loss", values))
    return found


def _of_scales(one: Explained, other: Explained, values: tuple[str, str]) -> list[Named]:
    """Return what the reductions differ in."""
    if len(one.scales) != len(other.scales):
        return []
    both = ~np.isnan(one.scales) & ~np.isnan(other.scales)
    ignored = (one.ignored != other.ignored) & both
    found: list[Named] = []
    if ignored.any():
        labels = np.unique(one.rows.labels[ignored])
        if len(labels) == 1:
            title = f"{catalogue.get('D42').title}: {int(labels[0])}"
            side = "a" if one.ignored[ignored].all() else "b"
            found.append(Named("D42", title, values, label=int(labels[0]), ignoring=side))
        else:
            found.append(Named(None, "Rows that are ignored", values))
    counted = both & ~one.ignored & ~other.ignored
    ratios = other.scales[counted] / one.scales[counted]
    if not len(ratios):
        return found
    if ratios.max() - ratios.min() > 1e-3 * np.abs(ratios).max():
        cause = "D126" if _are_focal(one, other) else None
        title = catalogue.get(cause).title if cause else "Class weights"
        return [*found, Named(cause, title, values)]
    ratio = float(np.median(ratios))
    if abs(ratio - 1) <= ALIKE:
        return found
    if found and abs(ratio - (~other.ignored).sum() / (~one.ignored).sum()) > 0:
        kept = (float((~one.ignored).sum()), float((~other.ignored).sum()))
        # The mean over fewer rows: that is the same difference.
        if min(abs(ratio - kept[0] / kept[1]), abs(ratio - 1.0)) < 1e-3:
            return found
    return [*found, _of_ratio(one, other, ratio, values)]


def _of_ratio(one: Explained, other: Explained, ratio: float, values: tuple[str, str]) -> Named:
    """Return what a constant ratio of the scales means."""
    if one.scale is None and other.scale is None:
        return Named("D40", catalogue.get("D40").title, values)
    if _are_focal(one, other) and _is_usual(one) != _is_usual(other):
        return Named("D126", catalogue.get("D126").title, values)
    if one.formula.family == "Kullback-Leibler divergence":
        return Named("D43", catalogue.get("D43").title, values)
    if one.formula.family == other.formula.family == "Huber" and _is_width(one, other, ratio):
        return Named("D45", catalogue.get("D45").title, values)
    if any(abs(ratio - factor) < ALIKE for factor in FACTORS):
        return Named(None, f"{FACTOR} of {value_text(ratio)} in the loss", values)
    return Named(None, DIVISOR, values)


def _are_focal(one: Explained, other: Explained) -> bool:
    """Return whether both losses are the same focal loss, up to its numbers."""
    return one.formula.family == other.formula.family and "focal" in one.formula.family


def _is_usual(each: Explained) -> bool:
    """Return whether a loss is a sum or a mean, and not weighted besides."""
    return each.scale is not None and "times the sum" not in _reduction(each)[0]


def _is_width(one: Explained, other: Explained, ratio: float) -> bool:
    """Return whether a ratio of two Huber losses is the width of one of them, or its inverse."""
    widths = [float(each.formula.settings["delta"]) for each in (one, other)]
    return any(_relative(ratio, each) < ALIKE for width in widths for each in (width, 1 / width))
