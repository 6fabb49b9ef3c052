"""A calibration: every row times as many of the grid's networks as its share of the time allows. And its file."""

import json
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from math import prod
from pathlib import Path
from typing import Any

from ..core import files, registry
from ..core.selection import EngineSpec
from ..data.cache import cache_folder
from ..errors import TriptychError, counted
from ..process import machine
from ..spec.validation import check_whole
from ..version import __version__
from .proof import prove
from .sampling import cases
from .timer import Case, Stopwatch

FORMAT = 1
SHORTEST_STEP, LONGEST_STEP = 1e-9, 1e6  # seconds: what is outside of them is damage
MOST_NUMBERS = 2**50  # in an array
MINUTES = 9.0  # by default; what is under way when they are over is finished


@dataclass(frozen=True)
class Sample:
    """One network and the seconds of a step in each row that timed it."""

    case: Case
    seconds: dict[str, float]


@dataclass(frozen=True)
class Calibration:
    """What was timed, on which machine.

    Attributes
    ----------
    processor : str
    threads : int
        Of every row.
    versions : dict of str to str
        Of the libraries, and of Triptych itself.
    created : str
        When, UTC.
    rows : tuple of Spec
    unproved : dict of str to str
        By row, why it is never called the fastest: its float32 steps are not what the others compute.
    samples : tuple of Sample
    """

    processor: str
    threads: int
    versions: dict[str, str]
    created: str
    rows: tuple[EngineSpec, ...]
    unproved: dict[str, str]
    samples: tuple[Sample, ...]

    def label(self, key: str) -> str:
        """Return what people call a row."""
        return next(spec.label for spec in self.rows if spec.key == key)

    def of(self, rows: list[EngineSpec]) -> "Calibration":
        """Return the part of it that is of some rows."""
        keys = {spec.key for spec in rows}
        samples = [
            replace(sample, seconds={k: s for k, s in sample.seconds.items() if k in keys})
            for sample in self.samples
        ]
        unproved = {key: why for key, why in self.unproved.items() if key in keys}
        return replace(
            self,
            rows=tuple(rows),
            unproved=unproved,
            samples=tuple(sample for sample in samples if sample.seconds),
        )

    def joined(self, newer: "Calibration") -> "Calibration":
        """Return this one with the rows of a newer one in place of its own."""
        kept, seconds = (
            self.of([spec for spec in self.rows if spec not in newer.rows]),
            dict[Case, dict[str, float]](),
        )
        for sample in newer.samples + kept.samples:
            seconds[sample.case] = seconds.get(sample.case, {}) | sample.seconds
        samples = tuple(Sample(case, found) for case, found in seconds.items())
        return replace(
            newer,
            rows=newer.rows + kept.rows,
            unproved=kept.unproved | newer.unproved,
            samples=samples,
        )

    def to_json(self) -> dict[str, Any]:
        rows = [{"engine": spec.engine, "backend": spec.backend} for spec in self.rows]
        samples = [sample.case.to_json() | {"seconds": sample.seconds} for sample in self.samples]
        return {"format": FORMAT} | vars(self) | {"rows": rows, "samples": samples}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "Calibration":
        rows = tuple(EngineSpec(row["engine"], row["backend"]) for row in data["rows"])
        samples = tuple(
            Sample(_timed(sample), _numbers(sample["seconds"])) for sample in data["samples"]
        )
        versions, unproved = (
            {str(key): str(value) for key, value in data[name].items()}
            for name in ("versions", "unproved")
        )
        return cls(
            data["processor"], data["threads"], versions, data["created"], rows, unproved, samples
        )


def _numbers(seconds: dict[str, Any]) -> dict[str, float]:
    """Return times as they can be; ValueError where one cannot."""
    found = {key: float(value) for key, value in seconds.items()}
    if not all(SHORTEST_STEP < value < LONGEST_STEP for value in found.values()):
        raise ValueError("a step takes some time")
    return found


def _timed(sample: dict[str, Any]) -> Case:
    """Return a case that a machine can have timed; ValueError where its batch or its arrays are too large for any."""
    case = Case.from_json(sample)
    check_whole("calibration", "batch", case.batch, 1)
    sizes = [prod(place.output_shape) for place in case.network.places]
    largest = max(case.network.parameter_count, prod(case.network.input_shape), *sizes)
    if case.batch * largest > MOST_NUMBERS:
        raise ValueError("no machine has timed arrays of this size")
    return case


