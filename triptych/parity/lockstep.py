"""The float64 proof: a reference and a candidate make the same steps and are compared at each.

Networks without BatchNorm, Residual or LayerNorm of images are compared over whole trajectories.
Training with these layers amplifies rounding. There, the candidate is loaded with the reference's
state before each step and makes one step from it. Other trainings may begin to amplify rounding
later; `calm_steps` measures from which step on. And an adaptive optimizer may magnify the rounding
of a small gradient in a single step. Then the reference makes this update again with the
candidate's gradients, and that must be equal to the same bound.
"""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor, wait
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from itertools import islice
from math import inf
from typing import TypeVar

import numpy as np

from ..core.engine import DeviceSplit, Engine, Trainer, UpdatingEngine
from ..core.plan import Plan
from ..core.planner import BatchPlanner
from ..core.split import Split
from ..core.state import State, without
from ..core.state import kind as state_kind
from ..spec.network import Network
from ..spec.recipe import Recipe
from .divergence import BOUND, Divergence, array_errors, first_divergence
from .float32 import perturbed_starts

T = TypeVar("T")

CALM = 0.1  # the share of the bound that rounding alone may reach
GRADIENT_ROUNDING = 1e-15  # of a gradient, relative to the largest one


@dataclass(frozen=True)
class Tolerances:
    """What is compared of two engines, and how much it may differ.

    Attributes
    ----------
    calm_steps : float
        The steps over which the training does not amplify rounding; infinite by default. The
        candidate starts each later step from the reference's state instead of its own.
    uncompared : frozenset of str
        Parameters that are not compared, because their gradient is nothing but rounding.
    weights : float
        The bound on weights after the calm steps. From a shared state, an adaptive optimizer may
        turn a rounding of `GRADIENT_ROUNDING` in a gradient into a difference of that times
        rate/epsilon in a weight.
    bound : float
        The bound on every other kind.
    shifted : frozenset of str
        Running means to which the bound on weights applies: over several steps they contain the
        rounding of the parameters that are not compared.
    """

    calm_steps: float = inf
    uncompared: frozenset[str] = frozenset()
    weights: float = BOUND
    bound: float = BOUND
    shifted: frozenset[str] = frozenset()

    @classmethod
    def of(cls, network: Network, recipe: Recipe, calm_steps: float = inf) -> "Tolerances":
        """Return the tolerances for a network that is trained with a recipe.

        Parameters
        ----------
        network : Network
            The network. If it amplifies rounding, there are no calm steps.
        recipe : Recipe
            How it is trained.
        calm_steps : float
            What `calm_steps` has measured for other networks.
        """
        epsilon: float | None = getattr(recipe.optimizer, "epsilon", None)
        widened = GRADIENT_ROUNDING * recipe.optimizer.rate / epsilon if epsilon else 0.0
        return cls(
            0 if network.amplifies_rounding else calm_steps,
            network.zero_gradient_parameters,
            max(BOUND, widened),
        )

    @property
    def amplifies_rounding(self) -> bool:
        """Whether every step starts from the reference's state."""
        return self.calm_steps == 0

    @property
    def gradient_rounding(self) -> float:
        """How far rounding may move a gradient, relative to the largest one.

        A network that amplifies rounding amplifies that of long sums, too: there, it is the bound.
        """
        return self.bound if self.amplifies_rounding else GRADIENT_ROUNDING

    def at(self, step: int) -> "Tolerances":
        """Return the tolerances of a step, counted from 0: a calm one has no wider bound."""
        return replace(self, weights=self.bound) if step < self.calm_steps else self

    def limit(self, kind: str, name: str) -> float:
        """Return the bound that applies to an array of a kind."""
        widened = kind == "weights" or name in self.shifted
        return self.weights if widened else self.bound


@dataclass(frozen=True)
class Margin:
    """The comparison that came closest to its bound.

    Attributes
    ----------
    error : float
        The relative error of an array.
    bound : float
        The bound that applies to this array.
    """

    error: float = 0.0
    bound: float = BOUND

    @property
    def ratio(self) -> float:
        """The error over the bound; equal is at most 1."""
        return self.error / self.bound


