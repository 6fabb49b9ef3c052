"""Intervals and winners, on drawn times."""

import numpy as np
import pytest

from triptych.bench import statistics


def test_the_interval_covers_the_median_of_what_was_drawn():
    rng = np.random.default_rng(2)
    covered = 0
    for _ in range(200):
        estimated = statistics.interval(rng.lognormal(0, 0.3, 25).tolist())
        assert estimated.low <= estimated.median <= estimated.high
        covered += estimated.low <= 1 <= estimated.high
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
