"""The cost model: the seconds of a step in one row, predicted from what the step has to do.

A linear regression with costs of at least 0 gives each call, byte and operation its price, so that
every term can be read. It minimises relative errors: a small network counts as much as a large one.
A Gaussian process (Rasmussen & Williams 2006) over the shares of the terms then corrects what the
regression misses of similar networks, and tells how uncertain the prediction is. Both are
scikit-learn's.
"""

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .workload import Arithmetic, Product

Floats = NDArray[np.float64]

NEAR_CACHE_BYTES = 2**20  # a core's own cache
FAR_CACHE_BYTES = 2**24  # a core's part of the shared cache
DENSE_GROUP = 16  # units that are computed together, whether there are as many or not
FILTER_GROUP = 32  # filters, likewise
LEAST_SECONDS = 1e-9  # of any step

LEAST_RATIO = 0.3  # of a regression to the truth; less is an outlier

FOLDS = 10  # of the cross-validation
COVERED = 0.9  # share of the true times that an interval contains
DEVIATIONS = 1.645  # half the width of such an interval, in standard deviations

SHARES = ("overhead", "memory", "arithmetic")
ELEMENTWISE = ("elementwise", "normalisation", "pooling", "dropout")
UPDATES = {"m": "moments", "v": "squares", "velocity": "velocity"}  # by the first slot


class Term(NamedTuple):
    """One thing that a step does.

    Attributes
    ----------
    share : str
        The part of the time that it belongs to: an entry of `SHARES`.
    what : str
        A name.
    amount : float
        How much of it the step does.
    """

    share: str
    what: str
    amount: float


def terms(step: Arithmetic) -> list[Term]:
    """Return everything that a step does; the list has the same order for all steps."""
    return [*_overhead(step), *_memory(step), *_operations(step)]


def _overhead(step: Arithmetic) -> Iterator[Term]:
    """Yield calls, and what is done once for each sample."""
    convolutions = step.products("convolution")
    amounts: dict[str, float] = {
        "steps": 1,
        "samples": step.batch,
        "samples drawn": step.batch if step.drawn else 0,
        "samples in convolutions": step.batch * len(step.of("convolution")),
        "windows": sum(max(product.m, product.k) for product in convolutions),
    }
    for kind in ("dense", "convolution", *ELEMENTWISE):
        amounts[f"layers, {kind}"] = len([w for w in step.of(kind) if w.products or w.numbers])
    for what, amount in amounts.items():
        yield Term("overhead", what, amount)
    yield from _by_update("overhead", "arrays updated", step, step.arrays)


def _memory(step: Arithmetic) -> Iterator[Term]:
    """Yield bytes, and again those beyond the size of a cache."""
    item = step.itemsize
    dense = step.products("dense")
    convolutions = step.products("convolution")
    in_layers = item * sum(work.numbers for work in step.works)
    updated = item * step.parameters * (2 + len(step.slots))
    amounts: dict[str, float] = {
        "drawn": item * step.drawn,
        "drawn, beyond the far cache": _beyond(FAR_CACHE_BYTES, item * step.drawn),
        "in layers, beyond the near cache": _beyond(NEAR_CACHE_BYTES, in_layers),
        "in layers, beyond the far cache": _beyond(FAR_CACHE_BYTES, in_layers),
        "updated, beyond the near cache": _beyond(NEAR_CACHE_BYTES, updated),
        "updated, beyond the far cache": _beyond(FAR_CACHE_BYTES, updated),
        "dense operands": item * sum(product.numbers for product in dense),
        "dense outputs": item * sum(product.m * product.n for product in dense),
        "convolution operands": item * sum(product.numbers for product in convolutions),
        "windows": item * sum(p.count * p.m * max(p.k, p.n) for p in convolutions),
        "operands, beyond the far cache": sum(
            _beyond(FAR_CACHE_BYTES, item * product.numbers) for product in dense + convolutions
        ),
    }
    for kind in ELEMENTWISE:
        amounts[kind] = item * sum(work.numbers for work in step.of(kind))
    amounts["elementwise"] += item * step.loss
    for what, amount in amounts.items():
        yield Term("memory", f"bytes, {what}", amount)
    yield from _by_update("memory", "bytes updated", step, item * step.parameters)


def _operations(step: Arithmetic) -> Iterator[Term]:
    """Yield operations; units and filters are computed in whole groups."""
    dense = step.products("dense")
    convolutions = step.products("convolution")
    amounts = {
        "dense": step.dense,
        "dense, in groups": _in_groups(dense, DENSE_GROUP),
        "convolution": step.convolution,
        "convolution, in groups": _in_groups(convolutions, FILTER_GROUP),
    }
    for what, amount in amounts.items():
        yield Term("arithmetic", f"operations, {what}", amount)


