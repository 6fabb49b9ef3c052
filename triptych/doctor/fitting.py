"""Which update rule an optimizer follows: found out from the updates that it has made.

What the optimizer's type and settings stand for is tried first. If that does not reproduce its
updates, because the user has written, wrapped or hooked it, the rule is changed part by part until
it does.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import minimize_scalar

from .observation import Array, Description, Layer
from .optimizers import described_rule, settings_of, table_of
from .rules import FAMILIES, OFTEN_WRITTEN, Problem, Rule, run

# Relative to the distance travelled.
REPRODUCED = {"float64": 1e-9, "native": 3e-5}
# Of the weights themselves: they are rounded after each update.
ROUNDED = {"float64": 2.0**-52, "native": 2.0**-22}

MOST_CHANGES = 3
MOST_STARTS = 3
# A change of a rule that leaves more than this of the difference is not made.
WORTHWHILE = 0.7
LIMITS = tuple(float(f"{digit}e{power}") for power in range(-4, 4) for digit in (1, 2, 2.5, 5))
GRID_POINTS = 17

# Weights that a framework may keep in one array: both biases of a Keras GRU, or the projections of
# PyTorch's attention.
ROLES_OF_ONE_ARRAY = (
    (("bias", "recurrent_bias"), ("reverse_bias", "reverse_recurrent_bias")),
    (("query_kernel", "key_kernel", "value_kernel"), ("query_bias", "key_bias", "value_bias")),
)


@dataclass(frozen=True)
class Run:
    """Updates of one side, and the gradients that it was given.

    Attributes
    ----------
    problem : Problem
        The gradients and rates.
    after : ndarray, shape (updates, elements)
        The sampled weights after each update.
    dtype : str
        In which they were computed: one of `triptych.doctor.observation.DTYPES`.
    """

    problem: Problem
    after: Array
    dtype: str

    @property
    def travel(self) -> float:
        """The largest distance that a weight has moved."""
        moved = np.abs(self.after - self.problem.weights[self.problem.sample])
        return float(moved.max()) if moved.size else 0.0

    @property
    def tolerance(self) -> float:
        """The largest difference that counts as equal."""
        largest = float(np.abs(self.after).max()) if self.after.size else 0.0
        return REPRODUCED[self.dtype] * self.travel + 8 * ROUNDED[self.dtype] * largest

    def excess(self, rule: Rule) -> Array:
        """Return the difference of each sampled element, at the worst update, over `tolerance`."""
        difference = np.abs(run(rule, self.problem) - self.after).max(axis=0)
        difference = np.where(np.isnan(difference), np.inf, difference)
        return difference / max(self.tolerance, 1e-300)


@dataclass(frozen=True)
class Fit:
    """The rule that comes nearest to an optimizer.

    Attributes
    ----------
    rule : Rule
        The rule.
    excess : float
        The largest difference over the tolerance; at most 1 if the rule is the optimizer's.
    changed : tuple of str
        The settings in which it differs from what the description stands for.
    """

    rule: Rule
    excess: float
    changed: tuple[str, ...] = ()

    @property
    def reproduces(self) -> bool:
        """Whether the rule is the optimizer's."""
        return self.excess <= 1.0


def identify(description: Description, runs: Sequence[Run], hints: Iterable[Rule] = ()) -> Fit:
    """Return the rule of a side's optimizer.

    Parameters
    ----------
    description : Description
        Of the side.
    runs : sequence of Run
        What its optimizer has made of given gradients.
    hints : iterable of Rule
        Further rules to begin with, for example that of the other side.
    """
    described = described_rule(description)
    starts = [described] if described else list(guesses(description))
    layers = description.layers
    fits = [_nearest(runs, _forms(runs, start, layers)) for start in starts]
    fits.sort(key=lambda fit: _score(runs, fit.rule))
    if fits[0].reproduces:
        return fits[0]
    fits[1:1] = [_nearest(runs, _forms(runs, hint, layers)) for hint in hints]
    written = _decays(description)
    improved = [_approached(runs, fit, written) for fit in _of_each_family(fits)]
    return min(improved, key=lambda fit: fit.excess)


