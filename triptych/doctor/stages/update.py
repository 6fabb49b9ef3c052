"""The optimizers: both get the same gradients, from the same weights.

Each side's rule is found out from the updates that it makes. The parts in which the two rules
differ are the causes; each is tried alone, and the smallest set that closes the gap is reported.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np

from .. import catalogue
from ..averages import Average, average_of, moving_averages
from ..examination import Examination, Recording, Result, Side
from ..findings import Acquittal, Finding
from ..fitting import Fit, Run, identify, names_of
from ..forcing import targets_of
from ..frameworks.adapter import ModelError, Unsupported
from ..momenta import SETTINGS as MOMENTA
from ..momenta import differing_momenta
from ..observation import Array, Arrays, Change, Updates, array_names, largest
from ..optimizers import described_rule
from ..parts import (
    AVERAGE,
    CLIP,
    Optimizer,
    Part,
    arguments,
    changes,
    differing_parts,
    fix_line,
    renamed,
    total_decay,
    values_text,
)
from ..probes import probe_gradients, real_updates
from ..rates import around_a_change, differ
from ..rules import Problem, flat, run
from ..side import both

# Of how many weights the updates are computed again.
ELEMENTS = 6000

# A gradient in float32 is off by some units in the last place.
GRADIENT_UNITS = 4 * 2.0**-24
# Constants that pass through float32 change a step by some units of float32, and Adam's correction
# of the bias by 1e-5.
PRECISION = 2e-5

# What the catalogue calls rounding is a cause only from this share of the distance on.
NUMERIC = 1e-3
# Less than this of the distance is not mentioned.
WORTH_TELLING = 1e-6

# A limit of the clipping that is so many times larger than the gradient is not reached.
FAR_LIMIT = 100.0
# How far averages may be from their formula, as a share of the distance travelled.
FITS = 1e-5
# How many causes may act together.
MOST_CAUSES = 4


@dataclass(frozen=True)
class Case:
    """Both optimizers on the same gradients.

    Attributes
    ----------
    probes : list of dict
        The gradients.
    a_updates, b_updates : Updates
        What each optimizer made of them.
    names : dict of str to str
        A's names of the compared weights, and B's.
    a, b : Run
        The updates of each side, with its own names.
    real : int
        So many updates have gradients of the size that the model has.
    difference : float
        The largest difference of the weights after these, over the largest distance travelled.
    difference_made : float
        The same after all updates.
    """

    probes: list[Arrays]
    a_updates: Updates
    b_updates: Updates
    names: dict[str, str]
    a: Run
    b: Run
    real: int
    difference: float
    difference_made: float


def examine(examination: Examination) -> Result:
    """Compare what the two optimizers make of the same gradients."""
    gradients = array_names(examination.a_training.arrays, "gradient")
    if not examination.has("optimizer") or not gradients:
        return Result()
    probes = probe_gradients(gradients)
    names = examination.trained()
    if not names:
        return Result(undecided="no trained weight has a counterpart: updates were not compared")
    recording = examination.b.recording()
    if recording is not None:
        return _of_recorded(examination, recording, probes, names)
    a_updates, b_updates = both(
        lambda: examination.a.update(probes, examination.dtype),
        lambda: examination.b.update(_for_b(examination, probes), examination.dtype),
    )
    case = _case(examination, probes, names, a_updates, b_updates)
    tolerance = _tolerance(case)
    rates = around_a_change(examination)
    penalty = _penalties(examination, case)
    average = _of_averages(examination, case, tolerance)
    if case.difference_made <= tolerance and rates is None and not penalty:
        return _with_first(average, Result(largest=case.difference_made, bound=tolerance))
    result = _Explanation(examination, case, rates, penalty, tolerance).result()
    return _with_first(average, result)


def _of_recorded(
    examination: Examination, recording: Recording, probes: list[Arrays], names: dict[str, str]
) -> Result:
    """Compare the rules of two recorded optimizers, each found out from its own updates."""
    dtype = examination.dtype
    a_updates = examination.a.update(probes, dtype)
    b_probes, b_updates = recording.own_updates(dtype)
    a_run = _run(examination.a.weights(dtype), probes, a_updates, tuple(names), dtype)
    b_run = _run(examination.b.weights(dtype), b_probes, b_updates, tuple(names.values()), dtype)
    real = real_updates(probes[0])
    # They had other gradients, so that only their rules tell how far they are apart.
    case = Case(probes, a_updates, b_updates, names, a_run, b_run, real, float("inf"), float("inf"))
    rates = around_a_change(examination)
    penalty = _penalties(examination, case)
    tolerance = _tolerance(case)
    result = _Explanation(examination, case, rates, penalty, tolerance).result()
    return _with_first(_of_averages(examination, case, tolerance), result)


def _with_first(finding: Finding | None, result: Result) -> Result:
    """Return a result with a finding before the others."""
    return replace(result, findings=(finding, *result.findings)) if finding else result


def _for_b(examination: Examination, probes: Sequence[Arrays]) -> list[Arrays]:
    """Return A's gradients for each weight that B trains; zero for those that A does not have."""
    wanted = array_names(examination.b_training.arrays, "gradient")
    carried = [examination.alignment.weights_to_b(step) for step in probes]
    return [
        {name: step.get(name, np.zeros_like(array)) for name, array in wanted.items()}
        for step in carried
    ]


