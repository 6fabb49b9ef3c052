"""The float32 verdict: single steps from shared states, judged against the same steps in float64.

Whole float32 trajectories may diverge through the flip of a single ReLU sign, so a tolerance on
them has no meaning. From a shared state nothing accumulates: the error of a step is
‖Δw - Δw₆₄‖ / ‖Δw₆₄‖, where Δw is the change of the weights and Δw₆₄ the change in NumPy's float64
step.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..core.engine import DeviceSplit, Engine
from ..core.events import PROBE_ROWS
from ..core.plan import Plan
from ..core.planner import BatchPlanner
from ..core.rng import bits
from ..core.split import Split
from ..core.state import State, cast, weights, without
from ..spec.layers import ReLU
from ..spec.network import Network

STEPS = 16  # that are judged
STRIDE = 4  # steps of the reference from one judged step to the next
LARGEST_FACTOR = 4.0  # between the error of a correct engine and NumPy's float32 error

LARGEST_PROBE = 16 * 2**20  # numbers, in the outputs of all layers together

Verdict = Literal["rounding", "precision", "formula", "diverged"]


class StepErrors(NamedTuple):
    """The errors of one judged step.

    Attributes
    ----------
    row : float
        ‖Δw - Δw₆₄‖ / ‖Δw₆₄‖ of the engine that is judged.
    reference : float
        The same of NumPy's float32 engine.
    """

    row: float
    reference: float


@dataclass(frozen=True)
class Rounding:
    """The float32 verdict on one row.

    Attributes
    ----------
    verdict : str
        ``rounding``: the median error is at most 4 times that of the NumPy float32 engine.
        Otherwise ``precision`` if the row's float64 proof holds (the row computes in TF32 or
        bfloat16), ``formula`` if it does not. ``diverged``: the float64 steps are not finite, so
        that there is nothing to judge by.
    error : float
        The row's median error over the judged steps.
    reference_error : float
        The median error of the NumPy float32 engine.
    """

    verdict: Verdict
    error: float
    reference_error: float

    @property
    def factor(self) -> float:
        """The row's median error over NumPy's."""
        if self.error == self.reference_error:
            return 1.0
        return self.error / self.reference_error if self.reference_error else np.inf

    def to_json(self) -> dict[str, Any]:
        """Return the verdict under the names that it has in run folders."""
        return {
            "verdict": self.verdict,
            "error": self.error,
            "own": self.reference_error,
            "factor": self.factor,
        }


def judge_float32(errors: Iterable[StepErrors], *, proved: bool) -> Rounding:
    """Return the verdict on one row.

    Parameters
    ----------
    errors : iterable of StepErrors
        From `step_errors`.
    proved : bool
        Whether the row's float64 proof holds.
    """
    rows, references = zip(*errors, strict=True)
    error = float(np.median(rows))
    reference_error = float(np.median(references))
    if not np.isfinite(reference_error):
        return Rounding("diverged", error, reference_error)
    if error <= LARGEST_FACTOR * reference_error:
        return Rounding("rounding", error, reference_error)
    return Rounding("precision" if proved else "formula", error, reference_error)


def step_errors(
    reference: Engine,
    exact: Engine,
    row: Engine,
    split: Split,
    planner: BatchPlanner,
    start: State,
    *,
    steps: int = STEPS,
    stride: int = STRIDE,
) -> Iterator[StepErrors]:
    """Follow the reference's float32 run and let the row make single steps from its states.

    Parameters
    ----------
    reference, exact : Engine
        The NumPy engine in float32 and in float64.
    row : Engine
        The engine that is judged, in float32.
    split : Split
        The training data.
    planner : BatchPlanner
        The planner of the float32 run. The run is repeated if it is too short.
    start : State
        The state before the first step, in float32.
    steps : int
        The number of steps that are judged.
    stride : int
        Steps of the reference from one judged step to the next. If it is 0, every judged step
        starts from `start`.

    Yields
    ------
    StepErrors
        As soon as each step is judged.
    """
    reference_data = reference.upload(split)
    exact_data = exact.upload(split)
    row_data = row.upload(split)
    uncompared = planner.network.zero_gradient_parameters
    plans = _repeated_steps(planner)
    reference.load(start)
    for _ in range(steps):
        before = reference.state()
        plan = next(plans)
        exact.load(cast(before, "float64"))
        exact.run(exact_data, plan)
        row.load(before)
        row.run(row_data, plan)
        # The reference's own next step is the step of NumPy's float32 engine from this state.
        reference.run(reference_data, plan)
        truth = _change(before, exact.state(), uncompared)
        yield StepErrors(
            _error(_change(before, row.state(), uncompared), truth),
            _error(_change(before, reference.state(), uncompared), truth),
        )
        if stride == 0:
            reference.load(start)
        for onward in islice(plans, max(0, stride - 1)):
            reference.run(reference_data, onward)
    for engine in (reference, exact, row):
        engine.wait()


def _repeated_steps(planner: BatchPlanner) -> Iterator[Plan]:
    """Yield the steps of a run one by one, again and again."""
    while True:
        yield from planner.singles()


def _change(before: State, after: State, uncompared: frozenset[str]) -> NDArray[np.float64]:
    """Return the change of all compared weights as one vector."""
    old = without(weights(before), uncompared)
    changes = [
        (after[name].astype(np.float64) - array.astype(np.float64)).ravel()
        for name, array in old.items()
    ]
    return np.concatenate(changes)


def _error(change: NDArray[Any], truth: NDArray[Any]) -> float:
    """Return ‖change - truth‖/‖truth‖: 0 if both are zero, inf if either is not finite."""
    difference = float(np.linalg.norm(change - truth))
    size = float(np.linalg.norm(truth))
    if not (np.isfinite(difference) and np.isfinite(size)):
        return np.inf
    if difference == 0:
        return 0.0
    return difference / size if size else np.inf


def perturbed_starts(start: State, seed: int) -> list[State]:
    """Return three copies of a state whose first kernel is moved by one unit in the last place.

    It is moved up, down, and in a random direction for each element.

    Parameters
    ----------
    start : State
        The state to perturb.
    seed : int
        Decides the random directions.
    """
    first = next(iter(start))
    kernel = start[first]
    # The key is part of the recorded results of earlier versions.
    upward = (bits(kernel.size, seed, "twins") & np.uint64(1)).astype(bool).reshape(kernel.shape)
    targets = (np.inf, -np.inf, np.where(upward, np.inf, -np.inf))
    return [
        start | {first: np.nextafter(kernel, np.asarray(target, kernel.dtype))}
        for target in targets
    ]


@dataclass(frozen=True)
class Snapshot:
    """What is compared of an engine between two steps of a run.

    Attributes
    ----------
    state : State
        The engine's state.
    trace : State
        What it computes of the probe (`probe_plan`).
    """

    state: State
    trace: State


class Drift(NamedTuple):
    """How far an engine is from the reference at one step of a free run.

    Attributes
    ----------
    weights : float
        The largest |difference| of any weight.
    sign_flips : int
        The number of ReLU outputs of the probe that are on the other side of zero.
    """

    weights: float
    sign_flips: int

    def to_json(self) -> dict[str, float]:
        """Return the drift under the names that it has in run folders."""
        return {"apart": self.weights, "flips": self.sign_flips}


def probe_plan(planner: BatchPlanner, rows: int = PROBE_ROWS) -> Plan:
    """Return a plan for tracing, not for training: one step with all dropout masks open.

    Parameters
    ----------
    planner : BatchPlanner
        The planner of the run.
    rows : int
        The number of samples, the first of the split. Fewer are used if the outputs of all layers
        would be more than 16 million numbers.
    """
    network = planner.network
    outputs = sum(int(np.prod(place.output_shape)) for place in network.places)
    rows = min(rows, planner.samples, max(16, LARGEST_PROBE // outputs))
    indices = np.arange(rows, dtype=np.int32)[None]
    masks = {layer.name: np.ones((1, rows, *shape), np.bool_) for layer, shape in network.dropouts}
    return Plan(np.zeros(1), indices, masks)


def take_snapshot(engine: Engine, data: DeviceSplit, probe: Plan) -> Snapshot:
    """Return an engine's state and what it computes of the probe."""
    return Snapshot(engine.state(), engine.trace(data, probe))


def measure_drift(network: Network, reference: Snapshot, other: Snapshot) -> Drift:
    """Return how far an engine is from the reference."""
    return Drift(
        largest_weight_difference(reference.state, other.state),
        sign_flips(network, reference.trace, other.trace),
    )


def largest_weight_difference(one: State, other: State) -> float:
    """Return the largest |difference| of any weight; NaN if any weight is NaN."""
    expected = weights(one)
    actual = weights(other)
    return float(np.max([np.abs(expected[name] - actual[name]).max() for name in expected]))


def sign_flips(network: Network, one: State, other: State) -> int:
    """Return how many ReLU outputs of two traces are on different sides of zero."""
    relus = [place.layer.name for place in network.places if isinstance(place.layer, ReLU)]
    names = [f"output/{name}" for name in relus]
    return sum(int(((one[name] > 0) != (other[name] > 0)).sum()) for name in names)