def _decays(description: Description) -> list[float]:
    """Return the factors of the decay in an optimizer's settings and in its groups of weights."""
    settings = description.optimizer.settings if description.optimizer else {}
    groups = settings.get("groups", [])
    values = [each.get("weight_decay") for each in (settings, *groups)]
    return [float(value) for value in values if isinstance(value, (int, float)) and value]


def _of_each_family(fits: Iterable[Fit]) -> list[Fit]:
    """Return the first fit of each family, of the first few."""
    first: dict[str, Fit] = {}
    for fit in fits:
        first.setdefault(fit.rule.family, fit)
    return list(first.values())[:MOST_STARTS]


def _approached(runs: Sequence[Run], start: Fit, written: Sequence[float]) -> Fit:
    """Change a rule part by part as long as that brings it nearer."""
    best = start
    score = _score(runs, best.rule)
    for _ in range(MOST_CHANGES):
        if best.reproduces:
            break
        found = _improved(runs, best.rule, written)
        if found is None or found[1] > WORTHWHILE * score:
            break
        rule, score = found
        best = Fit(rule, _excess(runs, rule))
    changed = [part for part in best.rule.settings if part in _differing(start.rule, best.rule)]
    return Fit(best.rule, best.excess, tuple(changed))


def guesses(description: Description) -> Iterator[Rule]:
    """Yield the rules that the user's own optimizer may be, from the names of its settings."""
    component = description.optimizer
    assert component
    yielded = 0
    for form in table_of(description).values():
        settings = settings_of(form, component.settings)
        own = set(settings) - {"decay", "maximize", "accumulate"}
        if own:
            yielded += 1
            yield Rule.make(form.family, **form.fixed, **settings)
    if not yielded:
        for family in OFTEN_WRITTEN:
            yield Rule.make(family)


def _forms(runs: Sequence[Run], rule: Rule, layers: Iterable[Layer] = ()) -> Iterator[Rule]:
    """Yield a rule in the forms that no setting of the optimizer tells."""
    by_array = rule.settings["clip"] == "norm" or FAMILIES[rule.family].whole
    for joined in _joined(runs) if by_array else [()]:
        for forms in _framework_shapes(runs, layers) if FAMILIES[rule.family].shaped else [{}]:
            for single in (rule.settings["single"], not rule.settings["single"]):
                yield rule.with_settings(single=single, joined=joined, forms=forms)


def _joined(runs: Sequence[Run]) -> list[tuple[tuple[str, ...], ...]]:
    """Return in which ways several weights may be one array of the framework: first, not at all."""
    names = runs[0].problem.names
    paths = dict.fromkeys(name.rpartition("/")[0] for name in names)
    ways: list[tuple[tuple[str, ...], ...]] = [()]
    for kinds in ROLES_OF_ONE_ARRAY:
        groups: list[tuple[str, ...]] = []
        for path in paths:
            for roles in kinds:
                members = tuple(name for role in roles if (name := f"{path}/{role}") in names)
                if len(members) > 1:
                    groups.append(members)
        if groups:
            ways.append(tuple(groups))
    return ways