def _by_update(share: str, what: str, step: Arithmetic, amount: float) -> Iterator[Term]:
    """Yield an amount under the kind of the optimizer's update, and 0 under the others."""
    made = UPDATES.get(step.slots[0], "plain") if step.slots else "plain"
    for update in ("plain", *UPDATES.values()):
        yield Term(share, f"{what}, {update}", amount if update == made else 0)


def _beyond(cache_bytes: int, size: int) -> int:
    return max(0, size - cache_bytes)


def _in_groups(products: list[Product], group: int) -> float:
    return sum(p.operations / p.n * group * ceil(p.n / group) for p in products)


NOTHING = Arithmetic((), 0, 0, 0, 0, 0, 0, (), 0)
TERMS = terms(NOTHING)  # their names and shares
SIZES = [
    number for number, term in enumerate(TERMS) if term.what in ("samples", "bytes, elementwise")
]
IS_OF = {share: np.array([term.share == share for term in TERMS]) for share in SHARES}


def amounts(step: Arithmetic) -> Floats:
    """Return how much of each term a step does, shape (terms,)."""
    return np.array([term.amount for term in terms(step)], np.float64)


@dataclass(frozen=True)
class Fit:
    """The model of one row.

    Attributes
    ----------
    costs : ndarray of float64, shape (terms,)
        Seconds for each unit of a term.
    correction : GaussianProcessRegressor
        Predicts log(true/regression), with its standard deviation.
    residuals : ndarray of float64, shape (steps,)
        log(true/predicted) of the steps that it was fitted to; each prediction is of a regression
        that was fitted without the step.
    spread : float
        A further standard deviation of log(true/predicted).
    """

    costs: Floats
    correction: Any
    residuals: Floats
    spread: float = 0.0

    def predict(self, rows: Floats) -> tuple[Floats, Floats]:
        """Return the seconds of steps, and the standard deviations of their logarithms.

        Parameters
        ----------
        rows : ndarray of float64, shape (steps, terms)
            Their amounts.
        """
        means, deviations = self.correction.predict(_features(rows, self.costs), return_std=True)
        return rows @ self.costs * np.exp(means), np.hypot(deviations, self.spread)

    def shares(self, amount: Floats) -> dict[str, float]:
        """Return how the time of one step divides into overhead, memory and arithmetic."""
        parts = amount * self.costs
        return {share: float(parts[IS_OF[share]].sum() / parts.sum()) for share in SHARES}

    def scaled(self, rows: Floats, seconds: Floats) -> "Fit":
        """Return the model of a row that takes a constant multiple of this one's time."""
        ratios = seconds / self.predict(rows)[0]
        factor = float(np.median(ratios))
        residuals = np.log(ratios / factor)
        return Fit(self.costs * factor, self.correction, residuals, float(np.std(residuals)))


def fit(rows: Floats, seconds: Floats) -> Fit:
    """Fit the model of one row to measured steps.

    Parameters
    ----------
    rows : ndarray of float64, shape (steps, terms)
        Their amounts.
    seconds : ndarray of float64, shape (steps,)
        What they took.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel
    from sklearn.linear_model import LinearRegression
    from sklearn.model_selection import KFold, cross_val_predict
    from threadpoolctl import threadpool_limits

    relative = rows / seconds[:, None]
    scales = np.where(rows.any(axis=0), relative.max(axis=0), 1.0)
    ones = np.ones(len(rows))
    regression = LinearRegression(positive=True, fit_intercept=False)
    folds = KFold(min(FOLDS, len(rows)), shuffle=True, random_state=0)
    left_out: Any = cross_val_predict(regression, relative / scales, ones, cv=folds)
    costs = regression.fit(relative / scales, ones).coef_ / scales
    costs[0] = max(costs[0], LEAST_SECONDS)  # no step takes no time
    residuals = -np.log(np.maximum(left_out, LEAST_RATIO))
    kernel = ConstantKernel(0.2**2, (1e-3, 1)) * RBF(1.0, (0.2, 10)) + WhiteKernel(
        0.05**2, (1e-4, 1)
    )
    correction = GaussianProcessRegressor(kernel)
    # The matrices are so small that more threads only wait for each other. A parameter at the end
    # of its range is no mistake.
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        correction.fit(_features(rows, costs), residuals)
    return Fit(costs, correction, residuals)


def _features(rows: Floats, costs: Floats) -> Floats:
    """Return coordinates in which similar steps are near: shares of the terms, and sizes."""
    parts = rows * costs
    shares = parts / parts.sum(axis=1, keepdims=True)
    return np.concatenate([shares / 0.5, np.log1p(rows[:, SIZES]) / 4], axis=1)


def quantile(errors: Floats, share: float) -> float:
    """Return the size that a share of the errors do not exceed."""
    return float(np.quantile(np.abs(errors), share, method="inverted_cdf"))
