"""Differences are measured in fresh processes, and compared with the recorded values."""

import math
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec

from ...errors import EngineError
from ...process import machine
from ...process.client import RowFailed, WorkerProcess
from .entry import TENSORFLOW, Difference, Value, backend_in
from .registry import PACKAGES, RECORDED_WITH

WORKER = "triptych.doctor.catalogue.worker"

TENSORFLOW_PACKAGES = ("tensorflow", "tensorflow-cpu")  # one of them is installed

OnMeasured = Callable[[Difference], None]


@dataclass
class Measurement:
    """What was measured of a difference.

    Attributes
    ----------
    values : dict of str to value
        What the frameworks do, by the names of `Difference.recorded`.
    missing : str or None
        A package that is needed and not installed.
    error : str or None
        Why it could not be measured, if a framework refused it.
    """

    values: dict[str, Value] = field(default_factory=dict[str, Value])
    missing: str | None = None
    error: str | None = None


@dataclass(frozen=True)
class Change:
    """A value that is not as recorded.

    Attributes
    ----------
    id : str
        The difference.
    name : str
        The name of the value; empty if the difference could not be measured.
    recorded : value or None
        What was recorded.
    measured : value or None
        What was measured; the error's message if it could not be.
    """

    id: str
    name: str
    recorded: Value | None
    measured: Value | None


def measure(
    entries: Sequence[Difference], on_measured: OnMeasured | None = None
) -> dict[str, Measurement]:
    """Measure differences: one process for each backend of Keras, one after the other.

    Parameters
    ----------
    entries : sequence of Difference
        What is measured.
    on_measured : callable, optional
        Called with each difference when a process has measured it.

    Returns
    -------
    dict of str to Measurement
        By id.

    Raises
    ------
    EngineError
        If a process ends by itself.
    """
    results = {entry.id: Measurement() for entry in entries}
    for backend in _backends(entries):
        wanted = [entry for entry in entries if backend in entry.backends]
        # The user's settings of Keras are in a folder of their own: they are no defaults.
        with tempfile.TemporaryDirectory() as settings:
            environment = machine.environment(1, "cpu")
            environment |= {"KERAS_BACKEND": backend, "KERAS_HOME": settings}
            with closing(WorkerProcess(f"Keras on {backend}", (WORKER,), environment)) as process:
                process.greet()
                for entry in wanted:
                    _measure_one(process, entry, results[entry.id])
                    if on_measured:
                        on_measured(entry)
    return results


def _backends(entries: Iterable[Difference]) -> Iterator[str]:
    """Yield the backends that are needed and installed; the usual one always, and first."""
    needed = {backend for entry in entries for backend in entry.backends}
    for backend in sorted(needed, key=lambda name: (name != TENSORFLOW, name)):
        if backend == TENSORFLOW or find_spec(backend):
            yield backend


def _measure_one(process: WorkerProcess, entry: Difference, result: Measurement) -> None:
    """Measure a difference in a process, and add what it finds to a result."""
    try:
        reply = process.ask("measure", id=entry.id).values
    except RowFailed as error:
        result.error = str(error)
        return
    if "missing" in reply:
        result.missing = reply["missing"]
    else:
        result.values |= reply["values"]


def changes(entry: Difference, measurement: Measurement) -> list[Change]:
    """Return the values of a difference that are not as recorded.

    What needs a package that is not installed is left out, and so is a difference whose values
    depend on the processor.
    """
    if measurement.missing:
        return []
    if measurement.error:
        return [Change(entry.id, "", None, measurement.error)]
    if not entry.portable:
        return []
    changed: list[Change] = []
    for name, recorded in entry.recorded.items():
        measured = measurement.values.get(name)
        if measured is None and not _installed(name):
            continue
        if measured is None or not agrees(recorded, measured, entry.tolerance):
            changed.append(Change(entry.id, name, recorded, measured))
    return changed


def _installed(name: str) -> bool:
    """Return whether what a name needs is installed."""
    first = name.replace(",", " ").replace(".", " ").split()[0]
    packages = (PACKAGES[first], backend_in(name))
    return all(find_spec(package) for package in packages if package)


def agrees(recorded: Value, measured: Value, tolerance: float) -> bool:
    """Return whether two values are equal up to a tolerance.

    Parameters
    ----------
    recorded, measured : value
        Numbers, words, or lists of numbers; truth values and words must be equal.
    tolerance : float
        The largest difference, as a share of the larger number.
    """
    if isinstance(recorded, list) or isinstance(measured, list):
        if not (isinstance(recorded, list) and isinstance(measured, list)):
            return False
        pairs = zip(recorded, measured, strict=False)
        same_length = len(recorded) == len(measured)
        return same_length and all(agrees(one, other, tolerance) for one, other in pairs)
    words = (str, bool)
    if isinstance(recorded, words) or isinstance(measured, words):
        return type(recorded) is type(measured) and recorded == measured
    return math.isclose(recorded, measured, rel_tol=tolerance, abs_tol=0.0)


def versions() -> dict[str, str | None]:
    """Return the installed version of each package of `RECORDED_WITH`; None if it is missing."""
    return {name: _version(name) for name in RECORDED_WITH}


def _version(name: str) -> str | None:
    """Return the version of a package, without the part that names its build."""
    for package in TENSORFLOW_PACKAGES if name == "tensorflow" else (name,):
        try:
            return version(package).partition("+")[0]
        except PackageNotFoundError:
            continue
    return None


def as_json(
    entry: Difference, measurement: Measurement | None, changed: Sequence[Change]
) -> Mapping[str, object]:
    """Return a difference, what was measured of it, and the names of values that changed."""
    values = vars(entry) | {"recorded": dict(entry.recorded), "words": list(entry.words)}
    if measurement is None:
        return values
    return values | {
        "measured": measurement.values,
        "missing": measurement.missing,
        "error": measurement.error,
        "changed": [change.name for change in changed],
    }


def require_a_framework() -> None:
    """Raise `EngineError` if neither framework is installed."""
    if not any(find_spec(name) for name in ("torch", "keras")):
        raise EngineError(
            "neither PyTorch nor Keras is installed: pip install 'triptych[torch,tensorflow]'"
        )


def as_text(numbers: Mapping[str, str | None]) -> str:
    """Return versions as a list in words."""
    return ", ".join(f"{name} {number or '(not installed)'}" for name, number in numbers.items())
