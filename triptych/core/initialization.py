"""The first values of weights: each a pure function of (seed, parameter name).

The formulas are in `triptych.spec.initializers`.
"""

from collections.abc import Callable
from math import pi, sqrt

import numpy as np
from numpy.typing import NDArray

from . import rng

Array = NDArray[np.float64]
Draw = Callable[[tuple[int, ...], float, tuple[int | str, ...]], Array]

VARIANCES: dict[str, Callable[[int, int], float]] = {
    "he": lambda fan_in, fan_out: 2 / fan_in,
    "glorot": lambda fan_in, fan_out: 2 / (fan_in + fan_out),
    "lecun": lambda fan_in, fan_out: 1 / fan_in,
}

CUT = 2.0  # standard deviations at which a truncated normal distribution is cut
KEPT = 0.8796256610342398  # standard deviation of a standard normal distribution that is cut there


def _uniform(shape: tuple[int, ...], variance: float, key: tuple[int | str, ...]) -> Array:
    return (2 * rng.uniform(shape, *key) - 1) * (3 * variance) ** 0.5


def _normal(shape: tuple[int, ...], variance: float, key: tuple[int | str, ...]) -> Array:
    """Draw from a normal distribution (Box & Muller 1958)."""
    # 1 - radius is in (0, 1], so the logarithm is finite.
    radius, angle = rng.uniform((2, *shape), *key)
    return sqrt(variance) * np.sqrt(-2 * np.log(1 - radius)) * np.cos(2 * pi * angle)


def _truncated(shape: tuple[int, ...], variance: float, key: tuple[int | str, ...]) -> Array:
    """Draw from a normal distribution that is cut at two standard deviations.

    Values outside are drawn again, each time with another key, until all of them are inside.
    """
    z = _normal(shape, 1, key)
    outside = np.abs(z) > CUT
    attempt = 0
    while outside.any():
        attempt += 1
        z[outside] = _normal((int(outside.sum()),), 1, (*key, attempt))
        outside = np.abs(z) > CUT
    return sqrt(variance) / KEPT * z


DRAWS: dict[str, Draw] = {"uniform": _uniform, "normal": _normal, "truncated": _truncated}


def draw(name: str, shape: tuple[int, ...], fan_in: int, fan_out: int, *key: int | str) -> Array:
    """Return the first values of a parameter, float64 of this shape.

    Parameters
    ----------
    name : str
        One of `triptych.spec.initializers.KERNELS`, or ``zeros`` or ``ones``.
    shape : tuple of int
        The parameter's shape in the canonical layout.
    fan_in, fan_out : int
        The number of inputs of a unit of the layer, and of units that use one input.
    *key : int or str
        The seed and the parameter's name.
    """
    if name in ("zeros", "ones"):
        return np.full(shape, float(name == "ones"))
    if name == "torch_uniform":
        return _uniform(shape, 1 / (3 * fan_in), key)
    family, _, how = name.partition("_")
    return DRAWS[how](shape, VARIANCES[family](fan_in, fan_out), key)
