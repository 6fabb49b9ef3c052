"""How weights begin, by name, with the exact formula; each a pure function of (seed, parameter name).

The variance is s/n, with n the fan that the name implies: LeCun 1/fan_in (LeCun et al. 1998, section 4.6), Glorot
2/(fan_in + fan_out) (Glorot & Bengio 2010, eq. 16), He 2/fan_in (He et al. 2015, eq. 10). ``_uniform``: ±√(3·variance);
``_normal``: untruncated, as PyTorch's ``*_normal_``; ``_truncated``: cut at two standard deviations and widened by
1/0.8796 so that the variance is kept, as Keras's ``HeNormal`` and the like. ``torch_uniform`` is ±1/√fan_in, what PyTorch's
layers begin with, biases included.
"""

from collections.abc import Callable
from math import pi, sqrt

import numpy as np
from numpy.typing import NDArray

from ..core import rng

Array = NDArray[np.float64]
Draw = Callable[[tuple[int, ...], float, tuple[int | str, ...]], Array]

VARIANCES: dict[str, Callable[[int, int], float]] = {
    "he": lambda fan_in, fan_out: 2 / fan_in,
    "glorot": lambda fan_in, fan_out: 2 / (fan_in + fan_out),
    "lecun": lambda fan_in, fan_out: 1 / fan_in,
}

CUT = 2.0  # standard deviations
KEPT = 0.8796256610342398  # standard deviation of a standard normal that is cut at 2


def _uniform(shape: tuple[int, ...], variance: float, key: tuple[int | str, ...]) -> Array:
    return (2 * rng.uniform(shape, *key) - 1) * (3 * variance) ** 0.5


def _normal(shape: tuple[int, ...], variance: float, key: tuple[int | str, ...]) -> Array:
    """Box & Muller 1958; 1 - u is in (0, 1], so the logarithm is finite."""
    radius, angle = rng.uniform((2, *shape), *key)
    return sqrt(variance) * np.sqrt(-2 * np.log(1 - radius)) * np.cos(2 * pi * angle)


def _truncated(shape: tuple[int, ...], variance: float, key: tuple[int | str, ...]) -> Array:
    """Draw again whatever lies outside the cut, until nothing does."""
    z, again = _normal(shape, 1, key), 0
    while (outside := np.abs(z) > CUT).any():
        again += 1
        z[outside] = _normal((int(outside.sum()),), 1, (*key, again))
    return sqrt(variance) / KEPT * z


DRAWS: dict[str, Draw] = {"uniform": _uniform, "normal": _normal, "truncated": _truncated}

KERNELS = (*(f"{family}_{draw}" for family in VARIANCES for draw in DRAWS), "torch_uniform")
BIASES = ("zeros", "torch_uniform")


def draw(name: str, shape: tuple[int, ...], fan_in: int, fan_out: int, *key: int | str) -> Array:
    """Return the first values of a parameter, float64.

    Parameters
    ----------
    name : str
        One of `KERNELS`, or ``zeros`` or ``ones``.
    shape : tuple of int
    fan_in, fan_out : int
        How many inputs feed one unit of the layer, and how many units one input feeds.
    *key : int or str
        Seed and name.
    """
    if name in ("zeros", "ones"):
        return np.full(shape, float(name == "ones"))
    if name == "torch_uniform":
        return _uniform(shape, 1 / (3 * fan_in), key)
    family, _, how = name.partition("_")
    return DRAWS[how](shape, VARIANCES[family](fan_in, fan_out), key)
