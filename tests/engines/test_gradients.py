"""Every hand-written gradient against central differences, in float64, away from the kinks; the kink on its own."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from triptych import network as spec
from triptych import state, zoo
from triptych.data.dataset import Split
from triptych.engines import create
from triptych.plan import Plan
from triptych.recipe import Recipe
from triptych.scratch.layers import build
from triptych.scratch.loss import softmax_cross_entropy

H = 1e-5  # central differences: error of order H² and of rounding/H, both far below 1e-6
KINK = 1e-3


def numerical(f, x: np.ndarray) -> np.ndarray:
    """∂f/∂x by central differences; f must read x in place."""
    gradient = np.zeros_like(x)
    for index in np.ndindex(*x.shape):
        kept = x[index]
        x[index] = kept + H
        up = f()
        x[index] = kept - H
        gradient[index] = (up - f()) / (2 * H)
        x[index] = kept
    return gradient


def agree(analytic: np.ndarray, numeric: np.ndarray) -> None:
    assert analytic.shape == numeric.shape
    assert np.linalg.norm(analytic - numeric) <= 1e-6 * max(np.linalg.norm(numeric), 1e-3)


shapes = st.tuples(st.integers(1, 5), st.integers(1, 6), st.integers(1, 5), st.integers(0, 2**31))


def layer(kind: spec.Layer, rng: np.random.Generator, inputs: int):
    built = build(kind)
    if isinstance(kind, spec.Dense):
        built.parameters = {"kernel": rng.normal(size=(inputs, kind.units)), "bias": rng.normal(size=kind.units)}
    return built


@pytest.mark.parametrize("name", ["dense", "relu", "dropout", "flatten"])
@given(shapes)
@settings(max_examples=30, deadline=None)
def test_each_layer(name: str, sizes):
    batch, inputs, units, seed = sizes
    rng = np.random.default_rng(seed)
    kind = {
        "dense": spec.Dense("l", units),
        "relu": spec.ReLU("l"),
        "dropout": spec.Dropout("l", 0.3),
        "flatten": spec.Flatten("l"),
    }[name]
    x = rng.normal(size=(batch, inputs, units, 2) if name == "flatten" else (batch, inputs))
    x += np.where(x >= 0, KINK, -KINK)  # at least 1e-3 away from the kink
    keep = rng.random(x.shape) >= 0.3 if name == "dropout" else None
    own = layer(kind, rng, inputs)
    weight = rng.normal(size=own.forward(x, keep).shape)

    def loss() -> float:
        return float((own.forward(x, keep) * weight).sum())

    loss()
    parameters, into = own.gradients(weight), own.backward(weight)
    agree(into, numerical(loss, x))
    for leaf, gradient in parameters.items():
        agree(gradient, numerical(loss, own.parameters[leaf]))
    assert set(parameters) == set(own.parameters)


@given(st.integers(1, 6), st.integers(2, 10), st.integers(0, 2**31))
@settings(max_examples=40, deadline=None)
def test_softmax_cross_entropy(batch: int, classes: int, seed: int):
    rng = np.random.default_rng(seed)
    logits, labels = 3 * rng.normal(size=(batch, classes)), rng.integers(0, classes, batch)
    loss, gradient = softmax_cross_entropy(logits, labels)
    direct = -np.log(np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True))[np.arange(batch), labels].mean()
    assert loss == pytest.approx(direct, rel=1e-12)
    agree(gradient, numerical(lambda: softmax_cross_entropy(logits, labels)[0], logits))


def test_softmax_cross_entropy_is_stable():
    loss, gradient = softmax_cross_entropy(np.array([[1e4, 0.0, -1e4]]), np.array([1]))
    assert loss == 1e4
    assert gradient.tolist() == [[1.0, -1.0, 0.0]]


@given(st.lists(st.integers(1, 6), min_size=1, max_size=3), st.integers(1, 5), st.booleans(), st.integers(0, 2**31))
@settings(max_examples=25, deadline=None)
def test_whole_networks(hidden: list[int], batch: int, dropout: bool, seed: int):
    network = zoo.dense("n", hidden, 0.25 if dropout else 0.0, shape=(2, 3, 1), classes=4)
    recipe = Recipe(1, batch, dtype="float64")
    rng = np.random.default_rng(seed)
    split = Split(rng.integers(1, 256, (batch, 2, 3, 1), dtype=np.uint8), rng.integers(0, 4, batch).astype(np.int32))
    keep = {d.name: rng.random((1, batch, *shape)) >= d.rate for d, shape in network.dropouts}
    plan = Plan(np.array([0.1]), np.arange(batch, dtype=np.int32)[None], keep)
    engine = create("numpy", network, recipe)
    engine.load({name: a + 0.3 * rng.normal(size=a.shape) for name, a in state.initial(network, recipe).items()})
    data = engine.put(split)
    seen = engine.trace(data, plan)
    pre = np.concatenate([seen[f"output/{p.layer.name}"].ravel() for p in network.places if isinstance(p.layer, spec.Dense)])
    if np.abs(pre).min() < KINK:
        return  # too near a kink for differences to mean anything
    for p in network.parameters:
        numeric = numerical(lambda: float(engine.trace(data, plan, outputs=False)["loss"]), engine.arrays[p.name])
        agree(seen[f"gradient/{p.name}"], numeric)


def test_relu_at_zero_has_derivative_zero():
    relu = build(spec.ReLU("r"))
    assert relu.forward(np.array([[-1.0, -0.0, 0.0, 1e-300, 2.0]])).tolist() == [[0, 0, 0, 1e-300, 2]]
    assert relu.backward(np.full((1, 5), 7.0)).tolist() == [[0, 0, 0, 7, 7]]
