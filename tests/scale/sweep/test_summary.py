"""The figures of a sweep, against what SciPy and a plain search give."""

import numpy as np
import pytest
import scipy.stats
from support.sweeps import cell

from triptych.scale.sweep.summary import Configuration, configurations, front, mean_interval


def finished(seed: int, accuracy: float, **values: object) -> dict[str, object]:
    figures = {"accuracy": accuracy, "low": accuracy - 0.1, "high": accuracy + 0.1}
    times = {"seconds": None, "step_seconds": None, "first_step_seconds": None, "busy": None}
    return cell(f"{seed}-{values}", seed=seed, **figures | times | values)


@pytest.mark.parametrize("values", [[0.9, 0.92], [0.5, 0.51, 0.49, 0.7, 0.3], [0.25] * 4])
def test_the_interval_is_that_of_student(values: list[float]) -> None:
    mean, low, high = mean_interval(values)
    assert mean == pytest.approx(np.mean(values), abs=1e-15)
    error = scipy.stats.sem(values)
    if error == 0:
        assert (low, high) == (mean, mean)
        return
    expected = scipy.stats.t.interval(0.95, len(values) - 1, loc=mean, scale=error)
    assert (low, high) == pytest.approx(np.clip(expected, 0, 1), abs=1e-12)


def test_cells_that_differ_in_their_seeds_are_one_configuration() -> None:
    cells = [
        finished(0, 0.8),
        finished(1, 0.6),
        cell("f", seed=2, status="failed", error="no", accuracy=None),
        finished(0, 0.7, network="dense-8"),
    ]
    one, other = configurations(cells)
    assert (one.network, other.network) == ("dense-4", "dense-8")
    assert one.accuracy == {0: 0.8, 1: 0.6}
    assert one.mean == pytest.approx(0.7)
    assert one.failed == 1
    assert (other.low, other.mean, other.high) == pytest.approx((0.6, 0.7, 0.8))


def test_a_configuration_without_a_finished_cell_has_no_accuracy() -> None:
    (one,) = configurations([cell("f", status="failed", error="no")])
    assert (one.mean, one.low, one.failed) == (None, None, 1)
    assert front([one]) == []


def test_times_of_busy_nodes_are_left_out() -> None:
    cells = [
        finished(0, 0.8, timed=True, busy=False, seconds=2.0, step_seconds=0.5),
        finished(1, 0.8, timed=True, busy=True, seconds=90.0, step_seconds=9.0),
        finished(2, 0.8, timed=True, busy=False, seconds=4.0, step_seconds=None),
        finished(3, 0.8, timed=False, seconds=50.0, step_seconds=5.0),
    ]
    (one,) = configurations(cells)
    assert (one.seconds, one.step_seconds) == (3.0, 0.5)
    assert (one.timed, one.busy) == (3, 1)


def configuration(seconds: float | None, mean: float | None) -> Configuration:
    return Configuration(
        *("numpy", "blas", "NumPy", "digits", f"{seconds} {mean}", "mlp"),
        parameters=1,
        accuracy={},
        failed=0,
        mean=mean,
        low=mean,
        high=mean,
        seconds=seconds,
        step_seconds=None,
        first_step_seconds=None,
        timed=0,
        busy=0,
    )


def test_the_front_has_what_nothing_else_beats_in_both() -> None:
    random = np.random.default_rng(0)
    for _ in range(50):
        pairs = random.integers(0, 6, (12, 2)).tolist()
        points = [configuration(float(x), float(y)) for x, y in pairs]
        best = {(each.seconds, each.mean) for each in front(points)}
        expected = {
            (x, y)
            for x, y in pairs
            if not any((a <= x and b >= y) and (a, b) != (x, y) for a, b in pairs)
        }
        assert best == expected


def test_what_has_no_time_or_no_accuracy_is_on_no_front() -> None:
    known = configuration(1.0, 0.5)
    assert front([configuration(None, 0.9), known, configuration(0.5, None)]) == [known]
