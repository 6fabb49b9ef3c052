"""Metrics in NumPy: which formula has made the numbers."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import log_softmax, xlogy

from .losses import CLIP, Rows, rows_of
from .observation import Array, Settings, numbers_of

TOP = (2, 3, 4, 5, 10)
THRESHOLDS = (0.5, 0.0)
# Keras approximates the area under a curve with so many thresholds.
AREA_THRESHOLDS = 200


@dataclass(frozen=True)
class Formula:
    """A metric.

    Attributes
    ----------
    name : str
        In words.
    kind : str
        What it measures: two metrics of one kind differ in a convention.
    compute : callable
        Takes outputs as rows; returns a number.
    threshold : float or None
        To which outputs are compared.
    batches : bool
        Whether it is the mean of the values of batches.
    """

    name: str
    kind: str
    compute: Callable[[Rows], float]
    threshold: float | None = None
    batches: bool = False


def formulas(settings: Sequence[Settings], batch_size: int | None) -> Iterator[Formula]:
    """Yield the formulas that may be meant, the usual ones first.

    Parameters
    ----------
    settings : sequence of dict
        Of the metrics of both sides: their numbers are tried.
    batch_size : int or None
        If given, also the mean over batches of this size is tried.
    """
    whole = list(_whole(settings))
    yield from whole
    if batch_size:
        for each in whole:
            yield Formula(
                f"{each.name}, mean over batches of {batch_size}",
                each.kind,
                _over_batches(each.compute, batch_size),
                each.threshold,
                batches=True,
            )


def _whole(settings: Sequence[Settings]) -> Iterator[Formula]:
    thresholds = list(dict.fromkeys([*THRESHOLDS, *numbers_of(settings, ("threshold",))]))
    yield Formula("accuracy of the largest output", "accuracy", _largest_output)
    for threshold in thresholds:
        yield Formula(
            f"accuracy with the threshold {threshold:g}",
            "accuracy",
            _with_threshold(threshold, _elements),
            threshold,
        )
    for count in TOP:
        yield Formula(f"accuracy of the {count} largest outputs", "top accuracy", _top(count))
    for threshold in thresholds:
        yield Formula(
            f"share of rows that are right with the threshold {threshold:g}",
            "accuracy",
            _with_threshold(threshold, _whole_rows),
            threshold,
        )
        yield Formula(
            f"accuracy with the threshold {threshold:g}, each output against each target",
            "accuracy against each target",
            _with_threshold(threshold, _against_each),
            threshold,
        )
    yield from _errors()
    for threshold in thresholds:
        for name, compute in (("precision", _precision), ("recall", _recall), ("F1", _f1)):
            yield Formula(
                f"{name} with the threshold {threshold:g}",
                name,
                _with_threshold(threshold, compute),
                threshold,
            )
    for name, compute in (("precision", _precision), ("recall", _recall), ("F1", _f1)):
        for how, average in (("macro", _macro), ("weighted", _weighted)):
            yield Formula(f"{how} {name}", name, average(compute))
    yield Formula("area under the ROC curve", "area", _area)
    yield Formula(f"area with {AREA_THRESHOLDS} thresholds", "area", _area_by_thresholds)
    yield Formula("cross-entropy of logits", "cross-entropy", _entropy_of_logits)
    yield Formula("cross-entropy of probabilities", "cross-entropy", _entropy_of_probabilities)
    yield Formula("number of right rows", "accuracy", _count)


def _over_batches(compute: Callable[[Rows], float], size: int) -> Callable[[Rows], float]:
    def mean(rows: Rows) -> float:
        per_sample = max(1, len(rows.values) // rows.shape[0])
        step = size * per_sample
        starts = range(0, len(rows.values), step)
        return float(np.mean([compute(_part(rows, slice(at, at + step))) for at in starts]))

    return mean


def _part(rows: Rows, part: slice) -> Rows:
    values = rows.values[part]
    return Rows(values, rows.targets[part], rows.labels[part], rows.classes, values.shape)


# Accuracies.


def _largest_output(rows: Rows) -> float:
    if rows.values.shape[1] < 2 or not rows.classes:
        return float("nan")
    return float(np.mean(rows.values.argmax(1) == rows.labels))


def _count(rows: Rows) -> float:
    return _largest_output(rows) * len(rows.values)


def _top(count: int) -> Callable[[Rows], float]:
    def compute(rows: Rows) -> float:
        if rows.values.shape[1] <= count or not rows.classes:
            return float("nan")
        best = np.argsort(-rows.values, 1)[:, :count]
        return float(np.mean(np.any(best == rows.labels[:, None], 1)))

    return compute


Decided = Callable[[Array, Array], float]


def _with_threshold(threshold: float, compute: Decided) -> Callable[[Rows], float]:
    def decided(rows: Rows) -> float:
        return compute(rows.values > threshold, rows.targets > 0.5)

    return decided


def _elements(decided: Array, wanted: Array) -> float:
    return float(np.mean(decided == wanted))


def _whole_rows(decided: Array, wanted: Array) -> float:
    return float(np.mean(np.all(decided == wanted, 1)))


def _against_each(decided: Array, wanted: Array) -> float:
    if decided.shape[1] != 1:
        return float("nan")
    return float(np.mean(decided == wanted[:, 0]))


def _precision(decided: Array, wanted: Array) -> float:
    chosen = np.sum(decided)
    return float(np.sum(decided & wanted) / chosen) if chosen else 0.0


def _recall(decided: Array, wanted: Array) -> float:
    right = np.sum(wanted)
    return float(np.sum(decided & wanted) / right) if right else 0.0


def _f1(decided: Array, wanted: Array) -> float:
    total = np.sum(decided) + np.sum(wanted)
    return float(2 * np.sum(decided & wanted) / total) if total else 0.0


def _by_class(compute: Decided, rows: Rows) -> tuple[Array, Array]:
    """Return the value and the number of samples of each class."""
    if rows.values.shape[1] < 2 or not rows.classes:
        return np.array([np.nan]), np.ones(1)
    chosen = rows.values.argmax(1)
    classes = range(rows.values.shape[1])
    values = [compute(chosen == each, rows.labels == each) for each in classes]
    return np.array(values), np.array([np.sum(rows.labels == each) for each in classes])


def _macro(compute: Decided) -> Callable[[Rows], float]:
    return lambda rows: float(_by_class(compute, rows)[0].mean())


def _weighted(compute: Decided) -> Callable[[Rows], float]:
    def mean(rows: Rows) -> float:
        values, counts = _by_class(compute, rows)
        return float(np.average(values, weights=counts))

    return mean


# Errors of numbers.


def _errors() -> Iterator[Formula]:
    def of(name: str, compute: Callable[[Array, Array], float]) -> Formula:
        return Formula(name, name, lambda rows: compute(rows.values, rows.targets))

    yield of("mean squared error", lambda o, y: float(np.mean((o - y) ** 2)))
    yield of("mean absolute error", lambda o, y: float(np.mean(np.abs(o - y))))
    yield of("root of the mean squared error", lambda o, y: float(np.sqrt(np.mean((o - y) ** 2))))
    yield Formula("R² of all elements", "R²", lambda rows: _r2(rows.values, rows.targets))
    yield Formula("mean R² of the columns", "R²", _r2_of_columns)
    yield Formula("R² with the variance of a sample", "R²", _r2_of_sample)
    yield Formula("square of the correlation", "R²", _correlation)
    yield of("mean absolute percentage error", _percentage)
    yield Formula(
        "mean squared error of each output against each target",
        "error against each target",
        _broadcast(lambda d: d * d),
    )
    yield Formula(
        "mean absolute error of each output against each target",
        "error against each target",
        _broadcast(np.abs),
    )


def _percentage(o: Array, y: Array) -> float:
    return float(100 * np.mean(np.abs(o - y) / np.maximum(np.abs(y), CLIP)))


def _broadcast(error: Callable[[Array], Array]) -> Callable[[Rows], float]:
    def compute(rows: Rows) -> float:
        if rows.values.shape[1] != 1:
            return float("nan")
        return float(np.mean(error(rows.values - rows.targets[:, 0])))

    return compute


def _r2(values: Array, targets: Array) -> float:
    total = np.sum((targets - targets.mean()) ** 2)
    return float(1 - np.sum((values - targets) ** 2) / total) if total else float("nan")


def _r2_of_columns(rows: Rows) -> float:
    columns = range(rows.values.shape[1])
    return float(np.mean([_r2(rows.values[:, c], rows.targets[:, c]) for c in columns]))


def _r2_of_sample(rows: Rows) -> float:
    variance = np.var(rows.targets, ddof=1)
    error = np.mean((rows.values - rows.targets) ** 2)
    return float(1 - error / variance) if variance else float("nan")


def _correlation(rows: Rows) -> float:
    return float(np.corrcoef(rows.values.ravel(), rows.targets.ravel())[0, 1] ** 2)


# Areas and entropies.


def _area(rows: Rows) -> float:
    wanted = rows.targets[:, -1] > 0.5
    if rows.values.shape[1] > 2 or wanted.all() or not wanted.any():
        return float("nan")
    scores = rows.values[:, -1]
    # The share of pairs of a positive and a negative sample that are in the right order.
    apart = scores[wanted][:, None] - scores[~wanted]
    return float(np.mean((apart > 0) + 0.5 * (apart == 0)))


def _area_by_thresholds(rows: Rows) -> float:
    wanted = rows.targets[:, -1] > 0.5
    if rows.values.shape[1] > 2 or wanted.all() or not wanted.any():
        return float("nan")
    inner = (np.arange(AREA_THRESHOLDS - 2) + 1) / (AREA_THRESHOLDS - 1)
    thresholds = np.concatenate([[-CLIP], inner, [1 + CLIP]])
    chosen = rows.values[:, -1][:, None] > thresholds
    rights = chosen[wanted].mean(0)
    wrongs = chosen[~wanted].mean(0)
    return float(np.sum((wrongs[:-1] - wrongs[1:]) * (rights[:-1] + rights[1:]) / 2))


def _entropy_of_logits(rows: Rows) -> float:
    if rows.values.shape[1] == 1:
        losses = np.logaddexp(rows.values, 0) - rows.targets * rows.values
        return float(np.mean(losses))
    return float(-np.mean(np.sum(rows.targets * log_softmax(rows.values, 1), 1)))


def _entropy_of_probabilities(rows: Rows) -> float:
    kept = np.clip(rows.values, CLIP, 1 - CLIP)
    if rows.values.shape[1] == 1:
        losses = xlogy(rows.targets, kept) + xlogy(1 - rows.targets, 1 - kept)
        return float(-np.mean(losses))
    return float(-np.mean(np.sum(xlogy(rows.targets, kept), 1)))


def identify(
    outputs: Array,
    targets: Sequence[Array],
    values: Sequence[float],
    settings: Sequence[Settings],
    batch_size: int | None,
    tolerance: float,
) -> list[Formula]:
    """Return the formulas that make a metric's values, the usual ones first.

    Parameters
    ----------
    outputs : ndarray
        The model's outputs.
    targets : sequence of ndarray
        For each value, the targets.
    values : sequence of float
        What the metric has returned.
    settings : sequence of dict
        Of the metrics of both sides.
    batch_size : int or None
        In which batches the metric may have been computed.
    tolerance : float
        The largest difference.
    """
    tables = [rows_of(outputs, each) for each in targets]
    return [
        formula
        for formula in formulas(settings, batch_size)
        if all(
            rows is not None and _close(formula.compute, rows, value, tolerance)
            for rows, value in zip(tables, values, strict=True)
        )
    ]


def _close(compute: Callable[[Rows], float], rows: Rows, value: float, tolerance: float) -> bool:
    with np.errstate(all="ignore"):
        made = compute(rows)
    return any(
        np.isfinite(made) and abs(made * factor - value) <= tolerance * max(1.0, abs(value))
        for factor in (1.0, 100.0)  # some count in per cent
    )
