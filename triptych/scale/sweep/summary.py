"""What the cells of a sweep come to: each configuration over its seeds, and which are best.

A *configuration* is an engine with a backend, a data set, a network and a recipe: what is left of a
cell without its seed.
"""

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Any

from ...core.metrics import interval_text

Json = dict[str, Any]

QUANTILE = 0.975  # of Student's distribution: the upper limit of a 95 % interval


def cell_name(cell: Json) -> str:
    """Return what a cell is called, such as ``NumPy · digits · dense-32 · mlp · seed 0``.

    Parameters
    ----------
    cell : dict
        It has ``label``, ``data``, ``network``, ``recipe`` and ``seed``.
    """
    names = (cell["label"], cell["data"], cell["network"], cell["recipe"])
    return f"{' · '.join(names)} · seed {cell['seed']}"


@dataclass(frozen=True)
class Configuration:
    """A configuration, and what came of its seeds.

    Attributes
    ----------
    engine, backend, label, data, network, recipe : str
        What it is.
    parameters : int
        Numbers that are trained.
    accuracy : dict of int to float
        Test accuracy of each seed that is finished, in [0, 1].
    failed : int
        How many seeds have failed.
    mean, low, high : float or None
        The mean accuracy over the seeds and its 95 % interval, by Student's distribution; of a
        single seed its accuracy and the Wilson interval of its test samples. None if no seed is
        finished.
    seconds, step_seconds, first_step_seconds : float or None
        Medians over the timed cells whose node was calm: of the whole training, of a step, and of
        the first step.
    timed, busy : int
        How many cells are timed, and of these how many on a busy node.
    """

    engine: str
    backend: str
    label: str
    data: str
    network: str
    recipe: str
    parameters: int
    accuracy: dict[int, float]
    failed: int
    mean: float | None
    low: float | None
    high: float | None
    seconds: float | None
    step_seconds: float | None
    first_step_seconds: float | None
    timed: int
    busy: int

    @property
    def interval(self) -> str:
        """The 95 % interval of the accuracy in percent; empty without one."""
        if self.low is None or self.high is None:
            return ""
        return interval_text(self.low, self.high)

    @classmethod
    def of(cls, cells: Sequence[Json]) -> "Configuration":
        """Return the configuration that some cells, which differ in their seeds, come to."""
        first = cells[0]
        finished = [cell for cell in cells if cell["status"] == "finished"]
        timed = [cell for cell in finished if cell["timed"]]
        calm = [cell for cell in timed if not cell["busy"]]
        mean, low, high = _interval(finished)
        names = ("engine", "backend", "label", "data", "network", "recipe", "parameters")
        return cls(
            **{name: first[name] for name in names},
            accuracy={cell["seed"]: cell["accuracy"] for cell in finished},
            failed=len(cells) - len(finished),
            mean=mean,
            low=low,
            high=high,
            seconds=_median(calm, "seconds"),
            step_seconds=_median(calm, "step_seconds"),
            first_step_seconds=_median(calm, "first_step_seconds"),
            timed=len(timed),
            busy=len(timed) - len(calm),
        )


def configurations(cells: Iterable[Json]) -> list[Configuration]:
    """Return the configurations of some cells that have ended, in the order of the cells."""
    groups: dict[tuple[str, ...], list[Json]] = {}
    for cell in cells:
        key = tuple(cell[name] for name in ("engine", "backend", "data", "network", "recipe"))
        groups.setdefault(key, []).append(cell)
    return [Configuration.of(group) for group in groups.values()]


def front(chosen: Iterable[Configuration]) -> list[Configuration]:
    """Return the configurations than which no other one is both faster and more accurate.

    Only those with a time and a mean accuracy are compared. The fastest comes first; of two that
    are equal in both the first one is returned.
    """
    compared = [each for each in chosen if each.seconds is not None and each.mean is not None]
    compared.sort(key=lambda each: (each.seconds or 0.0, -(each.mean or 0.0)))
    best: list[Configuration] = []
    for each in compared:
        if not best or (each.mean or 0.0) > (best[-1].mean or 0.0):
            best.append(each)
    return best


def _interval(finished: Sequence[Json]) -> tuple[float | None, float | None, float | None]:
    """Return the mean accuracy and its 95 % interval."""
    if not finished:
        return None, None, None
    if len(finished) == 1:
        return finished[0]["accuracy"], finished[0]["low"], finished[0]["high"]
    return mean_interval([cell["accuracy"] for cell in finished])


def mean_interval(values: Sequence[float]) -> tuple[float, float, float]:
    """Return the mean of at least two shares and its 95 % interval, inside of [0, 1].

    Parameters
    ----------
    values : sequence of float
        Shares in [0, 1], which are taken as draws of a normal distribution.
    """
    from scipy.special import stdtrit

    count = len(values)
    mean = statistics.fmean(values)
    half = float(stdtrit(count - 1, QUANTILE)) * statistics.stdev(values) / sqrt(count)
    return mean, max(0.0, mean - half), min(1.0, mean + half)


def _median(cells: Sequence[Json], column: str) -> float | None:
    """Return the median of a column, of the cells that have it."""
    values = [cell[column] for cell in cells if cell[column] is not None]
    return statistics.median(values) if values else None
