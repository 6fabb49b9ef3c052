"""What ``triptych verify --script`` prints: a row for each number of workers, then what differs."""

from typing import TYPE_CHECKING

from ..errors import counted
from .say import StatusLine, say, say_unbroken

if TYPE_CHECKING:
    from rich.console import Console

    from ..core import events

KINDS = ("forward", "loss", "gradient", "weights", "buffers")
COLUMNS = ("workers", "steps", "samples", *KINDS, "ranks", "")
WIDTHS = (">8", ">5", ">7", *([">8"] * len(KINDS)), ">9", "<12")  # < to the left
PURPOSES = {
    "reference": "one process",
    "rounding": "one process, its first weights moved by some units in the last place",
}
VERDICTS = {
    "equal": "equal",
    "differs": "DIFFERS",
    "undecided": "UNDECIDED",
    "incomparable": "not compared",
}
STATUSES = {"equal": 0, "differs": 1, "undecided": 3, "incomparable": 2}
WORST_FIRST = (1, 2, 3, 0)  # exit statuses


class ScriptReport(StatusLine):
    """Prints a row as soon as it is known, and at the end what was found. A context manager.

    Parameters
    ----------
    console : Console
        Where it is printed.
    name : str
        Of the script.
    """

    def __init__(self, console: "Console", name: str) -> None:
        super().__init__(console, "importing PyTorch")
        self._name = name
        self._doing = ""
        self._compared: list[events.ScriptCompared] = []
        self._failed: list[events.ScriptFailed] = []

    def on_event(self, event: "events.Event") -> None:
        """Print an event of `triptych.doctor.script.verification`."""
        from ..core import events

        match event:
            case events.ScriptStarted():
                what = PURPOSES.get(event.purpose) or counted(event.workers, "worker")
                self._doing = f"{self._name}, {what}"
                self.show(self._doing)
            case events.ScriptStep():
                self.show(f"{self._doing}: step {event.done} of at most {event.steps}")
            case events.ScriptCompared():
                self._row(event)
            case events.ScriptFailed():
                self._failed.append(event)
            case _:
                pass

    def conclude(self) -> int:
        """Print what differs and what failed; return the exit status of the command."""
        if self._compared:
            self._rounding()
        for event in self._compared:
            self._explain(event)
        for event in self._failed:
            self._fail(event)
        notes = [note for event in self._compared for note in event.notes]
        for note in dict.fromkeys(notes):
            say(self._console, f"Note: {note}")
        statuses = {STATUSES[event.verdict] for event in self._compared}
        if self._failed:
            statuses.add(2)
        return next(status for status in WORST_FIRST if status in statuses)

    def _row(self, event: "events.ScriptCompared") -> None:
        if not self._compared:
            self._line(COLUMNS, "bold")
        self._compared.append(event)
        figures = [event.worst.get(kind) for kind in KINDS]
        equal = event.steps > 0
        cells = (
            "1, again" if event.workers == 1 else str(event.workers),
            str(event.steps),
            str(event.samples),
            *("" if figure is None else f"{figure:.1e}" for figure in figures),
            ("identical" if event.identical else "DIFFER") if equal else "",
            VERDICTS[event.verdict],
        )
        styles = {"equal": "green", "differs": "red"}
        self._line(cells, styles.get(event.verdict, "yellow"))

    def _rounding(self) -> None:
        """Print what rounding explains, below the figures."""
        last = self._compared[-1]
        if not last.bounds:
            return
        bounds = [f"{last.bounds.get(kind, 0.0):.1e}" for kind in KINDS]
        self._line(("rounding", "", "", *bounds, "", last.dtype), "dim")

    def _explain(self, event: "events.ScriptCompared") -> None:
        """Print the verdict about a number of workers, and each difference with its cause."""
        self._console.print()
        workers = counted(event.workers, "worker")
        if event.equal:
            who = f"{workers} train as one process does"
            if event.workers == 1:
                who = "One process trains as before when it is run again"
            which = "all" if event.steps == event.compared else "the first"
            say(
                self._console,
                f"{who}, up to rounding, in {which} {counted(event.steps, 'step')}.",
                "green",
            )
            self._tell_growth(event)
            return
        for finding in event.findings:
            where = f"{workers}, step {finding['step']}, {finding['stage']}"
            say(self._console, f"{where}: {finding['what']}", "bold")
            if finding["cause"]:
                say(self._console, f"  cause: {finding['cause']}; {finding['explanation']}")
            elif event.verdict != "incomparable":
                say(self._console, "  cause: none of those that are known gives these numbers")
            if finding["evidence"]:
                say(self._console, f"  shown by: {finding['evidence']}")
        if event.verdict == "undecided" and event.findings:
            say(
                self._console,
                f"  In single precision this may be rounding that has grown over {event.steps} "
                "equal steps, where a unit changes its sign: --float64 decides.",
                "yellow",
            )
        elif not event.findings:
            self._tell_growth(event)

    def _tell_growth(self, event: "events.ScriptCompared") -> None:
        """Print from which step on rounding could hide a mistake."""
        if event.steps == event.compared:
            return
        advice = "" if event.dtype == "float64" else "; --float64 compares more"
        rest = event.compared - event.steps
        say(
            self._console,
            f"  From step {event.steps + 1} on, rounding alone has grown so far that it could hide "
            f"a mistake: of {counted(rest, 'more step')} only samples, rates and settings were "
            f"compared{advice}.",
            "yellow",
        )

    def _fail(self, event: "events.ScriptFailed") -> None:
        self._console.print()
        say(self._console, f"{counted(event.workers, 'worker')}: not compared; {event.why}", "red")
        if event.lines:
            say(self._console, "  the last lines of the script:")
        for line in event.lines:
            say_unbroken(self._console, f"  | {line}")

    def _line(self, cells: tuple[str, ...], style: str = "") -> None:
        padded = [f"{cell:{width}}" for cell, width in zip(cells, WIDTHS, strict=True)]
        say_unbroken(self._console, " ".join(padded).rstrip(), style)
