"""The certificate passes workers that compute what one process does, and names planted mistakes."""

from dataclasses import replace
from itertools import pairwise
from math import inf

import numpy as np
import pytest
from scale.mistakes import (
    FirstStepOnly,
    Larger,
    MeanOfMeans,
    PaddedBatch,
    SummedTwice,
    Unsynchronised,
    padded_epoch,
    schedule_per_process,
)
from support.engines import loaded_engine, needs_torch, rows
from support.splits import random_split
from support.threaded import ThreadedGroup

from triptych.core import registry, state
from triptych.core.planner import BatchPlanner
from triptych.scale.causes import PADDED, Replay, SerialSimulation, Setting
from triptych.scale.certificate import (
    BOUND,
    STEPS_AFTER,
    Certificate,
    causes_of,
    certify,
    numbered_steps,
    tolerances_of,
)
from triptych.scale.parallel import ParallelEngine
from triptych.spec import zoo
from triptych.spec.layers import BatchNorm, Conv2D, Dense, Dropout, Flatten, ReLU
from triptych.spec.network import Network
from triptych.spec.optimizers import SGD, Adam
from triptych.spec.recipe import Recipe
from triptych.spec.schedules import Cosine

SHAPE = (4, 4, 1)
DENSE = zoo.dense("dense", [6], shape=SHAPE, classes=3)
NORMED = Network(
    "normed",
    SHAPE,
    (
        Conv2D("conv", 3, 3, padding=1, bias=False),
        BatchNorm("norm"),
        ReLU("relu"),
        Dropout("drop", 0.2),
        Flatten("flatten"),
        Dense("output", 3),
    ),
)
SAMPLES = 31
RECIPE = Recipe(4, 12, SGD(0.3, 0.9), dtype="float64", schedule=Cosine(warmup=0.5))
STEPS = 9  # three epochs: batches of 12, 12 and 7
SYNCHRONISED = ["numpy", pytest.param("torch", marks=[needs_torch, pytest.mark.framework])]


def planner_of(network: Network, recipe: Recipe = RECIPE) -> BatchPlanner:
    return BatchPlanner(network, recipe, SAMPLES, 1)


def certified(
    planner: BatchPlanner,
    workers: int,
    kind: type[ParallelEngine] = ParallelEngine,
    name: str = "numpy",
    *,
    synchronised: bool = True,
    steps: int = STEPS,
) -> tuple[Certificate, tuple[str, ...]]:
    """Return the certificate of a group of threads, and the names of the causes."""
    network, recipe = planner.network, planner.recipe
    split = random_split(SAMPLES, SHAPE, classes=3)
    single = loaded_engine(name, network, recipe)
    group = ThreadedGroup(name, network, recipe, workers, kind, synchronised=synchronised)
    tolerances = tolerances_of(planner, inf)
    start = state.initial(network, recipe)
    *_, certificate = certify(single, group, split, planner, steps, start, tolerances)
    if not certificate.observed:
        return certificate, ()
    replay = Replay()
    engine = registry.create(name, network, recipe, all_reduce=replay)
    simulation = SerialSimulation(engine, replay, engine.upload(split), SAMPLES)
    causes = causes_of(certificate, Setting(planner, workers), simulation, tolerances)
    return certificate, tuple(cause.name for cause in causes)


@pytest.mark.parametrize(("name", "backend"), rows(others=False))
@pytest.mark.parametrize("workers", [1, 2, 3])
def test_workers_are_equal_over_a_whole_trajectory(name: str, backend: str, workers: int):
    del backend
    certificate, _ = certified(planner_of(DENSE), workers, name=name)
    assert certificate.equal
    assert certificate.outcome.steps == STEPS
    assert certificate.outcome.worst.keys() == {"loss", "weights", "velocity"}
    assert certificate.outcome.largest <= BOUND
    assert certificate.observed == []


@pytest.mark.parametrize(("name", "backend"), rows(others=False))
def test_of_the_last_batch_of_one_sample_another_worker_has_none(name: str, backend: str):
    del backend
    planner = planner_of(DENSE, replace(RECIPE, batch_size=SAMPLES - 1))
    certificate, _ = certified(planner, 2, name=name, steps=4)
    assert certificate.equal
    assert certificate.blocks.steps == 2


@pytest.mark.parametrize(("name", "backend"), rows(others=False))
def test_several_steps_at_once_that_are_others_are_caught(name: str, backend: str):
    del backend
    certificate, _ = certified(planner_of(DENSE), 2, FirstStepOnly, name, steps=3)
    assert certificate.outcome.equal
    assert certificate.identical
    assert certificate.divergence.startswith("several steps at once: ")
    assert not certificate.equal


@pytest.mark.parametrize("name", SYNCHRONISED)
@pytest.mark.parametrize("workers", [2, 3, 8])
def test_workers_with_batch_norm_are_equal_step_by_step(name: str, workers: int):
    """Of a batch of 7 the last of 8 workers has no sample."""
    certificate, _ = certified(planner_of(NORMED), workers, name=name)
    assert certificate.equal
    assert certificate.outcome.steps == STEPS
    assert certificate.outcome.worst["buffers"] <= BOUND


def test_every_step_begins_with_the_state_of_one_process():
    """Where a network amplifies rounding; the group is loaded before each step."""
    planner = planner_of(NORMED)
    split = random_split(SAMPLES, SHAPE, classes=3)
    single = loaded_engine("numpy", NORMED, RECIPE)
    group = ThreadedGroup("numpy", NORMED, RECIPE, 2)
    loaded = []
    load = group.load
    group.load = lambda state: (loaded.append(state), load(state))
    start = state.initial(NORMED, RECIPE)
    *_, certificate = certify(single, group, split, planner, 4, start, tolerances_of(planner, inf))
    assert certificate.equal
    assert len(loaded) == 1 + 4 + 2  # before each step, and before both ways of several steps
    again = loaded_engine("numpy", NORMED, RECIPE)
    data = again.upload(split)
    for given, (_, plan) in zip(loaded[1:5], numbered_steps(planner, 4), strict=True):
        expected = again.state()
        assert all(np.array_equal(given[key], array) for key, array in expected.items())
        again.run(data, plan)


