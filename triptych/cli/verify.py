"""``triptych verify``: the proof, for whole runs."""

import os
import sys
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from ..errors import one_line
from ..process import machine
from . import options as o
from .app import app
from .option_groups import (
    DataOptions,
    EngineOptions,
    NetworkOptions,
    RecipeOptions,
    all_backends,
    engine_names,
    with_groups,
)
from .verify_script import ScriptOptions, verify_script

if TYPE_CHECKING:
    from ..data.dataset import Dataset
    from ..spec.network import Network
    from ..spec.recipe import Recipe

BATCH_SIZE = "64"  # where neither an option nor a recipe decides
WARM_UP_OF_WORKERS = 0.5  # epochs, of the schedule with which several workers are compared


@dataclass(frozen=True)
class CaseOptions:
    """Which networks are verified with which recipes, over how many steps."""

    network: Annotated[
        list[str] | None,
        typer.Option(
            "--network",
            metavar="NAME|FILE",
            help="May be given several times. Default: classic.",
            show_default=False,
        ),
    ] = None
    hidden: o.Hidden = None
    dropout: o.DropoutRate = 0.0
    recipe: o.RecipeName = None
    optimizer: Annotated[
        list[str] | None,
        typer.Option(
            "--optimizer",
            metavar="NAME",
            help="May be given several times. Default: sgd.",
            show_default=False,
        ),
    ] = None
    layers: Annotated[
        bool,
        typer.Option(
            "--layers", help="Instead, small networks that hold every layer type with every option."
        ),
    ] = False
    everything: Annotated[
        bool,
        typer.Option(
            "--all", help="Every network of the zoo, or of --layers, with every optimizer."
        ),
    ] = False
    steps: Annotated[
        int | None,
        typer.Option(
            "--steps",
            min=1,
            help="Steps compared, each against NumPy's. Default: 500; fewer, but at least 10, for "
            "networks of more than 1,000,000 multiplications a sample.",
            show_default=False,
        ),
    ] = None
    batch_size: Annotated[
        str | None,
        typer.Option(
            "--batch-size",
            metavar="N|full",
            help="Samples a step, or full. Default: 64.",
            show_default=False,
        ),
    ] = None
    rate: o.Rate = None
    loss: o.LossName = None
    like: o.Like = None
    seed: o.Seed = None
    dtype: o.DType = "float64"

    def check(self) -> None:
        """Raise an error if options that exclude each other were given."""
        names_network = bool(self.network) or self.hidden is not None
        if self.everything and (names_network or self.recipe or self.optimizer):
            raise typer.BadParameter(
                "it means every network and optimizer; leave the others out",
                param_hint="--all",
            )
        if self.layers and names_network:
            raise typer.BadParameter(
                "it has networks of its own; leave --network and --hidden out",
                param_hint="--layers",
            )

    def recipes(self) -> "dict[str, Recipe]":
        """Return each recipe by the name of its optimizer."""
        from ..spec.optimizers import SHORTHANDS

        names: list[Any] = self.optimizer or ([None] if self.recipe else ["sgd"])
        if self.everything:
            names = list(SHORTHANDS)
        batch_size = self.batch_size
        if batch_size is None and self.recipe is None:
            batch_size = BATCH_SIZE
        recipes: dict[str, Recipe] = {}
        for name in names:
            options = RecipeOptions(
                recipe=self.recipe,
                batch_size=batch_size,
                optimizer=name,
                rate=self.rate,
                loss=self.loss,
                like=self.like,
            )
            recipe = options.build(seed=self.seed, dtype=self.dtype, random="matched")
            recipes[name or recipe.optimizer.name] = recipe
        return recipes

    def networks(self, dataset: "Dataset | None" = None) -> "list[Network]":
        """Return the networks, built for a data set if one is given."""
        from ..spec import zoo

        if self.layers:
            return self._specimens(dataset) if dataset else []
        names: list[Any] = list(zoo.ZOO) if self.everything else self.network or [None]
        recipe = RecipeOptions(self.recipe, like=self.like)
        options = [NetworkOptions(name, self.hidden, self.dropout) for name in names]
        return [each.build(recipe, dataset) for each in options]

    def _specimens(self, dataset: "Dataset") -> "list[Network]":
        """Return small networks that hold every layer."""
        from ..parity.specimens import specimens

        networks = specimens(dataset.shape, len(dataset.classes))
        if self.like is None:
            return networks
        return [network.like(self.like) for network in networks]


@dataclass(frozen=True)
class WorkerOptions:
    """Whether several workers are compared with one process, and how many."""

    workers: Annotated[
        str | None,
        typer.Option(
            "--workers",
            metavar="N,…",
            help="Instead, compare so many workers that train one network with one process, each "
            "engine with itself, to 1e-12: for example 1,2,3. Default networks: custom, and "
            "lenet-bn with a dropout; 200 steps; a cosine schedule unless a recipe has another.",
            show_default=False,
        ),
    ] = None
    native: Annotated[
        bool,
        typer.Option(
            "--native",
            help="With --workers: the workers of PyTorch's DistributedDataParallel and of "
            "TensorFlow's MultiWorkerMirroredStrategy, compared with one process and with workers "
            "whose gradients are added here. TensorFlow's servers listen on every network "
            "interface, without a password: use it only behind a firewall or in a network "
            "namespace.",
        ),
    ] = False

    def counts(self) -> list[int]:
        """Return the numbers of workers; none if the option was not given."""
        if self.workers is None:
            if self.native:
                raise typer.BadParameter(
                    "it is an option of --workers; give both, for example --workers 1,2,3 --native",
                    param_hint="--native",
                )
            return []
        from ..scale.messages import MOST_WORKERS

        allowed = {str(count): count for count in range(1, MOST_WORKERS + 1)}
        parts = [part.strip() for part in self.workers.split(",")]
        if not all(part in allowed for part in parts):
            raise typer.BadParameter(
                f"{one_line(repr(self.workers), 100)}; give whole numbers from 1 to "
                f"{MOST_WORKERS} with commas between them, for example 1,2,3",
                param_hint="--workers",
            )
        return [allowed[part] for part in dict.fromkeys(parts)]


