"""Two sets of named arrays: how far apart they are, kind by kind, and where they first part.

A figure is the largest |difference| over all arrays of a kind, over the largest |reference| of that kind. The kinds are
weights, each slot by name, gradients, the loss, and each layer's output by itself. Where a kind is rounding as a whole,
it is measured against the smallest scale that means anything (`FLOORS`).
"""

from dataclasses import dataclass

import numpy as np

from ..core.state import State
from ..core.state import kind as state_kind

BOUND = 1e-11  # float64, at every step of a whole run

# A gradient at the logits is a mean of differences of probabilities, and a probability is known to
# one unit in the last place of 1. If the true gradient is zero, what is computed is that rounding,
# and two correct engines have nothing in common. So a difference of one unit counts as equal, in a
# gradient and in the slots that are means or sums of gradients; of their squares, its square.
ROUNDING = float(np.finfo(np.float64).eps)
FLOORS = {
    "gradients": ROUNDING,
    "velocity": ROUNDING,
    "m": ROUNDING,
    "v": ROUNDING**2,
    "u": ROUNDING**2,
}


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
        return (
            f"{where}: {self.name}{at} is {self.candidate}, the reference has {self.reference}{of}"
        )


def figures(reference: State, candidate: State, stage: str | None = None) -> dict[str, float]:
    """Return the figure of every kind; inf where an array is missing, misshapen or not finite.

    Parameters
    ----------
    reference, candidate : dict of str to ndarray
    stage : str, optional
        As in `first_divergence`.
    """
    scales = _scales(reference, stage)
    gaps = dict.fromkeys(scales, 0.0)
    for name, expected in reference.items():
        kind = _address(name, stage)[2]
        gaps[kind] = max(gaps[kind], _gap(expected, candidate.get(name)))
    return {kind: _ratio(gap, scales[kind]) for kind, gap in gaps.items()}


def first_divergence(
    reference: State,
    candidate: State,
    bound: float,
    stage: str | None = None,
    *,
    weights: float | None = None,
    shifted: frozenset[str] = frozenset(),
) -> Divergence | None:
    """Walk the reference in order; return the first array that is out of bound, or None.

    Each comparison asserts shape, then dtype, then value.

    Parameters
    ----------
    reference, candidate : dict of str to ndarray
    bound : float
        On the figure of the array's kind.
    stage : str, optional
        The stage that two *states* belong to; without it the arrays are *traces*, whose names tell.
    weights : float, optional
        The bound on weights, where it is another.
    shifted : frozenset of str
        Names of the arrays to which the bound on weights applies, too.
    """
    scales = _scales(reference, stage)
    for name in [*reference, *(name for name in candidate if name not in reference)]:
        expected, found = reference.get(name), candidate.get(name)
        own, layer, kind = _address(name, stage)
        if expected is None or found is None:
            shapes = ["not there" if a is None else str(a.shape) for a in (expected, found)]
            return Divergence(own, layer, name, (), shapes[0], shapes[1], np.inf, "missing")
        if found.shape != expected.shape:
            return Divergence(
                own, layer, name, (), str(expected.shape), str(found.shape), np.inf, "shape"
            )
        if found.dtype != expected.dtype:
            return Divergence(
                own, layer, name, (), str(expected.dtype), str(found.dtype), np.inf, "dtype"
            )
        error = _ratio(_gap(expected, found), scales[kind])
        limit = bound
        if weights is not None and (kind == "weights" or name in shifted):
            limit = weights
        if not error <= limit:
            with np.errstate(invalid="ignore"):
                difference = np.abs(found.astype(np.float64) - expected)
            difference = np.where(np.isfinite(difference), difference, np.inf)
            index = tuple(
                int(i) for i in np.unravel_index(int(np.argmax(difference)), difference.shape)
            )
            why = "value" if np.isfinite(error) else "not finite"
            return Divergence(
                own,
                layer,
                name,
                index,
                f"{expected[index]:.17g}",
                f"{found[index]:.17g}",
                error,
                why,
            )
    return None


def _address(name: str, stage: str | None) -> tuple[str, str, str]:
    """Return (stage, layer, kind) of an array: of a state where a stage is given, of a trace otherwise."""
    head, _, rest = name.partition("/")
    if stage:
        return stage, head if rest else "-", state_kind(name)
    if head == "output":
        return "output", rest, name
    if head == "gradient":
        return "gradient", rest.partition("/")[0], "gradients"
    return name, "-", name


def _scales(reference: State, stage: str | None) -> dict[str, float]:
    scales: dict[str, float] = {}
    for name, expected in reference.items():
        kind = _address(name, stage)[2]
        least = FLOORS.get(kind, 0.0) / BOUND
        scales[kind] = max(scales.get(kind, least), float(np.abs(expected).max(initial=0)))
    return scales


def _gap(expected: np.ndarray, found: np.ndarray | None) -> float:
    if found is None or found.shape != expected.shape or found.dtype != expected.dtype:
        return np.inf
    if not (np.isfinite(found).all() and np.isfinite(expected).all()):
        return np.inf
    return float(np.abs(found.astype(np.float64) - expected).max(initial=0))


def _ratio(gap: float, scale: float) -> float:
    if not np.isfinite(gap):
        return np.inf
    return 0.0 if gap == 0 else gap / scale if scale > 0 else np.inf
