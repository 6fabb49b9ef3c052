"""Compares what a script does with several processes and with one, in the order of computation.

Samples, rates and settings of a step do not depend on earlier steps, so they are compared in all of
them. Everything else is compared up to the first difference, because later steps begin with other
weights.
"""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ...errors import counted
from ...scale import causes
from .differences import (
    Difference,
    Rounding,
    counters_of,
    farthest,
    floating,
    loss_of,
    outputs_by_sample,
    place,
    rows_apart,
    with_samples_of,
)
from .evaluations import compare_evaluations
from .hypotheses import (
    Explanation,
    Overlap,
    SampleNames,
    explain_gradients,
    explain_layer,
    explain_rates,
    explain_samples,
    same_rate,
    total,
    total_of,
)
from .notes import notes_of
from .records import RankStep, Run

Json = dict[str, Any]
# In the order of computation; the names are those of `triptych doctor`.
STAGES = (
    "weights",
    "data",
    "forward",
    "loss",
    "gradient",
    "schedule",
    "update",
    "buffers",
    "metric",
)
# Rounding that has grown to this, relative to the largest value, could hide a mistake.
LARGEST_BOUND = 1e-3
KINDS = ("loss", "gradient", "weights", "buffers")
NUMERIC = ("forward", "loss", "gradient", "update", "buffers")  # where rounding may grow


@dataclass(frozen=True)
class Finding:
    """A difference.

    Attributes
    ----------
    stage : str
        One of `STAGES`.
    step : int
        From 0.
    what : str
        What differs, in a sentence.
    why : Explanation
        The mistake, if one reproduces the numbers.
    comparable : bool
        False if the workers train with a larger batch by design.
    """

    stage: str
    step: int
    what: str
    why: Explanation = field(default_factory=Explanation)
    comparable: bool = True

    def to_json(self) -> Json:
        """Return it as JSON."""
        cause = self.why.cause
        return {
            "stage": self.stage,
            "step": self.step + 1,
            "what": self.what,
            "cause": cause.name if cause else None,
            "explanation": cause.explanation if cause else None,
            "evidence": self.why.evidence or None,
        }


@dataclass
class Comparison:
    """What a comparison has found.

    Attributes
    ----------
    workers : int
        Of the run that is compared.
    steps : int
        How many steps were equal.
    compared : int
        Of how many steps samples, rates and settings were compared.
    dtype : str
        Of the weights.
    samples : int
        Of the first step.
    worst : dict of str to float
        The largest figure of each kind in equal steps.
    bounds : dict of str to float
        What rounding explains, at the last step.
    identical : bool
        Whether the workers had the same weights, to the bit, in all equal steps.
    findings : list of Finding
        In the order of computation.
    notes : list of str
        What else is worth to know.
    """

    workers: int
    steps: int = 0
    compared: int = 0
    dtype: str = "float32"
    samples: int = 0
    worst: dict[str, float] = field(default_factory=dict[str, float])
    bounds: dict[str, float] = field(default_factory=dict[str, float])
    identical: bool = True
    findings: list[Finding] = field(default_factory=list[Finding])
    notes: list[str] = field(default_factory=list[str])

    @property
    def verdict(self) -> str:
        """``equal``, ``differs``, ``undecided`` or ``incomparable``."""
        if not self.findings:
            return "equal" if self.steps else "undecided"
        mistakes = any(finding.why.cause for finding in self.findings)
        if not (mistakes or all(finding.comparable for finding in self.findings)):
            return "incomparable"
        rounding = all(
            finding.stage in NUMERIC and finding.step > 0 and not finding.why.cause
            for finding in self.findings
        )
        return "undecided" if rounding and self.dtype == "float32" else "differs"


def compare(single: Run, moved: Run, other: Run) -> Comparison:
    """Compare a run with the run of one process.

    Parameters
    ----------
    single : Run
        Of one process.
    moved : Run
        The same with first weights that were moved by some units in the last place.
    other : Run
        What is compared.
    """
    return _Walk(single, moved, other).result()


