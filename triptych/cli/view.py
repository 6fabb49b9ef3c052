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
from ..core import events
from ..core.events import Event
from .say import clock_in, duration, say

TICK_SECONDS = 1.0
QUIET_SECONDS = 10.0  # into a pipe: after so long without a line the status is repeated
QUIET_TRAINING_SECONDS = 60.0  # the same while rows are timed
BAR_WIDTH = 30
OTHER_COLUMNS_WIDTH = 46  # of the table without its bar: label, loss, accuracy, time


class View:
    """Shows events, on a terminal in a redrawn display, in a pipe as lines. A context manager.

    A thread shows the elapsed time on a terminal, and repeats the status in a pipe if nothing was
    printed for a while. While rows are timed, nothing is redrawn, so that the machine stays idle.

    Parameters
    ----------
    console : Console
        Where the events are shown.
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

    def on_event(self, event: Event) -> None:
        """Show an event, and redraw."""
        match event:
            case events.BlockTimed():
                self._block(event)
            case events.RoundEnded():
                self._round(event)
            case events.Evaluated():
                self._evaluation(event)
            case events.WaitingForCalm():
                self._wait(event)
            case events.PaceMeasured():
                self.steps = event.steps
            case events.RoundsStarted():
                self._begin("training and timing, in turn", printed=False)
            case _:
                self._row_began(event)
                self._row_ended(event)
        if self._live:
            self._live.refresh()

    def _row_began(self, event: Event) -> None:
        """Show what a row begins to do; a short thing is not printed into a pipe."""
        match event:
            case events.WorkerImporting():
                self._begin(f"importing {self._label(event.row)}", row=event.row)
            case events.FirstStepStarted():
                doing = "making its first step, compilation included"
                self._begin(f"{self._label(event.row)}: {doing}", row=event.row)
            case events.ProofStarted():
                doing = f"proving it equal in {event.what}"
                self._begin(f"{self._label(event.row)}: {doing}", row=event.row)
            case events.RowBuilding():
                doing = "building the network and copying the data to it"
                self._begin(f"{self._label(event.row)}: {doing}", printed=False)
            case events.PaceStarted():
                doing = "timing a step, to choose how many make a block"
                self._begin(f"{self._label(event.row)}: {doing}", printed=False)
            case events.BlockCheckStarted():
                doing = "checking that several steps at once equal single steps"
                self._begin(f"{self._label(event.row)}: {doing}", printed=False)
            case events.ProofStep():
                self.status = (
                    f"{self._label(event.row)}: proving it equal in {event.what}, "
                    f"step {event.done} of {event.steps}"
                )
            case _:
                pass

    def _row_ended(self, event: Event) -> None:
        """Print a result of a row."""
        match event:
            case events.RowFailed():
                label = self._label(event.row)
                self._set_state(event.row, "out")
                name = "" if event.why.startswith(label) else f"{label}: "
                self._say(f"[red]{name}{escape(event.why)}[/red]")
            case events.RowReady():
                self._set_state(event.row, "ready")
                seconds = event.seconds["import"]
                label = self._label(event.row)
                self._say(f"{label}: imported in {seconds:.1f} s, on {event.device}")
            case events.FirstStepTimed():
                label = self._label(event.row)
                self._say(f"{label}: first step after {_duration(event.seconds)}")
            case events.Float64Judged():
                self._say(f"{self._label(event.row)}: {_proof(event)}")
            case events.Float32Judged():
                is_proved = event.verdict == "rounding"
                self._set_state(event.row, "proved" if is_proved else "[red]unproved[/red]")
                self._say(
                    f"{self._label(event.row)}: float32 verdict [bold]{event.verdict}[/bold], "
                    f"{event.factor:.2f} times NumPy's own error"
                )
            case _:
                pass

    def _label(self, row: str) -> str:
        return self.labels.get(row, row)

    def _set_state(self, row: str, state: str) -> None:
        if row in self.rows:
            self.rows[row]["state"] = state

    def _begin(self, status: str, *, row: str = "", printed: bool = True) -> None:
        self.status = status
        self._set_state(row, "…")
        self._phase_began = time.monotonic()
        if printed and not self._live:
            self._say(status)

    def _block(self, block: events.BlockTimed) -> None:
        self.timing = True
        self._waiting = False
        row = self.rows.get(block.row, {})
        row.setdefault("times", []).append(block.seconds)
        if block.training:
            row["step"] = block.step
            row["loss"] = block.losses[-1]
            self._trained = block.step
            self.status = f"training and timing, in turn: step {self._trained:,} of {self.steps:,}"

    def _round(self, ended: events.RoundEnded) -> None:
        if ended.training:
            self._rounds_of_training += 1
            return
        number = ended.round + 1 - self._rounds_of_training
        counted = f"{ended.counted} of {ended.needed} needed rounds are timed"
        self.status = f"trained; timing goes on, round {number} of at most {MOST_ROUNDS}: {counted}"

    def _wait(self, waiting: events.WaitingForCalm) -> None:
        used = "" if waiting.others is None else f" (others use {waiting.others:.0%} of it)"
        until = clock_in(waiting.seconds)
        self.timing = False
        self.status = (
            f"the machine is busy{used}: waiting until {until} at the latest, to time again when "
            "it is calm; Ctrl-C ends the comparison without a result, --wait 0 does not wait"
        )
        if not self._waiting and not self._live:
            self._say(self.status)
        self._waiting = True

    def _evaluation(self, evaluated: events.Evaluated) -> None:
        for key, figures in evaluated.rows.items():
            self.rows[key] |= figures
        if not self._live:
            accuracies = ", ".join(
                f"{self.labels[key]} {figures['accuracy']:.2%}"
                for key, figures in evaluated.rows.items()
            )
            step = f"step {evaluated.step:,} of {self.steps:,}"
            self._say(f"{step}: test accuracy {accuracies}")

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
                # If the pipe is closed, the main thread's next line ends the program.
                with suppress(OSError):
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


def _proof(judged: events.Float64Judged) -> str:
    """Return the outcome of a row's float64 proof."""
    if judged.unproved:
        return f"[red]{escape(judged.unproved)}[/red]"
    if not judged.steps:
        return "several steps at once equal single steps"
    return f"{judged.steps} float64 steps in lockstep, equal to {judged.walk:.0e}"


def _duration(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds >= 1 else f"{seconds * 1e3:.0f} ms"
