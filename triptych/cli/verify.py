"""``triptych verify``: the proof, for whole runs."""

import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from . import options as o
from .app import app
from .say import duration

if TYPE_CHECKING:
    from rich.console import Console

    from ..spec.network import Network

LONG = 60  # seconds from which the estimate is printed
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


@app.command("verify")
def verify(
    data: o.Data = None,
    size: o.Size = None,
    skip_unreadable: o.SkipUnreadable = False,
    label: o.Label = None,
    shape: o.Shape = None,
    white: o.White = None,
    network: Annotated[
        list[str] | None,
        typer.Option(
            "--network",
            metavar="NAME|FILE",
            help="May be given several times. Default: classic.",
            show_default=False,
        ),
    ] = None,
    hidden: o.Hidden = None,
    dropout: o.DropoutRate = 0.0,
    recipe_name: o.RecipeName = None,
    optimizer: Annotated[
        list[str] | None,
        typer.Option(
            "--optimizer",
            metavar="NAME",
            help="May be given several times. Default: sgd.",
            show_default=False,
        ),
    ] = None,
    layers: Annotated[
        bool,
        typer.Option(
            "--layers", help="Instead, small networks that hold every layer type with every option."
        ),
    ] = False,
    everything: Annotated[
        bool,
        typer.Option(
            "--all", help="Every network of the zoo, or of --layers, with every optimizer."
        ),
    ] = False,
    steps: Annotated[
        int, typer.Option("--steps", min=1, help="Steps compared, each against NumPy's.")
    ] = 500,
    batch_size: Annotated[
        str | None,
        typer.Option(
            "--batch-size",
            metavar="N|full",
            help="Samples a step, or full. Default: 64.",
            show_default=False,
        ),
    ] = None,
    rate: o.Rate = None,
    like: o.Like = None,
    seed: o.Seed = None,
    dtype: o.DType = "float64",
    engines: o.Engines = None,
    backends: o.Backends = "default",
    threads: o.Threads = 1,
    device: o.Device = "cpu",
) -> None:
    """Prove the engines equal, step by step: outputs, loss, gradients, updates, in float64 to 1e-11.

    Exit status 1 where they differ, with the first stage, layer, index and both values. With --dtype float32 the
    rounding verdict and the trajectory beside three one-ulp twins follow.

    Examples:

    triptych verify

    triptych verify --network custom --optimizer adam --dtype float32

    triptych verify --layers --all --steps 200

    triptych verify --all --backends all
    """
    from rich.console import Console
    from rich.markup import escape

    from ..core.devices import check_device
    from ..core.selection import specs
    from ..parity.divergence import BOUND
    from ..parity.specimens import SPECIMENS
    from ..parity.verify import Case
    from ..parity.verify import verify as events
    from ..spec import zoo
    from ..spec.optimizers import SHORTHANDS
    from .loading import load

    names = list(zoo.ZOO) if everything else network or [None]
    optimizers = (
        list(SHORTHANDS) if everything else optimizer or ["sgd" if recipe_name is None else None]
    )
    if everything and (network or recipe_name or optimizer or hidden is not None):
        raise typer.BadParameter(
            "it stands for every network and optimizer; leave the others out", param_hint="--all"
        )
    if layers and (network or hidden is not None):
        raise typer.BadParameter(
            "it stands for networks of its own; leave --network and --hidden out",
            param_hint="--layers",
        )
    batch = batch_size or ("64" if recipe_name is None else None)
    each = [
        o.recipe_of(
            recipe_name,
            None,
            batch,
            name,
            rate,
            like=like,
            seed=seed,
            dtype=dtype,
            random="matched",
        )
        for name in optimizers
    ]
    recipes = {
        name or recipe.optimizer.name: recipe for name, recipe in zip(optimizers, each, strict=True)
    }
    rows = specs(o.engines_of(engines), o.all_backends(backends))
    check_device(device)
    if not layers:
        for name in names:  # a mistake is said before data is read
            o.network_of(name, hidden, dropout, recipe_name, like=like)
    console = Console(emoji=False)
    dataset = load(
        console, data, each[0].seed, o.reading_of(size, skip_unreadable, label, shape, white)
    )
    if layers:
        networks = [make(dataset.shape, len(dataset.classes)) for make in SPECIMENS]
        networks = networks if like is None else [n.like(like) for n in networks]
    else:
        networks = [
            o.network_of(name, hidden, dropout, recipe_name, dataset, like) for name in names
        ]
    cases = [Case(n, recipe, steps) for n in networks for recipe in recipes.values()]
    titles = [(n.name, name) for n in networks for name in recipes]
    report = _Report(console, iter(titles))
    with _Progress(console, titles) as progress:
        for event in events(dataset, cases, rows, threads=threads, device=device):
            progress.see(event)
            report.see(event)
    if not report.compared:
        console.print("nothing was compared: no engine other than NumPy could run", highlight=False)
        sys.exit(2)
    if layers:
        report.by_layer(networks, list(recipes))
    if report.broken:
        console.print(
            f"{report.broken} of the rows could not be compared to the end; see above.",
            highlight=False,
        )
    if report.divergences:
        console.print(
            f"[red]{len(report.differing)} of {report.compared} rows differ[/red]; where each began to:",
            highlight=False,
        )
        for line in report.divergences:
            console.print(f"  {escape(line)}", highlight=False, soft_wrap=True)
        sys.exit(1)
    bound = (
        "1e-11"
        if report.largest <= BOUND
        else "1e-11; of weights and running means after steps from a shared state 1e-15·rate/epsilon"
    )
    console.print(
        f"All {report.compared} rows equal; the largest difference of any kind, at any step: {report.largest:.1e} (bound {bound}).",
        highlight=False,
        soft_wrap=True,
    )
    if report.broken:
        sys.exit(1)


