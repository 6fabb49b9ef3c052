"""Which formula has made a loss: against the losses of PyTorch and Keras, and planted ones."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy.special import expit, log_softmax, softmax
from support.doctor_sides import compared, optimized

from triptych.doctor.examination import Result
from triptych.doctor.observation import Array, Arrays, Component
from triptych.doctor.stages import loss as stage

ROWS = 24
CLASSES = 5


def logits(seed: int = 0, size: float = 2.0, columns: int = CLASSES) -> Array:
    return size * np.random.default_rng(seed).normal(size=(ROWS, columns))


LABELS = np.random.default_rng(1).integers(0, CLASSES, ROWS)
NUMBERS = np.random.default_rng(2).normal(size=ROWS) * 3
BITS = np.random.default_rng(3).integers(0, 2, (ROWS, 1)).astype(np.float64)

Heads = tuple[Arrays, str]


def of_torch(z: Array, target: Array, head: Callable[..., Any], loss: Callable[..., Any]) -> Arrays:
    """Return what an observation has of the last layer, the output and the loss."""
    import torch

    last = torch.tensor(z, requires_grad=True)
    output = head(last)
    value = loss(output, torch.tensor(target))
    value.backward()
    assert last.grad is not None
    return {
        "0/output": z,
        "0/output_gradient": last.grad.numpy(),
        "output": output.detach().numpy(),
        "loss": value.detach().numpy(),
    }


def of_keras(z: Array, target: Array, head: Callable[..., Any], loss: Any) -> Arrays:
    """Return the same of Keras, in float64."""
    import keras
    import tensorflow as tf

    last = tf.constant(z)
    with tf.GradientTape() as tape:
        tape.watch(last)
        output = head(last)
        if isinstance(loss, str):
            loss = keras.losses.get(loss)
        value = tf.reduce_mean(loss(tf.constant(target), output))
    gradient = tape.gradient(value, last)
    return {
        "0/output": z,
        "0/output_gradient": gradient.numpy(),
        "output": output.numpy(),
        "loss": value.numpy(),
    }


def examined(a: Arrays, b: Arrays, target: Array) -> Result:
    sides = optimized("A", "torch", "SGD"), optimized("B", "keras", "SGD")
    comparison = compared(*sides, a_arrays=a, b_arrays=b, targets={"y": target})
    return stage.examine(comparison)


def causes(result: Result) -> list[str | None]:
    return [finding.cause for finding in result.findings]


def same(x: Any) -> Any:
    return x


@pytest.mark.framework
def test_correct_pairs_are_equal_whatever_the_form() -> None:
    import keras
    import torch
    from torch.nn import functional as F

    sparse = keras.losses.SparseCategoricalCrossentropy
    z = logits()
    a = of_torch(z, LABELS, same, F.cross_entropy)
    pairs = [
        of_keras(z, LABELS, same, sparse(from_logits=True, dtype="float64")),
        of_keras(z, LABELS, keras.ops.softmax, sparse(dtype="float64")),
        of_keras(z, LABELS, keras.ops.log_softmax, sparse(from_logits=True, dtype="float64")),
    ]
    for b in pairs:
        assert not examined(a, b, LABELS).findings
    a = of_torch(z, LABELS, lambda x: torch.log_softmax(x, 1), F.nll_loss)
    assert not examined(a, pairs[1], LABELS).findings
    column = logits(columns=1)
    a = of_torch(column[:, 0], NUMBERS, same, F.huber_loss)
    b = of_keras(column, NUMBERS, same, keras.losses.Huber(dtype="float64"))
    assert not examined(a, b, NUMBERS).findings


@pytest.mark.framework
def test_a_norm_of_zero_has_another_gradient() -> None:
    import keras
    import torch

    z = logits()
    target = z + 1.0
    target[3] = z[3]

    def of_torch_norm(output: Any, wanted: Any) -> Any:
        return torch.linalg.norm(output - wanted, dim=1).mean()

    def of_keras_norm(wanted: Any, output: Any) -> Any:
        return keras.ops.norm(output - wanted, axis=-1)

    def cut(wanted: Any, output: Any) -> Any:
        squares = keras.ops.sum(keras.ops.square(output - wanted), axis=-1)
        return keras.ops.sqrt(keras.ops.maximum(squares, 1e-60))

    a = of_torch(z, target, same, of_torch_norm)
    result = examined(a, of_keras(z, target, same, of_keras_norm), target)
    assert [(each.stage, each.cause) for each in result.findings] == [("gradient", "D31")]
    assert result.findings[0].values == {"a": 0, "b": "NaN"}
    assert result.findings[0].fix["a"] is None
    assert result.findings[0].fix["b"]
    assert not examined(a, of_keras(z, target, same, cut), target).findings


@pytest.mark.framework
def test_mistakes_with_frameworks() -> None:
    import keras
    import torch
    from torch.nn import functional as F

    sparse = keras.losses.SparseCategoricalCrossentropy
    z = logits()
    probabilities = of_keras(z, LABELS, keras.ops.softmax, sparse(dtype="float64"))
    correct = of_torch(z, LABELS, same, F.cross_entropy)
    twice = of_torch(z, LABELS, lambda x: torch.softmax(x, 1), F.cross_entropy)
    result = examined(twice, probabilities, LABELS)
    assert causes(result) == ["D38"]
    assert result.findings[0].fix["a"]
    assert result.findings[0].fix["b"] is None
    forgotten = of_keras(z, LABELS, same, sparse(dtype="float64"))
    assert causes(examined(correct, forgotten, LABELS)) == ["D37"]
    # A product with 1 hides the softmax from Keras.
    twice_keras = of_keras(
        z,
        LABELS,
        lambda x: keras.ops.softmax(x) * 1.0,
        sparse(from_logits=True, dtype="float64"),
    )
    assert causes(examined(correct, twice_keras, LABELS)) == ["D38"]
    # Confidently wrong samples.
    sure = logits(size=30.0)
    a = of_torch(sure, LABELS, same, F.cross_entropy)
    b = of_keras(sure, LABELS, lambda x: keras.ops.softmax(x) * 1.0, sparse(dtype="float64"))
    assert causes(examined(a, b, LABELS)) == ["D34"]


@pytest.mark.framework
def test_mistakes_with_numbers() -> None:
    import keras
    from torch.nn import functional as F

    column = logits(columns=1)
    broadcast = pytest.warns(UserWarning, match="target size")
    with broadcast:
        a = of_torch(column, NUMBERS, same, F.mse_loss)
    b = of_keras(column, NUMBERS, same, keras.losses.MeanSquaredError(dtype="float64"))
    result = examined(a, b, NUMBERS)
    assert causes(result) == ["D44"]
    assert result.findings[0].proved
    # Reductions.
    z = logits()
    mean = of_torch(z, LABELS, same, F.cross_entropy)
    total = of_torch(z, LABELS, same, lambda o, y: F.cross_entropy(o, y, reduction="sum"))
    (finding,) = examined(mean, total, LABELS).findings
    assert finding.cause is None
    assert finding.values["a"].endswith("mean over the samples")
    assert finding.values["b"].endswith("sum")
    assert finding.proved
    half = of_torch(column[:, 0], NUMBERS, same, lambda o, y: 0.5 * F.mse_loss(o, y))
    (finding,) = examined(half, b, NUMBERS).findings
    assert finding.title == "A factor of 2 in the loss"
    absolute = of_torch(column[:, 0], NUMBERS, same, F.l1_loss)
    (finding,) = examined(absolute, b, NUMBERS).findings
    assert finding.title == "Another loss: absolute error against squared error"


@pytest.mark.framework
def test_class_weights_smoothing_and_ignored_labels() -> None:
    import keras
    import torch
    from torch.nn import functional as F

    z = logits()
    weights = torch.tensor([0.5, 2.0, 8.0, 1.0, 3.0], dtype=torch.float64)
    by_sum = of_torch(z, LABELS, same, lambda o, y: F.cross_entropy(o, y, weight=weights))

    def by_count(o: Any, y: Any) -> Any:
        return (weights[y] * F.cross_entropy(o, y, reduction="none")).mean()

    other = of_torch(z, LABELS, same, by_count)
    result = examined(by_sum, other, LABELS)
    assert causes(result) == ["D40"]
    assert "divided by their sum" in result.findings[0].values["a"]
    plain = of_torch(z, LABELS, same, F.cross_entropy)
    (finding,) = examined(by_sum, plain, LABELS).findings
    assert finding.title == "Class weights"
    smooth = of_torch(z, LABELS, same, lambda o, y: F.cross_entropy(o, y, label_smoothing=0.1))
    assert causes(examined(smooth, plain, LABELS)) == ["D41"]
    one_hot = np.eye(CLASSES)[LABELS]
    loss = keras.losses.CategoricalCrossentropy(
        from_logits=True, label_smoothing=0.1, dtype="float64"
    )
    b = of_keras(z, one_hot, same, loss)
    a = of_torch(z, one_hot, same, lambda o, y: F.cross_entropy(o, y, label_smoothing=0.1))
    assert not examined(a, b, one_hot).findings
    ignoring = of_torch(z, LABELS, same, lambda o, y: F.cross_entropy(o, y, ignore_index=0))
    (finding,) = examined(ignoring, plain, LABELS).findings
    assert finding.cause == "D42"
    assert finding.title.endswith(": 0")
    assert finding.fix["a"] == "nn.CrossEntropyLoss()"
    assert str(finding.fix["b"]).endswith("ignore_class=0)")


@pytest.mark.framework
def test_binary_and_other_losses() -> None:
    import keras
    import torch
    from torch.nn import functional as F

    z = logits(columns=1)
    with_logits = of_torch(z, BITS, same, F.binary_cross_entropy_with_logits)
    binary = keras.losses.BinaryCrossentropy
    b = of_keras(z, BITS, keras.ops.sigmoid, binary(dtype="float64"))
    assert not examined(with_logits, b, BITS).findings
    twice = of_torch(z, BITS, torch.sigmoid, F.binary_cross_entropy_with_logits)
    (finding,) = examined(twice, b, BITS).findings
    assert (finding.cause, finding.title) == ("D38", "Sigmoid twice")
    assert finding.fix["a"] == "F.binary_cross_entropy(probabilities, target)"
    forgotten = of_keras(z, BITS, same, binary(dtype="float64"))
    (finding,) = examined(with_logits, forgotten, BITS).findings
    assert finding.cause == "D37"
    assert finding.fix["b"] == "losses.BinaryCrossentropy(from_logits=True)"
    # Every output is clipped, so that the gradient is zero.
    negative = -np.abs(z) - 0.1
    a = of_torch(negative, BITS, same, F.binary_cross_entropy_with_logits)
    forgotten = of_keras(negative, BITS, same, binary(dtype="float64"))
    assert not forgotten["0/output_gradient"].any()
    assert causes(examined(a, forgotten, BITS)) == ["D37"]
    constant = of_keras(negative, BITS, same, lambda y, p: 0 * p + 0.25)
    assert causes(examined(a, constant, BITS)) == [None]
    sure = logits(size=30.0, columns=1)
    a = of_torch(sure, BITS, torch.sigmoid, F.binary_cross_entropy)
    b = of_keras(sure, BITS, lambda x: keras.ops.sigmoid(x) * 1.0, binary(dtype="float64"))
    assert causes(examined(a, b, BITS)) == ["D39"]
    counts = np.random.default_rng(5).poisson(2.0, (ROWS, 1)).astype(np.float64)
    positive = np.abs(logits(columns=1)) + 0.1
    a = of_torch(positive, counts, same, torch.nn.PoissonNLLLoss())
    b = of_keras(positive, counts, same, keras.losses.Poisson(dtype="float64"))
    assert causes(examined(a, b, counts)) == ["D45"]
    a = of_torch(z, counts, same, torch.nn.PoissonNLLLoss())
    b = of_keras(z, counts, keras.ops.exp, keras.losses.Poisson(dtype="float64"))
    result = examined(a, b, counts)
    assert not result.findings  # Keras adds 1e-7 to the rates
    assert len(result.acquitted) == 1
    table = np.random.default_rng(6).normal(size=(ROWS, CLASSES))
    a = of_torch(logits(), table, same, lambda o, y: (1 - F.cosine_similarity(o, y)).mean())
    b = of_keras(logits(), table, same, keras.losses.CosineSimilarity(dtype="float64"))
    (finding,) = examined(a, b, table).findings
    assert finding.cause == "D45"
    assert finding.fix == {
        "a": "-F.cosine_similarity(output, target).mean()",
        "b": "1 + losses.CosineSimilarity()(y_true, y_pred)",
    }
    a = of_torch(z, BITS * 5, same, lambda o, y: F.smooth_l1_loss(o, y, beta=0.5))
    b = of_keras(z, BITS * 5, same, keras.losses.Huber(0.5, dtype="float64"))
    assert causes(examined(a, b, BITS * 5)) == ["D45"]
    shares = softmax(table, 1)
    a = of_torch(
        logits(),
        shares,
        lambda x: torch.log_softmax(x, 1),
        lambda o, y: F.kl_div(o, y, reduction="none").mean(),
    )
    b = of_keras(logits(), shares, keras.ops.softmax, keras.losses.KLDivergence(dtype="float64"))
    assert causes(examined(a, b, shares)) == ["D43"]


def examined_huber(
    torch_loss: Any, keras_loss: Any, a_loss: Component | None, b_loss: Component | None
) -> Result:
    """Compare two losses on differences that are all smaller than Huber's width."""
    target = NUMBERS[:, None]
    z = target + np.random.default_rng(7).uniform(-0.4, 0.4, target.shape)
    sides = optimized("A", "torch", "SGD"), optimized("B", "keras", "SGD")
    for side, loss in zip(sides, (a_loss, b_loss), strict=True):
        side.described = replace(side.described, loss=loss)
    a = of_torch(z, target, same, torch_loss)
    b = of_keras(z, target, same, keras_loss)
    comparison = compared(*sides, a_arrays=a, b_arrays=b, targets={"y": target})
    return stage.examine(comparison)


