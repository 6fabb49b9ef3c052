"""The judgement of the crossover map: a hundred networks that no calibration has seen, foretold, then timed."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from triptych.advise import calibration
from triptych.advise.advice import Advisor
from triptych.advise.calibration import Sample
from triptych.advise.sampling import LARGEST, convolutional
from triptych.advise.timer import Case, Stopwatch
from triptych.advise.workload import arithmetic
from triptych.core.selection import EngineSpec, specs
from triptych.errors import EngineError, TriptychError
from triptych.spec import zoo

from .progress import progress
from .timing import Settings

NETWORKS, PASSES = 100, 2
SEED = 6  # of networks that were timed for the first time after the terms had been chosen
NEAR = 1.05  # as good as the fastest
WANTED, MISS = 0.95, 0.15  # of the networks, and in the median
SIDES = (8, 12, 16, 20, 24, 28, 32)
OPTIMIZERS = ("sgd", "momentum", "nesterov", "adam", "adamw", "rmsprop")


@dataclass(frozen=True)
class Score:
    """What the advice was worth.

    Attributes
    ----------
    name, title : str
    threads : int
    networks : int
    right : dict of str to int
        For the advice and each trivial answer: of how many networks the row it names takes at most 5 % longer than the fastest.
    sure, sure_right : int
        Of how many the advice said that no other row may be as fast, and of how many of those it was right.
    missed : dict of str to float
        By row, the median of |foretold/true - 1|.
    miss : float
        The same over all rows.
    barred : dict of str to str
        Rows that the advice never names, and why: they are not timed either.
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
        return self.right["advise"] >= WANTED * self.networks and self.miss <= MISS

    def text(self) -> Iterator[str]:
        yield f"{self.name}: {self.title}, {self.threads} thread{'s' if self.threads != 1 else ''}"
        yield f"  {'the named fastest is it, or within 5 %':42} {self.right['advise']} of {self.networks}; at least {WANTED:.0%} are wanted"
        yield f"  {'… where it says that no other may be':42} {self.sure_right} of {self.sure}"
        for key in self.missed:
            yield f"  {f'always {key}':42} {self.right[key]} of {self.networks}"
        yield from (f"  not judged: {key}: {why}" for key, why in self.barred.items())
        each = ", ".join(f"{key} {miss:.1%}" for key, miss in self.missed.items())
        yield f"  {'median error of the foretold time':42} {self.miss:.1%} ({each}); at most {MISS:.0%} is wanted"

    def entries(self) -> list[dict[str, Any]]:
        return [
            {"workload": self.name}
            | {key: value for key, value in vars(self).items() if key not in ("name", "title")}
            | {"ok": self.ok}
        ]


@dataclass(frozen=True)
class Unasked:
    """Why there is no score."""

    name: str
    why: str
    ok = False

    def text(self) -> Iterator[str]:
        yield f"{self.name}: {self.why}"

    def entries(self) -> list[dict[str, Any]]:
        return []


@dataclass(frozen=True)
class Advise:
    title: str
    networks: int = NETWORKS
    timed = True

    def measure(self, name: str, settings: Settings) -> Iterator[Score | Unasked]:
        """Time random networks in every row of this machine's calibration, or without `all_backends` in every engine's default."""
        try:
            found = calibration.load(calibration.path(settings.threads), settings.threads)
            advisor = Advisor(
                found.of(
                    [spec for spec in specs(None, settings.all_backends) if spec in found.rows]
                )
            )
        except TriptychError as error:
            yield Unasked(name, str(error))
            return
        rows = [spec for spec in advisor.calibration.rows if spec.key in advisor.named]
        yield score(
            self, name, settings.threads, advisor, timed(rows, settings.threads, self.networks)
        )


def timed(rows: Sequence[EngineSpec], threads: int, networks: int) -> list[Sample]:
    """Return random networks, the same in every run, with the seconds that a step of theirs takes in every row.

    All are timed, and then all again, and the shorter time counts: what disturbs one seldom disturbs it twice.
    """
    cases = list(map(drawn, range(networks)))
    found: list[dict[str, float]] = [{} for _ in cases]
    with Stopwatch(list(rows), threads) as watch:
        for done, number in enumerate([*range(networks)] * PASSES, 1):
            seconds = watch.time(cases[number])
            found[number] = {
                key: min(value, found[number].get(key, value)) for key, value in seconds.items()
            }
            progress(f"advise: {done} of {PASSES * networks} timings", passing=True)
            if failed := [
                f"{timer.spec.label}: {timer.failed}" for timer in watch.timers if timer.failed
            ]:
                raise EngineError(failed[0])
    return [Sample(case, seconds) for case, seconds in zip(cases, found, strict=True)]


def score(
    workload: Advise, name: str, threads: int, advisor: Advisor, samples: Sequence[Sample]
) -> Score:
    """Compare what the advisor says with what was timed."""
    keys = advisor.named
    right, sure, errors = (
        dict.fromkeys(["advise", *keys], 0),
        list[bool](),
        {key: list[float]() for key in keys},
    )
    for sample in samples:
        step, best = (
            arithmetic(sample.case.network, sample.case.recipe, sample.case.batch),
            min(sample.seconds.values()),
        )
        near = {key: sample.seconds[key] <= NEAR * best for key in keys}
        advice = advisor.advise(step)
        first, *others = advice.fastest
        right["advise"] += near[first]
        if not others:
            sure.append(near[first])
        for estimate in (estimate for estimate in advice.estimates if not estimate.barred):
            right[estimate.key] += near[estimate.key]
            errors[estimate.key].append(abs(estimate.seconds / sample.seconds[estimate.key] - 1))
    missed = {key: float(np.median(found)) for key, found in errors.items()}
    every = float(np.median(np.concatenate(list(errors.values()))))
    return Score(
        name,
        workload.title,
        threads,
        len(samples),
        right,
        len(sure),
        sum(sure),
        missed,
        every,
        advisor.barred,
    )


def drawn(number: int) -> Case:
    """Return a random network with a batch and an optimizer; three in five are dense, the others have convolutions."""
    rng = np.random.default_rng([SEED, number])

    def between(low: int, high: int) -> int:
        return round(float(np.exp(rng.uniform(np.log(low), np.log(high)))))

    while True:
        side, name = int(rng.choice(SIDES)), str(rng.choice(OPTIMIZERS))
        shape = (side, side, int(rng.choice([1, 3])))
        if rng.random() < 0.6:
            widths = [between(8, 1500) for _ in range(rng.integers(1, 5))]
            network = zoo.dense("drawn", widths, 0.3 if rng.random() < 0.25 else 0.0, shape=shape)
            case = Case.of(network, between(1, 8192), name, full=rng.random() < 0.2)
        else:
            filters = [between(3, 64) for _ in range(rng.integers(1, 4))]
            hidden = [between(16, 256)] if rng.random() < 0.5 else []
            network = convolutional(
                filters,
                int(rng.choice([3, 3, 5])),
                norm=rng.random() < 0.3,
                hidden=hidden,
                shape=shape,
            )
            case = Case.of(network, between(1, 512), name)
        if arithmetic(network, case.recipe, case.batch).operations <= LARGEST:
            return case
