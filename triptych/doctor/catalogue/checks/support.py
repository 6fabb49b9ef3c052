"""What the measurements share."""

from collections.abc import Callable, Sequence
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

ROUNDING = 1e-5  # of the largest value: float32 results that are closer count as equal

Array = NDArray[Any]
Values = dict[str, Any]  # by name; numbers may be arrays or tensors of a framework
Measure = Callable[[], Values]


CHECKS: dict[str, Measure] = {}  # by the id of the difference; the modules of this package fill it


def check(identifier: str) -> Callable[[Measure], Measure]:
    """Register a function as the check of a difference.

    It runs the frameworks and returns what they do, by the names of `Difference.recorded`.

    Parameters
    ----------
    identifier : str
        The difference's id.
    """

    def register(measure: Measure) -> Measure:
        assert identifier not in CHECKS, identifier
        CHECKS[identifier] = measure
        return measure

    return register


def installed(package: str) -> bool:
    """Return whether a package that a check can do without is installed."""
    return find_spec(package) is not None


def to_numpy(value: Any) -> Array:
    """Return a tensor of any framework as an array."""
    if hasattr(value, "detach"):
        value = value.detach()
    return np.asarray(value)


def largest(value: Any) -> float:
    """Return the largest absolute value of a tensor."""
    return float(np.abs(to_numpy(value)).max())


def apart(one: Any, other: Any) -> float:
    """Return the largest difference of two tensors; 0 if it is float32's rounding."""
    one = to_numpy(one).astype(np.float64)
    other = to_numpy(other).astype(np.float64)
    difference = float(np.abs(one - other).max())
    scale = max(float(np.abs(one).max()), float(np.abs(other).max()), 1e-300)
    return 0.0 if difference <= ROUNDING * scale else difference


def draw(*shape: int, seed: int = 0) -> Array:
    """Return normally distributed float32 numbers, the same on every machine."""
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def moved_to_last(image: Array) -> Array:
    """Return images (n, channels, height, width) as (n, height, width, channels)."""
    return np.moveaxis(image, 1, -1)


def whole(value: Any) -> list[int]:
    """Return a tensor of whole numbers as a flat list."""
    return [int(number) for number in to_numpy(value).ravel()]


def flat(value: Any) -> list[float]:
    """Return a tensor as a flat list."""
    return [float(number) for number in to_numpy(value).ravel()]


def torch_travel(optimizer: Any, weight: Any, gradients: Sequence[float]) -> list[float]:
    """Return the values of a scalar weight of PyTorch after each step with given gradients."""
    import torch

    values: list[float] = []
    for gradient in gradients:
        weight.grad = torch.full_like(weight, gradient)
        optimizer.step()
        values.append(weight.item())
    return values


def keras_travel(optimizer: Any, weight: Any, gradients: Sequence[float]) -> list[float]:
    """Return the values of a scalar weight of Keras after each step with given gradients."""
    import keras

    values: list[float] = []
    for gradient in gradients:
        tensor = keras.ops.full(weight.shape, gradient, dtype=weight.dtype)
        optimizer.apply([tensor], [weight])
        values.append(float(keras.ops.convert_to_numpy(weight.value)))
    return values