@pytest.mark.framework
def test_a_huber_loss_of_small_differences_is_known_by_its_width() -> None:
    import keras
    import torch

    def by_hand(wanted: Any, output: Any) -> Any:
        return keras.losses.huber(wanted, output, delta=2.0)

    smooth = torch.nn.SmoothL1Loss(beta=2.0)
    huber = keras.losses.Huber(2.0, dtype="float64")
    a = Component("SmoothL1Loss", {"beta": 2.0})
    for loss, b in (
        (huber, Component("Huber")),  # Keras does not tell its width
        (by_hand, Component("by_hand", source="def by_hand(wanted, output): ...")),
    ):
        (finding,) = examined_huber(smooth, loss, a, b).findings
        assert finding.cause == "D45"
        assert finding.fix == {
            "a": "nn.HuberLoss(delta=2)",
            "b": "losses.huber(y_true, y_pred, delta=2) / 2",
        }
    # The squared error is another loss, and twice a Huber loss of another width is no SmoothL1.
    squared = keras.losses.MeanSquaredError(dtype="float64")
    (finding,) = examined_huber(smooth, squared, a, Component("MeanSquaredError")).findings
    assert finding.cause is None
    assert "squared error" in str(finding.values["b"])
    half = torch.nn.HuberLoss(delta=0.5)
    a = Component("HuberLoss", {"delta": 0.5})
    b = Component("by_hand", {"delta": 0.5}, source="def by_hand(wanted, output): ...")
    triple = keras.losses.Huber(0.5, dtype="float64")
    (finding,) = examined_huber(half, lambda y, p: 3 * triple(y, p), a, b).findings
    assert finding.cause is None


