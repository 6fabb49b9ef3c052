"""Every schedule against the frameworks' own, step by step, and what each does where
they differ.
"""

import json
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from triptych.core.planner import BatchPlanner
from triptych.errors import SpecError
from triptych.spec import zoo
from triptych.spec.optimizers import SGD
from triptych.spec.recipe import Recipe
from triptych.spec.schedules import (
    SCHEDULES,
    Constant,
    Cosine,
    Exponential,
    OneCycle,
    RateSchedule,
    Step,
)
from triptych.spec.serialization import from_json, to_json

PER_EPOCH, EPOCHS = 7, 6
STEPS = PER_EPOCH * EPOCHS


def rates(chosen: RateSchedule, steps: int = STEPS) -> np.ndarray:
    return np.array([chosen.at(step, PER_EPOCH, EPOCHS) for step in range(steps)])


def torch_rates(build, steps: int = STEPS) -> np.ndarray:
    torch = pytest.importorskip("torch")
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0)
    scheduler = build(torch.optim.lr_scheduler, optimizer)
    rates_of_steps = []
    for _ in range(steps):
        rates_of_steps.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore", UserWarning
            )  # SequentialLR calls its own deprecated argument
            scheduler.step()
    return np.array(rates_of_steps)


def keras_rates(build, steps: int = STEPS) -> np.ndarray:
    keras = pytest.importorskip("keras")
    return np.array([float(build(keras.optimizers.schedules)(step)) for step in range(steps)])


ONE = np.float64(1)  # a Python float would be computed in float32


TORCH = {
    "constant": (Constant(), lambda s, o: s.ConstantLR(o, 1.0)),
    "step": (Step(every=2, factor=0.3), lambda s, o: s.StepLR(o, 2 * PER_EPOCH, 0.3)),
    "milestones": (Step(milestones=(1, 2.0, 5)), lambda s, o: s.MultiStepLR(o, [7, 14, 35], 0.1)),
    "exponential": (
        Exponential(factor=0.8),
        lambda s, o: s.ExponentialLR(o, 0.8 ** (1 / PER_EPOCH)),
    ),
    "cosine": (Cosine(floor=0.1), lambda s, o: s.CosineAnnealingLR(o, STEPS, 0.1)),
    "one-cycle": (
        # PyTorch's ends at the last step, ours at the end of the run, one step later; its first
        # phase ends a step early.
        OneCycle(epochs=(STEPS - 1) / PER_EPOCH, peak=(0.25 * STEPS - 1) / (STEPS - 1)),
        lambda s, o: s.OneCycleLR(o, 1.0, STEPS, pct_start=0.25, cycle_momentum=False),
    ),
    "one-cycle, linear": (
        OneCycle(
            epochs=(STEPS - 1) / PER_EPOCH,
            peak=(0.4 * STEPS - 1) / (STEPS - 1),
            start=0.1,
            end=0.01,
            curve="linear",
        ),
        lambda s, o: s.OneCycleLR(
            o,
            1.0,
            STEPS,
            pct_start=0.4,
            anneal_strategy="linear",
            cycle_momentum=False,
            div_factor=10,
            final_div_factor=10,
        ),
    ),
    "warm-up": (
        Cosine(warmup=2),
        lambda s, o: s.SequentialLR(
            o,
            [s.LinearLR(o, 1 / 14, total_iters=13), s.CosineAnnealingLR(o, STEPS - 14)],
            milestones=[14],
        ),
    ),
}
KERAS = {
    "step": (
        Step(every=2, factor=0.25),
        lambda s: s.ExponentialDecay(ONE, 2 * PER_EPOCH, 0.25, staircase=True),
    ),
    "milestones": (
        Step(milestones=(1, 3), factor=0.5),
        lambda s: s.PiecewiseConstantDecay([6, 20], [1.0, 0.5, 0.25]),
    ),
    "exponential": (
        Exponential(factor=0.5, every=3),
        lambda s: s.ExponentialDecay(ONE, 3 * PER_EPOCH, 0.5),
    ),
    "cosine, beyond its end": (
        Cosine(epochs=4, floor=0.2),
        lambda s: s.CosineDecay(ONE, 4 * PER_EPOCH, 0.2),
    ),
}


