"""Sides of which one is a function of parameters: both are compared as one segment.

The parameters of a function are matched with the weights of the other side: the arrays of one dict
or list belong to one layer, layers by their shapes and order, and what these leave open, such as
whether a square kernel is transposed, by what the models return with the same weights.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, permutations, product

import numpy as np

from .alignment import shapes_of_anchors
from .bounds import relative_difference
from .carrying import Carriage, Carried, JoinedBias, MissingBias, Order, input_forms, inverse
from .code_lines import side_names
from .examination import Alignment, Examination, Pair
from .findings import Finding
from .loading import same
from .matching import Anchor, Matched, Snapshot, anchors, match
from .observation import Array, Arrays, Description, Observation, one_segment
from .places import as_output
from .relations import relations
from .settling import SAME

# The most ways to match arrays that are tried, until both sides return the same.
MOST_TRIALS = 64

# Another way is more likely only if the difference of the outputs is at most this share.
CLEARLY = 0.5

# What users call a role.
WORDS = {
    **dict.fromkeys(("w", "weight", "weights", "kernel", "embeddings", "embedding"), "kernel"),
    **dict.fromkeys(("b", "bias", "biases", "offset", "beta"), "bias"),
    **dict.fromkeys(("g", "gamma", "scale"), "scale"),
    "mean": "mean",
    **dict.fromkeys(("var", "variance"), "variance"),
}

RECURRENT_WORDS = {"recurrent", "hh", "hidden"}


@dataclass(frozen=True)
class Option:
    """One way in which an array of A may become one of B.

    Attributes
    ----------
    axes : tuple of int or None
        As of `triptych.doctor.carrying.Carried`.
    orders : dict of int to tuple of int
        The same.
    """

    axes: Order | None
    orders: Mapping[int, Order]

    @property
    def words(self) -> str:
        """What is done to the array; empty if nothing is."""
        parts: list[str] = []
        if self.axes and self.axes != tuple(range(len(self.axes))):
            parts.append("transposed")
        if self.orders:
            parts.append("its rows in the other order of flattening")
        return " with ".join(parts)


@dataclass(frozen=True)
class Fitted:
    """Two arrays that belong together, with the ways in which one may become the other.

    Attributes
    ----------
    a, b : str
        Their names, ``PATH/ROLE``.
    first, second : ndarray
        The arrays as they were built.
    options : tuple of Option
        The most likely one first.
    """

    a: str
    b: str
    first: Array
    second: Array
    options: tuple[Option, ...]

    def carried(self, option: Option) -> Carried:
        """Return how the array is carried in one way."""
        return Carried(
            self.a, self.b, self.first.shape, self.second.shape, option.axes, option.orders
        )


def aligned(
    examination: Examination,
    observations: tuple[Observation, Observation],
    mapping: Mapping[str, str] | None = None,
) -> Alignment:
    """Return how the weights of the two sides belong together.

    A and B must have their inputs and weights. B has A's weights afterwards.

    Parameters
    ----------
    examination : Examination
        The comparison.
    observations : tuple of Observation
        Of A and of B in evaluation mode, each as it was built; their calls tell the order.
    mapping : dict of str to str, optional
        Paths of A with the paths of B that belong to them.

    Raises
    ------
    TriptychError
        If the mapping names an unknown path.
    """
    a = _groups(examination.a_description, observations[0], examination.a_weights)
    b = _groups(examination.b_description, observations[1], examination.b_weights)
    a, b = _pieces(a, b), _pieces(b, a)
    matches = match(_ordered(a), _ordered(b), mapping)
    return _Search(examination, matches, observations).alignment()


def _groups(description: Description, observation: Observation, weights: Arrays) -> list[Anchor]:
    """Return the layers of a side, in the order of their calls, as groups of arrays."""
    layers = anchors(Snapshot(description, observation, {}, weights))
    return [Anchor(replace(each.layer, kind="other"), (), each.weights) for each in layers]


def _pieces(groups: list[Anchor], others: list[Anchor]) -> list[Anchor]:
    """Return groups; one with several kernels, as the other side has none, is divided."""
    known = [_kernels(each) for each in others]
    pieces: list[Anchor] = []
    for group in groups:
        pieces += [group] if _kernels(group) in known else _divided(group)
    return pieces


def _divided(group: Anchor) -> Iterator[Anchor]:
    """Yield the parts of a group, of which each has one kernel or none."""
    kernels = [role for role, array in group.weights.items() if array.ndim > 1]
    if len(kernels) < 2:
        yield group
        return
    by_name: dict[str, list[str]] = {}
    for role in group.weights:
        by_name.setdefault(_stem(role), []).append(role)
    named = max(map(len, by_name.values())) > 1 and all(
        len([role for role in roles if role in kernels]) < 2 for roles in by_name.values()
    )
    for roles in by_name.values() if named else _in_order(list(group.weights), kernels):
        path = f"{group.layer.path}/{next((r for r in roles if r in kernels), roles[0])}"
        layer = replace(group.layer, path=path, roles=tuple(roles))
        yield Anchor(layer, (), {role: group.weights[role] for role in roles})


def _in_order(roles: list[str], kernels: list[str]) -> list[list[str]]:
    """Return roles in groups: a kernel with its bias, or the vectors between two of these."""
    groups: list[list[str]] = []
    for role in roles:
        latest = groups[-1] if groups else []
        full = role in kernels or (len(latest) > 1 and latest[0] in kernels)
        if full or not groups:
            groups.append([role])
        else:
            latest.append(role)
    return groups


def _stem(role: str) -> str:
    """Return the name of an array without what it is of its layer: ``2`` of ``W2`` or ``b_2``."""
    tokens = re.findall(r"[a-z]+|\d+", role.lower())
    left = [token for token in tokens if token not in WORDS]
    short = [token[1:] if token[:1] in ("w", "b") and len(token) == 2 else token for token in left]
    return ".".join(short)


def _ordered(groups: list[Anchor]) -> list[Anchor]:
    """Return groups in the order of their numbers, where the user's order is that of letters."""
    paths = [each.layer.path for each in groups]
    if paths != sorted(paths):
        return groups
    return sorted(groups, key=lambda each: _by_numbers(each.layer.path))


