"""A batch in parts, on several threads, without the pixels that are always zero: always the numbers
of the plain way.
"""

import time
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.engines import loaded_engine

from triptych.core import registry, state
from triptych.core.plan import Plan
from triptych.core.planner import BatchPlanner
from triptych.core.split import Split
from triptych.engines.numpy import engine as engine_module
from triptych.engines.numpy.scratch import stretch
from triptych.engines.numpy.scratch.crew import Crew, threads
from triptych.engines.numpy.scratch.products import cross_product, product
from triptych.parity.divergence import first_divergence
from triptych.parity.specimens import SPECIMENS
from triptych.spec import zoo
from triptych.spec.layers import Conv2D, Dense, Dropout, Flatten, ReLU, Residual
from triptych.spec.network import Network
from triptych.spec.optimizers import optimizer
from triptych.spec.recipe import Recipe

# A residual without a norm, whose convolutions the parts of a batch go through.
RESIDUAL = Network(
    "residual",
    (12, 12, 1),
    (
        *(
            Conv2D("conv1", 3),
            ReLU("relu1"),
            Residual(
                "sum", (Conv2D("conv2", 4, padding=1), ReLU("relu2")), (Conv2D("short", 4, 1),)
            ),
        ),
        *(Flatten("flatten"), Dense("output", 10)),
    ),
)
NETWORKS = [
    *map(zoo.get, ("classic", "regularized", "lenet", "lenet-bn")),
    *(make(zoo.GREY, 10) for make in SPECIMENS),
    RESIDUAL,
]


def images(count: int, shape: tuple[int, ...], seed: int = 0) -> Split:
    """Random images whose border is black, and random labels."""
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 256, (count, *shape), dtype=np.uint8)
    pixels[:, :2] = pixels[:, :, -1] = 0
    return Split(pixels, rng.integers(0, 10, count).astype(np.int32))


def created(network: Network, recipe: Recipe, lanes: int, monkeypatch) -> engine_module.Engine:
    monkeypatch.setattr(engine_module, "Crew", lambda: Crew(lanes))
    engine = engine_module.Engine(network, recipe)
    engine.load(state.initial(network, recipe))
    return engine


def trained(engine: engine_module.Engine, split: Split) -> dict[str, np.ndarray]:
    """What an engine comes to, and what it says on the way."""
    network, recipe = engine.network, engine.recipe
    data, schedule = engine.upload(split), BatchPlanner(network, recipe, len(split), 3)
    for plan in schedule.plans():
        engine.run(data, plan)
    seen = engine.trace(data, next(schedule.plans())[:1])
    found = seen | engine.state() | {"losses": engine.wait(), "logits": engine.logits(data)}
    return state.without(found, network.zero_gradient_parameters)


@pytest.mark.parametrize("lanes", [1, 2, 3])
@pytest.mark.parametrize("network", NETWORKS, ids=lambda network: network.name)
def test_parts_and_threads_change_nothing(network: Network, lanes: int, monkeypatch):
    recipe = Recipe(
        1, 25, optimizer("momentum"), dtype="float64"
    )  # two batches of 25, and one of 9
    split = images(59, network.input_shape)
    one, other = (
        created(network, recipe, 1, monkeypatch),
        created(network, recipe, lanes, monkeypatch),
    )
    stretches = [
        segment for segment in other.chain.segments if isinstance(segment, stretch.Stretch)
    ]
    assert max(len(each.lines[0].layers) for each in stretches) > 2
    for each in stretches:
        each.least = 1
    monkeypatch.setattr(stretch, "PART", 2**40)
    whole = trained(one, split)
    monkeypatch.setattr(stretch, "PART", 1)
    monkeypatch.setattr(stretch, "SHARE", 1)
    parted = trained(other, split)
    assert max(len(each.cuts[25]) for each in stretches) == 25
    assert first_divergence(whole, parted, 1e-10 if network.amplifies_rounding else 1e-12) is None


