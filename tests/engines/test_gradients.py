"""Every hand-written gradient against central differences, in float64, away from the kinks; the
kink on its own.
"""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from support.differences import numerical
from support.engines import rows

from triptych.core import state
from triptych.core.plan import Plan
from triptych.core.registry import create
from triptych.core.split import Split
from triptych.engines.numpy.layers import build_layer
from triptych.engines.numpy.loss import build_loss
from triptych.errors import SpecError
from triptych.parity.divergence import first_divergence
from triptych.spec import layers as spec
from triptych.spec import placement, zoo
from triptych.spec.losses import SoftmaxCrossEntropy
from triptych.spec.network import Network
from triptych.spec.recipe import Recipe

cross_entropy = build_loss(SoftmaxCrossEntropy())

KINK = 1e-3


def agree(analytic: np.ndarray, numeric: np.ndarray) -> None:
    assert analytic.shape == numeric.shape
    assert np.linalg.norm(analytic - numeric) <= 1e-6 * max(np.linalg.norm(numeric), 1e-3)


def away(x: np.ndarray, points: tuple[float, ...] = (0.0,)) -> np.ndarray:
    """Push every value at least 1e-3 away from the kinks."""
    for point in points:
        x = x + np.where(x >= point, KINK, -KINK)
    return x


