"""All steps of a plan of a dense network in one call: NumPy's, however they are divided."""

from dataclasses import replace

import numpy as np
import pytest
from support.engines import loaded_engine
from support.splits import random_split

pytest.importorskip("numba")

from triptych.core.planner import BatchPlanner
from triptych.core.state import State
from triptych.engines.numba import dense_steps, layers
from triptych.spec import layers as spec
from triptych.spec.losses import Clip, MeanSquaredError, SoftmaxCrossEntropy
from triptych.spec.network import Network
from triptych.spec.optimizers import optimizer
from triptych.spec.recipe import Recipe

pytestmark = pytest.mark.framework

SAMPLES = 46  # two batches of 20, one of 6
NETWORK = Network(
    "fused",
    (3, 2, 1),
    (
        spec.Flatten("flatten"),
        spec.Dense("first", 7),
        spec.Tanh("tanh"),
        spec.Dropout("drop", 0.25),
        spec.Dense("second", 5, bias=False),
        spec.LeakyReLU("leaky", 0.1),
        spec.Dense("third", 4),
        spec.Dropout("late", 0.5),
        spec.Dense("output", 3),
    ),
)
RECIPE = Recipe(2, 20, optimizer("adam"), dtype="float64")
RECIPES = {
    "adam": RECIPE,
    "all samples": replace(RECIPE, batch_size="full", epochs=4),
    "clip and penalty": replace(RECIPE, clip=Clip(0.01), loss=SoftmaxCrossEntropy(l2=0.1)),
    "value": replace(RECIPE, clip=Clip(0.001, "value"), optimizer=optimizer("nesterov")),
    "squares": replace(RECIPE, loss=MeanSquaredError(), optimizer=optimizer("rmsprop")),
    "class weights": replace(RECIPE, loss=SoftmaxCrossEntropy(0.1, (0.5, 2.0, 3.0))),
    "decay": replace(RECIPE, optimizer=optimizer("sgd", weight_decay=0.1)),
    "decoupled": replace(RECIPE, optimizer=optimizer("adamw", weight_decay=0.1)),
}


def trained(name: str, recipe: Recipe) -> State:
    """Return the losses, the logits, and the state at the end of a training."""
    split = random_split(SAMPLES, NETWORK.input_shape, classes=3)
    engine = loaded_engine(name, NETWORK, recipe)
    data = engine.upload(split)
    for plan in BatchPlanner(NETWORK, recipe, SAMPLES, 2).plans():
        engine.run(data, plan)
    return {"losses": engine.wait(), "logits": engine.logits(data)} | engine.state()


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
@pytest.mark.parametrize(("shares", "block"), [(1, 1024), (1, 3), (3, 1024), (3, 2)])
def test_every_division_of_a_batch_gives_the_steps_of_numpy(
    recipe: Recipe, shares: int, block: int, monkeypatch: pytest.MonkeyPatch
):
    """Also that of a last batch of 6 into three shares in blocks of 2."""
    monkeypatch.setattr(dense_steps.DenseSteps, "share_count", lambda self, samples: shares)
    monkeypatch.setattr(dense_steps, "block_rows", lambda samples, shapes: block)
    found = trained("numba", recipe)
    for name, array in trained("numpy", recipe).items():
        np.testing.assert_allclose(found[name], array, rtol=1e-12, atol=1e-13, err_msg=name)


def test_the_same_division_gives_the_same_bits(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(dense_steps.DenseSteps, "share_count", lambda self, samples: 2)
    first = trained("numba", replace(RECIPE, dtype="float32"))
    for _ in range(3):
        again = trained("numba", replace(RECIPE, dtype="float32"))
        assert all(np.array_equal(again[name], array) for name, array in first.items())


def test_a_loss_that_is_not_a_number_stays_one():
    """The compiler must not assume that there are none."""
    for wrong in (np.nan, np.inf):
        recipe = replace(RECIPE, optimizer=optimizer("sgd"))
        engines = [loaded_engine(name, NETWORK, recipe) for name in ("numpy", "numba")]
        split = random_split(SAMPLES, NETWORK.input_shape, classes=3)
        plan = next(BatchPlanner(NETWORK, recipe, SAMPLES, 2).plans())
        states: list[State] = []
        for engine in engines:
            start = engine.state()
            start["first/bias"][2] = wrong
            engine.load(start)
            with np.errstate(all="ignore"):
                engine.run(engine.upload(split), plan)
            states.append({"losses": engine.wait()} | engine.state())
        reference, found = states
        for name, array in reference.items():
            assert np.array_equal(np.isnan(found[name]), np.isnan(array)), name
        assert np.isnan(found["losses"]).any() == np.isnan(reference["losses"]).any()


def test_a_dropout_that_drops_nothing_has_no_mask():
    layers = [
        spec.Dropout(x.name, 0.0) if isinstance(x, spec.Dropout) else x for x in NETWORK.layers
    ]
    network = replace(NETWORK, layers=tuple(layers))
    split = random_split(SAMPLES, network.input_shape, classes=3)
    states: list[State] = []
    for name in ("numpy", "numba"):
        engine = loaded_engine(name, network, RECIPE)
        data = engine.upload(split)
        for plan in BatchPlanner(network, RECIPE, SAMPLES, 2).plans():
            assert not plan.dropout_masks
            engine.run(data, plan)
        states.append(engine.state())
    for name, array in states[0].items():
        np.testing.assert_allclose(states[1][name], array, rtol=1e-12, atol=1e-13, err_msg=name)


UNITS = {
    "two activations": (spec.Dense("a", 3), spec.ReLU("b"), spec.Tanh("c"), spec.Dense("d", 3)),
    "dropout first": (spec.Dropout("a", 0.5), spec.Dense("b", 3)),
    "activation after dropout": (
        spec.Dense("a", 3),
        spec.Dropout("b", 0.5),
        spec.ReLU("c"),
        spec.Dense("d", 3),
    ),
    "norm": (spec.Dense("a", 3), spec.LayerNorm("b"), spec.Dense("c", 3)),
}


@pytest.mark.parametrize("inner", UNITS.values(), ids=UNITS)
def test_other_orders_of_layers_are_computed_layer_by_layer(inner: tuple):
    network = Network("other", (2, 2, 1), (spec.Flatten("flatten"), *inner))
    assert dense_steps.find_units(layers.build_chain(network.chain).layers) is None


@pytest.mark.parametrize(
    ("samples", "shapes", "rows"),
    [
        (9000, [(784, 10), (10, 10)], 127),  # products of at most a million multiplications
        (128, [(784, 128), (128, 64)], 128),
        (5000, [(784, 128)], 1000),
        (5000, [(100_000, 10)], 1000),  # less than 32 rows at a time would not pay
        (0, [(784, 10)], 1),
    ],
)
def test_blocks_are_even(samples: int, shapes: list[tuple[int, int]], rows: int):
    assert dense_steps.block_rows(samples, shapes) == rows