class _Walk:
    """Goes through the steps of three runs at once."""

    def __init__(self, single: Run, moved: Run, other: Run) -> None:
        self.single = single
        self.moved = moved
        self.other = other
        self.workers = other.workers
        self.comparison = Comparison(other.workers)
        self.rounding = Rounding()
        self.names = SampleNames({})
        self.seen: Counter[str] = Counter()
        self.overlap = Overlap()
        self.grown = False  # whether rounding has grown so far that it could hide a mistake
        self.differs = False  # whether later steps begin with other weights
        self.found: dict[str, Finding] = {}
        self.rates: tuple[list[list[float]], list[list[list[float]]]] = ([], [])
        self.figures: dict[str, float] = {}
        self.bounds: dict[str, float] = {}

    def result(self) -> Comparison:
        """Compare all steps."""
        comparison = self.comparison
        number = 0
        for number in range(min(self.single.steps, self.moved.steps, self.other.steps)):
            ours, moved = self.single.step(number)[0], self.moved.step(number)[0]
            theirs = self.other.step(number)
            if number == 0:
                self._begin(ours, moved, theirs)
            if not self.differs:
                self._measure(ours, moved)
                bound = self.rounding.bound("given")
                moved = with_samples_of(ours, moved, bound)
                theirs = [with_samples_of(ours, step, bound) for step in theirs]
            self._step(number, ours, moved, theirs)
            if not (self.differs or self.found or self.grown):
                comparison.steps = number + 1
                for kind, figure in self.figures.items():
                    comparison.worst[kind] = max(figure, comparison.worst.get(kind, 0.0))
        self._compare_rates()
        self._compare_counts()
        metric = compare_evaluations(self.single, self.other, self._first_step())
        if metric:
            step, what, why = metric
            self._find("metric", step, what, why)
        comparison.bounds = self.bounds
        comparison.findings = sorted(
            self.found.values(), key=lambda each: (each.step, STAGES.index(each.stage))
        )
        comparison.compared = number + 1
        comparison.notes += notes_of(self.single, self.other)
        return comparison

    def _measure(self, ours: RankStep, moved: RankStep) -> None:
        """Take account of what rounding explains after one more step."""
        self.rounding.note_step(ours, moved)
        bounds = {kind: self.rounding.bound(kind) for kind in KINDS}
        layers = [kind for kind in self.rounding.floors if kind.startswith("layer/")]
        bounds["forward"] = max((self.rounding.bound(kind) for kind in layers), default=0.0)
        if max(bounds.values()) > LARGEST_BOUND:
            if not self.bounds:
                self._note_unrepeatable(bounds["forward"])
            self.grown = True
            self.differs = True  # nothing that depends on weights is compared any more
        else:
            self.bounds = bounds

    def _note_unrepeatable(self, forward: float) -> None:
        """Note what makes that not even the first step can be compared."""
        kinds = [*self.rounding.floors]
        first = next(kind for kind in kinds if self.rounding.bound(kind) > LARGEST_BOUND)
        what = "what the script computes"
        if forward > LARGEST_BOUND:
            layers = [kind for kind in kinds if kind.startswith("layer/")]
            first = next(kind for kind in layers if self.rounding.bound(kind) > LARGEST_BOUND)
            what = f"what {first.removeprefix('layer/')} returns"
        self.comparison.notes.append(
            f"One process computes something else if its samples are in another order within the "
            f"batch: {what} differs by {self.rounding.floors[first]:.1e}. Switch off what is drawn "
            "at random in the model, so that it can be compared."
        )

    def _first_step(self) -> int:
        """Return the step of the first finding, or how many there are."""
        return min((each.step for each in self.found.values()), default=self.other.steps)

    def _find(self, stage: str, step: int, what: str, why: Explanation, **others: bool) -> None:
        self.found.setdefault(stage, Finding(stage, step, what, why, **others))

    def _begin(self, ours: RankStep, moved: RankStep, theirs: list[RankStep]) -> None:
        """Compare what the training begins with."""
        self.comparison.dtype = "float64" if ours.values.unit < 1e-12 else "float32"
        self.comparison.samples = total_of(total(theirs))
        starts = [step.of("start") for step in theirs]
        self.rounding.unit = ours.values.unit
        bound = self.rounding.bound("start")
        among = [farthest(starts[0], each) for each in starts]
        rank = int(np.argmax([each.figure for each in among]))
        apart = farthest(ours.of("start"), starts[0])
        if among[rank].figure > 0:
            what = self._between(
                among[rank], theirs[0], "weights", "worker 1", f"worker {rank + 1}"
            )
            self._find("weights", 0, what, Explanation(causes.DIFFERENT_WEIGHTS))
            self.differs = True
        elif apart.figure > bound:
            again = farthest(ours.of("start"), moved.of("start")).figure
            cause = causes.NO_SEED if again > bound else causes.WEIGHTS_BY_WORKERS
            evidence = f"two runs with one process differ by {again:.1e}" if again > bound else ""
            what = self._against(apart, ours, "weights")
            self._find("weights", 0, what, Explanation(cause, evidence))
            self.differs = True

    def _step(self, number: int, ours: RankStep, moved: RankStep, theirs: list[RankStep]) -> None:
        self.figures = {}
        self.rates[0].append(ours.values.rates)
        self.rates[1].append([step.values.rates for step in theirs])
        for step in (ours, *theirs):
            self.names.note(step)
        self.overlap.note(theirs)
        before = self.differs
        self._compare_samples(number, ours, moved, theirs)
        if not before:
            self._compare_layers(number, ours, theirs)
        if not self.differs:
            self._compare_losses(number, ours, theirs)
        if not self.differs:
            self._compare_gradients(number, ours, theirs)
        self._compare_options(number, ours, theirs)
        if not self.differs:
            self._compare_updates(number, ours, theirs)
        self.seen.update(ours.counted)

    def _compare_samples(
        self, number: int, ours: RankStep, moved: RankStep, theirs: list[RankStep]
    ) -> None:
        together = total(theirs)
        if together == ours.counted:
            return
        self.differs = True
        if "data" in self.found:
            return
        one, all_ = total_of(ours.counted), total_of(together)
        what = (
            f"one process has {counted(one, 'sample')} in the step, "
            f"{counted(self.workers, 'worker')} {'has' if self.workers == 1 else 'have'} "
            f"{_sum_of([len(step.values.samples) for step in theirs])}"
        )
        if moved.counted != ours.counted:
            why = Explanation(
                causes.NO_SEED, "two runs with one process have different samples in the step"
            )
            self._find("data", number, what, why)
            return
        alike = all(step.counted == theirs[0].counted for step in theirs)
        if number == 0 and all_ == self.workers * one and not alike:
            self._find("data", number, self._batch_advice(one), Explanation(), comparable=False)
            return
        why = explain_samples(ours, theirs, self.seen, self.names)
        if why.cause is None and one == all_:
            what = f"of {counted(one, 'sample')}, {total_of(ours.counted - together)} are others"
        self._find("data", number, what, why)

    def _batch_advice(self, one: int) -> str:
        whole = one * self.workers
        return (
            f"each worker has {counted(one, 'sample')} in a step (the first axis of what the model "
            "is given), as one process has: the whole "
            f"batch is {self.workers} times as large, which is another training. To compare the "
            "same one, let the script divide its batch by WORLD_SIZE, or give its batch size as "
            f"an argument: {{{whole}/workers}} is {whole} with one process and {one} with "
            f"{self.workers} workers"
        )

    def _compare_layers(self, number: int, ours: RankStep, theirs: list[RankStep]) -> None:
        others = outputs_by_sample(theirs)
        for call, (kind, rows) in outputs_by_sample([ours]).items():
            if call not in others:
                continue
            figure = rows_apart(rows, others[call][1])
            bound = self.rounding.bound(f"layer/{call}")
            if figure > bound:
                self.differs = True
                what = (
                    f"{call} ({kind}) is the first layer that returns something else for the same "
                    f"samples, by {figure:.1e} (rounding explains {bound:.1e})"
                )
                self._find("forward", number, what, explain_layer(call, kind, ours, theirs, bound))
                return
            self._note("forward", figure)

    def _compare_losses(self, number: int, ours: RankStep, theirs: list[RankStep]) -> None:
        single = loss_of(ours)
        losses = np.array([loss_of(step) for step in theirs])
        samples = np.array([step.weight for step in theirs], np.float64)
        shares = samples / samples.sum() if samples.sum() else np.ones(len(theirs)) / len(theirs)
        top = abs(single) or 1.0
        figures = {
            "mean": abs(losses.mean() - single) / top,
            "weighted mean": abs(shares @ losses - single) / top,
            "sum": abs(losses.sum() - single) / top,
        }
        figure = float(min(figures.values()))
        bound = self.rounding.bound("loss")
        if figure <= bound:
            self._note("loss", figure)
            return
        self.differs = True
        factor = losses.mean() / single if single else 0.0
        what = (
            f"the loss is {single:.7g} with one process; those of the workers are "
            f"{_listed(losses)}, with a mean of {losses.mean():.7g}, {factor:.4g} times as large"
        )
        self._find("loss", number, what, Explanation())

    def _compare_gradients(self, number: int, ours: RankStep, theirs: list[RankStep]) -> None:
        # Clipping may hide that gradients are too large.
        clipped = bool(ours.of("unclipped")) and all(step.of("unclipped") for step in theirs)
        kind = "unclipped" if clipped else "gradient"
        bound = self.rounding.bound(kind)
        apart = [farthest(ours.of(kind), step.of(kind)) for step in theirs]
        if max(each.figure for each in apart) <= bound and clipped:
            kind, bound = "gradient", self.rounding.bound("gradient")
            apart = [farthest(ours.of(kind), step.of(kind)) for step in theirs]
        rank = int(np.argmax([each.figure for each in apart]))
        alike = len({step.values.gradients for step in theirs}) == 1
        if apart[rank].figure <= bound and alike:
            self._note("gradient", apart[rank].figure)
            return
        self.differs = True
        who = "" if alike else f"worker {rank + 1}"
        what = self._against(apart[rank], ours, "gradient", who, bound_of=kind)
        self._find("gradient", number, what, explain_gradients(ours, theirs, bound))

    def _compare_options(self, number: int, ours: RankStep, theirs: list[RankStep]) -> None:
        if "update" in self.found:
            return
        for rank, step in enumerate(theirs):
            for group, (one, other) in enumerate(
                zip(ours.values.options, step.values.options, strict=False)
            ):
                for name in one.keys() | other.keys():
                    if one.get(name) != other.get(name):
                        what = (
                            f"the optimizer's {name} (group {group + 1}) is {one.get(name)!r} with "
                            f"one process and {other.get(name)!r} in worker {rank + 1}"
                        )
                        self._find("update", number, what, Explanation())
                        self.differs = True
                        return

    def _compare_updates(self, number: int, ours: RankStep, theirs: list[RankStep]) -> None:
        rates_differ = any(not _same_rates(ours, step) for step in theirs)
        if rates_differ:  # told by the stage of the schedule
            self.differs = True
            return
        alike = len({step.values.weights for step in theirs}) == 1
        self.comparison.identical = self.comparison.identical and alike
        apart = [farthest(ours.of("weights"), step.of("weights")) for step in theirs]
        rank = int(np.argmax([each.figure for each in apart]))
        if apart[rank].figure > self.rounding.bound("weights") or not alike:
            self.differs = True
            who = "" if alike else f"worker {rank + 1}"
            what = self._against(apart[rank], ours, "weights", who)
            why = "" if alike else "the workers have different weights after the same gradients"
            self._find("update", number, what, Explanation(None, why))
            return
        self._note("weights", apart[rank].figure)
        counters = counters_of(ours)
        buffers = floating(ours.of("buffers"), counters)
        difference = farthest(buffers, floating(theirs[0].of("buffers"), counters))
        if difference.figure > self.rounding.bound("buffers"):
            self.differs = True
            self._find("buffers", number, self._against(difference, ours, "buffers"), Explanation())
            return
        self._note("buffers", difference.figure)

    def _compare_rates(self) -> None:
        """Compare the rates of all steps, which need no equal weights."""
        for group in range(max((len(rates) for rates in self.rates[0]), default=0)):
            single = [rates[group] for rates in self.rates[0] if group < len(rates)]
            by_step = [
                [rates[group] for rates in step if group < len(rates)] for step in self.rates[1]
            ]
            for step, rates in enumerate(by_step[: len(single)]):
                if len(rates) == self.workers and all(same_rate(single[step], r) for r in rates):
                    continue
                self._find_rate(step, single, [each[0] for each in by_step if each], rates)
                return

    def _find_rate(
        self, step: int, single: list[float], first: list[float], rates: list[float]
    ) -> None:
        what = (
            f"the rate is {single[step]:.7g} with one process and {_listed(rates)} in the workers"
        )
        if len(rates) != self.workers or any(not same_rate(each, rates[0]) for each in rates):
            self._find("schedule", step, what, Explanation(causes.RATES_DIFFER))
            return
        what = f"the rate is {single[step]:.7g} with one process and {rates[0]:.7g} in the workers"
        why = explain_rates(single, first, self.workers)
        larger = any(not each.comparable for each in self.found.values())
        if larger and why.cause is causes.RATE_SCALED:
            return  # as it should for a larger batch
        # Some schedules depend on the loss, and may differ where everything does.
        if why.cause or step <= self._first_step():
            self._find("schedule", step, what, why)

    def _compare_counts(self) -> None:
        """Explain samples that differ for a reason that more than one step shows."""
        data = self.found.get("data")
        if data and data.comparable and data.why.cause is None:
            self.found["data"] = Finding("data", data.step, data.what, self.overlap.explain())

    def _note(self, kind: str, figure: float) -> None:
        self.figures[kind] = max(figure, self.figures.get(kind, 0.0))

    def _against(
        self, difference: Difference, ours: RankStep, kind: str, who: str = "", bound_of: str = ""
    ) -> str:
        theirs = who or counted(self.workers, "worker")
        return self._between(difference, ours, kind, "one process", theirs, bound_of)

    def _between(
        self,
        difference: Difference,
        step: RankStep,
        kind: str,
        one: str,
        other: str,
        bound_of: str = "",
    ) -> str:
        """Return a difference in words."""
        if difference.figure == 0:
            return f"the workers differ among each other, {other} not from {one}"
        if difference.position is None:
            return f"{difference.name} is missing, or has another shape, with {one} or {other}"
        shape = step.values.shapes.get(
            f"{'buffers' if kind == 'buffers' else 'weights'}/{difference.name}", []
        )
        where = place(difference.name, difference.position, shape, step.values.entries)
        subject = {"gradient": "the gradient of "}.get(kind, "")
        bound = self.rounding.bound(bound_of or kind)
        ours, theirs = difference.values
        return (
            f"{subject}{where} is {ours:.7g} with {one} and {theirs:.7g} with {other}; the largest "
            f"difference is {difference.figure:.1e} of the largest value (rounding explains "
            f"{bound:.1e})"
        )


def _same_rates(ours: RankStep, theirs: RankStep) -> bool:
    one, other = ours.values.rates, theirs.values.rates
    return len(one) == len(other) and all(map(same_rate, one, other))


def _listed(numbers: Any) -> str:
    return ", ".join(f"{each:.7g}" for each in numbers)


def _sum_of(parts: list[int]) -> str:
    """Return ``8 + 8 = 16``."""
    if len(parts) == 1:
        return str(parts[0])
    return f"{' + '.join(map(str, parts))} = {sum(parts)}"
