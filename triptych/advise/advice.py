"""What a calibration predicts for a network: the seconds of a step in each row; the fastest row."""

from dataclasses import dataclass

import numpy as np

from ..core import registry
from ..errors import TriptychError, counted
from . import model
from .calibration import Calibration
from .model import Fit
from .workload import Case

FEWEST_NETWORKS = 4  # that a row must have timed to be fitted
ENOUGH_NETWORKS = 24  # from which a row is fitted without another row
LARGEST_UNCERTAINTY = 2.0  # the factor that contains 90 % of the errors, for a row to be named


@dataclass(frozen=True)
class Estimate:
    """The predicted step of one row.

    Attributes
    ----------
    key, label : str
        The key and the label of the row.
    seconds : float
        The prediction.
    deviation : float
        The standard deviation of its logarithm.
    shares : dict of str to float
        Overhead, memory, arithmetic; they add up to 1.
    barred : str or None
        Why the row is never called the fastest, or None.
    """

    key: str
    label: str
    seconds: float
    deviation: float
    shares: dict[str, float]
    barred: str | None

    @property
    def interval(self) -> tuple[float, float]:
        """Limits that contain 90 % of the times of networks that the model was not fitted to."""
        factor = np.exp(model.DEVIATIONS * self.deviation)
        return self.seconds / factor, self.seconds * factor


@dataclass(frozen=True)
class Advice:
    """What is predicted for one network.

    Attributes
    ----------
    estimates : list of Estimate
        Of every row, the shortest first.
    fastest : list of str
        The key of the row with the shortest estimate of those that may be named, then the keys of
        the others that may be as fast.
    """

    estimates: list[Estimate]
    fastest: list[str]


class Advisor:
    """A calibration with a model of each row.

    Parameters
    ----------
    calibration : Calibration
        What was timed.

    Attributes
    ----------
    fitted : dict of str to Fit
        The model of each row by its key, the row that timed most networks first.
    barred : dict of str to str
        Rows that are never called the fastest, and why: not proved, or too little is known.
    named : list of str
        The keys of the others, in the order in which they were timed.

    Raises
    ------
    TriptychError
        If there are no others.
    """

    def __init__(self, calibration: Calibration) -> None:
        self.calibration = calibration
        self._amounts = np.array([model.amounts(sample.case) for sample in calibration.samples])
        self.fitted: dict[str, Fit] = {}
        self.barred: dict[str, str] = {}
        keys = [spec.key for spec in calibration.rows]
        for key in sorted(keys, key=self.timed, reverse=True):
            if self.timed(key) >= FEWEST_NETWORKS:
                self.fitted[key] = self._fit(key)
            why = calibration.unproved.get(key) or self._doubt(key)
            if why:
                self.barred[key] = why
        self.named = [key for key in keys if key not in self.barred]
        if not self.named:
            raise TriptychError(
                "too little was timed to know any row; give triptych map more --minutes"
            )

    def timed(self, key: str) -> int:
        """Return how many networks a row has timed."""
        return sum(key in sample.seconds for sample in self.calibration.samples)

    def absent(self) -> dict[str, str]:
        """Return the label of every row that the map cannot name, with the reason.

        These are the rows that are barred and the engines that were never timed on this machine.
        """
        reasons = {self.calibration.row(key).label: why for key, why in self.barred.items()}
        timed = {spec.engine for spec in self.calibration.rows}
        for name, entry in registry.entries().items():
            if name not in timed:
                how = f"not installed: {entry.install}"
                if entry.installed:
                    how = f"run triptych map --engines {name}"
                reasons[entry.label] = f"never timed; {how}"
        return reasons

    def rates(self, key: str, case: Case) -> tuple[float, float, float]:
        """Return the cost of a step in one row; infinite rates if something costs nothing.

        Returns
        -------
        tuple of (float, float, float)
            Seconds of overhead, bytes a second, operations a second.
        """
        estimate = self.estimate(key, case)
        overhead, memory, arithmetic = estimate.seconds * np.array([*estimate.shares.values()])
        with np.errstate(divide="ignore"):
            return overhead, case.bytes / memory, case.operations / arithmetic

    def unknown(self, case: Case) -> list[str]:
        """Return the kinds of layers that none of the timed networks had."""
        timed = [sample.case.layer_types for sample in self.calibration.samples]
        return sorted(case.layer_types.difference(*timed))

    def estimate(self, key: str, case: Case) -> Estimate:
        """Return what is predicted for a step in one row."""
        amounts = model.amounts(case)
        fit = self.fitted[key]
        seconds, deviation = fit.predict(amounts[None])
        return Estimate(
            key,
            self.calibration.row(key).label,
            seconds.item(),
            deviation.item(),
            fit.shares(amounts),
            self.barred.get(key),
        )

    def advise(self, case: Case) -> Advice:
        """Return what is predicted for a step."""
        estimates = [self.estimate(key, case) for key in self.fitted]
        estimates.sort(key=lambda estimate: estimate.seconds)
        first, *others = [estimate for estimate in estimates if not estimate.barred]
        fastest = [first.key]
        for other in others:
            lead = np.log(other.seconds / first.seconds)
            if lead <= model.DEVIATIONS * np.hypot(first.deviation, other.deviation):
                fastest.append(other.key)
        return Advice(estimates, fastest)

    def _doubt(self, key: str) -> str | None:
        """Return why too little is known of a row, with what to do, or None."""
        if key not in self.fitted:
            networks = counted(self.timed(key), "network")
            return f"only {networks} timed; run triptych map with more --minutes"
        factor = np.exp(model.quantile(self.fitted[key].residuals, model.COVERED))
        if factor <= LARGEST_UNCERTAINTY:
            return None
        return (
            f"too little is known: of the networks left out of its fit, {model.COVERED:.0%} were "
            f"predicted only within a factor of {factor:.1f}; run triptych map with more --minutes"
        )

    def _fit(self, key: str) -> Fit:
        """Return the model of a row.

        A row that timed few networks, because it compiles each of them for long, is taken to need a
        constant multiple of the time of another row of its engine.
        """
        samples = self.calibration.samples
        seconds = np.array([sample.seconds.get(key, np.nan) for sample in samples])
        timed = np.isfinite(seconds)
        rows = self._amounts[timed]
        seconds = seconds[timed]
        if len(rows) < ENOUGH_NETWORKS:
            engine = self.calibration.row(key).engine
            for other, fit in self.fitted.items():
                if self.calibration.row(other).engine == engine:
                    return fit.scaled(rows, seconds)
        return model.fit(rows, seconds)
