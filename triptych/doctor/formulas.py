"""NumPy formulas of what lies between two layers with weights, in the canonical layout."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from scipy.special import erf, expit, log_expit, log_softmax, softmax

from .observation import Array, Settings
from .padding import padded

Activation = Callable[[Array, Settings], Array]

# Of SELU (Klambauer et al. 2017, https://arxiv.org/abs/1706.02515).
SELU_ALPHA = 1.6732632423543772
SELU_SCALE = 1.0507009873554805

MOST_TERMS = 2**31  # of all windows of a pooling


def _elu(x: Array, alpha: float) -> Array:
    return np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0)))


def _gelu(x: Array, settings: Settings) -> Array:
    if settings.get("approximate"):
        return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))
    return 0.5 * x * (1 + erf(x / np.sqrt(2)))


def _softplus(x: Array) -> Array:
    return np.logaddexp(0, x)


def _relu(x: Array, settings: Settings) -> Array:
    slope = settings.get("slope") or 0.0
    threshold = settings.get("threshold") or 0.0
    largest = settings.get("max_value")
    result = np.where(x >= threshold, x, slope * (x - threshold))
    return result if largest is None else np.minimum(result, largest)


def _hard_sigmoid(x: Array, gain: float = 1 / 6) -> Array:
    return np.clip(gain * x + 0.5, 0, 1)


def _axis(settings: Settings) -> Any:
    axis = settings.get("axis", -1)
    return tuple(axis) if isinstance(axis, list) else axis


# The canonical names of observation.py.
ACTIVATIONS: Mapping[str, Activation] = {
    "linear": lambda x, _: x,
    "relu": _relu,
    "relu6": lambda x, _: np.clip(x, 0, 6),
    "leaky_relu": lambda x, settings: np.where(x > 0, x, settings.get("slope", 0.01) * x),
    "elu": lambda x, settings: _elu(x, settings.get("alpha", 1.0)),
    "celu": lambda x, settings: (
        np.maximum(x, 0)
        + settings.get("alpha", 1.0) * np.expm1(np.minimum(x, 0) / settings.get("alpha", 1.0))
    ),
    "selu": lambda x, _: SELU_SCALE * _elu(x, SELU_ALPHA),
    "gelu": _gelu,
    "silu": lambda x, _: x * expit(x),
    "mish": lambda x, _: x * np.tanh(_softplus(x)),
    "tanh": lambda x, _: np.tanh(x),
    "sigmoid": lambda x, _: expit(x),
    "log_sigmoid": lambda x, _: log_expit(x),
    "softplus": lambda x, _: _softplus(x),
    "softsign": lambda x, _: x / (1 + np.abs(x)),
    "hard_tanh": lambda x, _: np.clip(x, -1, 1),
    "hard_sigmoid": lambda x, settings: _hard_sigmoid(x, settings.get("gain", 1 / 6)),
    "hard_silu": lambda x, _: x * _hard_sigmoid(x),
    "tanh_shrink": lambda x, _: x - np.tanh(x),
    "exponential": lambda x, _: np.exp(x),
    "softmax": lambda x, settings: softmax(x, _axis(settings)),
    "log_softmax": lambda x, settings: log_softmax(x, _axis(settings)),
    "softmin": lambda x, settings: softmax(-x, _axis(settings)),
}

# What a model may do with a sequence or an image, besides what a layer does.
REDUCTIONS: Mapping[str, Callable[[Array], Array]] = {
    "the mean over positions": lambda x: x.mean(_positions(x)),
    "the maximum over positions": lambda x: x.max(_positions(x)),
    "the sum over positions": lambda x: x.sum(_positions(x)),
    "the last position": lambda x: x[:, -1],
    "the first position": lambda x: x[:, 0],
}


def _positions(x: Array) -> tuple[int, ...]:
    return tuple(range(1, x.ndim - 1))


def activate(x: Array, settings: Settings) -> Array | None:
    """Return what an activation makes of an array, or None if its formula is not known.

    Parameters
    ----------
    x : ndarray
        What it takes; features last.
    settings : dict
        ``function`` and its parameters.
    """
    function = ACTIVATIONS.get(settings.get("function", ""))
    with np.errstate(invalid="ignore"):  # of infinity
        return None if function is None else function(x, settings)


def pads(settings: Settings, sizes: Sequence[int], window: Sequence[int]) -> list[list[int]]:
    """Return [before, after] for each spatial axis.

    Parameters
    ----------
    settings : dict
        ``padding``, ``strides``.
    sizes, window : sequence of int
        Of the array and the window, for each spatial axis.
    """
    padding = settings.get("padding", "valid")
    if isinstance(padding, list):
        return [list(pair) for pair in padding]
    strides = settings.get("strides") or list(window)
    result: list[list[int]] = []
    for size, width, stride in zip(sizes, window, strides, strict=True):
        total = 0
        if padding == "same":
            # As TensorFlow: as many outputs as size / stride, rounded up; the odd row after.
            total = max((-(-size // stride) - 1) * stride + width - size, 0)
        result.append([total // 2, total - total // 2])
    return result


def pool(x: Array, settings: Settings) -> Array | None:
    r"""Return what a pooling makes of an array, or None if its settings are not understood.

    Parameters
    ----------
    x : ndarray
        Shape (batch, \*spatial, channels).
    settings : dict
        ``pooling``, ``size``, ``strides``, ``padding``, ``count_padding``.
    """
    spatial = x.ndim - 2
    largest = settings.get("pooling") == "max"
    window = settings.get("size")
    if window == "global":
        return x.max(_positions(x)) if largest else x.mean(_positions(x))
    if spatial < 1 or not isinstance(window, list) or len(window) != spatial:
        return None
    if settings.get("dilation", [1] * spatial) != [1] * spatial or settings.get("ceil_mode"):
        return None
    padding = pads(settings, x.shape[1:-1], window)
    strides = settings.get("strides") or window
    around = [(0, 0), *[tuple(pair) for pair in padding], (0, 0)]
    fill = -np.inf if largest else 0.0
    axes = tuple(range(1, spatial + 1))
    steps = (slice(None), *[slice(None, None, stride) for stride in strides])
    wider = padded(x, around, fill)
    if wider is None:
        return None
    windows = sliding_window_view(wider, window, axes)[steps]
    if windows.size > MOST_TERMS:
        return None
    inside = tuple(range(-spatial, 0))
    if largest:
        return windows.max(inside)
    counts = float(np.prod(window))
    if not settings.get("count_padding", True):
        ones = np.pad(np.ones_like(x), around)  # not larger than the array above
        return windows.sum(inside) / sliding_window_view(ones, window, axes)[steps].sum(inside)
    return windows.sum(inside) / counts


def compute(kind: str, x: Array, settings: Settings) -> Array | None:
    """Return what a call without weights makes of an array, or None if it is not known.

    Parameters
    ----------
    kind : str
        The canonical kind.
    x : ndarray
        What it takes; features last.
    settings : dict
        Canonical settings.
    """
    if kind == "activation":
        return activate(x, settings)
    if kind == "pool":
        return pool(x, settings)
    if kind == "dropout":
        return x
    if kind == "rescaling":
        return x * settings.get("scale", 1.0) + settings.get("offset", 0.0)
    return None


def batch_statistics(x: Array, weights: Mapping[str, Array], epsilon: float) -> Array:
    """Return a BatchNorm in training mode.

    Parameters
    ----------
    x : ndarray
        Features last.
    weights : mapping of str to ndarray
        ``scale``, ``offset``; either may be missing.
    epsilon : float
        Added to the variance.
    """
    axes = tuple(range(x.ndim - 1))
    return _normalised(x, x.mean(axes), x.var(axes), weights, epsilon)


def moving_statistics(x: Array, weights: Mapping[str, Array], epsilon: float) -> Array:
    """Return a BatchNorm in evaluation mode; it also needs ``mean`` and ``variance``."""
    return _normalised(x, weights["mean"], weights["variance"], weights, epsilon)


def _normalised(
    x: Array, mean: Array, variance: Array, weights: Mapping[str, Array], epsilon: float
) -> Array:
    normal = (x - mean) / np.sqrt(variance + epsilon)
    return normal * weights.get("scale", 1.0) + weights.get("offset", 0.0)