def _by_numbers(path: str) -> list[tuple[bool, int, str]]:
    parts = re.findall(r"\d+|\D+", path)
    return [(part.isdigit(), int(part) if part.isdigit() else 0, part) for part in parts]


def _place(anchor: Anchor, role: str) -> str:
    """Return the name of an array of a group, which may be a part of a layer."""
    return f"{anchor.layer.path.partition('/')[0]}/{role}"


def meaning(role: str, array: Array) -> str:
    """Return what an array is of its layer, by its name; its name itself if that does not tell."""
    tokens = re.findall(r"[a-z]+", role.lower())
    words = [WORDS[token] for token in tokens if token in WORDS]
    if not words:
        return role
    word = "scale" if words[-1] == "kernel" and array.ndim == 1 else words[-1]
    return f"recurrent {word}" if RECURRENT_WORDS.intersection(tokens) else word


class _Search:
    """Searches how the arrays of matched groups become each other.

    Parameters
    ----------
    examination : Examination
        The comparison.
    matches : list of Matched
        The groups that belong together.
    observations : tuple of Observation
        Of both sides as they were built.
    """

    def __init__(
        self,
        examination: Examination,
        matches: list[Matched],
        observations: tuple[Observation, Observation],
    ) -> None:
        self.examination = examination
        self.names = side_names(*(each.framework for each in examination.descriptions))
        self.observations = observations
        self.matches = [
            (each.a, each.b) for each in matches if each.a is not None and each.b is not None
        ]
        self.left = _Left.of(matches)
        self.matches += self.left.paired()
        self.b_is_whole = bool(examination.b_description.whole)
        self.layers = [
            {layer.path: layer for layer in each.layers} for each in examination.descriptions
        ]

    def alignment(self) -> Alignment:
        """Return the alignment with which both sides return the same, or else the most likely."""
        fitted = list(self._fitted())
        best = _with(self._frame(), fitted)
        if not self.left.is_empty:
            return replace(best, findings=(self._missing(),), complete=False)
        smallest = float("inf")
        for alignment in self._candidates(fitted):
            difference = self._difference(alignment)
            # Where none makes the sides equal, because they differ in something else, too.
            if difference < CLEARLY * smallest:
                best, smallest = alignment, difference
            if difference <= SAME[self.examination.dtype]:
                break
        self._load(best)
        return best

    def _candidates(self, fitted: Sequence[Fitted]) -> Iterator[Alignment]:
        """Yield alignments, the most likely one first."""
        frame = self._frame()
        for choice in _choices([len(each.options) for each in fitted]):
            yield _with(frame, fitted, choice)
        yield from self._exchanged()

    def _fitted(self) -> Iterator[Fitted]:
        """Yield the arrays that belong together."""
        convention = self._convention()
        channels = 0
        for a, b in self.matches:
            for a_role, b_role in _roles(a, b):
                first, second = a.weights[a_role], b.weights[b_role]
                options = _options(first, second, convention, channels, b_whole=self.b_is_whole)
                names = _place(a, a_role), _place(b, b_role)
                likely = sorted(options, key=lambda each: not _fits(each, first, second))
                yield Fitted(*names, first, second, tuple(likely))
                if first.ndim > 2:
                    channels = (first if self.b_is_whole else second).shape[-1]

    def _convention(self) -> bool:
        """Return whether kernels are transposed, as those tell that are not square."""
        votes = 0
        for a, b in self.matches:
            for a_role, b_role in _roles(a, b):
                shape, other = a.weights[a_role].shape, b.weights[b_role].shape
                if len(shape) == 2 and shape[0] != shape[1]:
                    votes += 1 if shape == other[::-1] else -1
        return votes > 0

    def _frame(self) -> Alignment:
        """Return the alignment of the present matches, without the arrays that have options."""
        examination = self.examination
        pairs = tuple(self._pair(a, b) for a, b in self.matches)
        extra, findings = self._biases()
        return Alignment(
            pairs,
            input_forms(examination.a_inputs, examination.b_inputs),
            tuple(extra),
            shapes_of_anchors(one_segment(self.observations[1])),
            tuple(findings),
        )

    def _pair(self, a: Anchor, b: Anchor) -> Pair:
        first, second = (
            layers[anchor.layer.path.partition("/")[0]]
            for layers, anchor in zip(self.layers, (a, b), strict=True)
        )
        # A group of parameters is of the kind that the other side's layer tells.
        kind = first.kind if first.kind != "other" else second.kind
        return Pair(
            replace(first, kind=kind, roles=tuple(a.weights)),
            replace(second, kind=kind, roles=tuple(b.weights)),
            (),
            (),
        )

    def _biases(self) -> tuple[list[Carriage], list[Finding]]:
        """Return how a bias is carried that only one side has, or that one has in two parts."""
        carriages: list[Carriage] = []
        findings: list[Finding] = []
        for a, b in self.matches:
            roles = _roles(a, b)
            sides = (
                (a, [role for role, _ in roles], b, False),
                (b, [role for _, role in roles], a, True),
            )
            for owner, used, other, b_has_it in sides:
                for role in [each for each in owner.weights if each not in used]:
                    joined = _joined_bias(owner, role, other, roles, a_is_split=not b_has_it)
                    if joined is not None:
                        carriages = [c for c in carriages if c != joined] + [joined]
                        continue
                    carriages.append(
                        MissingBias(
                            _place(owner, role),
                            owner.weights[role].shape,
                            _place(other, next(iter(other.weights))),
                            b_has_it,
                        )
                    )
                    findings.append(self._only(owner, role, other, "ab"[b_has_it]))
        return carriages, findings

    def _only(self, owner: Anchor, role: str, other: Anchor, side: str) -> Finding:
        """Return that one side has an array in a group that the other side lacks."""
        lacks = "b" if side == "a" else "a"
        paths = {side: owner.layer.path, lacks: other.layer.path}
        return Finding(
            "forward",
            None,
            f"{owner.layer.path} in {self.names[side]} has {role} {_shape(owner.weights[role])}, "
            f"{other.layer.path} in {self.names[lacks]} has nothing in its place",
            {name: paths[name] for name in "ab"},
            {side: role, lacks: None},
            proved=True,
            evidence="the parameters of both sides were compared in their order",
        )

    def _missing(self) -> Finding:
        """Return that some parameters have no counterpart."""
        texts = {side: self.left.text(side) for side in "ab"}
        parts = [f"{self.names[side]} has {text}" for side, text in texts.items() if text]
        return Finding(
            "weights",
            None,
            f"parameters without a counterpart: {'; '.join(parts)}",
            values={side: text or "none" for side, text in texts.items()},
            evidence="parameters were matched by their shapes and order; --pair A=B names two "
            "groups that belong together",
        )

    def _load(self, alignment: Alignment) -> None:
        examination = self.examination
        examination.b.load(alignment.weights_to_b(examination.a_weights), examination.dtype)

    def _difference(self, alignment: Alignment) -> float:
        """Return how far the outputs are apart with A's weights in B; 0 if up to a function."""
        self._load(alignment)
        dtype = self.examination.dtype
        inputs = alignment.inputs_to_b(self.examination.a_inputs)
        b = self.examination.b.observe(inputs, training=False, dtype=dtype).arrays["output"]
        a = as_output(self.observations[0].arrays["output"], b.shape)
        if next(relations(a, b, None, {}, SAME[dtype]), None) is not None:
            return 0.0
        return relative_difference(a, b)

    def _exchanged(self) -> Iterator[Alignment]:
        """Yield alignments in which two groups of the same shapes have changed their places."""
        matches = list(self.matches)
        pairs = [
            (one, other)
            for one, other in combinations(range(len(matches)), 2)
            if matches[one][0].signature == matches[other][0].signature
        ]
        for one, other in pairs[:MOST_TRIALS]:
            self.matches = list(matches)
            self.matches[one] = (matches[one][0], matches[other][1])
            self.matches[other] = (matches[other][0], matches[one][1])
            yield _with(self._frame(), list(self._fitted()))
        self.matches = matches


