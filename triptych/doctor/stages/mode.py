"""Training against evaluation: dropout, and layers that compute otherwise in training mode."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import isclose

from ..bounds import nearest_to_bound, relative_difference
from ..code_lines import call_line
from ..examination import Examination, Pair, Result
from ..findings import Finding, merged
from ..forcing import measured_bounds, targets_of
from ..observation import Array, Call, Description, Observation, random_functions
from ..places import LAYER, OUTPUT, Place, places
from ..statistics_used import statistics_used
from ..suspects import SAME, figures_of, same_figures
from ..wording import fix_lines, layer_of, place_of

STAGE = "mode"


def examine(examination: Examination) -> Result:
    """Compare what both sides do in training mode and where dropout is active.

    Parameters
    ----------
    examination : Examination
        The comparison; the stage ``forward`` is done.
    """
    return _Mode(examination).result()


@dataclass(frozen=True, eq=False)
class _Dropout:
    """A dropout that is active.

    Attributes
    ----------
    segment : str
        The layer of A after whose counterpart it comes; empty before the first one.
    call : Call
        The call.
    figures : ndarray or None
        Of the numbers that it gets; None if they are not known.
    """

    segment: str
    call: Call
    figures: Array | None


class _Mode:
    """Examines the modes.

    Parameters
    ----------
    examination : Examination
        The comparison.
    """

    def __init__(self, examination: Examination) -> None:
        self.examination = examination
        a, b = examination.descriptions
        self.descriptions = {"a": a, "b": b}
        self.names = examination.names

    def result(self) -> Result:
        """Return what was found out."""
        examination = self.examination
        findings = list(self._in_evaluation())
        if targets_of(examination) is None:
            return Result(tuple(findings))
        findings += self._rates()
        largest, bound, other = self._in_training()
        return Result((*findings, *other), (), largest, bound)

    def _in_evaluation(self) -> Iterator[Finding]:
        """Yield dropout that is active in evaluation mode on one side only."""
        examination = self.examination
        observations = {"a": examination.a_evaluation, "b": examination.b_evaluation}
        active = {side: _active(each) for side, each in observations.items()}
        for side, other in (("a", "b"), ("b", "a")):
            if active[side] and not active[other]:
                yield self._always_on(side, other, active[side])

    def _always_on(self, side: str, other: str, calls: Sequence[Call]) -> Finding:
        first = calls[0]
        frameworks = {name: each.framework for name, each in self.descriptions.items()}
        cause = _cause_of_always_on(first, frameworks[side])
        places_text = ", ".join(self._after(side, call) for call in calls[:4])
        title = (
            f"{_drawn_by(first)} after {places_text} stays active in evaluation mode in "
            f"{self.names[side]}, not in {self.names[other]}"
        )
        inactive = _dropouts(
            self.examination.b_evaluation if side == "a" else self.examination.a_evaluation
        )
        layer = {side: place_of(first), other: place_of(inactive[0]) if inactive else None}
        gap = self._random_gap(side)
        fix = fix_lines(cause, self.examination.descriptions)
        if cause != "D85":
            fix[side] = _only_in_training(first, frameworks[side])
            fix[other] = _always(first, frameworks[other])
        return Finding(
            STAGE,
            cause,
            title,
            {"a": layer["a"], "b": layer["b"]},
            {side: "active", other: "inactive"},
            {"output": gap},
            fix,
            proved=gap > 0,
            evidence=f"in evaluation mode it changes the outputs of {self.names[side]} by "
            f"{gap:.1e} of the largest value",
        )

    def _after(self, side: str, call: Call) -> str:
        observation = (
            self.examination.a_evaluation if side == "a" else self.examination.b_evaluation
        )
        anchors = [each.layer for each in observation.anchors if each.number < call.number]
        return anchors[-1] if anchors else "the input"

    def _random_gap(self, side: str) -> float:
        """Return how far a run in evaluation mode with dropout drawn is from one without."""
        examination = self.examination
        model = examination.a if side == "a" else examination.b
        inputs = examination.a_inputs if side == "a" else examination.b_inputs
        without, drawn = (
            model.observe(inputs, training=False, dropout=dropout, dtype=examination.dtype)
            for dropout in (False, True)
        )
        return relative_difference(without.arrays["output"], drawn.arrays["output"])

    def _rates(self) -> list[Finding]:
        """Return dropout that only one side has in training, or with another rate."""
        tolerance = SAME[self.examination.dtype]
        findings: list[Finding] = []
        for segment, first, second in _paired(self._drawn("a"), self._drawn("b"), tolerance):
            noise = [each for each in (first, second) if each is not None and _is_noise(each)]
            # How much noise there is, what is done with it afterwards tells, too.
            if len(noise) < 2 and not isclose(_rate(first), _rate(second), rel_tol=1e-6):
                findings.append(self._other_rate(first, second, segment))
        return merged(findings, lambda finding: (finding.values["a"], finding.values["b"]))

    def _drawn(self, side: str) -> list[_Dropout]:
        """Return the active dropouts of a side in training mode."""
        examination = self.examination
        observation = examination.a_training if side == "a" else examination.b_training
        paths = {
            (pair.a if side == "a" else pair.b).path: pair.a.path
            for pair in examination.alignment.pairs
        }
        found: list[_Dropout] = []
        segment = ""
        for call in observation.calls:
            if call.anchor and call.layer in paths:
                segment = paths[call.layer]
            elif call.kind == "dropout" and call.settings.get("active"):
                output = observation.arrays.get(f"{call.number}/output")
                figures = None if output is None else figures_of(output)
                found.append(_Dropout(segment, call, figures))
        return found

    def _other_rate(self, a: Call | None, b: Call | None, segment: str) -> Finding:
        rates = {"a": _rate(a), "b": _rate(b)}
        where = f"after {segment}" if segment else "at the input"
        words = {side: f"{rate:g}" if rate else "no dropout" for side, rate in rates.items()}
        title = f"dropout {where}: {words['a']} in {self.names['a']}, {words['b']} in "
        title += self.names["b"]
        keeps = rates["a"] and rates["b"] and isclose(rates["a"] + rates["b"], 1.0, rel_tol=1e-6)
        if keeps:
            title += ": one is the share that is kept"
        fix: dict[str, str | None] = {"a": None, "b": None}
        for side, call, wanted in (("a", a, rates["b"]), ("b", b, rates["a"])):
            if call is not None and wanted:
                fix[side] = _with_rate(self.descriptions[side], call, wanted)
        return Finding(
            STAGE,
            None,
            title,
            {"a": place_of(a) if a else None, "b": place_of(b) if b else None},
            rates,
            {"rate": abs(rates["a"] - rates["b"])},
            fix,
            proved=True,
            evidence="the settings of the calls that were active in training mode",
        )

    def _in_training(self) -> tuple[float, float, list[Finding]]:
        """Return what differs in training mode only: the largest equal difference, its bound."""
        examination = self.examination
        b = examination.b_training
        bounds = measured_bounds(examination, b, training=True)
        examination.training_bounds = bounds
        evaluation = {
            (place.what, place.b_number): place.difference(examination.b_evaluation)
            for place in places(
                examination.alignment, examination.a_evaluation, examination.b_evaluation
            )
        }
        compared: list[tuple[float, float]] = []
        findings: list[Finding] = []
        for place in places(examination.alignment, examination.a_training, b):
            difference, precision = place.difference(b), place.precision(bounds)
            compared.append((difference, precision))
            if difference > precision and place.what != OUTPUT:
                before = evaluation.get((place.what, place.b_number), 0.0)
                if before <= precision:
                    findings.append(self._only_in_training(place, difference, precision))
        return *nearest_to_bound(compared), merged(findings, _same_cause)

    def _only_in_training(self, place: Place, difference: float, precision: float) -> Finding:
        pair = place.pair
        assert pair is not None
        effect = {"layer" if place.what == LAYER else "arriving": difference, "bound": precision}
        used = {} if place.what != LAYER else self._statistics(place, pair)
        if used:
            frozen = pair.a.frozen or pair.b.frozen
            cause = "D22" if frozen else "D85"
            title = (
                f"in training mode {pair.a.path} uses {used['a']} in {self.names['a']}, "
                f"{pair.b.path} {used['b']} in {self.names['b']}"
            )
            fix = fix_lines(cause, self.examination.descriptions)
            evidence = "both outputs were reproduced with these statistics"
            return Finding(STAGE, cause, title, pair.paths, used, effect, fix, True, evidence)
        what = "computes" if place.what == LAYER else "gets"
        title = f"{pair.a.path} / {pair.b.path} {what} something else in training mode only"
        title += self._left_random()
        evidence = "in evaluation mode the sides agree here"
        return Finding(STAGE, None, title, pair.paths, {}, effect, evidence=evidence)

    def _left_random(self) -> str:
        """Return which functions draw numbers that stay random, as the end of a title."""
        examination = self.examination
        texts = [
            f"{self.names[side]} draws numbers by {', '.join(names)}, which stay random"
            for side, each in (("a", examination.a_training), ("b", examination.b_training))
            if (names := random_functions(each))
        ]
        return f": {'; '.join(texts)}" if texts else ""

    def _statistics(self, place: Place, pair: Pair) -> dict[str, str]:
        examination = self.examination
        name = f"{place.b_number}/output"
        if pair.b.kind != "batch_norm":
            return {}
        outputs = {"a": place.expected[name], "b": examination.b_training.arrays[name]}
        x = examination.alignment.forced(examination.a_training)[f"{place.b_number}/input"]
        return statistics_used(examination, pair, x, outputs)


def _dropouts(observation: Observation) -> list[Call]:
    return [call for call in observation.calls if call.kind == "dropout"]


def _active(observation: Observation) -> list[Call]:
    """Return the dropouts that are drawn, and not what stays random."""
    return [
        call
        for call in _dropouts(observation)
        if call.settings.get("active") and not call.settings.get("random")
    ]


def _drawn_by(call: Call) -> str:
    """Return what draws, as text: the name of a dropout, or the function that draws for one."""
    if "dropout" in call.name.lower() or "noise" in call.name.lower():
        return call.name
    return f"{'noise' if _is_noise(call) else 'dropout'} by {call.name}"


def _is_noise(call: Call) -> bool:
    """Return whether a draw is added, and drops nothing."""
    return "rate" not in call.settings or "noise" in call.name.lower()


def _with_rate(description: Description, call: Call, rate: float) -> str | None:
    """Return how a side's dropout is written with another rate; one by hand as the framework's."""
    if call.layer or "dropout" in call.name.lower():
        layer = layer_of(description, call.layer)
        return call_line(description.framework, call, layer, {"rate": rate})
    changed = replace(call, settings={**call.settings, "rate": rate})
    return _only_in_training(changed, description.framework)


def _only_in_training(call: Call, framework: str) -> str:
    """Return the line with which a dropout or noise is off in evaluation mode."""
    if call.layer:
        return f"{call.name}({call.settings.get('rate', 0.5):g})(x)  # without training=True"
    if "rate" not in call.settings:
        mode = "self.training" if framework == "torch" else "training"
        return f"if {mode}: ...  # around {call.name}"
    rate = f"{call.settings['rate']:g}"
    if framework == "torch":
        name = call.name if "dropout" in call.name else "F.dropout"
        return f"{name}(x, {rate}, training=self.training)"
    return f"layers.Dropout({rate})(x)"


def _always(call: Call, framework: str) -> str | None:
    """Return the line with which the other side has the same dropout in evaluation mode."""
    if "rate" not in call.settings or "noise" in call.name.lower():
        return None
    rate = f"{call.settings['rate']:g}"
    if framework == "torch":
        return f"F.dropout(x, {rate}, training=True)"
    return f"layers.Dropout({rate})(x, training=True)  # in call()"


def _cause_of_always_on(call: Call, framework: str) -> str | None:
    """Return the id in the catalogue of a dropout that is active in evaluation mode, or None.

    A module of PyTorch is active only in its training mode, so that the mode is wrong. A layer of
    Keras is active because its own call has ``training=True``, whatever the mode of the model.
    """
    if not call.layer:
        return "D98"
    return "D85" if framework == "torch" else None


def _rate(call: Call | None) -> float:
    return 0.0 if call is None else float(call.settings.get("rate") or 0.0)


def _paired(
    a: Sequence[_Dropout], b: Sequence[_Dropout], tolerance: float
) -> Iterator[tuple[str, Call | None, Call | None]]:
    """Yield which dropouts belong together, with the layer of A that is before them.

    Those that get the same numbers do. The branches of a model may run in another order on the
    other side, so that the layer before a dropout tells less.
    """

    def same_numbers(first: _Dropout, second: _Dropout) -> bool:
        if first.figures is None or second.figures is None:
            return False
        return same_figures(first.figures, second.figures, tolerance)

    def same_segment(first: _Dropout, second: _Dropout) -> bool:
        return first.segment == second.segment

    a_left, b_left = list(a), list(b)
    for belong_together in (same_numbers, same_segment):
        for first in tuple(a_left):
            second = next((each for each in b_left if belong_together(first, each)), None)
            if second is not None:
                a_left.remove(first)
                b_left.remove(second)
                yield first.segment, first.call, second.call
    for first in a_left:
        yield first.segment, first.call, None
    for second in b_left:
        yield second.segment, None, second.call


def _same_cause(finding: Finding) -> tuple[str | None, str]:
    """Return what the findings of layers have in common that are told as one."""
    return finding.cause, str(finding.values) if finding.cause else finding.title
