"""How the weights of a layer are distributed at the start."""

from dataclasses import dataclass
from math import sqrt

import numpy as np

from .observation import RECURRENT, Array

# What an estimated standard deviation may be off by, in its standard errors.
STANDARD_ERRORS = 5.0
FEWEST_WEIGHTS = 32
FEWEST_FOR_SHAPE = 256  # to tell a normal from a uniform distribution

# In standard deviations: where a normal distribution that is cut at 2 deviations and widened again
# ends, and where a sample of a whole one very probably goes beyond.
TRUNCATED_AT = 2.28


@dataclass(frozen=True)
class Distribution:
    """The distribution of one weight.

    Attributes
    ----------
    deviation : float
        Its standard deviation.
    largest : float
        Its largest absolute value.
    count : int
        The number of weights.
    kurtosis : float
        1.8 for a uniform, 3 for a normal distribution.
    """

    deviation: float
    largest: float
    count: int
    kurtosis: float

    @classmethod
    def of(cls, array: Array) -> "Distribution":
        """Return the distribution of an array."""
        wide = np.asarray(array, np.float64)
        centred = wide - wide.mean()
        variance = float((centred**2).mean())
        kurtosis = float((centred**4).mean() / variance**2) if variance else 0.0
        return cls(sqrt(variance), float(np.abs(wide).max()), wide.size, kurtosis)

    @property
    def is_normal(self) -> bool:
        """Whether it looks like a normal distribution, perhaps cut, rather than a uniform one."""
        return self.count >= FEWEST_FOR_SHAPE and self.kurtosis > 2.1

    @property
    def is_truncated(self) -> bool:
        """Whether a normal distribution is cut at about two deviations."""
        return (
            self.is_normal
            and self.count >= 2 * FEWEST_FOR_SHAPE
            and self.largest <= TRUNCATED_AT * self.deviation
        )

    def same_deviation(self, other: "Distribution") -> bool:
        """Return whether two standard deviations are equal as far as the samples tell."""
        if not self.deviation or not other.deviation:
            return self.deviation == other.deviation
        error = sqrt((self.kurtosis - 1) / 4 / self.count + (other.kurtosis - 1) / 4 / other.count)
        return abs(np.log(self.deviation / other.deviation)) <= STANDARD_ERRORS * error


def cause_of(kind: str, role: str) -> str | None:
    """Return the id in the catalogue of different first values of a weight."""
    if role.endswith("bias"):
        return "D08" if kind in RECURRENT else "D02"
    if kind in RECURRENT:
        return "D08"
    causes = {"dense": "D01", "embedding": "D04", "attention": "D07", "prelu": "D27"}
    return causes.get(kind, "D03" if "conv" in kind else None)


def default_deviation(framework: str, kind: str, role: str, kernel: Array) -> float | None:
    """Return the standard deviation of a framework's default, or None if it is not known.

    Parameters
    ----------
    framework : str
        ``torch`` or ``keras``.
    kind, role : str
        Of the layer and its weight.
    kernel : ndarray
        In the canonical layout.
    """
    if kind == "embedding":
        return 1.0 if framework == "torch" else 0.05 / sqrt(3)
    if kind not in ("dense", "conv") or role != "kernel":
        return None
    window = float(np.prod(kernel.shape[:-2]))
    taken = window * kernel.shape[-2]
    if framework == "torch":
        return sqrt(1 / (3 * taken))
    return sqrt(2 / (taken + window * kernel.shape[-1])) if framework == "keras" else None
