"""Aligns two sides: which layers belong together, and how weights are carried over.

What order and shapes leave open, the values decide: see `triptych.doctor.forcing`.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import permutations
from typing import Any

from .carrying import Carriage, Carried, JoinedBias, MissingBias, Spread, input_forms
from .code_lines import layer_like, side_names, without_line
from .examination import Alignment, Pair
from .findings import Finding, listed
from .matching import Anchor, Matched, Snapshot, anchors, match
from .observation import NORMALIZATIONS, Array, Observation
from .wording import catalogue_fix

# The parts of a bias that one framework adds.
BIAS_PARTS = ("bias", "recurrent_bias")

IN_ORDER = "the layers with weights of both sides were compared in their order"


def align(a: Snapshot, b: Snapshot, mapping: Mapping[str, str] | None = None) -> Alignment:
    """Return which layers belong together.

    Parameters
    ----------
    a, b : Snapshot
        Both sides.
    mapping : mapping of str to str, optional
        Paths of A with the paths of B that belong to them. Other layers are aligned as without it.

    Raises
    ------
    TriptychError
        If the mapping names an unknown path.
    """
    structure = _Structure(a.description.framework, b.description.framework)
    pairs: list[Pair] = []
    carriages: list[Carriage] = []
    every = match(anchors(a), anchors(b), mapping)
    structure.count_equals(every)
    for matched in every:
        structure.compare(matched)
        first, second = matched.a, matched.b
        if first is None or second is None or bool(first.calls) != bool(second.calls):
            continue
        if matched.fits:
            carriages += carriages_of(first, second)
        calls = min(len(first.calls), len(second.calls))
        pairs.append(
            Pair(
                first.layer,
                second.layer,
                first.calls[:calls],
                second.calls[:calls],
                carried=matched.fits,
            )
        )
    forms = input_forms(a.inputs, b.inputs)
    return Alignment(
        tuple(pairs),
        forms,
        tuple(carriages),
        shapes_of_anchors(b.observation),
        tuple(structure.findings),
    )


def shapes_of_anchors(observation: Observation) -> dict[str, tuple[int, ...]]:
    """Return the shapes of what the anchors take and return."""
    numbers = {str(call.number) for call in observation.anchors}
    return {
        name: array.shape
        for name, array in observation.arrays.items()
        if name.partition("/")[0] in numbers
    }


def carriages_of(a: Anchor, b: Anchor) -> list[Carriage]:
    """Return how the weights of a layer of A become those of its counterpart in B.

    Parameters
    ----------
    a, b : Anchor
        Layers whose main weights have the same shape.
    """
    if a.layer.kind == b.layer.kind == "other":
        return list(_parameters(a, b))
    result: list[Carriage] = []
    for prefix in ("", "reverse_"):
        result += _bias(a, b, prefix)
    for role, array in a.weights.items():
        if role in b.weights and role.removeprefix("reverse_") not in BIAS_PARTS:
            result.append(_carried(a, b, role, role, array, b.weights[role]))
    return result


def _carried(
    a: Anchor, b: Anchor, a_role: str, b_role: str, first: Array, second: Array
) -> Carriage:
    names = (f"{a.layer.path}/{a_role}", f"{b.layer.path}/{b_role}")
    if first.size != second.size:
        return Spread(*names, first.shape, second.shape)
    return Carried(*names, first.shape, second.shape)


def _bias(a: Anchor, b: Anchor, prefix: str) -> Iterable[Carriage]:
    """Yield how the bias is carried, which may have one or two parts on either side."""
    a_parts = [prefix + role for role in BIAS_PARTS if prefix + role in a.weights]
    b_parts = [prefix + role for role in BIAS_PARTS if prefix + role in b.weights]
    a_names = [f"{a.layer.path}/{role}" for role in a_parts]
    b_names = [f"{b.layer.path}/{role}" for role in b_parts]
    if len(a_parts) == len(b_parts):
        for role in a_parts:
            yield _carried(a, b, role, role, a.weights[role], b.weights[role])
    elif a_parts and b_parts:
        split, joined = (a_names, b_names) if len(a_parts) == 2 else (b_names, a_names)
        yield JoinedBias((split[0], split[1]), joined[0], len(a_parts) == 2)
    else:
        # A bias that only one side has is zero on the other.
        owner, roles, other = (a, a_parts, b) if a_parts else (b, b_parts, a)
        for role in roles:
            yield MissingBias(
                f"{owner.layer.path}/{role}",
                owner.weights[role].shape,
                f"{other.layer.path}/{next(iter(other.weights))}",
                owner is b,
            )


def _parameters(a: Anchor, b: Anchor) -> Iterable[Carriage]:
    """Yield how parameters of a user's own layer are carried: by name, else by shape."""
    left = dict(b.weights)
    for role, array in sorted(a.weights.items(), key=lambda item: item[0] not in b.weights):
        fitting = [name for name, other in left.items() if _axes(array, other) is not None]
        if not fitting:
            continue
        name = role if role in fitting else fitting[0]
        other = left.pop(name)
        yield Carried(
            f"{a.layer.path}/{role}",
            f"{b.layer.path}/{name}",
            array.shape,
            other.shape,
            _axes(array, other),
        )


