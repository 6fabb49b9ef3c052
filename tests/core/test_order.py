"""The order of an epoch that is read in pieces: complete, reproducible, one window at a time."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from triptych.core.order import WindowedOrder, epoch_order
from triptych.core.planner import BatchPlanner
from triptych.core.sharding import shard, shard_order
from triptych.spec import zoo
from triptych.spec.recipe import Recipe

groups = st.lists(st.integers(0, 30), min_size=1, max_size=20).map(tuple)
orders = st.builds(WindowedOrder, groups, st.integers(1, 60))
seeds = st.integers(0, 2**32)


def group_of(order: WindowedOrder) -> np.ndarray:
    return np.repeat(np.arange(len(order.sizes)), order.sizes)


@given(orders, seeds, st.integers(0, 9))
def test_every_sample_comes_once(order: WindowedOrder, seed: int, epoch: int):
    assert np.array_equal(np.sort(order.epoch(seed, epoch)), np.arange(len(order)))


@given(orders, seeds)
def test_a_window_has_whole_groups_and_is_not_too_large(order: WindowedOrder, seed: int):
    group = group_of(order)
    for window in order.windows(seed, 0):
        inside = np.unique(group[window])
        assert sum(order.sizes[g] for g in inside) == len(window)
        assert len(window) <= order.window or len(inside) == 1


@given(orders, seeds)
def test_the_samples_of_a_window_follow_each_other(order: WindowedOrder, seed: int):
    used = order.epoch(seed, 3)
    at = 0
    for window in order.windows(seed, 3):
        assert set(used[at : at + len(window)]) == set(window)
        at += len(window)


def test_epochs_and_seeds_differ_and_repeat():
    order = WindowedOrder((50,) * 20, 200)
    first = order.epoch(0, 0)
    assert np.array_equal(first, WindowedOrder((50,) * 20, 200).epoch(0, 0))
    assert not np.array_equal(first, order.epoch(0, 1))
    assert not np.array_equal(first, order.epoch(1, 0))


def test_neighbours_come_from_several_groups():
    """Classes that are sorted in the file are mixed as far as a window reaches."""
    order = WindowedOrder((50,) * 20, 200)
    batch = order.epoch(0, 0)[:32]
    assert len(np.unique(group_of(order)[batch])) == 4


def test_the_order_of_a_training_does_not_change():
    """A training that goes on after an update must not see other samples."""
    order = WindowedOrder((3, 4, 2), 5)
    assert order.epoch(0, 0).tolist() == [7, 2, 8, 0, 1, 6, 4, 3, 5]
    assert order.epoch(7, 2).tolist() == [0, 1, 2, 4, 3, 5, 6, 8, 7]


def test_in_memory_the_order_is_as_before():
    assert epoch_order(8, 0, 0, None).tolist() == [0, 1, 2, 3, 5, 6, 7, 4]


@given(st.integers(1, 60), st.integers(1, 20), st.integers(1, 6))
def test_the_parts_of_an_order_are_those_of_its_plans(samples: int, batch: int, workers: int):
    order = WindowedOrder((samples,), 10)
    network = zoo.dense("n", [3], shape=(4, 4, 1), classes=2)
    planner = BatchPlanner(network, Recipe(2, batch), samples, 4, order)
    for rank in range(workers):
        plans = [shard(plan, rank, workers, samples) for plan in planner.epoch(1)]
        expected = np.concatenate([plan.indices.ravel() for plan in plans])
        given = shard_order(planner.epoch_order(1), planner.batch, rank, workers)
        assert np.array_equal(given, expected)
