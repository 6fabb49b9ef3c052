"""Finds out what was done wrong when weights were loaded into a layer.

Each hypothesis is a change of the right array; it explains the array that a layer has if it
reproduces its numbers.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import permutations

import numpy as np

from .bounds import multiple, relative_difference
from .observation import RECURRENT, Array, Arrays

# Loaded weights have passed float32 at most once.
SAME = 2e-6

# The gates of a kernel with this many blocks of columns.
GATES = {"lstm": 4, "gru": 3}


@dataclass(frozen=True)
class Mistake:
    """What makes the right array the one that a layer has.

    Attributes
    ----------
    cause : str or None
        The id in the catalogue.
    title : str
        What is wrong with the weights, in words that follow "is" or "are".
    """

    cause: str | None
    title: str


def is_informative(array: Array) -> bool:
    """Return whether an array can tell that it was loaded: it is no constant."""
    return array.size >= 4 and bool(np.ptp(array) > 0)


def same(first: Array, second: Array) -> bool:
    """Return whether two arrays have the same shape and numbers."""
    return first.shape == second.shape and relative_difference(first, second) <= SAME


def mistakes(kind: str, role: str, right: Array, has: Array, layer: Arrays) -> Iterator[Mistake]:
    """Yield what may have been done wrong to one weight.

    Parameters
    ----------
    kind : str
        Of the layer.
    role : str
        Of the weight.
    right, has : ndarray
        What the layer should have, and what it has.
    layer : dict of str to ndarray
        All that the layer should have, by role.
    """
    for mistake, array in _changed(kind, role, right, layer):
        if same(array, has):
            yield mistake


def _changed(
    kind: str, role: str, right: Array, layer: Mapping[str, Array]
) -> Iterator[tuple[Mistake, Array]]:
    """Yield each mistake with what it makes of the right array."""
    if kind in GATES and right.shape[-1] % GATES[kind] == 0:
        yield from _gates(kind, right)
    for other, array in layer.items():
        if other != role:
            yield Mistake(None, f"those of the role {other.replace('_', ' ')}"), array
    if right.ndim == 2 and right.shape[0] == right.shape[1]:
        yield Mistake("D10", "transposed"), right.T
    if right.ndim > 2:
        yield from _turned(kind, right)
    if right.ndim == 2 and kind == "dense":
        yield from _regrouped(right)
    if role == "variance":
        yield Mistake(None, "standard deviations instead of variances"), np.sqrt(np.abs(right))
    yield Mistake(None, "negative"), -right


def _gates(kind: str, right: Array) -> Iterator[tuple[Mistake, Array]]:
    blocks = np.split(right, GATES[kind], -1)
    cause = "D15" if kind == "gru" else "D14"
    for order in permutations(range(len(blocks))):
        if order != tuple(range(len(blocks))):
            array = np.concatenate([blocks[block] for block in order], -1)
            words = ", ".join(str(block + 1) for block in order)
            yield Mistake(cause, f"with its gates in the order {words}"), array


def _turned(kind: str, right: Array) -> Iterator[tuple[Mistake, Array]]:
    """Yield a kernel of a convolution with its axes in another order, or turned."""
    causes = {"depthwise_conv": "D12", "conv_transpose": "D13"}
    cause = causes.get(kind, "D11")
    for axes in permutations(range(right.ndim)):
        if axes != tuple(range(right.ndim)):
            yield Mistake(cause, "with its axes in another order"), np.transpose(right, axes)
            moved = np.transpose(right, axes)
            yield Mistake(cause, "reshaped instead of transposed"), moved.reshape(right.shape)
    spatial = tuple(range(right.ndim - 2))
    yield Mistake(cause, "rotated by 180 degrees"), np.flip(right, spatial)


def _regrouped(right: Array) -> Iterator[tuple[Mistake, Array]]:
    """Yield a dense kernel whose rows belong to features in the other order of flattening."""
    rows = len(right)
    for channels in range(2, rows):
        if rows % channels == 0:
            order = np.arange(rows).reshape(channels, -1).T.ravel()
            title = "with its rows in the order of the other side's flattening"
            yield Mistake("D17", title), right[order]
    yield Mistake("D10", "reshaped instead of transposed"), right.T.reshape(right.shape)


def general_mistake(right: Array, has: Array) -> Mistake | None:
    """Return what an array tells if no known mistake reproduces it; None if it is unrelated."""
    if right.shape != has.shape or not right.any():
        return None
    factor = multiple(right, has, SAME)
    if factor is not None:
        return Mistake(None, f"{factor:.6g} times as large")
    if same(right.astype(np.float16).astype(right.dtype), has):
        return Mistake(None, "rounded to float16")
    if is_informative(right) and same(np.sort(right, None), np.sort(has, None)):
        return Mistake(None, "with its numbers in another order")
    return None


def is_initial(role: str, has: Array) -> bool:
    """Return whether an array has the constant that its layer starts with."""
    start = 1.0 if role in ("scale", "variance") else 0.0
    return bool(np.all(has == start))


def bias_mistake(kind: str, parts: Mapping[str, Array], has: Mapping[str, Array]) -> Mistake | None:
    """Return what was done wrong with the two biases of a recurrent layer, or None.

    Parameters
    ----------
    kind : str
        Of the layer.
    parts : mapping of str to ndarray
        ``bias`` and ``recurrent_bias`` of the side that has both, in canonical order.
    has : mapping of str to ndarray
        What the other side has.
    """
    if kind not in RECURRENT or "bias" not in has:
        return None
    for role, array in parts.items():
        if same(array, has["bias"]) and is_informative(array):
            words = "first" if role == "bias" else "second"
            return Mistake("D16", f"only the {words} of the two that the other side adds")
    return None
