"""The NumPy engine alone."""

import numpy as np
import pytest
from support.engines import loaded_engine

from triptych.core import registry, state
from triptych.core.plan import Plan
from triptych.core.planner import BatchPlanner
from triptych.core.split import Split
from triptych.spec import zoo
from triptych.spec.layers import Conv2D, Dense, Dropout, Flatten
from triptych.spec.network import Network
from triptych.spec.optimizers import optimizer
from triptych.spec.recipe import Recipe


def images(count: int, shape: tuple[int, ...]) -> Split:
    """Random images whose border is black, and random labels."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (count, *shape), dtype=np.uint8)
    pixels[:, :2] = pixels[:, :, -1] = 0
    return Split(pixels, rng.integers(0, 10, count).astype(np.int32))


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw", "momentum"])
def test_weights_of_pixels_that_are_always_zero_only_decay(name: str):
    network, recipe = zoo.get("classic"), Recipe(2, 16, optimizer(name), dtype="float64")
    split = images(48, network.input_shape)
    engine = registry.create("numpy", network, recipe)
    start = state.initial(network, recipe)
    engine.load(start)
    data = engine.upload(split)
    black = ~split.images.any(axis=0).ravel()
    seen = engine.trace(data, next(BatchPlanner(network, recipe, 48).plans()), outputs=False)
    assert not seen["gradient/hidden/kernel"][black].any()
    for plan in BatchPlanner(network, recipe, 48).plans():
        engine.run(data, plan)
    decay = (1 - recipe.optimizer.rate * recipe.optimizer.weight_decay) ** 6
    reached = engine.state()["hidden/kernel"]
    np.testing.assert_allclose(reached[black], start["hidden/kernel"][black] * decay, rtol=1e-14)


def test_images_without_a_pixel():
    """Nothing is left to multiply: the biases alone answer."""
    network, recipe = zoo.get("classic"), Recipe(1, "full", optimizer("sgd"), dtype="float64")
    engine = registry.create("numpy", network, recipe)
    black = Split(np.zeros((40, *network.input_shape), np.uint8), np.zeros(40, np.int32))
    start = state.initial(network, recipe)
    engine.load(start)
    np.testing.assert_allclose(
        engine.logits(engine.upload(black)), np.tile(start["output/bias"], (40, 1)), atol=1e-15
    )
    engine.run(engine.upload(black), Plan(np.array([0.1])))
    assert np.array_equal(engine.state()["hidden/kernel"], start["hidden/kernel"])
    assert engine.state()["output/bias"].argmax() == 0


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
