"""What ``triptych verify`` shows: how far the proof is, and its table."""

import sys
import time
from typing import TYPE_CHECKING

from .say import SECONDS_WITHOUT_ESTIMATE, duration, say_unbroken

if TYPE_CHECKING:
    from rich.console import Console

    from ..core import events
    from ..spec.network import Network
    from ..spec.placement import Layer

SECONDS_BETWEEN_LINES = 30  # of progress, where the output is not a terminal
TRUST = 0.1  # the share of the estimate after which the measured pace counts as much as it

COLUMNS = (
    "network",
    "optimizer",
    "row",
    "steps",
    "weights",
    "slots",
    "gradients",
    "outputs",
    "K at once",
    "",
)
WIDTHS = ("<12", "<9", "<26", ">5", ">8", ">8", ">9", ">8", ">9", ">8")  # < aligns to the left


class ProofProgress:
    """Shows how far the proof is: a bar on a terminal, otherwise a line now and then.

    Parameters
    ----------
    console : Console
        Where it is shown.
    titles : list of (str, str)
        The network and the optimizer of each case.
    labels : dict of str to str
        The label of each row, by its key.
    """

    def __init__(
        self, console: "Console", titles: list[tuple[str, str]], labels: dict[str, str]
    ) -> None:
        from rich.progress import BarColumn, Progress, TextColumn

        self._console = console
        self._titles = titles
        self._labels = labels
        self._seconds: list[float] = []  # the estimate of a row of each case
        self._rows = 0  # of a case
        self._case = -1
        self._row = 0  # counted over all cases, from 1
        self._label = ""
        self._begun = self._spoke = time.monotonic()
        columns = (BarColumn(12), TextColumn("{task.description}", markup=False))
        self._bar = Progress(
            *columns, console=console, transient=True, disable=not console.is_terminal
        )
        self._task = self._bar.add_task("starting", total=None)

    def __enter__(self) -> "ProofProgress":
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def on_event(self, event: "events.Event") -> None:
        """Show an event of `triptych.parity.verify`."""
        from ..core import events

        match event:
            case events.WorkerImporting():
                self._bar.update(self._task, description=f"importing {self._labels[event.row]}")
            case events.VerificationEstimateStarted():
                self._bar.update(self._task, description="timing a step of each network")
            case events.VerificationEstimated():
                self._estimated(event)
            case events.CaseStarted():
                self._case += 1
            case events.RowStarted():
                self._row += 1
                self._label = self._labels[event.row]
                self._show("building", 0.0)
            case events.ProofStep(what="float64"):
                self._show(f"step {event.done} of {event.steps}", event.done / event.steps)
            case events.BlockCheckStarted():
                self._show("K steps at once", 1.0)
            case events.ProofStep():
                self._show(f"float32 verdict, step {event.done} of {event.steps}", 1.0)
            case events.DriftMeasured():
                self._show(f"float32, step {event.step}", 1.0)
            case _:
                pass

    def _estimated(self, event: "events.VerificationEstimated") -> None:
        self._seconds = event.seconds
        self._rows = event.rows
        self._begun = self._spoke = time.monotonic()
        total = self._rows * sum(self._seconds)
        self._bar.update(self._task, total=total)
        if total > SECONDS_WITHOUT_ESTIMATE:
            count = self._rows * len(self._seconds)
            line = f"Estimate: about {duration(total)} for {count} rows (Ctrl-C stops it)."
            say_unbroken(self._console, line)

    def _show(self, doing: str, share: float) -> None:
        """Show what is being done, when `share` of the row is over."""
        count = self._rows * len(self._seconds)
        done = self._rows * sum(self._seconds[: self._case])
        done += ((self._row - 1) % self._rows + min(share, 1.0)) * self._seconds[self._case]
        total = self._rows * sum(self._seconds)
        now = time.monotonic()
        # At first the estimate counts, later the pace that was measured.
        pace = (now - self._begun + TRUST * total) / (done + TRUST * total)
        left = f"about {duration(pace * (total - done))} left"
        title = " ".join((*self._titles[self._case], self._label))
        text = f"row {self._row} of {count}, {left}: {title}, {doing}"
        self._bar.update(self._task, description=text, completed=done)
        if not self._console.is_terminal and now - self._spoke > SECONDS_BETWEEN_LINES:
            self._spoke = now
            say_unbroken(self._console, text)


