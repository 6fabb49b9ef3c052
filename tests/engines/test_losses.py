"""Losses, penalty and clipping in every engine, against the frameworks' own functions
and by hand.
"""

from dataclasses import replace
from math import sqrt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.engines import loaded_engine, rows
from support.splits import random_split

from triptych.core import state
from triptych.core.plan import Plan
from triptych.core.planner import BatchPlanner
from triptych.core.split import Split
from triptych.engines.numpy.loss import build_loss, cross_entropy, mean_squared_error
from triptych.errors import SpecError
from triptych.parity.divergence import first_divergence
from triptych.spec import zoo
from triptych.spec.losses import LOSSES, Clip, Loss, MeanSquaredError, SoftmaxCrossEntropy
from triptych.spec.optimizers import SGD
from triptych.spec.recipe import Recipe

NETWORK = zoo.dense("n", [6], shape=(4, 4, 1), classes=3)
EXAMPLES = [example for cls in LOSSES.values() for example in cls.examples()]
CLIPS = {
    "open": Clip(1e3),
    "norm": Clip(0.05),
    "norm, PyTorch": Clip(0.05, epsilon=1e-6),
    "value": Clip(0.002, "value"),
}


@pytest.fixture(scope="module")
def split() -> Split:
    return random_split(12, (4, 4, 1), classes=3)


def stepped(
    name: str, backend: str, recipe: Recipe, split: Split, steps: int = 3
) -> tuple[state.State, state.State]:
    start = state.initial(NETWORK, recipe)
    start["output/kernel"] *= 5  # so that the classes are told apart, some of them wrongly
    engine = loaded_engine(name, NETWORK, recipe, backend, start)
    data, plan = engine.upload(split), Plan(np.full(steps, 0.3))
    seen = engine.trace(data, plan)
    engine.run(data, plan)
    return seen, {"losses": engine.wait()} | engine.state()


@pytest.mark.parametrize(("name", "backend"), rows())
@pytest.mark.parametrize("loss", EXAMPLES, ids=repr)
def test_every_loss_is_one_loss_in_all_engines(name: str, backend: str, loss: Loss, split: Split):
    recipe = Recipe(1, "full", SGD(), dtype="float64", loss=replace(loss, l2=0.02))
    reference, candidate = (
        stepped(*row, recipe, split) for row in (("numpy", "eager"), (name, backend))
    )
    assert first_divergence(reference[0], candidate[0], 1e-13) is None
    assert first_divergence(reference[1], candidate[1], 1e-13, "update") is None


def test_half_the_squared_error_is_another_loss(split: Split, monkeypatch: pytest.MonkeyPatch):
    """A factor ½, which some textbooks have, is found in the loss; in the gradient alone, there."""
    recipe = Recipe(1, "full", SGD(), dtype="float64", loss=MeanSquaredError())
    right = stepped("numpy", "eager", recipe, split)[0]
    function = build_loss(recipe.loss)
    for factors, stage in (((0.5, 0.5), "loss"), ((1.0, 0.5), "gradient")):

        def halved(*rows: np.ndarray, factors: tuple[float, float] = factors):
            return tuple(f * part for f, part in zip(factors, function(*rows), strict=True))

        monkeypatch.setattr("triptych.engines.numpy.engine.build_loss", lambda loss: halved)
        wrong = stepped("numpy", "eager", recipe, split)[0]
        divergence = first_divergence(right, wrong, 1e-13)
        assert divergence is not None
        assert divergence.stage == stage


@pytest.mark.parametrize(("name", "backend"), rows())
@pytest.mark.parametrize("clip", CLIPS)
def test_every_clip_is_one_clip_in_all_engines(name: str, backend: str, clip: str, split: Split):
    recipe = Recipe(
        1,
        "full",
        SGD(0.1, 0.9),
        dtype="float64",
        clip=CLIPS[clip],
        loss=SoftmaxCrossEntropy(l2=0.02),
    )
    reference, candidate = (
        stepped(*row, recipe, split) for row in (("numpy", "eager"), (name, backend))
    )
    assert first_divergence(reference[1], candidate[1], 1e-13, "update") is None


seeds = st.integers(0, 2**31)


def drawn(seed: int, batch: int, classes: int) -> tuple[np.ndarray, np.ndarray, tuple[float, ...]]:
    rng = np.random.default_rng(seed)
    return (
        3 * rng.normal(size=(batch, classes)),
        rng.integers(0, classes, batch),
        tuple(rng.uniform(0.1, 4, classes)),
    )


