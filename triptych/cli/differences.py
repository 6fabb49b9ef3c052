"""``triptych differences``: what PyTorch and Keras compute differently."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from . import options as o
from .app import app

if TYPE_CHECKING:
    from rich.console import Console

    from ..doctor.catalogue.entry import Difference
    from ..doctor.catalogue.measurement import Change, Measurement

SCHEMA = 1  # of the file that --json writes

Words = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="WORD|ID",
        help="Those in whose text all words occur, or by id, such as D47.",
        show_default=False,
    ),
]
Check = Annotated[
    bool, typer.Option("--check", help="Measure them, and list every value that has changed.")
]


@app.command("differences")
def differences(
    words: Words = None,
    check: Check = False,
    json_file: o.JsonFile = None,
) -> None:
    """List what PyTorch and Keras compute differently under the same names, and fixes.

    Without a word all are listed. By id, a difference is shown in full, with what the installed
    versions do: both frameworks are run, in a fresh process. --check measures all that are chosen
    and compares with the recorded versions; exit status 1 if a value has changed.

    Examples:

    triptych differences adam epsilon

    triptych differences D47

    triptych differences --check
    """
    from rich.console import Console

    from ..doctor.catalogue import measurement
    from .differences_view import show_changes, show_difference, show_list

    console = Console(emoji=False)
    entries, by_id = _chosen(words or [])
    measured: dict[str, Measurement] = {}
    if check or by_id:
        measurement.require_a_framework()
        measured = _measure(console, entries)
    changes = {
        entry.id: measurement.changes(entry, measured[entry.id])
        for entry in entries
        if entry.id in measured
    }
    if by_id:
        for entry in entries:
            show_difference(console, entry, measured[entry.id], changes[entry.id])
    if check:
        show_changes(console, entries, measured, changes)
    elif not by_id:
        show_list(console, entries)
    if json_file:
        _write(json_file, entries, measured, changes)
    sys.exit(1 if check and any(changes.values()) else 0)


def _chosen(words: "list[str]") -> "tuple[list[Difference], bool]":
    """Return the differences that are meant, and whether they were named by their ids.

    Raises
    ------
    TriptychError
        If there is none.
    """
    from ..doctor import catalogue
    from ..errors import TriptychError

    ids = [word.upper() for word in words]
    if ids and all(word.startswith("D") and word[1:].isdigit() for word in ids):
        return [catalogue.get(word) for word in ids], True
    entries = catalogue.find(words)
    if not entries:
        raise TriptychError(
            f"no difference has {' and '.join(map(repr, words))} in its text; "
            "triptych differences lists all"
        )
    return entries, False


def _measure(console: "Console", entries: "list[Difference]") -> "dict[str, Measurement]":
    """Measure differences; a terminal shows how far it is."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    from ..doctor.catalogue.measurement import measure
    from .say import announced

    if not console.is_terminal:
        with announced(console, "Measuring; all differences take about a minute."):
            return measure(entries)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        total = sum(len(entry.backends) for entry in entries)
        task = progress.add_task("importing the frameworks", total=total)

        def see(entry: "Difference") -> None:
            progress.update(task, advance=1, description=f"measured {entry.id}")

        return measure(entries, see)


def _write(
    path: Path,
    entries: "list[Difference]",
    measured: "dict[str, Measurement]",
    changes: "dict[str, list[Change]]",
) -> None:
    """Write differences as JSON, with what was measured of them."""
    from ..core import files
    from ..doctor.catalogue.measurement import as_json, versions
    from ..doctor.catalogue.registry import RECORDED_WITH

    content = {
        "schema": SCHEMA,
        "installed": versions(),
        "recorded_with": RECORDED_WITH,
        "differences": [
            as_json(entry, measured.get(entry.id), changes.get(entry.id, [])) for entry in entries
        ],
    }
    files.write(path, f"{files.to_json(content, indent=1)}\n")