def _case(
    examination: Examination,
    probes: list[Arrays],
    names: dict[str, str],
    a_updates: Updates,
    b_updates: Updates,
) -> Case:
    """Return what both optimizers have made of the same gradients."""
    alignment, dtype = examination.alignment, examination.dtype
    a_weights = examination.a.weights(dtype)
    b_weights = examination.b.weights(dtype)
    a_names = tuple(names)
    b_names = tuple(names.values())
    b_probes = _for_b(examination, probes)
    real = real_updates(probes[0])
    moved_a = [_moved(each, a_weights, a_names) for each in a_updates.weights]
    moved_b = [
        flat(alignment.weights_to_a(_differences(each, b_weights, b_names)), a_names)
        for each in b_updates.weights
    ]
    return Case(
        probes,
        a_updates,
        b_updates,
        names,
        _run(a_weights, probes, a_updates, a_names, dtype),
        _run(b_weights, b_probes, b_updates, b_names, dtype),
        real,
        _relative(moved_a[:real], moved_b[:real]),
        _relative(moved_a, moved_b),
    )


def _run(
    weights: Arrays, gradients: Sequence[Arrays], updates: Updates, names: Sequence[str], dtype: str
) -> Run:
    problem = Problem.make(weights, gradients, updates.rates, ELEMENTS, names)
    return Run(problem, problem.select(updates.weights), dtype)


def _differences(after: Arrays, before: Arrays, names: Sequence[str]) -> Arrays:
    return {name: np.asarray(after[name], np.float64) - before[name] for name in names}


def _moved(after: Arrays, before: Arrays, names: Sequence[str]) -> Array:
    return flat(_differences(after, before, names), names)


def _tolerance(case: Case) -> float:
    """Return what rounding explains, over the largest distance; one side may not move at all."""
    travel = max(case.a.travel, case.b.travel, 1e-300)
    return max(case.a.tolerance, case.b.tolerance) / travel


def _relative(one: Sequence[Array], other: Sequence[Array]) -> float:
    """Return the largest difference over the largest distance."""
    first = np.stack(one)
    second = np.stack(other)
    if not (np.isfinite(first).all() and np.isfinite(second).all()):
        return float("inf")
    travel = max(np.abs(first).max(initial=0.0), np.abs(second).max(initial=0.0))
    return float(np.abs(first - second).max(initial=0.0) / travel) if travel else 0.0


def _of_averages(examination: Examination, case: Case, bound: float) -> Finding | None:
    """Return the finding that the sides evaluate other averages of their weights, if they do."""
    descriptions = examination.descriptions
    updates = (case.a_updates, case.b_updates)
    a, b = (average_of(*each) for each in zip(descriptions, updates, strict=True))
    if a.same(b):
        return None
    evidence = "what is evaluated after the updates is this average of the weights after each"
    applied = None if a.shares else _without_average(examination, case)
    if applied is not None:
        evidence += f"; without use_ema in B, A's and B's weights differ by {applied:.1e}"
    start = [side.weights(examination.dtype) for side in (examination.a, examination.b)]
    errors = map(_error_of_averages, start, updates, (a, b))
    names = tuple(case.names)
    weights = case.a_updates.weights[: case.real]
    made = [_averaged(start[0], weights, each.without_replacement) for each in (a, b)]
    apart = _relative(*([_moved(each, start[0], names)] for each in made))
    entry = catalogue.get("D128")
    return Finding(
        "update",
        entry.id,
        entry.title,
        values={"a": a.text(), "b": b.text()},
        effect={"evaluation": apart, "bound": bound},
        fix={"a": b.line(descriptions[0]), "b": a.line(descriptions[1])},
        proved=max(errors) <= FITS,
        evidence=evidence,
    )