@given(st.integers(1, 7), st.integers(2, 6), st.floats(0, 0.9), st.booleans(), seeds)
@settings(max_examples=40, deadline=None)
def test_as_pytorch_has_it(batch: int, classes: int, smoothing: float, weighted: bool, seed: int):
    torch = pytest.importorskip("torch")
    logits, labels, weights = drawn(seed, batch, classes)
    loss = SoftmaxCrossEntropy(smoothing, weights if weighted else ())
    value, gradient = cross_entropy(loss, logits, labels)
    z = torch.tensor(logits, requires_grad=True)
    criterion = torch.nn.CrossEntropyLoss(
        torch.tensor(weights) if weighted else None, label_smoothing=smoothing
    ).double()
    loss = criterion(z, torch.tensor(labels))
    loss.backward()
    assert value == pytest.approx(loss.item(), rel=1e-12)
    assert np.allclose(gradient, z.grad.numpy(), rtol=0, atol=1e-14)


@given(st.integers(1, 7), st.integers(2, 6), st.floats(0, 0.9), seeds)
@settings(max_examples=20, deadline=None)
def test_as_keras_has_it(batch: int, classes: int, smoothing: float, seed: int):
    """Class weights as `fit(class_weight=…)` passes them on: each sample's loss times its label's
    weight, over their number.
    """
    keras = pytest.importorskip("keras")
    logits, labels, weights = drawn(seed, batch, classes)
    criterion = keras.losses.CategoricalCrossentropy(
        from_logits=True, label_smoothing=np.float64(smoothing), dtype="float64"
    )
    expected = criterion(np.eye(classes)[labels], logits, sample_weight=np.array(weights)[labels])
    loss = SoftmaxCrossEntropy(smoothing, weights, "samples", "samples")
    value, _ = cross_entropy(loss, logits, labels)
    assert value == pytest.approx(
        float(expected), rel=1e-6
    )  # its smoothing goes through float32 (D63)


def test_the_example_in_which_the_frameworks_differ():
    """D40: the ratio of both losses is the mean weight."""
    logits, labels, weights = drawn(1, 8, 3)
    torch, keras = (
        cross_entropy(loss, logits, labels)[0]
        for loss in (
            SoftmaxCrossEntropy(0, weights),
            SoftmaxCrossEntropy(0, weights, "samples", "samples"),
        )
    )
    assert keras / torch == pytest.approx(np.mean(np.array(weights)[labels]), rel=1e-12)


@given(
    st.integers(1, 5),
    st.integers(2, 5),
    st.floats(0, 0.9),
    st.sampled_from(["terms", "samples"]),
    seeds,
)
@settings(max_examples=30, deadline=None)
def test_the_gradient_is_that_of_the_loss(
    batch: int, classes: int, smoothing: float, weigh: str, seed: int
):
    logits, labels, weights = drawn(seed, batch, classes)
    loss, h = SoftmaxCrossEntropy(smoothing, weights, weigh), 1e-5
    _, gradient = cross_entropy(loss, logits, labels)
    for index in np.ndindex(*logits.shape):
        ends = []
        for step in (h, -h):
            moved = logits.copy()
            moved[index] += step
            ends.append(cross_entropy(loss, moved, labels)[0])
        assert gradient[index] == pytest.approx((ends[0] - ends[1]) / (2 * h), abs=1e-7)


@pytest.mark.parametrize("loss", EXAMPLES, ids=repr)
def test_the_gradient_of_every_example_is_that_of_its_value(loss: Loss):
    logits, labels, _ = drawn(3, 5, 3)
    function = build_loss(loss)
    _, gradient = function(logits, labels)
    h = 1e-5
    for index in np.ndindex(*logits.shape):
        ends = []
        for step in (h, -h):
            moved = logits.copy()
            moved[index] += step
            ends.append(function(moved, labels)[0])
        assert gradient[index] == pytest.approx((ends[0] - ends[1]) / (2 * h), abs=1e-7)


@given(st.integers(1, 5), st.integers(2, 5), seeds)
@settings(max_examples=30, deadline=None)
def test_the_gradient_of_the_squared_error(batch: int, classes: int, seed: int):
    logits, labels, _ = drawn(seed, batch, classes)
    h = 1e-5
    _, gradient = mean_squared_error(logits, labels)
    for index in np.ndindex(*logits.shape):
        ends = []
        for step in (h, -h):
            moved = logits.copy()
            moved[index] += step
            ends.append(mean_squared_error(moved, labels)[0])
        assert gradient[index] == pytest.approx((ends[0] - ends[1]) / (2 * h), abs=1e-7)


@given(st.integers(1, 7), st.integers(2, 6), seeds)
@settings(max_examples=20, deadline=None)
def test_the_squared_error_as_pytorch_and_keras_have_it(batch: int, classes: int, seed: int):
    torch = pytest.importorskip("torch")
    keras = pytest.importorskip("keras")
    logits, labels, _ = drawn(seed, batch, classes)
    targets = np.eye(classes)[labels]
    value, gradient = mean_squared_error(logits, labels)
    z = torch.tensor(logits, requires_grad=True)
    loss = torch.nn.MSELoss()(z, torch.tensor(targets))
    loss.backward()
    assert value == pytest.approx(loss.item(), rel=1e-12)
    assert np.allclose(gradient, z.grad.numpy(), rtol=0, atol=1e-14)
    by_keras = keras.losses.MeanSquaredError(dtype="float64")(targets, logits)
    assert value == pytest.approx(float(by_keras), rel=1e-12)