@pytest.mark.framework
def test_another_width_of_a_huber_loss_is_not_in_the_catalogue() -> None:
    import keras
    import torch

    z = NUMBERS[:, None] + np.random.default_rng(8).normal(size=(ROWS, 1)) * 3
    a = of_torch(z, NUMBERS[:, None], same, torch.nn.HuberLoss(delta=0.5))
    b = of_keras(z, NUMBERS[:, None], same, keras.losses.Huber(dtype="float64"))
    (finding,) = examined(a, b, NUMBERS[:, None]).findings
    assert finding.cause is None
    assert finding.proved
    assert finding.fix == {"a": "nn.HuberLoss(delta=1)", "b": "losses.Huber(delta=0.5)"}
    a = of_torch(z, NUMBERS[:, None], same, torch.nn.SmoothL1Loss(beta=0.5))
    assert set(causes(examined(a, b, NUMBERS[:, None]))) == {"D45", None}


def test_a_formula_that_nobody_knows_is_said_to_be_unknown() -> None:
    z = logits()
    p = softmax(z, 1)
    wanted = np.eye(CLASSES)[LABELS]
    a = {
        "0/output": z,
        "0/output_gradient": (p - wanted) / ROWS,
        "output": z,
        "loss": np.array(-np.sum(wanted * log_softmax(z, 1)) / ROWS),
    }
    focal = {**a, "0/output_gradient": expit(z) ** 3 / ROWS, "loss": np.array(0.5)}
    (finding,) = examined(a, focal, LABELS).findings
    assert finding.cause is None
    assert not finding.proved
    assert finding.values["b"] == "unknown formula"