class _Progress:
    """Shows how far the proof is: a bar on a terminal, otherwise a line now and then.

    Parameters
    ----------
    console : Console
    titles : list of (str, str)
        The network and the optimizer of each case.
    """

    def __init__(self, console: "Console", titles: list[tuple[str, str]]) -> None:
        from rich.progress import BarColumn, Progress, TextColumn

        self._console = console
        self._titles = titles
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

    def __enter__(self) -> "_Progress":
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def see(self, event: dict[str, Any]) -> None:
        """Take in an event of `triptych.parity.verify`."""
        kind = event["type"]
        if kind == "importing":
            self._bar.update(self._task, description=f"importing {event['label']}")
        elif kind == "estimating":
            self._bar.update(self._task, description="timing a step of each network")
        elif kind == "estimate":
            self._estimated(event)
        elif kind == "case":
            self._case += 1
        elif kind == "row":
            self._row += 1
            self._label = event["label"]
            self._show("building", 0.0)
        elif kind == "walking":
            self._show(f"step {event['done']} of {event['steps']}", event["done"] / event["steps"])
        elif kind == "together":
            self._show("K steps at once", 1.0)
        elif kind == "drift":
            self._show(f"float32, step {event['step']}", 1.0)

    def _estimated(self, event: dict[str, Any]) -> None:
        self._seconds = event["seconds"]
        self._rows = event["rows"]
        self._begun = self._spoke = time.monotonic()
        total = self._rows * sum(self._seconds)
        self._bar.update(self._task, total=total)
        if total > LONG:
            count = self._rows * len(self._seconds)
            line = f"Estimate: about {duration(total)} for {count} rows (Ctrl-C stops it)."
            self._console.print(line, highlight=False, soft_wrap=True)

    def _show(self, doing: str, share: float) -> None:
        """Show what is being done, `share` of the row being over."""
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
            self._console.print(text, highlight=False, markup=False, soft_wrap=True)


