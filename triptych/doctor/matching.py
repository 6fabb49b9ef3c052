"""Matches the layers with weights of two sides."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

from ..errors import TriptychError, suggest
from .observation import (
    CONVOLUTIONS,
    NORMALIZATIONS,
    RECURRENT,
    Array,
    Arrays,
    Description,
    Layer,
    Observation,
    array_names,
)

WITH_TRANSPOSED = (*CONVOLUTIONS, "conv_transpose")

# The weight that decides whether two layers fit; the others may be missing.
MAIN_ROLES = {
    "embedding": "embeddings",
    "attention": "query_kernel",
    "prelu": "slope",
    **dict.fromkeys(NORMALIZATIONS, "scale"),
}

Signature = tuple[Any, ...]
Matches = list[tuple[int, int]]
Score = tuple[int, float]


@dataclass(frozen=True)
class Snapshot:
    """One side as it was built.

    Attributes
    ----------
    description : Description
        What it consists of.
    observation : Observation
        In evaluation mode, of its own inputs and with its own weights.
    inputs : dict of str to ndarray
        What its model gets: ``input``, ``input1``, …
    weights : dict of str to ndarray
        All its weights, by ``PATH/ROLE``.
    """

    description: Description
    observation: Observation
    inputs: Arrays
    weights: Arrays


@dataclass(frozen=True)
class Anchor:
    """A layer with weights, and what its calls show of it.

    Attributes
    ----------
    layer : Layer
        The layer.
    calls : tuple of int
        The numbers of its calls; empty if it is never called.
    weights : dict of str to ndarray
        Its weights by role.
    values, axes : int
        The number of values that its first call returns, and of their axes.
    following : str
        The kind of the call after its first one.
    """

    layer: Layer
    calls: tuple[int, ...]
    weights: Arrays
    values: int = 0
    axes: int = 0
    following: str = ""

    @cached_property
    def main(self) -> Array | None:
        """The weight that decides whether two layers fit; None without weights."""
        role = MAIN_ROLES.get(self.layer.kind, "kernel")
        if role in self.weights:
            return self.weights[role]
        return next(iter(self.weights.values()), None)

    @cached_property
    def signature(self) -> Signature:
        """What must be equal in two layers whose weights can be carried over."""
        kind = self.layer.kind
        shape = () if self.main is None else self.main.shape
        if kind == "other":
            # Parameters of a user's own layer may be transposed, but not of another size.
            return (kind, *sorted(tuple(sorted(array.shape)) for array in self.weights.values()))
        if kind == "dense" or (kind == "conv" and all(length == 1 for length in shape[:-2])):
            return ("linear", *shape[-2:])
        if kind in WITH_TRANSPOSED:
            # A convolution along one axis may be written with a second one of length 1.
            spatial = (length for length in shape[:-2] if length != 1)
            return (kind, *spatial, *shape[-2:])
        if kind in RECURRENT:
            return (kind, *shape, "reverse_kernel" in self.weights)
        if kind == "prelu":
            return (kind,)
        return (kind, *shape)

    @cached_property
    def family(self) -> str:
        """What two layers have in common that differ only in their size or variant."""
        kind = self.layer.kind
        if kind in NORMALIZATIONS:
            return "normalization"
        if kind in RECURRENT:
            return "recurrent"
        return str(self.signature[0])

    @cached_property
    def words(self) -> frozenset[str]:
        """The words and numbers of its path."""
        return frozenset(re.findall(r"[a-z]+|\d+", self.layer.path.lower()))


Fit = Callable[[Anchor, Anchor], bool]


def anchors(side: Snapshot) -> list[Anchor]:
    """Return the layers with weights, in the order of their first calls; those never called last.

    Parameters
    ----------
    side : Snapshot
        The side.
    """
    layers = {layer.path: layer for layer in side.description.layers if layer.roles}
    numbers = side.observation.numbers
    called = [layers[path] for path in numbers if path in layers]
    never_called = [layer for path, layer in layers.items() if path not in numbers]
    kinds = {call.number: call.kind for call in side.observation.calls}
    result: list[Anchor] = []
    for layer in (*called, *never_called):
        calls = tuple(numbers.get(layer.path, ()))
        first = calls[0] if calls else -1
        output = side.observation.arrays.get(f"{first}/output")
        values, axes = (0, 0) if output is None else (output.size, output.ndim)
        weights = array_names(side.weights, layer.path)
        # The weights of a layer inside this one belong to that layer.
        weights = {role: weights[role] for role in layer.roles if role in weights}
        result.append(Anchor(layer, calls, weights, values, axes, kinds.get(first + 1, "")))
    return result


@dataclass(frozen=True)
class Matched:
    """Two layers that belong together, or one without a counterpart.

    Attributes
    ----------
    a, b : Anchor or None
        The layers.
    """

    a: Anchor | None
    b: Anchor | None

    @property
    def fits(self) -> bool:
        """Whether A's weights fit into B's layer."""
        if self.a is None or self.b is None:
            return False
        if self.a.signature == self.b.signature:
            return True
        same_family = self.a.family == self.b.family == "normalization"
        return same_family and self.a.signature[1:] == self.b.signature[1:]


def match(
    a: Sequence[Anchor], b: Sequence[Anchor], mapping: Mapping[str, str] | None = None
) -> list[Matched]:
    """Return which layers belong together, in the order of A; those of B alone where they are.

    Parameters
    ----------
    a, b : sequence of Anchor
        The layers of both sides, as `anchors` returns them.
    mapping : mapping of str to str, optional
        Paths of A with the paths of B that belong to them.

    Raises
    ------
    TriptychError
        If the mapping names an unknown path.
    """
    matches = _given(a, b, mapping or {})
    matches += _in_order(a, b, matches, _same_signature)
    matches += _crossing(a, b, matches)
    matches += _in_gaps(a, b, matches, _same_family)
    matches += _in_gaps(a, b, matches, _both_called)
    return _listed(a, b, sorted(matches))


def _given(a: Sequence[Anchor], b: Sequence[Anchor], mapping: Mapping[str, str]) -> Matches:
    a_paths = {anchor.layer.path: index for index, anchor in enumerate(a)}
    b_paths = {anchor.layer.path: index for index, anchor in enumerate(b)}
    result: Matches = []
    for a_path, b_path in mapping.items():
        for side, path, known in (("A", a_path, a_paths), ("B", b_path, b_paths)):
            if path not in known:
                raise TriptychError(
                    f"the mapping names {path!r}, which is no layer with weights of {side}; "
                    f"{suggest(path, known)}"
                )
        result.append((a_paths[a_path], b_paths[b_path]))
    return result


def _both_called(first: Anchor, second: Anchor) -> bool:
    return bool(first.calls) and bool(second.calls)


def _same_signature(first: Anchor, second: Anchor) -> bool:
    return first.signature == second.signature and bool(first.calls) == bool(second.calls)


def _same_family(first: Anchor, second: Anchor) -> bool:
    return first.family == second.family and _both_called(first, second)


def _likeness(first: Anchor, second: Anchor) -> float:
    """Return how much speaks for a match that is possible: 0 to 1."""
    words = len(first.words & second.words) / max(1, len(first.words | second.words))
    return (
        0.4 * (first.values == second.values)
        + 0.2 * (set(first.layer.roles) == set(second.layer.roles))
        + 0.2 * (len(first.calls) == len(second.calls))
        + 0.1 * (first.following == second.following)
        + 0.1 * words
    )


def _in_order(a: Sequence[Anchor], b: Sequence[Anchor], matches: Matches, fit: Fit) -> Matches:
    """Return the largest set of matches without crossings; among equals the most alike."""
    a_left = _left(len(a), [first for first, _ in matches])
    b_left = _left(len(b), [second for _, second in matches])
    best: list[list[Score]] = [[(0, 0.0)] * (len(b_left) + 1) for _ in range(len(a_left) + 1)]
    for row in range(len(a_left) - 1, -1, -1):
        for column in range(len(b_left) - 1, -1, -1):
            choices = [best[row + 1][column], best[row][column + 1]]
            first = a[a_left[row]]
            second = b[b_left[column]]
            if fit(first, second):
                count, likeness = best[row + 1][column + 1]
                choices.append((count + 1, likeness + _likeness(first, second)))
            best[row][column] = max(choices)
    result: Matches = []
    row = column = 0
    while row < len(a_left) and column < len(b_left):
        if best[row][column] == best[row + 1][column]:
            row += 1
        elif best[row][column] == best[row][column + 1]:
            column += 1
        else:
            result.append((a_left[row], b_left[column]))
            row += 1
            column += 1
    return result


def _crossing(a: Sequence[Anchor], b: Sequence[Anchor], matches: Matches) -> Matches:
    """Return matches of layers with the same signature whose order differs on the two sides."""
    result: Matches = []
    b_left = _left(len(b), [second for _, second in matches])
    for first in _left(len(a), [first for first, _ in matches]):
        fitting = [second for second in b_left if _same_signature(a[first], b[second])]
        if fitting:
            second = max(fitting, key=lambda second: _likeness(a[first], b[second]))
            b_left.remove(second)
            result.append((first, second))
    return result


def _in_gaps(a: Sequence[Anchor], b: Sequence[Anchor], matches: Matches, fit: Fit) -> Matches:
    """Return matches between neighbours that are matched already."""
    ends: Matches = [(-1, -1)]
    for first, second in sorted(matches):
        # A crossing match bounds no gap.
        if second > ends[-1][1]:
            ends.append((first, second))
    ends.append((len(a), len(b)))
    a_used = {first for first, _ in matches}
    b_used = {second for _, second in matches}
    result: Matches = []
    for (a_start, b_start), (a_stop, b_stop) in pairwise(ends):
        a_gap = [index for index in range(a_start + 1, a_stop) if index not in a_used]
        b_gap = [index for index in range(b_start + 1, b_stop) if index not in b_used]
        a_part = [a[index] for index in a_gap]
        b_part = [b[index] for index in b_gap]
        inside = _in_order(a_part, b_part, [], fit)
        result += [(a_gap[first], b_gap[second]) for first, second in inside]
    return result


def _left(count: int, used: Sequence[int]) -> list[int]:
    return [index for index in range(count) if index not in set(used)]


def _listed(a: Sequence[Anchor], b: Sequence[Anchor], matches: Matches) -> list[Matched]:
    partners = dict(matches)
    used = {second for _, second in matches}
    result: list[Matched] = []
    position = 0
    for index, first in enumerate(a):
        second = partners.get(index)
        if second is not None:
            # B's layers before this one that have no counterpart come first.
            alone = [other for other in range(position, second) if other not in used]
            result += [Matched(None, b[other]) for other in alone]
            position = max(position, second + 1)
        result.append(Matched(first, None if second is None else b[second]))
    result += [Matched(None, b[other]) for other in range(position, len(b)) if other not in used]
    return result
