"""The live view of a comparison: a line for what is being done, a row for each engine."""

import statistics
import threading
import time
from contextlib import suppress
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from ..bench.rounds import MOST_ROUNDS
from .say import clock_in, duration, say

STARTS = {
    "importing": "importing {label}",
    "compiling": "{label}: making its first step, compilation included",
    "proving": "{label}: proving it equal in {what}",
}  # events that begin something; the line is printed
QUIET_STARTS = {
    "building": "{label}: building the network and copying the data to it",
    "pacing": "{label}: timing a step, to choose how many make a block",
    "checking": "{label}: checking that several steps at once equal single steps",
}  # events that begin something short; into a pipe the line is printed only if it takes long
TICK_SECONDS = 1.0
QUIET_SECONDS = 10.0  # into a pipe: after so long without a line the status is repeated
QUIET_TRAINING_SECONDS = 60.0  # the same while rows are timed
BAR_WIDTH = 30
OTHER_COLUMNS_WIDTH = 46  # of the table without its bar: label, loss, accuracy, time


class View:
    """Shows events. On a terminal it redraws in place; into a pipe it prints a line for what was finished.

    A thread repeats the status into a pipe where nothing was printed for a while, and shows on a
    terminal how long it has taken. While rows are timed it does not redraw, so that the machine
    stays idle. A context manager.

    Parameters
    ----------
    console : Console
    labels : dict of str to str
        The rows' names by key.
    """

    def __init__(self, console: Console, labels: dict[str, str]) -> None:
        self.console = console
        self.labels = labels
        self.rows: dict[str, dict[str, Any]] = {
            key: {"step": 0, "state": "waiting"} for key in labels
        }
        self.steps = 1
        self.status = "starting"
        self.timing = False
        self._trained = 0
        self._waiting = False
        self._rounds_of_training = 0
        self._phase_began = time.monotonic()
        self._last_line = time.monotonic()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._tick, daemon=True)
        self._live = (
            Live(self, console=console, auto_refresh=False, transient=True)
            if console.is_terminal
            else None
        )

    def __enter__(self) -> "View":
        if self._live:
            self._live.start(refresh=True)
        self._thread.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self._ended.set()
        self._thread.join()
        if self._live:
            self._live.stop()

    def see(self, event: dict[str, Any]) -> None:
        """Take an event in and redraw."""
        kind = event["type"]
        row = self.rows.get(event.get("row", ""), {})
        label = self.labels.get(event.get("row", ""), "")
        if kind in STARTS:
            self._begin(STARTS[kind].format(label=label, **event))
            row["state"] = "…"
        elif kind in QUIET_STARTS:
            self._begin(QUIET_STARTS[kind].format(label=label, **event), printed=False)
        elif kind == "walking":
            self.status = f"{label}: proving it equal in {event['what']}, step {event['done']} of {event['steps']}"
        elif kind == "waiting":
            self._wait(event)
        elif kind == "block":
            self._block(event, row)
        elif kind == "round":
            self._round(event)
        elif kind == "evaluation":
            self._evaluation(event)
        elif kind == "pace":
            self.steps = event["steps"]
        elif kind == "start":
            self._begin("training and timing, in turn", printed=False)
        else:
            self._finished(event, row, label)
        if self._live:
            self._live.refresh()

    def _begin(self, status: str, *, printed: bool = True) -> None:
        self.status = status
        self._phase_began = time.monotonic()
        if printed and not self._live:
            self._say(status)

    def _finished(self, event: dict[str, Any], row: dict[str, Any], label: str) -> None:
        """Print what has come out for a row."""
        kind = event["type"]
        if kind == "failed":
            row["state"] = "out"
            name = "" if event["why"].startswith(label) else f"{label}: "
            self._say(f"[red]{name}{escape(event['why'])}[/red]")
        elif kind == "ready":
            row["state"] = "ready"
            self._say(
                f"{label}: imported in {event['seconds']['import']:.1f} s, on {event['device']}"
            )
        elif kind == "first":
            self._say(f"{label}: first step after {_duration(event['seconds'])}")
        elif kind == "float64":
            self._say(f"{label}: {_proof(event)}")
        elif kind == "float32":
            row["state"] = "proved" if event["verdict"] == "rounding" else "[red]unproved[/red]"
            self._say(
                f"{label}: float32 verdict [bold]{event['verdict']}[/bold], {event['factor']:.2f} times NumPy's own error"
            )

    def _block(self, event: dict[str, Any], row: dict[str, Any]) -> None:
        self.timing = True
        self._waiting = False
        row.setdefault("times", []).append(event["seconds"])
        if event["training"]:
            row["step"] = event["step"]
            row["loss"] = event["losses"][-1]
            self._trained = event["step"]
            self.status = f"training and timing, in turn: step {self._trained:,} of {self.steps:,}"

    def _round(self, event: dict[str, Any]) -> None:
        if event["training"]:
            self._rounds_of_training += 1
            return
        number = event["round"] + 1 - self._rounds_of_training
        counted = f"{event['counted']} of {event['needed']} needed rounds are timed"
        self.status = f"trained; timing goes on, round {number} of at most {MOST_ROUNDS}: {counted}"

    def _wait(self, event: dict[str, Any]) -> None:
        used = "" if event["others"] is None else f" (others use {event['others']:.0%} of it)"
        until = clock_in(event["seconds"])
        self.timing = False
        self.status = f"the machine is busy{used}: waiting until {until} at the latest, to time again when it is calm; Ctrl-C stops"
        if not self._waiting and not self._live:
            self._say(self.status)
        self._waiting = True

    def _evaluation(self, event: dict[str, Any]) -> None:
        for key, found in event["rows"].items():
            self.rows[key] |= found
        if not self._live:
            accuracies = ", ".join(
                f"{self.labels[key]} {found['accuracy']:.2%}"
                for key, found in event["rows"].items()
            )
            self._say(f"step {event['step']:,} of {self.steps:,}: test accuracy {accuracies}")

    def _say(self, line: str) -> None:
        say(self.console, line, markup=True)
        self._last_line = time.monotonic()

    def _tick(self) -> None:
        """Run in the thread: show that something still happens."""
        while not self._ended.wait(TICK_SECONDS):
            if self._live and not self.timing:
                self._live.refresh()
            quiet = QUIET_TRAINING_SECONDS if self.timing else QUIET_SECONDS
            if not self._live and time.monotonic() - self._last_line >= quiet:
                with suppress(
                    OSError
                ):  # the pipe is closed: the main thread's next line ends the program
                    self._say(escape(self._status()))

    def _status(self) -> str:
        """Return what is being done, and how long it has taken if that is long."""
        seconds = time.monotonic() - self._phase_began
        if self.timing or self._waiting or seconds < QUIET_SECONDS:
            return self.status
        return f"{self.status}, for {duration(seconds)} so far"

    def __rich__(self) -> RenderableType:
        table = Table(box=None, pad_edge=False)
        table.add_column("", no_wrap=True)
        table.add_column("progress", no_wrap=True)
        for name in ("loss", "accuracy", "ms/step"):
            table.add_column(name, justify="right", no_wrap=True)
        width = max(5, min(BAR_WIDTH, self.console.width - OTHER_COLUMNS_WIDTH))
        for key, row in self.rows.items():
            bar = ProgressBar(self.steps, row["step"], width=width) if row["step"] else row["state"]
            times = row.get("times")
            table.add_row(
                self.labels[key],
                bar,
                f"{row['loss']:.4f}" if "loss" in row else "",
                f"{row['accuracy']:.2%}" if "accuracy" in row else "",
                f"{statistics.median(times) * 1e3:.3g}" if times else "",
            )
        return Group(table, Text(self._status(), style="dim"))


def _proof(event: dict[str, Any]) -> str:
    """Return what the float64 proof of a row has found."""
    if event["unproved"]:
        return f"[red]{escape(event['unproved'])}[/red]"
    if not event["steps"]:
        return "several steps at once equal single steps"
    return f"{event['steps']} float64 steps in lockstep, equal to {event['walk']:.0e}"


def _duration(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds >= 1 else f"{seconds * 1e3:.0f} ms"