def test_a_part_has_no_more_samples_than_stay_in_the_cache(monkeypatch):
    network, recipe = zoo.get("classic"), Recipe(1, "full", optimizer("sgd"))
    engine = created(network, recipe, 1, monkeypatch)
    data = engine.upload(images(5_000, network.input_shape))
    tracemalloc.start()
    engine.run(data, Plan(np.array([0.1])))
    tracemalloc.reset_peak()
    before = tracemalloc.get_traced_memory()[0]
    engine.run(data, Plan(np.array([0.1, 0.1])))
    peak = tracemalloc.get_traced_memory()[1] - before
    tracemalloc.stop()
    assert (
        peak < 2**20
    )  # the images are 14 MB, their hidden layer alone 200 kB at every step of the way


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw", "momentum"])
def test_pixels_that_are_always_zero_need_no_work_and_learn_nothing(name: str):
    network, recipe = zoo.get("classic"), Recipe(2, 16, optimizer(name), dtype="float64")
    split = images(48, network.input_shape)
    engine = registry.create("numpy", network, recipe)
    start = state.initial(network, recipe)
    engine.load(start)
    data = engine.upload(split)
    dead = ~split.images.any(axis=0).ravel()
    assert data.x.shape == (48, 784 - dead.sum())
    gradient = engine.trace(data, next(BatchPlanner(network, recipe, 48).plans()), outputs=False)[
        "gradient/hidden/kernel"
    ]
    assert gradient.shape == (784, 10)
    assert not gradient[dead].any()
    assert gradient[~dead].any(axis=1).all()
    for plan in BatchPlanner(network, recipe, 48).plans():
        engine.run(data, plan)
    decay = (1 - recipe.optimizer.rate * recipe.optimizer.weight_decay) ** 6
    reached = engine.state()["hidden/kernel"]
    np.testing.assert_allclose(reached[dead], start["hidden/kernel"][dead] * decay, rtol=1e-14)
    others = images(30, network.input_shape, 1)  # of which other pixels are zero
    others.images[:, 20:] = 0
    others.images[:, 0] = 255
    hidden = np.maximum(
        others.pixels("float64").reshape(30, -1) @ reached + engine.state()["hidden/bias"], 0
    )
    expected = hidden @ engine.state()["output/kernel"] + engine.state()["output/bias"]
    np.testing.assert_allclose(
        engine.logits(engine.upload(others)), expected, rtol=1e-12, atol=1e-12
    )
    fresh = registry.create("numpy", network, recipe)
    fresh.load(engine.state())
    for each in (engine, fresh):
        each.run(each.upload(others), Plan(np.array([0.1]), np.arange(16, dtype=np.int32)[None]))
    assert first_divergence(fresh.state(), engine.state(), 1e-14) is None
    assert not np.array_equal(engine.state()["hidden/kernel"], reached)


def test_images_without_a_pixel():
    """Of which nothing is left to multiply: the biases alone answer."""
    network, recipe = zoo.get("classic"), Recipe(1, "full", optimizer("sgd"), dtype="float64")
    engine, black = (
        registry.create("numpy", network, recipe),
        Split(np.zeros((40, *network.input_shape), np.uint8), np.zeros(40, np.int32)),
    )
    start = state.initial(network, recipe)
    engine.load(start)
    np.testing.assert_allclose(
        engine.logits(engine.upload(black)), np.tile(start["output/bias"], (40, 1)), atol=1e-15
    )
    engine.run(engine.upload(black), Plan(np.array([0.1])))
    assert np.array_equal(engine.state()["hidden/kernel"], start["hidden/kernel"])
    assert engine.state()["output/bias"].argmax() == 0


def test_a_lane_that_fails_is_waited_for_and_blas_has_its_threads_again():
    crew, before, late = Crew(2), threads(), list[int]()

    def work(k: int) -> None:
        if k == 0:
            raise KeyboardInterrupt
        assert threads() == 1
        time.sleep(0.05)
        late.append(k)

    with pytest.raises(KeyboardInterrupt):
        crew.each(2, work)
    assert late == [1]
    assert threads() == before


def test_images_are_dropped_out_of_in_free_mode():
    """Height, width and channels all different, so that no other order of the axes fits."""
    layers = (Conv2D("conv", 3), Dropout("dropout", 0.5), Flatten("flatten"), Dense("output", 10))
    network, recipe = Network("n", (6, 9, 1), layers), Recipe(1, 8, random="free")
    engine = loaded_engine("numpy", network, recipe)
    data, plan = engine.upload(images(8, (6, 9, 1))), next(BatchPlanner(network, recipe, 8).plans())
    seen = engine.trace(data, plan)
    kept = seen["output/dropout"] / seen["output/conv"]
    assert kept.shape == (8, 4, 7, 3)
    assert 0.4 < (kept == 2).mean() < 0.6
    assert ((kept == 2) | (kept == 0)).all()


def test_all_pixels_are_worked_with_where_images_are_shifted():
    network = zoo.get("classic")
    recipe = replace(Recipe(1, 16), augmentation=replace(Recipe(1, 16).augmentation, shift=2))
    assert registry.create("numpy", network, recipe).upload(
        images(16, network.input_shape)
    ).x.shape == (16, 28, 28, 1)


@given(
    st.integers(1, 700),
    st.integers(0, 60),
    st.integers(1, 40),
    st.booleans(),
    st.booleans(),
    st.integers(0, 2**31),
)
@settings(max_examples=60, deadline=None)
def test_products_in_blocks(n: int, i: int, o: int, turned: bool, across: bool, seed: int):
    rng = np.random.default_rng(seed)
    x, w, dy = rng.normal(size=(n, i)), rng.normal(size=(i, o)), rng.normal(size=(n, o))
    if turned:
        x, dy = np.asfortranarray(x), np.asfortranarray(dy)
    order = "F" if across else "C"
    y, g = np.full((n, o), np.nan, order=order), np.full((i, o), np.nan, order=order)
    product(x, w, y)
    cross_product(x, dy, g)
    np.testing.assert_allclose(y, x @ w, rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(g, x.T @ dy, rtol=1e-10, atol=1e-10)