def clipped(z: Array) -> Arrays:
    """Return the loss of probabilities that are clipped at 1e-7, and its gradient."""
    probabilities = softmax(z, 1)
    rows = np.arange(ROWS)
    own = probabilities[rows, LABELS]
    kept = np.clip(probabilities, 1e-7, 1 - 1e-7)
    total = kept.sum(1)
    inside = kept == probabilities
    slopes = inside / total[:, None]
    slopes[rows, LABELS] -= inside[rows, LABELS] / kept[rows, LABELS]
    inner = np.sum(slopes * probabilities, 1, keepdims=True)
    assert (own < 1e-7).any()
    return {
        "0/output": z,
        "0/output_gradient": probabilities * (slopes - inner) / ROWS,
        "output": probabilities,
        "loss": np.mean(np.log(total) - np.log(kept[rows, LABELS])),
    }


@pytest.mark.parametrize(
    ("version", "cause"), [("keras 3 (tensorflow 2)", "D35"), ("keras 3 (torch 2)", "D36")]
)
def test_keras_that_finds_the_logits_differs_from_keras_that_does_not(
    version: str, cause: str
) -> None:
    z = logits(size=12.0)
    b = clipped(z)
    slope = softmax(z, 1)
    slope[np.arange(ROWS), LABELS] -= 1
    exact = -log_softmax(z, 1)[np.arange(ROWS), LABELS]
    a = b | {"0/output_gradient": slope / ROWS, "loss": exact.mean()}
    sides = [optimized(name, "keras", "SGD") for name in "AB"]
    sides[0].described = replace(sides[0].described, version="keras 3 (tensorflow 2)")
    sides[1].described = replace(sides[1].described, version=version)
    result = stage.examine(compared(*sides, a_arrays=a, b_arrays=b, targets={"y": LABELS}))
    (finding,) = result.findings
    assert (finding.stage, finding.cause, finding.proved) == ("loss", cause, True)
    assert finding.fix["b"] == "losses.SparseCategoricalCrossentropy(from_logits=True)"


