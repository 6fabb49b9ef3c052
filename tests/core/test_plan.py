"""Randomness is a pure function of its key, and plans are a pure function of seed and step."""

from hashlib import sha256

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from triptych.core import rng, state
from triptych.core.planner import PLAN_BYTES, BatchPlanner
from triptych.spec import zoo
from triptych.spec.optimizers import Adam
from triptych.spec.recipe import Recipe


def test_the_numbers_never_change():
    """Pinned: a change here changes every published result."""
    assert (
        sha256(rng.bits(1000, 7, "name", 3).astype("<u8").tobytes()).hexdigest()[:16]
        == "3c0ac5de3025a211"
    )
    assert (
        sha256(state.initial(zoo.get("classic"), Recipe())["hidden/kernel"].tobytes()).hexdigest()[
            :16
        ]
        == "505920244b425b70"
    )
    assert rng.permutation(8, 0, "order", 0).tolist() == [0, 1, 2, 3, 5, 6, 7, 4]


def test_uniform_is_uniform_and_keys_are_independent():
    a, b = rng.uniform((100_000,), 1, "a"), rng.uniform((100_000,), 1, "b")
    assert 0 <= a.min() < 1e-4
    assert 1 - 1e-4 < a.max() < 1
    assert abs(a.mean() - 0.5) < 0.004  # four standard errors
    assert abs(np.corrcoef(a, b)[0, 1]) < 0.013


@pytest.mark.parametrize("rate", [0.0, 0.2, 0.5, 0.99])
def test_masks_keep_the_share_they_should(rate: float):
    assert abs(rng.keep((1000, 101), rate, 5, "drop", 0).mean() - (1 - rate)) < 0.006


@given(
    st.integers(1, 400),
    st.one_of(st.just("full"), st.integers(1, 500)),
    st.integers(1, 5),
    st.integers(1, 50),
    st.integers(0, 9),
)
@settings(max_examples=80)
def test_every_epoch_sees_every_sample_once_in_at_most_three_shapes(
    samples: int, batch, epochs: int, block: int, seed: int
):
    schedule = BatchPlanner(zoo.get("classic"), Recipe(epochs, batch, seed=seed), samples, block)
    plans = list(schedule.plans())
    assert sum(map(len, plans)) == schedule.steps
    assert len({(len(p), None if p.indices is None else p.indices.shape[1]) for p in plans}) <= 3
    assert {(len(p), None if p.indices is None else p.indices.shape[1]) for p in plans} == {
        (k, None if batch == "full" else b) for _, k, b in schedule.kinds()
    }
    if batch != "full":
        rows = np.concatenate([p.indices.ravel() for p in plans if p.indices is not None])
        assert rows.dtype == np.int32
        for epoch in range(epochs):
            assert sorted(rows[epoch * samples : (epoch + 1) * samples]) == list(range(samples))


@given(st.integers(1, 40), st.integers(1, 40))
@settings(max_examples=25)
def test_how_a_run_is_cut_into_blocks_changes_nothing(one: int, other: int):
    def steps(block: int):
        schedule = BatchPlanner(zoo.get("regularized"), Recipe(2, 32, Adam()), 150, block)
        return [step for plan in schedule.plans() for step in plan.single()]

    for a, b in zip(steps(one), steps(other), strict=True):
        assert np.array_equal(a.indices, b.indices)
        assert a.rates == b.rates
        assert all(
            np.array_equal(a.dropout_masks[name], b.dropout_masks[name])
            for name in ("dropout1", "dropout2")
        )


def test_a_plan_stays_under_its_bound():
    wide = zoo.dense("wide", [4096], 0.5)
    for batch in ("full", 128):
        schedule = BatchPlanner(wide, Recipe(50, batch), 2000, 10_000)
        plan = schedule.plan(*next(schedule.spans()))
        size = (
            plan.rates.nbytes
            + sum(mask.nbytes for mask in plan.dropout_masks.values())
            + (0 if plan.indices is None else plan.indices.nbytes)
        )
        assert size <= PLAN_BYTES
        assert batch != "full" or size > PLAN_BYTES / 2


def test_epochs_one_by_one_are_the_run():
    schedule = BatchPlanner(zoo.get("classic"), Recipe(3, 64), 200, 2)
    whole = [plan.indices for plan in schedule.plans()]
    by_epoch = [plan.indices for epoch in range(3) for plan in schedule.epoch(epoch)]
    assert all(np.array_equal(a, b) for a, b in zip(whole, by_epoch, strict=True))


def test_free_mode_has_no_masks():
    assert (
        next(
            BatchPlanner(zoo.get("regularized"), Recipe(1, 32, random="free"), 100).plans()
        ).dropout_masks
        == {}
    )
