"""Matches the layers with weights of two sides."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from typing import Any

from ..errors import TriptychError, suggest
from .loading import is_informative, same
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

# So many values of two weights are compared before all are.
FIRST_VALUES = 16

# The weight that decides whether two layers fit; the others may be missing.
MAIN_ROLES = {
    "embedding": "embeddings",
    "attention": "query_kernel",
    "prelu": "slope",
    **dict.fromkeys(NORMALIZATIONS, "scale"),
}

Signature = tuple[Any, ...]
Matches = list[tuple[int, int]]
Score = tuple[int, int, float]  # the number of matches, what speaks for them, names


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
    equals : tuple of Anchor
        Of a layer without a counterpart, the layers of its side that may be it as well, with it;
        empty if there is no other one.
    """

    a: Anchor | None
    b: Anchor | None
    equals: tuple[Anchor, ...] = ()

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
    given = _given(a, b, mapping or {})
    matches = given + _in_order(a, b, given, _same_signature)
    matches += _crossing(a, b, matches)
    matches += _in_gaps(a, b, matches, _same_family)
    matches += _in_gaps(a, b, matches, _both_called)
    listed = _listed(a, b, sorted(matches))
    if all(each.a and each.b for each in listed):
        return listed
    a_free, b_free = (
        [anchor for place, anchor in enumerate(side) if place not in used]
        for side, used in ((a, {first for first, _ in given}), (b, {second for _, second in given}))
    )
    return _with_equals(listed, a_free, b_free)


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


def _evidence(first: Anchor, second: Anchor) -> int:
    """Return how much speaks for a match that is possible, without the names."""
    return (
        20 * _same_values(first, second)
        + 4 * (first.values == second.values)
        + 2 * (set(first.layer.roles) == set(second.layer.roles))
        + 2 * (len(first.calls) == len(second.calls))
        + (first.following == second.following)
    )


def _same_values(first: Anchor, second: Anchor) -> bool:
    """Return whether two layers have the same numbers, which were then loaded."""
    one, other = first.main, second.main
    if one is None or other is None or one.shape != other.shape:
        return False
    starts = (array.ravel()[:FIRST_VALUES] for array in (one, other))
    return same(*starts) and is_informative(one) and same(one, other)


def _score(first: Anchor, second: Anchor) -> Score:
    """Return what a match that is possible counts."""
    words = len(first.words & second.words) / max(1, len(first.words | second.words))
    return 1, _evidence(first, second), words


def _sum(one: Score, other: Score) -> Score:
    return one[0] + other[0], one[1] + other[1], one[2] + other[2]


def _best_scores(a: Sequence[Anchor], b: Sequence[Anchor], fit: Fit) -> list[list[Score]]:
    """Return the best score of matches without crossings of what is left of two sequences.

    Entry ``[row][column]`` is that of ``a[row:]`` and ``b[column:]``.
    """
    best: list[list[Score]] = [[(0, 0, 0.0)] * (len(b) + 1) for _ in range(len(a) + 1)]
    for row in range(len(a) - 1, -1, -1):
        for column in range(len(b) - 1, -1, -1):
            choices = [best[row + 1][column], best[row][column + 1]]
            if fit(a[row], b[column]):
                choices.append(_sum(best[row + 1][column + 1], _score(a[row], b[column])))
            best[row][column] = max(choices)
    return best


def _in_order(a: Sequence[Anchor], b: Sequence[Anchor], matches: Matches, fit: Fit) -> Matches:
    """Return the largest set of matches without crossings; among equals the most alike."""
    a_left = _left(len(a), [first for first, _ in matches])
    b_left = _left(len(b), [second for _, second in matches])
    best = _best_scores([a[place] for place in a_left], [b[place] for place in b_left], fit)
    result: Matches = []
    row = column = 0
    while row < len(a_left) and column < len(b_left):
        first, second = a[a_left[row]], b[b_left[column]]
        matched = best[row + 1][column + 1]
        if fit(first, second) and best[row][column] == _sum(matched, _score(first, second)):
            result.append((a_left[row], b_left[column]))
            row += 1
            column += 1
        elif best[row][column] == best[row + 1][column]:
            row += 1
        else:
            column += 1
    return result


def _crossing(a: Sequence[Anchor], b: Sequence[Anchor], matches: Matches) -> Matches:
    """Return matches of layers with the same signature whose order differs on the two sides."""
    result: Matches = []
    b_left = _left(len(b), [second for _, second in matches])
    for first in _left(len(a), [first for first, _ in matches]):
        fitting = [second for second in b_left if _same_signature(a[first], b[second])]
        if fitting:
            second = max(fitting, key=lambda second: _score(a[first], b[second]))
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


def _with_equals(listed: list[Matched], a: Sequence[Anchor], b: Sequence[Anchor]) -> list[Matched]:
    """Return the matches, with the layers that may be without a counterpart in place of another.

    Parameters
    ----------
    listed : list of Matched
        The matches.
    a, b : sequence of Anchor
        The layers that the user has not matched.
    """
    partners = {id(each.a): each.b for each in listed} | {id(each.b): each.a for each in listed}
    a_spare, b_spare = _spare(a, b), _spare(b, a)
    result: list[Matched] = []
    for each in listed:
        alone = each.a if each.b is None else each.b if each.a is None else None
        spare = a_spare if each.b is None else b_spare
        equals = [anchor for anchor in spare if alone and _same_signature(anchor, alone)]
        matched = [anchor for anchor in equals if partners[id(anchor)] is not None]
        if alone in equals and not _told_by_name(matched, partners):
            each = replace(each, equals=tuple(equals))
        result.append(each)
    return result


def _told_by_name(matched: Sequence[Anchor], partners: Mapping[int, Anchor | None]) -> bool:
    """Return whether layers have the names of their counterparts, if there are any."""
    pairs = [(anchor, partners[id(anchor)]) for anchor in matched]
    return all(other and anchor.layer.path == other.layer.path for anchor, other in pairs)


def _spare(a: Sequence[Anchor], b: Sequence[Anchor]) -> list[Anchor]:
    """Return the layers of A without each of which as good matches in order are possible."""
    after = _best_scores(a, b, _same_signature)
    before = _best_scores(a[::-1], b[::-1], _same_signature)
    columns = range(len(b) + 1)

    def is_spare(row: int) -> bool:
        best = max(
            _sum(before[len(a) - row][len(b) - column], after[row + 1][column])[:2]
            for column in columns
        )
        return best == after[0][0][:2]

    return [anchor for row, anchor in enumerate(a) if is_spare(row)]
