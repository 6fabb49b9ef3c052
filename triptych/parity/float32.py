"""The float32 verdict: one step at a time from a shared state, judged against the float64 step.

Whole float32 trajectories may part through a single ReLU sign flip, so no tolerance on them means anything. From a
shared state nothing accumulates: the error of a step is ‖Δw - Δw₆₄‖ / ‖Δw₆₄‖, with Δw₆₄ the NumPy engine's float64 step.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..core.engine import DeviceSplit, Engine
from ..core.plan import Plan
from ..core.planner import BatchPlanner
from ..core.rng import bits
from ..core.split import Split
from ..core.state import State, cast, weights, without
from ..spec.layers import ReLU
from ..spec.network import Network

STEPS = 16
FACTOR = 4.0  # how much worse than NumPy's own float32 error a correct engine may be

PROBE_ROWS = 1_000  # samples on which ReLU signs are compared

Verdict = Literal["rounding", "precision", "formula", "diverged"]


@dataclass(frozen=True)
class Rounding:
    """One row's float32 verdict.

    Attributes
    ----------
    verdict : str
        ``rounding``: the median error is at most 4 times the NumPy float32 engine's own. Otherwise ``precision`` where
        the row's float64 proof holds (TF32, bf16), ``formula`` where it does not. ``diverged``: the float64 steps are not
        finite, so that there is nothing to judge by.
    error, own : float
        Median error of the row, and of the NumPy float32 engine, over 16 steps.
    """

    verdict: Verdict
    error: float
    own: float

    @property
    def factor(self) -> float:
        return 1.0 if self.error == self.own else self.error / self.own if self.own else np.inf


def shared_steps(
    reference: Engine,
    exact: Engine,
    row: Engine,
    split: Split,
    schedule: BatchPlanner,
    start: State,
    stride: int = 4,
) -> list[float]:
    """Follow the reference's own float32 run; at 16 steps of it let the row make one step from its state.

    Parameters
    ----------
    reference, exact : Engine
        The NumPy engine in float32 and in float64.
    row : Engine
        In float32; may be another NumPy engine, whose errors are the yardstick.
    split : Split
    schedule : BatchPlanner
        Of the float32 recipe; begins again where the run is shorter than 16 strides.
    start : State
    stride : int
        Steps of the reference between two looks.

    Returns
    -------
    list of float
        ‖Δw - Δw₆₄‖ / ‖Δw₆₄‖ at each of the 16 steps.
    """
    return list(each_shared_step(reference, exact, row, split, schedule, start, stride))


def each_shared_step(
    reference: Engine,
    exact: Engine,
    row: Engine,
    split: Split,
    schedule: BatchPlanner,
    start: State,
    stride: int = 4,
) -> Iterator[float]:
    """Yield the errors of `shared_steps` one after the other, as they are measured."""
    own, finely, data = reference.upload(split), exact.upload(split), row.upload(split)
    reference.load(start)
    steps = cycle_of(schedule)
    for _ in range(STEPS):
        step, here = next(steps), reference.state()
        exact.load(cast(here, "float64"))
        exact.run(finely, step)
        row.load(here)
        row.run(data, step)
        uncompared = schedule.network.zero_gradient_parameters
        yield _error(
            _change(here, row.state(), uncompared), _change(here, exact.state(), uncompared)
        )
        for onward in [step, *(next(steps) for _ in range(stride - 1))]:
            reference.run(own, onward)
    for engine in (reference, exact, row):
        engine.wait()


def judge(errors: list[float], own: list[float], proved: bool) -> Rounding:
    """Return the verdict on one row from its errors, NumPy's own, and whether its float64 proof holds."""
    mine, numpy = float(np.median(errors)), float(np.median(own))
    if not np.isfinite(numpy):
        return Rounding("diverged", mine, numpy)
    return Rounding(
        "rounding" if mine <= FACTOR * numpy else "precision" if proved else "formula", mine, numpy
    )


def twins(start: State, seed: int) -> list[State]:
    """Return three copies of a state whose first kernel is one unit in the last place away: up, down, and mixed."""
    first = next(iter(start))
    kernel = start[first]
    mixed = (bits(kernel.size, seed, "twins") & np.uint64(1)).astype(bool).reshape(kernel.shape)
    targets = (np.inf, -np.inf, np.where(mixed, np.inf, -np.inf))
    return [
        start | {first: np.nextafter(kernel, np.asarray(target, kernel.dtype))}
        for target in targets
    ]


@dataclass(frozen=True)
class Look:
    """What is compared of an engine between two steps: its weights, and the ReLU outputs of a probe."""

    state: State
    trace: State


def look(engine: Engine, data: DeviceSplit, probe: Plan) -> Look:
    """Return an engine's weights and what it computes of the probe."""
    return Look(engine.state(), engine.trace(data, probe))


def drift(network: Network, reference: Look, other: Look) -> dict[str, float]:
    """Return how far an engine is from the reference now.

    Returns
    -------
    dict
        ``apart``, the largest |difference| of a weight, and ``flips``, how many ReLU outputs of the probe are on the
        other side of zero.
    """
    return {
        "apart": apart(reference.state, other.state),
        "flips": sign_flips(network, reference.trace, other.trace),
    }


def apart(a: State, b: State) -> float:
    """Return the largest |difference| of any weight."""
    mine, other = weights(a), weights(b)
    return float(
        np.max([np.abs(mine[name] - other[name]).max() for name in mine])
    )  # NaN where any is


def sign_flips(network: Network, a: State, b: State) -> int:
    """Return how many ReLU outputs of two traces are on different sides of zero."""
    relus = [
        f"output/{place.layer.name}" for place in network.places if isinstance(place.layer, ReLU)
    ]
    return sum(int(((a[name] > 0) != (b[name] > 0)).sum()) for name in relus)


def _change(before: State, after: State, uncompared: frozenset[str]) -> NDArray[Any]:
    old = without(weights(before), uncompared)
    return np.concatenate(
        [(after[name].astype(np.float64) - old[name].astype(np.float64)).ravel() for name in old]
    )


def _error(found: NDArray[Any], truth: NDArray[Any]) -> float:
    """Return ‖found - truth‖/‖truth‖: 0 where both are zero, infinite where either is not finite."""
    gap, size = float(np.linalg.norm(found - truth)), float(np.linalg.norm(truth))
    if not (np.isfinite(gap) and np.isfinite(size)):
        return np.inf
    return 0.0 if gap == 0 else gap / size if size else np.inf


def cycle_of(schedule: BatchPlanner) -> Iterator[Plan]:
    """Yield the steps of a run one by one, again and again."""
    while True:
        yield from schedule.singles()
