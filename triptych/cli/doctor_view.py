"""What ``triptych doctor`` shows."""

from math import isinf
from typing import TYPE_CHECKING

from ..errors import counted
from ..report.units import milliseconds
from .say import StatusLine, say, say_unbroken

if TYPE_CHECKING:
    from pathlib import Path

    from rich.console import Console

    from ..doctor.findings import Acquittal, Diagnosis, Finding, LayerRow
    from ..doctor.observation import Description
    from ..doctor.timing import Timing

HEADLINES = {
    "equal": ("Equal: with the same weights both sides compute the same.", "green"),
    "rounding": ("Equal up to rounding: no difference is larger than rounding explains.", "green"),
    "differ": ("They differ.", "bold red"),
    "undecided": (
        "They differ, or something could not be compared; the cause is not known.",
        "yellow",
    ),
}
LONGEST_PATH = 34
FIGURES_WIDTH = 32  # of the three columns with figures, and what is between the columns


class StageProgress(StatusLine):
    """Shows which stage is examined, on a terminal. A context manager."""

    def __init__(self, console: "Console") -> None:
        super().__init__(console, "importing the frameworks, running both files")

    def see(self, stage: str) -> None:
        """Show the stage that is examined from now on."""
        self.show(stage if ":" in stage else f"comparing: {stage}")


def show(console: "Console", diagnosis: "Diagnosis", a: str, b: str) -> None:
    """Print the answer: verdict, causes and fixes; the layers; what is not the cause."""
    _show_side(console, "A", a, diagnosis.a)
    _show_side(console, "B", b, diagnosis.b)
    headline, style = HEADLINES[diagnosis.verdict]
    console.print()
    say(console, headline, style)
    for number, finding in enumerate(diagnosis.findings, 1):
        console.print()
        _show_finding(console, number, finding)
    for row in diagnosis.stages:
        if row.note:
            say(console, f"Not compared: {row.note}", "yellow")
    if diagnosis.layers:
        console.print()
        _show_layers(console, diagnosis.layers)
    if diagnosis.acquitted:
        console.print()
        say(console, "Not the cause:", "bold")
        for acquittal in diagnosis.acquitted:
            _show_acquittal(console, acquittal)
    if diagnosis.timing:
        console.print()
        _show_timing(console, diagnosis.timing)
    console.print()
    dtype = "double precision" if diagnosis.dtype == "float64" else "the precision as written"
    say(console, f"Compared in {dtype}, in {diagnosis.seconds:.1f} s.", "dim")


def show_weights_file(console: "Console", diagnosis: "Diagnosis", path: "Path") -> None:
    """Print what was written, how it is loaded, and which layers kept weights of their own."""
    from ..doctor.weights_file import LOADING

    loading = LOADING.get(diagnosis.b.framework, "").format(name=path.name)
    how = f"; load them with {loading}" if loading else ", by B's names"
    say_unbroken(console, f"{path}: A's weights for B{how}")
    if diagnosis.uncarried:
        left = ", ".join(diagnosis.uncarried)
        say(console, f"Not A's, because they have no counterpart: {left}", "yellow")


def _show_side(console: "Console", name: str, source: str, description: "Description") -> None:
    say_unbroken(console, f"{name}: {source}  {description.model}, {description.version}")


def _show_finding(console: "Console", number: int, finding: "Finding") -> None:
    cause = f" ({finding.cause})" if finding.cause else ""
    say(console, f"{number}. {finding.stage}: {finding.title}{cause}", "bold")
    for side in ("a", "b"):
        text = finding.about(side)
        if text:
            say(console, f"   {side.upper()}  {text}")
    if finding.effect:
        figures = [f"{name} {value:.1e}" for name, value in finding.effect.items()]
        say(console, f"   effect: {', '.join(figures)}")
    for side in ("a", "b"):
        if finding.fix.get(side):
            say_unbroken(console, f"   fix {side.upper()}: {finding.fix[side]}", "green")
    if finding.evidence:
        word = "proved" if finding.proved else "suspected, not proved"
        say(console, f"   {word}: {finding.evidence}", "" if finding.proved else "yellow")


def _show_acquittal(console: "Console", acquittal: "Acquittal") -> None:
    cause = f" ({acquittal.cause})" if acquittal.cause else ""
    say(console, f"   {acquittal.stage}: {acquittal.title}{cause}: {acquittal.evidence}")


def _show_layers(console: "Console", rows: "tuple[LayerRow, ...]") -> None:
    """Print both networks next to each other."""
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="dim")
    # On a narrow terminal the paths are shortened, and the figures are not.
    longest = min(LONGEST_PATH, (console.width - FIGURES_WIDTH) // 2)
    for title in ("A", "B"):
        table.add_column(title, overflow="ellipsis", max_width=longest, no_wrap=True)
    for title in ("arriving", "output", "gradient"):
        table.add_column(title, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(
            escape(f"{row.a} {row.a_type}"),
            escape(f"{row.b} {row.b_type}"),
            _figure(row.arriving),
            _figure(row.output),
            "" if row.gradient is None else _figure(row.gradient),
        )
    say(console, "Each layer with the input, the weights and the gradient that A has:", "bold")
    console.print(table)


def _show_timing(console: "Console", timing: "Timing") -> None:
    """Print the times of both sides, or why there are none."""
    from rich.markup import escape
    from rich.table import Table

    if timing.reason:
        say(console, f"Not timed: {timing.reason}", "yellow")
        return
    threads = counted(timing.threads, "thread")
    say(console, f"Times of one step, each side in a process of its own with {threads}:", "bold")
    table = Table(box=None, pad_edge=False, header_style="dim")
    for title in ("", "side", "median", "95 % interval", "first call", "what runs"):
        table.add_column(title)
    for part in timing.parts:
        for side, times in (("A", part.a), ("B", part.b)):
            seconds = times.seconds
            table.add_row(
                part.part if side == "A" else "",
                side,
                f"{milliseconds(seconds.median)} ms",
                f"{milliseconds(seconds.low)} to {milliseconds(seconds.high)}",
                f"{milliseconds(times.first_seconds)} ms",
                escape(times.code),
            )
    console.print(table)
    for part in timing.parts:
        say(console, f"   {part.sentence}", "yellow" if part.busy else "")
    for note in timing.notes:
        say(console, f"   {note}", "dim")


def _figure(difference: float) -> str:
    return "shape" if isinf(difference) else f"{difference:.1e}"
