"""The live view of a comparison: a line for what is being done, a row for each engine, redrawn between blocks only."""

import statistics
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

WORDS = {
    "importing": "importing {row}",
    "compiling": "{row}: making its first step, compilation included",
    "proving": "{row}: proving it equal in {what}",
}


class View:
    """Shows events. On a terminal it redraws in place; into a pipe it prints a line where something was finished."""

    def __init__(self, console: Console, labels: dict[str, str]) -> None:
        self.console, self.labels = console, labels
        self.rows: dict[str, dict[str, Any]] = {key: {"step": 0, "state": "waiting"} for key in labels}
        self.steps = 1
        self.status = "starting"
        self._live = Live(self, console=console, auto_refresh=False, transient=True) if console.is_terminal else None

    def __enter__(self) -> "View":
        if self._live:
            self._live.start(refresh=True)
        return self

    def __exit__(self, *_: Any) -> None:
        if self._live:
            self._live.stop()

    def see(self, event: dict[str, Any]) -> None:
        """Take an event in and redraw."""
        kind, row = event["type"], self.rows.get(event.get("row", ""), {})
        label = self.labels.get(event.get("row", ""), "")
        before = self.status
        if kind in WORDS:
            self.status = WORDS[kind].format(row=label, what=event.get("what", ""))
            row["state"] = "…"
        elif kind == "failed":
            row["state"] = "out"
            self._say(f"[red]{label}[/red]: {escape(event['why'])}")
        elif kind == "ready":
            row["state"] = "ready"
            self._say(f"{label}: imported in {event['seconds']['import']:.1f} s, on {event['device']}")
        elif kind == "first":
            self._say(f"{label}: first step after {_duration(event['seconds'])}")
        elif kind == "pace":
            self.steps = event["steps"]
        elif kind == "float64":
            verdict = f"[red]{escape(event['unproved'])}[/red]" if event["unproved"] else f"equal to {event['walk']:.0e}"
            self._say(f"{label}: {event['steps']} float64 steps in lockstep, {verdict}")
        elif kind == "float32":
            row["state"] = "proved" if event["verdict"] == "rounding" else "[red]unproved[/red]"
            self._say(f"{label}: float32 verdict [bold]{event['verdict']}[/bold], {event['factor']:.2f} times NumPy's own error")
        elif kind == "block":
            self._block(event, row)
        elif kind == "evaluation":
            for key, found in event["rows"].items():
                self.rows[key] |= found
            if not self._live:
                accuracies = ", ".join(f"{self.labels[key]} {found['accuracy']:.2%}" for key, found in event["rows"].items())
                self.console.print(f"step {event['step']:,} of {self.steps:,}: accuracy {accuracies}", highlight=False)
        if self._live:
            self._live.refresh()
        elif self.status != before and kind in WORDS:
            self.console.print(self.status, highlight=False)

    def _block(self, event: dict[str, Any], row: dict[str, Any]) -> None:
        row.setdefault("times", []).append(event["seconds"])
        if event["training"]:
            row["step"], row["loss"] = event["step"], event["losses"][-1]
            self.status = "training and timing, in turn"
        else:
            self.status = f"trained; timing on, round {event['round'] + 1}"

    def _say(self, line: str) -> None:
        self.console.print(line, highlight=False)

    def __rich__(self) -> RenderableType:
        table = Table(box=None, pad_edge=False)
        for name in ("", "progress", "loss", "accuracy", "ms/step"):
            table.add_column(name, justify="left" if name in ("", "progress") else "right")
        for key, row in self.rows.items():
            bar = (
                ProgressBar(self.steps, row["step"], width=30)
                if row["step"]
                else Text(row["state"])
                if "[" not in row["state"]
                else row["state"]
            )
            times = row.get("times")
            table.add_row(
                self.labels[key],
                bar,
                f"{row['loss']:.4f}" if "loss" in row else "",
                f"{row['accuracy']:.2%}" if "accuracy" in row else "",
                f"{statistics.median(times) * 1e3:.3g}" if times else "",
            )
        return Group(table, Text(self.status, style="dim"))


def _duration(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds >= 1 else f"{seconds * 1e3:.0f} ms"
