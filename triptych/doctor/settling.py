"""What order and shapes leave open in an alignment is decided by the values that flow.

B gets A's weights and its anchors are forced to what A has. Then what arrives at each of B's layers
must be what arrives at its counterpart. If it is the same numbers with the features in another
order, or what arrives at another layer, the alignment is corrected.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np

from .alignment import align
from .attention_places import between_layers
from .bounds import relative_difference
from .carrying import Carriage, Carried, JoinedBias, MissingBias, Order, Spread
from .examination import Alignment, Examination, Pair
from .matching import Snapshot
from .observation import (
    NORMALIZATIONS,
    RECURRENT,
    Array,
    Arrays,
    Call,
    Observation,
)

# Corrections follow from each other, along a path through the network.
MOST_CORRECTIONS = 8
MOST_TRIALS = 12

# What arrives counts as the same numbers: a formula that differs in a segment is seen later.
SAME = {"native": 1e-4, "float64": 1e-6}

# Kinds that return each feature in the place where they got it.
ELEMENTWISE = (*NORMALIZATIONS, "prelu")

# The axes of the kernel that belong to input and output features.
INPUT_AXIS = -2
OUTPUT_AXIS = -1


def aligned(examination: Examination, mapping: dict[str, str] | None = None) -> Alignment:
    """Return how the two sides belong together.

    A and B must have their inputs, `Examination.a_weights` and `Examination.b_weights`, and
    `Examination.a_evaluation` and `Examination.b_built`. B has A's weights afterwards, in the dtype
    of the examination.

    Parameters
    ----------
    examination : Examination
        The comparison.
    mapping : dict of str to str, optional
        Paths of A with the paths of B that belong to them.

    Raises
    ------
    TriptychError
        If the mapping names an unknown path.
    """
    a = Snapshot(
        examination.a_description,
        examination.a_evaluation,
        examination.a_inputs,
        examination.a_weights,
    )
    b = Snapshot(
        examination.b_description,
        examination.b_built,
        examination.b_inputs,
        examination.b_weights,
    )
    alignment = by_settings(align(a, b, mapping), a.observation, b.observation)
    return _Settling(examination, alignment, (a, b)).settled()


def by_settings(alignment: Alignment, a: Observation, b: Observation) -> Alignment:
    """Return an alignment that accounts for the orders in which both sides flatten or reshape.

    Parameters
    ----------
    alignment : Alignment
        By order and shapes.
    a, b : Observation
        Of both sides, in evaluation mode.
    """
    for pair in alignment.pairs:
        if pair.b.kind != "dense" or not pair.a_calls or not pair.carried:
            continue
        for part, backwards in (("input", True), ("output", False)):
            first = _regrouping(a, pair.a_calls[0], backwards)
            second = _regrouping(b, pair.b_calls[0], backwards)
            if first is None or second is None:
                continue
            order = _regrouped(first, second, "from" if backwards else "to")
            if order is not None:
                alignment = with_order(alignment, pair, part, order)
                pair = next(each for each in alignment.pairs if each.b.path == pair.b.path)
    return alignment


def _regrouping(observation: Observation, number: int, backwards: bool) -> Call | None:
    """Return the flatten or reshape next to an anchor, before the next other anchor."""
    calls = {call.number: call for call in observation.calls if call.within is None}
    step = -1 if backwards else 1
    position = number + step
    while position in calls and not calls[position].anchor:
        call = calls[position]
        if call.kind in ("flatten", "reshape") and call.settings.get("order"):
            return call
        position += step
    return None


def _regrouped(a: Call, b: Call, shape_setting: str) -> Order | None:
    """Return which feature of A each feature of B is, if the two read in different orders."""
    shape = a.settings.get(shape_setting, [])
    if shape != b.settings.get(shape_setting) or a.settings["order"] == b.settings["order"]:
        return None
    if len(shape) < 3:
        return None
    positions = int(np.prod(shape[1:-1]))
    groups = (shape[-1], positions) if a.settings["order"] == "channels_first" else (positions, -1)
    order = np.arange(positions * shape[-1]).reshape(groups).T.ravel()
    return tuple(int(feature) for feature in order)


def with_order(alignment: Alignment, pair: Pair, part: str, order: Order) -> Alignment:
    """Return an alignment in which the features of a layer are numbered in another way.

    Parameters
    ----------
    alignment : Alignment
        Before.
    pair : Pair
        The layer.
    part : str
        ``input`` or ``output``.
    order : tuple of int
        Feature k of B is feature ``order[k]`` of what was expected.
    """
    note = "features are numbered in another order"
    inputs = part == "input"
    fields = {"input_order" if inputs else "output_order": _after(pair.order_of(part), order)}
    elementwise = pair.b.kind in ELEMENTWISE
    if elementwise:
        fields = dict.fromkeys(("input_order", "output_order"), _after(pair.input_order, order))
    changed = replace(pair, note=note, **fields)
    carriages = [
        _reordered(carriage, pair, order, inputs=inputs, elementwise=elementwise)
        for carriage in alignment.carriages
    ]
    pairs = [changed if each is pair else each for each in alignment.pairs]
    return replace(alignment, pairs=tuple(pairs), carriages=tuple(carriages))


def _after(before: Order | None, order: Order) -> Order:
    return order if before is None else tuple(before[feature] for feature in order)


def _reordered(
    carriage: Carriage, pair: Pair, order: Order, *, inputs: bool, elementwise: bool
) -> Carriage:
    """Return how a weight is carried if the features of its layer are numbered in another way."""
    if not isinstance(carriage, Carried) or carriage.a.rpartition("/")[0] != pair.a.path:
        return carriage
    role = carriage.a.rpartition("/")[2]
    dimensions = len(carriage.a_shape)
    if elementwise:
        axis = dimensions - 1
    elif inputs and role in ("kernel", "reverse_kernel"):
        axis = dimensions + INPUT_AXIS
    elif not inputs and role in ("kernel", "bias"):
        axis = dimensions + OUTPUT_AXIS
    else:
        return carriage
    before = carriage.orders.get(axis)
    return replace(carriage, orders=dict(carriage.orders) | {axis: _after(before, order)})


def feature_order(
    expected: Array, arrived: Array, tolerance: float, *, grouped: bool = False
) -> Order | None:
    """Return in which order features have arrived, or None if it is not only another order.

    Parameters
    ----------
    expected, arrived : ndarray
        Arrays of the same shape; features are the last axis.
    tolerance : float
        The largest relative difference of what counts as equal.
    grouped : bool
        Whether only orders are considered in which channels and positions are exchanged.
    """
    if expected.shape != arrived.shape or expected.ndim < 2:
        return None
    features = expected.shape[-1]
    for channels in _divisors(features):
        order = np.arange(features).reshape(channels, -1).T.ravel()
        if relative_difference(expected[..., order], arrived) <= tolerance:
            return tuple(int(feature) for feature in order)
    if grouped:
        return None
    # Equal columns have equal products with a random row.
    weights = np.random.default_rng(0).normal(size=expected[..., 0].size)
    first = weights @ expected.reshape(-1, features)
    second = weights @ arrived.reshape(-1, features)
    order = np.empty(features, int)
    order[np.argsort(second, kind="stable")] = np.argsort(first, kind="stable")
    if relative_difference(expected[..., order], arrived) <= tolerance:
        return tuple(int(feature) for feature in order)
    return None


def _divisors(number: int) -> list[int]:
    return [divisor for divisor in range(2, number) if number % divisor == 0]


@dataclass
class _Settling:
    """Corrects an alignment by runs of B."""

    examination: Examination
    alignment: Alignment
    sides: tuple[Snapshot, Snapshot]

    def settled(self) -> Alignment:
        """Return the alignment after all corrections."""
        for _ in range(MOST_CORRECTIONS):
            expected, observation = self.run(self.alignment)
            better = self._corrected(expected, observation)
            if better is None:
                break
            self.alignment = better
        self._load(self.alignment)
        return self.alignment

    def _load(self, alignment: Alignment) -> None:
        weights = alignment.weights_to_b(self.examination.a_weights)
        self.examination.b.load(weights, self.examination.dtype)

    def run(self, alignment: Alignment) -> tuple[Arrays, Observation]:
        """Return what B is forced to under an alignment, and B's observation."""
        examination = self.examination
        self._load(alignment)
        expected = alignment.forced(examination.a_evaluation)
        inputs = alignment.inputs_to_b(examination.a_inputs)
        observation = examination.b.observe(
            inputs, training=False, forced=expected, dtype=examination.dtype
        )
        return expected, observation

    @property
    def _tolerance(self) -> float:
        return SAME[self.examination.dtype]

    def _wrong(
        self, alignment: Alignment, expected: Arrays, observation: Observation
    ) -> list[Pair]:
        """Return the pairs at which something else arrives than is expected."""
        return [
            pair
            for pair in alignment.pairs
            for number in pair.b_calls[:1]
            if f"{number}/input" in expected
            and self._differs(expected, observation.arrays, f"{number}/input")
        ]

    def _differs(self, expected: Arrays, arrived: Arrays, name: str) -> bool:
        return relative_difference(expected[name], arrived[name]) > self._tolerance

    def _corrected(self, expected: Arrays, observation: Observation) -> Alignment | None:
        """Return a better alignment, or None."""
        alignment = self.alignment
        for pair in alignment.pairs:
            calls = self._calls(pair, expected, observation.arrays)
            if calls != pair.b_calls:
                pairs = [
                    replace(pair, b_calls=calls) if each is pair else each
                    for each in alignment.pairs
                ]
                return replace(alignment, pairs=tuple(pairs))
        wrong = self._wrong(alignment, expected, observation)
        for pair in wrong:
            name = f"{pair.b_calls[0]}/input"
            order = self._order(pair, expected[name], observation.arrays[name])
            if order is not None:
                return with_order(alignment, pair, "input", order)
        for pair in wrong:
            partner = self._partner(pair, wrong, expected, observation.arrays)
            if partner is not None:
                return exchanged(alignment, pair, partner)
        for pair in wrong:
            better = self._of_attention(pair, expected, observation)
            if better is not None:
                return better
        return self._tried(wrong, expected) if wrong else None

    def _calls(self, pair: Pair, expected: Arrays, arrived: Arrays) -> tuple[int, ...]:
        """Return B's calls of a layer in the order of A's, as far as their inputs tell.

        A layer that several branches share may be called for them in another order.
        """
        wanted = [expected.get(f"{number}/input") for number in pair.b_calls]
        left = list(pair.b_calls)
        chosen: list[int | None] = []
        for number, array in zip(pair.b_calls, wanted, strict=True):
            # Where several calls get the same, their order stays.
            candidates = [number, *[each for each in left if each != number]]
            fitting = [
                each
                for each in candidates
                if each in left and array is not None and self._is(array, arrived, each)
            ]
            chosen.append(fitting[0] if fitting else None)
            if fitting:
                left.remove(fitting[0])
        return tuple(each if each is not None else left.pop(0) for each in chosen)

    def _is(self, array: Array, arrived: Arrays, number: int) -> bool:
        other = arrived.get(f"{number}/input")
        if other is None or other.shape != array.shape:
            return False
        return relative_difference(array, other) <= self._tolerance

    def _of_attention(
        self, pair: Pair, expected: Arrays, observation: Observation
    ) -> Alignment | None:
        """Return an alignment in which query, key and value are the same on both sides.

        A difference in the formula of attention leaves open which of the layers before is which.
        """
        number = pair.b_calls[0]
        a, b = expected[f"{number}/input"], observation.arrays[f"{number}/input"]
        if a.ndim != 3 or a.shape != b.shape:
            return None
        inputs = self.alignment.inputs_to_b(self.examination.a_inputs)
        by_call = {each.b_calls[0]: each for each in self.alignment.called}
        for given in between_layers(observation, number, expected, a.shape[-1]):
            ways = given.ways((a, b), inputs, self._tolerance)
            if ways is None or not given.calls:
                continue
            for one, other in zip(ways[0].roles, ways[1].roles, strict=True):
                first, second = by_call.get(given.calls[one]), by_call.get(given.calls[other])
                if first is second or first is None or second is None:
                    continue
                return self._with_partners(first, second)
        return None

    def _with_partners(self, one: Pair, other: Pair) -> Alignment:
        """Return an alignment in which two layers of A have changed their counterparts.

        One of these may lack a bias: then what is different in structure is another layer.
        """
        partners = {pair.a.path: pair.b.path for pair in self.alignment.pairs}
        partners |= {one.a.path: other.b.path, other.a.path: one.b.path}
        alignment = align(*self.sides, partners)
        for pair in self.alignment.pairs:
            elementwise = pair.b.kind in ELEMENTWISE
            orders = {"input": pair.input_order}
            if not elementwise:
                orders["output"] = pair.output_order
            for part, order in orders.items():
                if order is not None:
                    new = next(each for each in alignment.pairs if each.a.path == pair.a.path)
                    alignment = with_order(alignment, new, part, order)
        return alignment

    def _order(self, pair: Pair, expected: Array, arrived: Array) -> Order | None:
        if pair.b.kind not in ("dense", "conv", *NORMALIZATIONS, *RECURRENT):
            return None
        if pair.b.settings.get("groups", 1) != 1:
            return None
        # The order of the model's inputs is part of the data.
        first = min(each.b_calls[0] for each in self.alignment.called)
        return feature_order(expected, arrived, self._tolerance, grouped=pair.b_calls[0] == first)

    def _partner(
        self, pair: Pair, wrong: Sequence[Pair], expected: Arrays, arrived: Arrays
    ) -> Pair | None:
        """Return the wrong pair at which that is expected which arrives at another one.

        Where the right thing arrives, an exchange would only move the mistake.
        """
        found = arrived[f"{pair.b_calls[0]}/input"]
        for other in wrong:
            if other is pair or not _exchangeable(self.alignment, pair, other):
                continue
            wanted = expected.get(f"{other.b_calls[0]}/input")
            if wanted is not None and relative_difference(wanted, found) <= self._tolerance:
                return other
        return None

    def _tried(self, wrong: Sequence[Pair], expected: Arrays) -> Alignment | None:
        """Return the first alignment among some changed ones that explains more."""
        candidates = [*self._parallel(wrong, expected), *self._regrouped(wrong)]
        for candidate in candidates[:MOST_TRIALS]:
            forced, observation = self.run(candidate)
            if len(self._wrong(candidate, forced, observation)) < len(wrong):
                return candidate
        return None

    def _parallel(self, wrong: Sequence[Pair], expected: Arrays) -> Iterable[Alignment]:
        """Yield alignments in which two layers that take the same input are exchanged."""
        last = max(pair.b_calls[0] for pair in wrong)
        earlier = [pair for pair in self.alignment.called if pair.b_calls[0] < last]
        for one, other in combinations(earlier, 2):
            if not _exchangeable(self.alignment, one, other):
                continue
            first = expected.get(f"{one.b_calls[0]}/input")
            second = expected.get(f"{other.b_calls[0]}/input")
            if first is None or second is None:
                continue
            if relative_difference(first, second) <= self._tolerance:
                yield exchanged(self.alignment, one, other)

    def _regrouped(self, wrong: Sequence[Pair]) -> Iterable[Alignment]:
        """Yield alignments in which the output of a dense layer becomes an image in B's order."""
        pairs = self.alignment.called
        shapes = self.alignment.b_shapes
        for pair in wrong:
            before = [each for each in pairs if each.b_calls < pair.b_calls]
            shape = shapes[f"{pair.b_calls[0]}/input"]
            if not before or before[-1].b.kind != "dense" or len(shape) < 3:
                continue
            features = shapes[f"{before[-1].b_calls[0]}/output"][-1]
            if features != np.prod(shape[1:]):
                continue
            for groups in ((shape[-1], -1), (-1, shape[-1])):
                order = np.arange(features).reshape(groups).T.ravel()
                numbers = tuple(int(feature) for feature in order)
                yield with_order(self.alignment, before[-1], "output", numbers)