def _framework_shapes(
    runs: Sequence[Run], layers: Iterable[Layer]
) -> list[dict[str, tuple[int, ...]]]:
    """Return which shapes the framework's arrays may have: first, those of the problem.

    Keras' attention has an axis for the heads.
    """
    problem = runs[0].problem
    forms: dict[str, tuple[int, ...]] = {}
    by_path = {layer.path: layer for layer in layers if layer.kind == "attention"}
    for name, shape in zip(problem.names, problem.shapes, strict=True):
        path, _, role = name.rpartition("/")
        layer = by_path.get(path)
        heads = layer.settings.get("heads") if layer else None
        if not heads:
            continue
        if role == "output_kernel":
            forms[name] = (heads, shape[0] // heads, *shape[1:])
        elif role != "output_bias":
            forms[name] = (*shape[:-1], heads, shape[-1] // heads)
    return [{}, forms] if forms else [{}]


def _nearest(runs: Sequence[Run], rules: Iterable[Rule]) -> Fit:
    """Return the fit of the first rule, or of one that comes clearly nearer."""
    best: Fit | None = None
    for rule in rules:
        fit = Fit(rule, _excess(runs, rule))
        if best is None or fit.excess < WORTHWHILE * best.excess:
            best = fit
    assert best
    return best


def _excess(runs: Sequence[Run], rule: Rule) -> float:
    return max(float(each.excess(rule).max(initial=0.0)) for each in runs)


def _score(runs: Sequence[Run], rule: Rule) -> float:
    """Return a mean of the differences, which shows also what improves some elements only."""
    with np.errstate(over="ignore"):
        return sum(float(np.sqrt(np.mean(each.excess(rule) ** 2))) for each in runs)


def _improved(
    runs: Sequence[Run], rule: Rule, written: Sequence[float]
) -> tuple[Rule, float] | None:
    """Return the best rule that differs in one part, with its score."""
    best: tuple[Rule, float] | None = None
    for candidate in _neighbours(runs, rule, written):
        score = _score(runs, candidate)
        if best is None or score < best[1]:
            best = (candidate, score)
            if _excess(runs, candidate) <= 1.0:
                return best
    return best


def _neighbours(runs: Sequence[Run], rule: Rule, written: Sequence[float]) -> Iterator[Rule]:
    """Yield rules that differ in one part, the usual ones first."""
    yield from _accumulated(runs, rule)
    for part, values in CHOICES.items():
        if part in rule.settings:
            for value in values:
                if value != rule.settings[part]:
                    yield rule.with_settings(**{part: value})
    yield from _by_weight(runs, rule, written)
    yield from _clipped(runs, rule)
    for part, grid in GRIDS.items():
        if part in rule.settings:
            yield _searched(runs, rule, part, grid)


# What a part may be.
CHOICES: dict[str, tuple[Any, ...]] = {
    "single": (True, False),
    "rate_inside": (True, False),
    "nesterov": (True, False),
    "epsilon_place": ("outside", "hat", "inside", "weight", "maximum"),
    "correction": (True, False),
    "frozen": (True, False),
    "amsgrad": (True, False),
    "centered": (True, False),
    "decay_form": ("coupled", "decoupled", "absolute"),
    "maximize": (True, False),
    "initial": (0.0, 0.1, 1.0),
    "momentum_decay": (0.004, 1.0),
}

# Between which values a part is searched, as powers of ten; of betas and the like, 1 - the part.
GRIDS: dict[str, tuple[float, float]] = {
    "momentum": (-4.0, 0.0),
    "dampening": (-4.0, 0.0),
    "beta1": (-4.0, 0.0),
    "beta2": (-5.0, 0.0),
    "rho": (-4.0, 0.0),
    "epsilon": (-16.0, 0.0),
    "decay": (-6.0, 0.0),
}
ONE_MINUS = ("momentum", "dampening", "beta1", "beta2", "rho")


def _searched(runs: Sequence[Run], rule: Rule, part: str, grid: tuple[float, float]) -> Rule:
    """Return the rule with the best value of one part."""

    def with_value(exponent: float) -> Rule:
        value = 10.0**exponent
        return rule.with_settings(**{part: 1 - value if part in ONE_MINUS else value})

    exponent = _minimum(lambda exponent: _score(runs, with_value(exponent)), grid)
    return _rounded(runs, with_value(exponent), part)


def _minimum(function: Callable[[float], float], bounds: tuple[float, float]) -> float:
    """Return where a function of one variable is smallest: a grid, then Brent's method."""
    points = np.linspace(*bounds, GRID_POINTS)
    values = [function(float(point)) for point in points]
    best = int(np.argmin(values))
    low = float(points[max(best - 1, 0)])
    high = float(points[min(best + 1, len(points) - 1)])
    found = minimize_scalar(
        function, bounds=(low, high), method="bounded", options={"xatol": 1e-10}
    )
    return float(found.x)


def _rounded(runs: Sequence[Run], rule: Rule, part: str) -> Rule:
    """Return the rule with a value of few digits, if that is not worse: what a user writes."""
    value = rule.settings[part]
    score = _score(runs, rule)
    for digits in (1, 2, 3, 4):
        kept = 1 - value if part in ONE_MINUS else value
        short = float(f"{kept:.{digits - 1}e}")
        if part in ONE_MINUS:
            short = round(1 - short, 12)
        candidate = rule.with_settings(**{part: short})
        if _score(runs, candidate) <= score:
            return candidate
    return rule


def _clipped(runs: Sequence[Run], rule: Rule) -> Iterator[Rule]:
    """Yield rules that clip."""
    if rule.settings["clip"] != "none":
        joined = rule.settings["joined"] if FAMILIES[rule.family].whole else ()
        yield rule.with_settings(clip="none", joined=joined)
    kinds = [("value", 0.0, ())]
    for joined in _joined(runs):
        kinds += [("norm", 1e-6, joined), ("norm", 0.0, joined)]
    kinds += [("global_norm", 1e-6, ()), ("global_norm", 0.0, ())]
    for kind, epsilon, joined in kinds:
        clipping = rule.with_settings(clip=kind, clip_epsilon=epsilon, joined=joined)
        scores = [(_score(runs, clipping.with_settings(limit=limit)), limit) for limit in LIMITS]
        score, limit = min(scores)
        yield clipping.with_settings(limit=limit)
        if score > 1.0:
            middle = float(np.log10(limit))
            yield _searched(runs, clipping, "limit", (middle - 0.4, middle + 0.4))


def _accumulated(runs: Sequence[Run], rule: Rule) -> Iterator[Rule]:
    """Yield rules that wait for several gradients, if the weights have not moved at each update."""
    for each in runs:
        before = np.vstack([each.problem.weights[each.problem.sample], each.after[:-1]])
        moved = np.flatnonzero(np.abs(each.after - before).max(axis=1) > 0)
        if len(moved) and moved[0] > 0:
            for form in ("mean", "sum"):
                yield rule.with_settings(accumulate=int(moved[0]) + 1, accumulate_form=form)
            return


def _by_weight(runs: Sequence[Run], rule: Rule, written: Sequence[float]) -> Iterator[Rule]:
    """Yield rules in which some weights do not decay, or have rates of their own.

    Parameters
    ----------
    runs : sequence of Run
        The updates.
    rule : Rule
        The rule.
    written : sequence of float
        The factors of the decay in the optimizer's settings.
    """
    problem = runs[0].problem
    owner = np.repeat(np.arange(len(problem.names)), problem.sizes)[problem.sample]
    without = _worst_by_weight(runs, rule.with_settings(decay=0.0), owner)
    for decay in dict.fromkeys([rule.settings["decay"], *written]):
        if decay:
            decaying = rule.with_settings(decay=decay, undecayed=())
            worst = _worst_by_weight(runs, decaying, owner)
            names = tuple(np.array(problem.names)[without < worst].tolist())
            yield decaying.with_settings(undecayed=names)
    factors = _factors(runs[0], rule, owner)
    if factors:
        yield rule.with_settings(factors=factors)


def _worst_by_weight(runs: Sequence[Run], rule: Rule, owner: Array) -> Array:
    worst = np.zeros(len(runs[0].problem.names))
    for each in runs:
        np.maximum.at(worst, owner, each.excess(rule))
    return worst


def _factors(first: Run, rule: Rule, owner: Array) -> dict[str, float]:
    """Return by what the first step of each weight array is longer than the rule's."""
    problem = first.problem
    start = problem.weights[problem.sample]
    real = first.after[0] - start
    expected = run(rule.with_settings(factors={}), problem.shorter(1))[0] - start
    factors: dict[str, float] = {}
    for number, name in enumerate(problem.names):
        chosen = (owner == number) & (expected != 0)
        if chosen.any():
            ratio = float(np.median(real[chosen] / expected[chosen]))
            short = float(f"{ratio:.4g}")
            factors[name] = short if abs(ratio - short) < 1e-6 * abs(ratio) else ratio
    if all(abs(factor - 1) < 1e-6 for factor in factors.values()):
        return {}
    return factors


def _differing(one: Rule, other: Rule) -> set[str]:
    return {
        part
        for part, value in other.settings.items()
        if one.settings.get(part) != value and part != "single"
    }


def names_of(rule: Rule) -> str:
    """Return what people call a rule."""
    return FAMILIES[rule.family].name
