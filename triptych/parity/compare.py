"""Two sets of named arrays: how far apart they are, kind by kind, and where they first part.

A figure is the largest |difference| over all arrays of a kind, over the largest |reference| of that kind. The kinds are
weights, each slot by name, gradients, the loss, and each layer's output by itself.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..state import State
from ..state import kind as state_kind

BOUND = 1e-11  # float64, at every step of a whole run


@dataclass(frozen=True)
class Divergence:
    """Where two implementations first part.

    Attributes
    ----------
    stage : str
        ``initial state``, ``output``, ``loss``, ``gradient`` or ``update``: the part of the step.
    layer : str
        The layer, or ``-`` where it is none's.
    name : str
        The array.
    index : tuple of int
        The element that differs most; empty where shape or dtype differ.
    reference, candidate : str
        Both values, or both shapes or dtypes.
    error : float
        The relative difference; inf for NaN, infinity, or a missing array.
    why : str
        ``missing``, ``shape``, ``dtype``, ``not finite`` or ``value``.
    """

    stage: str
    layer: str
    name: str
    index: tuple[int, ...]
    reference: str
    candidate: str
    error: float
    why: str

    def __str__(self) -> str:
        at = f"[{', '.join(map(str, self.index))}]" if self.index else ""
        of = f" ({self.error:.1e} of the largest)" if self.why == "value" else f" ({self.why})"
        where = f"{self.stage}, layer {self.layer}" if self.layer != "-" else self.stage
        return f"{where}: {self.name}{at} is {self.candidate}, the reference has {self.reference}{of}"


def address(name: str) -> tuple[str, str, str]:
    """Return (stage, layer, kind) of an array of a trace or a state."""
    head, _, rest = name.partition("/")
    if head == "output" and rest:
        return "output", rest, name
    if name == "loss":
        return "loss", "-", "loss"
    if head == "gradient":
        return "gradient", rest.partition("/")[0], "gradients"
    return "update", head if rest else "-", state_kind(name)


def figures(reference: State, candidate: State) -> dict[str, float]:
    """Return the figure of every kind; inf where an array is missing, misshapen or not finite."""
    scales, gaps = dict[str, float](), dict[str, float]()
    for name, expected in reference.items():
        kind = address(name)[2]
        scales[kind] = max(scales.get(kind, 0.0), _largest(expected))
        gaps[kind] = max(gaps.get(kind, 0.0), _gap(expected, candidate.get(name)))
    return {kind: _ratio(gap, scales[kind]) for kind, gap in gaps.items()}


def first_divergence(reference: State, candidate: State, bound: float, stage: str | None = None) -> Divergence | None:
    """Walk the reference in order; return the first array that is out of bound, or None.

    Each comparison asserts shape, then dtype, then value.

    Parameters
    ----------
    reference, candidate : dict of str to ndarray
    bound : float
        On the figure of the array's kind.
    stage : str, optional
        What to call the stage where the names do not tell (``initial state``).
    """
    scales: dict[str, float] = {}
    for name, expected in reference.items():
        kind = address(name)[2]
        scales[kind] = max(scales.get(kind, 0.0), _largest(expected))
    for name, expected in reference.items():
        own, layer, kind = address(name)
        found = candidate.get(name)

        def part(why: str, a: Any, b: Any, index: tuple[int, ...] = (), error: float = np.inf, name: str = name) -> Divergence:
            return Divergence(stage or own, layer, name, index, str(a), str(b), error, why)  # noqa: B023 - used at once

        if found is None:
            return part("missing", expected.shape, "not there")
        if found.shape != expected.shape:
            return part("shape", expected.shape, found.shape)
        if found.dtype != expected.dtype:
            return part("dtype", expected.dtype, found.dtype)
        if not np.isfinite(found).all():
            index = _worst_index(~np.isfinite(found))
            return part("not finite", repr(expected[index].item()), repr(found[index].item()), index)
        if (error := _ratio(_gap(expected, found), scales[kind])) > bound:
            index = _worst_index(np.abs(found.astype(np.float64) - expected))
            return part("value", repr(expected[index].item()), repr(found[index].item()), index, error)
    extra = [name for name in candidate if name not in reference]
    if extra:
        own, layer, _ = address(extra[0])
        return Divergence(stage or own, layer, extra[0], (), "not there", str(candidate[extra[0]].shape), np.inf, "missing")
    return None


def _largest(array: np.ndarray) -> float:
    return float(np.abs(array).max(initial=0))


def _gap(expected: np.ndarray, found: np.ndarray | None) -> float:
    if found is None or found.shape != expected.shape or found.dtype != expected.dtype or not np.isfinite(found).all():
        return np.inf
    return float(np.abs(found.astype(np.float64) - expected).max(initial=0))


def _ratio(gap: float, scale: float) -> float:
    return 0.0 if gap == 0 else gap / scale if scale > 0 else np.inf


def _worst_index(badness: np.ndarray) -> tuple[int, ...]:
    return tuple(int(i) for i in np.unravel_index(int(np.argmax(badness)), badness.shape))
