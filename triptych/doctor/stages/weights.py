"""The weights as built: loaded on both sides, or random draws."""

from collections.abc import Hashable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from ..bounds import relative_difference
from ..carrying import JoinedBias
from ..code_lines import value_text
from ..examination import Examination, Pair, Result
from ..findings import Acquittal, Finding, merged
from ..initialisation import (
    FEWEST_FOR_SHAPE,
    FEWEST_WEIGHTS,
    Distribution,
    cause_of,
    default_deviation,
)
from ..loading import (
    SAME,
    Mistake,
    bias_mistake,
    general_mistake,
    is_informative,
    is_initial,
    mistakes,
    same,
)
from ..observation import Array, Arrays, array_names
from ..whole import matched_text
from ..wording import fix_lines

STAGE = "weights"


def examine(examination: Examination) -> Result:
    """Compare the weights as built.

    Parameters
    ----------
    examination : Examination
        The comparison; it has the alignment.
    """
    return _Weights(examination).result()


@dataclass(frozen=True)
class _Compared:
    """One weight of B.

    Attributes
    ----------
    pair : Pair
        Its layer.
    role : str
        Its role.
    right, has : ndarray
        A's in B's form, and B's.
    mistake : Mistake or None
        What makes the one the other; None if they are equal or unrelated.
    """

    pair: Pair
    role: str
    right: Array
    has: Array
    mistake: Mistake | None = None

    @property
    def equal(self) -> bool:
        """Whether both sides have the same numbers."""
        return same(self.right, self.has)

    @property
    def related(self) -> bool:
        """Whether the numbers show that one side's were loaded into the other."""
        if not is_informative(self.right) or not is_informative(self.has):
            return False
        return self.equal or self.mistake is not None


