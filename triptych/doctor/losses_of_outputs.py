"""Losses of several outputs.

Each is explained by its gradient alone, because only the sum of the losses is known.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import permutations

from .bounds import FEWEST_UNITS, PRECISION, UNIT_ROUNDOFF, relative_difference
from .code_lines import value_text
from .examination import Examination, Pair, Result
from .findings import Finding
from .loss_differences import (
    DIVISOR,
    FACTOR,
    TOLERANCE,
    Named,
    constants_of,
    differences_of,
    relative,
    scales_of_reductions,
)
from .loss_ends import (
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
from .loss_lines import weight_line
from .losses import Explained, tail_between
from .observation import Array, Arrays, outputs_of
from .places import as_output

WEIGHT = "Weight of its loss"
LONGEST_WEIGHT = 5  # characters of a weight that users write


@dataclass(frozen=True)
class End:
    """One of several outputs of both sides.

    Attributes
    ----------
    numbers : tuple of int
        Its places among the outputs of A and of B, from 1.
    pair : Pair or None
        The last layer with weights before it, if it is known.
    a, b : Head
        Both sides there; their value is that of the whole loss.
    """

    numbers: tuple[int, int]
    pair: Pair | None
    a: Head
    b: Head

    def difference(self) -> float:
        """Return how far the gradients differ."""
        return gradient_difference(self.a, self.b)


def of_outputs(examination: Examination) -> Result:
    """Compare the losses of models with several outputs."""
    ends = list(_ends(examination))
    bound = max(PRECISION, FEWEST_UNITS * UNIT_ROUNDOFF[examination.dtype])
    if not ends or "loss" not in examination.b_training.arrays:
        return Result()
    if not all(are_numbers(end.a, end.b) for end in ends):
        return Result(missing=NO_NUMBERS)
    a, b = ends[0].a, ends[0].b
    value = relative(a.value, b.value)
    gradient = max(end.difference() for end in ends)
    if value <= bound and gradient <= bound:
        return Result(largest=max(value, gradient), bound=bound)
    if gradient <= bound and relative(a.value + a.penalty, b.value + b.penalty) <= bound:
        return Result((), (of_penalties(a, b),), gradient, bound)
    effect = {"loss": value, "gradient": gradient, "bound": bound}
    findings: list[Finding] = []
    if gradient <= bound:
        title = "The losses differ by a constant"
        values = dict(zip("ab", constants_of((a.value, b.value)), strict=True))
        findings.append(Finding("loss", None, title, values=values, effect=effect))
    for end in ends:
        if end.difference() > bound:
            findings += _of_end(examination, end, effect | {"gradient": end.difference()})
    return Result(tuple(findings), (), 0.0, bound)


def _ends(examination: Examination) -> Iterator[End]:
    """Yield the outputs that both sides have, in A's order."""
    alignment = examination.alignment
    a_arrays, b_arrays = examination.a_training.arrays, examination.b_training.arrays
    forced = alignment.forced(examination.a_training)
    at_b = {**b_arrays, **only_outputs(forced)}
    b_names = list(outputs_of(b_arrays))
    for number, name in enumerate(outputs_of(a_arrays), 1):
        other = alignment.outputs.get(name, name)
        if "loss" not in a_arrays or other not in b_names:
            continue
        pair, place = _last_before(examination, a_arrays[name], forced)
        a = _end_of(a_arrays, name, forced, place)
        b = _end_of(b_arrays, other, at_b, place)
        slopes = (a.output_gradient, b.output_gradient)
        same = relative_difference(as_output(a.output, b.output.shape), b.output) <= TOLERANCE
        if same and all(each is not None for each in slopes):
            a, b = (replace(each, last=None, gradient=None) for each in (a, b))
        yield End((number, b_names.index(other) + 1), pair, a, b)


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


def _of_end(examination: Examination, end: End, effect: dict[str, float]) -> list[Finding]:
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
        named = differences_of(
            one, other, (a.value, b.value), clipping_cause(examination.descriptions)
        )
        named = [_weighted(each, one, other) for each in named]
    if not named:
        unknown = unknown_formula(effect, explained)
        return [replace(unknown, title=f"output {end.numbers[0]}: {unknown.title}", layer=layer)]
    evidence = evidence_of(explained) or "the gradient of the loss at this output"
    findings = [
        finding_of(each, effect, _fix_of_end(examination, end, each, explained), evidence)
        for each in named
    ]
    return [
        replace(each, title=f"output {end.numbers[0]}: {each.title}", layer=layer)
        for each in findings
    ]


def _fix_of_end(
    examination: Examination, end: End, named: Named, explained: list[Explained | None]
) -> dict[str, str | None]:
    """Return a line for either side, or None."""
    if named.title != WEIGHT:
        return fix_of(examination, named, end.a, end.b, explained)
    counts = [
        len(outputs_of(each.arrays)) for each in (examination.a_training, examination.b_training)
    ]
    wanted = zip(examination.descriptions, end.numbers, counts, reversed(named.values), strict=True)
    lines = [
        weight_line(each.framework, number, count, weight, each.loss)
        for each, number, count, weight in wanted
    ]
    return dict(zip("ab", lines, strict=True))


def _outputs_fit(a: Head, b: Head, dtype: str) -> bool:
    """Return whether the outputs agree, or are known functions of the same scores."""
    if a.last is None:
        return relative_difference(as_output(a.output, b.output.shape), b.output) <= TOLERANCE
    tails = [tail_of(each, dtype) for each in (a, b)]
    return set(tails) <= HEADS or tails[0] == tails[1] != "unknown"


def _counted(a: Head, b: Head) -> Named | None:
    """Return that the loss of an output counts on one side only, if it is so."""
    both = gradients_of(a, b)
    used = [bool(each.any()) for each in both or ()]
    if len(used) < 2 or used[0] == used[1]:
        return None
    words = tuple("counts" if each else "does not count" for each in used)
    return Named(None, "One side has no loss of it", (words[0], words[1]))


def _both_explained(examination: Examination, end: End) -> list[Explained | None]:
    """Return the formulas of both sides, of the target that explains the most."""
    targets = list(examination.targets.values())
    of_place = targets[end.numbers[0] - 1 : end.numbers[0]]
    best: list[Explained | None] = [None, None]
    for target in [*of_place, *targets]:
        explained = [
            explain_end(examination, replace(head, value=float("nan")), family, target)
            for head, family in zip((end.a, end.b), expected_families(examination), strict=True)
        ]
        if sum(each is not None for each in explained) > sum(each is not None for each in best):
            best = explained
    return best


def _weighted(named: Named, one: Explained | None, other: Explained | None) -> Named:
    """Return a difference; that of a factor which no reduction has is one of weights."""
    if named.title != DIVISOR and not named.title.startswith(FACTOR):
        return named
    if one is None or other is None or one.scale is None or other.scale is None:
        return named
    known = [value for value, _ in scales_of_reductions(one)]
    ratio = other.scale / one.scale
    reductions = [first / second for first, second in permutations(known, 2) if first != second]
    if any(abs(ratio - each) < TOLERANCE * each for each in reductions):
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