@pytest.mark.parametrize("name", TORCH)
def test_as_pytorch_has_it(name: str):
    ours, expected = TORCH[name]
    steps = STEPS - 1 if "one-cycle" in name else STEPS  # it may be stepped no further
    assert np.abs(rates(ours, steps) - torch_rates(expected, steps)).max() <= 1e-12


@pytest.mark.parametrize("name", KERAS)
def test_as_keras_has_it(name: str):
    ours, expected = KERAS[name]
    assert np.abs(rates(ours) - keras_rates(expected)).max() <= 1e-12


def test_a_cosine_stays_at_its_floor_where_pytorchs_climbs_back():
    """D68."""
    ours = rates(Cosine(epochs=3, floor=0.1))
    expected = torch_rates(lambda s, o: s.CosineAnnealingLR(o, 3 * PER_EPOCH, 0.1))
    assert np.abs(ours[: 3 * PER_EPOCH + 1] - expected[: 3 * PER_EPOCH + 1]).max() <= 1e-12
    assert np.all(ours[3 * PER_EPOCH :] == 0.1)
    assert expected[-1] > 0.9


def test_an_exponential_has_no_stairs():
    """D69."""
    assert rates(Exponential(factor=0.5, every=2))[PER_EPOCH] == pytest.approx(0.5**0.5, rel=1e-15)


def test_a_warm_up_of_half_an_epoch():
    values = rates(Constant(warmup=0.5))
    assert values[:5] == pytest.approx([1 / 3.5, 2 / 3.5, 3 / 3.5, 1, 1], rel=1e-15)


def test_what_lasts_to_the_end_lasts_to_the_end_of_any_run():
    for epochs in (1, 2, 30):
        assert Cosine().at(epochs * 10, 10, epochs) == pytest.approx(0, abs=1e-15)
        assert Cosine().at(epochs * 5, 10, epochs) == pytest.approx(0.5, rel=1e-15)