def untied(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Values in random order, no two closer than 1e-2: no window of them is near a tie."""
    return rng.permutation(np.arange(np.prod(shape), dtype=float)).reshape(shape) * 1e-2


def check(
    layer: placement.Layer,
    x: np.ndarray,
    rng: np.random.Generator,
    mask: np.ndarray | None = None,
) -> None:
    """Every gradient of a layer, parameters and input, against central differences of a random
    linear loss.
    """
    place = layer.place(x.shape[1:], ())
    own = build_layer(place)
    for part, placed in zip(own.with_inner(), place.flat, strict=True):
        part.training = True
        part.parameters = {p.leaf: rng.normal(size=p.shape) for p in placed.parameters}
        part.buffers = {p.leaf: np.ones(p.shape) for p in placed.buffers}
    own.mask = mask
    weight = rng.normal(size=(len(x), *place.output_shape))

    def loss() -> float:
        return float((own.forward(x) * weight).sum())

    assert own.forward(x).shape == weight.shape
    before = x.copy()
    into = own.backward(weight)
    agree(into, numerical(loss, x))
    assert np.array_equal(x, before)
    for part, placed in zip(own.with_inner(), place.flat, strict=True):
        assert set(part.gradients) == {p.leaf for p in placed.parameters}
        for leaf, gradient in part.gradients.items():
            agree(gradient, numerical(loss, part.parameters[leaf]))
    loss()
    kept = {
        (part.name, leaf): g.copy()
        for part in own.with_inner()
        for leaf, g in part.gradients.items()
    }
    own.parameter_gradients(weight)
    assert all(
        np.array_equal(part.gradients[leaf], kept[part.name, leaf])
        for part in own.with_inner()
        for leaf in part.gradients
    )


seeds = st.integers(0, 2**31)
few = settings(max_examples=15, deadline=None)
# With a smaller epsilon, two values close together would make the variance smaller than the
# differences can bear.
VECTORS = [
    spec.Dense("l", 3),
    spec.Dense("l", 2, bias=False),
    spec.LayerNorm("l", 1e-2),
    spec.LayerNorm("l", 0.1),
]
POINTWISE = [
    spec.ReLU("l"),
    spec.LeakyReLU("l", 0.2),
    spec.GELU("l"),
    spec.GELU("l", "tanh"),
    spec.SiLU("l"),
    spec.Tanh("l"),
    spec.Sigmoid("l"),
]


@pytest.mark.parametrize("layer", [*VECTORS, *POINTWISE], ids=repr)
@given(st.integers(1, 5), st.integers(2, 6), seeds)
@few
def test_layers_of_vectors(layer: placement.Layer, batch: int, inputs: int, seed: int):
    rng = np.random.default_rng(seed)
    check(layer, away(rng.normal(size=(batch, inputs))), rng)


@pytest.mark.parametrize(
    "layer",
    [
        spec.Flatten("l"),
        spec.GlobalAvgPool("l"),
        spec.LayerNorm("l", 1e-2),
        spec.ReLU("l"),
        spec.SiLU("l"),
    ],
    ids=repr,
)
@given(st.integers(1, 3), st.integers(1, 4), st.integers(1, 4), st.integers(2, 3), seeds)
@few
def test_layers_of_images(layer: placement.Layer, batch: int, h: int, w: int, c: int, seed: int):
    rng = np.random.default_rng(seed)
    check(layer, away(rng.normal(size=(batch, h, w, c))), rng)


@given(
    st.integers(1, 3),
    st.integers(1, 3),
    st.integers(1, 3),
    st.integers(1, 3),
    st.integers(0, 2),
    st.integers(1, 2),
    st.booleans(),
    seeds,
)
@settings(max_examples=60, deadline=None)
def test_convolutions(
    batch: int, groups: int, size: int, stride: int, padding: int, each: int, bias: bool, seed: int
):
    rng = np.random.default_rng(seed)
    layer = spec.Conv2D("l", groups * each, size, stride, padding, groups, bias=bias)
    h, w = rng.integers(max(1, size - 2 * padding), 6, 2)
    check(layer, rng.normal(size=(batch, h, w, groups * int(rng.integers(1, 3)))), rng)


@pytest.mark.parametrize("kind", [spec.MaxPool2D, spec.AvgPool2D])
@given(st.integers(1, 3), st.integers(1, 3), st.integers(1, 3), st.integers(0, 1), seeds)
@settings(max_examples=40, deadline=None)
def test_pools(kind: type[spec.Pool], batch: int, size: int, stride: int, padding: int, seed: int):
    rng = np.random.default_rng(seed)
    layer = kind("l", size, stride, min(padding, size // 2))
    h, w = rng.integers(size, 7, 2)
    check(layer, untied(rng, (batch, h, w, 2)), rng)


@pytest.mark.parametrize("unbiased", [True, False])
@given(st.integers(1, 5), st.booleans(), st.integers(1, 3), seeds)
@few
def test_batch_norm(unbiased: bool, batch: int, image: bool, side: int, seed: int):
    """In training; a batch of one value a channel too, where every gradient but beta's is zero."""
    rng = np.random.default_rng(seed)
    shape = (batch, side, side, 2) if image else (batch, 3)
    # Values of one sign and close together would make the variance smaller than the differences can
    # bear.
    check(spec.BatchNorm("l", 0.1, 1e-2, unbiased), 3 * rng.normal(size=shape), rng)


@given(st.integers(1, 3), st.booleans(), seeds)
@few
def test_residuals(batch: int, projected: bool, seed: int):
    rng = np.random.default_rng(seed)
    branch = (
        spec.Conv2D("a", 4 if projected else 2, 3, 1, 1),
        spec.Tanh("b"),
        spec.Residual("r", (spec.SiLU("s"),)),
    )
    layer = spec.Residual("l", branch, (spec.Conv2D("p", 4, 1),) if projected else ())
    check(layer, rng.normal(size=(batch, 3, 4, 2)), rng)


@given(st.integers(1, 4), st.integers(1, 6), seeds)
@few
def test_dropout(batch: int, inputs: int, seed: int):
    rng = np.random.default_rng(seed)
    check(
        spec.Dropout("l", 0.3),
        rng.normal(size=(batch, inputs)),
        rng,
        mask=rng.random((batch, inputs)) >= 0.3,
    )


@given(st.integers(1, 6), st.integers(2, 10), st.integers(0, 2**31))
@settings(max_examples=40, deadline=None)
def test_softmax_cross_entropy(batch: int, classes: int, seed: int):
    rng = np.random.default_rng(seed)
    logits, labels = 3 * rng.normal(size=(batch, classes)), rng.integers(0, classes, batch)
    loss, gradient = cross_entropy(logits, labels)
    direct = -np.log(np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True))[
        np.arange(batch), labels
    ].mean()
    assert loss == pytest.approx(direct, rel=1e-12)
    agree(gradient, numerical(lambda: cross_entropy(logits, labels)[0], logits))


