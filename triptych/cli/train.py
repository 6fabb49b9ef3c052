"""``triptych train``: one network in one engine, with checkpoints."""

import os
import sys
import threading
from contextlib import AbstractContextManager, ExitStack, closing, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..core.registry import entries
from ..process import machine
from ..scale.messages import MOST_WORKERS
from ..spec.schedules import names_without_settings
from . import options as o
from .app import app
from .option_groups import (
    DataOptions,
    NetworkOptions,
    RecipeOptions,
    check_before_reading,
    with_groups,
)

if TYPE_CHECKING:
    from rich.console import Console

    from ..data.dataset import Dataset
    from ..spec.recipe import Recipe
    from ..training.saved import SavedRun
    from ..training.session import Session
    from .progress import TrainingProgress

# The options that may be given with --resume; all others come from the run.
GIVEN_WITH_RESUME = (
    "engine",
    "data",
    "epochs",
    "backend",
    "threads",
    "device",
    "resume",
    "checkpoint_every",
    "workers",
    "native",
    "address",
)

EngineName = Annotated[
    str | None,
    typer.Argument(
        help=f"One of {', '.join(entries())}. With --resume, by default that of the run.",
        show_default=False,
    ),
]


@dataclass(frozen=True)
class TrainingOptions:
    """What only a single training has of a recipe."""

    schedule: Annotated[
        str | None,
        typer.Option(
            "--schedule",
            metavar="NAME",
            help=f"{names_without_settings()}; others in a recipe.",
            show_default=False,
        ),
    ] = None
    warmup: Annotated[
        float | None,
        typer.Option(
            "--warmup",
            metavar="EPOCHS",
            help="The rate climbs over this many epochs.",
            show_default=False,
        ),
    ] = None
    validation: Annotated[
        float | None,
        typer.Option(
            "--validation",
            metavar="SHARE",
            help="Of the training images, set aside to be looked at.",
            show_default=False,
        ),
    ] = None
    seed: o.Seed = None
    dtype: o.DType = None
    random: o.Randomness = None


@dataclass(frozen=True)
class PlaceOptions:
    """Where a training runs, and in which folder."""

    backend: o.Backend = None
    threads: o.Threads = 1
    device: o.Device = "cpu"
    runs: o.Runs = Path("runs")
    resume: Annotated[
        Path | None,
        typer.Option(
            "--resume",
            metavar="RUN",
            help="Go on with a run that was stopped, in its engine or another one. With --epochs "
            "N, train it, finished or not, until it has N epochs in all.",
            show_default=False,
        ),
    ] = None
    checkpoint_every: Annotated[
        str | None,
        typer.Option(
            "--checkpoint-every",
            metavar="STEPS|SECONDS",
            help="How often the training is saved: 500 is a number of steps, 30s of seconds. "
            "Default: every ten seconds, and at the end of an epoch.",
            show_default=False,
        ),
    ] = None
    workers: Annotated[
        int,
        typer.Option(
            "--workers",
            min=1,
            max=MOST_WORKERS,
            metavar="N",
            help="How many processes train together; they compute what one does. --threads is that "
            "of each. Several need Ray and PyTorch: pip install 'triptych\\[scale,torch]'",
        ),
    ] = 1
    native: Annotated[
        bool,
        typer.Option(
            "--native",
            help="With --workers: PyTorch's DistributedDataParallel or TensorFlow's "
            "MultiWorkerMirroredStrategy adds the gradients. TensorFlow's servers listen on every "
            "network interface, without a password: use it only behind a firewall or in a "
            "network namespace.",
        ),
    ] = False
    address: Annotated[
        str | None,
        typer.Option(
            "--address",
            metavar="HOST:PORT",
            help="A cluster of Ray that runs already, for the workers; auto for the one on this "
            "machine. Default: they run here.",
            show_default=False,
        ),
    ] = None


@dataclass(frozen=True)
class StreamOptions:
    """Whether the images are in memory while a network is trained on them."""

    stream: Annotated[
        bool | None,
        typer.Option(
            "--stream/--no-stream",
            help="Read images (Parquet, or a folder of image files) while the network is trained "
            "on them, in mini-batches, so that they need not fit into memory. By default this is "
            "done if they would take too much of it.",
            show_default=False,
        ),
    ] = None

    def read(self, console: "Console", data: DataOptions, recipe: "Recipe") -> "Dataset":
        """Load the data, and print which it is."""
        may_stream = self.stream is None and recipe.batch_size != "full"
        return data.read(console, recipe.seed, bool(self.stream), may_stream)


