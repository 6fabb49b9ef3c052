"""Medians with bootstrap intervals.

A difference is claimed only if the interval of the paired ratio excludes 1.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..core.rng import bits

RESAMPLES = 4_000
QUANTILES = (0.025, 0.975)  # of the resampled medians: the limits of a 95 % interval
UNSTABLE_WIDTH = 0.10  # of an interval, as a share of its median


@dataclass(frozen=True)
class Interval:
    """A median and its 95 % percentile-bootstrap interval (Efron 1979)."""

    median: float
    low: float
    high: float

    @property
    def unstable(self) -> bool:
        """Whether the interval is wide."""
        return self.high - self.low > UNSTABLE_WIDTH * self.median

    def to_json(self) -> dict[str, Any]:
        """Return the three numbers."""
        return {"median": self.median, "low": self.low, "high": self.high}


def interval(values: Sequence[float]) -> Interval:
    """Return the median of some measurements with its interval.

    The resampling is seeded, so that the same values give the same interval.
    """
    data = np.asarray(values, np.float64)
    random = bits(RESAMPLES * len(data), "bootstrap")
    picks = (random % np.uint64(len(data))).astype(np.intp).reshape(RESAMPLES, len(data))
    medians = np.median(data[picks], axis=1)
    low, high = np.quantile(medians, QUANTILES)
    return Interval(float(np.median(data)), float(low), float(high))


def ratio(times: Sequence[float], others: Sequence[float]) -> Interval:
    """Return how many times longer `times` took than `others`, paired round by round."""
    return interval([time / other for time, other in zip(times, others, strict=True)])


def fastest(times: Mapping[str, Sequence[float]]) -> str | None:
    """Return the row that is faster than every other, or None if no difference was measured.

    Parameters
    ----------
    times : mapping of str to sequence of float
        Times by row, paired by round.
    """
    if len(times) < 2:
        return None
    medians = {name: float(np.median(of_row)) for name, of_row in times.items()}
    best = min(medians, key=medians.__getitem__)
    others = [ratio(of_row, times[best]) for name, of_row in times.items() if name != best]
    return best if all(other.low > 1 for other in others) else None