def focal_of_bits(gamma: float, alpha: float | None) -> Callable[..., Any]:
    """Return a focal loss as it is written in PyTorch, after the formula of torchvision."""
    from torch.nn import functional as F

    def loss(output: Any, y: Any) -> Any:
        right = output.sigmoid() * y + (1 - output.sigmoid()) * (1 - y)
        entropy = F.binary_cross_entropy_with_logits(output, y, reduction="none")
        weight = 1.0 if alpha is None else alpha * y + (1 - alpha) * (1 - y)
        return (weight * entropy * (1 - right) ** gamma).mean()

    return loss


def focal_of_classes(gamma: float, alpha: Any) -> Callable[..., Any]:
    import torch

    def loss(output: Any, y: Any) -> Any:
        logs = output.log_softmax(1)[torch.arange(len(y)), y]
        weights = torch.tensor(alpha)[y] if isinstance(alpha, list) else alpha
        return -(weights * (1 - logs.exp()) ** gamma * logs).mean()

    return loss


def test_focal_losses_of_ones_and_zeros() -> None:
    import keras

    z = logits(columns=1)

    def of_keras_loss(**options: Any) -> Arrays:
        loss = keras.losses.BinaryFocalCrossentropy(from_logits=True, dtype="float64", **options)
        return of_keras(z, BITS, same, loss)

    balanced = of_torch(z, BITS, same, focal_of_bits(2.0, 0.25))
    plain = of_torch(z, BITS, same, focal_of_bits(2.0, None))
    assert not examined(balanced, of_keras_loss(apply_class_balancing=True), BITS).findings
    assert not examined(plain, of_keras_loss(), BITS).findings
    (finding,) = examined(balanced, of_keras_loss(), BITS).findings
    assert (finding.cause, finding.proved) == ("D126", True)
    assert "gamma 2, alpha 0.25" in finding.values["a"]
    assert "gamma 2, mean" in finding.values["b"]
    softer = of_torch(z, BITS, same, focal_of_bits(1.3, None))
    (finding,) = examined(softer, of_keras_loss(), BITS).findings
    assert (finding.cause, finding.title) == (None, "Another gamma of the focal loss")
    assert "gamma 1.3" in finding.values["a"]
    probabilities = of_torch(z, BITS, lambda x: x.sigmoid(), lambda o, y: focal_of_bits(2.0, 0.25)(
        o.logit(), y
    ))  # fmt: skip
    assert not examined(probabilities, of_keras_loss(apply_class_balancing=True), BITS).findings


