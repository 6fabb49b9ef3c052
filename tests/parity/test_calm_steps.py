"""From which step on a training amplifies rounding, and what is compared after it."""

from math import inf

import numpy as np
import pytest
from support.splits import first_digits

from triptych.core import registry, state
from triptych.parity import lockstep
from triptych.parity.verify import Case
from triptych.spec import layers
from triptych.spec.network import Network
from triptych.spec.optimizers import SGD, Adam
from triptych.spec.recipe import Recipe

STEPS = 220
CHAOTIC = Recipe(batch_size=16, optimizer=SGD(rate=0.2, momentum=0.95))
CALM = Recipe(batch_size=16, optimizer=SGD(rate=0.01))
# With ReLU in place of Tanh most units may die, and whether they do depends on the rounding of the
# machine: a network of dead units amplifies nothing.
LAYERS = (
    layers.Flatten("flatten"),
    layers.Dense("hidden1", 24),
    layers.Tanh("tanh1"),
    layers.Dense("hidden2", 24),
    layers.Tanh("tanh2"),
    layers.Dense("output", 10),
)


def case(recipe):
    return Case(Network("small", (28, 28, 1), LAYERS), recipe, STEPS)


def prepared(recipe):
    """Return what a walk needs: case, split, planner, state, and two NumPy engines."""
    described = case(recipe)
    split = first_digits(160)
    planner = described.planner(len(split), "float64")
    start = state.initial(described.network, planner.recipe)
    engines = [registry.create("numpy", described.network, planner.recipe) for _ in range(2)]
    return described, split, planner, start, engines


def measured(recipe):
    _, split, planner, start, engines = prepared(recipe)
    return lockstep.calm_steps(*engines, split, lockstep.proof_plans(planner, STEPS), start)


def test_a_calm_training_is_compared_over_its_whole_trajectory():
    assert measured(CALM) == inf


def test_a_training_that_amplifies_rounding_is_noticed():
    assert 0 < measured(CHAOTIC) < STEPS


class Late:
    """A NumPy engine whose update is wrong by a small share from some step on."""

    def __init__(self, engine, begin):
        self.engine = engine
        self.begin = begin
        self.steps = 0

    def __getattr__(self, name):
        return getattr(self.engine, name)

    def run(self, data, plan):
        before = self.engine.state()
        self.engine.run(data, plan)
        self.steps += 1
        if self.steps > self.begin:
            after = self.engine.state()
            name = next(iter(after))
            moved = before[name] + (after[name] - before[name]) * (1 + 1e-7)
            self.engine.load(after | {name: moved})


def walked(recipe, calm, *, begin=None):
    described, split, planner, start, (reference, candidate) = prepared(recipe)
    candidate = candidate if begin is None else Late(candidate, begin)
    tolerances = lockstep.Tolerances.of(described.network, planner.recipe, calm)
    plans = lockstep.proof_plans(planner, STEPS)
    *_, outcome = lockstep.walk(reference, candidate, split, plans, start, tolerances)
    return outcome


def test_a_mistake_in_a_late_step_is_found_in_that_step():
    calm = measured(CHAOTIC)
    begin = int(calm) + 20
    outcome = walked(CHAOTIC, calm, begin=begin)
    assert outcome.divergence is not None
    assert outcome.divergence.stage == "update"
    assert outcome.at == begin


def test_the_perturbed_run_passes_after_the_calm_steps_and_not_without_them():
    described, split, planner, start, (reference, candidate) = prepared(CHAOTIC)
    name = next(iter(start))
    nudged = start | {name: np.nextafter(start[name], np.inf)}
    calm = lockstep.calm_steps(
        reference, candidate, split, lockstep.proof_plans(planner, STEPS), start
    )

    def divergence(steps):
        tolerances = lockstep.Tolerances.of(described.network, planner.recipe, steps)
        plans = lockstep.proof_plans(planner, STEPS)
        walk = lockstep.walk(Nudged(reference, nudged), candidate, split, plans, start, tolerances)
        *_, outcome = walk
        return outcome.divergence

    assert divergence(calm) is None
    assert divergence(inf) is not None


class Nudged:
    """The reference, which starts one unit in the last place away."""

    def __init__(self, engine, start):
        self.engine = engine
        self.start = start
        self.loads = 0

    def __getattr__(self, name):
        return getattr(self.engine, name)

    def load(self, given):
        self.engine.load(self.start)


def test_no_bound_is_wider_in_a_calm_step():
    recipe = Recipe(batch_size=16, optimizer=Adam(rate=0.5, epsilon=1e-7))
    tolerances = lockstep.Tolerances.of(case(recipe).network, recipe, 7)
    assert [tolerances.at(step).weights for step in (0, 6)] == [lockstep.BOUND] * 2
    assert tolerances.at(7).weights == pytest.approx(1e-15 * 0.5 / 1e-7)
