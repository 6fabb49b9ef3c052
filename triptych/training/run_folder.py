"""The run folder: events.jsonl, results.json, states, and their origin.

Whatever is read from a run folder may be damaged or forged: a state and results.json carry a digest
and are refused, a line of the log that is no event is left out.
"""

import json
import os
import re
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from itertools import takewhile
from pathlib import Path
from types import TracebackType
from typing import Any

from ..core import files
from ..core.shell import quoted
from ..core.state import State
from ..errors import TriptychError, one_line, printable
from ..spec.network import Network
from ..spec.recipe import Recipe
from ..spec.validation import is_number
from ..version import __version__
from . import checkpoint

# docs/results.md describes the schema; it is raised when a key changes its meaning or is removed.
# 3 is left out: one flipped bit would turn it into 1, which has no digest.
RESULTS_SCHEMA = 4
SCHEMAS = (1, 2, 4)  # 1 has no digest; 2 has code_lines

LONGEST_PART_OF_NAME = 30  # characters
LONGEST_LINE = 2**26  # bytes of an event
LONGEST_TEXT = 10_000  # characters of a text in results that has control characters

Event = dict[str, Any]


class Run:
    """A folder in the making. A context manager: the log is closed however the run ends.

    Parameters
    ----------
    folder : Path
    events : list of dict, optional
        Of a run that goes on: its log is written anew with these. Otherwise the folder must not be
        there yet.
    """

    def __init__(self, folder: Path, events: list[dict[str, Any]] | None = None) -> None:
        self.folder = folder
        if events is None:
            folder.mkdir(parents=True)
        else:
            files.write(
                folder / "events.jsonl", "".join(files.to_json(event) + "\n" for event in events)
            )
        self._log = (folder / "events.jsonl").open("a", encoding="utf-8")

    @classmethod
    def create(cls, root: Path, kind: str, *parts: str) -> "Run":
        """Make ``root/<time>-<kind>-<parts>``, or with a number behind it where that is taken.

        Parameters
        ----------
        root : Path
            The folder of all runs.
        kind : str
            The command.
        *parts : str
            What the run is about: engine, network, data. Of each, at most 30 letters and digits are
            in the name.

        Raises
        ------
        TriptychError
            Where the folder cannot be written.
        """
        name = "-".join([f"{datetime.now():%Y%m%d-%H%M%S}", kind, *filter(None, map(plain, parts))])
        for suffix in ("", *(f"-{n}" for n in range(2, 100))):
            try:
                return cls(root / f"{name}{suffix}")
            except FileExistsError:
                continue  # another process took the name
            except OSError as error:
                raise TriptychError(
                    f"{root}: no run folder can be made there ({error.strerror})"
                ) from None
        raise TriptychError(f"{root / name}: a hundred runs in this second")

    def __enter__(self) -> "Run":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._log.close()

    def log(self, event: dict[str, Any]) -> None:
        """Append one event, a line of JSON, and hand it to the system at once."""
        with files.naming(self.folder / "events.jsonl"):
            self._log.write(files.to_json(event) + "\n")
            self._log.flush()

    def save_state(
        self, name: str, state: State, network: Network, recipe: Recipe, provenance: dict[str, Any]
    ) -> None:
        """Write a state into a folder of the run folder."""
        checkpoint.save_state(
            self.folder / name / checkpoint.STATE, state, network, recipe, provenance
        )

    def save_results(self, results: dict[str, Any]) -> None:
        """Write results.json, with its digest."""
        header = {
            "schema": RESULTS_SCHEMA,
            "triptych": __version__,
            "sha256": files.BLANK_DIGEST.decode(),
        }
        content, _ = files.seal((files.to_json(header | results, indent=1) + "\n").encode())
        files.write(self.folder / "results.json", content)


def plain(text: str) -> str:
    """Return a text as part of a file name: letters, digits, and hyphens for all else."""
    return re.sub(r"[^A-Za-z0-9]+", "-", text).strip("-")[:LONGEST_PART_OF_NAME].rstrip("-")


@contextmanager
def locked(folder: Path) -> Generator[None]:
    """Keep other processes from training in a run folder, until this process ends.

    Raises
    ------
    TriptychError
        Where another process trains there.
    """
    busy = (
        f"{folder}: another process is training in this run folder; wait until it has ended, "
        "or stop it"
    )
    with files.locked(folder / ".lock", busy):
        yield


def is_unfinished(folder: Path) -> bool:
    """Return whether a folder holds a training that can go on and has no results yet."""
    has_last = (folder / "last" / checkpoint.STATE).exists()
    return has_last and not (folder / "results.json").exists()


def unfinished_notice(folder: Path) -> str:
    """Return a line for the user of a training that can go on; of anything else an empty text."""
    if not is_unfinished(folder):
        return ""
    return f"This run is not finished; how far it is: {quoted('triptych', 'show', str(folder))}"


def read_results(folder: Path, kind: str | None = "compare") -> dict[str, Any]:
    """Return a run folder's results, of a kind, or of any where it is None.

    Raises
    ------
    TriptychError
        Where the folder holds none, or they are damaged, or of another schema or kind.
    """
    path = folder / "results.json"
    if not folder.is_dir():
        raise TriptychError(f"{folder}: no such folder; triptych runs lists the run folders")
    if not path.exists():
        raise TriptychError(f"{folder}: holds no results.json; {_why_no_results(folder)}")
    with files.refusing(path, "results that triptych wrote"):
        content = files.read_bytes(path)
        results = json.loads(content)
        if not isinstance(results, dict) or results.get("schema") not in SCHEMAS:
            known = " or ".join(map(str, SCHEMAS))
            raise TriptychError(
                f"{path}: not results of schema {known}; make it anew with triptych compare"
            )
        if results["schema"] != 1:
            files.check_seal(path, content, results.get("sha256"))
        actual = results.get("kind", "compare")
        if actual == "compare":
            _check_names(results)
        results = printable(results, LONGEST_TEXT)
    if kind not in (None, actual):
        raise TriptychError(
            f"{folder}: results of triptych {actual}, where those of triptych {kind} are needed; "
            f"see triptych show {folder}"
        )
    return results


