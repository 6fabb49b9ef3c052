"""Logits of a trained network, in any engine."""

from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core import registry
from ..core.split import Split
from ..core.state import State
from ..errors import SpecError, TriptychError
from ..spec.network import Network
from ..spec.recipe import Recipe

Array = NDArray[Any]


def compute_logits(
    network: Network,
    recipe: Recipe,
    state: State,
    images: Array,
    *,
    engine: str,
    backend: str | None = None,
    device: str = "cpu",
) -> Array:
    """Build an engine, load a state, and return the logits of each image in evaluation mode.

    Parameters
    ----------
    network : Network
        What was trained.
    recipe : Recipe
        How it was trained; its ``dtype`` is the one that is computed in.
    state : dict of str to ndarray
        What the training came to.
    images : ndarray of uint8 or floats, shape (n, h, w, c) or (n, h·w·c)
        Pixels 0–255 as uint8, or numbers that are taken as they are.
    engine : str
        The engine's name.
    backend : str, optional
        The engine's first one by default.
    device : str
        ``cpu``, ``cuda``, ``mps`` or ``auto``.

    Returns
    -------
    ndarray of floats, shape (n, classes)

    Raises
    ------
    SpecError
        If there are no images, or they do not fit the network.
    TriptychError
        If a logit is not finite.
    EngineError
        If the engine is not installed, or lacks the backend or the device.
    """
    images = _fitting(images, network)
    runner = registry.create(engine, network, recipe, device=device, backend=backend)
    runner.load(state)
    unlabelled = Split(images, np.zeros(len(images), np.int32))
    logits = runner.logits(runner.upload(unlabelled))
    is_finite = np.isfinite(logits).all(axis=1)
    if not is_finite.all():
        raise TriptychError(
            f"network {network.name!r} gives no finite logits for sample "
            f"{int(np.argmin(is_finite)) + 1:,}; its weights or the sample are too large"
        )
    return logits


def _fitting(images: Array, network: Network) -> Array:
    """Return images in the shape that a network takes; raise `SpecError` if there is none."""
    images = np.asarray(images)
    if images.dtype != np.uint8 and images.dtype.kind != "f":
        raise SpecError(f"images must be uint8, 0–255, or floats, not {images.dtype}")
    shape = network.input_shape
    if images.ndim < 2 or prod(images.shape[1:]) != prod(shape):
        raise SpecError(
            f"network {network.name!r} takes inputs of shape {shape}, so images must have shape "
            f"(n, {', '.join(map(str, shape))}), not {images.shape}"
        )
    if not len(images):
        raise SpecError("there are no images to classify")
    return images.reshape(len(images), *shape)
