"""The cost model: the seconds of a step in one row, predicted from what the step has to do.

A linear regression with costs of at least 0 gives each call, byte and operation its price, so that
every term can be read. It minimises relative errors: a small network counts as much as a large one.
A Gaussian process (Rasmussen & Williams 2006) over the shares of the terms then corrects what the
regression misses of similar networks, and tells how uncertain the prediction is. Both are
scikit-learn's.
"""

import warnings
from dataclasses import dataclass
from math import ceil
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..spec import zoo
from .workload import Case

Floats = NDArray[np.float64]

NEAR_CACHE_BYTES = 2**20  # a core's own cache
FAR_CACHE_BYTES = 2**24  # a core's part of the shared cache
# Units, or filters, that are computed together, whether there are as many or not.
GROUPS = {"dense": 16, "convolution": 32}
LEAST_SECONDS = 1e-9  # of any step

LEAST_RATIO = 0.3  # of a regression to the truth; less is an outlier

FOLDS = 10  # of the cross-validation
COVERED = 0.9  # share of the true times that an interval contains
DEVIATIONS = 1.645  # half the width of such an interval, in standard deviations

ELEMENTWISE = ("elementwise", "normalisation", "pooling", "dropout")
NO_SLOT = "no slot"
UPDATES = (NO_SLOT, "m", "v", "velocity")  # by the optimizer's first slot


def terms(case: Case) -> dict[str, dict[str, float]]:
    """Return how much a step does of everything: by share of the time, then by name.

    The order is the same for all steps. Overhead is counted in calls and samples, memory in bytes,
    and again in bytes beyond the size of a cache.
    """
    item = case.itemsize
    dense = case.products("dense")
    convolutions = case.products("convolution")
    drawn = item * case.drawn
    in_layers = item * sum(work.numbers for work in case.works)
    parameters = item * case.network.parameter_count
    updated = parameters * (2 + len(case.recipe.optimizer.slots))
    overhead: dict[str, float] = {
        "steps": 1,
        "samples": case.batch,
        "samples drawn": case.batch if drawn else 0,
        "samples in convolutions": case.batch * len(case.of_kind("convolution")),
        "windows": sum(max(product.m, product.k) for product in convolutions),
    }
    for kind in (*GROUPS, *ELEMENTWISE):
        called = (work.products or work.numbers for work in case.of_kind(kind))
        overhead[f"layers, {kind}"] = sum(map(bool, called))
    memory: dict[str, float] = {
        "bytes, drawn": drawn,
        "bytes, drawn, beyond the far cache": max(0, drawn - FAR_CACHE_BYTES),
        "bytes, in layers, beyond the near cache": max(0, in_layers - NEAR_CACHE_BYTES),
        "bytes, in layers, beyond the far cache": max(0, in_layers - FAR_CACHE_BYTES),
        "bytes, updated, beyond the near cache": max(0, updated - NEAR_CACHE_BYTES),
        "bytes, updated, beyond the far cache": max(0, updated - FAR_CACHE_BYTES),
        "bytes, dense operands": item * sum(product.numbers for product in dense),
        "bytes, dense outputs": item * sum(product.m * product.n for product in dense),
        "bytes, convolution operands": item * sum(product.numbers for product in convolutions),
        "bytes, windows": item * sum(p.count * p.m * max(p.k, p.n) for p in convolutions),
        "bytes, operands, beyond the far cache": sum(
            max(0, item * product.numbers - FAR_CACHE_BYTES) for product in dense + convolutions
        ),
    }
    for kind in ELEMENTWISE:
        memory[f"bytes, {kind}"] = item * sum(work.numbers for work in case.of_kind(kind))
    memory["bytes, elementwise"] += item * case.loss
    arithmetic: dict[str, float] = {}
    for kind, group in GROUPS.items():
        products = case.products(kind)
        arithmetic[f"operations, {kind}"] = sum(product.operations for product in products)
        # Units and filters are computed in whole groups.
        arithmetic[f"operations, {kind}, in groups"] = sum(
            product.operations / product.n * group * ceil(product.n / group) for product in products
        )
    return {
        "overhead": overhead | _by_update("arrays updated", case, len(case.network.parameters)),
        "memory": memory | _by_update("bytes updated", case, parameters),
        "arithmetic": arithmetic,
    }


def _by_update(what: str, case: Case, amount: float) -> dict[str, float]:
    """Return an amount under the kind of the optimizer's update, and 0 under the others."""
    kind = next((slot for slot in case.recipe.optimizer.slots if slot in UPDATES), NO_SLOT)
    return {f"{what}, {update}": amount if update == kind else 0 for update in UPDATES}


_NAMES = terms(Case.of(zoo.dense("any", [1]), 1))
SHARES = tuple(_NAMES)
TERMS = [(share, name) for share, names in _NAMES.items() for name in names]
SIZES = [TERMS.index(("overhead", "samples")), TERMS.index(("memory", "bytes, elementwise"))]
IS_OF = {share: np.array([other == share for other, _ in TERMS]) for share in SHARES}


def amounts(case: Case) -> Floats:
    """Return how much of each term a step does, shape (terms,)."""
    return np.array([amount for part in terms(case).values() for amount in part.values()], float)


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
        return {share: parts[IS_OF[share]].sum() / parts.sum() for share in SHARES}

    def scaled(self, rows: Floats, seconds: Floats) -> "Fit":
        """Return the model of a row that takes a constant multiple of this one's time."""
        ratios = seconds / self.predict(rows)[0]
        factor = np.median(ratios)
        residuals = np.log(ratios / factor)
        return Fit(self.costs * factor, self.correction, residuals, float(residuals.std()))


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
    from sklearn.preprocessing import MaxAbsScaler
    from threadpoolctl import threadpool_limits

    scaler: Any = MaxAbsScaler()
    scaled = scaler.fit_transform(rows / seconds[:, None])
    ones = np.ones(len(rows))
    regression = LinearRegression(positive=True, fit_intercept=False)
    folds = KFold(min(FOLDS, len(rows)), shuffle=True, random_state=0)
    left_out: Any = cross_val_predict(regression, scaled, ones, cv=folds)
    costs = regression.fit(scaled, ones).coef_ / scaler.scale_
    costs[0] = max(costs[0], LEAST_SECONDS)  # no step takes no time
    residuals = -np.log(np.maximum(left_out, LEAST_RATIO))
    kernel = ConstantKernel(0.2**2, (1e-3, 1)) * RBF(1.0, (0.2, 10)) + WhiteKernel(
        0.05**2, (1e-4, 1)
    )
    correction = GaussianProcessRegressor(kernel)
    # The matrices are so small that more threads only wait for each other. A parameter at the end
    # of its range is no mistake.
    with (
        threadpool_limits(1),
        warnings.catch_warnings(action="ignore", category=ConvergenceWarning),
    ):
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
