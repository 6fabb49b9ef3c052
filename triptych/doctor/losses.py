"""Losses in NumPy: which formula has made a value and a gradient.

A loss is a sum over rows: ``loss = Σ scaleᵢ · lossᵢ``. A row is a sample, or a time step or pixel
of one; its entries are classes or features. The formula gives ``lossᵢ`` and its gradient; what the
reduction, class weights and ignored labels do is in the scales, which are read off the gradient.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import expit, log_softmax, softmax, xlogy

from .observation import Array, Settings, largest

# What Keras clips probabilities at.
CLIP = 1e-7
# How far a formula may be from the gradient that it explains, relative to the largest.
FITS = {"float64": 2e-6, "native": 2e-4}

# A row has no gradient if that is so many times smaller than it would be with the others' scale.
SATURATED = 1e3

# Focal losses are usually written with one of these.
GAMMAS = (2.0, 1.0, 1.5, 3.0, 0.5, 5.0)
LARGEST_GAMMA = 8.0

# Of each label there must be so many rows, before scales are said to depend on it.
SAMPLES_OF_A_LABEL = 2

Computed = tuple[Array, Array]


@dataclass(frozen=True)
class Rows:
    """Outputs and targets of a loss.

    Attributes
    ----------
    values : ndarray, shape (rows, entries)
        The outputs.
    targets : ndarray, shape (rows, entries)
        Class numbers as ones and zeros; other targets as they are.
    labels : ndarray of float, shape (rows,)
        The class number of a row, or its only target.
    classes : bool
        Whether the targets are classes: each row sums to 1, or to 0 where the label is no class.
    shape : tuple of int
        Of the outputs.
    """

    values: Array
    targets: Array
    labels: Array
    classes: bool
    shape: tuple[int, ...]


def rows_of(outputs: Array, targets: Array) -> Rows | None:
    """Return outputs and targets as rows; None if they do not fit each other."""
    values = np.asarray(outputs, np.float64)
    wanted = np.asarray(targets)
    shape = values.shape
    if values.ndim == 0 or not values.size:
        return None
    features = shape[-1] if values.ndim > 1 else 1
    count = values.size // features
    if wanted.size == values.size:
        table = wanted.astype(np.float64).reshape(count, features)
        classes = features > 1 and bool(np.all(table >= 0)) and np.allclose(table.sum(1), 1)
        labels = table.argmax(1) if classes else table[:, 0]
        return Rows(
            values.reshape(count, features), table, labels.astype(np.float64), classes, shape
        )
    if wanted.size == count and np.all(wanted == np.round(wanted)):
        labels = wanted.reshape(-1).astype(np.int64)
        table = (labels[:, None] == np.arange(features)).astype(np.float64)
        rows = values.reshape(count, features)
        return Rows(rows, table, labels.astype(np.float64), True, shape)
    return None


# What lies between the last layer with weights and the model's output.


@dataclass(frozen=True)
class Tail:
    """A function of each row.

    Attributes
    ----------
    name : str
        For example ``softmax``.
    forward : callable
        Takes rows and returns rows.
    backward : callable
        Takes rows before, rows after and gradients after; returns gradients before.
    """

    name: str
    forward: Callable[[Array], Array]
    backward: Callable[[Array, Array, Array], Array]


def _softmax_backward(before: Array, after: Array, gradient: Array) -> Array:
    return after * (gradient - np.sum(after * gradient, 1, keepdims=True))


def _log_softmax_backward(before: Array, after: Array, gradient: Array) -> Array:
    return gradient - np.exp(after) * gradient.sum(1, keepdims=True)


TAILS = (
    Tail("identity", lambda x: x, lambda x, y, g: g),
    Tail("softmax", lambda x: softmax(x, 1), _softmax_backward),
    Tail("log_softmax", lambda x: log_softmax(x, 1), _log_softmax_backward),
    Tail("sigmoid", expit, lambda x, y, g: g * y * (1 - y)),
    Tail("tanh", np.tanh, lambda x, y, g: g * (1 - y * y)),
    Tail("relu", lambda x: np.maximum(x, 0), lambda x, y, g: g * (x > 0)),
    Tail("exp", np.exp, lambda x, y, g: g * y),
    Tail(
        "softplus",
        lambda x: np.logaddexp(x, 0),
        lambda x, y, g: g * expit(x),
    ),
)


def tail_between(before: Array, after: Array, dtype: str) -> Tail | None:
    """Return the function that makes a model's output of its last layer's; None if unknown."""
    if before.size != after.size or not before.size:
        return None
    features = before.shape[-1] if before.ndim > 1 else 1
    rows = np.asarray(before, np.float64).reshape(-1, features)
    wanted = np.asarray(after, np.float64).reshape(-1, features)
    for tail in TAILS:
        with np.errstate(all="ignore"):
            made = tail.forward(rows)
        if largest(made - wanted) <= FITS[dtype] * max(largest(wanted), 1e-300):
            return tail
    return None


# Formulas.


@dataclass(frozen=True)
class Formula:
    """A loss of one row.

    Attributes
    ----------
    family : str
        For example ``cross-entropy``.
    reads : str
        What it takes the outputs for: ``logits``, ``probabilities``, ``log-probabilities``,
        ``values``.
    compute : callable
        Takes `Rows`; returns the losses, shape (rows,), and gradients, shape (rows, entries).
    classes : bool
        Whether the targets must be classes.
    settings : dict
        Of the formula: ``clip``, ``smoothing``, ``delta``, ``broadcast``.
    """

    family: str
    reads: str
    compute: Callable[[Rows], Computed]
    classes: bool = False
    settings: Settings = field(default_factory=dict[str, Any])


def _cross_entropy(smoothing: float) -> Callable[[Rows], Computed]:
    def compute(rows: Rows) -> Computed:
        logs = log_softmax(rows.values, 1)
        wanted = _smoothed(rows, smoothing)
        return -np.sum(wanted * logs, 1), np.exp(logs) * wanted.sum(1, keepdims=True) - wanted

    return compute


def _smoothed(rows: Rows, smoothing: float) -> Array:
    weights = rows.targets.sum(1, keepdims=True)
    return (1 - smoothing) * rows.targets + smoothing * weights / rows.targets.shape[1]


def _of_probabilities(rows: Rows) -> Computed:
    values = rows.values
    return -np.sum(xlogy(rows.targets, values), 1), -rows.targets / values


def _clipped_sparse(rows: Rows) -> Computed:
    """Return Keras' loss of class numbers: clipped, and normalised by the logits' softmax."""
    kept = np.clip(rows.values, CLIP, 1 - CLIP)
    inside = kept == rows.values
    total = kept.sum(1, keepdims=True)
    losses = np.log(total[:, 0]) - np.sum(rows.targets * np.log(kept), 1)
    return losses, inside * (1 / total - rows.targets / kept)


def _clipped_categorical(rows: Rows) -> Computed:
    """Return Keras' loss of rows of probabilities: normalised by the sum, then clipped."""
    total = rows.values.sum(1, keepdims=True)
    scaled = rows.values / total
    kept = np.clip(scaled, CLIP, 1 - CLIP)
    inner = np.where(kept == scaled, -rows.targets / kept, 0.0)
    shared = np.sum(inner * rows.values, 1, keepdims=True)
    return -np.sum(rows.targets * np.log(kept), 1), inner / total - shared / total**2