@app.command("train")
@with_groups
def train(
    context: typer.Context,
    *,
    engine: EngineName = None,
    data: DataOptions,
    network: NetworkOptions,
    recipe: RecipeOptions,
    training: TrainingOptions,
    streaming: StreamOptions,
    place: PlaceOptions,
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
    # Before NumPy or any framework is imported: they read these once.
    os.environ.update(machine.environment(place.threads, place.device))

    from rich.console import Console

    from .. import api

    every = api.checkpoint_interval(place.checkpoint_every)
    where = (place.backend, place.device, place.workers, place.native)
    console = Console(emoji=False)
    with ExitStack() as stack:
        if place.resume is not None:
            _refuse_what_the_run_has(context)
            saved = stack.enter_context(api.resumable(place.resume)).extended(recipe.epochs)
            settings = api.resumed_settings(saved, engine, *where)
            dataset = read_again(console, data, saved)
            with _starting(console, place):
                session = api.resumed_session(
                    settings, saved, dataset, every=every, address=place.address
                )
        else:
            settings = api.training_settings(_named(engine), *where)
            recipe = recipe.for_network(network)
            trained = recipe.build(**asdict(training))
            check_before_reading(data, network, recipe)
            dataset = streaming.read(console, data, trained)
            described = network.build(recipe, dataset)
            with _starting(console, place):
                session = api.training_session(
                    settings,
                    described,
                    trained,
                    dataset,
                    place.runs,
                    every=every,
                    address=place.address,
                )
        _announce(console, session)
        _watch(console, session, _resuming(session, place))


def _starting(console: "Console", place: PlaceOptions) -> AbstractContextManager[None]:
    """Tell that Ray is started, which takes several seconds; for a single process do nothing."""
    from ..errors import counted
    from .say import announced

    if place.workers == 1 and place.address is None:
        return nullcontext()
    return announced(console, f"starting Ray and {counted(place.workers, 'worker')}")


def _named(engine: str | None) -> str:
    """Return the engine; raise an error if none was named."""
    from ..errors import EngineError

    if engine is None:
        known = ", ".join(entries())
        raise EngineError(f"name an engine, one of {known}: triptych train ENGINE")
    return engine


def read_again(console: "Console", data: DataOptions, saved: "SavedRun") -> "Dataset":
    """Load the data of a run: from where it was, or from where it is now."""
    from .loading import load

    source = saved.source_to_load() if data.data is None else data.data
    return load(console, source, saved.recipe.seed, saved.reading)


def _refuse_what_the_run_has(context: typer.Context) -> None:
    """Raise an error if an option was given that comes from the run that goes on."""
    for parameter in context.command.params:
        name = parameter.name or ""
        given = context.get_parameter_source(name)
        if given is None or given.name != "COMMANDLINE":
            continue
        if name not in GIVEN_WITH_RESUME:
            raise typer.BadParameter(
                "it comes from the run that goes on; leave it out", param_hint=parameter.opts[0]
            )


def _announce(console: "Console", session: "Session") -> None:
    """Print what is trained, and what a person should know before."""
    from .progress import loss_note
    from .say import say, say_batch

    say(console, f"{session.label}: {session.title}")
    say_batch(console, session.recipe, session.training.planner.samples, session.dataset.kind)
    note = loss_note(session.recipe)
    if note is not None:
        say(console, note)
    for note in session.notes:
        say(console, note, "yellow")


def _resuming(session: "Session", place: PlaceOptions) -> str:
    """Return the command that goes on with a run, with the options that are not the default."""
    from ..core.shell import quoted

    settings = session.settings
    given_and_default = {
        "backend": (settings.backend, entries()[settings.engine].default_backend),
        "threads": (settings.threads, 1),
        "device": (settings.device, "cpu"),
        "checkpoint-every": (place.checkpoint_every, None),
        "workers": (settings.workers, 1),
        "address": (place.address, None),
    }
    words = ["triptych", "train", settings.engine, "--resume", str(session.folder)]
    for name, (given, default) in given_and_default.items():
        if given != default:
            words += [f"--{name}", str(given)]
    if settings.native:
        words.append("--native")
    return quoted(*words)


def _watch(console: "Console", session: "Session", resuming: str) -> None:
    """Train and show it; exit with status 130 if it is stopped."""
    from .interruptions import on_thread_failure, stopping
    from .progress import TrainingProgress, tested_line
    from .say import say, say_unbroken

    training = session.training
    threading.excepthook = on_thread_failure
    epochs = session.recipe.epochs
    per_epoch = training.planner.steps_per_epoch
    with (
        stopping(session.stop),
        TrainingProgress(console, epochs, per_epoch, training.position.step) as progress,
    ):
        _train(session, progress, resuming)
    if session.result is None:
        step = f"step {training.position.step:,} of {training.planner.steps:,}"
        print(f"triptych: stopped after {step}, and saved; go on with:", file=sys.stderr)
        print(resuming, file=sys.stderr)
        sys.exit(130)
    say(console, tested_line(session.result))
    say_unbroken(console, f"Run folder: {session.folder}")


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
