"""The gradients: each layer and each segment backward, from the same numbers."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from ..bounds import PRECISION, Bounds, multiple, nearest_to_bound, relative_difference
from ..carrying import JoinedBias, MissingBias, with_one_gradient
from ..code_lines import value_text
from ..examination import Examination, Pair, Result
from ..findings import Finding, merged
from ..forcing import measured_bounds, targets_of
from ..observation import RECURRENT, Array, Arrays, Call, array_names, largest
from ..places import LAYER, OUTPUT, SEGMENT, Place, places
from ..wording import fix_lines

STAGE = "gradient"

# Two gradients of which one is a multiple of the other.
SAME_RATIO = 1e-6


# Of the largest gradient of a layer: the gradient of a bias before a BatchNorm is zero.
CANCELLED = {"native": 1e-5, "float64": 1e-12}


def examine(examination: Examination) -> Result:
    """Compare the gradients, layer by layer from the end, where the forward pass agrees.

    Parameters
    ----------
    examination : Examination
        The comparison; the stage ``mode`` is done.
    """
    if targets_of(examination) is None:
        return Result()
    return _Gradients(examination).result()


@dataclass(frozen=True)
class _Compared:
    """One gradient.

    Attributes
    ----------
    pair : Pair
        The layer that it belongs to.
    what : str
        In words: ``the gradient of the kernel``.
    name : str
        Of B's array.
    a, b : ndarray
        Both sides', in B's form.
    """

    pair: Pair
    what: str
    name: str
    a: Array
    b: Array

    @property
    def difference(self) -> float:
        """The relative difference."""
        return relative_difference(self.a, self.b)


class _Gradients:
    """Examines the gradients.

    Parameters
    ----------
    examination : Examination
        The comparison.
    """

    def __init__(self, examination: Examination) -> None:
        self.examination = examination
        self.names = examination.names
        self.expected = examination.alignment.forced(examination.a_training)
        self.b = examination.b_training
        self.bounds = self._bounds()
        every = list(places(examination.alignment, examination.a_training, self.b))
        # The places whose forward pass differs: their gradients must differ, too.
        self.wrong = {
            (place.what, place.b_number)
            for place in every
            if place.difference(self.b) > place.precision(self.bounds)
        }
        # The layers that differ by more than rounding, and not more than float32 inside explains.
        self.partly_float32 = {
            place.b_number
            for place in every
            if place.what == LAYER and self._is_partly_float32(place)
        }

    def _bounds(self) -> Bounds:
        known = self.examination.training_bounds
        if known is not None:
            return known
        return measured_bounds(self.examination, self.b, training=True)

    def _is_partly_float32(self, place: Place) -> bool:
        rounding = max((self.bounds.rounding(name) for name in place.expected), default=0.0)
        return rounding < place.difference(self.b) <= place.precision(self.bounds)

    def result(self) -> Result:
        """Return what was found out."""
        differences: list[tuple[float, float]] = []
        findings = list(self._frozen())
        for pair in reversed(self.examination.alignment.called):
            of_pair = (*self._arriving(pair), *self._weights(pair))
            # The gradients of a layer's weights follow from what arrives at it.
            findings += self._judged(of_pair, differences)[:1]
        findings += self._judged(self._of_parameters(), differences)
        equal, bound = nearest_to_bound(differences)
        return Result(tuple(merged(findings, _same_cause)), (), equal, bound)

    def _judged(
        self, every: Iterable[_Compared], differences: list[tuple[float, float]]
    ) -> list[Finding]:
        """Return a finding for each gradient that differs; add all differences to a list."""
        findings: list[Finding] = []
        for compared in every:
            if self._cancels(compared):
                continue
            precision = self.bounds.precision(compared.name)
            differences.append((compared.difference, precision))
            if compared.difference > precision:
                findings.append(self._finding(compared))
        return findings

    def _of_parameters(self) -> Iterator[_Compared]:
        """Yield the gradients of parameters where both sides are compared as one segment.

        They follow from the output and the loss, and are compared where these agree.
        """
        examination = self.examination
        if not examination.whole or (OUTPUT, len(self.b.calls)) in self.wrong:
            return
        before = [examination.results[stage] for stage in ("forward", "loss")]
        if any(each.findings or each.undecided for each in before):
            return
        for pair in examination.alignment.pairs:
            yield from self._gradients_of(pair)

    def _arriving(self, pair: Pair) -> Iterator[_Compared]:
        """Yield what arrives at a layer from the layers after it, and what it hands back."""
        last = max(each.b_calls[0] for each in self.examination.alignment.called)
        loss = self.examination.results.get("loss")
        of_loss = [finding.layer["b"] for finding in loss.findings] if loss else []
        for number in pair.b_calls if pair.carried else ():
            follows_loss = pair.b.path in of_loss or (number == last and bool(of_loss))
            name = f"{number}/output_gradient"
            if self._both(name) and not follows_loss and not self._segment_after_is_wrong(number):
                what = "what arrives at its output from the layers after it"
                yield _Compared(pair, what, name, self.expected[name], self._arrived(pair, number))
            name = f"{number}/input_gradient"
            if (
                self._both(name)
                and self._is_given_gradient(number)
                and (LAYER, number) not in self.wrong
            ):
                what = "what it passes back to the layers before it"
                yield _Compared(pair, what, name, self.expected[name], self.b.arrays[name])

    def _arrived(self, pair: Pair, number: int) -> Array:
        """Return what arrives at the output of B's layer; with what arrives at its last state."""
        parts = array_names(self.b.arrays, str(number))
        if pair.b.kind in RECURRENT:
            parts = with_one_gradient(parts)
        return parts["output_gradient"]

    def _is_given_gradient(self, number: int) -> bool:
        """Return whether B's layer gets A's gradient at its output."""
        return any(
            name.startswith(f"{number}/output") and name.endswith("_gradient")
            for name in self.expected
        )

    def _both(self, name: str) -> bool:
        return name in self.expected and name in self.b.arrays

    def _segment_after_is_wrong(self, number: int) -> bool:
        """Return whether the forward pass differs in what comes after a layer."""
        merges = [call.number for call in self.b.calls if call.kind == "merge"]
        after = [call for call in self.b.anchors if call.number > number]
        # What the layer returns may pass by the next layers, up to where it is added.
        if any(
            number < merge < call.number
            for merge in merges
            for call in after
            if self._is_wrong(call)
        ):
            return True
        taken = self.expected.get(f"{number}/input")
        for call in after:
            if self._is_wrong(call):
                return True
            # A layer that takes the same input is beside this one, and not after it.
            other = self.expected.get(f"{call.number}/input")
            if taken is None or other is None or not np.array_equal(taken, other):
                return False
        return (OUTPUT, len(self.b.calls)) in self.wrong

    def _is_wrong(self, call: Call) -> bool:
        """Return whether something else arrives at a layer of B, or it has no counterpart."""
        matched = any(call.layer == pair.b.path for pair in self.examination.alignment.pairs)
        return not matched or (SEGMENT, call.number) in self.wrong

    def _weights(self, pair: Pair) -> Iterator[_Compared]:
        """Yield the gradients of a layer's weights."""
        if not pair.carried or any((LAYER, number) in self.wrong for number in pair.b_calls):
            return
        if any(self._is_given_gradient(number) for number in pair.b_calls):
            yield from self._gradients_of(pair)

    def _gradients_of(self, pair: Pair) -> Iterator[_Compared]:
        """Yield the gradients of a layer's weights on both sides."""
        gradients = array_names(self.examination.a_training.arrays, "gradient")
        expected = self.examination.alignment.weights_to_b(gradients)
        carriages = self.examination.alignment.carriages
        alone = {each.name for each in carriages if isinstance(each, MissingBias)}
        for role in pair.b.roles:
            name = f"{pair.b.path}/{role}"
            if name in alone:
                continue  # that only one side has it was found already
            actual = self.b.arrays.get(f"gradient/{name}")
            if name in expected and actual is not None and self._has_gradient(pair, gradients):
                what = f"the gradient of the {role.replace('_', ' ')}"
                arrays = (expected[name], actual)
                if role == "embeddings":
                    arrays = _without_padding(pair, *arrays)
                yield _Compared(pair, what, f"gradient/{name}", *arrays)

    def _cancels(self, compared: _Compared) -> bool:
        """Return whether a gradient is nothing but the rounding error of terms that cancel."""
        path = compared.name.removeprefix("gradient/").rpartition("/")[0]
        of_layer = [
            largest(array)
            for role in compared.pair.b.roles
            if (array := self.b.arrays.get(f"gradient/{path}/{role}")) is not None
        ]
        if not compared.name.startswith("gradient/"):
            return False
        share = CANCELLED[self.examination.dtype]
        if self.partly_float32.intersection(compared.pair.b_calls):
            share = max(share, PRECISION)
        numbers = max(largest(compared.a), largest(compared.b))
        return numbers <= share * max(of_layer, default=0.0)

    def _has_gradient(self, pair: Pair, gradients: Arrays) -> bool:
        return any(f"{pair.a.path}/{role}" in gradients for role in pair.a.roles)

    def _frozen(self) -> Iterator[Finding]:
        """Yield layers that are trained on one side only."""
        for pair in self.examination.alignment.pairs:
            if pair.a.frozen == pair.b.frozen:
                continue
            side, other = ("a", "b") if pair.a.frozen else ("b", "a")
            frozen = pair.a if pair.a.frozen else pair.b
            title = (
                f"{frozen.path} is frozen in {self.names[side]} and trained in {self.names[other]}"
            )
            values = {side: "frozen", other: "trained"}
            evidence = "no gradient is computed on one side"
            yield Finding(STAGE, None, title, pair.paths, values, proved=True, evidence=evidence)

    def _finding(self, compared: _Compared) -> Finding:
        cause, words, proved = self._cause(compared)
        pair = compared.pair
        effect = {
            "gradient": compared.difference,
            "bound": self.bounds.precision(compared.name),
        }
        return Finding(
            STAGE,
            cause,
            f"{pair.a.path} / {pair.b.path}: {words}",
            pair.paths,
            {"a": _size(compared.a), "b": _size(compared.b)},
            effect,
            self._fix(cause, pair),
            proved,
            f"{compared.what} was compared, computed from the same numbers on both sides",
        )

    def _fix(self, cause: str | None, pair: Pair) -> dict[str, str | None]:
        lines = fix_lines(cause, self.examination.descriptions)
        if cause != "D101":
            return lines
        indices = {"a": pair.a.settings.get("padding_index")}
        indices["b"] = pair.b.settings.get("padding_index")
        line = "nn.Embedding(words, size)  # without padding_idx"
        return {side: None if index is None else line for side, index in indices.items()}

    def _cause(self, compared: _Compared) -> tuple[str | None, str, bool]:
        """Return the cause, what differs in words, and whether numbers were reproduced."""
        a, b, what = compared.a, compared.b, compared.what
        if self._is_joined_bias(compared) and relative_difference(a, 2 * b) <= SAME_RATIO:
            return "D16", "two biases on one side receive the gradient of the one bias", True
        if self._is_joined_bias(compared) and relative_difference(2 * a, b) <= SAME_RATIO:
            return "D16", "two biases on one side receive the gradient of the one bias", True
        for side, one, other in (("a", a, b), ("b", b, a)):
            if np.isnan(one).any() and not np.isnan(other).any():
                return "D31", f"{what} is NaN in {self.names[side]} only", False
            if self._only_at_padding(compared, side, one, other):
                others = self.names["b" if side == "a" else "a"]
                return "D101", f"the vector of the padding is trained in {others} only", True
            if not one.any() and other.any():
                words = f"{what} is zero in {self.names[side]}: nothing flows back there"
                return None, words, True
        if self._only_at_kinks(compared):
            return "D30", f"{what} differs only where the values are exactly 0", True
        factor = multiple(a, b, SAME_RATIO)
        if factor is not None:
            return None, f"{what} is {value_text(factor)} times as large in {self.names['b']}", True
        return None, f"{what} differs", False

    def _is_joined_bias(self, compared: _Compared) -> bool:
        joined = [
            name
            for carriage in self.examination.alignment.carriages
            if isinstance(carriage, JoinedBias)
            for name in (carriage.joined, *carriage.parts)
        ]
        return compared.name.removeprefix("gradient/") in joined

    def _only_at_padding(self, compared: _Compared, side: str, one: Array, other: Array) -> bool:
        """Return whether only the vector of the padding has no gradient on a side."""
        layer = compared.pair.a if side == "a" else compared.pair.b
        index = layer.settings.get("padding_index")
        if index is None or not compared.name.endswith("/embeddings") or one[index].any():
            return False
        rest = np.array(other)
        rest[index] = 0.0
        return relative_difference(one, rest) <= self.bounds.precision(compared.name)

    def _only_at_kinks(self, compared: _Compared) -> bool:
        """Return whether a gradient differs only where what the layer returned is 0."""
        if not compared.name.endswith("output_gradient"):
            return False
        values = self.expected.get(compared.name.removesuffix("_gradient"))
        if values is None or values.shape != compared.a.shape:
            return False
        scale = np.abs(compared.a).max()
        differs = np.abs(compared.a - compared.b) > self.bounds.precision(compared.name) * scale
        return bool(differs.any() and not values[differs].any())


def _without_padding(pair: Pair, a: Array, b: Array) -> tuple[Array, Array]:
    """Return the gradients of two embeddings without that of the padding, if both know it.

    PyTorch does not train its vector, and behind a mask of Keras nothing arrives at it.
    """
    index = pair.a.settings.get("padding_index")
    if index is None or index != pair.b.settings.get("padding_index"):
        return a, b
    rest = np.arange(len(a)) != index
    return a[rest], b[rest]


def _size(array: Array) -> float:
    """Return the root of the mean square of an array."""
    return float(f"{np.sqrt(np.mean(np.square(array))):.4g}") if array.size else 0.0


def _same_cause(finding: Finding) -> str:
    """Return what the findings of layers have in common that are told as one."""
    return finding.cause or finding.title