@dataclass
class Outcome:
    """The result of comparing a candidate with the reference.

    Attributes
    ----------
    steps : int
        The number of steps that were compared and equal.
    worst : dict of str to float
        The largest relative error of each kind over all steps.
    divergence : Divergence or None
        The first difference; the comparison ends there.
    at : int
        The step of the divergence, counted from 0.
    margin : Margin
        The error that came closest to the bound on it.
    magnified_at : int or None
        The step, counted from 1, whose update has magnified rounding of the gradients beyond the
        bound.
    """

    steps: int = 0
    worst: dict[str, float] = field(default_factory=dict[str, float])
    divergence: Divergence | None = None
    at: int = 0
    margin: Margin = field(default_factory=Margin)
    magnified_at: int | None = None

    @property
    def equal(self) -> bool:
        """Whether nothing differed."""
        return self.divergence is None

    @property
    def largest(self) -> float:
        """The largest relative error of any kind."""
        return max(self.worst.values(), default=0.0)

    def compare(
        self,
        reference: State,
        candidate: State,
        tolerances: Tolerances,
        stage: str | None = None,
    ) -> bool:
        """Compare two states or traces, record the errors, and return whether they are equal.

        Parameters
        ----------
        reference, candidate : dict of str to ndarray
            Two states or two traces.
        tolerances : Tolerances
            What is compared, and the bounds.
        stage : str, optional
            As in `first_divergence`.
        """
        reference = without(reference, tolerances.uncompared)
        candidate = without(candidate, tolerances.uncompared)
        exceeds = not candidate.keys() <= reference.keys()
        for array in array_errors(reference, candidate, stage):
            kind = "outputs" if array.kind.startswith("output/") else array.kind
            margin = Margin(array.error, tolerances.limit(array.kind, array.name))
            exceeds = exceeds or not array.error <= margin.bound
            self._record(kind, array.error, margin)
        self.divergence = None
        if exceeds:
            self.divergence = first_divergence(reference, candidate, tolerances.limit, stage)
        return self.divergence is None

    def add(self, compared: "Outcome") -> None:
        """Record what another outcome has compared, and its divergence."""
        for kind, error in compared.worst.items():
            self._record(kind, error, compared.margin)
        self.divergence = compared.divergence

    def _record(self, kind: str, error: float, margin: Margin) -> None:
        self.worst[kind] = max(self.worst.get(kind, 0.0), error)
        if margin.ratio > self.margin.ratio:
            self.margin = margin


def proof_plans(planner: BatchPlanner, steps: int) -> Iterator[Plan]:
    """Yield the plans of a walk, one step each.

    Parameters
    ----------
    planner : BatchPlanner
        The planner of the run.
    steps : int
        The number of steps from the beginning of the run. If none of them is the smaller last
        batch of an epoch, that batch follows as one further step.
    """
    yield from islice(planner.singles(), steps)
    start, count, batch = planner.kinds()[-1]
    if batch != planner.batch and start >= steps:
        yield planner.plan(start, count, batch)


def walk(
    reference: UpdatingEngine,
    candidate: Engine,
    split: Split,
    steps: Iterable[Plan],
    start: State,
    tolerances: Tolerances | None = None,
    *,
    concurrently: bool = False,
) -> Iterator[Outcome]:
    """Let both engines make the same steps and compare them at each.

    The order of the comparisons is the order of the computation: the loaded state, the outputs
    forward, the loss, the gradients backward, the update. Outputs are compared at the first step
    only; loss, gradients and new state at every step.

    Parameters
    ----------
    reference, candidate : Engine
        The two engines, built for the same network and recipe.
    split : Split
        The training data.
    steps : iterable of Plan
        One step each.
    start : State
        The state before the first step.
    tolerances : Tolerances, optional
        By default everything is compared over a whole trajectory.
    concurrently : bool
        Whether both engines compute at the same time; for engines in processes of their own.

    Yields
    ------
    Outcome
        The same object after loading and after each step; the walk ends at the first divergence.
    """
    with ExitStack() as stack:
        executor: Executor | None = None
        if concurrently:
            executor = ThreadPoolExecutor(max_workers=1)
            # Ctrl-C does not wait for the step of the reference, whose process is ended.
            stack.callback(executor.shutdown, wait=False)
        pair = _Pair(reference, candidate, split, executor)
        yield from _walk(pair, steps, start, tolerances or Tolerances())


