"""``triptych compare``: prove, train, time, report."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from . import app
from . import options as o

LONG = 60  # seconds from which an estimate comes first


@app.command("compare")
def compare(
    data: o.Data = None,
    size: o.Size = None,
    skip_unreadable: o.SkipUnreadable = False,
    label: o.Label = None,
    shape: o.Shape = None,
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
    seeds: Annotated[int, typer.Option("--seeds", min=1, help="Repeat over this many seeds and show the spread.")] = 1,
    dtype: o.DType = None,
    random: o.Randomness = None,
    engines: o.Engines = None,
    backends: o.Backends = "default",
    threads: o.Threads = 1,
    device: o.Device = "cpu",
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

    from .. import data as sources
    from ..bench import outputs
    from ..bench.compare import Comparison, Settings
    from ..bench.estimate import estimate
    from ..bench.rows import specs
    from ..bench.workers import Workers
    from ..engines import check_device
    from ..runs import Run
    from .loading import load
    from .table import show, show_spread
    from .view import View

    console = Console(emoji=False)
    rows = specs(o.engines_of(engines), o.all_backends(backends))
    recipe_name = o.recipe_named(recipe_name, network, hidden)
    recipe = o.recipe_of(recipe_name, epochs, batch_size, optimizer, rate, like=like, seed=seed, dtype=dtype, random=random)
    reading = o.reading_of(size, skip_unreadable, label, shape)
    check_device(device)
    o.network_of(network, hidden, dropout, recipe_name, like=like)  # a mistake is said before data is read
    results: list[dict[str, Any]] = []
    with Workers(rows, threads, device) as workers:  # they import while the data is read
        dataset = load(console, data, recipe.seed, reading)
        settings = Settings(o.network_of(network, hidden, dropout, recipe_name, dataset, like), recipe, rows, threads, device)
        if left_out := [*(["validation"] if recipe.validation else []), *(callback.name for callback in recipe.callbacks)]:
            said = "every row trains all epochs on the whole training split, so that all make the same steps"
            console.print(f"Without {' and '.join(left_out)}: {said}.", highlight=False)
        if (guess := seeds * estimate(dataset, settings)) > LONG:
            console.print(f"Estimate: about {guess / 60:.1f} minutes (Ctrl-C stops it; what is written stays whole).", highlight=False)
        with Run.create(runs, "compare", settings.network.name, dataset.name) as run:
            for number in range(recipe.seed, recipe.seed + seeds):
                seeded = replace(settings, recipe=replace(recipe, seed=number))
                if number == recipe.seed:
                    comparison = Comparison(dataset, seeded, workers)
                else:
                    comparison = Comparison(sources.load(data, number, reading), seeded)
                with View(console, {spec.key: spec.label for spec in rows}) as view:
                    for event in comparison.events():
                        run.log({"seed": number} | event)
                        view.see(event)
                        if event["type"] == "result":
                            results.append(event["result"])
                show(console, results[-1])
                outputs.save_states(run, comparison, f"seed-{number}/" if seeds > 1 else "")
                outputs.save(run, settings, results)  # after each seed: what is finished is kept
            if seeds > 1:
                show_spread(console, results)
            with console.status("drawing the report"):
                missing = outputs.illustrate(run.folder)
    if missing:
        console.print(missing, style="yellow", highlight=False, markup=False)
    console.print(
        f"Run folder: {run.folder}" + ("" if missing else f"\nReport:     {run.folder / 'report.html'}"),
        highlight=False,
        markup=False,
        soft_wrap=True,
    )
    outcomes = [row for result in results for row in result["rows"].values()]
    compared = min(sum(not row["failed"] for row in result["rows"].values()) for result in results)
    if compared < 2 or any(row["unproved"] and not (row["failed"] or row["as_announced"]) for row in outcomes):
        sys.exit(1)
