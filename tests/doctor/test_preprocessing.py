"""How the inputs of two sides are related is named with its numbers."""

import time

import numpy as np
import pytest

from triptych.doctor.preprocessing import Raw, explain, resized
from triptych.doctor.resizing import METHODS, resize

NAMES = {"a": "PyTorch", "b": "Keras"}


def images(channels=3, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (6, 8, 10, channels)).astype(float)


def told(a, b, raw=None):
    return explain(a, b, raw or Raw(), NAMES)


def test_division_by_255_on_one_side():
    explanation = told(images() / 255, images())
    assert explanation.cause == "D77"
    assert "PyTorch divides by 255 once more than Keras" in explanation.title
    assert explanation.fix == {"a": "x = x * 255", "b": "x = x / 255"}


def test_mean_and_deviation_of_each_channel():
    mean, deviation = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    x = images() / 255
    explanation = told(x, (x - mean) / deviation)
    assert explanation.cause == "D77"
    assert "minus (0.485, 0.456, 0.406), divided by (0.229, 0.224, 0.225)" in explanation.title


def test_channels_in_the_opposite_order_alone_and_with_a_scale():
    assert "RGB against BGR" in told(images(), images()[..., ::-1]).title
    explanation = told(images() / 255, images()[..., ::-1] - [103.939, 116.779, 123.68])
    assert explanation.cause == "D113"


def test_a_standard_deviation_of_n_minus_1():
    x = np.random.default_rng(1).normal(5, 3, (40, 4))
    a = (x - x.mean(0)) / x.std(0, ddof=1)
    b = (x - x.mean(0)) / x.std(0)
    explanation = told(a, b)
    assert explanation.cause == "D78"
    assert "of 40 values is divided by n - 1 in PyTorch and by n in Keras" in explanation.title


@pytest.mark.parametrize("scale", [1.0, np.array([2.0, 0.5, 3.0, 7.0])])
def test_the_lower_of_two_medians_and_their_mean(scale):
    x = np.random.default_rng(1).normal(5, 3, (40, 4))
    lower = np.sort(x, 0)[19]
    explanation = told((x - lower) / scale, (x - np.median(x, 0)) / scale)
    assert explanation.cause == "D79"
    assert "the lower of the two middle values in PyTorch, their mean in Keras" in explanation.title
    assert told((x - np.median(x, 0)) / scale, (x - lower) / scale).cause == "D79"
    whole = x - np.sort(x, None)[79], x - np.median(x)
    assert told(*whole).cause == "D79"
    # The upper of the two is no library's median, and a mean is no median.
    assert told(x - np.sort(x, 0)[20], x - np.median(x, 0)).cause == "D77"
    assert told(x - lower, x - x.mean(0)).cause == "D77"


def test_a_factor_that_is_no_standard_deviation():
    x = np.random.default_rng(1).normal(5, 3, (40, 4))
    assert told(x, 1.02 * x).cause == "D77"


def test_height_and_width_exchanged_and_images_mirrored():
    square = images()[:, :, :8]
    assert "height and width" in told(square, np.swapaxes(square, 1, 2)).title
    assert "mirrored horizontally" in told(square, square[:, :, ::-1]).title
    assert "mirrored vertically" in told(square, square[:, ::-1]).title


def test_another_crop():
    large = images()
    explanation = told(large[:, 1:7, 2:8], large[:, 2:8, 2:8])
    assert "moved by 1, 0 along axis 1, 2" in explanation.title


def test_whole_numbers():
    x = np.random.default_rng(2).uniform(0, 9, (5, 6))
    explanation = told(x, np.floor(x))
    assert explanation.cause == "D76"
    assert "Keras are rounded down" in explanation.title