def _negative(rows: Rows) -> Computed:
    return -np.sum(rows.targets * rows.values, 1), -rows.targets


def _binary_logits(smoothing: float) -> Callable[[Rows], Computed]:
    def compute(rows: Rows) -> Computed:
        wanted = rows.targets * (1 - smoothing) + 0.5 * smoothing
        losses = np.logaddexp(rows.values, 0) - wanted * rows.values
        return losses.sum(1), expit(rows.values) - wanted

    return compute


def _binary_probabilities(rows: Rows) -> Computed:
    """Return PyTorch's loss of probabilities: a logarithm is at least -100."""
    values = rows.values
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = np.maximum(np.log(values), -100)
        others = np.maximum(np.log(1 - values), -100)
    losses = -rows.targets * logs - (1 - rows.targets) * others
    slope = (values - rows.targets) / np.maximum(values * (1 - values), 1e-12)
    return losses.sum(1), slope


def _binary_negative(rows: Rows) -> Computed:
    """Return the loss of probabilities that are taken for their logarithms."""
    right = rows.targets * rows.values + (1 - rows.targets) * (1 - rows.values)
    return -right.sum(1), 1 - 2 * rows.targets


def _binary_clipped(rows: Rows) -> Computed:
    """Return Keras' loss of probabilities."""
    kept = np.clip(rows.values, CLIP, 1 - CLIP)
    losses = -xlogy(rows.targets, kept) - xlogy(1 - rows.targets, 1 - kept)
    slope = (kept - rows.targets) / (kept * (1 - kept))
    return losses.sum(1), np.where(kept == rows.values, slope, 0.0)


