"""BatchNorm over several workers is BatchNorm of the whole batch, forward, backward and running."""

from dataclasses import replace

import numpy as np
import pytest
from support.engines import loaded_engine, needs_numba, needs_torch, rows
from support.splits import random_split
from support.threaded import ThreadedGroup

from triptych.core import registry
from triptych.core.planner import BatchPlanner
from triptych.errors import EngineError
from triptych.spec.layers import BatchNorm, Conv2D, Dense, Dropout, Flatten, ReLU, Residual
from triptych.spec.network import Network
from triptych.spec.optimizers import SGD
from triptych.spec.recipe import Recipe

SAMPLES = 23
BRANCH = (Conv2D("inner", 4, 3, padding=1, bias=False), BatchNorm("norm2", 0.2, 1e-3, False))
NETWORK = Network(
    "normed",
    (4, 4, 2),
    (
        BatchNorm("norm0"),
        Conv2D("conv", 4, 3, padding=1, bias=False),
        BatchNorm("norm1"),
        Residual("block", BRANCH, (Conv2D("short", 4, 1, bias=False), BatchNorm("norm3"))),
        ReLU("relu"),
        Flatten("flatten"),
        Dropout("drop", 0.2),
        Dense("hidden", 5, bias=False),
        BatchNorm("norm4", unbiased=False),
        Dense("output", 3),
    ),
)
RECIPE = Recipe(1, 10, SGD(0.3), dtype="float64")
SYNCHRONISED = [
    "numpy",
    pytest.param("numba", marks=[needs_numba, pytest.mark.framework]),
    pytest.param("torch", marks=[needs_torch, pytest.mark.framework]),
]

# PyTorch's module calls the all-reduce, unless it is compiled.
EAGER = [
    ("numpy", "eager"),
    ("numba", "compiled"),
    ("torch", "eager"),
    ("torch", "onednn"),
    ("torch", "bf16"),
]
REFUSING = [row for row in rows(fast=True) if row.values not in EAGER]


def steps():
    """Two batches of 10, one of 3; each has its number of samples and its plan."""
    return list(BatchPlanner(NETWORK, RECIPE, SAMPLES, 1).plans())


@pytest.mark.parametrize("name", SYNCHRONISED)
@pytest.mark.parametrize("workers", [2, 3, 4])
def test_the_step_of_several_workers_is_that_of_one(name: str, workers: int):
    """Step by step from the same states; of the batch of 3 a fourth worker has no sample."""
    split = random_split(SAMPLES, (4, 4, 2), classes=3)
    single = loaded_engine(name, NETWORK, RECIPE)
    group = ThreadedGroup(name, NETWORK, RECIPE, workers)
    data, shared = single.upload(split), group.upload(split)
    for plan in steps() * 2:
        group.load(single.state())
        single.run(data, plan)
        group.run(shared, plan)
        assert group.wait() == pytest.approx(single.wait(), rel=1e-13)
        assert len(set(group.digests())) == 1
        found = group.state()
        for key, array in single.state().items():
            np.testing.assert_allclose(found[key], array, rtol=1e-12, atol=1e-12, err_msg=key)


@pytest.mark.parametrize("name", SYNCHRONISED)
def test_statistics_of_each_part_are_another_network(name: str):
    """What the test above tells apart."""
    split = random_split(SAMPLES, (4, 4, 2), classes=3)
    single = loaded_engine(name, NETWORK, RECIPE)
    group = ThreadedGroup(name, NETWORK, RECIPE, 2, synchronised=False)
    group.load(single.state())
    single.run(single.upload(split), steps()[0])
    group.run(group.upload(split), steps()[0])
    assert len(set(group.digests())) == 2
    expected = single.state()
    for key in ("conv/kernel", "norm1/gamma", "norm1/running_mean", "norm1/running_variance"):
        assert np.abs(group.state()[key] - expected[key]).max() > 1e-3, key


@pytest.mark.parametrize("name", SYNCHRONISED)
def test_one_value_in_each_channel_has_no_variance(name: str):
    """A batch of one sample: the other worker has none."""
    network = Network(
        "flat", (2, 2, 1), (Flatten("flatten"), BatchNorm("norm"), Dense("output", 3))
    )
    recipe = replace(RECIPE, batch_size=1)
    split = random_split(2, (2, 2, 1), classes=3)
    single = loaded_engine(name, network, recipe)
    group = ThreadedGroup(name, network, recipe, 2)
    group.load(single.state())
    plan = next(BatchPlanner(network, recipe, 2, 1).plans())
    single.run(single.upload(split), plan)
    group.run(group.upload(split), plan)
    for key, array in single.state().items():
        np.testing.assert_allclose(group.state()[key], array, rtol=1e-12, atol=1e-12, err_msg=key)


@pytest.mark.parametrize("name", SYNCHRONISED)
def test_single_precision_stays_single(name: str):
    recipe = replace(RECIPE, dtype="float32")
    split = random_split(SAMPLES, (4, 4, 2), classes=3)
    single = loaded_engine(name, NETWORK, recipe)
    group = ThreadedGroup(name, NETWORK, recipe, 2)
    group.load(single.state())
    single.run(single.upload(split), steps()[0])
    group.run(group.upload(split), steps()[0])
    for key, array in single.state().items():
        assert group.state()[key].dtype == np.float32
        np.testing.assert_allclose(group.state()[key], array, rtol=1e-3, atol=1e-5, err_msg=key)


@pytest.mark.parametrize(("name", "backend"), REFUSING)
def test_an_engine_without_it_refuses_in_one_line(name: str, backend: str):
    with pytest.raises(EngineError, match=r"has no synchronised BatchNorm \('norm0'\), so several"):
        registry.create(name, NETWORK, RECIPE, backend=backend, all_reduce=lambda array: array)
    registry.create(name, NETWORK, RECIPE, backend=backend)
