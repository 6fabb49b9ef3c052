"""Tries hypotheses on B: each place has its own, and one run tries one of every place.

Because B's anchors are forced to what A has, a change at one place does not reach another.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from .alignment import shapes_of_anchors
from .bounds import Bounds
from .examination import Examination
from .forcing import run
from .frameworks.adapter import ModelError, Unsupported
from .hypotheses import Hypothesis, hypotheses
from .inside import inner_hypotheses
from .observation import RECURRENT, Array, Arrays, Change, Observation
from .places import LAYER, Place, places, previous_anchor
from .suspects import SAME, Result, Suspect, figures_of, results, same_figures, suspects

MOST_ROUNDS = 16
IMAGE_AXES = 4  # of a batch of images


@dataclass
class Case:
    """A place at which the sides differ, and what was found out about it.

    Attributes
    ----------
    place : Place
        The place.
    difference : float
        The difference there, before anything was changed.
    accepted : list of Hypothesis
        What makes B compute as A, as far as it is known.
    remaining : float
        The difference with that.
    suspects : list of Suspect
        Calls that return other numbers, with that.
    solved : bool
        Whether the rest is explained by rounding.
    """

    place: Place
    difference: float
    accepted: list[Hypothesis] = field(default_factory=list[Hypothesis])
    remaining: float = float("inf")
    suspects: list[Suspect] = field(default_factory=list[Suspect])
    solved: bool = False

    @property
    def changes(self) -> tuple[Change, ...]:
        """All changes that were accepted."""
        return tuple(change for each in self.accepted for change in each.changes)


class Trials:
    """Explains the places that differ in evaluation mode.

    Parameters
    ----------
    examination : Examination
        The comparison.
    bounds : Bounds
        What rounding explains.
    """

    def __init__(self, examination: Examination, bounds: Bounds) -> None:
        self.examination = examination
        self.bounds = bounds
        self.a = examination.a_evaluation
        self.b = examination.b_evaluation
        self.tolerance = SAME[examination.dtype]
        self.alignment = examination.alignment
        self._base: tuple[Change, ...] = ()
        self._supported: dict[Change, bool] = {}

    def proceed(self, changes: Iterable[Change]) -> list[Place]:
        """Keep changes in all later runs, and return the places as they are then.

        Parameters
        ----------
        changes : iterable of Change
            What was found out to make B compute as A.
        """
        self._base = (*self._base, *changes)
        self.b = self._run(())
        self.alignment = replace(self.alignment, b_shapes=shapes_of_anchors(self.b))
        self.b = self._run(())
        return list(places(self.alignment, self.a, self.b))

    def _run(self, changes: Iterable[Change]) -> Observation:
        return self.with_results({}, changes)

    def with_results(self, given: Arrays, changes: Iterable[Change]) -> Observation:
        """Return what B does with some arrays in place of what its functions return.

        Parameters
        ----------
        given : dict of str to ndarray
            ``NUMBER/output`` of functions that a layer of the user's calls.
        changes : iterable of Change
            What is changed besides what `proceed` keeps.
        """
        return run(
            self.examination,
            forced=self.alignment.forced(self.a) | given,
            changes=(*self._base, *changes),
        )

    def explain(self, places: Iterable[Place]) -> list[Case]:
        """Return what was found out about places that differ.

        Parameters
        ----------
        places : iterable of Place
            The places.
        """
        cases = [Case(place, place.difference(self.b)) for place in places]
        waiting = {id(case): self._hypotheses(case, self.b) for case in cases}
        for case in cases:
            case.remaining = case.difference
        for _ in range(MOST_ROUNDS):
            tried: list[tuple[Case, Hypothesis]] = []
            for case in cases:
                hypothesis = None if case.solved else next(waiting[id(case)], None)
                if hypothesis is not None:
                    tried.append((case, hypothesis))
            if not tried:
                break
            for case, hypothesis, observation in self._results(tried):
                if self._judge(case, hypothesis, observation):
                    waiting[id(case)] = self._hypotheses(case, observation)
        return cases

    def _results(
        self, tried: Sequence[tuple[Case, Hypothesis]]
    ) -> Iterator[tuple[Case, Hypothesis, Observation]]:
        """Yield what B does with the changes of all cases, or of each alone if that fails."""
        changes = [
            change for case, hypothesis in tried for change in (*case.changes, *hypothesis.changes)
        ]
        try:
            observation = self._run(changes)
        except ModelError:
            if len(tried) > 1:
                for each in tried:
                    yield from self._results([each])
            return
        for case, hypothesis in tried:
            yield case, hypothesis, observation

    def _judge(self, case: Case, hypothesis: Hypothesis, observation: Observation) -> bool:
        """Accept a hypothesis if it explains the place, or one call in it."""
        difference = case.place.difference(observation)
        explained = difference <= case.place.precision(self.bounds)
        # That another reduction returns the same is not what the user must have meant.
        partly = hypothesis.kind != "reduction" or "function" not in hypothesis.values
        if explained or (partly and self._call_agrees(case, hypothesis, observation)):
            case.accepted.append(hypothesis)
            case.remaining = difference
            case.solved = explained
            return True
        return False

    def _call_agrees(self, case: Case, hypothesis: Hypothesis, observation: Observation) -> bool:
        """Return whether the changed call returns what its counterpart does."""
        if not self._is_suspected(case, hypothesis):
            return False
        a = self.a.arrays.get(f"{hypothesis.a.number}/output")
        b = observation.arrays.get(f"{hypothesis.b.number}/output")
        if a is None or b is None:
            return False
        return same_figures(figures_of(a), figures_of(b), self.tolerance)

    def _is_suspected(self, case: Case, hypothesis: Hypothesis) -> bool:
        """Return whether the calls of a hypothesis have returned other numbers so far."""
        a = [each.a.call for each in case.suspects if each.a is not None]
        b = [each.b.call for each in case.suspects if each.b is not None]
        return hypothesis.a in a and hypothesis.b in b

    def _hypotheses(self, case: Case, observation: Observation) -> Iterator[Hypothesis]:
        """Yield what may explain a case, as far as it can be tried."""
        case.suspects = self.suspects(case.place, observation)
        for hypothesis in self._all(case):
            known = [accepted.changes for accepted in case.accepted]
            if hypothesis.changes not in known and self._can(hypothesis):
                yield hypothesis

    def _all(self, case: Case) -> Iterator[Hypothesis]:
        place = case.place
        if place.what == LAYER:
            yield from hypotheses(self.a.calls[place.a_number], self.b.calls[place.b_number])
            if self.b.calls[place.b_number].kind in RECURRENT:
                yield from self._embeddings(place)
            yield from inner_hypotheses(*self.results(place, self.b), case.suspects)
            return
        for suspect in case.suspects:
            if suspect.a is not None and suspect.b is not None:
                yield from hypotheses(suspect.a.call, suspect.b.call)
        yield from self._embeddings(place)

    def _embeddings(self, place: Place) -> Iterator[Hypothesis]:
        """Yield that an embedding hands on a mask of its padding, or does not."""
        for pair in self.examination.alignment.called:
            if pair.b.kind != "embedding":
                continue
            a, b = self.a.calls[pair.a_calls[0]], self.b.calls[pair.b_calls[0]]
            if b.number > place.b_number:
                continue
            masked = b.settings.get("padding_index") is not None
            change = Change("layer", pair.b.path, "padding_index", None if masked else 0)
            recurrent = place.what == LAYER
            values = {"packing" if recurrent else "mask": (not masked, masked)}
            yield Hypothesis("embedding", values, (change,), a, b)

    def results(self, place: Place, observation: Observation) -> tuple[list[Result], list[Result]]:
        """Return what A and B call in a segment, or in a layer that their users wrote.

        Parameters
        ----------
        place : Place
            The place.
        observation : Observation
            Of B.
        """
        if place.what == LAYER:
            a, b = (
                results(each, number, len(each.calls), self.tolerance, within=number)
                for each, number in ((self.a, place.a_number), (observation, place.b_number))
            )
            return (a, b) if a and b else ([], [])
        a_start = previous_anchor(self.a, place.a_number)
        b_start = previous_anchor(observation, place.b_number)
        return (
            results(self.a, a_start, place.a_number, self.tolerance),
            results(observation, b_start, place.b_number, self.tolerance),
        )

    def suspects(self, place: Place, observation: Observation) -> list[Suspect]:
        """Return the calls of a place that return other numbers."""
        forced = self.alignment.forced(self.a)
        if place.what == LAYER:
            before = forced.get(f"{place.b_number}/input")
        else:
            b_start = previous_anchor(observation, place.b_number)
            before = forced.get(f"{b_start}/output", self._image if b_start < 0 else None)
        return suspects(*self.results(place, observation), before, self.tolerance)

    @property
    def _image(self) -> Array | None:
        """What both models get, features last, if it is one batch of images."""
        examination = self.examination
        inputs = list(self.alignment.inputs_to_b(examination.a_inputs).values())
        if len(inputs) != 1 or inputs[0].ndim != IMAGE_AXES:
            return None
        channels_first = examination.b_description.framework == "torch"
        return np.moveaxis(inputs[0], 1, -1) if channels_first else inputs[0]

    def _can(self, hypothesis: Hypothesis) -> bool:
        """Return whether B can be changed so from outside."""
        return all(self.supports(change) for change in hypothesis.changes)

    def supports(self, change: Change) -> bool:
        """Return whether B can have a change from outside."""
        key = Change(change.target, change.path, change.setting, repr(change.value))
        if key not in self._supported:
            b, dtype = self.examination.b, self.examination.dtype
            try:
                b.change([change], dtype)
                self._supported[key] = True
            except Unsupported:
                self._supported[key] = False
            finally:
                b.restore(dtype)
        return self._supported[key]