@given(st.integers(1, 7), st.integers(2, 6), seeds)
@settings(max_examples=20, deadline=None)
def test_a_loss_evaluates_unseen_samples(batch: int, classes: int, seed: int):
    """Without smoothing and class weights; a network that guesses has the loss of guessing."""
    logits, labels, weights = drawn(seed, batch, classes)
    cases = [(replace(cls(), l2=0.1), cls()) for cls in LOSSES.values()]
    cases.append((SoftmaxCrossEntropy(0.1, weights, l2=0.1), SoftmaxCrossEntropy()))
    for loss, plain in cases:
        value, _ = build_loss(plain)(logits, labels)
        assert loss.evaluate(logits, labels) == pytest.approx(float(value), rel=1e-13)
        even = np.full((batch, classes), 1 / classes)
        assert loss.evaluate(even, labels) == pytest.approx(loss.of_guessing(classes), rel=1e-13)


def test_the_penalty_has_the_gradient_of_half_its_square(split: Split):
    """D58: λ·kernel, not 2·λ·kernel; biases are left alone; the loss that is reported is without
    it.
    """
    plain, penalised = (
        stepped(
            "numpy",
            "eager",
            Recipe(1, "full", dtype="float64", loss=SoftmaxCrossEntropy(l2=l2)),
            split,
            1,
        )[1]
        for l2 in (0.0, 0.1)
    )
    start = state.initial(NETWORK, Recipe(dtype="float64"))["hidden/kernel"]
    assert np.allclose(
        plain["hidden/kernel"] - penalised["hidden/kernel"], 0.3 * 0.1 * start, rtol=0, atol=1e-16
    )
    assert np.array_equal(plain["hidden/bias"], penalised["hidden/bias"])
    assert plain["losses"][0] == penalised["losses"][0]


def test_clipping_by_norm_is_over_all_parameters(split: Split):
    """D59, D60: after it, the norm of all gradients together is the limit, or a trace below it with
    PyTorch's epsilon.
    """
    for clip, norm in (
        (Clip(0.05), 0.05),
        (Clip(0.05, epsilon=1e-2), None),
        (Clip(0.002, "value"), None),
    ):
        recipe = Recipe(1, "full", SGD(1.0), dtype="float64", clip=clip)
        seen, end = stepped("numpy", "eager", recipe, split, 1)
        start = state.initial(NETWORK, recipe)
        start["output/kernel"] *= 5
        moved = {n: (start[n] - end[n]) / 0.3 for n in start}
        whole = sqrt(sum((seen[f"gradient/{n}"] ** 2).sum() for n in start))
        assert whole > 0.1
        if clip.by == "value":
            assert all(
                np.allclose(moved[n], seen[f"gradient/{n}"].clip(-0.002, 0.002), rtol=0, atol=1e-15)
                for n in start
            )
        else:
            expected = norm or 0.05 * whole / (whole + 1e-2)
            assert sqrt(sum((m**2).sum() for m in moved.values())) == pytest.approx(
                expected, rel=1e-12
            )


def test_a_gradient_below_the_limit_is_left_alone_to_the_bit(split: Split):
    ends = [
        stepped("numpy", "eager", Recipe(1, "full", clip=clip), split)[1]
        for clip in (Clip(), Clip(1e3))
    ]
    assert all(np.array_equal(ends[0][n], ends[1][n]) for n in ends[0])


@pytest.mark.parametrize(
    ("build", "says"),
    [
        (lambda: SoftmaxCrossEntropy(1.0), "label_smoothing must be below 1"),
        (lambda: SoftmaxCrossEntropy(-0.1), "label_smoothing must be a number of at least 0"),
        (lambda: SoftmaxCrossEntropy(0.0, (1.0, 0.0)), "class weight must be a number above 0"),
        (lambda: SoftmaxCrossEntropy(0.0, "123"), "class_weights must be a list"),
        (lambda: SoftmaxCrossEntropy(weigh="term"), "did you mean 'terms'"),
        (lambda: SoftmaxCrossEntropy(l2=float("inf")), "l2 must be a number"),
        (lambda: Clip(0.0), "limit must be a number above 0"),
        (lambda: Clip(1.0, "norms"), "did you mean 'norm'"),
        (
            lambda: Recipe.from_json({"loss": {"label_smothing": 0.1}}),
            "did you mean 'label_smoothing'",
        ),
        (lambda: Recipe.from_json({"clip": {"limits": 1}}), "did you mean 'limit'"),
        (
            lambda: BatchPlanner(NETWORK, Recipe(loss=SoftmaxCrossEntropy(0.0, (1.0, 2.0))), 10),
            "2 class weights where the network ends in 3 logits",
        ),
    ],
)
def test_what_makes_no_sense_is_refused_in_words(build, says: str):
    with pytest.raises(SpecError, match=says):
        build()
