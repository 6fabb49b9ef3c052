"""The run folder: events.jsonl as it happens, results.json and the states at the end, and what they came from."""

import json
import os
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any

from . import __version__, files
from .errors import TriptychError
from .network import Network
from .recipe import Recipe
from .state import State

RESULTS_SCHEMA = 1  # docs/results.md describes it; raised whenever a key changes its meaning or goes


class Run:
    """A folder in the making. A context manager: the log is closed however the run ends.

    Parameters
    ----------
    folder : Path
    events : list of dict, optional
        Of a run that goes on: its log is written anew with these. Otherwise the folder must not be there yet.
    """

    def __init__(self, folder: Path, events: list[dict[str, Any]] | None = None) -> None:
        self.folder = folder
        if events is None:
            folder.mkdir(parents=True)
        else:
            files.write(folder / "events.jsonl", "".join(files.to_json(event) + "\n" for event in events))
        self._log = (folder / "events.jsonl").open("a", encoding="utf-8")

    @classmethod
    def create(cls, root: Path, kind: str) -> "Run":
        """Make ``root/<time>-<kind>``, or with a number behind it where that is taken.

        Raises
        ------
        TriptychError
            Where the folder cannot be written.
        """
        name = f"{datetime.now():%Y%m%d-%H%M%S}-{kind}"
        try:
            for folder in (root / name, *(root / f"{name}-{n}" for n in range(2, 100))):
                if not folder.exists():
                    return cls(folder)
        except OSError as error:
            raise TriptychError(f"{root}: no run folder can be made there ({error.strerror})") from None
        raise TriptychError(f"{root / name}: a hundred runs in this second")

    def __enter__(self) -> "Run":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._log.close()

    def log(self, event: dict[str, Any]) -> None:
        """Append one event, a line of JSON, and hand it to the system at once."""
        try:
            self._log.write(files.to_json(event) + "\n")
            self._log.flush()
        except OSError as error:
            error.filename = error.filename or self._log.name  # a full disk does not say what was written
            raise

    def save_state(self, name: str, state: State, network: Network, recipe: Recipe, provenance: dict[str, Any]) -> None:
        files.save_state(self.folder / name / "state.safetensors", state, network, recipe, provenance)

    def save_results(self, results: dict[str, Any]) -> None:
        header = {"schema": RESULTS_SCHEMA, "triptych": __version__}
        files.write(self.folder / "results.json", files.to_json(header | results, indent=1) + "\n")


def read_results(folder: Path, kind: str | None = "compare") -> dict[str, Any]:
    """Return a run folder's results, of a kind, or of any where it is None.

    Raises
    ------
    TriptychError
        Where the folder holds none, or they are of another schema or kind.
    """
    path = folder / "results.json"
    try:
        results = json.loads(path.read_text(encoding="utf-8"))
    except OSError:
        raise TriptychError(f"{folder}: holds no results.json; name a finished run folder, runs/<time>-compare") from None
    except ValueError as error:
        raise TriptychError(f"{path}: not readable as JSON ({error})") from None
    if not isinstance(results, dict) or results.get("schema") != RESULTS_SCHEMA:
        raise TriptychError(f"{path}: not results of schema {RESULTS_SCHEMA}; make it anew with triptych compare")
    if kind not in (None, found := results.get("kind", "compare")):
        raise TriptychError(f"{folder}: results of triptych {found}, where those of triptych {kind} are needed; see triptych show {folder}")
    return results


def read_events(folder: Path) -> list[dict[str, Any]]:
    """Return a run folder's events, up to the first line that is none, as a kill leaves a last one that is cut off.

    Raises
    ------
    TriptychError
        Where there are none.
    """
    try:
        lines = (folder / "events.jsonl").read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise TriptychError(f"{folder}: its events.jsonl cannot be read ({error.strerror})") from None
    events: list[dict[str, Any]] = []
    for line in lines:
        try:
            event = json.loads(line)
        except ValueError:
            event = None
        if not isinstance(event, dict):
            break
        events.append(event)
    return events


def newest(root: Path, kind: str = "compare") -> Path:
    """Return the newest finished run of a kind.

    Raises
    ------
    TriptychError
        Where there is none.
    """
    found = sorted(path.parent for path in root.glob(f"*-{kind}*/results.json"))
    if not found:
        raise TriptychError(f"{root}{os.sep}: no finished run; make one with: triptych {kind}")
    return found[-1]