def test_softmax_cross_entropy_is_stable():
    loss, gradient = cross_entropy(np.array([[1e4, 0.0, -1e4]]), np.array([1]))
    assert loss == 1e4
    assert gradient.tolist() == [[1.0, -1.0, 0.0]]


@given(
    st.lists(st.integers(1, 6), min_size=1, max_size=3),
    st.integers(1, 5),
    st.booleans(),
    st.integers(0, 2**31),
)
@settings(max_examples=25, deadline=None)
def test_whole_networks(hidden: list[int], batch: int, dropout: bool, seed: int):
    network = zoo.dense("n", hidden, 0.25 if dropout else 0.0, shape=(2, 3, 1), classes=4)
    recipe = Recipe(1, batch, dtype="float64")
    rng = np.random.default_rng(seed)
    split = Split(
        rng.integers(1, 256, (batch, 2, 3, 1), dtype=np.uint8),
        rng.integers(0, 4, batch).astype(np.int32),
    )
    keep = {d.name: rng.random((1, batch, *shape)) >= d.rate for d, shape in network.dropouts}
    plan = Plan(np.array([0.1]), np.arange(batch, dtype=np.int32)[None], keep)
    engine = create("numpy", network, recipe)
    engine.load(
        {
            name: a + 0.3 * rng.normal(size=a.shape)
            for name, a in state.initial(network, recipe).items()
        }
    )
    data = engine.upload(split)
    seen = engine.trace(data, plan)
    pre = np.concatenate(
        [
            seen[f"output/{p.layer.name}"].ravel()
            for p in network.places
            if isinstance(p.layer, spec.Dense)
        ]
    )
    assume(np.abs(pre).min() >= KINK)  # nearer to a kink, differences mean nothing
    for p in network.parameters:
        numeric = numerical(
            lambda: float(engine.trace(data, plan, outputs=False)["loss"]), engine.arrays[p.name]
        )
        agree(seen[f"gradient/{p.name}"], numeric)


def test_what_an_engine_gave_away_stays_as_it_was_and_evaluation_leaves_no_trace():
    branch = (spec.Conv2D("conv2", 4, 3, 1, 1, 2), spec.BatchNorm("norm2"), spec.ReLU("relu2"))
    layers = (
        *(
            spec.Conv2D("conv1", 4),
            spec.BatchNorm("norm1"),
            spec.ReLU("relu1"),
            spec.Residual("residual", branch),
        ),
        *(
            spec.MaxPool2D("largest"),
            spec.AvgPool2D("mean", 2, 1),
            spec.Flatten("flatten"),
            spec.Dense("output", 3),
        ),
    )
    network = Network("rooms", (8, 8, 1), layers)
    recipe = Recipe(1, 4, dtype="float32")
    rng = np.random.default_rng(0)
    split = Split(
        rng.integers(0, 256, (12, 8, 8, 1), dtype=np.uint8), rng.integers(0, 3, 12).astype(np.int32)
    )
    plans = [
        Plan(np.array([0.1]), rng.integers(0, 12, (1, batch), dtype=np.int32))
        for batch in (4, 4, 3, 4)
    ]
    looked, alone = (create("numpy", network, recipe) for _ in range(2))
    for engine in (looked, alone):
        engine.load(state.initial(network, recipe))
    data = looked.upload(split)
    for plan in plans:
        given_away = [looked.state(), looked.trace(data, plan), {"logits": looked.logits(data)}]
        kept = [{name: array.copy() for name, array in part.items()} for part in given_away]
        for engine in (looked, alone):
            engine.run(data, plan)
        looked.trace(data, plan)
        looked.logits(data)
        assert all(
            np.array_equal(part[name], array)
            for part, copies in zip(given_away, kept, strict=True)
            for name, array in copies.items()
        )
        assert all(
            np.array_equal(array, alone.state()[name]) for name, array in looked.state().items()
        )


