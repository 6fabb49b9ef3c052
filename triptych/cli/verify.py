"""``triptych verify``: the proof, for whole runs."""

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from . import app
from . import options as o

if TYPE_CHECKING:
    from ..network import Network

COLUMNS = ("network", "optimizer", "row", "steps", "weights", "slots", "gradients", "outputs", "K at once", "")


@app.command("verify")
def verify(
    data: o.Data = None,
    size: o.Size = None,
    skip_unreadable: o.SkipUnreadable = False,
    label: o.Label = None,
    shape: o.Shape = None,
    network: Annotated[
        list[str] | None,
        typer.Option("--network", metavar="NAME|FILE", help="May be given several times. Default: classic.", show_default=False),
    ] = None,
    hidden: o.Hidden = None,
    dropout: o.DropoutRate = 0.0,
    recipe_name: o.RecipeName = None,
    optimizer: Annotated[
        list[str] | None, typer.Option("--optimizer", metavar="NAME", help="May be given several times. Default: sgd.", show_default=False)
    ] = None,
    layers: Annotated[bool, typer.Option("--layers", help="Instead, small networks that hold every layer type with every option.")] = False,
    everything: Annotated[bool, typer.Option("--all", help="Every network of the zoo, or of --layers, with every optimizer.")] = False,
    steps: Annotated[int, typer.Option("--steps", min=1, help="Steps compared, each against NumPy's.")] = 500,
    batch_size: Annotated[
        str | None, typer.Option("--batch-size", metavar="N|full", help="Samples a step, or full. Default: 64.", show_default=False)
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
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    from .. import zoo
    from ..bench.rows import specs
    from ..engines import check_device
    from ..optimizers import SHORTHANDS
    from ..parity.compare import BOUND
    from ..parity.specimens import SPECIMENS
    from ..parity.verify import Case
    from ..parity.verify import verify as events
    from .loading import load

    names = list(zoo.ZOO) if everything else network or [None]
    optimizers = list(SHORTHANDS) if everything else optimizer or ["sgd" if recipe_name is None else None]
    if everything and (network or recipe_name or optimizer or hidden is not None):
        raise typer.BadParameter("it stands for every network and optimizer; leave the others out", param_hint="--all")
    if layers and (network or hidden is not None):
        raise typer.BadParameter("it stands for networks of its own; leave --network and --hidden out", param_hint="--layers")
    batch = batch_size or ("64" if recipe_name is None else None)
    each = [o.recipe_of(recipe_name, None, batch, name, rate, like=like, seed=seed, dtype=dtype, random="matched") for name in optimizers]
    recipes = {name or recipe.optimizer.name: recipe for name, recipe in zip(optimizers, each, strict=True)}
    rows = specs(o.engines_of(engines), o.all_backends(backends))
    check_device(device)
    if not layers:
        for name in names:  # a mistake is said before data is read
            o.network_of(name, hidden, dropout, recipe_name, like=like)
    console = Console(emoji=False)
    dataset = load(console, data, each[0].seed, o.reading_of(size, skip_unreadable, label, shape))
    if layers:
        networks = [make(dataset.shape, len(dataset.classes)) for make in SPECIMENS]
        networks = networks if like is None else [n.like(like) for n in networks]
    else:
        networks = [o.network_of(name, hidden, dropout, recipe_name, dataset, like) for name in names]
    cases = [Case(n, recipe, steps) for n in networks for recipe in recipes.values()]
    titles = [(n.name, name) for n in networks for name in recipes]
    report = _Report(console, iter(titles))
    with Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), console=console, transient=True
    ) as bars:
        task = bars.add_task("importing", total=None)
        for event in events(dataset, cases, rows, threads=threads, device=device):
            if event["type"] == "walking":
                bars.update(task, description=escape(f"{report.title} {event['label']}"), completed=event["done"], total=event["steps"])
            report.see(event)
    if not report.compared:
        console.print("nothing was compared: no engine beside NumPy could run", highlight=False)
        sys.exit(2)
    if layers:
        report.by_layer(networks, list(recipes))
    if report.broken:
        console.print(f"{report.broken} of the rows could not be compared to the end; see above.", highlight=False)
    if report.divergences:
        console.print(f"[red]{len(report.differing)} of {report.compared} rows differ[/red]; where each began to:", highlight=False)
        for line in report.divergences:
            console.print(f"  {escape(line)}", highlight=False, soft_wrap=True)
        sys.exit(1)
    bound = "1e-11" if report.largest <= BOUND else "1e-11; of weights after a step from a shared state 1e-15·rate/epsilon"
    console.print(
        f"All {report.compared} rows equal; the largest difference of any kind, at any step: {report.largest:.1e} (bound {bound}).",
        highlight=False,
        soft_wrap=True,
    )
    if report.broken:
        sys.exit(1)


