"""Deliberate mistakes: each must be caught, at the right stage and layer, and the engine without it
must pass.

A parity check that cannot fail is worse than none. The mistakes are those that people make when
they port a network.
"""

from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from mutation import compiled, convolution, layers, normalisation, updates, waist
from mutation.planting import (
    Mutation,
    Numpy,
    as_it_is,
    check,
    few,
    with_loss,
    with_plan,
    with_state,
)
from support.engines import slow_if

from triptych.core import registry, state
from triptych.core.planner import BatchPlanner
from triptych.parity import lockstep
from triptych.spec import zoo
from triptych.spec.optimizers import optimizer
from triptych.spec.recipe import Recipe

THEMES = (waist, layers, convolution, normalisation, updates, compiled)
MUTATIONS = [mutation for theme in THEMES for mutation in theme.MUTATIONS]


def mutations() -> list:
    """Return every mistake; TensorFlow needs seconds for the graph of a network with BatchNorm."""
    return [
        pytest.param(
            mutation,
            id=mutation.name,
            marks=slow_if(mutation.network == "normed" and mutation.engine == "tensorflow"),
        )
        for mutation in MUTATIONS
    ]


@pytest.mark.parametrize("mutation", mutations())
def test_the_mistake_is_caught_at_the_right_place(mutation: Mutation):
    check(mutation)


def test_every_stage_of_every_engine_has_a_mistake():
    """A name is used once; and each engine has mistakes in what it computes and in its update."""
    assert len({mutation.name for mutation in MUTATIONS}) == len(MUTATIONS) >= 60
    by_engine = Counter(mutation.engine for mutation in MUTATIONS)
    assert min(by_engine[name] for name in ("numpy", "torch", "tensorflow")) >= 15
    for engine in registry.entries():
        stages = {mutation.stage for mutation in MUTATIONS if mutation.engine == engine}
        assert stages >= {"output", "loss", "update"}, engine


def test_a_resumed_run_without_its_slots_is_caught():
    network, recipe = zoo.get("classic"), Recipe(2, 64, optimizer("momentum"), dtype="float64")
    start = state.initial(network, recipe)
    start["hidden/kernel/velocity"] += 0.5
    plans = [next(BatchPlanner(network, recipe, len(few()), 1).plans())]
    wrong = with_state(waist.slots_forgotten)(Numpy)
    *_, outcome = lockstep.walk(Numpy(network, recipe), wrong(network, recipe), few(), plans, start)
    assert outcome.divergence
    assert (outcome.divergence.stage, outcome.divergence.name) == (
        "initial state",
        "hidden/kernel/velocity",
    )


def test_a_smaller_last_batch_divided_by_the_usual_size_is_caught():
    """The first steps of a proof are whole batches and right; the one after them is the smaller
    one.
    """
    network, recipe = zoo.get("classic"), Recipe(1, 64, dtype="float64")
    schedule, start = BatchPlanner(network, recipe, len(few())), state.initial(network, recipe)
    for mistake, equal in (
        (as_it_is, True),
        (with_loss(updates.by_nominal), False),
    ):
        *_, found = lockstep.walk(
            Numpy(network, recipe),
            mistake(Numpy)(network, recipe),
            few(),
            lockstep.proof_plans(schedule, 2),
            start,
        )
        assert found.equal == equal
    assert found.divergence
    assert (found.divergence.stage, found.at, found.steps) == ("gradient", 2, 2)


# --- Mistakes that show only when K steps are made at once
# -----------------------------------------------------------


def last_step_dropped(base: Any) -> Any:
    class Wrong(base):
        def run(self, data, plan):
            super().run(data, plan[:-1] if len(plan) > 1 else plan)
            if len(plan) > 1:
                self.losses.append(self.losses[-1])

    return Wrong


first_rate_for_all = with_plan(
    lambda plan: replace(plan, rates=plan.rates * np.linspace(1, 1.1, len(plan)))
)
# A dropout mask kept from the first step of a block.
stale_mask = with_plan(
    lambda plan: replace(
        plan,
        dropout_masks={
            name: mask[:1].repeat(len(plan), axis=0) for name, mask in plan.dropout_masks.items()
        },
    )
)


@pytest.mark.parametrize("mistake", [first_rate_for_all, last_step_dropped, stale_mask])
def test_k_steps_at_once_that_are_not_k_single_steps(mistake):
    network, recipe = zoo.get("regularized"), Recipe(1, 64, optimizer("sgd"), dtype="float64")
    schedule, start = BatchPlanner(network, recipe, len(few()), 3), state.initial(network, recipe)
    assert lockstep.check_blocks_equal_single_steps(
        Numpy(network, recipe), few(), schedule, start
    ).equal
    found = lockstep.check_blocks_equal_single_steps(
        mistake(Numpy)(network, recipe), few(), schedule, start
    )
    assert found.divergence
    assert found.largest > 1e-11