@app.command("verify")
@with_groups
def verify(
    *,
    data: DataOptions,
    cases: CaseOptions,
    engines: EngineOptions,
    workers: WorkerOptions,
    script: ScriptOptions,
) -> None:
    """Prove the engines equal, step by step, in float64 to 1e-11.

    Outputs, loss, gradients and updates are compared. Exit status 1 if they differ, with the first
    stage, layer, index and both values. With --dtype float32 the rounding verdict follows, and the
    trajectory next to three NumPy runs whose first weights are moved by one unit in the last place
    (ulp).

    --script runs the code of that file: a PyTorch script for several workers, compared with itself
    in one process; exit status 3 if single precision does not decide (docs/workers.md).

    Examples:

    triptych verify

    triptych verify --network custom --optimizer adam --dtype float32

    triptych verify --layers --all --steps 200

    triptych verify --all --backends all

    triptych verify --workers 1,2,3

    triptych verify --workers 2 --script train_ddp.py -- --batch-size {64/workers}

    triptych verify runs/20260101-120000-train-torch-custom-digits
    """
    if script.run is not None:
        # Before NumPy is imported: it reads the number of threads once.
        os.environ.update(machine.environment(engines.threads, "cpu"))

    from rich.console import Console

    from .. import api
    from .proof_view import ProofProgress, ProofReport

    cases.check()
    script.check()
    if script.run is not None:
        if (cases, workers) != (CaseOptions(), WorkerOptions()):
            raise typer.BadParameter(
                "the run decides network, recipe and steps; only --data and --threads go with it",
                param_hint="RUN",
            )
        _verify_run(script.run, data)
    counts = workers.counts()
    if script.script:
        _refuse_others(data, cases, engines, native=workers.native)
        verify_script(script, counts, cases.steps, engines.threads)
    if counts:
        _verify_workers(data, cases, engines, counts, native=workers.native)
    recipes = cases.recipes()
    chosen = engines.select()
    cases.networks()  # an error in a network is reported before the data is read
    console = Console(emoji=False)
    dataset = data.read(console, next(iter(recipes.values())).seed)
    networks = cases.networks(dataset)
    titles = [(network.name, name) for network in networks for name in recipes]
    report = ProofReport(console, titles, chosen.labels)
    trained = list(recipes.values())
    with (
        closing(api.verification(networks, trained, dataset, chosen, cases.steps)) as happening,
        ProofProgress(console, titles, chosen.labels) as progress,
    ):
        for event in happening:
            progress.on_event(event)
            report.on_event(event)
    if report.compared:
        report.explain_steps(default=cases.steps is None)
        if cases.layers:
            report.by_layer(networks, list(recipes))
    sys.exit(report.conclude())


def _refuse_others(
    data: DataOptions, cases: CaseOptions, engines: EngineOptions, *, native: bool
) -> None:
    """Raise an error if options were given that decide what a script decides itself."""
    given = (data, replace(cases, steps=None), replace(engines, threads=1))
    if native or given != (DataOptions(), CaseOptions(), EngineOptions()):
        raise typer.BadParameter(
            "the script decides data, network and recipe; only --workers, --steps, --threads, "
            "--float64 and --timeout go with it",
            param_hint="--script",
        )


def _verify_run(run: Path, data: DataOptions) -> NoReturn:
    """Train a run again, show what came of it, and end the command."""
    from rich.console import Console

    from .. import api
    from .replay_view import show_replay
    from .train import read_again

    console = Console(emoji=False)
    saved = api.SavedRun.read(run)
    dataset = read_again(console, data, saved)
    sys.exit(show_replay(console, run, saved, api.iter_verify_run(run, dataset)))


def _verify_workers(
    data: DataOptions,
    cases: CaseOptions,
    engines: EngineOptions,
    counts: list[int],
    *,
    native: bool,
) -> NoReturn:
    """Compare several workers with one process, and end the command."""
    from rich.console import Console

    from .. import api
    from ..spec.schedules import Cosine
    from .workers_view import WorkersReport

    if cases.dtype != "float64":
        raise typer.BadParameter(
            "several workers are compared in float64; leave --dtype out", param_hint="--dtype"
        )
    recipes = list(cases.recipes().values())
    if cases.recipe is None:  # with a constant rate, no mistake in a schedule would show
        schedule = Cosine(warmup=WARM_UP_OF_WORKERS)
        recipes = [replace(recipe, schedule=schedule) for recipe in recipes]
    chosen = engines.select()
    names_networks = cases.network or cases.hidden or cases.everything or cases.layers
    if names_networks:
        cases.networks()  # an error in a network is reported before the data is read
    console = Console(emoji=False)
    dataset = data.read(console, recipes[0].seed)
    networks = cases.networks(dataset) if names_networks else None
    happening = api.iter_verify_workers(
        networks,
        recipes,
        dataset,
        workers=counts,
        engines=engine_names(engines.engines),
        all_backends=all_backends(engines.backends),
        steps=cases.steps,
        threads=engines.threads,
        device=engines.device,
        native=native,
    )
    with closing(happening), WorkersReport(console, chosen.labels) as report:
        for event in happening:
            report.on_event(event)
    sys.exit(report.conclude())