class ProofReport:
    """Prints a row of the table as soon as it is known.

    Parameters
    ----------
    console : Console
        Where it is printed.
    titles : list of (str, str)
        The network and the optimizer of each case.
    labels : dict of str to str
        The label of each row, by its key.
    """

    def __init__(
        self, console: "Console", titles: list[tuple[str, str]], labels: dict[str, str]
    ) -> None:
        self.console = console
        self._titles = iter(titles)
        self._labels = labels
        self.title = ""
        self.names: tuple[str, str] = ("", "")
        self.compared = 0
        self.broken = 0
        self.figures: dict[tuple[str, str], float] = {}  # of single steps
        self.together: dict[tuple[str, str], float] = {}  # of K steps in one call
        self.divergences: list[str] = []
        self.differing: set[tuple[str, str]] = set()
        self._steps = 0  # asked for, in the present case
        self._fewest_steps = sys.maxsize  # of all cases
        self._restarted: list[tuple[str, int]] = []  # cases with the steps before that
        self._magnified: list[tuple[str, str, int]] = []  # case, row, step
        self._last_batches = False  # whether a smaller last batch was compared in addition
        self._closest = (0.0, 1.0)  # of all comparisons: an error, and the bound on it

    @property
    def largest(self) -> float:
        """The largest figure of all rows."""
        return max(*self.figures.values(), *self.together.values())

    def explain_steps(self, *, default: bool) -> None:
        """Print what the column of steps means where it is not what was asked for."""
        from ..parity.verify import STEPS

        lines: list[str] = []
        if self._last_batches:
            lines.append("+1: the smaller last batch of an epoch, if the steps did not reach it.")
        if default and self._fewest_steps < STEPS:
            lines.append(
                f"{STEPS} steps are compared of networks of up to 1,000,000 multiplications a "
                "sample, fewer of heavier ones; --steps sets another number for all."
            )
        lines += [
            f"{title}: after {steps} steps, one unit in the last place alone has grown to a tenth "
            "of the bound; each later step starts from NumPy's state."
            for title, steps in self._restarted
        ]
        lines += [
            f"{title}, {row}: in step {step} the optimizer has magnified the rounding of a "
            "gradient beyond the bound. NumPy's update with the row's gradients is equal; each "
            "later step starts from NumPy's state."
            for title, row, step in self._magnified
        ]
        for line in lines:
            self._print(line)

    def summary(self) -> str:
        """Return the last line, if all rows are equal."""
        error, bound = self._closest
        equal = f"All {self.compared} rows equal." if self.compared > 1 else "The row is equal."
        if error == 0:
            return f"{equal} There is no difference at all."
        return (
            f"{equal} The difference that is closest to its bound is "
            f"{error:.1e} (bound {bound:.1e})."
        )

    def conclude(self) -> int:
        """Print what all rows together showed; return the exit status of the command."""
        from rich.markup import escape

        if not self.compared:
            self._print("nothing was compared: no engine other than NumPy could run")
            return 2
        if self.broken:
            self._print(f"{self.broken} of the rows could not be compared to the end; see above.")
        if self.divergences:
            count = f"{len(self.differing)} of {self.compared} rows differ"
            self._print(f"[red]{count}[/red]; where each began to:")
            for line in self.divergences:
                self._print(f"  {escape(line)}")
            return 1
        self._print(self.summary())
        return 1 if self.broken else 0

    def _print(self, line: str) -> None:
        self.console.print(line, highlight=False, soft_wrap=True)

    def by_layer(self, networks: list["Network"], optimizers: list[str]) -> None:
        """Print the largest figure of all networks with a layer, for each layer and optimizer."""
        from ..spec.layers import LAYERS

        self._print("\nThe largest difference in a step, in any network that has the layer:")
        self._layer_line("", optimizers, "bold")
        layers: dict[str, set[type[Layer]]] = {}
        for network in networks:
            layers[network.name] = {type(place.layer) for place in network.places}
        for kind, layer_class in LAYERS.items():
            having = [name for name, classes in layers.items() if layer_class in classes]
            self._layer_line(kind, _largest_by_optimizer(self.figures, having, optimizers))
        self._print(
            "The largest difference between K steps in one call and K calls, of all networks:"
        )
        cells = _largest_by_optimizer(self.together, list(layers), optimizers)
        self._layer_line("K at once", cells)

    def _layer_line(self, name: str, cells: list[str], style: str = "") -> None:
        text = f"{name:<14}" + "".join(f"{cell:>10}" for cell in cells)
        say_unbroken(self.console, text, style)

    def on_event(self, event: "events.Event") -> None:
        """Print an event of `triptych.parity.verify`."""
        from ..core import events

        match event:
            case events.CaseStarted():
                if not self.title:
                    self._line(COLUMNS, style="bold")
                self.names = next(self._titles)
                self.title = " ".join(self.names)
                self._steps = event.steps
                self._fewest_steps = min(self._fewest_steps, event.steps)
            case events.CalmStepsMeasured(steps=steps) if steps:
                self._restarted.append((self.title, steps))
            case events.RowFailed() | events.RowMissing():
                self._failed(event)
            case events.RowCompared():
                self._compared(event)
            case events.RoundingJudged():
                self._judged(event)
            case events.DriftMeasured():
                self._drifted(event)
            case _:
                pass

    def _failed(self, event: "events.RowFailed | events.RowMissing") -> None:
        from rich.markup import escape

        self.broken += event.type == "failed"
        self._print(f"{self._labels[event.row]}: not compared, {escape(event.why)}")

    def _judged(self, event: "events.RoundingJudged") -> None:
        announced = " (as its backend announces)" if event.as_announced else ""
        self.console.print(
            f"  float32: [bold]{event.verdict}[/bold]{announced}, median error of a step "
            f"{event.error:.2e}, {event.factor:.2f} times NumPy's",
            highlight=False,
        )
        if not event.accepted:
            verdict = f"float32 verdict {event.verdict}, {event.factor:.1f} times NumPy's error"
            self._differs(event.row, verdict)

    def _drifted(self, event: "events.DriftMeasured") -> None:
        differences = ", ".join(f"{run['apart']:.1e}" for run in event.twins)
        flips = ", ".join(f"{run['flips']}" for run in event.twins)
        self._print(
            f"  after {event.step:>6,} steps: weights differ by {event.apart:.1e}, "
            f"{event.flips} ReLU signs flipped; "
            f"NumPy runs moved by one ulp: {differences}; {flips} flipped"
        )

    def _compared(self, event: "events.RowCompared") -> None:
        self.compared += 1
        self.figures[self.names] = max(self.figures.get(self.names, 0.0), event.largest)
        self.together[self.names] = max(self.together.get(self.names, 0.0), event.block_worst)
        error, bound = self._closest
        if event.closest_error / event.closest_bound > error / bound:
            self._closest = (event.closest_error, event.closest_bound)
        self._line((*self.names, self._labels[event.row], *self._cells(event)))
        if event.magnified_at:
            self._magnified.append((self.title, self._labels[event.row], event.magnified_at))
        if event.divergence:
            self._differs(event.row, f"step {event.diverged_at}: {event.divergence}")
        elif event.block_divergence:
            self._differs(
                event.row, f"K steps in one call against K calls: {event.block_divergence}"
            )

    def _cells(self, event: "events.RowCompared") -> list[str]:
        """Return the cells of a row behind its names."""
        worst = event.worst
        named = ("weights", "gradients", "outputs", "loss")
        slots = [figure for kind, figure in worst.items() if kind not in named]
        steps = str(event.steps)
        if event.steps == self._steps + 1:
            self._last_batches = True
            steps = f"{self._steps}+1"
        cells = {kind: f"{figure:.1e}" for kind, figure in worst.items()}
        outputs = max(worst.get("outputs", 0.0), worst.get("loss", 0.0))
        return [
            steps,
            cells.get("weights", ""),
            _largest(slots),
            cells.get("gradients", ""),
            f"{outputs:.1e}",
            f"{event.block_worst:.1e}",
            "[green]equal[/green]" if event.equal else "[red]DIFFERS[/red]",
        ]

    def _differs(self, row: str, reason: str) -> None:
        label = self._labels[row]
        self.differing.add((self.title, label))
        self.divergences.append(f"{self.title}, {label}, {reason}")

    def _line(self, cells: tuple[str, ...], style: str = "") -> None:
        from rich.markup import escape

        padded = [f"{cell:{width}}" for cell, width in zip(cells, WIDTHS, strict=True)]
        names = escape(" ".join(padded[:3]))  # a network's name is the user's
        text = " ".join([names, *padded[3:]])
        self.console.print(text, style=style, highlight=False, soft_wrap=True)


def _largest_by_optimizer(
    figures: dict[tuple[str, str], float], networks: list[str], optimizers: list[str]
) -> list[str]:
    """Return for each optimizer the largest figure of some networks."""
    cells: list[str] = []
    for optimizer in optimizers:
        pairs = [(network, optimizer) for network in networks]
        cells.append(_largest([figures[pair] for pair in pairs if pair in figures]))
    return cells


def _largest(figures: list[float]) -> str:
    """Return the largest figure; nothing if there is none."""
    if not figures:
        return ""
    return f"{max(figures):.1e}"