def test_focal_losses_of_classes() -> None:
    import keras

    def of_keras_loss(**options: Any) -> Arrays:
        loss = keras.losses.CategoricalFocalCrossentropy(
            from_logits=True, dtype="float64", **options
        )
        return of_keras(logits(), np.eye(CLASSES)[LABELS], same, loss)

    def of_torch_loss(gamma: float, alpha: Any) -> Arrays:
        return of_torch(logits(), LABELS, same, focal_of_classes(gamma, alpha))

    assert not examined(of_torch_loss(2.0, 0.25), of_keras_loss(), LABELS).findings
    shares = [0.1, 0.2, 0.3, 0.15, 0.25]
    assert not examined(of_torch_loss(2.0, shares), of_keras_loss(alpha=shares), LABELS).findings
    assert causes(examined(of_torch_loss(2.0, 1.0), of_keras_loss(), LABELS)) == ["D126"]
    assert causes(examined(of_torch_loss(2.0, shares), of_keras_loss(), LABELS)) == ["D126"]
    (finding,) = examined(of_torch_loss(2.7, 0.25), of_keras_loss(), LABELS).findings
    assert (finding.cause, finding.title) == (None, "Another gamma of the focal loss")
    a = of_torch(logits(), LABELS, same, torch_cross_entropy())
    (finding,) = examined(a, of_keras_loss(alpha=1.0), LABELS).findings
    assert finding.title == "Another loss: cross-entropy against focal cross-entropy"


def torch_cross_entropy() -> Callable[..., Any]:
    from torch.nn import functional

    return functional.cross_entropy


def of_classes(z: Array, *, logarithm: bool) -> Arrays:
    """Return the mean of the right classes' probabilities after a softmax, or of their logs."""
    p = softmax(z, 1)
    wanted = np.eye(CLASSES)[LABELS]
    right = np.sum(wanted * p, 1, keepdims=True)
    values = np.sum(wanted * log_softmax(z, 1), 1) if logarithm else right[:, 0]
    gradient = (p - wanted) * (1.0 if logarithm else right) / ROWS
    return {"0/output": z, "0/output_gradient": gradient, "output": p, "loss": -values.mean()}


def of_bits(z: Array, *, logarithm: bool) -> Arrays:
    """Return the same behind a sigmoid."""
    p = expit(z)
    right = np.where(BITS > 0, p, 1 - p)
    values = np.log(right) if logarithm else right
    gradient = (p - BITS) * (1.0 if logarithm else right) / ROWS
    return {"0/output": z, "0/output_gradient": gradient, "output": p, "loss": -values.mean()}


@pytest.mark.parametrize("size", [2.0, 20.0, 100.0])
@pytest.mark.parametrize("lacking", ["a", "b"])
def test_a_missing_logarithm_is_one_finding_however_sure_the_model_is(
    size: float, lacking: str
) -> None:
    z = logits(size=size)
    sides = {side: of_classes(z, logarithm=side != lacking) for side in "ab"}
    (finding,) = examined(sides["a"], sides["b"], LABELS).findings
    assert finding.title == "The logarithm is missing"
    line = {"a": "F.nll_loss(torch.log(output), target)"}
    line |= {"b": "losses.SparseCategoricalCrossentropy()"}
    assert finding.fix == {"a": None, "b": None} | {lacking: line[lacking]}


def test_a_missing_logarithm_of_two_classes() -> None:
    z = logits(columns=1)
    a, b = of_bits(z, logarithm=True), of_bits(z, logarithm=False)
    (finding,) = examined(a, b, BITS).findings
    assert finding.title == "The logarithm is missing"
    assert finding.fix == {"a": None, "b": "losses.BinaryCrossentropy()"}


def test_a_missing_logarithm_is_told_by_the_value_where_there_is_no_gradient() -> None:
    a = of_classes(logits(), logarithm=True)
    b = of_classes(logits(), logarithm=False)
    for arrays in (a, b):
        del arrays["0/output_gradient"]
    (finding,) = examined(a, b, LABELS).findings
    assert finding.title == "The logarithm is missing"
    assert finding.values["b"].endswith("mean over the samples")
