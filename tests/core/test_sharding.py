"""Plans cut by rank: the parts of all workers, one behind the other, are the plan."""

from dataclasses import replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from triptych.core.plan import Plan
from triptych.core.planner import BatchPlanner
from triptych.core.sharding import shard, shard_rows
from triptych.spec import zoo
from triptych.spec.augmentation import Augmentation
from triptych.spec.recipe import Recipe

NETWORK = zoo.dense("n", [3], 0.5, shape=(4, 4, 1), classes=2)
RECIPE = Recipe(2, 5, augmentation=Augmentation(shift=1))
workers = st.integers(1, 9)


def joined(plan: Plan, count: int, samples: int) -> Plan:
    """The parts of all ranks one behind the other."""
    parts = [shard(plan, rank, count, samples) for rank in range(count)]
    for part in parts:
        assert np.array_equal(part.rates, plan.rates)
    first = parts[0]
    return Plan(
        plan.rates,
        np.concatenate([part.indices for part in parts], axis=1),
        {n: np.concatenate([p.dropout_masks[n] for p in parts], 1) for n in first.dropout_masks},
        {n: np.concatenate([p.augmentations[n] for p in parts], 1) for n in first.augmentations},
    )


@given(st.integers(1, 40), st.integers(1, 12), workers)
def test_the_parts_of_every_plan_are_the_plan(samples: int, batch: int, count: int):
    """Every array of the run's plans, the smaller last batch of an epoch included."""
    planner = BatchPlanner(NETWORK, replace(RECIPE, batch_size=batch), samples, 3)
    for plan in planner.plans():
        whole = joined(plan, count, samples)
        assert np.array_equal(whole.indices, plan.indices)
        for name in ("dropout_masks", "augmentations"):
            expected, parts = getattr(plan, name), getattr(whole, name)
            assert parts.keys() == expected.keys()
            assert parts
            for key, array in expected.items():
                assert np.array_equal(parts[key], array)
                assert parts[key].dtype == array.dtype


@given(st.integers(1, 40), workers)
def test_a_step_of_all_samples_is_cut_in_their_order(samples: int, count: int):
    planner = BatchPlanner(NETWORK, replace(RECIPE, batch_size="full"), samples, 2)
    plan = next(planner.plans())
    assert plan.indices is None
    whole = joined(plan, count, samples)
    assert whole.indices.dtype == np.int32
    assert whole.indices.tolist() == [list(range(samples))] * 2
    for name, masks in plan.dropout_masks.items():
        assert np.array_equal(whole.dropout_masks[name], masks)


@given(st.integers(0, 200), workers)
def test_no_part_is_larger_than_another_by_more_than_one(batch: int, count: int):
    rows = shard_rows(batch, count)
    sizes = [len(range(batch)[part]) for part in rows]
    assert (len(sizes), sum(sizes)) == (count, batch)
    assert max(sizes) - min(sizes) <= 1
    assert sizes == sorted(sizes, reverse=True)


def test_the_last_workers_have_no_sample_of_a_small_batch():
    plan = Plan(np.array([0.1]), np.array([[7, 3]], np.int32))
    parts = [shard(plan, rank, 4, 10) for rank in range(4)]
    assert [part.indices.tolist() for part in parts] == [[[7]], [[3]], [[]], [[]]]
    assert [part.empty for part in parts] == [False, False, True, True]


def test_a_plan_of_all_samples_has_no_empty_part_of_its_own():
    assert not Plan(np.array([0.1])).empty