def _focal_of(right: Array, logs: Array, gamma: float) -> Computed:
    """Return a focal loss of the probability of the right class, and its derivative.

    Parameters
    ----------
    right, logs : ndarray
        The probability and its logarithm.
    gamma : float
        The exponent of the probability of all others.
    """
    rest = 1 - right
    slopes = gamma * rest ** (gamma - 1) * logs - rest**gamma / right
    return -(rest**gamma) * logs, slopes


def _focal(gamma: float) -> Callable[[Rows], Computed]:
    def compute(rows: Rows) -> Computed:
        logs = log_softmax(rows.values, 1)
        chosen = np.sum(rows.targets * logs, 1, keepdims=True)
        losses, slopes = _focal_of(np.exp(chosen), chosen, gamma)
        return losses[:, 0], slopes * np.exp(chosen) * (rows.targets - np.exp(logs))

    return compute


def _focal_probabilities(gamma: float) -> Callable[[Rows], Computed]:
    def compute(rows: Rows) -> Computed:
        right = np.sum(rows.targets * rows.values, 1, keepdims=True)
        losses, slopes = _focal_of(right, np.log(right), gamma)
        return losses[:, 0], slopes * rows.targets

    return compute


def _focal_binary(gamma: float, alpha: float | None, *, logits: bool) -> Callable[[Rows], Computed]:
    """Return a focal loss of each entry; `alpha` weighs the ones, the rest of 1 the zeros."""

    def compute(rows: Rows) -> Computed:
        sign = 2 * rows.targets - 1
        if logits:
            logs = -np.logaddexp(0, -sign * rows.values)
            right = np.exp(logs)
            inner = sign * right * (1 - right)
        else:
            right = np.where(sign > 0, rows.values, 1 - rows.values)
            logs = np.log(right)
            inner = sign
        losses, slopes = _focal_of(right, logs, gamma)
        weights = 1.0 if alpha is None else np.where(sign > 0, alpha, 1 - alpha)
        return np.sum(weights * losses, 1), weights * slopes * inner

    return compute


def _of_difference(
    loss: Callable[[Array], Array], slope: Callable[[Array], Array], *, broadcast: bool
) -> Callable[[Rows], Computed]:
    """Return a loss of the difference between output and target."""

    def compute(rows: Rows) -> Computed:
        difference = rows.values - rows.targets
        return loss(difference).sum(1), slope(difference)

    def compute_all(rows: Rows) -> Computed:
        # Each output against each target, as shapes (N, 1) and (N,) are broadcast.
        difference = rows.values - rows.targets[:, 0]
        return loss(difference).mean(1), slope(difference).mean(1, keepdims=True)

    return compute_all if broadcast else compute


def _huber(delta: float) -> tuple[Callable[[Array], Array], Callable[[Array], Array]]:
    def loss(d: Array) -> Array:
        size = np.abs(d)
        return np.where(size <= delta, 0.5 * d * d, delta * (size - 0.5 * delta))

    return loss, lambda d: np.clip(d, -delta, delta)


def _log_cosh(d: Array) -> Array:
    return d + np.logaddexp(-2 * d, 0) - np.log(2)


def _poisson(epsilon: float) -> Callable[[Rows], Computed]:
    def compute(rows: Rows) -> Computed:
        values = rows.values + epsilon
        losses = rows.values - rows.targets * np.log(values)
        return losses.sum(1), 1 - rows.targets / values

    return compute


def _poisson_of_log(rows: Rows) -> Computed:
    rate = np.exp(rows.values)
    return np.sum(rate - rows.targets * rows.values, 1), rate - rows.targets


def _divergence(rows: Rows) -> Computed:
    values = np.clip(rows.values, CLIP, 1)
    targets = np.clip(rows.targets, CLIP, 1)
    inside = values == rows.values
    return np.sum(targets * np.log(targets / values), 1), np.where(inside, -targets / values, 0.0)


