"""The world-size certificate: several workers compute in float64 what one process does.

The single process and the group make the same steps and are compared after each: loss, weights,
running statistics and optimizer slots. Networks that amplify rounding begin every step from the
state of the single process; others are compared over whole trajectories. All workers must have the
same state to the bit. If something differs, `causes` looks for the mistake. At the end the group
makes several steps at once, as in a training, and is compared with itself, one step at a time.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Protocol

from ..core.engine import DeviceSplit, Trainer
from ..core.plan import Plan
from ..core.planner import BatchPlanner
from ..core.split import Split
from ..core.state import State
from ..parity.divergence import BOUND as PARITY_BOUND
from ..parity.lockstep import Outcome, Tolerances, check_blocks_equal_single_steps
from .causes import Cause, ObservedStep, Setting, Simulation, explain

BOUND = 1e-12  # on the relative difference of every kind
STEPS = 200
STEPS_AT_ONCE = 4
STEPS_AFTER = 2  # after the one that differed, which a mistake must reproduce too


class Group(Trainer, Protocol):
    """Several workers as one engine, such as `triptych.scale.group.GroupEngine`."""

    def digests(self) -> list[str]:
        """Return the SHA-256 of the state of every worker."""
        ...


@dataclass
class Certificate:
    """The comparison of several workers with one process.

    Attributes
    ----------
    outcome : Outcome
        Steps that were equal, largest errors, and the first divergence.
    identical : bool
        Whether all workers had the same state, to the bit, after every step.
    at : int or None
        The number of the first step that differed, from 0.
    observed : list of ObservedStep
        This step and those around it; empty if nothing differed.
    blocks : Outcome
        The comparison of steps at once with the same steps one by one.
    """

    outcome: Outcome = field(default_factory=Outcome)
    identical: bool = True
    at: int | None = None
    observed: list[ObservedStep] = field(default_factory=list[ObservedStep])
    blocks: Outcome = field(default_factory=Outcome)

    @property
    def steps_after(self) -> int:
        """How many steps were observed after the one that differed."""
        numbers = [step.number for step in self.observed]
        return len(numbers) - 1 - numbers.index(self.at) if self.at is not None else 0

    @property
    def equal(self) -> bool:
        """Whether the workers computed what one process does."""
        return self.outcome.equal and self.identical and self.blocks.equal

    @property
    def divergence(self) -> str | None:
        """What differed first, in words."""
        if self.outcome.divergence:
            return str(self.outcome.divergence)
        if self.blocks.divergence:
            return f"several steps at once: {self.blocks.divergence}"
        return None


def tolerances_of(planner: BatchPlanner, calm_steps: float) -> Tolerances:
    """Return what is compared, and the bounds.

    Parameters
    ----------
    planner : BatchPlanner
        The planner of the run.
    calm_steps : float
        The steps over which the training does not amplify rounding.
    """
    tolerances = Tolerances.of(planner.network, planner.recipe, calm_steps)
    # From a shared state an adaptive optimizer may widen the bound on weights, as in the proof.
    widened = tolerances.weights > PARITY_BOUND
    return replace(tolerances, bound=BOUND, weights=tolerances.weights if widened else BOUND)


def numbered_steps(planner: BatchPlanner, steps: int) -> Iterator[tuple[int, Plan]]:
    """Yield the number and the plan of each step.

    If none of them is the smaller last batch of an epoch, that batch follows as one further step.
    """
    yield from islice(enumerate(planner.singles()), steps)
    start, count, batch = planner.kinds()[-1]
    if batch != planner.batch and start >= steps:
        yield start, planner.plan(start, count, batch)


def certify(
    single: Trainer,
    group: Group,
    split: Split,
    planner: BatchPlanner,
    steps: int,
    start: State,
    tolerances: Tolerances,
) -> Iterator[Certificate]:
    """Let one process and several workers make the same steps, and compare them after each.

    Parameters
    ----------
    single : Trainer
        One process, or the workers with which the group is compared instead.
    group : Group
        The workers, with the same engine.
    split : Split
        The training data.
    planner : BatchPlanner
        The planner of the run.
    steps : int
        How many steps.
    start : dict of str to ndarray
        The state before the first step.
    tolerances : Tolerances
        What is compared, and the bounds.

    Yields
    ------
    Certificate
        The same object after each step; several steps at once are compared when the iteration goes
        on after the last one. After a difference some more steps are made, from the
        states of the single process, but not compared.
    """
    walk = _Walk(single, group, single.upload(split), group.upload(split), tolerances)
    single.load(start)
    group.load(start)
    certificate = Certificate()
    previous: list[ObservedStep] = []
    ours = theirs = start
    for number, plan in numbered_steps(planner, steps):
        if certificate.at is not None or certificate.outcome.steps >= tolerances.calm_steps:
            group.load(ours)
            theirs = ours
        losses, states = walk.step(plan)
        observed = ObservedStep(number, plan, theirs, states[1])
        ours, theirs = states
        if certificate.at is None:
            walk.compare(certificate, losses, states)
            if not certificate.equal:
                certificate.at = number
                certificate.observed = [*previous, observed]
            previous = [observed]
        else:
            certificate.observed.append(observed)
        yield certificate
        if certificate.steps_after == STEPS_AFTER:
            return
    if certificate.equal:
        several = replace(planner, block=STEPS_AT_ONCE)
        certificate.blocks = check_blocks_equal_single_steps(group, split, several, start)


@dataclass(frozen=True)
class _Walk:
    """One process and several workers, with their data."""

    single: Trainer
    group: Group
    single_data: DeviceSplit
    group_data: DeviceSplit
    tolerances: Tolerances

    def step(self, plan: Plan) -> tuple[tuple[State, State], tuple[State, State]]:
        """Make a step in both; return the losses and the states."""
        self.single.run(self.single_data, plan)
        self.group.run(self.group_data, plan)
        losses = {"loss": self.single.wait()[0]}, {"loss": self.group.wait()[0]}
        return losses, (self.single.state(), self.group.state())

    def compare(
        self, certificate: Certificate, losses: tuple[State, State], states: tuple[State, State]
    ) -> None:
        """Record how both differ, and whether all workers have one state."""
        outcome = certificate.outcome
        of_step = self.tolerances.at(outcome.steps)
        certificate.identical = len(set(self.group.digests())) == 1
        if outcome.compare(*losses, of_step):
            outcome.compare(*states, of_step, "update")
        outcome.steps += certificate.equal


def causes_of(
    certificate: Certificate, setting: Setting, simulation: Simulation, tolerances: Tolerances
) -> tuple[Cause, ...]:
    """Return the mistakes that explain a difference, by `causes.explain`."""
    one_step = replace(tolerances, calm_steps=0)

    def same(found: State, predicted: State) -> bool:
        return Outcome().compare(found, predicted, one_step, "update")

    return explain(certificate.observed, setting, simulation, same)
