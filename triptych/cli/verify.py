"""``triptych verify``: the proof, for whole runs."""

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from . import options as o
from .app import app

if TYPE_CHECKING:
    from ..data.dataset import Dataset
    from ..spec.network import Network
    from ..spec.recipe import Recipe


@app.command("verify")
def verify(
    data: o.Data = None,
    size: o.Size = None,
    skip_unreadable: o.SkipUnreadable = False,
    label: o.Label = None,
    shape: o.Shape = None,
    white: o.White = None,
    network: Annotated[
        list[str] | None,
        typer.Option(
            "--network",
            metavar="NAME|FILE",
            help="May be given several times. Default: classic.",
            show_default=False,
        ),
    ] = None,
    hidden: o.Hidden = None,
    dropout: o.DropoutRate = 0.0,
    recipe_name: o.RecipeName = None,
    optimizer: Annotated[
        list[str] | None,
        typer.Option(
            "--optimizer",
            metavar="NAME",
            help="May be given several times. Default: sgd.",
            show_default=False,
        ),
    ] = None,
    layers: Annotated[
        bool,
        typer.Option(
            "--layers", help="Instead, small networks that hold every layer type with every option."
        ),
    ] = False,
    everything: Annotated[
        bool,
        typer.Option(
            "--all", help="Every network of the zoo, or of --layers, with every optimizer."
        ),
    ] = False,
    steps: Annotated[
        int | None,
        typer.Option(
            "--steps",
            min=1,
            help="Steps compared, each against NumPy's. Default: 500; fewer, but at least 10, for "
            "networks of more than 1,000,000 multiplications a sample.",
            show_default=False,
        ),
    ] = None,
    batch_size: Annotated[
        str | None,
        typer.Option(
            "--batch-size",
            metavar="N|full",
            help="Samples a step, or full. Default: 64.",
            show_default=False,
        ),
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
    """Prove the engines equal, step by step, in float64 to 1e-11.

    Outputs, loss, gradients and updates are compared. Exit status 1 if they differ, with the first
    stage, layer, index and both values. With --dtype float32 the rounding verdict follows, and the
    trajectory next to three NumPy runs whose first weights are moved by one unit in the last place
    (ulp).

    Examples:

    triptych verify

    triptych verify --network custom --optimizer adam --dtype float32

    triptych verify --layers --all --steps 200

    triptych verify --all --backends all
    """
    from rich.console import Console

    from .. import api
    from ..core.devices import check_device
    from ..core.selection import specs
    from .loading import load
    from .proof_view import ProofProgress, ProofReport

    _check_choices(everything, layers, network, hidden, bool(recipe_name or optimizer))
    chosen = _Chosen(network, hidden, dropout, recipe_name, like, everything, layers)
    numbers = {"rate": rate, "like": like, "seed": seed, "dtype": dtype, "random": "matched"}
    recipes = chosen.recipes(optimizer, batch_size, numbers)
    names = o.engines_of(engines)
    rows = specs(names, o.all_backends(backends))
    check_device(device)
    chosen.networks(None)  # an error in a network is reported before the data is read
    console = Console(emoji=False)
    reading = o.reading_of(size, skip_unreadable, label, shape, white)
    dataset = load(console, data, next(iter(recipes.values())).seed, reading)
    networks = chosen.networks(dataset)
    happening = api.iter_verify(
        networks,
        list(recipes.values()),
        dataset,
        engines=names,
        all_backends=o.all_backends(backends),
        steps=steps,
        threads=threads,
        device=device,
    )
    titles = [(each.name, name) for each in networks for name in recipes]
    labels = {spec.key: spec.label for spec in rows}
    report = ProofReport(console, titles, labels)
    with ProofProgress(console, titles, labels) as progress:
        for event in happening:
            progress.on_event(event)
            report.on_event(event)
    if report.compared:
        report.explain_steps(default=steps is None)
        if layers:
            report.by_layer(networks, list(recipes))
    sys.exit(report.conclude())


def _check_choices(
    everything: bool, layers: bool, network: Any, hidden: str | None, others: bool
) -> None:
    """Raise an error if options that exclude each other were given."""
    if everything and (network or hidden is not None or others):
        raise typer.BadParameter(
            "it stands for every network and optimizer; leave the others out", param_hint="--all"
        )
    if layers and (network or hidden is not None):
        raise typer.BadParameter(
            "it stands for networks of its own; leave --network and --hidden out",
            param_hint="--layers",
        )


@dataclass(frozen=True)
class _Chosen:
    """The options that decide which networks and recipes are verified."""

    network: list[str] | None
    hidden: str | None
    dropout: float
    recipe_name: str | None
    like: str | None
    everything: bool
    layers: bool

    def recipes(
        self, optimizer: list[str] | None, batch_size: str | None, numbers: dict[str, Any]
    ) -> "dict[str, Recipe]":
        """Return each recipe by the name of its optimizer."""
        from ..spec.optimizers import SHORTHANDS

        default = ["sgd"] if self.recipe_name is None else [None]
        names = list(SHORTHANDS) if self.everything else optimizer or default
        if batch_size is None and self.recipe_name is None:
            batch_size = "64"
        recipes: dict[str, Recipe] = {}
        for name in names:
            recipe = o.recipe_of(self.recipe_name, None, batch_size, name, **numbers)
            recipes[name or recipe.optimizer.name] = recipe
        return recipes

    def networks(self, dataset: "Dataset | None") -> "list[Network]":
        """Return the networks, built for a data set if one is given."""
        from ..spec import zoo

        if self.layers:
            return self._specimens(dataset) if dataset else []
        names = list(zoo.ZOO) if self.everything else self.network or [None]
        return [
            o.network_of(name, self.hidden, self.dropout, self.recipe_name, dataset, self.like)
            for name in names
        ]

    def _specimens(self, dataset: "Dataset") -> "list[Network]":
        """Return small networks that hold every layer."""
        from ..parity.specimens import specimens

        networks = specimens(dataset.shape, len(dataset.classes))
        if self.like is None:
            return networks
        return [network.like(self.like) for network in networks]
