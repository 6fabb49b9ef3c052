"""``triptych compare``: prove, train, time, report."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from . import options as o
from .app import app

if TYPE_CHECKING:
    from collections.abc import Generator

    from ..bench.results import Comparison
    from ..core.events import Event
    from ..training.run_folder import Run
    from .view import View

SECONDS_WITHOUT_ESTIMATE = 60  # a longer comparison begins with its estimate


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
            help="How long to wait for a busy machine to become calm before timing again.",
        ),
    ] = 60,
    runs: o.Runs = Path("runs"),
) -> None:
    """Train one network in every engine on the same batches; prove them equal, time them fairly, write a report.

    Examples:

    triptych compare

    triptych compare --network custom --batch-size 64 --optimizer adam --epochs 3 --data mnist

    triptych compare --hidden 256,128 --dropout 0.2 --batch-size 128 --backends all
    """
    from dataclasses import replace

    from rich.console import Console

    from ..bench import artifacts
    from ..bench.comparison import compare_rows
    from ..bench.contestants import Settings
    from ..bench.estimate import estimate
    from ..core.devices import check_device
    from ..core.selection import installed, specs
    from ..data import loading as sources
    from ..process.pool import Workers
    from ..report.artifacts import illustrate
    from ..training.run_folder import Run
    from .loading import load
    from .say import announced, duration, say
    from .table import show, show_alone, show_spread
    from .view import View

    console = Console(emoji=False)
    named = o.engines_of(engines)
    rows = specs(named, o.all_backends(backends))
    here = installed(rows, named=named is not None)
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
    check_device(device)
    o.network_of(
        network, hidden, dropout, recipe_name, like=like
    )  # a mistake is said before data is read
    results: list[dict[str, Any]] = []
    with Workers(rows, threads, device) as workers:  # they import while the data is read
        dataset = load(console, data, recipe.seed, reading)
        settings = Settings(
            o.network_of(network, hidden, dropout, recipe_name, dataset, like),
            recipe,
            rows,
            threads,
            device,
            wait,
        )
        if left_out := [
            *(["validation"] if recipe.validation else []),
            *(callback.name for callback in recipe.callbacks),
        ]:
            said = "every row trains all epochs on the whole training split, so that all make the same steps"
            say(console, f"Without {' and '.join(left_out)}: {said}.")
        with announced(console, "estimating how long it takes"):
            seconds = seeds * estimate(dataset, replace(settings, rows=here))
        if seconds > SECONDS_WITHOUT_ESTIMATE:
            say(
                console,
                f"Estimate: about {duration(seconds)}. Ctrl-C stops it; every file that is written stays whole.",
            )
            say(
                console,
                "To shorten it: fewer --epochs, a smaller network, fewer images, or fewer --engines.",
            )
        run = Run.create(runs, "compare", settings.network.name, dataset.name)
        with artifacts.kept_if_begun(run):
            for number in range(recipe.seed, recipe.seed + seeds):
                if seeds > 1:
                    say(console, f"Seed {number}, {number - recipe.seed + 1} of {seeds}:")
                seeded = replace(settings, recipe=replace(recipe, seed=number))
                if number == recipe.seed:
                    events = compare_rows(dataset, seeded, workers)
                else:
                    events = compare_rows(sources.load(data, number, reading), seeded)
                with View(console, {spec.key: spec.label for spec in rows}) as view:
                    comparison, result = _watched(events, run, number, view)
                results.append(result)
                settings = replace(settings, patience=comparison.timed.patience)
                show(console, results[-1])
                artifacts.save_states(run, comparison, f"seed-{number}/" if seeds > 1 else "")
                artifacts.save(run, settings, results)  # after each seed: what is finished is kept
            if len(here) < 2:
                show_alone(console, rows)
            if seeds > 1:
                show_spread(console, results)
            with announced(console, "drawing the report"):
                missing = illustrate(run.folder)
    if missing:
        say(console, missing, "yellow")
    console.print(
        f"Run folder: {run.folder}"
        + ("" if missing else f"\nReport:     {run.folder / 'report.html'}"),
        highlight=False,
        markup=False,
        soft_wrap=True,
    )
    outcomes = [row for result in results for row in result["rows"].values()]
    compared = min(sum(not row["failed"] for row in result["rows"].values()) for result in results)
    if compared < min(2, len(here)) or any(
        row["unproved"] and not (row["failed"] or row["as_announced"]) for row in outcomes
    ):
        sys.exit(1)


def _watched(
    events: "Generator[Event, None, Comparison]", run: "Run", seed: int, view: "View"
) -> "tuple[Comparison, dict[str, Any]]":
    """Log and show the events of one seed; return the comparison and its result."""
    from ..core.events import ResultReady

    result: dict[str, Any] = {}
    while True:
        try:
            event = next(events)
        except StopIteration as end:
            return end.value, result
        run.log({"seed": seed} | event.to_json())
        view.see(event.to_json())
        if isinstance(event, ResultReady):
            result = event.result
