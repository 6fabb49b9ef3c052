"""Averages of weights: their formula, and what tells them."""

from typing import Any

import numpy as np
import pytest
from support.doctor_sides import optimized

from triptych.doctor.averages import Average, average_of, moving_averages, shares_of_series
from triptych.doctor.observation import Updates

RNG = np.random.default_rng(3)
WEIGHTS = [RNG.normal(size=5) for _ in range(9)]


def series(shares: list[float], start: Any = None) -> list[Any]:
    """Return an average of `WEIGHTS` from the first one on."""
    found = [WEIGHTS[0] if start is None else start]
    for share, weight in zip(shares, WEIGHTS[1:], strict=True):
        found.append(share * found[-1] + (1 - share) * weight)
    return found


def test_a_moving_average_is_computed_and_told() -> None:
    shares = [0.0, *[0.9] * 7]
    expected = series(shares)
    made = moving_averages({"w": WEIGHTS[0]}, [{"w": w} for w in WEIGHTS[1:]], shares)
    np.testing.assert_allclose(made["w"], expected[-1])
    assert shares_of_series(expected, WEIGHTS) == pytest.approx(shares)
    # One that is made by the first update.
    assert shares_of_series([None, *expected[1:]], WEIGHTS) == pytest.approx(shares)
    assert shares_of_series([None, None, *expected[2:]], WEIGHTS) == ()


def test_a_mean_is_told_from_a_moving_average() -> None:
    means = [step / (step + 1) for step in range(8)]
    found = shares_of_series(series(means), WEIGHTS)
    average = average_of(optimized("A", "torch", "SGD").described, Updates((), (), {}, found))
    assert average.is_mean
    assert average.decay is None
    moving = Average((0.0, *[0.5] * 7), 0.5)
    assert not moving.is_mean
    assert not average.same(moving)
    assert average.same(Average((0.4, *means[1:])))  # it begins elsewhere


@pytest.mark.parametrize("kept", [[WEIGHTS[0]] * 9, WEIGHTS, [RNG.normal(size=5) for _ in WEIGHTS]])
def test_what_is_no_average_is_none(kept: list[Any]) -> None:
    assert shares_of_series(kept, WEIGHTS) == ()


def test_keras_tells_its_average_with_the_optimizer() -> None:
    settings: dict[str, Any] = {"use_ema": True, "ema_momentum": 0.9, "ema_overwrite_frequency": 3}
    updates = Updates(tuple({} for _ in range(7)), ())
    average = average_of(optimized("B", "keras", "SGD", **settings).described, updates)
    assert average.shares == (0.0, 0.9, 0.0, 0.9, 0.9, 0.0, 0.9)
    assert (average.decay, average.every) == (0.9, 3)
    without = optimized("B", "keras", "SGD", use_ema=False, ema_momentum=0.9).described
    assert average_of(without, updates) == Average()


def test_lines_of_both_frameworks() -> None:
    torch = optimized("A", "torch", "SGD").described
    keras = optimized("B", "keras", "SGD").described
    moving = Average((0.0, 0.9), 0.9)
    assert moving.line(keras) == "keras.optimizers.SGD(..., use_ema=True, ema_momentum=0.9)"
    assert "multi_avg_fn=swa_utils.get_ema_multi_avg_fn(0.9))" in str(moving.line(torch))
    assert Average().line(keras) == "keras.optimizers.SGD(...)  # without use_ema"
    overwriting = Average((0.0, 0.9), 0.9, 5)
    assert "ema_overwrite_frequency=5" in str(overwriting.line(keras))
    assert "after each 5" in str(overwriting.line(torch))
    mean = Average(tuple(step / (step + 1) for step in range(4)))
    assert mean.line(keras) is None
    assert "AveragedModel(model)  #" in str(mean.line(torch))
