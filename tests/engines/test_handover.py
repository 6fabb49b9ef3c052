"""A run that changes engines on its way: in mid-epoch, with slots, schedule, masks and order, and
ends where NumPy's ends.
"""

from functools import cache

import pytest
from support.engines import slow_if
from support.errors import relative_errors
from support.splits import first_digits

from triptych.core import registry, state
from triptych.core.engine import Engine
from triptych.core.planner import BatchPlanner
from triptych.parity import lockstep
from triptych.spec import zoo
from triptych.spec.augmentation import Augmentation
from triptych.spec.optimizers import SHORTHANDS, optimizer
from triptych.spec.recipe import Recipe
from triptych.spec.schedules import Cosine

NETWORKS = ["custom", "lenet"]
FAST = [("custom", "adamw"), ("lenet", "adam")]
NAMES = [name for name, entry in registry.entries().items() if entry.installed]
BEFORE, EPOCHS = 5, 3  # of 3 steps an epoch: it changes hands in the middle of the second

needs_two = pytest.mark.skipif(len(NAMES) < 2, reason="only NumPy is installed")
pytestmark = pytest.mark.usefixtures("optimised")


DIGITS = 150


@cache
def schedule(network: str, chosen: str) -> BatchPlanner:
    recipe = Recipe(
        *(EPOCHS, 64, optimizer(chosen)),
        dtype="float64",
        schedule=Cosine(warmup=0.75, floor=0.05),
        augmentation=Augmentation(shift=1) if network != "custom" else Augmentation(),
    )
    return BatchPlanner(zoo.get(network), recipe, DIGITS, 2)


def advance(
    engine: Engine, schedule: BatchPlanner, start: state.State, first: int, end: int
) -> state.State:
    engine.load(start)
    native, step = engine.upload(first_digits(DIGITS)), first
    while step < end:
        span = next(schedule.within(*divmod(step, schedule.steps_per_epoch)))
        span = (span[0], min(span[1], end - step), span[2])
        engine.run(native, schedule.plan(*span))
        step += span[1]
    engine.wait()
    return engine.state()


def networks_and_optimizers() -> list:
    """Return every pair; each network is in tests that are not slow."""
    found = []
    for network in NETWORKS:
        for chosen in SHORTHANDS:
            slow = slow_if((network, chosen) not in FAST)
            found.append(pytest.param(network, chosen, id=f"{network}-{chosen}", marks=slow))
    return found


@needs_two
@pytest.mark.parametrize(("network", "chosen"), networks_and_optimizers())
def test_in_every_direction_it_ends_where_numpy_alone_ends(network: str, chosen: str):
    plans = schedule(network, chosen)
    start = state.initial(plans.network, plans.recipe)
    own = {name: registry.create(name, plans.network, plans.recipe) for name in NAMES}
    alone = advance(own["numpy"], plans, start, 0, plans.steps)
    halfway = {name: advance(own[name], plans, start, 0, BEFORE) for name in NAMES}
    for before in NAMES:
        for after in NAMES:
            if before != after:
                found = advance(own[after], plans, halfway[before], BEFORE, plans.steps)
                apart = relative_errors(alone, found)
                assert max(apart.values()) <= 1e-11, (before, after, apart)


@needs_two
@pytest.mark.slow
@pytest.mark.parametrize("chosen", SHORTHANDS)
def test_with_batch_norm_the_step_after_the_hand_over_is_numpys(chosen: str):
    """With BatchNorm training amplifies rounding itself: one step is compared, from the state that
    was handed over.
    """
    plans = schedule("lenet-bn", chosen)
    start, rule = (
        state.initial(plans.network, plans.recipe),
        lockstep.Tolerances.of(plans.network, plans.recipe),
    )
    own = {name: registry.create(name, plans.network, plans.recipe) for name in NAMES}
    for before in NAMES:
        halfway = advance(own[before], plans, start, 0, BEFORE)
        ends = {
            name: advance(own[name], plans, halfway, BEFORE, BEFORE + 1)
            for name in NAMES
            if name != before
        }
        ends["numpy"] = advance(own["numpy"], plans, halfway, BEFORE, BEFORE + 1)
        for after, found in ends.items():
            outcome = lockstep.Outcome()
            assert outcome.compare(ends["numpy"], found, rule, "update"), (
                before,
                after,
                str(outcome.divergence),
            )


@needs_two
@pytest.mark.parametrize("lost", ["slots", "step"])
def test_what_is_not_handed_over_is_missed(lost: str):
    """The comparison can fail: without Adam's slots, or without its count of steps, the end
    differs.
    """
    plans = schedule("custom", "adam")
    start = state.initial(plans.network, plans.recipe)
    numpy, other = (registry.create(name, plans.network, plans.recipe) for name in NAMES[:2])
    alone = advance(numpy, plans, start, 0, plans.steps)
    halfway = advance(numpy, plans, start, 0, BEFORE)
    for name in halfway:
        if (lost == "step") == (name == "step") and state.kind(name) != "weights":
            halfway[name] = start[name]
    apart = relative_errors(alone, advance(other, plans, halfway, BEFORE, plans.steps))
    assert max(apart.values()) > 1e-4
