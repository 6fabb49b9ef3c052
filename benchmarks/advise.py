"""The judgement of the cost model on a hundred networks that no calibration has seen."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from triptych.advise import calibration
from triptych.advise.advice import Advisor
from triptych.advise.calibration import Sample
from triptych.advise.sampling import LARGEST
from triptych.advise.timer import Stopwatch
from triptych.advise.workload import Case
from triptych.core.selection import EngineSpec, specs
from triptych.errors import EngineError, TriptychError, counted
from triptych.spec import zoo

from .progress import progress
from .timing import Settings

NETWORKS = 100
PASSES = 2  # the shorter time counts: what disturbs one timing seldom disturbs both
SEED = 6  # of networks that were timed for the first time after the model's terms had been chosen
AS_FAST = 1.05  # times the fastest, at most
WANTED_SHARE = 0.95  # of the networks, for which a row that is as fast must be named
LARGEST_ERROR = 0.15  # of the predicted times, in the median

SIDES = (8, 12, 16, 20, 24, 28, 32)  # pixels
OPTIMIZERS = ("sgd", "momentum", "nesterov", "adam", "adamw", "rmsprop")
SHARE_OF_DENSE = 0.6
SHARE_WITH_DROPOUT = 0.25
SHARE_OF_FULL_BATCHES = 0.2
SHARE_WITH_NORM = 0.3
SHARE_WITH_HIDDEN_LAYER = 0.5


@dataclass(frozen=True)
class Score:
    """How good the advice was.

    Attributes
    ----------
    name, title : str
        The workload, and a few words.
    threads : int
        Threads of each row.
    networks : int
        How many were judged.
    right : dict of str to int
        For how many networks the named row takes at most 5 % longer than the fastest: under
        ``advise`` for the advice, and by row for naming always that row.
    sure, sure_right : int
        For how many networks the advice excluded every other row, and for how many of those it was
        right.
    missed : dict of str to float
        By row, the median of |predicted/measured - 1|.
    miss : float
        The same over all rows.
    barred : dict of str to str
        Rows that the advice never names, and why; they are not timed either.
    """

    name: str
    title: str
    threads: int
    networks: int
    right: dict[str, int]
    sure: int
    sure_right: int
    missed: dict[str, float]
    miss: float
    barred: dict[str, str]

    @property
    def ok(self) -> bool:
        """Whether the advice is as good as wanted."""
        enough = self.right["advise"] >= WANTED_SHARE * self.networks
        return enough and self.miss <= LARGEST_ERROR

    def text(self) -> Iterator[str]:
        """Yield the block that a person reads, line by line."""
        yield f"{self.name}: {self.title}, {counted(self.threads, 'thread')}"
        yield (
            f"  {'the named fastest is it, or within 5 %':42} {self.right['advise']} "
            f"of {self.networks}; at least {WANTED_SHARE:.0%} are wanted"
        )
        yield f"  {'… where it says that no other may be':42} {self.sure_right} of {self.sure}"
        for key in self.missed:
            yield f"  {f'always {key}':42} {self.right[key]} of {self.networks}"
        for key, reason in self.barred.items():
            yield f"  not judged: {key}: {reason}"
        of_rows = ", ".join(f"{key} {miss:.1%}" for key, miss in self.missed.items())
        yield (
            f"  {'median error of the predicted time':42} {self.miss:.1%} ({of_rows}); "
            f"at most {LARGEST_ERROR:.0%} is wanted"
        )

    def entries(self) -> list[dict[str, Any]]:
        """Return the counts and errors as one entry."""
        counts = {key: value for key, value in vars(self).items() if key not in ("name", "title")}
        return [{"workload": self.name} | counts | {"ok": self.ok}]


@dataclass(frozen=True)
class Unasked:
    """Why there is no score."""

    name: str
    why: str
    ok = False

    def text(self) -> Iterator[str]:
        """Yield the reason."""
        yield f"{self.name}: {self.why}"

    def entries(self) -> list[dict[str, Any]]:
        """Return no entries."""
        return []


@dataclass(frozen=True)
class Advise:
    """Random networks, on which the advice is judged."""

    title: str
    networks: int = NETWORKS
    timed = True

    def measure(self, name: str, settings: Settings) -> Iterator[Score | Unasked]:
        """Time random networks in the rows of this machine's calibration, and judge the advice.

        Without `all_backends` the rows are every engine's default backend.
        """
        path = calibration.path(settings.threads)
        try:
            calibrated = calibration.load(path, settings.threads)
            rows = [spec for spec in specs(None, settings.all_backends) if spec in calibrated.rows]
            advisor = Advisor(replace(calibrated, rows=tuple(rows)))
        except TriptychError as error:
            yield Unasked(name, str(error))
            return
        named = [spec for spec in advisor.calibration.rows if spec.key in advisor.named]
        samples = timed(named, settings.threads, self.networks)
        yield score(self, name, settings.threads, advisor, samples)


def timed(rows: Sequence[EngineSpec], threads: int, networks: int) -> list[Sample]:
    """Return random networks, the same in every run, with the seconds of a step in every row.

    All are timed `PASSES` times, one after the other, and the shortest time counts.
    """
    cases = [drawn(number) for number in range(networks)]
    shortest: list[dict[str, float]] = [{} for _ in cases]
    with Stopwatch(list(rows), threads) as watch:
        for done, number in enumerate([*range(networks)] * PASSES, 1):
            for key, seconds in watch.time(cases[number]).items():
                before = shortest[number].get(key, seconds)
                shortest[number][key] = min(seconds, before)
            progress(f"advise: {done} of {PASSES * networks} timings", passing=True)
            for timer in watch.timers:
                if timer.failed:
                    raise EngineError(f"{timer.spec.label}: {timer.failed}")
    return [Sample(case, seconds) for case, seconds in zip(cases, shortest, strict=True)]


def score(
    workload: Advise, name: str, threads: int, advisor: Advisor, samples: Sequence[Sample]
) -> Score:
    """Compare the advice with what was timed.

    Parameters
    ----------
    workload : Advise
        Its title is the score's.
    name : str
        The name of the workload.
    threads : int
        Threads of each row.
    advisor : Advisor
        Gives the advice.
    samples : sequence of Sample
        The networks, with the seconds of a step in every row.
    """
    keys = advisor.named
    right = dict.fromkeys(["advise", *keys], 0)
    sure: list[bool] = []
    errors: dict[str, list[float]] = {key: [] for key in keys}
    for sample in samples:
        longest = AS_FAST * min(sample.seconds.values())
        as_fast = {key: sample.seconds[key] <= longest for key in keys}
        advice = advisor.advise(sample.case)
        first, *others = advice.fastest
        right["advise"] += as_fast[first]
        if not others:
            sure.append(as_fast[first])
        for estimate in advice.estimates:
            if not estimate.barred:
                key = estimate.key
                right[key] += as_fast[key]
                errors[key].append(abs(estimate.seconds / sample.seconds[key] - 1))
    return Score(
        name=name,
        title=workload.title,
        threads=threads,
        networks=len(samples),
        right=right,
        sure=len(sure),
        sure_right=sum(sure),
        missed={key: float(np.median(of_row)) for key, of_row in errors.items()},
        miss=float(np.median(np.concatenate(list(errors.values())))),
        barred=advisor.barred,
    )


def drawn(number: int) -> Case:
    """Return a random network with a batch and an optimizer.

    Three in five are dense, the others have convolutions. What is too large to be timed is drawn
    again.
    """
    rng = np.random.default_rng([SEED, number])
    while True:
        side = int(rng.choice(SIDES))
        optimizer = str(rng.choice(OPTIMIZERS))
        shape = (side, side, int(rng.choice([1, 3])))
        draw = _draw_dense if rng.random() < SHARE_OF_DENSE else _draw_convolutional
        case = draw(rng, shape, optimizer)
        if case.operations <= LARGEST:
            return case


def _draw_dense(rng: np.random.Generator, shape: tuple[int, int, int], optimizer: str) -> Case:
    widths = [_between(rng, 8, 1500) for _ in range(rng.integers(1, 5))]
    dropout = 0.3 if rng.random() < SHARE_WITH_DROPOUT else 0.0
    network = zoo.dense("drawn", widths, dropout, shape=shape)
    batch = _between(rng, 1, 8192)
    return Case.of(network, batch, optimizer, full=rng.random() < SHARE_OF_FULL_BATCHES)


def _draw_convolutional(
    rng: np.random.Generator, shape: tuple[int, int, int], optimizer: str
) -> Case:
    filters = [_between(rng, 3, 64) for _ in range(rng.integers(1, 4))]
    hidden = [_between(rng, 16, 256)] if rng.random() < SHARE_WITH_HIDDEN_LAYER else []
    kernel = int(rng.choice([3, 3, 5]))
    norm = rng.random() < SHARE_WITH_NORM
    network = zoo.convolutional(filters, kernel, norm=norm, hidden=hidden, shape=shape)
    return Case.of(network, _between(rng, 1, 512), optimizer)


def _between(rng: np.random.Generator, low: int, high: int) -> int:
    """Return a whole number whose logarithm is uniform."""
    return round(float(np.exp(rng.uniform(np.log(low), np.log(high)))))
