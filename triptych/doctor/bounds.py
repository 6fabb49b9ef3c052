"""How much of a difference rounding explains, measured on the model itself.

In float64 two bounds are told apart. The *rounding* bound comes from runs whose weights and inputs
are moved by a few units in the last place. The *precision* bound is what a constant causes that has
passed through float32 on its way: Keras keeps some constants so, also in float64. Every layer and
every segment is compared on the same numbers, so that neither is magnified by later layers.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from .observation import Array, Arrays, largest

UNIT_ROUNDOFF = {"native": 2.0**-24, "float64": 2.0**-53}

# By how many units in the last place at most a value is moved.
MOVED_UNITS = 4

# Another order of the terms of a sum changes it somewhat more than moved terms do.
MARGIN = 8.0

# What an equal result may differ by where no error is measured: some units in the last place.
FEWEST_UNITS = 16.0

# A constant in float32 is off by 2^-24 of itself. A formula has a few of them.
PRECISION = 4 * 2.0**-24

# Of weights after some training steps, relative to the distance travelled. Kinks of activations
# make rounding larger with each step.
TRAVEL_BOUND = {"float64": 1e-3, "native": 0.1}
# Gradients that are so much smaller than the largest of all are rounding.
ROUNDED_GRADIENT = {"float64": 1e-9, "native": 1e-4}


def relative_difference(reference: Array, other: Array) -> float:
    """Return the largest difference divided by the largest value of both arrays.

    Parameters
    ----------
    reference, other : ndarray
        Arrays of numbers.

    Returns
    -------
    float
        0 if they are equal; infinity if shapes differ, or where only one is not finite.
    """
    if reference.shape != other.shape:
        return float("inf")
    if not reference.size:
        return 0.0
    wide = np.asarray(reference, np.float64)
    wide_other = np.asarray(other, np.float64)
    finite = np.isfinite(wide)
    if not np.array_equal(finite, np.isfinite(wide_other)):
        return float("inf")
    if not np.array_equal(wide[~finite], wide_other[~finite], equal_nan=True):
        return float("inf")
    if not finite.any():
        return 0.0
    difference = np.max(np.abs(wide[finite] - wide_other[finite]))
    scale = max(np.max(np.abs(wide[finite])), np.max(np.abs(wide_other[finite])))
    return float(difference / scale) if difference else 0.0


def nearest_to_bound(compared: Iterable[tuple[float, float]]) -> tuple[float, float]:
    """Return the difference that comes nearest to its bound, and the bound, of those within it.

    Parameters
    ----------
    compared : iterable of tuple of float
        Differences with their bounds.
    """
    largest, bound = 0.0, 0.0
    for difference, most in compared:
        if difference <= most and (difference * bound > largest * most or not bound):
            largest, bound = difference, most
    return largest, bound


def multiple(one: Array, other: Array, tolerance: float) -> float | None:
    """Return the factor by which another array is one, or None.

    Parameters
    ----------
    one, other : ndarray
        Arrays of numbers.
    tolerance : float
        The largest relative difference that may remain.
    """
    if one.shape != other.shape or not one.any():
        return None
    factor = float(np.vdot(one, other) / np.vdot(one, one))
    return factor if factor and relative_difference(factor * one, other) <= tolerance else None


def moved(arrays: Arrays, dtype: str, seed: int = 0, *, whole: bool = True) -> Arrays:
    """Return floating arrays with each value moved at random by some units in the last place.

    Parameters
    ----------
    arrays : dict of str to ndarray
        Weights, inputs or forced arrays; integers are returned as they are.
    dtype : str
        The dtype whose unit is meant: one of `triptych.doctor.observation.DTYPES`.
    seed : int
        Of the random numbers.
    whole : bool
        Whether arrays of whole numbers are moved, too. Among a model's inputs they may be flags or
        words, which a model compares with others: those must stay what they are.
    """
    generator = np.random.default_rng(seed)
    unit = UNIT_ROUNDOFF[dtype]
    result: Arrays = {}
    for name, array in arrays.items():
        floating = np.issubdtype(array.dtype, np.floating)
        if floating and (whole or not np.array_equal(array, np.round(array))):
            steps = generator.uniform(-MOVED_UNITS, MOVED_UNITS, array.shape)
            result[name] = (array * (1 + unit * steps)).astype(array.dtype)
        else:
            result[name] = array
    return result


def travel_differences(
    gradients: Arrays, before: Arrays, after: Arrays, other_after: Arrays, dtype: str
) -> dict[str, float]:
    """Return how far two trainings are apart: of each weight, over the largest distance of all.

    Parameters
    ----------
    gradients : dict of str to ndarray
        Of the first step, for each weight that is compared.
    before, after, other_after : dict of str to ndarray
        The weights before the training, and after it in both.
    dtype : str
        In which they were trained.
    """
    travel = max(largest(after[name] - before[name]) for name in gradients)
    top = max(largest(gradient) for gradient in gradients.values())
    found: dict[str, float] = {}
    for name, gradient in gradients.items():
        # An adaptive optimizer makes whole steps also of gradients that are only rounding, as those
        # of a bias before a BatchNorm.
        real = np.abs(gradient) > ROUNDED_GRADIENT[dtype] * top
        apart = np.where(real, other_after[name] - after[name], 0.0)
        found[name] = largest(apart) / travel if travel else 0.0
    return found


@dataclass(frozen=True)
class Bounds:
    """What rounding explains, for each array of an observation.

    Attributes
    ----------
    dtype : str
        In which both sides are compared.
    floors : dict of str to float
        By the names of B's arrays, how far the moved runs are from the unmoved one, as
        `relative_difference`.
    """

    dtype: str
    floors: dict[str, float]

    def rounding(self, name: str) -> float:
        """Return the largest difference of an array that counts as equal."""
        unit = UNIT_ROUNDOFF[self.dtype]
        floor = self.floors.get(name, 0.0)
        if not np.isfinite(floor):
            floor = 0.0
        return max(FEWEST_UNITS * unit, MARGIN * floor)

    def precision(self, name: str) -> float:
        """Return the largest difference that constants in float32 explain."""
        return max(PRECISION, self.rounding(name))


def measured(dtype: str, base: Arrays, runs: Iterable[Arrays]) -> Bounds:
    """Return bounds from runs of one side.

    Parameters
    ----------
    dtype : str
        In which the runs were made.
    base : dict of str to ndarray
        The arrays of the unmoved run.
    runs : iterable of dict
        The arrays of the moved runs.
    """
    floors = dict.fromkeys(base, 0.0)
    for run in runs:
        for name, array in base.items():
            if name in run:
                floors[name] = max(floors[name], relative_difference(array, run[name]))
    return Bounds(dtype, floors)