def _exchangeable(alignment: Alignment, one: Pair, other: Pair) -> bool:
    """Return whether the weights of two layers of B have the same names and shapes."""
    if not (one.carried and other.carried and one.b_calls and other.b_calls):
        return False
    first, second = _weight_shapes(alignment, one), _weight_shapes(alignment, other)
    return one.b.kind == other.b.kind and first == second


def _weight_shapes(alignment: Alignment, pair: Pair) -> dict[str, tuple[int, ...]]:
    return {
        carriage.b.rpartition("/")[2]: carriage.b_shape
        for carriage in alignment.carriages
        if isinstance(carriage, Carried) and carriage.b.rpartition("/")[0] == pair.b.path
    }


def exchanged(alignment: Alignment, one: Pair, other: Pair) -> Alignment:
    """Return an alignment in which two layers of A have changed their counterparts.

    Parameters
    ----------
    alignment : Alignment
        Before.
    one, other : Pair
        Two pairs of it whose layers in B have weights of the same shapes.
    """
    paths = {one.b.path: other.b.path, other.b.path: one.b.path}
    pairs: list[Pair] = []
    for pair in alignment.pairs:
        if pair is one:
            pairs.append(replace(pair, b=other.b, b_calls=other.b_calls))
        elif pair is other:
            pairs.append(replace(pair, b=one.b, b_calls=one.b_calls))
        else:
            pairs.append(pair)
    carriages = tuple(_renamed(carriage, paths) for carriage in alignment.carriages)
    return replace(alignment, pairs=tuple(pairs), carriages=carriages)


def _renamed(carriage: Carriage, paths: dict[str, str]) -> Carriage:
    """Return how a weight is carried to another layer of B."""

    def rename(name: str) -> str:
        path, _, role = name.rpartition("/")
        return f"{paths.get(path, path)}/{role}"

    if isinstance(carriage, Carried | Spread):
        return replace(carriage, b=rename(carriage.b))
    if isinstance(carriage, JoinedBias):
        if carriage.a_is_split:
            return replace(carriage, joined=rename(carriage.joined))
        first, second = carriage.parts
        return replace(carriage, parts=(rename(first), rename(second)))
    assert isinstance(carriage, MissingBias)
    if carriage.b_has_it:
        return replace(carriage, name=rename(carriage.name))
    return replace(carriage, with_it=rename(carriage.with_it))