def _why_no_results(folder: Path) -> str:
    if (folder / "last" / checkpoint.STATE).exists():
        return f"this run is not finished; go on with triptych train --resume {folder}"
    if "-lesson-" in folder.resolve().name:
        return (
            "it is the folder of a lesson, which holds pictures and perhaps a saved network, "
            "and no results"
        )
    if (folder / "events.jsonl").exists():
        return (
            "the run was stopped before its end, or before its first checkpoint, and nothing can "
            "go on from it; begin a new one"
        )
    return "name a finished run folder, runs/<time>-compare-…"


def _check_names(results: Mapping[str, Any]) -> None:
    """Refuse rows and seeds that are no plain names, because folders are named after them."""
    for run in results["runs"]:
        if not _is_whole(run["seed"]):
            raise TriptychError(f"the seed {one_line(repr(run['seed']), 60)} is not a whole number")
        for row in run["rows"]:
            if not re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,99}", row):
                raise TriptychError(f"the row {one_line(repr(row), 60)} is not a plain name")


def read_events(folder: Path) -> list[Event]:
    """Return a run folder's events, up to the first line that is none.

    A process that is killed may leave a last line that is cut off.

    Raises
    ------
    TriptychError
        Where there are none.
    """
    return [
        event
        for event in takewhile(lambda event: event is not None, _lines(folder))
        if event is not None
    ]


def read_log(folder: Path) -> tuple[list[Event], int]:
    """Return a run folder's events, and how many lines were left out because they are none.

    Raises
    ------
    TriptychError
        Where there are none.
    """
    lines = list(_lines(folder))
    events = [event for event in lines if event is not None]
    return events, len(lines) - len(events)


def _lines(folder: Path) -> Iterator[Event | None]:
    """Yield each line of the log as an event, or None where it is none."""
    path = folder / "events.jsonl"
    try:
        with files.opened(path) as file:
            while line := file.readline(LONGEST_LINE):
                yield _event(line)
    except OSError as error:
        raise TriptychError(
            f"{folder}: its events.jsonl cannot be read ({error.strerror})"
        ) from None


def _event(line: bytes) -> Event | None:
    try:
        event = json.loads(line)
    except (ValueError, RecursionError):  # UnicodeDecodeError is a ValueError
        return None
    return event if _is_event(event) else None


def _is_event(event: Any) -> bool:
    """Return whether a value is an event, with what its readers rely on."""
    if not isinstance(event, dict):
        return False
    kind = event.get("type")
    if not isinstance(kind, str):
        return False
    needed = dict(_KEYS.get(kind, {}))
    if kind == "block":
        # One of a comparison belongs to a row, one of a training to an epoch.
        if "row" in event or "seed" in event:
            needed |= _OF_A_ROW
        else:
            needed |= {"epoch": _is_whole, "rate": is_number}
    if any(name not in event for name in needed):
        return False
    checks = _ANY | needed
    return all(checks[name](value) for name, value in event.items() if name in checks)


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63


def _is_figure(value: Any) -> bool:
    return value is None or is_number(value)  # what is not finite is null


def _are_figures(value: Any) -> bool:
    return isinstance(value, list) and all(map(_is_figure, value))


def _is_flag(value: Any) -> bool:
    return isinstance(value, bool)


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_look(value: Any) -> bool:
    """Return whether a value is what an evaluation found of one row or twin."""
    if not isinstance(value, dict) or not is_number(value.get("flips", 0)):
        return False
    return all(_is_figure(value.get(name)) for name in ("accuracy", "apart"))


def _are_rows(value: Any) -> bool:
    return isinstance(value, dict) and all(map(_is_look, value.values()))


def _are_twins(value: Any) -> bool:
    return isinstance(value, list) and all(
        _is_look(twin) and {"apart", "flips"} <= set(twin) for twin in value
    )


_ANY: dict[str, Callable[[Any], bool]] = {
    "step": _is_whole,
    "seed": _is_whole,
    "row": _is_text,
    "epoch": _is_whole,
    "validation_loss": _is_figure,
    "validation_accuracy": _is_figure,
}
_OF_A_ROW = {"row": _is_text, "seed": _is_whole, "training": _is_flag, "timed": _is_flag}
_KEYS: dict[str, dict[str, Callable[[Any], bool]]] = {
    "block": {"step": _is_whole, "steps": _is_whole, "seconds": is_number, "losses": _are_figures},
    "epoch": {"step": _is_whole, "epoch": _is_whole, "loss": _is_figure},
    "evaluation": {"step": _is_whole, "seed": _is_whole, "rows": _are_rows, "twins": _are_twins},
}


def newest(root: Path, kind: str = "compare") -> Path:
    """Return the newest finished run of a kind.

    Raises
    ------
    TriptychError
        Where there is none.
    """
    name = re.compile(rf"\d{{8}}-\d{{6}}-{kind}(-.*)?")
    finished = [
        path for path in root.glob(f"*-{kind}*/results.json") if name.fullmatch(path.parent.name)
    ]
    if not finished:
        raise TriptychError(f"{root}{os.sep}: no finished run; make one with: triptych {kind}")
    # The name begins with the second in which a run began; of two in one second the later one
    # counts.
    return max(finished, key=lambda path: (path.parent.name[:15], path.stat().st_mtime_ns)).parent
