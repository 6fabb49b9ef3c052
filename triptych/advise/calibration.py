"""A calibration: the times of many networks in every row, and the file that holds them."""

import json
import re
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..core import files
from ..core.selection import EngineSpec
from ..data.cache import cache_folder
from ..errors import TriptychError, counted
from ..process import machine
from ..spec.network import Network
from ..spec.placement import LARGEST_WHOLE_NUMBER
from ..spec.recipe import Recipe
from ..spec.validation import check_number, check_whole
from ..version import __version__
from .sampling import cases
from .timer import Stopwatch, prove
from .workload import Case

FORMAT = 1
STEP_SECONDS = (1e-9, 1e6)  # a file with a time outside of this range is damaged


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
        case = Case(Network.from_json(data["network"]), Recipe.from_json(data["recipe"]), batch)
        return cls(case, seconds)


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
    rows: tuple[EngineSpec, ...]
    unproved: dict[str, str]
    samples: tuple[Sample, ...]

    def row(self, key: str) -> EngineSpec:
        """Return the row with a key."""
        return next(spec for spec in self.rows if spec.key == key)

    def joined(self, newer: "Calibration") -> "Calibration":
        """Return a newer calibration with the rows of this one that it lacks."""
        older = [spec for spec in self.rows if spec not in newer.rows]
        keys = [spec.key for spec in older]
        times = {sample.case: sample.seconds for sample in newer.samples}
        for sample in self.samples:
            seconds = {key: sample.seconds[key] for key in keys if key in sample.seconds}
            if seconds:
                times[sample.case] = times.get(sample.case, {}) | seconds
        unproved = {key: self.unproved[key] for key in keys if key in self.unproved}
        return replace(
            newer,
            rows=(*newer.rows, *older),
            unproved=unproved | newer.unproved,
            samples=tuple(map(Sample, times, times.values())),
        )

    def to_json(self) -> dict[str, Any]:
        """Return the calibration as a JSON object."""
        return {
            "format": FORMAT,
            **vars(self),
            "rows": [vars(spec) for spec in self.rows],
            "samples": [sample.to_json() for sample in self.samples],
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "Calibration":
        """Return the calibration that `to_json` wrote; many exceptions if it is damaged."""
        return cls(
            data["processor"],
            data["threads"],
            dict(data["versions"]),
            tuple(EngineSpec(**row) for row in data["rows"]),
            dict(data["unproved"]),
            tuple(Sample.from_json(item) for item in data["samples"]),
        )


def calibrate(specs: list[EngineSpec], threads: int, minutes: float) -> Iterator[dict[str, Any]]:
    """Prove every row, then time networks in all rows that have time left.

    Parameters
    ----------
    specs : list of EngineSpec
        The rows. The first is the reference and sets the number of steps in a block.
    threads : int
        Threads of every row.
    minutes : float
        The time of all rows together; the network that is being timed at its end is finished. A
        default backend of an engine that is not optional may use twice as much as another row.

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
        weights = sum(timer.weight for timer in watch.timers)
        for timer in watch.timers:
            timer.allowance = total * timer.weight / weights
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
            yield {"type": "timed", "networks": len(samples), "part": part, "rows": len(seconds)}
            if part >= 1:
                break
    for timer in watch.timers:
        if timer.failed:
            yield {"type": "failed", "row": timer.spec.key, "why": timer.failed}
    timed = {key for sample in samples for key in sample.seconds}
    calibration = Calibration(
        machine.processor(),
        threads,
        versions(),
        tuple(spec for spec in specs if spec.key in timed),
        unproved,
        tuple(samples),
    )
    yield {"type": "calibration", "calibration": calibration}


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
    earlier = _earlier(file, calibration)
    if not outdated(earlier):
        calibration = earlier.joined(calibration)
    files.write(file, files.to_json(calibration.to_json()) + "\n")
    return calibration


def discarded(file: Path, calibration: Calibration) -> str | None:
    """Return which rows of the file `save` will discard, and why, or None."""
    earlier = _earlier(file, calibration)
    why = outdated(earlier)
    labels = [spec.label for spec in earlier.rows if spec not in calibration.rows]
    return f"earlier times of {', '.join(labels)} are discarded: {why}" if why and labels else None


def _earlier(file: Path, calibration: Calibration) -> Calibration:
    """Return the calibration in a file, or the given one if there is none that can be used."""
    with suppress(TriptychError):
        return load(file, calibration.threads)
    return calibration


def load(file: Path, threads: int) -> Calibration:
    """Return the calibration in a file.

    Raises
    ------
    TriptychError
        If there is none, or it is damaged, or was made on another machine or with another number of
        threads.
    """
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
        raise TriptychError(f"{error}; run: triptych map --threads {threads}") from None


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
