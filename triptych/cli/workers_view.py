"""What `triptych verify --workers` prints: a row for each engine, number of workers and network."""

from typing import TYPE_CHECKING

from ..errors import counted
from .say import StatusLine, say_unbroken

if TYPE_CHECKING:
    from rich.console import Console

    from ..core import events

WIDTHS = {  # of each column; < to the left
    "engine": "<12",
    "workers": ">7",
    "against": ">7",  # only of native workers
    "network": "<12",
    "optimizer": "<9",
    "steps": ">5",
    "weights": ">8",
    "buffers": ">8",
    "slots": ">8",
    "loss": ">8",
    "ranks": ">9",
    "": ">8",
}
NOT_SLOTS = ("weights", "buffers", "loss", "step")


class WorkersReport(StatusLine):
    """Prints a row as soon as it is known, and at the end what was found. A context manager.

    Parameters
    ----------
    console : Console
        Where it is printed.
    labels : dict of str to str
        The label of each row, by its key.
    """

    def __init__(self, console: "Console", labels: dict[str, str]) -> None:
        super().__init__(console, "starting")
        self._labels = labels
        self._doing = ""
        self._compared: list[events.WorkersCompared] = []
        self._notes: list[str] = []
        self._failures = 0

    def on_event(self, event: "events.Event") -> None:
        """Print an event of `triptych.scale.verification`."""
        from ..core import events

        match event:
            case events.WorkerImporting():
                self.show(f"importing {self._labels[event.row]}")
            case events.WorkersStarted():
                workers = counted(event.workers, "worker")
                self._doing = f"{self._labels[event.row]}, {workers}: {event.network}"
                self.show(self._doing)
            case events.ProofStep():
                self.show(f"{self._doing}, step {event.done} of {event.steps}")
            case events.WorkersCompared():
                self._row(event)
            case events.WorkersRefused():
                workers = counted(event.workers, "worker")
                self._print(f"{event.network}, {workers}: not compared, {event.why}")
            case events.RowFailed() | events.RowMissing():
                self._failures += event.type == "failed"
                self._print(f"{self._labels[event.row]}: not compared, {event.why}")
            case _:
                pass

    def conclude(self) -> int:
        """Print what all rows together showed; return the exit status of the command."""
        for note in dict.fromkeys(self._notes):
            self._print(note)
        if not self._compared:
            self._print("nothing was compared")
            return 2
        different = [event for event in self._compared if not event.equal]
        if self._failures:
            self._print(f"{counted(self._failures, 'row')} could not be compared; see above.")
        if different:
            self._print(f"{len(different)} of {len(self._compared)} rows differ:")
            for event in different:
                self._explain(event)
            return 1
        largest = max(event.largest for event in self._compared)
        rows = counted(len(self._compared), "row")
        self._print(
            f"{self._compared_with()} compute the same in {rows}: "
            f"the largest difference is {largest:.1e}, and all workers are equal to the bit."
        )
        return 1 if self._failures else 0

    def _compared_with(self) -> str:
        if any(event.native for event in self._compared):
            return "Native workers, those of the one mechanism, and one process"
        return "Workers and one process"

    def _row(self, event: "events.WorkersCompared") -> None:
        columns = [name for name in WIDTHS if name != "against" or event.native]
        if not self._compared:
            self._line({name: name for name in columns}, "bold")
        self._compared.append(event)
        worst = {name: f"{figure:.1e}" for name, figure in event.worst.items()}
        slots = [figure for name, figure in event.worst.items() if name not in NOT_SLOTS]
        cells = {
            "engine": self._labels[event.row],
            "workers": str(event.workers),
            "against": event.against,
            "network": event.network,
            "optimizer": event.optimizer,
            "steps": str(event.steps),
            "weights": worst.get("weights", ""),
            "buffers": worst.get("buffers", ""),
            "slots": f"{max(slots):.1e}" if slots else "",
            "loss": worst.get("loss", ""),
            "ranks": "identical" if event.identical else "DIFFER",
            "": "equal" if event.equal else "DIFFERS",
        }
        self._line({name: cells[name] for name in columns}, "" if event.equal else "red")
        if event.shared_from == 0:
            self._notes.append(
                f"{event.network}: training amplifies rounding, so each step begins with the "
                "state of the one process."
            )
        elif event.shared_from is not None:
            self._notes.append(
                f"{event.network} {event.optimizer}: after {event.shared_from} steps one unit in "
                "the last place alone has grown to the bound; each later step begins with the "
                "state of the one process."
            )

    def _explain(self, event: "events.WorkersCompared") -> None:
        """Print where a row differs, and why."""
        workers = counted(event.workers, "worker")
        where = f"{self._labels[event.row]}, {workers}, {event.network}"
        if event.native:
            where += f", native against {event.against}"
        what = event.divergence or "the workers have different states"
        self._print(f"  {where}, step {event.diverged_at}: {what}")
        for cause in event.causes:
            self._print(f"    cause: {cause['name']}; {cause['explanation']}")
        if not event.causes:
            self._print("    cause: none of those that are known reproduces the difference")

    def _print(self, line: str) -> None:
        say_unbroken(self._console, line)

    def _line(self, cells: dict[str, str], style: str = "") -> None:
        padded = [f"{cell:{WIDTHS[name]}}" for name, cell in cells.items()]
        say_unbroken(self._console, " ".join(padded), style)