def _divergence_of_log(rows: Rows) -> Computed:
    losses = np.sum(xlogy(rows.targets, rows.targets) - rows.targets * rows.values, 1)
    return losses, -rows.targets


def _logarithmic(rows: Rows) -> Computed:
    values = np.maximum(rows.values, CLIP)
    difference = np.log(values + 1) - np.log(np.maximum(rows.targets, CLIP) + 1)
    slope = np.where(values == rows.values, 2 * difference / (values + 1), 0.0)
    return np.sum(difference**2, 1), slope


def _percentage(rows: Rows) -> Computed:
    size = np.maximum(np.abs(rows.targets), CLIP)
    difference = rows.values - rows.targets
    return 100 * np.sum(np.abs(difference) / size, 1), 100 * np.sign(difference) / size


def _cosine(rows: Rows) -> Computed:
    length = np.linalg.norm(rows.values, axis=1, keepdims=True)
    direction = rows.values / length
    wanted = rows.targets / np.linalg.norm(rows.targets, axis=1, keepdims=True)
    cosine = np.sum(direction * wanted, 1, keepdims=True)
    return -cosine[:, 0], -(wanted - cosine * direction) / length


def _signs(rows: Rows) -> Array:
    return np.where(rows.targets > 0, 1.0, -1.0)


def _hinge(rows: Rows) -> Computed:
    sign = _signs(rows)
    margin = np.maximum(1 - sign * rows.values, 0)
    return margin.sum(1), np.where(margin > 0, -sign, 0.0)


def _squared_hinge(rows: Rows) -> Computed:
    sign = _signs(rows)
    margin = np.maximum(1 - sign * rows.values, 0)
    return np.sum(margin**2, 1), -2 * sign * margin


def _categorical_hinge(rows: Rows) -> Computed:
    wrong = (1 - rows.targets) * rows.values
    best = wrong.argmax(1)
    margin = wrong.max(1) - np.sum(rows.targets * rows.values, 1) + 1
    chosen = np.zeros_like(rows.values)
    np.put_along_axis(chosen, best[:, None], 1.0, 1)
    gradient = chosen * (1 - rows.targets) - rows.targets
    return np.maximum(margin, 0), np.where(margin[:, None] > 0, gradient, 0.0)


def _multi_margin(rows: Rows) -> Computed:
    right = np.sum(rows.targets * rows.values, 1, keepdims=True)
    margin = np.maximum(1 - right + rows.values, 0) * (1 - rows.targets)
    active = (margin > 0).astype(np.float64)
    gradient = active - rows.targets * active.sum(1, keepdims=True)
    return margin.sum(1), gradient


def _square(d: Array) -> Array:
    return d * d


def _double(d: Array) -> Array:
    return 2 * d


# What is called absolute and squared error, with the derivative.
SQUARED = (_square, _double)
ABSOLUTE = (np.abs, np.sign)


