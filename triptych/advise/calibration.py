"""A calibration: the times of many networks in every row, and the file that holds them."""

import json
import re
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from ..core import files, registry
from ..core.selection import EngineSpec
from ..data.cache import cache_folder
from ..errors import TriptychError, counted
from ..process import machine
from ..spec.network import Network
from ..spec.placement import LARGEST_WHOLE_NUMBER
from ..spec.recipe import Recipe
from ..spec.validation import check_number, check_whole
from ..version import __version__
from .proof import prove
from .sampling import cases
from .timer import Stopwatch, Timer
from .workload import Case

T = TypeVar("T")

FORMAT = 1
STEP_SECONDS = (1e-9, 1e6)  # a file with a time outside of this range is damaged
MINUTES = 9.0  # by default; the network that is being timed when they are over is finished


@dataclass(frozen=True)
class Sample:
    """One network that was timed.

    Attributes
    ----------
    case : Case
        The network and how it was trained.
    seconds : dict of str to float
        Seconds of a step, by the key of each row that timed it.
    """

    case: Case
    seconds: dict[str, float]

    def to_json(self) -> dict[str, Any]:
        """Return the sample as a JSON object."""
        return {
            "network": self.case.network.to_json(),
            "recipe": self.case.recipe.to_json(),
            "batch": self.case.batch,
            "seconds": self.seconds,
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "Sample":
        """Return the sample that `to_json` wrote; many exceptions if it is damaged."""
        batch = data["batch"]
        seconds = data["seconds"]
        check_whole("calibration", "batch", batch, 1, most=LARGEST_WHOLE_NUMBER)
        for key, value in seconds.items():
            check_number("calibration", f"seconds of {key}", value, *STEP_SECONDS)
        network = Network.from_json(data["network"])
        return cls(Case(network, Recipe.from_json(data["recipe"]), batch), seconds)


@dataclass(frozen=True)
class Calibration:
    """What was timed, on which machine.

    Attributes
    ----------
    processor : str
        The name of the processor.
    threads : int
        Threads of every row.
    versions : dict of str to str
        The versions of the libraries and of Triptych.
    created : str
        The time of its end, UTC.
    rows : tuple of EngineSpec
        The rows that were timed.
    unproved : dict of str to str
        By key, why a row is never called the fastest: its float32 steps are not the reference's.
    samples : tuple of Sample
        The networks.
    """

    processor: str
    threads: int
    versions: dict[str, str]
    created: str
    rows: tuple[EngineSpec, ...]
    unproved: dict[str, str]
    samples: tuple[Sample, ...]

    def row(self, key: str) -> EngineSpec:
        """Return the row with a key."""
        return next(spec for spec in self.rows if spec.key == key)

    def of(self, rows: list[EngineSpec]) -> "Calibration":
        """Return the part of it that belongs to some rows."""
        keys = [spec.key for spec in rows]
        every = [Sample(sample.case, _only(keys, sample.seconds)) for sample in self.samples]
        return replace(
            self,
            rows=tuple(rows),
            unproved=_only(keys, self.unproved),
            samples=tuple(sample for sample in every if sample.seconds),
        )

    def joined(self, newer: "Calibration") -> "Calibration":
        """Return a newer calibration with the rows of this one that it lacks."""
        older = self.of([spec for spec in self.rows if spec not in newer.rows])
        seconds: dict[Case, dict[str, float]] = {}
        for sample in newer.samples + older.samples:
            seconds.setdefault(sample.case, {}).update(sample.seconds)
        return replace(
            newer,
            rows=newer.rows + older.rows,
            unproved=older.unproved | newer.unproved,
            samples=tuple(Sample(*item) for item in seconds.items()),
        )

    def to_json(self) -> dict[str, Any]:
        """Return the calibration as a JSON object."""
        lists = {
            "rows": [vars(spec) for spec in self.rows],
            "samples": [sample.to_json() for sample in self.samples],
        }
        return {"format": FORMAT} | vars(self) | lists

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "Calibration":
        """Return the calibration that `to_json` wrote; many exceptions if it is damaged."""
        return cls(
            data["processor"],
            data["threads"],
            _strings(data["versions"]),
            data["created"],
            tuple(EngineSpec(**row) for row in data["rows"]),
            _strings(data["unproved"]),
            tuple(Sample.from_json(item) for item in data["samples"]),
        )


def _only(keys: list[str], by_row: dict[str, T]) -> dict[str, T]:
    return {key: by_row[key] for key in by_row if key in keys}


def _strings(data: dict[str, Any]) -> dict[str, str]:
    return {str(key): str(value) for key, value in data.items()}


def calibrate(
    specs: list[EngineSpec], threads: int = 1, minutes: float = MINUTES
) -> Iterator[dict[str, Any]]:
    """Prove every row, then time networks in all rows that have time left.

    Parameters
    ----------
    specs : list of EngineSpec
        The rows. The first is the reference and sets the number of steps in a block.
    threads : int
        Threads of every row.
    minutes : float
        The time of all rows together. The default backend of an engine that is not optional may use
        twice as much of it as another row.

    Yields
    ------
    dict
        With a ``type``: ``proved`` (row, why not), ``timed`` (networks so far, part of the time
        that is over, rows), ``failed`` (row, why), and at the end ``calibration``.
    """
    begin = time.perf_counter()
    total = 60 * minutes
    samples: list[Sample] = []
    unproved: dict[str, str] = {}
    with Stopwatch(specs, threads) as watch:
        _share(total, watch.timers)
        for key, why in prove(watch.timers):
            if why:
                unproved[key] = why
            yield {"type": "proved", "row": key, "why": why}
        for case in cases():
            seconds = watch.time(case)
            if not seconds:
                break
            samples.append(Sample(case, seconds))
            part = (time.perf_counter() - begin) / total
            rows = list(seconds)
            yield {"type": "timed", "networks": len(samples), "part": part, "rows": rows}
            if part >= 1:
                break
    for timer in watch.timers:
        if timer.failed:
            yield {"type": "failed", "row": timer.spec.key, "why": timer.failed}
    timed = {key for sample in samples for key in sample.seconds}
    result = Calibration(
        machine.processor(),
        threads,
        versions(),
        f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
        tuple(spec for spec in specs if spec.key in timed),
        unproved,
        tuple(samples),
    )
    yield {"type": "calibration", "calibration": result}


def _share(seconds: float, timers: list[Timer]) -> None:
    """Give every row its share of the time: twice as much if most users compare with it."""
    weights: list[int] = []
    for timer in timers:
        entry = registry.entry(timer.spec.engine)
        default = timer.spec.backend == entry.default_backend
        weights.append(2 if default and not entry.optional else 1)
    for timer, weight in zip(timers, weights, strict=True):
        timer.allowance = seconds * weight / sum(weights)


def versions() -> dict[str, str]:
    """Return the versions that decide how fast an engine is on a given machine."""
    return {"triptych": __version__, **machine.describe()["versions"]}


def path(threads: int) -> Path:
    """Return the file of this machine's calibration with a number of threads."""
    name = re.sub(r"[^a-z0-9]+", "-", machine.processor().lower()).strip("-")
    return cache_folder() / "map" / f"{name}-{threads}.json"


def save(calibration: Calibration, file: Path) -> Calibration:
    """Write a calibration and return it.

    It is joined to the rows that the file has of the same versions.
    """
    earlier = _earlier(file, calibration.threads)
    if earlier and not outdated(earlier):
        calibration = earlier.joined(calibration)
    files.write(file, files.to_json(calibration.to_json()) + "\n")
    return calibration


def discarded(file: Path, calibration: Calibration) -> str | None:
    """Return which rows of the file `save` will discard, and why, or None."""
    earlier = _earlier(file, calibration.threads)
    why = outdated(earlier) if earlier else None
    if not earlier or not why:
        return None
    labels = [spec.label for spec in earlier.rows if spec not in calibration.rows]
    return f"earlier times of {', '.join(labels)} are discarded: {why}" if labels else None


def _earlier(file: Path, threads: int) -> Calibration | None:
    with suppress(TriptychError):  # if there is none, or none that can be used
        return load(file, threads)


def load(file: Path, threads: int) -> Calibration:
    """Return the calibration in a file.

    Raises
    ------
    TriptychError
        If there is none, or it is damaged, or was made on another machine or with another number of
        threads.
    """
    again = "run: triptych map" + (f" --threads {threads}" if threads != 1 else "")
    needed = {"format": FORMAT, "processor": machine.processor(), "threads": threads}
    try:
        if not file.exists():
            raise TriptychError(f"this machine is not calibrated for {counted(threads, 'thread')}")
        with files.refusing(file, "a calibration"):
            data = json.loads(files.read_bytes(file))
            for name, value in needed.items():
                if data[name] != value:
                    raise TriptychError(f"{file}: made with {name} {data[name]}, not {value}")
            return Calibration.from_json(data)
    except TriptychError as error:
        raise TriptychError(f"{error}; {again}") from None


def outdated(calibration: Calibration) -> str | None:
    """Return which versions have changed since, or None. Libraries that are new do not count."""
    now = versions()
    changed = [
        f"{name} {then} then, {now.get(name, 'none')} now"
        for name, then in calibration.versions.items()
        if then != now.get(name)
    ]
    if not changed:
        return None
    return f"calibrated with other versions ({'; '.join(changed)}); run triptych map again"
