"""In lockstep: a reference and a candidate take the same steps, compared at every one.

Networks without BatchNorm and Residual are walked as whole trajectories. With them training amplifies rounding itself, so
at each step the candidate is loaded with the reference's state and makes one step from there.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace

import numpy as np

from ..core.engine import Engine
from ..core.plan import Plan
from ..core.planner import BatchPlanner
from ..core.split import Split
from ..core.state import State, without
from ..spec.network import Network
from ..spec.recipe import Recipe
from .divergence import BOUND, Divergence, figures, first_divergence


@dataclass(frozen=True)
class Rule:
    """How a network is proved.

    Attributes
    ----------
    amplifies_rounding : bool
        Whether each step begins from the reference's state, and not from where the candidate itself had come to.
    uncompared : frozenset of str
        Parameters whose gradient is rounding and nothing else.
    weights : float
        The bound on weights: from one state, an adaptive optimizer may turn a gradient's rounding of 1e-15 into a
        difference of rate·1e-15/epsilon.
    bound : float
        On every other kind.
    shifted : frozenset of str
        Running means to which the bound on weights applies: over several steps they contain the
        rounding of the parameters that are not compared.
    """

    amplifies_rounding: bool = False
    uncompared: frozenset[str] = frozenset()
    weights: float = BOUND
    bound: float = BOUND
    shifted: frozenset[str] = frozenset()


def rule(network: Network, recipe: Recipe) -> Rule:
    """Return how a network is proved with a recipe."""
    if not network.amplifies_rounding:
        return Rule(uncompared=network.zero_gradient_parameters)
    epsilon: float | None = getattr(recipe.optimizer, "epsilon", None)
    widened = 1e-15 * recipe.optimizer.rate / epsilon if epsilon else 0.0
    return Rule(True, network.zero_gradient_parameters, max(BOUND, widened))


@dataclass
class Outcome:
    """What the walk of one row found.

    Attributes
    ----------
    steps : int
        How many were compared.
    worst : dict of str to float
        The largest figure of each kind over all of them.
    divergence : Divergence or None
        Where the row first parted; the walk of that row ends there.
    at : int
        The step of the divergence, from 0.
    """

    steps: int = 0
    worst: dict[str, float] = field(default_factory=dict[str, float])
    divergence: Divergence | None = None
    at: int = 0

    @property
    def equal(self) -> bool:
        return self.divergence is None

    @property
    def largest(self) -> float:
        return max(self.worst.values(), default=0.0)

    def see(self, reference: State, candidate: State, rule: Rule, stage: str | None = None) -> bool:
        """Compare, remember, and return whether the row is still in bound."""
        reference, candidate = (
            without(arrays, rule.uncompared) for arrays in (reference, candidate)
        )
        for kind, figure in figures(reference, candidate, stage).items():
            kind = "outputs" if kind.startswith("output/") else kind
            self.worst[kind] = max(self.worst.get(kind, 0.0), figure)
        self.divergence = first_divergence(
            reference, candidate, rule.bound, stage, weights=rule.weights, shifted=rule.shifted
        )
        return self.divergence is None


def walk(
    reference: Engine,
    candidate: Engine,
    split: Split,
    steps: Iterable[Plan],
    start: State,
    rule: Rule | None = None,
) -> Iterator[Outcome]:
    """Take both engines through the same steps and compare everything at each.

    The order is that of the computation: the state that was loaded, outputs forward, the loss, gradients backward, the
    update. Outputs are compared at the first step only; the loss, gradients and new state at every one.

    Parameters
    ----------
    reference, candidate : Engine
    split : Split
        The training data.
    steps : iterable of Plan
        One step each.
    start : State
    rule : Rule, optional
        By default a whole trajectory, everything compared.

    Yields
    ------
    Outcome
        Once after loading and after each step, the same object; the walk ends at the first divergence.
    """
    outcome, rule = Outcome(), rule or Rule()
    data, own = candidate.upload(split), reference.upload(split)
    reference.load(start)
    candidate.load(start)
    outcome.see(reference.state(), candidate.state(), rule, "initial state")
    yield outcome
    for at, step in enumerate(steps):
        if not outcome.equal:
            break
        outcome.at = at
        first = at == 0
        if rule.amplifies_rounding:
            candidate.load(reference.state())
        if outcome.see(
            reference.trace(own, step, outputs=first),
            candidate.trace(data, step, outputs=first),
            rule,
        ):
            reference.run(own, step)
            candidate.run(data, step)
            if outcome.see({"loss": reference.wait()[0]}, {"loss": candidate.wait()[0]}, rule):
                outcome.see(reference.state(), candidate.state(), rule, "update")
        outcome.steps += outcome.equal
        yield outcome


def blocks(engine: Engine, split: Split, schedule: BatchPlanner, start: State) -> Outcome:
    """Check that `run` with K steps equals K calls with one step, the smaller last batch included.

    The step that is timed (K at once) is thereby the step that was proved (one at a time).

    Parameters
    ----------
    engine : Engine
        It is compared with itself.
    split : Split
        The training data.
    schedule : BatchPlanner
        Its first plan of each pair (K, B) is run. Where the network amplifies rounding, the plan's
        rates are replaced as `gentle` says.
    start : State
        Both runs begin from it.

    Returns
    -------
    Outcome
        `steps` is the number of steps of all plans together.
    """
    plans = [schedule.plan(*span) for span in schedule.kinds()]
    bounds = rule(schedule.network, schedule.recipe)
    if bounds.amplifies_rounding:
        plans = gentle(plans)
        bounds = replace(bounds, shifted=schedule.network.shifted_means)
    data = engine.upload(split)
    outcome = Outcome()

    def after(run: Callable[[Plan], None]) -> State:
        engine.load(start)
        for plan in plans:
            run(plan)
        return {"losses": engine.wait()} | engine.state()

    def one_by_one(plan: Plan) -> None:
        for step in plan.single():
            engine.run(data, step)

    single = after(one_by_one)
    together = after(lambda plan: engine.run(data, plan))
    outcome.steps = sum(map(len, plans))
    # The losses of a block are compared as one array, called "loss" as in a trace.
    if outcome.see({"loss": single.pop("losses")}, {"loss": together.pop("losses")}, bounds):
        outcome.see(single, together, bounds, "update")
    return outcome


def gentle(plans: list[Plan]) -> list[Plan]:
    """Return the same steps with rates that together are at most one step's.

    K free steps of a network that amplifies rounding multiply a difference K times, so that correct
    runs part. Every optimizer's update is proportional to the rate. With rates that add up to about
    one step's, the weights move as far in all steps as in one step of `walk`, and the difference
    grows as in that one step. So the bounds of one step from a shared state apply unchanged.

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
