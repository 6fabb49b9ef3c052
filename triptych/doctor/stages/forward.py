"""The forward pass in evaluation mode, place by place, on the same numbers."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import takewhile
from typing import Any

import numpy as np

from .. import catalogue
from ..attention import attention_cause, line_for
from ..attention import differing as differing_ways
from ..attention_places import attention_ways
from ..bounds import nearest_to_bound, relative_difference
from ..code_lines import arithmetic_line
from ..examination import Examination, Result
from ..findings import Acquittal, Finding
from ..forcing import measured_bounds, targets_of
from ..formulas import compute
from ..frameworks.adapter import ModelError
from ..hypotheses import Hypothesis, change_of, differing
from ..inside import locate
from ..lacking import lacking_activation
from ..lost_numbers import lost_numbers
from ..observation import Array, Arrays, outputs_of
from ..places import LAYER, OUTPUT, SEGMENT, Place, places, previous_anchor, unmatched_between
from ..precision import examine_precision
from ..relations import Relation, both_activated, name_of, relations
from ..resizing import cause_of, methods_used
from ..statistics_used import REPRODUCED, statistics_used
from ..suspects import Result as CallResult
from ..suspects import Suspect
from ..trials import IMAGE_AXES, Case, Trials
from ..whole_settings import explain as explain_whole
from ..wording import Writer, fix_lines, place_of

STAGE = "forward"

# In float32, a larger difference of the outputs is worth a word, even if rounding explains it.
VISIBLE = 1e-4

# By how much the measured rounding of both sides may be exceeded.
ROUNDING_MARGIN = 4.0


def examine(examination: Examination) -> Result:
    """Compare each layer and each segment, and find out why those that differ do.

    Parameters
    ----------
    examination : Examination
        The comparison.
    """
    return _Forward(examination).result()


@dataclass(frozen=True)
class _Found:
    """A finding, and what other places have in common with it."""

    finding: Finding
    key: tuple[Any, ...]


class _Forward:
    """Examines the forward pass.

    Parameters
    ----------
    examination : Examination
        The comparison.
    """

    def __init__(self, examination: Examination) -> None:
        self.examination = examination
        self.names = examination.names
        self.writer = Writer(examination, self.names)
        self.bounds = measured_bounds(examination, examination.b_evaluation, training=False)
        self.trials = Trials(examination, self.bounds)
        self.acquitted: list[Acquittal] = []
        self.tolerance = REPRODUCED[examination.dtype]
        # Layers that take the batch for the time: what follows them is another sample's.
        self.other_axes: set[int] = set()
        self.last_lost: Case | None = None

    def result(self) -> Result:
        """Return what was found out."""
        examination = self.examination
        every = list(
            places(examination.alignment, examination.a_evaluation, examination.b_evaluation)
        )
        largest, bound = nearest_to_bound(
            (place.difference(self.trials.b), place.precision(self.bounds)) for place in every
        )
        cases = self._cases(every)
        findings = _merged(self._found(cases))
        precision = examine_precision(examination)
        if isinstance(precision, Finding):
            findings.append(precision)
        elif precision:
            self.acquitted.append(precision)
        findings += self._of_outputs()
        if not findings:
            self._judge_native()
        return Result(tuple(findings), tuple(self.acquitted), largest, bound)

    def _cases(self, every: list[Place]) -> list[Case]:
        """Return the places that differ, explained as far as possible."""
        cases: list[Case] = []
        seen: set[tuple[str, int]] = set()
        while True:
            faulty = [place for place in every if self._is_faulty(place, seen)]
            misshapen = [each for each in faulty if not each.fits(self.trials.b)]
            wanted = [each for each in faulty if each not in misshapen[1:]]
            new = self.trials.explain(wanted)
            cases += new
            seen |= {(place.what, place.b_number) for place in wanted}
            self.other_axes |= {
                case.place.b_number
                for case in new
                for hypothesis in case.accepted
                if "batch_first" in hypothesis.values
            }
            first = next((case for case in new if case.place in misshapen[:1]), None)
            if first is None or not first.solved or self.other_axes:
                return cases
            # Behind a layer whose shape was wrong, everything is compared with its fix: what the
            # other places differed by may have come from it.
            every = self.trials.proceed(first.changes)
            seen -= {(each.place.what, each.place.b_number) for each in cases if not each.solved}
            cases = [each for each in cases if each.solved]

    def _is_faulty(self, place: Place, seen: set[tuple[str, int]]) -> bool:
        if (place.what, place.b_number) in seen:
            return False
        difference = place.difference(self.trials.b)
        if difference <= place.precision(self.bounds) or self._excused(place):
            return False
        return place.what != OUTPUT or self._output_matters(place)

    def _excused(self, place: Place) -> bool:
        """Return whether another stage, or another layer, has explained this place already."""
        if place.what == LAYER:
            return False
        examination = self.examination
        alignment = examination.alignment
        if unmatched_between(
            alignment, self.trials.a, self.trials.b, place.a_number, place.b_number
        ):
            return True
        data = examination.results.get("data")
        inside = data is not None and any(
            finding.layer["a"] or finding.layer["b"] for finding in data.findings
        )
        return inside and previous_anchor(self.trials.b, place.b_number) < 0

    def _output_matters(self, place: Place) -> bool:
        """Return whether another model output is a fault: not if loss and gradient agree."""
        examination = self.examination
        head = self._head(place)
        if targets_of(examination) is None:
            return True
        a, b = examination.a_training.arrays, examination.b_training.arrays
        if "loss" not in a or "loss" not in b:
            return True
        difference = relative_difference(np.asarray(a["loss"]), np.asarray(b["loss"]))
        gradients = self._last_gradients()
        largest = max([difference, *gradients])
        if largest <= place.precision(self.bounds) or self._is_compensated(place, largest):
            if head is None and self._mixes_samples():
                return True
            what = "differ by a function that the loss compensates for"
            if head is not None:
                what = head.title.format(**self.names)
            self.acquitted.append(
                Acquittal(
                    STAGE,
                    None,
                    f"the outputs differ, and each side has the loss that fits: {what}",
                    f"outputs differ by {place.difference(self.trials.b):.1e} of the largest "
                    f"value; loss and gradients at the last layer by {largest:.1e}",
                )
            )
            return False
        # Whether scores or probabilities go into the loss is for the stage of the loss.
        return head is None

    def _mixes_samples(self) -> bool:
        """Return whether a side's output for a sample depends on the rest of the batch.

        A loss cannot compensate for that: it can only be given the scores past the output.
        """
        examination = self.examination
        for side, inputs in (
            (examination.a, examination.a_inputs),
            (examination.b, self.trials.alignment.inputs_to_b(examination.a_inputs)),
        ):
            samples = {len(array) for array in inputs.values()}
            half = min(samples) // 2
            if len(samples) > 1 or not half:
                continue
            some = {name: array[:half] for name, array in inputs.items()}
            with suppress(ModelError):  # a recorded side
                whole, part = (
                    side.observe(each, training=False, dtype=examination.dtype).arrays["output"]
                    for each in (inputs, some)
                )
                if len(part) == half and relative_difference(whole[:half], part) > self.tolerance:
                    return True
        return False

    def _is_compensated(self, place: Place, largest: float) -> bool:
        """Return whether one side returns a known function of the other's outputs, and fits it.

        A loss may keep a small constant from a logarithm of 0, so that rounding is exceeded: that
        is for the stage of the loss.
        """
        if largest > self.tolerance:
            return False
        return any(
            relation.functions
            for name, a in place.expected.items()
            for relation in relations(a, self.trials.b.arrays[name], None, {}, self.tolerance)
        )

    def _last_gradients(self) -> list[float]:
        """Return how far the gradients of the loss differ at the last layers with weights."""
        examination = self.examination
        expected = examination.alignment.forced(examination.a_training)
        b = examination.b_training
        numbers = [call.number for call in b.anchors]
        name = f"{numbers[-1]}/output_gradient" if numbers else ""
        if name not in expected or name not in b.arrays:
            return []
        return [relative_difference(expected[name], b.arrays[name])]

    def _head(self, place: Place) -> Relation | None:
        for name, a in place.expected.items():
            b = self.trials.b.arrays[name]
            for relation in relations(a, b, None, {}, self.tolerance):
                if relation.head:
                    return relation
        return None

    def _found(self, cases: Iterable[Case]) -> Iterator[_Found]:
        """Yield the findings of all cases."""
        for case in cases:
            yield from self._accepted(case)
            start = previous_anchor(self.trials.b, case.place.b_number)
            if case.solved or start in self.other_axes:
                continue
            other = self._lost(case) or self._wrong_mode(case) or self._described(case)
            other = other or self._reproduced(case) or self._resized(case)
            attention = [] if other else list(self._attention(case))
            if not (other or attention):
                other = (
                    self._inner(case)
                    or self._related(case)
                    or self._lacking(case)
                    or self._untried(case)
                )
            whole = [] if attention or other else list(self._of_whole(case))
            if attention or whole:
                yield from attention or whole
            elif other is not None:
                yield other
            elif not (case.accepted or self.examination.alignment.findings):
                yield self._unknown(case)

    def _accepted(self, case: Case) -> Iterator[_Found]:
        for hypothesis in case.accepted:
            relation = self._formulas(case, hypothesis)
            if relation is not None:
                yield self._of_relation(case, relation)
                continue
            evidence = (
                f"with this setting in {self.names['b']} the difference here falls from "
                f"{case.difference:.1e} to {case.remaining:.1e}"
            )
            finding = self._finding(case, hypothesis, proved=True, evidence=evidence)
            yield _Found(finding, hypothesis.key)

    def _finding(
        self, case: Case, hypothesis: Hypothesis, *, proved: bool, evidence: str
    ) -> Finding:
        values: dict[str, Any] = {
            "a": {setting: pair[0] for setting, pair in hypothesis.values.items()},
            "b": {setting: pair[1] for setting, pair in hypothesis.values.items()},
        }
        if len(hypothesis.values) == 1:
            (pair,) = hypothesis.values.values()
            values = {"a": pair[0], "b": pair[1]}
        title = self._lacked(hypothesis) or self.writer.title(hypothesis)
        layer: dict[str, str | None] = {
            "a": place_of(hypothesis.a),
            "b": place_of(hypothesis.b),
        }
        if hypothesis.b.within is not None:
            title = f"{self._where(case)}: {title}"
            layer = self._layers(case)
        return Finding(
            STAGE,
            hypothesis.cause,
            title,
            layer,
            values,
            self._effect(case),
            self.writer.fixes(hypothesis),
            proved,
            evidence,
        )

    def _lacked(self, hypothesis: Hypothesis) -> str:
        """Return that one side lacks what the other calls, if the catalogue has no title."""
        if not hypothesis.lacks or hypothesis.cause is not None:
            return ""
        has = "b" if hypothesis.lacks == "a" else "a"
        call = hypothesis.b if has == "b" else hypothesis.a
        text = arithmetic_line(call.settings)
        if call.kind == "activation":
            text = name_of(call.settings)
        return f"{self.names[has]} applies {text}, {self.names[hypothesis.lacks]} does not"

    def _effect(self, case: Case) -> dict[str, float]:
        name = {LAYER: "layer", SEGMENT: "arriving", OUTPUT: "output"}[case.place.what]
        return {name: case.difference, "bound": case.place.precision(self.bounds)}

    def _wrong_mode(self, case: Case) -> _Found | None:
        """Return the finding that a BatchNorm uses the statistics of the batch."""
        pair = case.place.pair
        if case.place.what != LAYER or pair is None or pair.b.kind != "batch_norm":
            return None
        name = f"{case.place.b_number}/output"
        x = self.trials.alignment.forced(self.trials.a)[f"{case.place.b_number}/input"]
        outputs = {"a": case.place.expected[name], "b": self.trials.b.arrays[name]}
        used = statistics_used(self.examination, pair, x, outputs)
        if not used:
            return None
        title = (
            f"in evaluation mode {pair.a.path} uses {used['a']} in {self.names['a']}, "
            f"{pair.b.path} {used['b']} in {self.names['b']}"
        )
        finding = Finding(
            "mode",
            "D85",
            title,
            pair.paths,
            used,
            self._effect(case),
            fix_lines("D85", self.examination.descriptions),
            proved=True,
            evidence="both outputs were reproduced with these statistics",
        )
        return _Found(finding, ("mode", *sorted(used.items())))

    def _lost(self, case: Case) -> _Found | None:
        """Return the finding that one side has NaN or infinity where the other has numbers."""
        lost = lost_numbers(self.trials, case, self.tolerance, self.last_lost)
        if lost is None:
            return None
        self.last_lost = case
        other = "a" if lost.side == "b" else "b"
        what = f"{lost.what} in {lost.count} of {lost.size} values"
        first = ""
        if lost.call is not None:
            first = f", first in {lost.call.layer or lost.call.name}"
            first += f": {lost.why}" if lost.why else ""
        title = f"{self._where(case)}: {self.names[lost.side]} has {lost.what}{first}; "
        title += f"{self.names[other]} has numbers"
        cause = "D127" if lost.masked else None
        if cause:
            title = f"{title} ({catalogue.get(cause).title.lower()})"
        layer = self._layers(case)
        if lost.call is not None:
            layer[lost.side] = place_of(lost.call)
        evidence = "both sides get the same numbers here"
        if self._is_finite_before(case):
            evidence += ", all finite"
        if lost.agree:
            evidence += "; all other values agree up to rounding"
        finding = Finding(
            STAGE,
            cause,
            title,
            layer,
            {lost.side: what, other: "numbers"},
            self._effect(case),
            fix_lines(cause, self.examination.descriptions),
            proved=True,
            evidence=evidence,
        )
        return _Found(finding, ("lost", case.place.what, case.place.b_number))

    def _is_finite_before(self, case: Case) -> bool:
        """Return whether all that both sides had before a place is finite."""
        place = case.place
        forced = self.trials.alignment.forced(self.trials.a)
        taken = f"{place.b_number}/input" if place.what == LAYER else None
        earlier = [
            array
            for name, array in forced.items()
            if name == taken or int(name.partition("/")[0]) < place.b_number
        ]
        arrays = [*earlier, *self.examination.b_inputs.values()]
        return all(np.isfinite(each).all() for each in arrays if each.dtype.kind == "f")

    def _described(self, case: Case) -> _Found | None:
        """Return the finding that a recorded layer has other settings, which cannot be tried."""
        place = case.place
        if place.what != LAYER or self.examination.b.recording() is None:
            return None
        a, b = self.trials.a.calls[place.a_number], self.trials.b.calls[place.b_number]
        values = differing(a.settings, b.settings)
        if not values:
            return None
        hypothesis = Hypothesis(b.kind, values, (), a, b)
        finding = self._finding(case, hypothesis, proved=False, evidence="the layers' settings")
        return _Found(finding, hypothesis.key)

    def _untried(self, case: Case) -> _Found | None:
        """Return the finding that a layer has other settings, which B cannot be given."""
        place = case.place
        if place.what != LAYER:
            return None
        a, b = self.trials.a.calls[place.a_number], self.trials.b.calls[place.b_number]
        values = {
            setting: pair
            for setting, pair in differing(a.settings, b.settings).items()
            if not self.trials.supports(change_of(b, setting, pair[0]))
        }
        if not values:
            return None
        hypothesis = Hypothesis(b.kind, values, (), a, b)
        evidence = "the layers' settings, which cannot be changed from outside"
        finding = self._finding(case, hypothesis, proved=False, evidence=evidence)
        return _Found(finding, hypothesis.key)

    def _reproduced(self, case: Case) -> _Found | None:
        """Return the finding if the formulas of two calls reproduce what both sides have."""
        for suspect in case.suspects:
            if suspect.a is None or suspect.b is None or suspect.before is None:
                continue
            if not (self._computes(suspect, "a") and self._computes(suspect, "b")):
                continue
            a, b = suspect.a.call, suspect.b.call
            values = differing(a.settings, b.settings)
            if not values and a.kind != b.kind:
                values = {"kind": (a.kind, b.kind)}
            if not values:
                continue
            hypothesis = Hypothesis(b.kind, values, (), a, b)
            evidence = "both sides' numbers were reproduced with these settings"
            finding = self._finding(case, hypothesis, proved=True, evidence=evidence)
            return _Found(finding, hypothesis.key)
        return None

    def _computes(self, suspect: Suspect, side: str) -> bool:
        """Return whether the formula of a call reproduces what it returns."""
        result = suspect.a if side == "a" else suspect.b
        assert result is not None
        assert suspect.before is not None
        made = compute(result.call.kind, suspect.before, result.call.settings)
        return made is not None and relative_difference(made, result.output) <= self.tolerance

    def _inner(self, case: Case) -> _Found | None:
        """Return the finding that functions inside a layer of the user's differ."""
        place = case.place
        if place.what != LAYER or self.examination.b.recording() is not None:
            return None
        observation = self.trials.with_results({}, case.changes)

        def remaining(a: CallResult, b: CallResult) -> float:
            given = {f"{b.call.number}/output": a.output}
            return place.difference(self.trials.with_results(given, case.changes))

        located = locate(
            *self.trials.results(place, observation),
            self.trials.alignment.forced(self.trials.a).get(f"{place.b_number}/input"),
            self.trials.tolerance,
            remaining,
            place.precision(self.bounds),
        )
        if located is None:
            return None
        one, other = located.a[-1].output, located.b[-1].output
        for before in located.known:
            for relation in both_activated(one, other, before, self.tolerance):
                return self._of_relation(case, relation)
        texts = dict(zip("ab", located.texts, strict=True))
        calls = f"{texts['a']} in {self.names['a']}, {texts['b']} in {self.names['b']}"
        if located.is_same:
            calls += ", of the same numbers in another order"
        finding = Finding(
            STAGE,
            None,
            f"{self._where(case)}: {calls}",
            self._layers(case),
            texts,
            self._effect(case),
            proved=True,
            evidence=f"with what {self.names['a']} has after these calls in {self.names['b']} the "
            f"difference here falls from {case.difference:.1e} to {located.remaining:.1e}",
        )
        return _Found(finding, ("inner", *texts.values()))

    def _resized(self, case: Case) -> _Found | None:
        """Return the finding that the sides resize images by different methods."""
        for suspect in case.suspects:
            if suspect.a is None or suspect.b is None or suspect.before is None:
                continue
            a, b, before = suspect.a.output, suspect.b.output, suspect.before
            kinds = {suspect.a.call.kind, suspect.b.call.kind}
            if kinds != {"resize"} or a.shape != b.shape or before.ndim != IMAGE_AXES:
                continue
            used = methods_used(
                before, a, b, lambda x, y: relative_difference(x, y) <= self.tolerance
            )
            if used:
                cause = cause_of(used)
                title = f"{self._where(case)}: images are resized by {used['a']} in "
                title += f"{self.names['a']}, by {used['b']} in {self.names['b']}"
                finding = Finding(
                    STAGE,
                    cause,
                    title,
                    self._layers(case),
                    used,
                    self._effect(case),
                    fix_lines(cause, self.examination.descriptions),
                    proved=True,
                    evidence="both sides' numbers were reproduced with these methods",
                )
                return _Found(finding, ("resize", *used.values()))
        return None

    def _attention(self, case: Case) -> Iterator[_Found]:
        """Yield in which parts of its formula the attention of the sides differs."""
        ways = attention_ways(self.examination, self.trials, case.place, self.tolerance)
        if ways is None:
            return
        a, b = ways
        frameworks = [each.framework for each in self.examination.descriptions]
        for part, (one, other) in differing_ways(a, b).items():
            cause = attention_cause(part, a, b)
            title = f"{self._where(case)}: {one} in {self.names['a']}, {other} in {self.names['b']}"
            finding = Finding(
                STAGE,
                cause,
                title,
                self._layers(case),
                {"a": one, "b": other},
                self._effect(case),
                {
                    "a": line_for(frameworks[0], part, b, cause),
                    "b": line_for(frameworks[1], part, a, cause),
                },
                proved=True,
                evidence="both sides' numbers were reproduced with these formulas",
            )
            yield _Found(finding, ("attention", part, one, other))

    def _of_whole(self, case: Case) -> Iterator[_Found]:
        """Yield which settings the layers of one side have that a function has not."""
        if not self.examination.whole:
            return
        explanation = explain_whole(self.examination, case.place.precision(self.bounds))
        if explanation is None:
            return
        side, other = explanation.side, "b" if explanation.side == "a" else "a"
        settings = "this setting" if len(explanation.hypotheses) == 1 else "these settings"
        evidence = (
            f"with {settings} in all such layers of {self.names[side]} the difference of the "
            f"outputs falls from {case.difference:.1e} to {explanation.remaining:.1e}"
        )
        for hypothesis in explanation.hypotheses:
            finding = self._finding(case, hypothesis, proved=True, evidence=evidence)
            fix = {side: finding.fix[side], other: None}
            layer = {side: finding.layer[side], other: None}
            yield _Found(replace(finding, fix=fix, layer=layer), hypothesis.key)

    def _lacking(self, case: Case) -> _Found | None:
        """Return the finding that one side lacks an activation."""
        relation = lacking_activation(self.trials, case)
        return None if relation is None else self._of_relation(case, relation)

    def _related(self, case: Case) -> _Found | None:
        """Return the finding if a formula leads from one side's numbers to the other's."""
        place = case.place
        for name, a in place.expected.items():
            b = self.trials.b.arrays.get(name)
            if b is None:
                continue
            for before in self._before(place):
                for relation in relations(a, b, before, self._known(place), self.tolerance):
                    return self._of_relation(case, relation)
        relation = self._activations(case.suspects)
        return None if relation is None else self._of_relation(case, relation)

    def _formulas(self, case: Case, hypothesis: Hypothesis) -> Relation | None:
        """Return which formulas of the catalogue two functions have that users have named."""
        if hypothesis.cause is not None or "function" not in hypothesis.values:
            return None
        relation = self._activations(self.trials.suspects(case.place, self.trials.b))
        return None if relation is None or relation.cause is None else relation

    def _activations(self, suspects: Sequence[Suspect]) -> Relation | None:
        """Return which activations the sides apply first, whatever follows them."""
        if not suspects or suspects[0].before is None:
            return None
        before = suspects[0].before
        # Those of one gap between calls that agree: only the first knows what was before.
        later = takewhile(lambda suspect: suspect.before is None, suspects[1:])
        gap = [suspects[0], *later]
        for first in filter(None, [suspect.a for suspect in gap]):
            for second in filter(None, [suspect.b for suspect in gap]):
                for relation in both_activated(first.output, second.output, before, self.tolerance):
                    return relation
        return None

    def _before(self, place: Place) -> list[Array | None]:
        """Return what the last layer with weights before a segment has returned.

        Where B's layer returns the last step of a sequence, that is the first entry, and the whole
        sequence of A the second one.
        """
        if place.what == LAYER:
            return [None]
        forced = self.trials.alignment.forced(self.trials.a)
        start = previous_anchor(self.trials.b, place.b_number)
        last = forced.get(f"{start}/output")
        sequence = self.trials.a.arrays.get(
            f"{previous_anchor(self.trials.a, place.a_number)}/output"
        )
        if last is None:
            return [sequence]
        if sequence is not None and sequence.ndim > last.ndim:
            return [last, sequence]
        return [last]

    def _known(self, place: Place) -> Arrays:
        """Return what B has had before a place, by how a title names it."""
        if place.what == LAYER:
            return {}
        known: Arrays = {}
        forced = self.trials.alignment.forced(self.trials.a)
        for call in self.trials.b.calls[: place.b_number]:
            if call.within is not None:
                continue
            where = place_of(call)
            for part, words in (("input", "the input of"), ("output", "the output of")):
                name = f"{call.number}/{part}"
                array = forced.get(name, self.trials.b.arrays.get(name))
                if array is not None and np.issubdtype(array.dtype, np.floating):
                    known[f"{words} {where}"] = array
        return known

    def _of_relation(self, case: Case, relation: Relation) -> _Found:
        place = case.place
        where = self._where(case)
        title = f"{where}: {relation.title.format(**self.names)}"
        finding = Finding(
            STAGE,
            relation.cause,
            title,
            self._layers(case),
            dict(relation.values),
            self._effect(case),
            self.writer.functions(relation.functions)
            or fix_lines(relation.cause, self.examination.descriptions),
            proved=True,
            evidence="this formula reproduces one side's numbers from the other's up to rounding",
        )
        if relation.cause is None:
            return _Found(finding, ("relation", place.b_number))
        return _Found(finding, ("relation", relation.cause, *sorted(relation.values.items())))

    def _unknown(self, case: Case) -> _Found:
        place = case.place
        a, b = self._calls(place)
        title = (
            f"{self._where(case)} the sides differ for an unknown reason: {self.names['a']} has "
            f"{a}, {self.names['b']} has {b}"
        )
        effect = self._effect(case)
        evidence = "no known difference reproduces it"
        finding = Finding(
            STAGE, None, title, self._layers(case), {"a": a, "b": b}, effect, evidence=evidence
        )
        return _Found(finding, ("unknown", place.what, place.b_number))

    def _where(self, case: Case) -> str:
        place = case.place
        if place.what == LAYER and place.pair is not None:
            return f"in {place.pair.a.path} / {place.pair.b.path}"
        a_start = previous_anchor(self.trials.a, place.a_number)
        start = self.trials.a.calls[a_start].layer if a_start >= 0 else "the input"
        end = "the output" if place.pair is None else place.pair.a.path
        return f"between {start} and {end}"

    def _layers(self, case: Case) -> dict[str, str | None]:
        """Return the calls that are suspected, or else the layer after them."""
        suspect = next(iter(case.suspects), None)
        if suspect is not None and case.place.what != LAYER and (suspect.a or suspect.b):
            return {
                "a": place_of(suspect.a.call) if suspect.a else None,
                "b": place_of(suspect.b.call) if suspect.b else None,
            }
        pair = case.place.pair
        return {"a": pair.a.path if pair else None, "b": pair.b.path if pair else None}

    def _calls(self, place: Place) -> tuple[str, str]:
        """Return what both sides call at a place."""
        if self.examination.whole:
            a, b = self.examination.descriptions
            return a.model, b.model
        if place.what == LAYER and place.pair is not None:
            return place.pair.a.type, place.pair.b.type
        texts: list[str] = []
        for observation, number in (
            (self.trials.a, place.a_number),
            (self.trials.b, place.b_number),
        ):
            start = previous_anchor(observation, number)
            calls = [call for call in observation.calls if call.within is None]
            names = [call.name for call in calls if start < call.number < number]
            texts.append(", ".join(names) or "nothing")
        return texts[0], texts[1]

    def _of_outputs(self) -> list[Finding]:
        """Return that the outputs come in another order, if no loss of both sides tells of it."""
        examination = self.examination
        order = examination.alignment.outputs
        counts = [
            len(outputs_of(each.arrays))
            for each in (examination.a_evaluation, examination.b_evaluation)
        ]
        if counts[0] != counts[1]:
            title = f"{self.names['a']} returns {counts[0]} outputs, {self.names['b']} {counts[1]}"
            evidence = "those that both have were compared"
            self.acquitted.append(Acquittal(STAGE, None, title, evidence))
        if not order:
            return []
        numbers = [int(name.removeprefix("output") or 0) + 1 for name in order.values()]
        places = ", ".join(map(str, numbers))
        title = f"the outputs come in another order: those of {self.names['a']} are the outputs "
        title += f"{places} of {self.names['b']}"
        evidence = "in this order the outputs were compared"
        if targets_of(examination) is not None:
            evidence += "; the stage loss tells whether each loss takes them so"
            self.acquitted.append(Acquittal(STAGE, None, title, evidence))
            return []
        own = list(range(1, len(numbers) + 1))
        return [
            Finding(
                STAGE,
                None,
                title,
                values={"a": own, "b": numbers},
                proved=True,
                evidence=evidence,
            )
        ]

    def _judge_native(self) -> None:
        """Compare both models as written, in float32, and say if rounding shows."""
        examination = self.examination
        if examination.dtype == "native":
            return
        inputs = examination.alignment.inputs_to_b(examination.a_inputs)
        exact_b = examination.b.observe(inputs, training=False, dtype=examination.dtype).arrays
        exact_a = examination.a_evaluation.arrays
        if relative_difference(as_b(exact_a["output"], exact_b["output"]), exact_b["output"]) > (
            self.tolerance
        ):
            return  # the outputs differ by what the loss makes up for
        a_inputs = examination.a.inputs(examination.batch)
        a = examination.a.observe(a_inputs, training=False).arrays["output"]
        b_inputs = examination.alignment.inputs_to_b(a_inputs)
        b = examination.b.observe(b_inputs, training=False).arrays["output"]
        difference = relative_difference(as_b(a, b), b)
        floors = [relative_difference(a, exact_a["output"])]
        floors.append(relative_difference(b, exact_b["output"]))
        if difference <= VISIBLE or not np.isfinite(difference):
            return
        if difference <= ROUNDING_MARGIN * sum(floors):
            self.acquitted.append(
                Acquittal(
                    STAGE,
                    "D90",
                    "in float32 the outputs differ by rounding only, which this model magnifies",
                    f"float32 outputs differ by {difference:.1e} of the largest value; each side "
                    f"differs from its float64 run by {floors[0]:.1e} and {floors[1]:.1e}, and in "
                    "float64 the sides agree",
                )
            )


def as_b(array: Array, like: Array) -> Array:
    """Return an output in the shape of another one, if it has as many values."""
    return array.reshape(like.shape) if array.size == like.size else array


def _merged(found: Iterable[_Found]) -> list[Finding]:
    """Return one finding for all places with the same cause; its layer is the first one."""
    merged: dict[tuple[Any, ...], Finding] = {}
    for each in found:
        first = merged.get(each.key)
        if first is None:
            merged[each.key] = each.finding
            continue
        effect = {
            name: max(value, each.finding.effect.get(name, 0.0))
            for name, value in first.effect.items()
        }
        merged[each.key] = replace(first.also_in(each.finding.layer), effect=effect)
    return list(merged.values())
