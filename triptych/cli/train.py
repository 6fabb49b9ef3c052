"""``triptych train``: one network in one engine, with checkpoints, from which any engine goes on."""

import errno
import os
import signal
import stat
import sys
import threading
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..core.registry import entries
from . import options as o
from .app import app

if TYPE_CHECKING:
    from ..core.events import Event
    from ..training.loop import Training
    from .progress import TrainingProgress

HANGUP: signal.Signals | None = getattr(
    signal, "SIGHUP", None
)  # the terminal was closed; Windows has none
FIXED = (
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
)


@app.command("train")
def train(
    context: typer.Context,
    engine: Annotated[
        str, typer.Argument(help=f"One of {', '.join(entries())}.", show_default=False)
    ],
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
            help="constant, exponential, cosine or one-cycle; others in a recipe.",
            show_default=False,
        ),
    ] = None,
    warmup: Annotated[
        float | None,
        typer.Option(
            "--warmup",
            metavar="EPOCHS",
            help="The rate climbs over so many epochs.",
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
            help="Go on with a run that was stopped, in this engine or another; with --epochs, with a finished one, too.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Train a network in one engine, test it once at the end, write a run folder.

    Ctrl-C, SIGTERM and a closed terminal finish the steps in flight and save; --resume goes on from
    there without losing or repeating a step. With --epochs, --resume trains a run for that many epochs
    in all, a finished one too.

    Examples:

    triptych train torch --network custom --batch-size 64 --optimizer adam --epochs 5 --validation 0.1

    triptych train numpy --batch-size 64 --schedule cosine --warmup 0.5

    triptych train tensorflow --resume runs/20260101-120000-train-torch-custom-digits

    triptych train torch --resume runs/20260101-120000-train-torch-custom-digits --epochs 10
    """
    from ..process import machine

    # Before NumPy or any framework is imported: they read these once.
    os.environ.update(machine.environment(threads, device))

    from rich.console import Console

    from ..core import devices, registry
    from ..core.events import ResultReady
    from ..data import loading as sources
    from ..errors import EngineError, TriptychError
    from ..training.saved import resumable
    from ..training.session import Session, Settings
    from .loading import load
    from .progress import TrainingProgress, loss_note, tested_line
    from .say import say

    name, _, own = engine.partition("/")
    if own and name in entries():
        raise EngineError(
            f"engine {engine!r} is unknown; here the backend has an option of its own: triptych train {name} --backend {own}"
        )
    devices.check_device(device)
    if engine == "numpy" and device not in ("cpu", "auto"):
        raise EngineError(f"NumPy runs on the processor only; leave out --device {device}")
    settings = Settings(engine, backend or registry.entry(engine).default_backend, device, threads)
    saved = None
    if resume is not None:
        _refuse(
            context,
            FIXED
            + (
                "seed",
                "dtype",
                "random",
                "runs",
                "size",
                "skip-unreadable",
                "label",
                "shape",
                "white",
            ),
        )
        saved = context.with_resource(resumable(resume)).extended(epochs)
        recipe, source, reading = (
            saved.recipe,
            saved.source if data is None else data,
            saved.reading,
        )
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
        source, reading = (
            sources.default_source() if data is None else data,
            o.reading_of(size, skip_unreadable, label, shape, white),
        )
        o.network_of(
            network, hidden, dropout, recipe_name, like=like
        )  # a mistake is said before data is read
    console = Console(emoji=False)
    dataset = load(console, source, recipe.seed, reading)
    if saved:
        saved.check_same(dataset)
    described = (
        saved.network
        if saved
        else o.network_of(network, hidden, dropout, recipe_name, dataset, like)
    )
    running = Session(settings, described, recipe, dataset, runs, saved)
    say(console, f"{running.label}: {running.title}")
    if (why := loss_note(recipe)) is not None:
        say(console, why)
    for note in running.notes:
        say(console, note, "yellow")
    threading.excepthook = _thread_failed
    result = None
    folder = running.folder
    given = {
        "backend": backend,
        "threads": threads if threads != 1 else None,
        "device": device if device != "cpu" else None,
    }
    options = [
        word
        for name, value in given.items()
        if value is not None
        for word in (f"--{name}", str(value))
    ]
    again = o.quoted("triptych", "train", engine, "--resume", str(folder), *options)
    with (
        _signals(running.training),
        TrainingProgress(
            console,
            recipe.epochs,
            running.training.planner.steps_per_epoch,
            running.training.position.step,
        ) as progress,
    ):
        try:
            for event in running.events():
                _show(progress, event)
                if isinstance(event, ResultReady):
                    result = event.result
        except BrokenPipeError:
            raise
        except OSError as error:
            what = f"{error.filename or folder}: {error.strerror or error}"
            raise TriptychError(
                f"{what}; what was saved before is whole; mend it, and go on with: {again}"
            ) from None
        finally:
            _forget_lost_terminal()
    if result is None:
        step = running.training.position.step
        print(
            f"triptych: stopped after step {step:,} of {running.training.planner.steps:,}, and saved; go on with:",
            file=sys.stderr,
        )
        print(again, file=sys.stderr)
        sys.exit(130)
    say(console, tested_line(result))
    console.print(f"Run folder: {folder}", highlight=False, markup=False, soft_wrap=True)


def _refuse(context: typer.Context, names: tuple[str, ...]) -> None:
    for parameter in context.command.params:
        option = parameter.opts[0].removeprefix("--")
        given = context.get_parameter_source(parameter.name or "")
        if option in names and given is not None and given.name == "COMMANDLINE":
            raise typer.BadParameter(
                "it comes from the run that goes on; leave it out", param_hint=f"--{option}"
            )


def _thread_failed(failed: threading.ExceptHookArgs) -> None:
    """Take in that one of two threads cannot write: that of the progress bar, or that of TensorBoard's log.

    On a full disk the next line of events.jsonl cannot be written either, and this is said once.
    """
    if not isinstance(failed.exc_value, OSError):
        threading.__excepthook__(failed)
    elif failed.exc_value.errno == errno.EIO:
        _forget_lost_terminal()


def _show(progress: "TrainingProgress", event: "Event") -> None:
    """Show an event. Where SIGHUP is ignored the terminal may be gone; then the training goes on unseen."""
    try:
        progress.on_event(event)
    except OSError as error:
        if error.errno != errno.EIO:
            raise
        _forget_lost_terminal()


def _forget_lost_terminal() -> None:
    """Send to nowhere what would be written to a terminal that is gone: writing to it would be an error."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        if stat.S_ISCHR(os.fstat(stream).st_mode) and not os.isatty(stream):
            os.dup2(nowhere, stream)
    os.close(nowhere)


@contextmanager
def _signals(training: "Training") -> Generator[None]:
    """Let Ctrl-C, SIGTERM and SIGHUP end the training after the steps in flight; once more changes nothing."""

    def stop(*_: Any) -> None:
        training.stop()

    wanted = [signal.SIGINT, signal.SIGTERM]
    if (
        HANGUP is not None and signal.getsignal(HANGUP) != signal.SIG_IGN
    ):  # nohup ignores it: then go on
        wanted.append(HANGUP)
    before = {number: signal.signal(number, stop) for number in wanted}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
