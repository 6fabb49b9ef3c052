"""``triptych compare``: prove, train, time, report."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from . import options as o
from .app import app

if TYPE_CHECKING:
    from rich.console import Console

    from ..bench.session import ComparisonSession
    from ..core.selection import EngineSpec


@app.command("compare")
def compare(
    data: o.Data = None,
    size: o.Size = None,
    skip_unreadable: o.SkipUnreadable = False,
    label: o.Label = None,
    shape: o.Shape = None,
    white: o.White = None,
    network: o.NetworkName = None,
    hidden: o.Hidden = None,
    dropout: o.DropoutRate = 0.0,
    recipe_name: o.RecipeName = None,
    epochs: o.Epochs = None,
    batch_size: o.BatchSize = None,
    optimizer: o.OptimizerName = None,
    rate: o.Rate = None,
    like: o.Like = None,
    seed: o.Seed = None,
    seeds: Annotated[
        int, typer.Option("--seeds", min=1, help="Repeat over this many seeds and show the spread.")
    ] = 1,
    dtype: o.DType = None,
    random: o.Randomness = None,
    engines: o.Engines = None,
    backends: o.Backends = "default",
    threads: o.Threads = 1,
    device: o.Device = "cpu",
    wait: Annotated[
        float,
        typer.Option(
            "--wait",
            metavar="SECONDS",
            min=0,
            help="How long to wait, in all, for a busy machine to become calm before timing again; "
            "0 times on a busy machine, too.",
        ),
    ] = 60,
    runs: o.Runs = Path("runs"),
) -> None:
    """Train one network in every engine on the same batches; prove, time and report.

    Examples:

    triptych compare

    triptych compare --network custom --batch-size 64 --optimizer adam --epochs 3 --data mnist

    triptych compare --hidden 256,128 --dropout 0.2 --batch-size 128 --backends all
    """
    from rich.console import Console

    from .. import api
    from ..core.devices import check_device
    from ..core.selection import installed, specs
    from ..process.pool import Workers
    from .loading import load
    from .say import announced, say

    console = Console(emoji=False)
    names = o.engines_of(engines)
    rows = specs(names, o.all_backends(backends))
    installed(rows, named=names is not None)
    check_device(device)
    recipe_name = o.recipe_named(recipe_name, network, hidden)
    recipe = o.recipe_of(
        recipe_name,
        epochs,
        batch_size,
        optimizer,
        rate,
        like=like,
        seed=seed,
        dtype=dtype,
        random=random,
    )
    reading = o.reading_of(size, skip_unreadable, label, shape, white)
    # An error in the network is reported before the data is read.
    o.network_of(network, hidden, dropout, recipe_name, like=like)
    with Workers(rows, threads, device) as workers:  # they import while the data is read
        dataset = load(console, data, recipe.seed, reading)
        session = api.comparison_session(
            o.network_of(network, hidden, dropout, recipe_name, dataset, like),
            recipe,
            dataset,
            engines=names,
            all_backends=o.all_backends(backends),
            seeds=seeds,
            threads=threads,
            device=device,
            wait=wait,
            runs=runs,
            workers=workers,
        )
        o.say_batch(console, recipe, len(dataset.train), dataset.kind)
        _announce(console, session)
        _watch(console, session, rows)
        _summarise(console, session, rows)
    with announced(console, "drawing the report"):
        missing = api.draw_report(session.folder)
    if missing:
        say(console, missing, "yellow")
    _name_files(console, session, has_report=not missing)
    sys.exit(_status(session))


def _announce(console: "Console", session: "ComparisonSession") -> None:
    """Print what is left out of the recipe, and how long a long comparison will take."""
    from .say import SECONDS_WITHOUT_ESTIMATE, announced, duration, say

    for note in session.notes:
        say(console, note)
    with announced(console, "estimating how long it takes"):
        seconds = session.estimated_seconds()
    if seconds > SECONDS_WITHOUT_ESTIMATE:
        estimate = f"Estimate: about {duration(seconds)}."
        say(console, f"{estimate} Ctrl-C stops it; every file that is written stays whole.")
        advice = "fewer --epochs, a smaller network, fewer images, or fewer --engines"
        say(console, f"To shorten it: {advice}.")


def _watch(console: "Console", session: "ComparisonSession", rows: "list[EngineSpec]") -> None:
    """Compare; show what is being done, and the table of each seed at its end."""
    from contextlib import closing

    from ..core.events import ResultReady, SeedStarted
    from .say import say
    from .table import show
    from .view import View

    labels = {spec.key: spec.label for spec in rows}
    with closing(session.events()) as events:
        for started in events:
            assert isinstance(started, SeedStarted)
            if started.seeds > 1:
                say(console, f"Seed {started.seed}, {started.number} of {started.seeds}:")
            with View(console, labels) as view:
                for event in events:
                    view.on_event(event)
                    if isinstance(event, ResultReady):
                        break
            show(console, session.results[-1])


def _summarise(console: "Console", session: "ComparisonSession", rows: "list[EngineSpec]") -> None:
    """Print what concerns all seeds."""
    from .table import show_alone, show_spread

    if len(session.present) < 2:
        show_alone(console, rows)
    if len(session.results) > 1:
        show_spread(console, session.results)


def _name_files(console: "Console", session: "ComparisonSession", *, has_report: bool) -> None:
    lines = [f"Run folder: {session.folder}"]
    if has_report and session.folder:
        lines.append(f"Report:     {session.folder / 'report.html'}")
    console.print("\n".join(lines), highlight=False, markup=False, soft_wrap=True)


def _status(session: "ComparisonSession") -> int:
    """Return 1 if fewer rows were compared than could be, or one differs unexpectedly; else 0."""
    for result in session.results:
        rows = result["rows"].values()
        compared = [row for row in rows if not row["failed"]]
        if len(compared) < min(2, len(session.present)):
            return 1
        if any(row["unproved"] and not row["as_announced"] for row in compared):
            return 1
    return 0
