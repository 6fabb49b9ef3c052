"""The live view of a sweep: a row for each configuration; and its summary."""

import statistics
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from ..core import events
from ..core.events import Event
from ..progress import cell_line, line_of
from ..scale.sweep.summary import cell_name
from .say import duration, say
from .table import empty

if TYPE_CHECKING:
    from ..results import SweepResult

TICK_SECONDS = 1.0
LINES_BESIDE_ROWS = 5  # of a terminal: head, "more", status, prompt
NAMES = ("label", "data", "network", "recipe")
MOST_FAILURES = 10  # that are printed
Json = dict[str, Any]


@dataclass
class _Row:
    """What is shown of a configuration.

    Attributes
    ----------
    names : list of str
        Its engine, data, network and recipe.
    cells : int
        How many it has.
    running, failed : int
        How many of them are.
    accuracies : list of float
        Of those that are finished.
    changed : float
        When it last changed, in seconds of the monotonic clock.
    """

    names: list[str]
    cells: int = 0
    running: int = 0
    failed: int = 0
    accuracies: list[float] = field(default_factory=list[float])
    changed: float = 0.0


class SweepView:
    """Shows events, on a terminal in a redrawn table, in a pipe as lines. A context manager.

    Parameters
    ----------
    console : Console
        Where the events are shown.
    """

    def __init__(self, console: Console) -> None:
        self.console = console
        self.status = "starting Ray"
        self.rows: dict[tuple[str, ...], _Row] = {}
        self.row_of: dict[str, _Row] = {}
        self.label_of: dict[str, str] = {}
        self.planned = 0
        self.before = 0
        self.ended = 0
        self.alone = False
        self._begun = time.monotonic()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._tick, daemon=True)
        self._live = (
            Live(self, console=console, auto_refresh=False, transient=True)
            if console.is_terminal
            else None
        )

    def __enter__(self) -> "SweepView":
        if self._live:
            self._live.start(refresh=True)
            self._thread.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self._over.set()
        if self._live:
            self._thread.join()
            self._live.stop()

    def on_event(self, event: Event) -> None:
        """Show an event, and redraw."""
        match event:
            case events.SweepStarted():
                self._begin(event)
            case events.ClusterReady():
                self.status = "running"
                self._begun = time.monotonic()
            case events.CellStarted():
                self._change(event.cell, running=1)
                self.alone = bool(event.node)
            case events.CellRetried():
                self._change(event.cell, running=-1)
                label = escape(self.label_of[event.cell])
                self._say(f"[yellow]{label}: {escape(event.why)}; it is run again[/yellow]")
                return
            case events.CellEnded():
                self._end(event.cell)
            case _:
                pass
        line = line_of(event, epochs=0)
        failed = isinstance(event, events.CellEnded) and event.cell["status"] != "finished"
        if line is not None and (failed or not self._live or isinstance(event, _PRINTED)):
            self._say(f"[red]{escape(line)}[/red]" if failed else escape(line))
        if self._live and not self.alone:
            self._live.refresh()

    def _begin(self, started: events.SweepStarted) -> None:
        finished = set(started.finished)
        self.planned = len(started.cells)
        self.before = len(finished)
        for cell in started.cells:
            names = [cell[name] for name in NAMES]
            row = self.rows.setdefault(tuple(names), _Row(names))
            row.cells += 1
            self.row_of[cell["key"]] = row
            self.label_of[cell["key"]] = cell_name(cell)
            if cell["key"] in finished:
                row.cells -= 1

    def _change(self, key: str, running: int) -> _Row:
        row = self.row_of[key]
        row.running += running
        row.changed = time.monotonic()
        return row

    def _end(self, cell: Json) -> None:
        row = self._change(cell["key"], running=-1)
        self.ended += 1
        if cell["status"] == "finished":
            row.accuracies.append(cell["accuracy"])
        else:
            row.failed += 1

    def _say(self, line: str) -> None:
        say(self.console, line, markup=True)

    def _tick(self) -> None:
        """Run in the thread: redraw, but not while a cell is timed."""
        while not self._over.wait(TICK_SECONDS):
            if self._live and not self.alone:
                self._live.refresh()

    def _status(self) -> str:
        left = self.planned - self.before - self.ended
        line = f"{self.status}: {self.ended + self.before:,} of {self.planned:,} cells"
        seconds = time.monotonic() - self._begun
        if self.ended and left:
            line += f", about {duration(seconds / self.ended * left)} left"
        if self.alone:
            line += "; cells are timed, each alone on its node, and nothing is redrawn meanwhile"
        return line

    def __rich__(self) -> RenderableType:
        table = Table(box=None, pad_edge=False)
        varying = _varying([row.names for row in self.rows.values()])
        for _ in varying:
            table.add_column("", no_wrap=True)
        for name in ("done", "running", "failed", "accuracy"):
            table.add_column(name, justify="right", no_wrap=True)
        left = [row for row in self.rows.values() if row.cells]
        room = max(3, self.console.height - LINES_BESIDE_ROWS)
        shown = sorted(left, key=lambda row: (-row.running, -row.changed))[:room]
        for row in left:
            if row not in shown:
                continue
            done = len(row.accuracies) + row.failed
            accuracy = f"{statistics.fmean(row.accuracies):.2%}" if row.accuracies else ""
            table.add_row(
                *[escape(row.names[at]) for at in varying],
                f"{done}/{row.cells}",
                str(row.running or ""),
                f"[red]{row.failed}[/red]" if row.failed else "",
                accuracy,
            )
        more = len(left) - len(shown)
        lines = [Text(f"… and {more:,} more configurations", style="dim")] if more else []
        return Group(table, *lines, Text(self._status(), style="dim"))


# What is also printed above the table on a terminal.
_PRINTED = (events.SweepStarted, events.ClusterReady)


def _varying(rows: list[list[str]]) -> list[int]:
    """Return which names are not the same in all rows; the engine is always one of them."""
    return [at for at in range(len(NAMES)) if at == 0 or len({row[at] for row in rows}) > 1]


def show_summary(console: Console, result: "SweepResult") -> None:
    """Print a row for each configuration: accuracy with its interval, and times."""
    found = result.configurations()
    rows = [[each.label, each.data, each.network, each.recipe] for each in found]
    varying = _varying(rows)
    table = empty("", [])
    for at in varying[1:]:
        table.add_column(NAMES[at], no_wrap=True)
    for title in ("seeds", "accuracy", "95 %", "seconds", "ms/step"):
        table.add_column(title, justify="right", no_wrap=True)
    for each, names in zip(found, rows, strict=True):
        accuracy = "" if each.mean is None else f"{each.mean:.2%}"
        busy = " ?" if each.busy else ""
        table.add_row(
            *[escape(names[at]) for at in varying],
            str(len(each.accuracy)),
            accuracy,
            each.interval,
            busy if each.seconds is None else f"{each.seconds:.3g}{busy}",
            "" if each.step_seconds is None else f"{each.step_seconds * 1e3:.3g}",
        )
    console.print(table)
    if any(each.busy for each in found):
        say(console, "? A timed cell ran on a busy node; its time is left out.", "yellow")
    if not any(each.timed for each in found):
        say(console, "No cell was timed; timed = [0] in the file times those of seed 0.", "dim")


def show_failures(console: Console, result: "SweepResult") -> None:
    """Print which cells have failed, and why."""
    for cell in result.failed[:MOST_FAILURES]:
        say(console, cell_line(cell), "red")
    more = len(result.failed) - MOST_FAILURES
    if more > 0:
        say(console, f"… and {more:,} more; {result.folder} has all of them", "red")
