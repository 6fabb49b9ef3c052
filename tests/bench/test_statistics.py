"""Metrics and statistics against other people's implementations of them."""

import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn.metrics import confusion_matrix

from triptych.bench import statistics
from triptych.core import metrics


@pytest.mark.parametrize(("right", "count"), [(0, 10), (10, 10), (173, 180), (9087, 10_000)])
def test_wilson_is_scipys(right: int, count: int):
    theirs = binomtest(right, count).proportion_ci(method="wilson")
    assert metrics.wilson(right, count) == pytest.approx((theirs.low, theirs.high), abs=1e-6)


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


def test_the_interval_covers_the_median_of_what_was_drawn():
    rng = np.random.default_rng(2)
    covered = 0
    for _ in range(200):
        found = statistics.interval(rng.lognormal(0, 0.3, 25).tolist())
        assert found.low <= found.median <= found.high
        covered += found.low <= 1 <= found.high
    assert 0.90 <= covered / 200 <= 0.99


def test_a_winner_is_named_only_where_there_is_one():
    rng = np.random.default_rng(3)
    drift = rng.lognormal(0, 0.5, 20)  # a noisy machine slows both alike: pairing sees through it
    a, b = drift * rng.normal(1, 0.01, 20), 1.1 * drift * rng.normal(1, 0.01, 20)
    assert statistics.fastest({"a": a.tolist(), "b": b.tolist()}) == "a"
    assert statistics.ratio(b.tolist(), a.tolist()).median == pytest.approx(1.1, abs=0.02)
    same = drift * rng.normal(1, 0.05, 20)
    assert statistics.fastest({"a": a.tolist(), "b": same.tolist()}) is None
    assert statistics.fastest({"a": a.tolist()}) is None