def formulas(rows: Rows, gradient: Array, settings: Sequence[Settings]) -> Iterator[Formula]:
    """Yield the formulas that may be meant, the usual ones first.

    Parameters
    ----------
    rows : Rows
        Outputs and targets.
    gradient : ndarray, shape (rows, entries)
        Of the loss: values such as Huber's delta are read off it.
    settings : sequence of dict
        Of the losses of both sides: their numbers are tried.
    """
    yield Formula("cross-entropy", "logits", _cross_entropy(0.0), True)
    yield Formula("cross-entropy", "probabilities", _of_probabilities, True)
    yield Formula("cross-entropy", "log-probabilities", _negative, True)
    for smoothing in _numbers(settings, "smoothing") or (0.1, 0.05, 0.2):
        of_smoothing: Settings = {"smoothing": smoothing}
        yield Formula("cross-entropy", "logits", _cross_entropy(smoothing), True, of_smoothing)
        yield Formula(
            "binary cross-entropy", "logits", _binary_logits(smoothing), False, of_smoothing
        )
    yield Formula("binary cross-entropy", "logits", _binary_logits(0.0))
    yield Formula("binary cross-entropy", "probabilities", _binary_probabilities)
    yield Formula("binary cross-entropy", "log-probabilities", _binary_negative)
    clip: Settings = {"clip": CLIP}
    yield Formula("cross-entropy", "probabilities", _clipped_sparse, True, clip)
    yield Formula("cross-entropy", "probabilities", _clipped_categorical, True, clip)
    yield Formula("binary cross-entropy", "probabilities", _binary_clipped, False, clip)
    for gamma in _gammas(rows, gradient, settings):
        yield from _focal_formulas(gamma, settings)
    for broadcast in (False, True) if rows.values.shape[1] == 1 else (False,):
        yield from _of_differences(rows, gradient, settings, broadcast=broadcast)
    yield Formula("Poisson", "values", _poisson(0.0))
    yield Formula("Poisson", "values", _poisson(CLIP), False, {"epsilon": CLIP})
    yield Formula("Poisson", "values", _poisson(1e-8), False, {"epsilon": 1e-8})
    yield Formula("Poisson", "logarithms", _poisson_of_log)
    yield Formula("Kullback-Leibler divergence", "probabilities", _divergence)
    yield Formula("Kullback-Leibler divergence", "log-probabilities", _divergence_of_log)
    yield Formula("cosine", "values", _cosine)
    yield Formula("hinge", "values", _hinge)
    yield Formula("squared hinge", "values", _squared_hinge)
    yield Formula("categorical hinge", "values", _categorical_hinge, True)
    yield Formula("multi-margin", "values", _multi_margin, True)
    yield Formula("squared logarithmic error", "values", _logarithmic)
    yield Formula("absolute percentage error", "values", _percentage)


def _focal_formulas(gamma: float, settings: Sequence[Settings]) -> Iterator[Formula]:
    of_gamma: Settings = {"gamma": gamma}
    name = "focal cross-entropy"
    yield Formula(name, "logits", _focal(gamma), True, of_gamma)
    yield Formula(name, "probabilities", _focal_probabilities(gamma), True, of_gamma)
    for alpha in (None, *_numbers(settings, "alpha"), 0.25, 0.75):
        of_both = of_gamma if alpha is None else {**of_gamma, "alpha": alpha}
        for reads in ("logits", "probabilities"):
            compute = _focal_binary(gamma, alpha, logits=reads == "logits")
            yield Formula("focal binary cross-entropy", reads, compute, False, of_both)


def _gammas(rows: Rows, gradient: Array, settings: Sequence[Settings]) -> tuple[float, ...]:
    """Return what gamma of a focal loss may be: named, usual, or read off the gradient."""
    if not np.all((rows.targets == 0) | (rows.targets == 1)):
        return ()
    found = [*_numbers(settings, "gamma"), *GAMMAS]
    if gradient.any() and (rows.classes or rows.values.shape[1] == 1):
        found.append(_read_gamma(rows, gradient))
    return tuple(dict.fromkeys(found))


def _read_gamma(rows: Rows, gradient: Array) -> float:
    """Return the gamma with which the gradient of each row is a multiple that its label has."""

    def spread(gamma: float) -> float:
        formula = _focal(gamma) if rows.classes else _focal_binary(gamma, None, logits=True)
        with np.errstate(all="ignore"):
            _, slopes = formula(rows)
            ratios = np.log(np.abs(gradient).max(1)) - np.log(np.abs(slopes).max(1))
        known = np.isfinite(ratios)
        groups = [ratios[known & (rows.labels == label)] for label in np.unique(rows.labels)]
        return float(sum(each.std() for each in groups if len(each)))

    fitted: Any = minimize_scalar(spread, bounds=(0.01, LARGEST_GAMMA), method="bounded")
    return float(f"{fitted.x:.4g}")


def _of_differences(
    rows: Rows, gradient: Array, settings: Sequence[Settings], *, broadcast: bool
) -> Iterator[Formula]:
    named: list[tuple[str, Any, Settings]] = [
        ("squared error", SQUARED, {}),
        ("absolute error", ABSOLUTE, {}),
        ("log-cosh", (_log_cosh, np.tanh), {}),
        *(("Huber", _huber(each), {"delta": each}) for each in _deltas(rows, gradient, settings)),
    ]
    for name, parts, of_formula in named:
        compute = _of_difference(*parts, broadcast=broadcast)
        of_shape: Settings = {"broadcast": True} if broadcast else {}
        yield Formula(name, "values", compute, False, {**of_formula, **of_shape})