class _Report:
    """Prints a row of the table as soon as it is known."""

    def __init__(self, console: Any, titles: Any) -> None:
        self.console, self._titles = console, titles
        self.title = ""
        self.names: tuple[str, str] = ("", "")
        self.compared, self.broken = 0, 0
        self.figures: dict[tuple[str, str], float] = {}
        self.divergences: list[str] = []
        self.differing: set[tuple[str, str]] = set()
        self._line(COLUMNS, style="bold")

    @property
    def largest(self) -> float:
        return max(self.figures.values())

    def by_layer(self, networks: list["Network"], optimizers: list[str]) -> None:
        """Print, for each layer type and optimizer, the largest figure of all networks that hold the layer."""
        from ..layers import LAYERS

        held = {n.name: {type(place.layer).__name__ for place in n.places} for n in networks}
        self.console.print("\nThe largest difference of any kind, in any network that holds the layer:", highlight=False)
        self.console.print(f"{'':<14}" + "".join(f"{name:>10}" for name in optimizers), style="bold", highlight=False, soft_wrap=True)
        for kind in LAYERS:
            figures = [max((f for (n, o), f in self.figures.items() if o == name and kind in held[n]), default=None) for name in optimizers]
            cells = "".join(f"{'' if figure is None else f'{figure:.1e}':>10}" for figure in figures)
            self.console.print(f"{kind:<14}{cells}", highlight=False, soft_wrap=True)

    def see(self, event: dict[str, Any]) -> None:
        kind = event["type"]
        if kind == "case":
            self.names = next(self._titles)
            self.title = " ".join(self.names)
        elif kind in ("failed", "missing"):
            self.broken += kind == "failed"
            from rich.markup import escape

            self.console.print(f"{event['label']}: not compared, {escape(event['why'])}", highlight=False, soft_wrap=True)
        elif kind == "walked":
            self._walked(event)
        elif kind == "rounding":
            r = event["rounding"]
            self.console.print(
                f"  float32: [bold]{r.verdict}[/bold], median error of a step {r.error:.2e}, {r.factor:.2f} times NumPy's own",
                highlight=False,
            )
            if r.verdict != "rounding":
                self._differs(event, f"{self.title}, {event['label']}: float32 verdict {r.verdict}, {r.factor:.1f} times NumPy's own error")
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
        self.figures[self.names] = max(self.figures.get(self.names, 0.0), outcome.largest, blocks.largest)
        named = ("weights", "gradients", "outputs", "loss")
        slots = max((figure for kind, figure in outcome.worst.items() if kind not in named), default=None)
        equal = outcome.equal and blocks.equal
        worst = outcome.worst
        cells = [
            f"{outcome.steps}",
            *(f"{figure:.1e}" if figure is not None else "" for figure in (worst.get("weights"), slots, worst.get("gradients"))),
            f"{max(worst.get('outputs', 0.0), worst.get('loss', 0.0)):.1e}",
            f"{blocks.largest:.1e}",
            "[green]equal[/green]" if equal else "[red]DIFFERS[/red]",
        ]
        self._line((*self.names, event["label"], *cells))
        if outcome.divergence:
            self._differs(event, f"{self.title}, {event['label']}, step {outcome.at + 1}: {outcome.divergence}")
        elif blocks.divergence:
            self._differs(event, f"{self.title}, {event['label']}, K steps in one run against one by one: {blocks.divergence}")

    def _differs(self, event: dict[str, Any], line: str) -> None:
        self.differing.add((self.title, event["label"]))
        self.divergences.append(line)

    def _line(self, cells: tuple[str, ...], style: str = "") -> None:
        widths = (12, 9, 26, 5, 8, 8, 9, 8, 9, 8)
        from rich.markup import escape

        padded = [f"{cell:<{w}}" if i < 3 else f"{cell:>{w}}" for i, (cell, w) in enumerate(zip(cells, widths, strict=True))]
        names = escape(" ".join(padded[:3]))  # a network's name is the user's
        text = " ".join([names, *padded[3:]])
        self.console.print(text, style=style, highlight=False, soft_wrap=True)
