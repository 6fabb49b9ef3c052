"""Each engine's layers, loss and update, one at a time, against the NumPy engine."""

import numpy as np
import pytest
from support.engines import loaded_engine

import triptych as tt
from triptych.core import registry, state

BRANCH = (tt.layers.Conv2D("inner", 4, 3, padding=1), tt.layers.BatchNorm("norm"))
NETWORK = tt.Network(
    "small",
    (6, 6, 2),
    (
        tt.layers.Conv2D("conv", 4, 3, padding=1),
        tt.layers.Residual("block", BRANCH),
        tt.layers.ReLU("relu"),
        tt.layers.AvgPool2D("pool"),
        tt.layers.Flatten("flatten"),
        tt.layers.LayerNorm("layer_norm"),
        tt.layers.Dropout("drop", 0.25),
        tt.layers.Dense("logits", 3),
    ),
)
RECIPE = tt.Recipe(
    dtype="float64",
    optimizer=tt.optimizers.Adam(weight_decay=0.1),
    loss=tt.losses.SoftmaxCrossEntropy(label_smoothing=0.1, l2=0.01),
)
START = {
    name: array + np.random.default_rng(0).uniform(0, 0.3, array.shape) * (name != "step")
    for name, array in state.initial(NETWORK, RECIPE).items()
}
START["step"] = np.zeros((), np.int64)
OTHERS = [name for name, info in registry.entries().items() if info.installed and name != "numpy"]


def probes(name):
    engines = [loaded_engine(each, NETWORK, RECIPE, start=START) for each in ("numpy", name)]
    return engines, [engine.probe() for engine in engines]


@pytest.mark.parametrize("name", OTHERS)
@pytest.mark.parametrize("layer", [p.layer.name for p in NETWORK.places if not p.branch])
def test_a_layer_makes_the_same_of_an_input_and_of_a_gradient(name, layer):
    place = next(place for place in NETWORK.places if place.layer.name == layer)
    engines, both = probes(name)
    rng = np.random.default_rng(1)
    x = rng.normal(size=(5, *place.input_shape))
    dy = rng.normal(size=(5, *place.output_shape))
    mask = rng.random(x.shape) < 0.75 if layer == "drop" else None
    for training in (False, True):
        (one, back), (other, other_back) = (
            probe.layer(layer, x, training=training, mask=mask if training else None)
            for probe in both
        )
        np.testing.assert_allclose(other, one, rtol=0, atol=1e-12)
    (dx, gradients), (other_dx, other_gradients) = back(dy), other_back(dy)
    np.testing.assert_allclose(other_dx, dx, rtol=0, atol=1e-11)
    assert other_gradients.keys() == gradients.keys() == {p.name for p in place.parameters}
    for each, gradient in gradients.items():
        np.testing.assert_allclose(other_gradients[each], gradient, rtol=0, atol=1e-11)
    states = [engine.state() for engine in engines]
    for each, array in states[0].items():
        np.testing.assert_allclose(states[1][each], array, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", OTHERS)
def test_the_loss_and_two_updates_are_the_same(name):
    engines, both = probes(name)
    rng = np.random.default_rng(2)
    logits, labels = rng.normal(size=(6, 3)), rng.integers(0, 3, 6).astype(np.int32)
    (value, gradient), (other, other_gradient) = (probe.loss(logits, labels) for probe in both)
    assert other == pytest.approx(value, rel=1e-13)
    np.testing.assert_allclose(other_gradient, gradient, rtol=0, atol=1e-14)
    for rate in (0.1, 0.01):
        given = {p.name: rng.normal(size=p.shape) for p in NETWORK.parameters}
        for probe in both:
            probe.update({each: array.copy() for each, array in given.items()}, rate)
    states = [engine.state() for engine in engines]
    for each, array in states[0].items():
        np.testing.assert_allclose(states[1][each], array, rtol=0, atol=1e-11)