@pytest.mark.parametrize(
    ("a", "b", "cause"),
    [
        ("nearest, by corners", "nearest, by centres", "D73"),
        ("bicubic, a = -0.75", "bicubic, a = -0.5", "D74"),
        ("bilinear, align_corners=True", "bilinear", "D75"),
    ],
)
def test_two_ways_of_resizing(a, b, cause):
    raw = images()
    first = resize(raw, METHODS[a], 5, 7) / 255
    second = resize(raw, METHODS[b], 5, 7) / 255
    explanation = told(first, second, Raw(raw))
    assert explanation.cause == cause
    assert explanation.values == {"a": a, "b": b}


def test_samples_in_another_order():
    x = np.random.default_rng(3).normal(size=(9, 4))
    order = np.random.default_rng(4).permutation(9)
    assert "another order of the samples" in told(x, x[order]).title


def test_unrelated_inputs_are_not_explained():
    generator = np.random.default_rng(5)
    assert told(generator.normal(size=(9, 4)), generator.normal(size=(9, 4))) is None


def test_an_epsilon_in_the_divisor_of_each_feature_is_told_as_a_factor_of_each():
    x = np.random.default_rng(1).normal(5, [1, 2, 0.5], (40, 3))
    deviation = x.std(0)
    explanation = told((x - x.mean(0)) / (deviation + 0.1), (x - x.mean(0)) / deviation)
    assert explanation.cause == "D77"
    assert "each feature divided by its own of (" in explanation.title
    factors = ", ".join(f"{factor:.6g}" for factor in 1 + 0.1 / deviation)
    assert explanation.fix["a"] == f"x = x * np.array([{factors}])"


def test_images_whose_sides_a_file_has_made_up_are_not_resized():
    """The matrix of a method has as many numbers as the product of both sides."""
    wide = np.random.default_rng(0).normal(size=(2, 1, 5000, 2))
    begun = time.process_time()
    assert resized(wide, wide[:, :, ::-1], Raw(wide[:, :, :4000]), NAMES) is None
    assert time.process_time() - begun < 1


def per_image(x, *, axes=(1, 2, 3), floor=True):
    """Standardise as tf.image.per_image_standardization does, or without its least deviation."""
    deviation = x.std(axes, keepdims=True)
    least = 1 / np.sqrt(x[0].size) if floor else 0.0
    return (x - x.mean(axes, keepdims=True)) / np.maximum(deviation, least)


@pytest.mark.parametrize("other", [lambda x: x / 255, lambda x: (x - x.mean()) / x.std()])
def test_each_image_by_its_own_deviation_against_one_for_all(other):
    x = images()
    for a, b, side in ((other(x), per_image(x), "b"), (per_image(x), other(x), "a")):
        explanation = told(a, b, Raw(x))
        assert explanation.title.startswith("inputs are standardised: ")
        assert explanation.values[side].startswith("each sample by its own mean and deviation")
        # The line for the other side makes its inputs equal.
        rest = "a" if side == "b" else "b"
        scope = {"np": np, "x": {"a": a, "b": b}[rest]}
        exec(explanation.fix[rest], scope)
        np.testing.assert_allclose(scope["x"], per_image(x), atol=1e-9)


def test_each_image_against_each_channel_of_it():
    x = images()
    explanation = told(per_image(x), per_image(x, axes=(1, 2)), Raw(x))
    assert explanation.values["a"].startswith("each sample by its own mean")
    assert explanation.values["b"].startswith("each channel of a sample by its own mean")


def test_the_least_deviation_of_an_image_that_is_almost_constant():
    x = images()
    x[2] = 7 + 1e-3 * np.random.default_rng(2).normal(size=x[2].shape)
    explanation = told(per_image(x, floor=False), per_image(x), Raw(x))
    assert "which is at least 1/√n" in explanation.values["b"]
    assert "at least" not in explanation.values["a"]


def test_samples_that_are_scaled_in_another_way_are_not_called_standardised():
    x = images()
    factors = np.linspace(1, 2, len(x)).reshape(-1, 1, 1, 1)
    assert "each sample of Keras is scaled in its own way" in told(x, x * factors, Raw(x)).title
