"""``triptych train``: one network in one engine, with checkpoints."""

import os
import sys
import threading
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..core.registry import entries
from ..spec.schedules import names_without_settings
from . import options as o
from .app import app

if TYPE_CHECKING:
    from rich.console import Console

    from ..training.session import Session
    from .progress import TrainingProgress

# Options that a run which goes on has already; the same names as in the signature of `train`.
FIXED_BY_RUN = (
    "network",
    "hidden",
    "dropout",
    "recipe",
    "batch-size",
    "optimizer",
    "rate",
    "like",
    "schedule",
    "warmup",
    "validation",
    "seed",
    "dtype",
    "random",
    "runs",
    "size",
    "skip-unreadable",
    "label",
    "shape",
    "white",
)


@app.command("train")
def train(
    context: typer.Context,
    engine: Annotated[
        str | None,
        typer.Argument(
            help=f"One of {', '.join(entries())}. With --resume, by default that of the run.",
            show_default=False,
        ),
    ] = None,
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
    schedule: Annotated[
        str | None,
        typer.Option(
            "--schedule",
            metavar="NAME",
            help=f"{names_without_settings()}; others in a recipe.",
            show_default=False,
        ),
    ] = None,
    warmup: Annotated[
        float | None,
        typer.Option(
            "--warmup",
            metavar="EPOCHS",
            help="The rate climbs over this many epochs.",
            show_default=False,
        ),
    ] = None,
    validation: Annotated[
        float | None,
        typer.Option(
            "--validation",
            metavar="SHARE",
            help="Of the training images, set aside to be looked at.",
            show_default=False,
        ),
    ] = None,
    seed: o.Seed = None,
    dtype: o.DType = None,
    random: o.Randomness = None,
    backend: Annotated[
        str | None,
        typer.Option(
            "--backend",
            metavar="NAME",
            help="How the engine runs. Default: its first.",
            show_default=False,
        ),
    ] = None,
    threads: o.Threads = 1,
    device: o.Device = "cpu",
    runs: o.Runs = Path("runs"),
    resume: Annotated[
        Path | None,
        typer.Option(
            "--resume",
            metavar="RUN",
            help="Go on with a run that was stopped, in its engine or another one. With --epochs "
            "N, train it, finished or not, until it has N epochs in all.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Train a network in one engine, test it once at the end, write a run folder.

    Ctrl-C, SIGTERM and a closed terminal finish the steps in flight and save; --resume goes on from
    there without losing or repeating a step. With --resume, --epochs N is the total: a run with 5
    epochs and --epochs 8 gets 3 more.

    Examples:

    triptych train torch --network custom --batch-size 64 --optimizer adam --validation 0.1

    triptych train numpy --batch-size 64 --schedule cosine --warmup 0.5

    triptych train --resume runs/20260101-120000-train-torch-custom-digits

    triptych train tensorflow --resume runs/20260101-120000-train-torch-custom-digits --epochs 10
    """
    from ..process import machine

    # Before NumPy or any framework is imported: they read these once.
    os.environ.update(machine.environment(threads, device))

    from rich.console import Console

    from .. import api
    from ..errors import EngineError
    from .loading import load

    console = Console(emoji=False)
    if engine is not None:
        api.check_engine(engine, device)
    elif resume is None:
        raise EngineError(f"name an engine, one of {', '.join(entries())}: triptych train ENGINE")
    with ExitStack() as stack:
        if resume is not None:
            _refuse(context, FIXED_BY_RUN)
            saved = stack.enter_context(api.resumable(resume)).extended(epochs)
            source = saved.source_to_load() if data is None else data
            dataset = load(console, source, saved.recipe.seed, saved.reading)
            session = api.resumed_session(saved, engine, dataset, backend=backend, device=device)
        else:
            recipe_name = o.recipe_named(recipe_name, network, hidden)
            recipe = o.recipe_of(
                recipe_name,
                epochs,
                batch_size,
                optimizer,
                rate,
                like=like,
                schedule=schedule,
                warmup=warmup,
                validation=validation,
                seed=seed,
                dtype=dtype,
                random=random,
            )
            reading = o.reading_of(size, skip_unreadable, label, shape, white)
            # An error in the network is reported before the data is read.
            o.network_of(network, hidden, dropout, recipe_name, like=like)
            dataset = load(console, data, recipe.seed, reading)
            described = o.network_of(network, hidden, dropout, recipe_name, dataset, like)
            session = api.training_session(
                engine or "", described, recipe, dataset, backend=backend, device=device, runs=runs
            )
        given = {"backend": session.settings.backend, "threads": threads, "device": device}
        _announce(console, session)
        _watch(console, session, _resuming(session, given))


def _announce(console: "Console", session: "Session") -> None:
    """Print what is trained, and what a person should know before."""
    from .progress import loss_note
    from .say import say

    say(console, f"{session.label}: {session.title}")
    o.say_batch(console, session.recipe, session.training.planner.samples, session.dataset.kind)
    note = loss_note(session.recipe)
    if note is not None:
        say(console, note)
    for note in session.notes:
        say(console, note, "yellow")


def _resuming(session: "Session", given: dict[str, Any]) -> str:
    """Return the command that goes on with a run."""
    engine = session.settings.engine
    defaults = {"backend": entries()[engine].default_backend, "threads": 1, "device": "cpu"}
    words = ["triptych", "train", engine, "--resume", str(session.folder)]
    for name, value in given.items():
        if value != defaults[name]:
            words += [f"--{name}", str(value)]
    return o.quoted(*words)


def _watch(console: "Console", session: "Session", resuming: str) -> None:
    """Train and show it; exit with status 130 if it is stopped."""
    from .interruptions import on_thread_failure, stopping
    from .progress import TrainingProgress, tested_line
    from .say import say

    training = session.training
    threading.excepthook = on_thread_failure
    epochs = session.recipe.epochs
    per_epoch = training.planner.steps_per_epoch
    with (
        stopping(training.stop),
        TrainingProgress(console, epochs, per_epoch, training.position.step) as progress,
    ):
        _train(session, progress, resuming)
    if session.result is None:
        step = f"step {training.position.step:,} of {training.planner.steps:,}"
        print(f"triptych: stopped after {step}, and saved; go on with:", file=sys.stderr)
        print(resuming, file=sys.stderr)
        sys.exit(130)
    say(console, tested_line(session.result))
    console.print(f"Run folder: {session.folder}", highlight=False, markup=False, soft_wrap=True)


def _train(session: "Session", progress: "TrainingProgress", resuming: str) -> None:
    """Train to the end, or until it is stopped."""
    from ..errors import TriptychError
    from .interruptions import forget_lost_terminal, surviving_lost_terminal

    try:
        with closing(session.events()) as events:
            for event in events:
                with surviving_lost_terminal():
                    progress.on_event(event)
    except BrokenPipeError:
        raise
    except OSError as error:
        what = f"{error.filename or session.folder}: {error.strerror or error}"
        raise TriptychError(
            f"{what}; what was saved before is whole; mend it, and go on with: {resuming}"
        ) from None
    finally:
        forget_lost_terminal()


def _refuse(context: typer.Context, names: tuple[str, ...]) -> None:
    """Raise an error if an option was given that comes from the run."""
    for parameter in context.command.params:
        option = parameter.opts[0].removeprefix("--")
        given = context.get_parameter_source(parameter.name or "")
        if option in names and given is not None and given.name == "COMMANDLINE":
            raise typer.BadParameter(
                "it comes from the run that goes on; leave it out", param_hint=f"--{option}"
            )