def _numbers(settings: Sequence[Settings], word: str) -> tuple[float, ...]:
    found = [
        float(value)
        for each in settings
        for name, value in each.items()
        if word in name and isinstance(value, (int, float)) and value
    ]
    return tuple(dict.fromkeys(found))


def _deltas(rows: Rows, gradient: Array, settings: Sequence[Settings]) -> tuple[float, ...]:
    """Return what Huber's delta may be: where the gradient stops to grow."""
    difference = np.abs(rows.values - rows.targets)
    slopes = np.abs(gradient)
    rising = (difference > 0) & (slopes > 0) & (slopes < 0.999 * slopes.max(initial=0.0))
    found = [*_numbers(settings, "delta"), *_numbers(settings, "beta"), 1.0]
    if rising.any():
        scale = float(np.median(slopes[rising] / difference[rising]))
        found.append(float(f"{slopes.max() / scale:.6g}"))
    return tuple(dict.fromkeys(found))


# Which formula it is.


@dataclass(frozen=True)
class Explained:
    """A formula that makes a gradient, and the scales of its rows.

    Attributes
    ----------
    tail : str
        What lies between the last layer and the output; ``unknown`` if the gradient at the output
        was explained.
    formula : Formula
        The formula.
    rows : Rows
        What it was computed of.
    scales : ndarray, shape (rows,)
        By what each row's loss is multiplied; NaN where a row has no gradient.
    value : float
        The loss that formula and scales give.
    """

    tail: str
    formula: Formula
    rows: Rows
    scales: Array
    value: float

    @property
    def ignored(self) -> Array:
        """Which rows do not count."""
        return self.scales == 0

    @property
    def scale(self) -> float | None:
        """The scale of all rows that count; None if it varies."""
        counted = self.scales[(self.scales != 0) & ~np.isnan(self.scales)]
        return float(np.median(counted)) if len(counted) and _alike(counted) else None

    def by_label(self) -> dict[float, float] | None:
        """Return the scale of each label; None if it varies within one."""
        found: dict[float, float] = {}
        for label in np.unique(self.rows.labels):
            scales = self.scales[self.rows.labels == label]
            counted = scales[(scales != 0) & ~np.isnan(scales)]
            if not len(counted):
                continue
            if not _alike(counted):
                return None
            found[float(label)] = float(np.median(counted))
        return found


def _alike(values: Array) -> bool:
    spread = float(values.max() - values.min())
    return spread <= 1e-3 * float(np.abs(values).max())


def explain(
    last: Array,
    output: Array,
    gradient: Array | None,
    output_gradient: Array | None,
    targets: Array,
    value: float,
    settings: Sequence[Settings],
    dtype: str,
    expected: str = "",
) -> Explained | None:
    """Return the formula that makes a loss and its gradient.

    Parameters
    ----------
    last : ndarray
        What the last layer with weights returns.
    output : ndarray
        The model's output.
    gradient, output_gradient : ndarray or None
        The gradients of the loss there.
    targets : ndarray
        The targets.
    value : float
        The loss.
    settings : sequence of dict
        Of the losses of both sides.
    dtype : str
        In which it was computed.
    expected : str
        A family of formulas, which is preferred where several fit.
    """
    tail = tail_between(last, output, dtype) if gradient is not None else None
    rows = rows_of(output, targets)
    if rows is None:
        return None
    if tail is not None:
        assert gradient is not None
        before = np.asarray(last, np.float64).reshape(rows.values.shape)
        wanted = np.asarray(gradient, np.float64).reshape(rows.values.shape)
    elif output_gradient is not None:
        before = rows.values
        wanted = np.asarray(output_gradient, np.float64).reshape(rows.values.shape)
    else:
        return _of_value(tail_between(last, output, dtype), rows, value, settings, dtype)
    fits: list[tuple[tuple[float, ...], Explained]] = []
    at_output = wanted if tail is None or tail.name == "identity" else _before_tail(rows)
    for place, formula in enumerate(formulas(rows, at_output, settings)):
        if formula.classes and not rows.classes:
            continue
        if wanted.any():
            found = _fitted(formula, tail, before, rows, wanted, dtype)
        else:
            found = _without_gradient(formula, tail, before, rows, value, dtype)
        if found is None:
            continue
        regular = 0.0 if found.scale is not None else 1.0
        error = abs(found.value - value) / max(abs(value), 1e-300)
        wrong = 0.0 if error <= 10 * FITS[dtype] else 1.0
        other = 0.0 if formula.family == expected else 1.0
        fits.append(((regular, wrong, other, float(place)), found))
    return min(fits, key=lambda fit: fit[0])[1] if fits else None