def _with(
    frame: Alignment, fitted: Sequence[Fitted], choice: Sequence[int] | None = None
) -> Alignment:
    """Return an alignment with one choice of options, without one with the most likely."""
    places = choice or [0] * len(fitted)
    carried = [each.carried(each.options[at]) for each, at in zip(fitted, places, strict=True)]
    return replace(frame, carriages=(*carried, *frame.carriages))


@dataclass
class _Left:
    """Groups without a counterpart of the same shapes.

    Attributes
    ----------
    a, b : list of Anchor
        Those of both sides, in order.
    """

    a: list[Anchor]
    b: list[Anchor]

    @classmethod
    def of(cls, matches: Iterable[Matched]) -> "_Left":
        """Return the groups that have no counterpart."""
        every = list(matches)
        a = [each.a for each in every if each.b is None and each.a is not None]
        b = [each.b for each in every if each.a is None and each.b is not None]
        return cls(a, b)

    def paired(self) -> list[tuple[Anchor, Anchor]]:
        """Return, and take away, those whose kernels have the same shapes."""
        found: list[tuple[Anchor, Anchor]] = []
        for first in list(self.a):
            fitting = [each for each in self.b if _kernels(each) == _kernels(first) != []]
            if fitting:
                self.a.remove(first)
                self.b.remove(fitting[0])
                found.append((first, fitting[0]))
        return found

    @property
    def is_empty(self) -> bool:
        """Whether every group has a counterpart."""
        return not self.a and not self.b

    def text(self, side: str) -> str:
        """Return the groups of a side with their shapes."""
        groups = self.a if side == "a" else self.b
        return ", ".join(_described(each) for each in groups)


