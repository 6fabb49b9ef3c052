"""``triptych compare``: prove, train, time, report."""

import sys
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from . import options as o
from .app import app
from .option_groups import (
    DataOptions,
    EngineOptions,
    NetworkOptions,
    RecipeOptions,
    check_before_reading,
    with_groups,
)

if TYPE_CHECKING:
    from rich.console import Console

    from ..bench.session import ComparisonSession
    from ..core.selection import EngineSpec

Seeds = Annotated[
    int, typer.Option("--seeds", min=1, help="Repeat over this many seeds and show the spread.")
]
Wait = Annotated[
    float,
    typer.Option(
        "--wait",
        metavar="SECONDS",
        min=0,
        help="How long to wait, in all, for a busy machine to become calm before timing again; "
        "0 times on a busy machine, too.",
    ),
]


@app.command("compare")
@with_groups
def compare(
    *,
    data: DataOptions,
    network: NetworkOptions,
    recipe: RecipeOptions,
    seed: o.Seed = None,
    seeds: Seeds = 1,
    dtype: o.DType = None,
    random: o.Randomness = None,
    engines: EngineOptions,
    wait: Wait = 60,
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
    from ..core.selection import installed
    from ..process.pool import Workers
    from .say import say_batch

    console = Console(emoji=False)
    chosen = engines.select()
    installed(chosen.rows, named=chosen.named)
    recipe = recipe.for_network(network)
    trained = recipe.build(seed=seed, dtype=dtype, random=random)
    check_before_reading(data, network, recipe)
    # The workers import their frameworks while the data is read.
    with Workers(chosen.rows, chosen.threads, chosen.device) as workers:
        dataset = data.read(console, trained.seed)
        described = network.build(recipe, dataset)
        session = api.comparison_session(
            described, trained, dataset, chosen, seeds=seeds, wait=wait, runs=runs, workers=workers
        )
        say_batch(console, trained, len(dataset.train), dataset.kind)
        _announce(console, session)
        _watch(console, session, chosen.labels)
        _summarise(console, session, chosen.rows)
    _draw_report(console, session)
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


def _watch(console: "Console", session: "ComparisonSession", labels: dict[str, str]) -> None:
    """Compare; show what is being done, and the table of each seed at its end."""
    from ..core.events import ResultReady, SeedStarted
    from .say import say
    from .table import show
    from .view import View

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


def _draw_report(console: "Console", session: "ComparisonSession") -> None:
    """Draw the report, and print where everything is."""
    from .. import api
    from .say import announced, say, say_unbroken

    with announced(console, "drawing the report"):
        missing = api.draw_report(session.folder)
    if missing:
        say(console, missing, "yellow")
    lines = [f"Run folder: {session.folder}"]
    if session.folder and not missing:
        lines.append(f"Report:     {session.folder / 'report.html'}")
    say_unbroken(console, "\n".join(lines))


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
