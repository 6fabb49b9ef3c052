"""``triptych train``: one network in one engine, with checkpoints, from which any engine goes on."""

import os
import signal
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..engines import entries
from . import app
from . import options as o

if TYPE_CHECKING:
    from ..loop import Training

FIXED = ("network", "hidden", "dropout", "recipe", "batch-size", "optimizer", "rate", "like", "schedule", "warmup", "validation")


@app.command("train")
def train(
    context: typer.Context,
    engine: Annotated[str, typer.Argument(help=f"One of {', '.join(entries())}.", show_default=False)],
    data: o.Data = None,
    size: o.Size = None,
    skip_unreadable: o.SkipUnreadable = False,
    network: o.NetworkName = None,
    hidden: o.Hidden = None,
    dropout: o.DropoutRate = 0.0,
    recipe_name: o.RecipeName = None,
    epochs: o.Epochs = None,
    batch_size: o.BatchSize = None,
    optimizer: o.OptimizerName = None,
    rate: o.Rate = None,
    like: o.Like = None,
    schedule: Annotated[
        str | None,
        typer.Option(
            "--schedule", metavar="NAME", help="constant, exponential, cosine or one-cycle; others in a recipe.", show_default=False
        ),
    ] = None,
    warmup: Annotated[
        float | None, typer.Option("--warmup", metavar="EPOCHS", help="The rate climbs over so many epochs.", show_default=False)
    ] = None,
    validation: Annotated[
        float | None,
        typer.Option("--validation", metavar="SHARE", help="Of the training images, set aside to be looked at.", show_default=False),
    ] = None,
    seed: o.Seed = None,
    dtype: o.DType = None,
    random: o.Randomness = None,
    backend: Annotated[
        str | None, typer.Option("--backend", metavar="NAME", help="How the engine runs. Default: its first.", show_default=False)
    ] = None,
    threads: o.Threads = 1,
    device: o.Device = "cpu",
    runs: o.Runs = Path("runs"),
    resume: Annotated[
        Path | None,
        typer.Option(
            "--resume",
            metavar="RUN",
            help="Go on with a run that was stopped, in this engine or another; with --epochs, with a finished one, too.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Train a network in one engine, test it once at the end, write a run folder.

    Ctrl-C finishes the steps in flight and saves; --resume goes on from there without losing or repeating a step.
    With --epochs, --resume trains a run for that many epochs in all, a finished one too.

    Examples:

    triptych train torch --network custom --batch-size 64 --optimizer adam --epochs 5 --validation 0.1

    triptych train numpy --batch-size 64 --schedule cosine --warmup 0.5

    triptych train tensorflow --resume runs/20260101-120000-train-torch-custom-digits

    triptych train torch --resume runs/20260101-120000-train-torch-custom-digits --epochs 10
    """
    from ..bench import machine

    # Before NumPy or any framework is imported: they read these once.
    os.environ.update(machine.environment(threads, device))

    from rich.console import Console

    from .. import data as sources
    from .. import engines, files, session
    from .. import runs as runs_module
    from ..errors import EngineError
    from .loading import load
    from .progress import TrainingProgress, tested_line

    name, _, own = engine.partition("/")
    if own:
        raise EngineError(f"engine {engine!r} is unknown; here the backend has an option of its own: triptych train {name} --backend {own}")
    settings = session.Settings(engine, backend or engines.entry(engine).default_backend, device, threads)
    saved = None
    if resume is not None:
        _refuse(context, FIXED + ("seed", "dtype", "random", "runs", "size", "skip-unreadable"))
        if (resume / "last").is_dir():
            context.with_resource(runs_module.locked(resume))  # before anything is read that another process may write
            files.sweep(resume)
        saved = session.Saved.read(resume).going_on(epochs)
        recipe, source, reading = saved.recipe, saved.source if data is None else data, saved.reading
    else:
        recipe_name = o.recipe_named(recipe_name, network, hidden)
        recipe = o.recipe_of(
            *(recipe_name, epochs, batch_size, optimizer, rate),
            like=like,
            schedule=schedule,
            warmup=warmup,
            validation=validation,
            seed=seed,
            dtype=dtype,
            random=random,
        )
        source, reading = sources.default() if data is None else data, o.reading_of(size, skip_unreadable)
    console = Console()
    dataset = load(console, source, recipe.seed, reading)
    if saved:
        saved.check_same(dataset)
    described = saved.network if saved else o.network_of(network, hidden, dropout, recipe_name, dataset, like)
    running = session.Session(settings, described, recipe, dataset, source, runs, saved, reading)
    if not saved:
        context.with_resource(runs_module.locked(running.run.folder))
    console.print(f"{running.label}: {running.title}", highlight=False, markup=False, soft_wrap=True)
    for note in running.notes:
        console.print(note, style="yellow", highlight=False, markup=False, soft_wrap=True)
    result = None
    with (
        _signals(running.training),
        TrainingProgress(console, recipe.epochs, running.schedule.steps_per_epoch, running.training.position.step) as progress,
    ):
        for event in running.events():
            progress.see(event)
            if event["type"] == "result":
                result = event["result"]
    folder = running.run.folder
    if result is None:
        step = running.training.position.step
        print(f"triptych: stopped after step {step:,} of {running.schedule.steps:,}, and saved; go on with:", file=sys.stderr)
        given = {"backend": backend, "threads": threads if threads != 1 else None, "device": device if device != "cpu" else None}
        options = [part for name, value in given.items() if value is not None for part in (f"--{name}", str(value))]
        print(o.quoted("triptych", "train", engine, "--resume", str(folder), *options), file=sys.stderr)
        sys.exit(130)
    console.print(tested_line(result), highlight=False, soft_wrap=True)
    console.print(f"Run folder: {folder}", highlight=False, markup=False, soft_wrap=True)


def _refuse(context: typer.Context, names: tuple[str, ...]) -> None:
    for parameter in context.command.params:
        option = parameter.opts[0].removeprefix("--")
        given = context.get_parameter_source(parameter.name or "")
        if option in names and given is not None and given.name == "COMMANDLINE":
            raise typer.BadParameter("it comes from the run that goes on; leave it out", param_hint=f"--{option}")


@contextmanager
def _signals(training: "Training") -> Generator[None]:
    """Let Ctrl-C and SIGTERM end the training after the steps in flight; once more changes nothing."""

    def stop(*_: Any) -> None:
        training.stop()

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