def _described(group: Anchor) -> str:
    arrays = ", ".join(f"{role} {_shape(array)}" for role, array in group.weights.items())
    return f"{group.layer.path} ({arrays})"


def _shape(array: Array) -> str:
    return "×".join(map(str, array.shape)) or "a number"


def _kernels(group: Anchor) -> list[tuple[int, ...]]:
    return sorted(tuple(sorted(each.shape)) for each in group.weights.values() if each.ndim > 1)


def _roles(a: Anchor, b: Anchor) -> list[tuple[str, str]]:
    """Return the roles that belong together: by what their names mean, else by shape."""
    left = dict(b.weights)
    found: dict[str, str] = {}
    for by_meaning in (True, False):
        for role, array in a.weights.items():
            if role in found:
                continue
            fitting = [name for name, other in left.items() if _may_be(array, other)]
            if by_meaning:
                wanted = meaning(role, array)
                fitting = [name for name in fitting if meaning(name, left[name]) == wanted]
            if fitting:
                found[role] = fitting[0]
                del left[fitting[0]]
    return [(role, found[role]) for role in a.weights if role in found]


def _may_be(first: Array, second: Array) -> bool:
    return sorted(first.shape) == sorted(second.shape)


def _joined_bias(
    owner: Anchor, role: str, other: Anchor, roles: Sequence[tuple[str, str]], *, a_is_split: bool
) -> JoinedBias | None:
    """Return how the two biases of a recurrent layer are carried to one, if it is so."""
    if role != "recurrent_bias" or "bias" not in owner.weights:
        return None
    partners = dict(roles) if a_is_split else {b: a for a, b in roles}
    joined = partners.get("bias")
    if joined is None:
        return None
    parts = (_place(owner, "bias"), _place(owner, role))
    return JoinedBias(parts, _place(other, joined), a_is_split)