class _Report:
    """Prints a row of the table as soon as it is known."""

    def __init__(self, console: "Console", titles: Iterator[tuple[str, str]]) -> None:
        self.console, self._titles = console, titles
        self.title = ""
        self.names: tuple[str, str] = ("", "")
        self.compared, self.broken = 0, 0
        self.figures: dict[tuple[str, str], float] = {}  # of single steps
        self.together: dict[tuple[str, str], float] = {}  # of K steps in one call
        self.divergences: list[str] = []
        self.differing: set[tuple[str, str]] = set()

    @property
    def largest(self) -> float:
        return max(*self.figures.values(), *self.together.values())

    def by_layer(self, networks: list["Network"], optimizers: list[str]) -> None:
        """Print, for each layer type and optimizer, the largest figure of all networks that hold the layer."""
        from ..spec.layers import LAYERS

        held = {n.name: {type(place.layer).__name__ for place in n.places} for n in networks}

        def line(name: str, cells: list[str], style: str = "") -> None:
            text = f"{name:<14}" + "".join(f"{cell:>10}" for cell in cells)
            self.console.print(text, style=style, highlight=False, soft_wrap=True)

        def largest(figures: dict[tuple[str, str], float], optimizer: str, names: list[str]) -> str:
            found = [figures[name, optimizer] for name in names if (name, optimizer) in figures]
            return f"{max(found):.1e}" if found else ""

        self.console.print(
            "\nThe largest difference in a step, in any network that has the layer:",
            highlight=False,
        )
        line("", optimizers, "bold")
        for kind in LAYERS:
            names = [name for name, kinds in held.items() if kind in kinds]
            line(kind, [largest(self.figures, optimizer, names) for optimizer in optimizers])
        self.console.print(
            "The largest difference between K steps in one call and K calls, of all networks:",
            highlight=False,
        )
        line(
            "K at once", [largest(self.together, optimizer, list(held)) for optimizer in optimizers]
        )

    def see(self, event: dict[str, Any]) -> None:
        kind = event["type"]
        if kind == "case":
            if not self.title:
                self._line(COLUMNS, style="bold")
            self.names = next(self._titles)
            self.title = " ".join(self.names)
        elif kind in ("failed", "missing"):
            self.broken += kind == "failed"
            from rich.markup import escape

            self.console.print(
                f"{event['label']}: not compared, {escape(event['why'])}",
                highlight=False,
                soft_wrap=True,
            )
        elif kind == "walked":
            self._walked(event)
        elif kind == "rounding":
            r = event["rounding"]
            self.console.print(
                f"  float32: [bold]{r.verdict}[/bold], median error of a step {r.error:.2e}, {r.factor:.2f} times NumPy's own",
                highlight=False,
            )
            if r.verdict != "rounding":
                self._differs(
                    event,
                    f"{self.title}, {event['label']}: float32 verdict {r.verdict}, {r.factor:.1f} times NumPy's own error",
                )
        elif kind == "drift":
            twins = [event[f"twin{i}"] for i in range(3)]
            apart = ", ".join(f"{twin['apart']:.1e}" for twin in twins)
            flips = ", ".join(f"{twin['flips']}" for twin in twins)
            row = event["row"]
            self.console.print(
                f"  after {event['step']:>6,} steps: {row['apart']:.1e} apart, {row['flips']} ReLU signs flipped; "
                f"one-ulp twins: {apart} apart, {flips} flipped",
                highlight=False,
                soft_wrap=True,
            )

    def _walked(self, event: dict[str, Any]) -> None:
        outcome, blocks = event["outcome"], event["blocks"]
        self.compared += 1
        self.figures[self.names] = max(self.figures.get(self.names, 0.0), outcome.largest)
        self.together[self.names] = max(self.together.get(self.names, 0.0), blocks.largest)
        named = ("weights", "gradients", "outputs", "loss")
        slots = max(
            (figure for kind, figure in outcome.worst.items() if kind not in named), default=None
        )
        equal = outcome.equal and blocks.equal
        worst = outcome.worst
        cells = [
            f"{outcome.steps}",
            *(
                f"{figure:.1e}" if figure is not None else ""
                for figure in (worst.get("weights"), slots, worst.get("gradients"))
            ),
            f"{max(worst.get('outputs', 0.0), worst.get('loss', 0.0)):.1e}",
            f"{blocks.largest:.1e}",
            "[green]equal[/green]" if equal else "[red]DIFFERS[/red]",
        ]
        self._line((*self.names, event["label"], *cells))
        if outcome.divergence:
            self._differs(
                event,
                f"{self.title}, {event['label']}, step {outcome.at + 1}: {outcome.divergence}",
            )
        elif blocks.divergence:
            self._differs(
                event,
                f"{self.title}, {event['label']}, K steps in one call against K calls: {blocks.divergence}",
            )

    def _differs(self, event: dict[str, Any], line: str) -> None:
        self.differing.add((self.title, event["label"]))
        self.divergences.append(line)

    def _line(self, cells: tuple[str, ...], style: str = "") -> None:
        widths = (12, 9, 26, 5, 8, 8, 9, 8, 9, 8)
        from rich.markup import escape

        padded = [
            f"{cell:<{w}}" if i < 3 else f"{cell:>{w}}"
            for i, (cell, w) in enumerate(zip(cells, widths, strict=True))
        ]
        names = escape(" ".join(padded[:3]))  # a network's name is the user's
        text = " ".join([names, *padded[3:]])
        self.console.print(text, style=style, highlight=False, soft_wrap=True)