def test_kinks_have_one_rule():
    relu, leaky = (
        build_layer(layer.place((5,), ())) for layer in (spec.ReLU("r"), spec.LeakyReLU("l", 0.25))
    )
    x = np.array([[-1.0, -0.0, 0.0, 1e-300, 2.0]])
    assert relu.forward(x).tolist() == [[0, 0, 0, 1e-300, 2]]
    assert relu.backward(np.full((1, 5), 7.0)).tolist() == [[0, 0, 0, 7, 7]]
    assert leaky.forward(x).tolist() == [[-0.25, 0, 0, 1e-300, 2]]
    assert leaky.backward(np.full((1, 5), 8.0)).tolist() == [[2, 2, 2, 8, 8]]


def test_ties_go_to_the_first_in_row_major_order():
    pool = build_layer(spec.MaxPool2D("p", 2, 1, 1).place((2, 2, 1), ()))
    x = np.ones((1, 2, 2, 1))
    assert pool.forward(x).tolist() == np.ones((1, 3, 3, 1)).tolist()
    dy = np.arange(1.0, 10).reshape(1, 3, 3, 1)
    # Nine windows over a padded 4×4: each gives its gradient to the first pixel it sees; padding
    # never wins.
    assert pool.backward(dy)[0, :, :, 0].tolist() == [[1 + 2 + 4 + 5, 3 + 6], [7 + 8, 9]]


@pytest.mark.parametrize(("name", "backend"), rows())
def test_every_engine_keeps_the_rules_of_ties_and_kinks(name: str, backend: str):
    """Whole numbers everywhere: exact zeros at every ReLU, ties in every window, and one answer."""
    layers = (
        *(
            spec.Conv2D("conv", 2, 1),
            spec.ReLU("relu"),
            spec.MaxPool2D("pool", 3, 2, 1),
            spec.LeakyReLU("leaky"),
        ),
        *(spec.Flatten("flatten"), spec.Dense("output", 3)),
    )
    network = Network("ties", (5, 5, 1), layers)
    recipe = Recipe(1, 4, dtype="float64")
    rng = np.random.default_rng(0)
    start = {
        n: rng.integers(-1, 2, a.shape).astype(float)
        for n, a in state.initial(network, recipe).items()
    }
    start["conv/bias"][:] = 0
    split = Split(
        rng.integers(0, 2, (4, 5, 5, 1), dtype=np.uint8) * np.uint8(255),
        np.array([0, 1, 2, 0], np.int32),
    )
    plan = Plan(np.array([0.1]), np.arange(4, dtype=np.int32)[None])
    seen = []
    for engine in (
        create("numpy", network, recipe),
        create(name, network, recipe, backend=backend),
    ):
        engine.load(start)
        seen.append(engine.trace(engine.upload(split), plan))
    assert (seen[0]["output/conv"] == 0).sum() > 20
    assert first_divergence(*seen, 1e-13) is None


@pytest.mark.parametrize(
    "layer", [example for cls in spec.LAYERS.values() for example in cls.examples()], ids=repr
)
def test_the_examples_of_every_layer_that_is_registered(layer: placement.Layer):
    """Also of one that has no test of its own yet; an image if it takes one, otherwise a vector."""
    rng = np.random.default_rng(0)
    shape = (2, 5, 5, 4)
    try:
        layer.place(shape[1:], ())
    except SpecError:
        shape = (4, 6)
    check(layer, away(untied(rng, shape) - 0.5), rng)
