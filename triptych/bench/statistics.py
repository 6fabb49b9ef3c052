"""Medians with bootstrap intervals; a difference is claimed only where the interval of the paired ratio excludes 1."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..core.rng import bits

RESAMPLES = 4_000
UNSTABLE_WIDTH = 0.10  # of an interval, as a share of its median


@dataclass(frozen=True)
class Interval:
    """A median and its 95 % percentile-bootstrap interval (Efron 1979)."""

    median: float
    low: float
    high: float

    @property
    def unstable(self) -> bool:
        return self.high - self.low > UNSTABLE_WIDTH * self.median

    def to_json(self) -> dict[str, Any]:
        return {"median": self.median, "low": self.low, "high": self.high}


def interval(values: Sequence[float]) -> Interval:
    """Return the median of some measurements with its interval; the resampling is seeded, so it repeats."""
    data = np.asarray(values, np.float64)
    picks = (
        (bits(RESAMPLES * len(data), "bootstrap") % np.uint64(len(data)))
        .astype(np.intp)
        .reshape(RESAMPLES, len(data))
    )
    medians = np.median(data[picks], axis=1)
    low, high = np.quantile(medians, [0.025, 0.975])
    return Interval(float(np.median(data)), float(low), float(high))


def ratio(times: Sequence[float], others: Sequence[float]) -> Interval:
    """Return how many times longer `times` took than `others`, paired round by round."""
    return interval([a / b for a, b in zip(times, others, strict=True)])


def fastest(times: Mapping[str, Sequence[float]]) -> str | None:
    """Return the row that is faster than every other, or None where no difference was measured.

    Parameters
    ----------
    times : mapping of str to sequence of float
        Paired by round.
    """
    if len(times) < 2:
        return None
    best = min(times, key=lambda name: float(np.median(times[name])))
    others = (ratio(times[name], times[best]) for name in times if name != best)
    return best if all(other.low > 1 for other in others) else None
