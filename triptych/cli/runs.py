"""``triptych runs``: all run folders in a table."""

import csv
import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .app import app
from .option_groups import with_groups

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from ..report.inventory import RunEntry

# Left out one after the other, until the table fits into a narrow terminal.
EXPENDABLE = ("95 %", "folder", "seconds", "exported to", "data", "engines")
EXAMPLE_OF_A_NAME = "20260101-120000-train-torch-custom-digits"
WIDTH_OF_A_PIPE = 10_000  # columns: no line is broken there


Folder = Annotated[Path, typer.Argument(metavar="[FOLDER]", help="Where the run folders are.")]
AsCsv = Annotated[bool, typer.Option("--csv", help="Print them as CSV.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print them as JSON.")]
Page = Annotated[
    Path | None,
    typer.Option(
        "--html",
        metavar="FILE",
        help="Write one page, offline, that links the reports.",
        show_default=False,
    ),
]


@dataclass(frozen=True)
class FilterOptions:
    """Which runs are listed."""

    engine: Annotated[
        str | None,
        typer.Option("--engine", metavar="NAME", help="Runs in which it takes part."),
    ] = None
    network: Annotated[
        str | None, typer.Option("--network", metavar="NAME", help="Runs of this network.")
    ] = None
    data: Annotated[
        str | None, typer.Option("--data", metavar="NAME", help="Runs on this data.")
    ] = None
    kind: Annotated[
        str | None,
        typer.Option("--kind", metavar="NAME", help="train, compare, import or lesson."),
    ] = None

    def check(self) -> None:
        """Raise `typer.BadParameter` if there is no such kind of run."""
        from ..report.inventory import KINDS

        if self.kind is not None and self.kind not in KINDS:
            raise typer.BadParameter(f"{self.kind!r}; use {', '.join(KINDS)}", param_hint="--kind")


@app.command("runs")
@with_groups
def runs(
    *,
    folder: Folder = Path("runs"),
    filters: FilterOptions,
    as_csv: AsCsv = False,
    as_json: AsJson = False,
    html: Page = None,
) -> None:
    """List all runs, newest first: what was trained, how accurate, how long, exported to what.

    Unfinished and damaged run folders are listed, too, with the reason.

    Examples:

    triptych runs --kind train --engine torch

    triptych runs --html runs/index.html
    """
    from ..report.inventory import list_runs, select

    filters.check()
    if as_csv and as_json:
        raise typer.BadParameter("give --csv or --json, not both", param_hint="--csv")
    every = list_runs(folder)
    chosen = select(every, **asdict(filters))
    if as_csv:
        _print_csv(chosen)
    elif as_json:
        print(json.dumps([entry.to_json() for entry in chosen], indent=1))
    else:
        _show(folder, every, chosen)
    if html is not None:
        _write_page(html, folder, chosen)


def _show(folder: Path, every: "list[RunEntry]", chosen: "list[RunEntry]") -> None:
    """Print the table, or why it would be empty."""
    from rich.console import Console

    from .say import say

    console = Console(emoji=False)
    if not console.is_terminal:
        console = Console(emoji=False, width=WIDTH_OF_A_PIPE)
    if chosen:
        _print_table(console, chosen)
    elif every:
        say(console, f"{folder}: none of its runs is chosen.")
    else:
        say(
            console,
            f"{folder}: no runs; only folders with names such as {EXAMPLE_OF_A_NAME} are listed.",
        )


def _write_page(path: Path, folder: Path, entries: "list[RunEntry]") -> None:
    """Write the page, and print its path where standard output is not needed for data."""
    from importlib.util import find_spec

    from ..errors import TriptychError

    if find_spec("jinja2") is None:
        raise TriptychError(
            "--html needs Jinja, not installed here: pip install 'triptych[report]'"
        )
    from ..report.overview import write_overview

    write_overview(path, folder, entries)
    print(path, file=sys.stderr)


def _print_csv(entries: "list[RunEntry]") -> None:
    """Print a line for each run; lists are separated by spaces."""
    writer = csv.writer(sys.stdout, lineterminator="\n")
    for number, entry in enumerate(entries):
        values = entry.to_json()
        if number == 0:
            writer.writerow(values)
        values["engines"] = " ".join(entry.engines)
        values["exported"] = " ".join(entry.exported)
        writer.writerow(["" if value is None else value for value in values.values()])


def _print_table(console: "Console", entries: "list[RunEntry]") -> None:
    """Print the table, on a narrow terminal with fewer columns, and what is damaged below it."""
    from .say import say

    left_out: list[str] = []
    table = _table(entries, left_out)
    for title in EXPENDABLE:
        measured = console.options.update(max_width=WIDTH_OF_A_PIPE)
        if console.measure(table, options=measured).maximum <= console.width:
            break
        left_out.append(title)
        table = _table(entries, left_out)
    console.print(table)
    for entry in entries:
        if entry.status == "damaged":
            say(console, f"{entry.folder.name} is damaged: {entry.note}", "red")


def _table(entries: "list[RunEntry]", left_out: list[str]) -> "Table":
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for title in _cells(entries[0]):
        if title not in left_out:
            is_figure = title in ("accuracy", "95 %", "seconds")
            table.add_column(title, justify="right" if is_figure else "left", no_wrap=True)
    for entry in entries:
        cells = [cell for title, cell in _cells(entry).items() if title not in left_out]
        style = "red" if entry.status == "damaged" else ""
        table.add_row(*map(Text, cells), style=style)
    return table


def _cells(entry: "RunEntry") -> dict[str, str]:
    """Return the cells of a run by the titles of their columns."""
    status = entry.status
    if status == "not finished":
        status = f"{status} ({entry.note})"
    return {
        "time": entry.time[:-3],  # without the seconds
        "what": entry.kind,
        "network": entry.network,
        "data": entry.data,
        "engines": ", ".join(entry.engines),
        "accuracy": "" if entry.accuracy is None else f"{entry.accuracy:.2%}",
        "95 %": entry.interval,
        "seconds": "" if entry.seconds is None else f"{entry.seconds:.3g}",
        "status": status,
        "exported to": ", ".join(entry.exported),
        "folder": entry.folder.name,
    }