def _walk(
    pair: "_Pair", steps: Iterable[Plan], start: State, tolerances: Tolerances
) -> Iterator[Outcome]:
    outcome = Outcome()
    pair.load(start)
    states = pair.states()
    outcome.compare(*states, tolerances.at(0), "initial state")
    yield outcome
    for at, step in enumerate(steps):
        if not outcome.equal:
            break
        outcome.at = at
        if at >= tolerances.calm_steps:
            pair.candidate.load(pair.reference.state())
        of_step = tolerances.at(at)
        traces = pair.traces(step, outputs=at == 0)
        if outcome.compare(*traces, of_step) and outcome.compare(*pair.run(step), of_step):
            before = states[0]
            states = pair.states()
            update = Outcome()
            if not update.compare(*states, of_step, "update"):
                again = _compared_again(pair, step, traces, before, states, of_step)
                if again.equal:
                    update = again
                    outcome.magnified_at = outcome.magnified_at or at + 1
                    calm_steps = min(tolerances.calm_steps, at + 1)
                    tolerances = replace(tolerances, calm_steps=calm_steps)
            outcome.add(update)
        outcome.steps += outcome.equal
        yield outcome


def _compared_again(
    pair: "_Pair",
    step: Plan,
    traces: tuple[State, State],
    before: State,
    after: tuple[State, State],
    tolerances: Tolerances,
) -> Outcome:
    """Compare the candidate's update with the reference's from the candidate's gradients.

    Parameters
    ----------
    pair : _Pair
        The engines; both have their states after the step at the end, too.
    step : Plan
        The step.
    traces : tuple of dict
        What both have computed in it.
    before : dict of str to ndarray
        The reference's state before the step.
    after : tuple of dict
        The states of both after it.
    tolerances : Tolerances
        Those of the step.
    """
    gradients = _rounded_gradients(*traces, tolerances.gradient_rounding)
    updated = pair.updated(before, gradients, float(step.rates[0]))
    pair.load_each(*after)
    reference, candidate = after
    # Running statistics are of the forward pass, not of the update.
    buffers = {name: array for name, array in reference.items() if state_kind(name) == "buffers"}
    outcome = Outcome()
    outcome.compare(updated | buffers, candidate, tolerances, "update")
    return outcome


def _gradients(trace: State) -> State:
    """Return the gradients of a trace by the name of the parameter."""
    return {
        name.removeprefix("gradient/"): array
        for name, array in trace.items()
        if name.startswith("gradient/")
    }


def _rounded_gradients(reference: State, candidate: State, rounding: float) -> State:
    """Return the candidate's gradients where they are the reference's but for rounding.

    A gradient that differs by more is the reference's: what a mistake has changed is not taken
    over.

    Parameters
    ----------
    reference, candidate : dict of str to ndarray
        The traces of both.
    rounding : float
        The largest difference, relative to the largest gradient.
    """
    expected = _gradients(reference)
    others = _gradients(candidate)
    limit = rounding * max(np.abs(gradient).max() for gradient in expected.values())
    return {
        name: np.where(np.abs(others[name] - gradient) <= limit, others[name], gradient)
        for name, gradient in expected.items()
    }


def calm_steps(
    reference: UpdatingEngine,
    perturbed: Engine,
    split: Split,
    steps: Iterable[Plan],
    start: State,
) -> float:
    """Return over how many steps a training does not amplify rounding; infinity if over all.

    The reference is trained next to itself, with a first kernel that is moved by one unit in the
    last place. The steps are calm until loss, weights or a slot of both differ by a tenth of the
    bound: until then, rounding alone does not explain a difference as large as the bound.

    Parameters
    ----------
    reference, perturbed : Engine
        Two engines of the reference's kind, built for the same network and recipe.
    split : Split
        The training data.
    steps : iterable of Plan
        The steps of the proof.
    start : State
        The state before the first step.
    """
    pair = _Pair(reference, perturbed, split, None)
    reference.load(start)
    perturbed.load(perturbed_starts(start, 0)[0])
    limit = Tolerances(weights=CALM * BOUND, bound=CALM * BOUND)
    for at, step in enumerate(steps):
        outcome = Outcome()
        losses = pair.run(step)
        if not (outcome.compare(*losses, limit) and outcome.compare(*pair.states(), limit)):
            return at
    return inf