def _averaged(start: Arrays, weights: Sequence[Arrays], average: Average) -> Arrays:
    """Return what is evaluated after the last of some updates."""
    if not average.shares:
        return weights[-1]
    return moving_averages(start, weights, average.shares[: len(weights)])


def _error_of_averages(start: Arrays, updates: Updates, average: Average) -> float:
    """Return how far a side's averages are from the formula, as a share of the distance travelled.

    It is 0 where the side tells no averages.
    """
    if not updates.averages:
        return 0.0
    names = tuple(updates.averages)
    made = _averaged(start, updates.weights, average)
    travel = largest(_moved(updates.weights[-1], start, names))
    return largest(flat(made, names) - flat(updates.averages, names)) / max(travel, 1e-300)


def _without_average(examination: Examination, case: Case) -> float | None:
    """Return how far the weights differ if B does not average; None if it cannot do without."""
    b, dtype = examination.b, examination.dtype
    try:
        b.change([Change("optimizer", "", "use_ema", False)], dtype)  # of Keras
        updates = b.update(_for_b(examination, case.probes), dtype)
    except ModelError:
        return None
    finally:
        b.restore(dtype)
    changed = _case(examination, case.probes, case.names, case.a_updates, updates)
    return changed.difference


def _penalties(examination: Examination, case: Case) -> dict[str, float]:
    """Return what B's penalties add to the gradient of a weight beyond A's, divided by the weight.

    A penalty that is not proportional to the weight is not in it.
    """
    a_arrays = examination.a_training.arrays
    b_arrays = examination.b_training.arrays
    a_penalty = array_names(a_arrays, "penalty_gradient")
    b_penalty = array_names(b_arrays, "penalty_gradient")
    if not a_penalty and not b_penalty:
        return {}
    a_total = _added(array_names(a_arrays, "gradient"), a_penalty)
    b_total = _added(array_names(b_arrays, "gradient"), b_penalty)
    carried = examination.alignment.weights_to_a(b_total)
    b_alone = examination.alignment.weights_to_a(_added({}, b_penalty))
    weights = examination.a.weights(examination.dtype)
    hidden = {
        a: b
        for a, b in case.names.items()
        if not np.any(weights[a]) and (a in a_penalty or b in b_penalty)
    }
    found = _of_zeros(examination, hidden, a_has_penalties=bool(a_penalty))
    for name in case.names:
        if name in hidden:
            continue
        weight = np.asarray(weights[name], np.float64)
        extra = carried[name] - a_total[name]
        factor = _proportion(extra, weight)
        if factor is None:
            zeros = np.zeros_like(weight)
            extra = b_alone.get(name, zeros) - a_penalty.get(name, zeros)
            factor = _proportion(extra, weight) or 0.0
        if abs(factor) > 1e-12:
            found[name] = float(f"{factor:.6g}")
    return found


def _of_zeros(
    examination: Examination, names: dict[str, str], *, a_has_penalties: bool
) -> dict[str, float]:
    """Return what `_penalties` does, for weights that are zero: there, no penalty has a gradient.

    Parameters
    ----------
    examination : Examination
        The comparison.
    names : dict of str to str
        A's names of these weights, with B's.
    a_has_penalties : bool
        Whether A must be measured, too.
    """
    if not names:
        return {}
    try:
        b = _moved_penalties(examination, examination.b, examination.b_inputs, names.values())
        a: dict[str, float] = {}
        if a_has_penalties:
            a = _moved_penalties(examination, examination.a, examination.a_inputs, names)
    except Unsupported:  # a recorded side
        return {}
    factors = {name: b.get(b_name, 0.0) - a.get(name, 0.0) for name, b_name in names.items()}
    return {name: float(f"{each:.6g}") for name, each in factors.items() if abs(each) > 1e-12}


def _moved_penalties(
    examination: Examination, side: Side, inputs: Arrays, names: Iterable[str]
) -> dict[str, float]:
    """Return the factors of a side's penalties at weights that are not zero, by the weight."""
    dtype = examination.dtype
    weights = side.weights(dtype)
    moved: Arrays = {}
    for name in names:
        old = weights[name]
        moved[name] = np.linspace(1.0, 2.0, old.size, dtype=old.dtype).reshape(old.shape)
    side.load(weights | moved, dtype)
    try:
        observation = side.observe(
            inputs, training=True, targets=targets_of(examination), dtype=dtype
        )
    finally:
        side.load(weights, dtype)
    gradients = array_names(observation.arrays, "penalty_gradient")
    return {
        name: _proportion(np.asarray(gradients[name], np.float64), moved[name]) or 0.0
        for name in moved
        if name in gradients
    }