# (mistake, network, workers, first step that shows it)
DENSE_PLANNER = planner_of(DENSE)
PLANTED = {
    "mean of means over unequal shards": (MeanOfMeans, DENSE, 2, 2),
    "mean of means, three workers": (MeanOfMeans, DENSE, 3, 2),
    "mean of means with BatchNorm": (MeanOfMeans, NORMED, 2, 2),
    "schedule stepped per process": (schedule_per_process(DENSE_PLANNER), DENSE, 2, 1),
    "schedule with BatchNorm": (schedule_per_process(planner_of(NORMED)), NORMED, 3, 1),
    "padding by the sampler": (PaddedBatch, DENSE, 2, 2),
    "padding with BatchNorm": (PaddedBatch, NORMED, 3, 2),
    "padding from the epoch": (padded_epoch(DENSE_PLANNER), DENSE, 2, 2),
    "gradients summed twice": (SummedTwice, DENSE, 3, 0),
    "gradients summed twice with BatchNorm": (SummedTwice, NORMED, 2, 0),
}
NAMES = {
    "mean": "mean of means over unequal shards",
    "schedule": "schedule stepped per process",
    "padding": PADDED,
    "gradients": "gradients summed twice",
}


@pytest.mark.parametrize("planted", PLANTED)
def test_a_planted_mistake_is_caught_and_named(planted: str):
    kind, network, workers, at = PLANTED[planted]
    certificate, causes = certified(planner_of(network), workers, kind)
    assert not certificate.equal
    assert certificate.identical  # all workers make the same mistake
    assert certificate.at == at
    assert certificate.outcome.steps == at
    assert causes == (NAMES[planted.split()[0]],)


@pytest.mark.parametrize("name", SYNCHRONISED)
@pytest.mark.parametrize("workers", [2, 3])
def test_batch_norm_per_shard_is_caught_and_named(name: str, workers: int):
    certificate, causes = certified(planner_of(NORMED), workers, name=name, synchronised=False)
    assert certificate.at == 0
    assert not certificate.identical  # the running statistics of each worker are its own
    assert causes == ("BatchNorm per shard",)


@pytest.mark.parametrize("name", ["torch", "tensorflow", "jax"])
@pytest.mark.parametrize("planted", ["mean of means, three workers", "padding by the sampler"])
def test_mistakes_are_named_in_every_engine(name: str, planted: str):
    pytest.importorskip(registry.entry(name).requires)
    kind, network, workers, at = PLANTED[planted]
    certificate, causes = certified(planner_of(network), workers, kind, name)
    assert (certificate.at, causes) == (at, (NAMES[planted.split()[0]],))


def test_two_mistakes_at_once_are_both_named():
    """What DistributedDataParallel does with unequal parts and BatchNorm."""
    recipe = replace(RECIPE, batch_size=11)
    _, causes = certified(planner_of(NORMED, recipe), 2, MeanOfMeans, synchronised=False)
    assert causes == ("mean of means over unequal shards", "BatchNorm per shard")


def test_an_unknown_mistake_has_no_cause():
    certificate, causes = certified(planner_of(DENSE), 2, Larger)
    assert certificate.at == 0
    assert certificate.outcome.divergence.stage == "update"
    assert causes == ()


def test_workers_that_drift_apart_are_caught_though_the_first_is_right():
    certificate, causes = certified(planner_of(DENSE), 2, Unsynchronised)
    assert certificate.outcome.equal
    assert not certificate.identical
    assert not certificate.equal
    assert (certificate.at, causes) == (0, ())


def test_what_is_observed_is_the_step_that_differed_and_those_around_it():
    certificate, _ = certified(planner_of(DENSE), 2, MeanOfMeans)
    assert [step.number for step in certificate.observed] == [1, 2, 3, 4]
    for before, after in pairwise(certificate.observed[:2]):
        assert all(np.array_equal(after.before[k], array) for k, array in before.after.items())
    first, _ = certified(planner_of(DENSE), 2, Larger)
    assert [step.number for step in first.observed] == [0, 1, 2]
    assert STEPS_AFTER == 2


def test_the_smaller_last_batch_is_one_further_step():
    numbers = [number for number, _ in numbered_steps(planner_of(DENSE), 2)]
    assert numbers == [0, 1, 2]
    assert [number for number, _ in numbered_steps(planner_of(DENSE), 3)] == [0, 1, 2]
    certificate, causes = certified(planner_of(DENSE), 2, MeanOfMeans, steps=2)
    assert (certificate.at, causes) == (2, ("mean of means over unequal shards",))


def test_an_adaptive_optimizer_may_widen_the_bound_from_a_shared_state():
    """1e-15·rate/epsilon, as in the proof of engines; over whole trajectories it stays 1e-12."""
    plain = tolerances_of(planner_of(DENSE), inf)
    assert (plain.limit("weights", "a/b"), plain.limit("m", "a/b")) == (1e-12, 1e-12)
    adam = replace(RECIPE, optimizer=Adam(0.1, epsilon=1e-8))
    whole = tolerances_of(planner_of(DENSE, adam), inf)
    assert whole.at(0).limit("weights", "a/b") == 1e-12
    single = tolerances_of(planner_of(NORMED, adam), inf)
    assert single.at(0).limit("weights", "a/b") == pytest.approx(1e-8)
