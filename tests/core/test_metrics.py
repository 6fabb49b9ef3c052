"""Metrics, compared with other implementations, and the sentence on a failed training."""

from math import log

import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn.metrics import confusion_matrix

from triptych.core import metrics
from triptych.core.metrics import unlearned
from triptych.spec.losses import SoftmaxCrossEntropy


@pytest.mark.parametrize(
    ("first", "last", "steps", "said"),
    [
        (2.5, 0.3, 500, False),
        (2.5, log(10) * 0.999, 500, False),  # hardly better than guessing, and better it is
        (2.5, log(10) * 1.001, 500, True),
        (2.5, 2.4, 5, False),  # on its way
        (2.5, 1e5, 5, True),
    ],
)
def test_a_training_that_is_worse_than_guessing_is_named(
    first: float, last: float, steps: int, said: bool
):
    found = unlearned(first, last, steps, SoftmaxCrossEntropy(), 10)
    assert (found is not None) == said
    if found:
        assert f"{last:.4g}, is above 2.303, that of guessing among 10 classes" in found


@pytest.mark.parametrize(("right", "count"), [(0, 10), (10, 10), (173, 180), (9087, 10_000)])
def test_wilson_is_scipys(right: int, count: int):
    expected = binomtest(right, count).proportion_ci(method="wilson")
    assert metrics.wilson(right, count) == pytest.approx((expected.low, expected.high), abs=1e-6)


def test_confusion_is_sklearns():
    rng = np.random.default_rng(1)
    labels, predicted = rng.integers(0, 10, (2, 500)).astype(np.int32)
    assert np.array_equal(
        metrics.confusion(predicted, labels, 10),
        confusion_matrix(labels, predicted, labels=range(10)),
    )
    assert metrics.accuracy(predicted, labels) == (labels == predicted).mean()


def test_the_first_of_equal_logits_wins():
    assert metrics.predictions(np.array([[1.0, 1.0, 0.0], [0.0, 2.0, 2.0]])).tolist() == [0, 1]


def test_an_interval_is_written_in_percent():
    assert metrics.interval_text(0.96414, 0.976249) == "96.41–97.62"
    assert metrics.interval_text(0.0, 1.0) == "0.00–100.00"