def _added(gradients: Arrays, penalties: Arrays) -> Arrays:
    names = {**gradients, **penalties}
    return {
        name: np.asarray(gradients.get(name, 0.0), np.float64) + penalties.get(name, 0.0)
        for name in names
    }


def _proportion(extra: Array, weight: Array) -> float | None:
    """Return the factor by which one array is the other; None if it is not."""
    square = float(np.vdot(weight, weight))
    if not square:
        return 0.0 if not np.any(extra) else None
    factor = float(np.vdot(extra, weight)) / square
    rest = np.abs(extra - factor * weight).max(initial=0.0)
    return factor if rest <= 1e-6 * np.abs(extra).max(initial=0.0) or rest < 1e-14 else None


class _Explanation:
    """Explains the gap between the two optimizers."""

    def __init__(
        self,
        examination: Examination,
        case: Case,
        rates: Array | None,
        penalty: dict[str, float],
        tolerance: float,
    ) -> None:
        self.examination = examination
        self.case = case
        self.tolerance = tolerance
        self.descriptions = examination.descriptions
        to_b = case.names
        to_a = {b: a for a, b in to_b.items()}
        # An optimizer that a user has written may be the one of the other side.
        a_described, b_described = map(described_rule, self.descriptions)
        a_hints = [] if a_described or not b_described else [renamed(b_described, to_a)]
        self.a_fit = identify(examination.a_description, [case.a], a_hints)
        b_hints = [renamed(self.a_fit.rule, to_b)]
        self.b_fit = identify(examination.b_description, [case.b], b_hints)
        a_rule = total_decay(self.a_fit.rule, case.names)
        b_rule = renamed(self.b_fit.rule, to_a)
        b_rule = total_decay(b_rule.with_settings(penalty=penalty), case.names)
        self.a = Optimizer(a_rule)
        self.b = Optimizer(b_rule, self._scale(rates))
        self.mended = self.b.taking(self.a, AVERAGE)  # it is a finding of its own
        self.averages_differ = self.mended != self.b
        self.problems = [case.a.problem.shorter(case.real)]
        if rates is not None:
            self.problems.append(self._with_rates(rates))
        self.changing = rates is not None
        self.reference = self._after(self.a)
        self.noise = self._noise()
        self.scheduled: tuple[str, ...] = ()
        if differing_momenta(self.descriptions) is not None:
            # The stage of the schedule tells of it.
            self.scheduled = tuple(name for name in MOMENTA if name in self.b.rule.settings)

    def _scale(self, rates: Array | None) -> float:
        """Return B's rate over A's; where a schedule changes them, that stage compares them."""
        a_rate = self.case.a.problem.rates[0]
        b_rate = self.case.b.problem.rates[0]
        schedules = any(each.schedule for each in self.descriptions)
        if rates is not None or schedules or not a_rate:
            return 1.0
        return float(b_rate / a_rate)

    def _with_rates(self, rates: Array) -> Problem:
        """Return the problem with rates that change, and more updates of the same gradients."""
        problem = self.case.a.problem.shorter(self.case.real)
        order = np.arange(len(rates)) % len(problem.gradients)
        return problem.with_updates(order.tolist()).with_rates(rates)

    def _after(self, optimizer: Optimizer) -> list[Array]:
        """Return how far a rule moves the weights in each problem."""
        moved: list[Array] = []
        for problem in self.problems:
            scaled = problem.with_rates(problem.rates * optimizer.scale)
            moved.append(run(optimizer.rule, scaled) - problem.weights[problem.sample])
        return moved

    def gap(self, optimizer: Optimizer) -> float:
        """Return how far a rule's weights are from A's: norm of the difference over the travel."""
        return self._distance(self._after(optimizer))

    def _distance(self, moved: list[Array]) -> float:
        parts: list[float] = []
        for one, other in zip(self.reference, moved, strict=True):
            if not np.isfinite(other).all():
                return float("inf")
            travel = float(np.linalg.norm(one)) or float(np.linalg.norm(other))
            parts.append(float(np.linalg.norm(one - other)) / travel if travel else 0.0)
        return max(parts)

    def largest(self, optimizer: Optimizer) -> float:
        """Return the largest difference of a weight over the largest distance travelled."""
        pairs = zip(self.reference, self._after(optimizer), strict=True)
        return max(_relative(list(one), list(other)) for one, other in pairs)

    def _noise(self) -> float:
        """Return the gap that gradients in float32 cause."""
        generator = np.random.default_rng(0)
        moved: list[Array] = []
        for problem in self.problems:
            noise = generator.uniform(-1, 1, problem.gradients.shape) * GRADIENT_UNITS
            noisy = replace(problem, gradients=problem.gradients * (1 + noise))
            moved.append(run(self.a.rule, noisy) - problem.weights[problem.sample])
        return self._distance(moved)

    def result(self) -> Result:
        """Return the causes and what is acquitted."""
        bound = max(PRECISION, self.noise, self.tolerance)
        unknown = [fit for fit in (self.a_fit, self.b_fit) if not fit.reproduces]
        if unknown:
            return self._not_reproduced(bound)
        # With equal rates: whether these are equal, another stage tells.
        comparable = self._same_rates() and np.isfinite(self.case.difference)
        comparable = comparable and not self._differs_besides()
        difference = self.case.difference if comparable else self.largest(self.mended)
        parts = differing_parts(self.a, self.b, self.descriptions, changing=self.changing)
        parts = self._without_scheduled(parts)
        if not parts and self.scheduled:
            difference = self.largest(self.mended)
        if not parts:
            acquitted = self._precision(difference) if difference > WORTH_TELLING else ()
            return Result((), acquitted, difference, bound)
        self._mend_numeric(parts)
        chosen = self._smallest_set(parts, bound)
        findings = [self._finding(part, bound) for part in chosen]
        acquitted = [self._acquittal(part, bound) for part in parts if part not in chosen]
        for part in [part for part in parts if part not in chosen]:
            if self._may_bite(part):
                findings.append(self._finding(part, bound))
                acquitted = [each for each in acquitted if each.cause != part.cause]
        equal = 0.0 if findings else difference
        return Result(tuple(findings), tuple(acquitted), equal, bound)

    def _differs_besides(self) -> bool:
        """Return whether the updates differ by what is another finding.

        Weights that only one side has may belong to the norm that is clipped, and an average may
        take the place of the weights.
        """
        if self.averages_differ:
            return True
        clips = any(each.rule.settings["clip"] == "global_norm" for each in (self.a, self.b))
        return clips and any(each.problem.others.any() for each in (self.case.a, self.case.b))

    def _without_scheduled(self, parts: list[Part]) -> list[Part]:
        """Return the parts without the momentum, where a schedule changes it."""
        of_schedule = [part for part in parts if set(part.settings) <= set(self.scheduled)]
        for part in of_schedule:
            self.mended = self.mended.taking(self.a, part.settings)
        return [part for part in parts if part not in of_schedule]

    def _mend_numeric(self, parts: list[Part]) -> None:
        """Take from A what differs only by rounding, so that it is not weighed with the rest."""
        for part in parts:
            numeric = part.cause and catalogue.get(part.cause).kind == "numeric"
            if numeric and self.largest(self.a.taking(self.b, part.settings)) < NUMERIC:
                self.mended = self.mended.taking(self.a, part.settings)

    def _smallest_set(self, parts: list[Part], bound: float) -> list[Part]:
        """Return the fewest parts that close the gap, those with the largest share first."""
        whole = self.gap(self.mended)
        if whole <= bound:
            return []
        size = min(len(parts), MOST_CAUSES)
        best = list(parts)
        for count in range(1, size + 1):
            sets = [list(chosen) for chosen in combinations(parts, count)]
            gaps = [self.gap(self._mended(chosen)) for chosen in sets]
            smallest = int(np.argmin(gaps))
            if gaps[smallest] <= bound:
                best = sets[smallest]
                break
        return sorted(best, key=lambda part: -self._share(part))

    def _mended(self, parts: Sequence[Part]) -> Optimizer:
        settings = [name for part in parts for name in part.settings]
        return self.mended.taking(self.a, settings)

    def _share(self, part: Part) -> float:
        """Return how much of the gap is closed by mending one part."""
        whole = self.gap(self.mended)
        return 1 - self.gap(self._mended([part])) / whole if whole else 0.0

    def _may_bite(self, part: Part) -> bool:
        """Return whether a clipping that these gradients do not reach may matter later."""
        if part.settings != CLIP or part.cause == "D60":
            return False
        limits = [
            each.rule.settings["limit"]
            for each in (self.a, self.b)
            if each.rule.settings["clip"] != "none"
        ]
        norm = float(np.linalg.norm(self.problems[0].gradients, axis=1).max())
        return min(limits) < FAR_LIMIT * norm

    def _rates(self) -> tuple[float, float]:
        rates = self.case.a.problem.rates
        return float(rates[0]), float(rates[0] * self.b.scale)

    def _values(self, part: Part) -> dict[str, str]:
        a_rate, b_rate = self._rates()
        a_description, b_description = self.descriptions
        return {
            "a": values_text(self.a.rule, a_rate, part, a_description),
            "b": values_text(self.b.rule, b_rate, part, b_description),
        }

    def _finding(self, part: Part, bound: float) -> Finding:
        a_rate, b_rate = self._rates()
        a_description, b_description = self.descriptions
        alone = self.a.taking(self.b, part.settings)
        effect = {"update": self.largest(alone), "share": self._share(part), "bound": bound}
        fix = {
            "a": fix_line(part, self.b, b_rate, a_description),
            "b": fix_line(part, self.a, a_rate, b_description),
        }
        return Finding(
            "update",
            part.cause,
            part.title,
            values=self._values(part),
            effect=effect,
            fix=fix,
            proved=True,
            evidence=self._evidence(part),
        )

    def _evidence(self, part: Part) -> str:
        updates = len(self.problems[0].gradients)
        before = self.gap(self.mended)
        after = self.gap(self._mended([part]))
        text = (
            f"the rules reproduce {len(self.case.a.problem.gradients)} updates of both sides; "
            f"changed in B's rule alone, it takes the gap after {updates} real updates from "
            f"{before:.1e} to {after:.1e} of the distance travelled"
        )
        applied = self._applied(part)
        return text + (f"; changed in B's optimizer: {applied:.1e}" if applied is not None else "")

    def _applied(self, part: Part) -> float | None:
        """Return the difference after B's own optimizer was changed; None if it cannot be."""
        a_rate, _ = self._rates()
        description = self.examination.b_description
        values = arguments(part, self.a, a_rate, description)
        if not values or description.optimizer is None or self._differs_besides():
            return None
        side, dtype = self.examination.b, self.examination.dtype
        try:
            side.change(changes(values, description), dtype)
            updates = side.update(_for_b(self.examination, self.case.probes), dtype)
        except ModelError:
            return None
        finally:
            side.restore(dtype)
        case = self.case
        changed = _case(self.examination, case.probes, case.names, case.a_updates, updates)
        return changed.difference

    def _acquittal(self, part: Part, bound: float) -> Acquittal:
        alone = self.largest(self.a.taking(self.b, part.settings))
        values = self._values(part)
        return Acquittal(
            "update",
            part.cause,
            part.title,
            f"A: {values['a']}; B: {values['b']}; alone it moves a weight by {alone:.1e} of the "
            f"distance travelled, gradients in float32 by {bound:.1e}",
        )

    def _same_rates(self) -> bool:
        return not differ(self.case.a.problem.rates, self.case.b.problem.rates).any()

    def _precision(self, difference: float) -> tuple[Acquittal, ...]:
        kind = "D96" if self.a.rule.family != "sgd" else "D62"
        return (
            Acquittal(
                "update",
                kind,
                "Constants of the optimizer in float32",
                f"{difference:.1e} of the distance travelled; a rule with constants in "
                "float32 reproduces it",
            ),
        )

    def _not_reproduced(self, bound: float) -> Result:
        """Return that the updates differ without a known rule."""
        difference = self.case.difference
        if not np.isfinite(difference):
            return Result(undecided="update: no known rule reproduces what both traces hold")
        if difference <= bound:
            return Result(largest=difference, bound=bound)
        nearest = {name: _nearest(fit) for name, fit in (("a", self.a_fit), ("b", self.b_fit))}
        finding = Finding(
            "update",
            None,
            "The optimizers make other updates of the same gradients",
            values=nearest,
            effect={"update": difference, "bound": bound},
            evidence="no known rule reproduces both sides' updates",
        )
        return Result((finding,), (), 0.0, bound)


def _nearest(fit: Fit) -> str:
    name = names_of(fit.rule)
    if fit.reproduces:
        return f"{name}, reproduced"
    return f"nearest to {name}, {fit.excess:.1e} times the tolerance away"