def _of_value(
    tail: Tail | None, rows: Rows, value: float, settings: Sequence[Settings], dtype: str
) -> Explained | None:
    """Return the first formula that makes the value of a loss whose gradient is not known."""
    for formula in formulas(rows, _before_tail(rows), settings):
        if rows.classes or not formula.classes:
            computed = _computed(formula, None, rows.values, rows)
            found = computed and _scaled(formula, tail, computed[0], rows, value, dtype)
            if found:
                return found
    return None


def _before_tail(rows: Rows) -> Array:
    """Return a gradient of which nothing can be read off."""
    return np.zeros_like(rows.values)


def _computed(
    formula: Formula, tail: Tail | None, before: Array, rows: Rows
) -> tuple[Array, Array] | None:
    """Return a formula's losses and its gradients before the tail; None if they are not finite."""
    with np.errstate(all="ignore"):
        losses, slopes = formula.compute(rows)
        if tail is not None:
            slopes = tail.backward(before, rows.values, slopes)
    finite = np.isfinite(losses).all() and np.isfinite(slopes).all()
    return (losses, slopes) if finite else None


def _without_gradient(
    formula: Formula, tail: Tail | None, before: Array, rows: Rows, value: float, dtype: str
) -> Explained | None:
    """Return a formula whose gradient is zero, as of clipped values, if it makes the value."""
    computed = _computed(formula, tail, before, rows)
    if computed is None or computed[1].any():
        return None
    return _scaled(formula, tail, computed[0], rows, value, dtype)


def _scaled(
    formula: Formula, tail: Tail | None, losses: Array, rows: Rows, value: float, dtype: str
) -> Explained | None:
    """Return a formula if a usual scale of the losses of all rows makes the value."""
    total = float(losses.sum())
    count, entries = rows.values.shape
    name = tail.name if tail else "unknown"
    for scale in (1 / count, 1 / (count * entries), 1.0):
        if abs(total * scale - value) <= FITS[dtype] * abs(value):
            return Explained(name, formula, rows, np.full(count, scale), total * scale)
    return None


def _fitted(
    formula: Formula, tail: Tail | None, before: Array, rows: Rows, wanted: Array, dtype: str
) -> Explained | None:
    """Return the formula with the scales that fit best; None if it does not fit."""
    computed = _computed(formula, tail, before, rows)
    top = largest(wanted)
    if computed is None:
        return None
    losses, slopes = computed
    sizes = np.abs(slopes).max(1)
    flat = sizes <= 1e-9 * largest(slopes)
    with np.errstate(all="ignore"):
        # In units of the largest slope of a row, whose square may be no number.
        units = slopes / sizes[:, None]
        scales = np.sum(units * wanted, 1) / np.sum(units * units, 1) / sizes
    # Where the formula's own gradient is as small, it is not known whether the row counts.
    tiny = FITS[dtype] * 1e-3
    vanishing = sizes <= SATURATED * tiny * largest(slopes)
    scales[np.abs(wanted).max(1) <= tiny * top] = 0.0
    scales[flat | (vanishing & (scales == 0))] = np.nan
    rest = wanted - np.nan_to_num(scales)[:, None] * slopes
    if largest(rest) > FITS[dtype] * top:
        return None
    known = scales[~np.isnan(scales)]
    filled = np.where(np.isnan(scales), np.median(known) if len(known) else 0.0, scales)
    found = Explained(
        tail.name if tail else "unknown", formula, rows, scales, float(np.sum(filled * losses))
    )
    return found if found.scale is not None or _by_few_labels(found) else None


def _by_few_labels(found: Explained) -> bool:
    """Return whether the scales depend on the label, where there are few of them."""
    labels = len(np.unique(found.rows.labels))
    few = labels <= max(2, len(found.rows.labels) // SAMPLES_OF_A_LABEL)
    return few and found.by_label() is not None