class _Pair:
    """The two engines of a walk, which receive the same requests.

    Parameters
    ----------
    reference, candidate : Engine
        The two engines.
    split : Split
        The training data, which both copy to their devices.
    executor : Executor or None
        A thread in which the reference computes while the candidate does. Without it, one computes
        after the other.
    """

    def __init__(
        self,
        reference: UpdatingEngine,
        candidate: Engine,
        split: Split,
        executor: Executor | None,
    ) -> None:
        self.reference = reference
        self.candidate = candidate
        self._executor = executor
        self._reference_data = reference.upload(split)
        self._candidate_data = candidate.upload(split)

    def load(self, start: State) -> None:
        """Load a state into both."""
        self.load_each(start, start)

    def load_each(self, reference: State, candidate: State) -> None:
        """Load a state into each."""
        self.reference.load(reference)
        self.candidate.load(candidate)

    def states(self) -> tuple[State, State]:
        """Return the states of both."""
        return self._both(self.reference.state, self.candidate.state)

    def traces(self, step: Plan, *, outputs: bool) -> tuple[State, State]:
        """Return what both compute in a step."""
        return self._both(
            lambda: self.reference.trace(self._reference_data, step, outputs=outputs),
            lambda: self.candidate.trace(self._candidate_data, step, outputs=outputs),
        )

    def updated(self, before: State, gradients: State, rate: float) -> State:
        """Return what the reference's update makes of a state, which the reference then has."""
        self.reference.load(before)
        self.reference.update(gradients, rate)
        return self.reference.state()

    def run(self, step: Plan) -> tuple[State, State]:
        """Make a step in both and return the losses."""
        return self._both(
            lambda: _run(self.reference, self._reference_data, step),
            lambda: _run(self.candidate, self._candidate_data, step),
        )

    def _both(self, first: Callable[[], T], second: Callable[[], T]) -> tuple[T, T]:
        if self._executor is None:
            return first(), second()
        future = self._executor.submit(first)
        try:
            result = second()
        except Exception:
            # A worker whose reply was not read would give it as the reply to the next request.
            wait([future])
            raise
        return future.result(), result


def _run(engine: Engine, data: DeviceSplit, step: Plan) -> State:
    """Make a step and return its loss."""
    engine.run(data, step)
    return {"loss": engine.wait()[0]}


def check_blocks_equal_single_steps(
    engine: Trainer, split: Split, planner: BatchPlanner, start: State
) -> Outcome:
    """Check that `run` with K steps equals K calls with one step, the smaller last batch included.

    The step that is timed (K at once) is thereby the step that was proved (one at a time).

    Parameters
    ----------
    engine : Trainer
        It is compared with itself.
    split : Split
        The training data.
    planner : BatchPlanner
        Its first plan of each pair (K, B) is run. If the network amplifies rounding, the plan's
        rates are replaced as `gentle` describes.
    start : State
        The state before both runs.

    Returns
    -------
    Outcome
        `steps` is the number of steps of all plans together.
    """
    plans = [planner.plan(*span) for span in planner.kinds()]
    tolerances = Tolerances.of(planner.network, planner.recipe).at(0)
    if tolerances.amplifies_rounding:
        plans = gentle(plans)
        tolerances = replace(tolerances, shifted=planner.network.shifted_means)
    data = engine.upload(split)

    def run_together(plan: Plan) -> None:
        engine.run(data, plan)

    def run_one_by_one(plan: Plan) -> None:
        for step in plan.single():
            engine.run(data, step)

    def end_of(run: Callable[[Plan], None]) -> tuple[State, State]:
        engine.load(start)
        for plan in plans:
            run(plan)
        # The losses of a block are compared as one array, called "loss" as in a trace.
        return {"loss": engine.wait()}, engine.state()

    single_losses, single_state = end_of(run_one_by_one)
    block_losses, block_state = end_of(run_together)
    outcome = Outcome(steps=sum(map(len, plans)))
    if outcome.compare(single_losses, block_losses, tolerances):
        outcome.compare(single_state, block_state, tolerances, "update")
    return outcome


def gentle(plans: list[Plan]) -> list[Plan]:
    """Return the same steps with rates that together are at most one step's.

    K free steps of a network that amplifies rounding multiply a difference K times, so that correct
    runs diverge. Every optimizer's update is proportional to the rate. With rates that add up to
    about one step's, the weights move as far in all steps as in one step of `walk`, and the
    difference grows as in that one step. So the bounds of one step from a shared state apply
    unchanged.

    Step k of n has the factor k/n². The factors add up to (n + 1)/(2n), which is at most 1. No two
    are the same, so that a rate that belongs to another step shows even where the rate is constant.

    Parameters
    ----------
    plans : list of Plan
        In the order in which they are run.

    Returns
    -------
    list of Plan
        With the same samples, masks and augmentations.
    """
    steps = sum(map(len, plans))
    factors = np.arange(1, steps + 1) / steps**2
    changed: list[Plan] = []
    first = 0
    for plan in plans:
        last = first + len(plan)
        changed.append(replace(plan, rates=plan.rates * factors[first:last]))
        first = last
    return changed
