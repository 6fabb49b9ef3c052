"""One layout for the weights of both frameworks: PyTorch's names and axes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Anchor = dict[str, Any]  # an entry of `draw.anchors`
AXES = {
    "dense": (1, 0),
    "conv1d": (2, 1, 0),
    "conv2d": (3, 2, 0, 1),
    "conv_transpose": (3, 2, 0, 1),
}
GATES = {"lstm": 4, "gru": 3}
NORMS = {
    "bn": ("weight", "bias", "running_mean", "running_var"),
    "ln": ("weight", "bias"),
    "gn": ("weight", "bias"),
    "rms": ("weight",),
}


def from_keras(anchor: Anchor, arrays: list[Array]) -> dict[str, Array]:
    """Return the arrays of a Keras layer under PyTorch's names, in PyTorch's layout.

    The two biases of an LSTM are one here, ``bias``: their sum, because Keras has one.

    Parameters
    ----------
    anchor : dict
        The layer's entry among the anchors.
    arrays : list of array
        In the order of the layer's ``weights``.
    """
    kind = anchor["kind"]
    if kind in NORMS:
        return dict(zip(NORMS[kind], arrays, strict=True))
    if kind == "embedding":
        return {"weight": arrays[0]}
    if kind in GATES:
        return _recurrent_from_keras(kind, arrays)
    if kind == "attention":
        return _attention_from_keras(arrays)
    named = {"weight": _kernel_from_keras(anchor, arrays[0])}
    if len(arrays) > 1:
        named["bias"] = arrays[1]
    return named


def _kernel_from_keras(anchor: Anchor, kernel: Array) -> Array:
    if anchor["kind"] == "depthwise":
        height, width, channels, multiplier = kernel.shape
        return kernel.transpose(2, 3, 0, 1).reshape(channels * multiplier, 1, height, width)
    shape = anchor["flatten"]
    if shape is None:
        return kernel.transpose(AXES[anchor["kind"]])
    places = len(shape) - 1
    grid = kernel.reshape(*shape, -1)
    return grid.transpose(places + 1, places, *range(places)).reshape(kernel.shape[1], -1)


def _recurrent_from_keras(kind: str, arrays: list[Array]) -> dict[str, Array]:
    named = {
        "weight_ih_l0": _gates(kind, arrays[0].T),
        "weight_hh_l0": _gates(kind, arrays[1].T),
    }
    if len(arrays) == 2:
        return named
    if kind == "gru":
        named["bias_ih_l0"] = _gates(kind, arrays[2][0])
        named["bias_hh_l0"] = _gates(kind, arrays[2][1])
    else:
        named["bias"] = arrays[2]
    return named


def _gates(kind: str, array: Array) -> Array:
    """Exchange the first two of a GRU's gates: Keras has z, r, h and PyTorch r, z, n."""
    if kind != "gru":
        return array
    first, second, third = np.split(array, 3)
    return np.concatenate([second, first, third])


def _attention_from_keras(arrays: list[Array]) -> dict[str, Array]:
    kernels = arrays[0:6:2]
    biases = arrays[1:6:2]
    width = kernels[0].shape[0]
    return {
        "in_proj_weight": np.concatenate([kernel.reshape(width, -1).T for kernel in kernels]),
        "in_proj_bias": np.concatenate([bias.reshape(-1) for bias in biases]),
        "out_proj.weight": arrays[6].reshape(-1, width).T,
        "out_proj.bias": arrays[7],
    }


def to_keras(
    anchor: Anchor, named: Mapping[str, Array], shapes: list[tuple[int, ...]]
) -> list[Array]:
    """Return the arrays of a Keras layer, made of PyTorch's; the inverse of `from_keras`.

    Parameters
    ----------
    anchor : dict
        The layer's entry among the anchors.
    named : dict
        PyTorch's arrays by name.
    shapes : list of tuple
        Shapes of the layer's ``weights``, in their order.
    """
    kind = anchor["kind"]
    if kind in NORMS:
        return [named[name] for name in NORMS[kind]]
    if kind == "embedding":
        return [named["weight"]]
    if kind in GATES:
        return _recurrent_to_keras(kind, named, len(shapes))
    if kind == "attention":
        return _attention_to_keras(named, shapes)
    arrays = [_kernel_to_keras(anchor, named["weight"], shapes[0])]
    if len(shapes) > 1:
        arrays.append(named.get("bias", np.zeros(shapes[1], named["weight"].dtype)))
    return arrays


def _kernel_to_keras(anchor: Anchor, kernel: Array, shape: tuple[int, ...]) -> Array:
    if anchor["kind"] == "depthwise":
        height, width, channels, multiplier = shape
        grid = kernel.reshape(channels, multiplier, height, width)
        return grid.transpose(2, 3, 0, 1)
    image = anchor["flatten"]
    if image is None:
        return kernel.transpose(np.argsort(AXES[anchor["kind"]]))
    places = len(image) - 1
    grid = kernel.reshape(-1, image[-1], *image[:-1])
    return grid.transpose(*range(2, places + 2), 1, 0).reshape(shape)


def _recurrent_to_keras(kind: str, named: Mapping[str, Array], count: int) -> list[Array]:
    arrays = [_gates(kind, named["weight_ih_l0"]).T, _gates(kind, named["weight_hh_l0"]).T]
    if count == 2:
        return arrays
    if kind == "gru":
        pair = [_gates(kind, named["bias_ih_l0"]), _gates(kind, named["bias_hh_l0"])]
        return [*arrays, np.stack(pair)]
    return [*arrays, named["bias"]]


def _attention_to_keras(named: Mapping[str, Array], shapes: list[tuple[int, ...]]) -> list[Array]:
    arrays: list[Array] = []
    weights = np.split(named["in_proj_weight"], 3)
    biases = np.split(named["in_proj_bias"], 3)
    for place, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
        arrays += [weight.T.reshape(shapes[2 * place]), bias.reshape(shapes[2 * place + 1])]
    return [*arrays, named["out_proj.weight"].T.reshape(shapes[6]), named["out_proj.bias"]]


def from_torch(anchor: Anchor, named: dict[str, Array], gradient: bool = False) -> dict[str, Array]:
    """Return the arrays of a PyTorch layer, the two biases of an LSTM as one.

    Parameters
    ----------
    anchor : dict
        The layer's entry among the anchors.
    named : dict
        The arrays by name, without the name of the layer.
    gradient : bool
        Whether they are gradients. Each of the two biases has the gradient of the sum, so that
        one of them is taken, the larger where the other one is not trained.
    """
    first, second = "bias_ih_l0", "bias_hh_l0"
    if anchor["kind"] != "lstm" or first not in named:
        return named
    one, two = named[first], named[second]
    rest = {name: array for name, array in named.items() if name not in (first, second)}
    if not gradient:
        return {**rest, "bias": one + two}
    return {**rest, "bias": one if np.abs(one).sum() >= np.abs(two).sum() else two}
