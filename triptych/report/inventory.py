"""What is in a folder of run folders: a line for each run, also for unfinished and damaged ones."""

import re
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ..core.metrics import interval_text
from ..errors import TriptychError, one_line
from ..exporting.export import exports_in
from ..training.checkpoint import STATE
from ..training.run_folder import read_results
from ..training.saved import SavedRun

KINDS = ("train", "compare", "import", "lesson")
NAME = re.compile(r"(\d{4})(\d\d)(\d\d)-(\d\d)(\d\d)(\d\d)-([a-z]+)(-.*)?")
LONGEST_TEXT = 60  # characters of a name
LONGEST_REASON = 200  # characters


@dataclass(frozen=True)
class RunEntry:
    """One run folder.

    Attributes
    ----------
    folder : Path
        Where it is.
    time : str
        When the run began, ``2026-01-31 12:00:00``, in local time.
    kind : str
        ``train``, ``compare``, ``import`` or ``lesson``.
    status : str
        ``finished``, ``not finished``, ``stopped`` (nothing can go on from it), ``damaged``, or
        ``lesson``.
    note : str
        What there is to say of the status, such as the reason of a damage.
    network, data : str
        What they are called; empty if unknown.
    engines : list of str
        The engines of the run, in order.
    accuracy : float or None
        Of the test split, in [0, 1]; of a comparison that of its first row.
    low, high : float or None
        The 95 % interval of the accuracy.
    seconds : float or None
        Of training; of a comparison, of all rows together.
    exported : dict of str to str
        The verdict on each export, by target.
    report : Path or None
        The run's report.html.
    """

    folder: Path
    time: str
    kind: str
    status: str
    note: str = ""
    network: str = ""
    data: str = ""
    engines: list[str] = field(default_factory=list[str])
    accuracy: float | None = None
    low: float | None = None
    high: float | None = None
    seconds: float | None = None
    exported: dict[str, str] = field(default_factory=dict[str, str])
    report: Path | None = None

    @property
    def interval(self) -> str:
        """The 95 % interval of the accuracy in percent; empty without an accuracy."""
        if self.low is None or self.high is None:
            return ""
        return interval_text(self.low, self.high)

    def to_json(self) -> dict[str, Any]:
        """Return the entry as a JSON object."""
        report = None if self.report is None else str(self.report)
        return asdict(self) | {"folder": str(self.folder), "report": report}


def list_runs(root: Path) -> list[RunEntry]:
    """Return an entry for each run folder in a folder, newest first.

    Raises
    ------
    TriptychError
        If there is no such folder, or it cannot be read.
    """
    try:
        folders = [path for path in root.iterdir() if NAME.fullmatch(path.name) and path.is_dir()]
    except OSError as error:
        raise TriptychError(
            f"{root}: cannot be read ({error.strerror}); runs are made by triptych train and "
            "triptych compare"
        ) from None
    folders.sort(key=lambda path: path.name, reverse=True)
    return [_entry(folder) for folder in folders]


def select(
    entries: list[RunEntry],
    *,
    engine: str | None = None,
    network: str | None = None,
    data: str | None = None,
    kind: str | None = None,
) -> list[RunEntry]:
    """Return the entries that have all that is named."""
    return [
        entry
        for entry in entries
        if engine in (None, *entry.engines)
        and network in (None, entry.network)
        and data in (None, entry.data)
        and kind in (None, entry.kind)
    ]


def _entry(folder: Path) -> RunEntry:
    """Return what is known of a run folder, whatever is wrong with it."""
    match = NAME.fullmatch(folder.name)
    assert match is not None
    year, month, day, hour, minute, second, kind, _ = match.groups()
    time = f"{year}-{month}-{day} {hour}:{minute}:{second}"
    known: dict[str, Any]
    try:
        known = _known(folder, kind)
    except TriptychError as error:
        reason = str(error).removeprefix(f"{folder}").lstrip("/: ")
        known = {"status": "damaged", "note": one_line(reason, LONGEST_REASON)}
    except Exception as error:  # results of an older version, or forged, may lack anything
        reason = f"its results are not as they must be ({type(error).__name__})"
        known = {"status": "damaged", "note": one_line(reason, LONGEST_REASON)}
    report = folder / "report.html"
    return RunEntry(
        folder=folder,
        time=time,
        kind=kind,
        exported=exports_in(folder),
        report=report if report.is_file() else None,
        **known,
    )


def _known(folder: Path, kind: str) -> dict[str, Any]:
    if (folder / "results.json").exists():
        results = read_results(folder, None)
        readers = {"train": _trained, "import": _imported, "compare": _compared}
        return readers[results.get("kind", "compare")](results)
    if (folder / "last" / STATE).exists():
        return _unfinished(folder)
    if kind == "lesson":
        return {"status": "lesson", "note": "pictures, and perhaps a saved network"}
    return {"status": "stopped", "note": "before its end; nothing can go on from it"}


def _trained(results: dict[str, Any]) -> dict[str, Any]:
    engines = [str(stage["engine"]) for stage in results.get("engines", [results])]
    note = f"stopped early: {results['stopped']}" if results["stopped"] else ""
    return {
        "status": "finished",
        "note": one_line(note, LONGEST_TEXT),
        "network": _name(results["network"]),
        "data": _name(results["data"]),
        "engines": engines,
        "seconds": float(results["seconds"]),
        **_accuracy(results["accuracy"]),
    }


def _imported(results: dict[str, Any]) -> dict[str, Any]:
    data = results["data"]
    return {
        "status": "finished",
        "note": f"weights of {one_line(results['file'], LONGEST_TEXT)}",
        "network": _name(results["network"]),
        "data": "" if data is None else _name(data),
        "engines": [str(results["engine"])],
        **_accuracy(results["accuracy"]),
    }


def _compared(results: dict[str, Any]) -> dict[str, Any]:
    first = results["runs"][0]
    rows = [row for row in first["rows"].values() if not row["failed"]]
    of_a_row = [row["training_seconds"] for row in rows if row["training_seconds"]]
    measured = [row["accuracy"] for row in rows if row["accuracy"]]
    return {
        "status": "finished",
        "network": _name(results["network"]),
        "data": _name(first["data"]),
        "engines": list(dict.fromkeys(str(row["engine"]) for row in rows)),
        "seconds": float(sum(of_a_row)) if of_a_row else None,
        **_accuracy(measured[0] if measured else None),
    }


def _unfinished(folder: Path) -> dict[str, Any]:
    saved = SavedRun.read(folder)
    done = len(saved.position.history)
    return {
        "status": "not finished",
        "note": f"{done} of {saved.recipe.epochs} epochs",
        "network": one_line(saved.network.name, LONGEST_TEXT),
        "data": _name(saved.data),
        "engines": [saved.engine] if saved.engine else [],
        "seconds": float(sum(epoch.get("seconds", 0.0) for epoch in saved.position.history)),
    }


def _name(described: dict[str, Any]) -> str:
    return one_line(described["name"], LONGEST_TEXT)


def _accuracy(accuracy: dict[str, Any] | None) -> dict[str, Any]:
    if accuracy is None:
        return {}
    return {
        "accuracy": float(accuracy["value"]),
        "low": float(accuracy["low"]),
        "high": float(accuracy["high"]),
    }