def _options(
    first: Array, second: Array, transposed: bool, channels: int, *, b_whole: bool
) -> list[Option]:
    """Return the ways in which an array may become another one, the usual one first."""
    usual = [axes for axes in _layouts(first.ndim) if _moved(first, axes) == second.shape]
    if not usual:
        usual = [
            axes for axes in permutations(range(first.ndim)) if _moved(first, axes) == second.shape
        ]
    if transposed and first.ndim == 2:
        usual.reverse()
    options = [Option(axes, {}) for axes in usual]
    if first.ndim != 2 or not channels:
        return options
    # The features that a kernel takes are the first axis of the canonical one.
    for axes in usual:
        axis = 0 if b_whole else axes[0]
        rows = first.shape[axis]
        if rows % channels == 0 and rows > channels:
            order = np.arange(rows).reshape(channels, -1).T.ravel()
            orders = [tuple(int(row) for row in each) for each in (order, np.argsort(order))]
            options += [Option(axes, {axis: each}) for each in orders]
    return options


def _layouts(axes: int) -> list[Order]:
    """Return the orders of axes by which kernels of different frameworks become each other."""
    same_order = tuple(range(axes))
    if axes < 2:
        return [same_order]
    if axes == 2:
        return [same_order, (1, 0)]
    spatial = tuple(range(axes - 2))
    # Canonical kernels are (spatial, in, out); PyTorch has (out, in, spatial).
    from_canonical = ((axes - 1, axes - 2, *spatial), (axes - 2, axes - 1, *spatial))
    found = [same_order]
    for order in from_canonical:
        found += [order, inverse(order)]
    return list(dict.fromkeys(found))


def _moved(array: Array, axes: Order) -> tuple[int, ...]:
    return tuple(array.shape[axis] for axis in axes)


def _fits(option: Option, first: Array, second: Array) -> bool:
    """Return whether both sides have the same numbers in this way, as loaded weights have."""
    if np.ptp(first) == 0:
        return False
    carried = Carried("a", "b", first.shape, second.shape, option.axes, option.orders)
    return same(carried.to_b({"a": first})["b"], second)


def _choices(counts: Sequence[int]) -> Iterator[list[int]]:
    """Yield choices of one option of each array, those with the fewest unusual ones first."""
    open_places = [place for place, count in enumerate(counts) if count > 1]
    tried = 0
    for unusual in range(len(open_places) + 1):
        for places in combinations(open_places, unusual):
            for options in product(*(range(1, counts[place]) for place in places)):
                if tried == MOST_TRIALS:
                    return
                choice = [0] * len(counts)
                for place, option in zip(places, options, strict=True):
                    choice[place] = option
                tried += 1
                yield choice


def matched_text(alignment: Alignment) -> str:
    """Return which arrays belong together, and what is done to them."""
    texts: list[str] = []
    for each in alignment.carriages:
        if isinstance(each, Carried):
            words = Option(each.axes, each.orders).words
            texts.append(f"{each.a} is {each.b}{f' ({words})' if words else ''}")
    return ", ".join(texts)