class _Weights:
    """Examines the weights.

    Parameters
    ----------
    examination : Examination
        The comparison.
    """

    def __init__(self, examination: Examination) -> None:
        self.examination = examination
        a, b = examination.descriptions
        self.frameworks = {"a": a.framework, "b": b.framework}
        self.names = examination.names
        self.right = examination.alignment.weights_to_b(examination.a_weights)

    def result(self) -> Result:
        """Return what was found out."""
        compared = list(self._compared())
        differences = [relative_difference(each.right, each.has) for each in compared if each.equal]
        largest = max(differences, default=0.0)
        matched = self._matched()
        if any(each.related for each in compared):
            findings = merged(self._wrongly_loaded(compared), _same_mistake)
            return Result(tuple(findings), matched, largest, SAME)
        findings, acquitted = self._drawn(compared)
        return Result(tuple(findings), (*matched, *acquitted), largest, SAME)

    def _matched(self) -> tuple[Acquittal, ...]:
        """Return which parameters of a function were taken for which weights."""
        if not self.examination.whole:
            return ()
        title = "parameters were matched by shape, by order and by what both sides return"
        text = matched_text(self.examination.alignment)
        return (Acquittal(STAGE, None, title, text),)

    def _compared(self) -> Iterator[_Compared]:
        examination = self.examination
        for pair in examination.alignment.pairs:
            right = array_names(self.right, pair.b.path)
            for role in pair.b.roles:
                name = f"{pair.b.path}/{role}"
                if role in right and name in examination.b_weights and pair.carried:
                    has = examination.b_weights[name]
                    compared = _Compared(pair, role, right[role], has)
                    yield replace(compared, mistake=self._mistake(compared, right))

    def _mistake(self, compared: _Compared, right: Arrays) -> Mistake | None:
        if compared.equal or not is_informative(compared.has):
            return None
        if compared.role.endswith("bias"):
            split = self._split_bias(compared)
            if split is not None:
                return split
        kind = compared.pair.b.kind
        known = mistakes(kind, compared.role, compared.right, compared.has, right)
        for mistake in known:
            return mistake
        return self._of_other_layer(compared) or general_mistake(compared.right, compared.has)

    def _split_bias(self, compared: _Compared) -> Mistake | None:
        """Return the mistake if only one of two biases was loaded."""
        for carriage in self.examination.alignment.carriages:
            if not isinstance(carriage, JoinedBias) or not carriage.a_is_split:
                continue
            if carriage.joined == f"{compared.pair.b.path}/{compared.role}":
                parts = zip(("bias", "recurrent_bias"), carriage.parts, strict=True)
                given = {role: self.examination.a_weights[name] for role, name in parts}
                return bias_mistake(compared.pair.b.kind, given, {"bias": compared.has})
        return None

    def _of_other_layer(self, compared: _Compared) -> Mistake | None:
        for name, array in self.right.items():
            path, _, role = name.rpartition("/")
            other = path != compared.pair.b.path
            if other and role == compared.role and same(array, compared.has):
                return Mistake(None, f"those that belong to {path}")
        return None

    def _wrongly_loaded(self, compared: list[_Compared]) -> Iterator[Finding]:
        """Yield what was loaded wrongly, or not at all."""
        for pair in self.examination.alignment.pairs:
            of_layer = [each for each in compared if each.pair is pair and not each.equal]
            known = [each for each in of_layer if each.mistake is not None]
            for mistake in dict.fromkeys(each.mistake for each in known if each.mistake):
                roles = [each for each in known if each.mistake == mistake]
                yield self._finding(mistake, roles)
            missing = [each for each in of_layer if each.mistake is None]
            if missing:
                yield self._not_loaded(pair, missing)

    def _finding(self, mistake: Mistake, roles: list[_Compared]) -> Finding:
        pair = roles[0].pair
        words = _roles_text(roles)
        title = f"{words} of {pair.b.path}: in {self.names['b']} {mistake.title}"
        return Finding(
            STAGE,
            mistake.cause,
            title,
            pair.paths,
            {"a": "as they are", "b": mistake.title},
            _effect(roles),
            fix_lines(mistake.cause, self.examination.descriptions),
            proved=True,
            evidence=f"{self.names['a']}'s weights, changed so, are those of {self.names['b']}",
        )

    def _not_loaded(self, pair: Pair, roles: list[_Compared]) -> Finding:
        initial = all(is_initial(each.role, each.has) for each in roles)
        words = f"{_roles_text(roles)} of {pair.b.path} in {self.names['b']}"
        title = f"{words}: unrelated to those of {pair.a.path} in {self.names['a']}, not loaded"
        if initial:
            title = f"{words}: still the initial values, not loaded"
        return Finding(
            STAGE,
            None,
            title,
            pair.paths,
            {"a": "loaded", "b": "initial values" if initial else "unrelated"},
            _effect(roles),
            proved=True,
            evidence="other layers have the same weights on both sides",
        )

    def _drawn(self, compared: list[_Compared]) -> tuple[list[Finding], list[Acquittal]]:
        """Compare the distributions of weights that both sides have drawn at random."""
        findings: list[Finding] = []
        acquitted: dict[str | None, Acquittal] = {}
        for each in compared:
            if each.pair.b.kind == "batch_norm" or each.right.size < FEWEST_WEIGHTS:
                continue
            chosen = self._chosen_differently(each)
            if chosen is not None:
                findings.append(chosen)
                continue
            cause = cause_of(each.pair.b.kind, each.role)
            a, b = Distribution.of(each.right), Distribution.of(each.has)
            if cause not in acquitted and not a.same_deviation(b):
                acquitted[cause] = self._acquittal(cause, each, a, b)
        for pair in self.examination.alignment.pairs:
            if pair.note and "D17" not in acquitted:
                acquitted["D17"] = Acquittal(
                    STAGE,
                    "D17",
                    f"{pair.b.path}: {pair.note}",
                    "no weights were loaded, so that it is only a renumbering; A's weights were "
                    "carried over in B's order",
                )
        if not acquitted and not findings and any(not each.equal for each in compared):
            acquitted["D09"] = Acquittal(
                STAGE,
                "D09",
                "initialisation: each side draws its own weights",
                "from the same distributions; B was given A's weights before all that follows",
            )
        return merged(findings, _same_mistake), list(acquitted.values())

    def _acquittal(
        self, cause: str | None, each: _Compared, a: Distribution, b: Distribution
    ) -> Acquittal:
        return Acquittal(
            STAGE,
            cause,
            "initialisation: differs, not the cause of other differences",
            f"{each.role} of {each.pair.a.path} / {each.pair.b.path}: standard deviation "
            f"{value_text(a.deviation)} in {self.names['a']}, {value_text(b.deviation)} in "
            f"{self.names['b']}; B was given A's weights before all that follows",
        )

    def _chosen_differently(self, each: _Compared) -> Finding | None:
        """Return the finding if both users chose an initializer, and the choices differ."""
        a, b = Distribution.of(each.right), Distribution.of(each.has)
        if not (self._is_chosen("a", each, a) and self._is_chosen("b", each, b)):
            return None
        cause = None
        if a.is_normal and b.is_normal and a.is_truncated != b.is_truncated:
            cause = "D05" if a.same_deviation(b) else "D06"
        elif a.same_deviation(b):
            return None
        text = {side: _described(each) for side, each in (("a", a), ("b", b))}
        title = (
            f"initial {each.role} of {each.pair.a.path} / {each.pair.b.path}: {text['a']} in "
            f"{self.names['a']}, {text['b']} in {self.names['b']}"
        )
        return Finding(
            STAGE,
            cause,
            title,
            each.pair.paths,
            text,
            {"deviation": abs(a.deviation / b.deviation - 1)},
            fix_lines(cause, self.examination.descriptions),
            proved=False,
            evidence="measured on the weights as built; a training starts elsewhere",
        )

    def _is_chosen(self, side: str, each: _Compared, distribution: Distribution) -> bool:
        """Return whether a weight has another distribution than its framework's default."""
        default = default_deviation(self.frameworks[side], each.pair.b.kind, each.role, each.right)
        if default is None or not distribution.deviation:
            return False
        usual = replace(distribution, deviation=default, count=10**9)
        normal_by_default = each.pair.b.kind == "embedding" and self.frameworks[side] == "torch"
        told = distribution.count >= FEWEST_FOR_SHAPE
        other_shape = told and distribution.is_normal != normal_by_default
        return not distribution.same_deviation(usual) or other_shape


def _described(distribution: Distribution) -> str:
    shape = "normal" if distribution.is_normal else "uniform"
    if distribution.is_truncated:
        shape = "truncated normal"
    largest = distribution.largest / distribution.deviation if distribution.deviation else 0.0
    return f"{shape}, deviation {value_text(distribution.deviation)}, largest {largest:.2f} of it"


def _roles_text(roles: list[_Compared]) -> str:
    return " and ".join(each.role.replace("_", " ") for each in roles)


def _effect(roles: list[_Compared]) -> dict[str, float]:
    differences = [relative_difference(each.right, each.has) for each in roles]
    return {"weights": float(np.max(differences)), "bound": SAME}


def _same_mistake(finding: Finding) -> Hashable:
    """Return what the findings of layers have in common that are told as one."""
    if finding.cause is None:
        return id(finding)
    return finding.cause, finding.values["a"], finding.values["b"]