def _axes(first: Array, second: Array) -> tuple[int, ...] | None:
    """Return the order of axes that gives one array the shape of another; None if there is none."""
    if first.ndim != second.ndim:
        return None
    for axes in permutations(range(first.ndim)):
        if tuple(first.shape[axis] for axis in axes) == second.shape:
            return axes
    return None


class _Structure:
    """Collects the differences of structure.

    Parameters
    ----------
    a, b : str
        The frameworks of both sides.
    """

    def __init__(self, a: str, b: str) -> None:
        self.names = side_names(a, b)
        self.frameworks = {"a": a, "b": b}
        self.findings: list[Finding] = []
        # By what side and by which equal layers, how many of these have no counterpart.
        self.without_counterpart: Counter[tuple[str, ...]] = Counter()
        # By how much the number of features has changed before this layer, on B as a share of A.
        self.ratios = {1.0}

    def count_equals(self, every: Iterable[Matched]) -> None:
        """Count the layers without a counterpart that may as well be other ones."""
        self.without_counterpart.update(_key(matched) for matched in every if matched.equals)

    def compare(self, matched: Matched) -> None:
        """Add what differs between two layers, or the one without a counterpart."""
        first, second = matched.a, matched.b
        if first is None or second is None:
            self._alone(matched)
        elif first.family != second.family:
            self._other_kind(first, second)
        elif not matched.fits:
            self._sizes(first, second)
        else:
            if first.layer.kind != second.layer.kind and first.family == "normalization":
                self._other_kind(first, second)
            self._roles(first, second)
            self._calls(first, second)

    def _add(
        self,
        title: str,
        matched: Matched,
        values: Mapping[str, Any],
        fix: Mapping[str, str | None],
        stage: str = "forward",
        cause: str | None = None,
        evidence: str = IN_ORDER,
    ) -> None:
        self.findings.append(
            Finding(
                stage,
                cause,
                title,
                layer={
                    "a": None if matched.a is None else matched.a.layer.path,
                    "b": None if matched.b is None else matched.b.layer.path,
                },
                values=dict(sorted(values.items())),
                fix=dict(sorted(fix.items())),
                proved=True,
                evidence=evidence,
            )
        )

    def _alone(self, matched: Matched) -> None:
        side, other = ("a", "b") if matched.a is not None else ("b", "a")
        anchor = matched.a or matched.b
        if anchor is None or not anchor.calls:
            return
        if matched.equals:
            self._one_of_equals(matched, anchor, side, other)
            return
        title = (
            f"{self.names[side]} has the layer {_described(anchor)}, "
            f"{self.names[other]} has nothing in its place"
        )
        fix = {side: f"x  # without {anchor.layer.path}", other: self._like(other, anchor)}
        self._add(title, matched, {side: _described(anchor), other: None}, fix)

    def _one_of_equals(self, matched: Matched, anchor: Anchor, side: str, other: str) -> None:
        """Add that a side has more of some equal layers, once for all of them."""
        count = self.without_counterpart.pop(_key(matched), 0)
        if not count:
            return
        paths = [each.layer.path for each in matched.equals]
        left = len(paths) - count
        which = "which one is extra" if count == 1 else "which ones are extra"
        title = (
            f"{self.names[side]} has {len(paths)} equal layers ({_size(anchor)}), "
            f"{self.names[other]} has {left} in their place; {which} cannot be told: "
            f"{listed(paths)}"
        )
        fix = {side: f"x  # without {count} of these layers", other: self._like(other, anchor)}
        values = {side: f"{len(paths)} of {_size(anchor)}", other: f"{left}"}
        evidence = "order, shapes and weights of the layers fit as well without another one of them"
        self._add(title, Matched(None, None), values, fix, evidence=evidence)

    def _like(self, side: str, anchor: Anchor, *, bias: bool | None = None) -> str | None:
        """Return how a side writes a layer that either side has."""
        return layer_like(
            self.frameworks[side], anchor.layer, anchor.weights, anchor.axes, bias=bias
        )

    def _exchanged(self, a: Anchor, b: Anchor) -> dict[str, str | None]:
        """Return how each side writes the layer of the other one."""
        return {"a": self._like("a", b), "b": self._like("b", a)}

    def _other_kind(self, a: Anchor, b: Anchor) -> None:
        title = f"{_described(a)} in {self.names['a']} is {_described(b)} in {self.names['b']}"
        values = {"a": a.layer.type, "b": b.layer.type}
        self._add(title, Matched(a, b), values, self._exchanged(a, b))

    def _sizes(self, a: Anchor, b: Anchor) -> None:
        """Add another width or window, unless an earlier layer explains it."""
        if a.main is None or b.main is None or self._explained(a, b):
            return
        cause = None
        stage = "forward"
        if a.layer.kind == b.layer.kind == "attention":
            cause, stage = "D108", "weights"
        title = f"{_described(a)} in {self.names['a']} is {_described(b)} in {self.names['b']}"
        values = {"a": list(a.main.shape), "b": list(b.main.shape)}
        self._add(title, Matched(a, b), values, self._exchanged(a, b), stage, cause)

    def _explained(self, a: Anchor, b: Anchor) -> bool:
        """Return whether only the number of input features differs, because of a layer before."""
        assert a.main is not None
        assert b.main is not None
        if a.main.ndim != b.main.ndim:
            return False
        scales = a.family == "normalization"
        taken = -1 if scales or a.main.ndim == 1 else -2
        others_equal = all(
            a.main.shape[axis] == b.main.shape[axis]
            for axis in range(-a.main.ndim, 0)
            if axis != taken
        )
        if not scales and a.main.shape[-1] != b.main.shape[-1]:
            self.ratios.add(b.main.shape[-1] / a.main.shape[-1])
        return others_equal and b.main.shape[taken] / a.main.shape[taken] in self.ratios

    def _roles(self, a: Anchor, b: Anchor) -> None:
        """Add weights that only one of two fitting layers has."""
        a_roles = {role.replace("recurrent_bias", "bias") for role in a.weights}
        b_roles = {role.replace("recurrent_bias", "bias") for role in b.weights}
        if a.layer.kind == "other" or a.layer.kind != b.layer.kind:
            return
        roles = sorted(a_roles ^ b_roles)
        biases = [role for role in roles if role.endswith("bias")]
        # The biases of attention are one argument.
        for role in [*biases[:1], *[each for each in roles if each not in biases]]:
            side, other = ("a", "b") if role in a_roles else ("b", "a")
            owner, lacking = (a, b) if side == "a" else (b, a)
            title = (
                f"{owner.layer.path} in {self.names[side]} has {_article(role)}, "
                f"{lacking.layer.path} in {self.names[other]} has none"
            )
            line = without_line(self.frameworks[side], owner.layer, owner.weights, role)
            fix = {side: line, other: None}
            if role in biases:
                fix[other] = self._like(other, lacking, bias=True)
            self._add(title, Matched(a, b), {side: role, other: None}, fix)
        self._slopes(a, b)

    def _slopes(self, a: Anchor, b: Anchor) -> None:
        """Add that a PReLU has other numbers of slopes."""
        counts = {"a": a.main.size if a.main is not None else 0}
        counts["b"] = b.main.size if b.main is not None else 0
        if a.layer.kind == "prelu" and counts["a"] != counts["b"]:
            title = (
                f"PReLU has {counts['a']} slopes in {self.names['a']}, "
                f"{counts['b']} in {self.names['b']}"
            )
            lines = {side: catalogue_fix("D102", self.frameworks[side]) for side in counts}
            self._add(title, Matched(a, b), counts, lines, cause="D102")

    def _calls(self, a: Anchor, b: Anchor) -> None:
        if len(a.calls) != len(b.calls):
            title = (
                f"{a.layer.path} is called {len(a.calls)} times in {self.names['a']}, "
                f"{b.layer.path} {len(b.calls)} times in {self.names['b']}"
            )
            values = {"a": len(a.calls), "b": len(b.calls)}
            self._add(title, Matched(a, b), values, {"a": None, "b": None})


def _article(role: str) -> str:
    return f"{'an' if role[0] in 'aeiou' else 'a'} {role.replace('_', ' ')}"


def _key(matched: Matched) -> tuple[str, ...]:
    """Return the side and the paths of equal layers one of which has no counterpart."""
    return ("b" if matched.a is None else "a", *(each.layer.path for each in matched.equals))


def _described(anchor: Anchor) -> str:
    """Return a layer with its class and size: ``fc1 (Linear 8 → 16)``."""
    return f"{anchor.layer.path} ({_size(anchor)})"


def _size(anchor: Anchor) -> str:
    """Return the class of a layer and its size."""
    layer, main = anchor.layer, anchor.main
    if main is None or not main.ndim:
        return layer.type
    if layer.kind in NORMALIZATIONS or main.ndim == 1:
        return f"{layer.type} {main.shape[0]}"
    window = "×".join(str(length) for length in main.shape[:-2])
    outputs = main.shape[-1]
    if "recurrent_kernel" in anchor.weights:
        outputs = anchor.weights["recurrent_kernel"].shape[0]
    text = f"{layer.type} {main.shape[-2]} → {outputs}"
    return f"{text}, {window}" if window else text