def calibrate(
    specs: list[EngineSpec], threads: int = 1, minutes: float = MINUTES
) -> Iterator[dict[str, Any]]:
    """Prove every row, then time networks of the grid in all that have time left.

    Parameters
    ----------
    specs : list of Spec
        The first is the reference and sets the pace.
    threads : int
    minutes : float
        In all; each row has its share, the default backend of an engine that is not optional twice as much as the others.

    Yields
    ------
    dict
        With a ``type``: ``proved`` (row, why not), ``timed`` (networks so far, part of the time that is over), ``failed`` (row, why), and
        at the end ``calibration``.
    """
    begun, total, samples, unproved = (
        time.perf_counter(),
        60 * minutes,
        list[Sample](),
        dict[str, str](),
    )
    shares = [
        2 if spec.key == spec.engine and not registry.entry(spec.engine).optional else 1
        for spec in specs
    ]
    with Stopwatch(specs, threads) as watch:
        for timer, share in zip(watch.timers, shares, strict=True):
            timer.allowance = total * share / sum(shares)
        for key, why in prove(watch):
            if why:
                unproved[key] = why
            yield {"type": "proved", "row": key, "why": why}
        for case in cases():
            seconds = watch.time(case)
            part = (time.perf_counter() - begun) / total
            if seconds:
                samples.append(Sample(case, seconds))
                yield {
                    "type": "timed",
                    "networks": len(samples),
                    "part": part,
                    "rows": list(seconds),
                }
            if not seconds or part >= 1:
                break
        failed = {timer.spec.key: timer.failed for timer in watch.timers if timer.failed}
    for key, why in failed.items():
        yield {"type": "failed", "row": key, "why": why}
    rows = tuple(spec for spec in specs if any(spec.key in sample.seconds for sample in samples))
    created = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
    yield {
        "type": "calibration",
        "calibration": Calibration(
            machine.processor(), threads, versions(), created, rows, unproved, tuple(samples)
        ),
    }


def versions() -> dict[str, str]:
    """Return what decides how fast an engine is, beside the machine."""
    return {"triptych": __version__, **machine.describe()["versions"]}


def path(threads: int) -> Path:
    """Return where the calibration of this machine with so many threads is kept."""
    name = re.sub(r"[^a-z0-9]+", "-", machine.processor().lower()).strip("-")
    return cache_folder() / "map" / f"{name}-{threads}.json"


def keep(found: Calibration, file: Path) -> Calibration:
    """Write a calibration, joined to what was found before of other rows with the same versions, and return the whole."""
    earlier = _earlier(file, found.threads)
    if earlier and not aged(earlier):
        found = earlier.joined(found)
    files.write(file, files.to_json(found.to_json()) + "\n")
    return found


def discarded(file: Path, found: Calibration) -> str | None:
    """Return what `keep` will not keep of what was found before, and why, or None."""
    earlier = _earlier(file, found.threads)
    why = earlier and aged(earlier)
    gone = (
        [spec.label for spec in earlier.rows if spec not in found.rows] if earlier and why else []
    )
    return f"what was found before of {', '.join(gone)} is not kept: {why}" if gone else None


def _earlier(file: Path, threads: int) -> Calibration | None:
    try:
        return load(file, threads)
    except TriptychError:  # there is none, or none that could be used
        return None


def load(file: Path, threads: int) -> Calibration:
    """Return the calibration in a file.

    Raises
    ------
    TriptychError
        Where there is none, or it is damaged, or was made on another machine or with another number of threads.
    """
    again = "run: triptych map" + (f" --threads {threads}" if threads != 1 else "")
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
        if data["format"] != FORMAT:
            raise TriptychError(
                f"{file}: written in format {data['format']}; this version reads format {FORMAT}; {again}"
            )
        found = Calibration.from_json(data)
    except OSError:
        raise TriptychError(
            f"this machine is not calibrated for {counted(threads, 'thread')}; {again}"
        ) from None
    except (
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        RecursionError,
        OverflowError,
    ) as error:
        raise TriptychError(
            f"{file}: not a calibration, or damaged ({type(error).__name__}); {again}"
        ) from None
    if found.processor != machine.processor():
        raise TriptychError(
            f"{file}: made on another machine, {found.processor}, where this one is {machine.processor()}; {again}"
        )
    if found.threads != threads:
        raise TriptychError(
            f"{file}: made with {counted(found.threads, 'thread')}, not {threads}; {again}"
        )
    return found


def aged(calibration: Calibration) -> str | None:
    """Return what has changed since, or None. What was not there then has no part in what was timed."""
    now = versions()
    changed = [
        f"{name} {then} then, {now.get(name, 'none')} now"
        for name, then in calibration.versions.items()
        if then != now.get(name)
    ]
    return (
        f"calibrated with other versions ({'; '.join(changed)}); run triptych map again"
        if changed
        else None
    )
