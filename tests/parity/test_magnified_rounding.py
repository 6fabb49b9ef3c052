"""Updates that magnify the rounding of a gradient: proved with the candidate's gradients."""

import numpy as np
from support.splits import first_digits

from triptych.core import registry, state
from triptych.parity import lockstep
from triptych.parity.verify import Case
from triptych.spec import zoo
from triptych.spec.optimizers import Adagrad
from triptych.spec.recipe import Recipe

STEPS = 6
KERNEL = "gradient/hidden/kernel"
AT = 2  # the step, from 0, in which a gradient of the candidate differs
# Dark pixels have gradients of zero, which Adagrad divides by little more than epsilon.
RECIPE = Recipe(batch_size=16, optimizer=Adagrad(rate=0.01, epsilon=1e-7))
ROUNDING = 0.9 * lockstep.GRADIENT_ROUNDING


class Candidate:
    """NumPy whose gradients differ in one step, and whose updates may be wrong.

    Parameters
    ----------
    engine : Engine
        NumPy's.
    difference : float
        What is added to each gradient of the first kernel in step `AT`, relative to the largest
        gradient.
    mistake : float
        By which share an update of the first kernel is too large.
    begin : int
        The first step with the mistake.
    """

    def __init__(self, engine, difference, mistake=0.0, begin=AT):
        self.engine = engine
        self.difference = difference
        self.mistake = mistake
        self.begin = begin
        self.steps = 0

    def __getattr__(self, name):
        return getattr(self.engine, name)

    def trace(self, data, plan, *, outputs=True):
        result = self.engine.trace(data, plan, outputs=outputs)
        if self.steps == AT:
            gradients = [result[name] for name in result if name.startswith("gradient/")]
            largest = max(np.abs(each).max() for each in gradients)
            result[KERNEL] = result[KERNEL] + self.difference * largest
        return result

    def run(self, data, plan):
        traced = self.trace(data, plan, outputs=False)
        gradients = {
            name.removeprefix("gradient/"): array
            for name, array in traced.items()
            if name.startswith("gradient/")
        }
        before = self.engine.state()
        self.engine.update(gradients, float(plan.rates[0]))
        self.engine.losses.append(traced["loss"])
        if self.mistake and self.steps >= self.begin:
            after = self.engine.state()
            name = KERNEL.removeprefix("gradient/")
            moved = before[name] + (after[name] - before[name]) * (1 + self.mistake)
            self.engine.load(after | {name: moved})
        self.steps += 1


def walked(difference, mistake=0.0, begin=AT):
    network = zoo.dense("small", [24], 0.0, shape=(28, 28, 1), classes=10)
    planner = Case(network, RECIPE, STEPS).planner(160, "float64")
    start = state.initial(network, planner.recipe)
    reference, engine = (registry.create("numpy", network, planner.recipe) for _ in range(2))
    *_, outcome = lockstep.walk(
        reference,
        Candidate(engine, difference, mistake, begin),
        first_digits(160),
        lockstep.proof_plans(planner, STEPS),
        start,
        lockstep.Tolerances.of(network, planner.recipe),
    )
    return outcome


def test_rounding_that_the_optimizer_magnifies_is_no_difference():
    outcome = walked(ROUNDING)
    assert outcome.equal, str(outcome.divergence)
    assert outcome.magnified_at == AT + 1
    assert outcome.steps >= STEPS
    assert outcome.margin.ratio <= 1


def test_without_it_nothing_is_explained():
    outcome = walked(0.0)
    assert outcome.equal
    assert outcome.magnified_at is None
    assert outcome.largest == 0


def test_a_gradient_that_differs_by_more_than_rounding_explains_nothing():
    """Its difference is below the bound on gradients, and only the update shows it."""
    outcome = walked(10 * lockstep.GRADIENT_ROUNDING)
    assert (outcome.divergence.stage, outcome.at) == ("update", AT)


def test_a_wrong_update_in_the_same_step_is_found():
    outcome = walked(ROUNDING, mistake=1e-8)
    assert (outcome.divergence.stage, outcome.at) == ("update", AT)


def test_a_small_mistake_that_adds_up_before_is_found():
    """No step alone reaches the bound, so the state before the step counts, too."""
    outcome = walked(0.0, mistake=1e-10, begin=0)
    assert not outcome.equal
    assert outcome.at > 0
    assert outcome.magnified_at is None


def test_a_wrong_update_after_it_is_found_in_its_step():
    outcome = walked(ROUNDING, mistake=1e-6, begin=AT + 2)
    assert (outcome.divergence.stage, outcome.at) == ("update", AT + 2)