@pytest.mark.parametrize("every", [0.1, 0.2, 0.3, 0.7, 1 / 3])
def test_stairs_lie_where_they_should_in_fractions_of_an_epoch(every: float):
    per_epoch = 30
    values = [Step(every=every, factor=0.5).at(step, per_epoch, 9) for step in range(270)]
    length = round(every * per_epoch)
    assert values == [0.5 ** (step // length) for step in range(270)]


durations = st.floats(0.01, 50)
shares = st.floats(0, 1)
warmups = st.floats(0, 5)
KINDS = st.one_of(
    st.builds(Constant, warmup=warmups),
    st.builds(Step, warmup=warmups, factor=st.floats(0.01, 1), every=durations),
    st.builds(
        Step,
        milestones=st.lists(durations, min_size=1, max_size=4, unique=True).map(
            lambda m: tuple(sorted(m))
        ),
    ),
    st.builds(Exponential, warmup=warmups, factor=st.floats(0.01, 1), every=durations),
    st.builds(Cosine, warmup=warmups, epochs=st.none() | durations, floor=shares),
    st.builds(
        OneCycle,
        warmup=warmups,
        epochs=st.none() | durations,
        start=shares,
        end=shares,
        peak=st.floats(0.01, 0.99),
        curve=st.sampled_from(["cosine", "linear"]),
    ),
)


@given(KINDS, st.integers(0, 2000), st.integers(1, 100), st.integers(1, 40))
@settings(max_examples=300)
def test_a_factor_is_always_between_nothing_and_one(
    chosen: RateSchedule, step: int, per_epoch: int, epochs: int
):
    assert 0 <= chosen.at(step, per_epoch, epochs) <= 1 + 1e-15


EXAMPLES = [example for cls in SCHEDULES.values() for example in cls.examples()]


@pytest.mark.parametrize("chosen", EXAMPLES, ids=repr)
def test_every_registered_schedule_keeps_the_rules(chosen: RateSchedule):
    assert from_json(json.loads(json.dumps(to_json(chosen))), SCHEDULES, "schedule") == chosen
    factors = rates(chosen, STEPS + 1)
    assert factors.min() >= 0
    assert factors.max() <= 1 + 1e-15


@given(KINDS)
def test_json_gives_the_same_schedule_back(chosen: RateSchedule):
    assert from_json(json.loads(json.dumps(to_json(chosen))), SCHEDULES, "schedule") == chosen
    recipe = Recipe(schedule=chosen)
    assert Recipe.from_json(json.loads(json.dumps(recipe.to_json()))) == recipe


def test_plans_carry_the_rates_and_a_constant_one_to_the_bit():
    network = zoo.get("classic")
    cosine = BatchPlanner(network, Recipe(3, 64, SGD(0.3), schedule=Cosine(warmup=0.5)), 200, 3)
    values = np.concatenate([plan.rates for plan in cosine.plans()])
    assert values.tolist() == [0.3 * Cosine(warmup=0.5).at(step, 4, 3) for step in range(12)]
    constant = BatchPlanner(network, Recipe(3, 64, SGD(0.3)), 200, 3)
    assert all(
        (plan.rates == 0.3).all() and plan.rates.dtype == np.float64 for plan in constant.plans()
    )
    assert (constant.plan(0, 2, 64, rate=0.07).rates == 0.07).all()


def test_within_an_epoch_every_place_has_the_same_future():
    schedule = BatchPlanner(
        zoo.get("regularized"), Recipe(2, 32), 150, 3
    )  # 4 whole batches and a smaller one
    whole = [step for plan in schedule.epoch(1) for step in plan.single()]
    for done in range(6):
        rest = [step for span in schedule.within(1, done) for step in schedule.plan(*span).single()]
        assert len(rest) == 5 - done
        for a, b in zip(whole[done:], rest, strict=True):
            assert np.array_equal(a.indices, b.indices)
            assert all(
                np.array_equal(a.dropout_masks[name], b.dropout_masks[name])
                for name in a.dropout_masks
            )


@pytest.mark.parametrize(
    ("build", "says"),
    [
        (lambda: Recipe.from_json({"schedule": {"name": "cosin"}}), "did you mean 'cosine'"),
        (
            lambda: Recipe.from_json({"schedule": {"name": "cosine", "warm": 1}}),
            "did you mean 'warmup'",
        ),
        (
            lambda: Recipe.from_json(Recipe().to_json() | {"schedule": {"name": "stp"}}),
            "did you mean 'step'",
        ),
        (
            lambda: Recipe.from_json(Recipe().to_json() | {"schedule": "cosine"}),
            "object with a name, such as .*, not 'cosine'",
        ),
        (lambda: Cosine(warmup=-1), "warmup must be a number of at least 0"),
        (lambda: Cosine(floor=1.5), "floor must be a number of at least 0 and at most 1"),
        (lambda: Cosine(epochs=0), "epochs must be a number above 0"),
        (lambda: Step(), "either every, in epochs, or milestones, in a recipe file"),
        (
            lambda: Recipe.from_json({"schedule": {"name": "step", "milestones": 3}}),
            "milestones must be a list of numbers, .*, not 3",
        ),
        (lambda: Step(every=1, milestones=(2,)), "either every, in epochs, or milestones"),
        (lambda: Step(milestones=(3, 2)), "must rise"),
        (lambda: Step(every=float("nan")), "every must be a number"),
        (lambda: Exponential(factor=0), "factor must be a number above 0 and at most 1, not 0"),
        (lambda: OneCycle(peak=1), "a way down"),
        (lambda: OneCycle(curve="cosin"), "did you mean 'cosine'"),
        (lambda: Constant(warmup=True), "warmup must be a number"),
        (lambda: Constant(warmup=10**400), "warmup must be a number of at least 0, not 1000"),
    ],
)
def test_what_makes_no_sense_is_refused_in_words(build, says: str):
    with pytest.raises(SpecError, match=says):
        build()
