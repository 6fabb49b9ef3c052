"""What a calibration says about one network: seconds a step in each row, why, and which row is the fastest, where that can be told."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..core import registry
from ..errors import TriptychError
from . import model
from .calibration import Calibration
from .model import Floats
from .workload import Arithmetic, arithmetic

Indices = NDArray[np.intp]  # of samples

COVERED = 0.9  # of left-out networks lie inside an interval
FEWEST = 4  # networks that a row must have timed to be spoken of
VAGUE = 2.0  # a factor within which nine in ten of them must lie, for a row to be named
ENOUGH = 24  # from which it is fitted on its own
BORROWED = 0.05  # what a network counts that was taken from another row of the same engine


@dataclass(frozen=True)
class Estimate:
    """One row's step.

    Attributes
    ----------
    key, label : str
    seconds, low, high : float
        Of a step; of networks that the costs were not fitted to, nine in ten lie between low and high.
    shares : dict of str to float
        Overhead, memory, arithmetic; they add up to 1.
    barred : str or None
        Why it is never called the fastest.
    """

    key: str
    label: str
    seconds: float
    low: float
    high: float
    shares: dict[str, float]
    barred: str | None


@dataclass(frozen=True)
class Advice:
    """What is expected of one network.

    Attributes
    ----------
    estimates : list of Estimate
        Of every row, the shortest first.
    fastest : list of str
        The row with the shortest estimate of those that may be named, and behind it the others that may be as fast.
    """

    estimates: list[Estimate]
    fastest: list[str]


@dataclass(frozen=True)
class Fitted:
    """One row, and what was missed of each network when it was left out, log(true/predicted), by its place."""

    fit: model.Fit
    errors: dict[int, float]


class Advisor:
    """A calibration, fitted.

    Attributes
    ----------
    fitted : dict of str to Fitted
        By row, the one that timed most networks first.
    barred : dict of str to str
        Rows that are never called the fastest, and why.
    named : list of str
        The others, in the order in which they were timed.

    Raises
    ------
    TriptychError
        Where there are no others.
    """

    def __init__(self, calibration: Calibration) -> None:
        self.calibration = calibration
        counted = [
            arithmetic(sample.case.network, sample.case.recipe, sample.case.batch)
            for sample in calibration.samples
        ]
        self._rows = np.array([model.amounts(a) for a in counted])
        self._kinds = {work.kind for a in counted for work in a.works}
        self._convolves = np.array([a.convolution > 0 for a in counted])
        self.fitted: dict[str, Fitted] = {}
        for key in sorted(
            (spec.key for spec in calibration.rows), key=lambda key: -self.timed(key)
        ):
            if self.timed(key) >= FEWEST:
                self.fitted[key] = self._fit(key)
        self.barred = self._vague() | calibration.unproved
        self.named = [
            spec.key
            for spec in calibration.rows
            if spec.key in self.fitted and spec.key not in self.barred
        ]
        if not self.named:
            raise TriptychError(
                "too little was timed to know any row; give triptych map more --minutes"
            )

    def absent(self) -> dict[str, str]:
        """Return every row that the map cannot name, by its label, and why.

        These are the rows that are barred, those that timed too few networks, and the engines that were
        never timed on this machine.
        """
        label = self.calibration.label
        found = {label(key): why for key, why in self.barred.items()}
        for spec in self.calibration.rows:
            if spec.key not in self.fitted and spec.key not in self.barred:
                networks = self.timed(spec.key)
                found[spec.label] = (
                    f"only {networks} network{'' if networks == 1 else 's'} timed; run triptych map with more --minutes"
                )
        timed = {spec.engine for spec in self.calibration.rows}
        for name, entry in registry.entries().items():
            if name not in timed:
                how = (
                    f"run triptych map --engines {name}"
                    if entry.installed
                    else f"not installed: {entry.install}"
                )
                found[entry.label] = f"never timed; {how}"
        return found

    def timed(self, key: str) -> int:
        """How many networks a row has timed."""
        return sum(key in sample.seconds for sample in self.calibration.samples)

    def rates(self, key: str, a: Arithmetic) -> tuple[float, float, float]:
        """Return what a step comes to in one row: seconds of overhead, bytes a second, operations a second; infinite what costs nothing."""
        amount, fit = model.amounts(a), self.fitted[key].fit
        shares, seconds = fit.shares(amount), float(fit.seconds(amount[None])[0])
        memory, arithmetic = (seconds * shares[share] for share in ("memory", "arithmetic"))
        return (
            seconds * shares["overhead"],
            a.bytes / memory if memory else np.inf,
            a.operations / arithmetic if arithmetic else np.inf,
        )

    def unknown(self, a: Arithmetic) -> list[str]:
        """Return the kinds of layers that none of the timed networks had."""
        return sorted({work.kind for work in a.works} - self._kinds)

    def advise(self, a: Arithmetic) -> Advice:
        """Return what is expected of a step.

        What two rows miss of one network is alike, so it is the error of their ratio that decides, pair by pair, who may be as fast.
        """
        amount, found = model.amounts(a), list[Estimate]()
        for key, fitted in self.fitted.items():
            seconds = float(fitted.fit.seconds(amount[None])[0])
            around = np.exp(model.quantile(self._alike(fitted.errors, a), COVERED))
            shares, why = fitted.fit.shares(amount), self.barred.get(key)
            found.append(
                Estimate(
                    key,
                    self.calibration.label(key),
                    seconds,
                    seconds / around,
                    seconds * around,
                    shares,
                    why,
                )
            )
        found.sort(key=lambda estimate: estimate.seconds)
        first, *others = (estimate for estimate in found if not estimate.barred)
        near = [
            other.key
            for other in others
            if np.log(other.seconds / first.seconds) <= self._margin(first.key, other.key, a)
        ]
        return Advice(found, [first.key, *near])

    def _vague(self) -> dict[str, str]:
        """Return the rows of which too little is known, each with what to do."""
        found: dict[str, str] = {}
        for key, fitted in self.fitted.items():
            around = np.exp(model.quantile(list(fitted.errors.values()), COVERED))
            if around > VAGUE:
                within = f"of the networks left out of its fit, {COVERED:.0%} were predicted only within a factor of {around:.1f}"
                found[key] = f"too little is known: {within}; run triptych map with more --minutes"
        return found

    def _margin(self, one: str, other: str, a: Arithmetic) -> float:
        mine, theirs = self.fitted[one].errors, self.fitted[other].errors
        return model.quantile(
            self._alike({i: mine[i] - theirs[i] for i in mine.keys() & theirs.keys()}, a), COVERED
        )

    def _alike(self, errors: dict[int, float], a: Arithmetic) -> list[float]:
        """Return the errors of networks that have convolutions as `a` does, or have none; all where those are few."""
        alike = [error for i, error in errors.items() if self._convolves[i] == (a.convolution > 0)]
        return alike if len(alike) >= FEWEST else list(errors.values()) or [np.inf]

    def _fit(self, key: str) -> Fitted:
        at = np.array(
            [i for i, sample in enumerate(self.calibration.samples) if key in sample.seconds]
        )
        seconds = self._seconds(key, at)
        extra = self._borrowed(key, at) if len(at) < ENOUGH else None
        errors = model.left_out(self._rows[at], seconds, extra)
        fit = model.fit(*model.with_extra(self._rows[at], seconds, extra))
        return Fitted(fit, dict(zip(at.tolist(), errors.tolist(), strict=True)))

    def _seconds(self, key: str, at: Indices) -> Floats:
        return np.array([self.calibration.samples[i].seconds[key] for i in at])

    def _borrowed(self, key: str, at: Indices) -> tuple[Floats, Floats, Floats] | None:
        """Return what a row had no time for, from another of its engine, longer or shorter by what the two differ where both were timed.

        How much that is depends on whether there are convolutions.
        """
        engine = {spec.key: spec.engine for spec in self.calibration.rows}
        other = next((other for other in self.fitted if engine[other] == engine[key]), None)
        if other is None:
            return None
        theirs = np.array(list(self.fitted[other].errors))
        common, rest = np.intersect1d(theirs, at), np.setdiff1d(theirs, at)
        if not len(common):
            return None
        ratio = self._seconds(key, common) / self._seconds(other, common)
        alike = [ratio[self._convolves[common] == convolves] for convolves in self._convolves[rest]]
        factor = np.array([np.median(found if len(found) else ratio) for found in alike])
        return self._rows[rest], self._seconds(other, rest) * factor, np.full(len(rest), BORROWED)
