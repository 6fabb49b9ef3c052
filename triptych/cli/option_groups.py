"""Options that belong together, as frozen dataclasses, and a decorator that gives them to commands.

A command names a group as the type of one parameter. On the command line each field of the group is
an option of its own, at the place of the parameter; the command gets the group, which has a method
that turns the options into the object they describe.
"""

import inspect
from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass, replace
from functools import wraps
from math import inf
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..core.registry import REFERENCE, entries
from . import options as o

if TYPE_CHECKING:
    from rich.console import Console

    from ..core.selection import Selection
    from ..data.dataset import Dataset
    from ..data.reading import Options
    from ..spec.network import Network
    from ..spec.recipe import Recipe
    from ..training.new_data import NewData
    from ..training.trained import TrainedRun

EPOCHS_IN_FULL_BATCH = 500
EPOCHS_IN_MINI_BATCHES = 10


def with_groups(command: Callable[..., None]) -> Callable[..., None]:
    """Let typer see each field of a group as an option; a decorator for commands.

    Parameters
    ----------
    command : callable
        All of its parameters are given by name. A parameter whose type is a dataclass is a group.
    """
    parameters: list[inspect.Parameter] = []
    groups: dict[str, Any] = {}
    for parameter in inspect.signature(command).parameters.values():
        if is_dataclass(parameter.annotation):
            groups[parameter.name] = parameter.annotation
            parameters.extend(_parameters(parameter.annotation))
        else:
            parameters.append(parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY))

    @wraps(command)
    def call(**given: Any) -> None:
        arguments: dict[str, Any] = {}
        for name, group in groups.items():
            options = {field.name: given.pop(field.name) for field in fields(group)}
            arguments[name] = group(**options)
        command(**arguments, **given)

    # typer reads these in place of the signature of `call`.
    call.__signature__ = inspect.Signature(parameters)  # pyright: ignore[reportAttributeAccessIssue]
    call.__annotations__ = {each.name: each.annotation for each in parameters}
    return call


def _parameters(group: Any) -> list[inspect.Parameter]:
    """Return a parameter for each field of a group."""
    kind = inspect.Parameter.KEYWORD_ONLY
    return [
        inspect.Parameter(field.name, kind, default=field.default, annotation=field.type)
        for field in fields(group)
    ]


@dataclass(frozen=True)
class DataOptions:
    """Which data is read, and how."""

    data: o.Data = None
    size: o.Size = None
    skip_unreadable: o.SkipUnreadable = False
    label: o.Label = None
    shape: o.Shape = None
    white: o.White = None

    @property
    def reading(self) -> "Options":
        """How the data is to be read."""
        from ..data.reading import Options

        size = None if self.size is None else _size(self.size)
        return Options(size, self.skip_unreadable, self.label, self.shape, self.white)

    def read(
        self, console: "Console", seed: int, stream: bool = False, may_stream: bool = False
    ) -> "Dataset":
        """Load the data, and print which it is; stream it, or do so if it is large."""
        from .loading import load

        options = replace(self.reading, stream=stream)
        return load(console, self.data, seed, options, may_stream)


@dataclass(frozen=True)
class NewDataOptions:
    """How data is read that a trained network classifies; by default as in its training."""

    invert: Annotated[
        bool,
        typer.Option(
            "--invert",
            help="Exchange light and dark: for dark digits on light paper, where the training "
            "images are light on dark.",
        ),
    ] = False
    skip_unreadable: o.SkipUnreadable = False
    label: o.Label = None
    shape: o.Shape = None
    white: o.White = None

    def read(self, console: "Console", trained: "TrainedRun", sources: list[str]) -> "NewData":
        """Load what the trained network shall classify."""
        from .. import api
        from .loading import Decoding

        with Decoding(console) as progress:
            return api.load_new_data(
                trained,
                *sources,
                invert=self.invert,
                label=self.label,
                shape=self.shape,
                white=self.white,
                skip_unreadable=self.skip_unreadable,
                on_progress=progress.see,
            )


@dataclass(frozen=True)
class InferenceOptions:
    """In which engine a trained network computes."""

    engine: Annotated[
        str,
        typer.Option("--engine", metavar="NAME", help=f"One of {', '.join(entries())}."),
    ] = REFERENCE
    backend: o.Backend = None
    device: o.Device = "cpu"


def _size(text: str) -> tuple[int, int]:
    """Return height and width, in pixels, from ``32`` or ``28x32``."""
    from ..errors import DataError

    sides = text.lower().split("x")
    if len(sides) == 1:
        sides *= 2
    try:
        height, width = map(int, sides)
    except ValueError:
        raise DataError(
            f"--size {text!r}: give pixels, for example 32, or height and width, for example 28x32"
        ) from None
    return height, width


@dataclass(frozen=True)
class RecipeOptions:
    """How a network is trained."""

    recipe: o.RecipeName = None
    epochs: o.Epochs = None
    batch_size: o.BatchSize = None
    optimizer: o.OptimizerName = None
    rate: o.Rate = None
    loss: o.LossName = None
    like: o.Like = None

    def for_network(self, network: "NetworkOptions") -> "RecipeOptions":
        """Return these options with the recipe of a named network, if they name none."""
        from ..spec import zoo

        if self.recipe is None and network.hidden is None and network.network in zoo.RECIPES:
            return replace(self, recipe=network.network)
        return self

    def build(
        self, schedule: str | None = None, warmup: float | None = None, **others: Any
    ) -> "Recipe":
        """Return the named recipe, the one in a file or the default, with the given options.

        Parameters
        ----------
        schedule : str, optional
            The name of a schedule.
        warmup : float, optional
            Epochs of its warm-up.
        **others
            Further keys of a recipe file, such as ``seed``; None means not given.

        Raises
        ------
        SpecError
            If a name is unknown, or a value makes no sense.
        """
        from ..spec.recipe import Recipe
        from ..training.described import naming, recipe_json

        data = {} if self.recipe is None else recipe_json(self.recipe)
        # Mistakes in a file are reported even if an option replaces the wrong value.
        with naming(self.recipe):
            base = Recipe.from_json(data)
        given = {"like": self.like, "batch_size": self._batch_size(), **others}
        data: dict[str, Any] = dict(data)
        data |= {name: value for name, value in given.items() if value is not None}
        if schedule is not None or warmup is not None:
            data["schedule"] = _schedule(base, schedule, warmup)
        if self.optimizer is not None:
            data["optimizer"] = {"name": self.optimizer}
        if self.rate is not None:
            data["optimizer"] = data.get("optimizer", {"name": "sgd"}) | {"rate": self.rate}
        if self.loss is not None:
            # The penalty on kernels has the same meaning in every loss, other settings do not.
            data["loss"] = {"name": self.loss, "l2": base.loss.l2}
        if self.epochs is not None:
            data["epochs"] = self.epochs
        elif self.recipe is None:
            is_full = data.get("batch_size", "full") == "full"
            data["epochs"] = EPOCHS_IN_FULL_BATCH if is_full else EPOCHS_IN_MINI_BATCHES
        return Recipe.from_json(data)

    def _batch_size(self) -> int | str | None:
        from ..errors import SpecError

        if self.batch_size is None or self.batch_size == "full":
            return self.batch_size
        try:
            return int(self.batch_size)
        except ValueError:
            raise SpecError(
                f"--batch-size {self.batch_size!r}: give a whole number, or full"
            ) from None


def _schedule(base: "Recipe", name: str | None, warmup: float | None) -> dict[str, Any]:
    """Return the schedule of a recipe with another name, another warm-up, or both."""
    from ..errors import SpecError
    from ..spec.serialization import to_json

    if warmup is not None and not 0 <= warmup < inf:
        raise SpecError(f"--warmup {warmup:g}: give a number of epochs, 0 or more")
    schedule = to_json(base.schedule) if name is None else {"name": name}
    return schedule if warmup is None else schedule | {"warmup": warmup}


@dataclass(frozen=True)
class NetworkOptions:
    """Which network is trained."""

    network: o.NetworkName = None
    hidden: o.Hidden = None
    dropout: o.DropoutRate = 0.0

    @property
    def is_named(self) -> bool:
        """Whether an option says which network it is."""
        return self.network is not None or self.hidden is not None

    def build(
        self, recipe: RecipeOptions | None = None, dataset: "Dataset | None" = None
    ) -> "Network":
        """Return the network that the options describe.

        Parameters
        ----------
        recipe : RecipeOptions, optional
            The network of its name is the default, or else ``classic``. Its ``like`` decides which
            framework's defaults the layers have; in a file, those that the file leaves out.
        dataset : Dataset, optional
            The network is built for its images and classes; one from a file must fit them.

        Raises
        ------
        SpecError
            If the network is unknown, makes no sense, or does not fit the data.
        """
        from ..training.described import is_file, network_from_file

        recipe = recipe or RecipeOptions()
        like = recipe.like
        if self.hidden is None and not self.dropout and is_file(self.network):
            return network_from_file(self.network, like, dataset)
        network = self._built(recipe.recipe, dataset)
        return network if like is None else network.like(like)

    def _built(self, recipe: str | None, dataset: "Dataset | None") -> "Network":
        """Return a network of the zoo, or one of dense layers."""
        from ..errors import SpecError
        from ..spec import zoo
        from ..training.described import dense_network, named_network

        if self.network is not None and self.hidden is not None:
            raise SpecError(
                f"--network {self.network} and --hidden {self.hidden} both name a network to "
                "train; leave one of them out"
            )
        if self.hidden is not None:
            return dense_network(_widths(self.hidden), self.dropout, dataset)
        if self.dropout:
            raise SpecError("--dropout needs --hidden, for example: --hidden 128,64 --dropout 0.2")
        of_recipe = recipe if recipe in zoo.ZOO else None
        return named_network(self.network or of_recipe or "classic", dataset)


def _widths(text: str) -> list[int]:
    """Return the units of each hidden layer from ``128,64``; none from an empty text."""
    from ..errors import SpecError

    try:
        return [int(width) for width in text.split(",")] if text.strip() else []
    except ValueError:
        raise SpecError(
            f"--hidden {text!r}: give whole numbers with commas between them, for example 128,64"
        ) from None


def check_before_reading(data: DataOptions, network: NetworkOptions, recipe: RecipeOptions) -> None:
    """Raise the error of a mistake in these options, before the data is read, which takes long."""
    _ = data.reading
    network.build(recipe)


@dataclass(frozen=True)
class EngineOptions:
    """Which engines take part, and where they run."""

    engines: o.Engines = None
    backends: o.Backends = "default"
    threads: o.Threads = 1
    device: o.Device = "cpu"

    def select(self) -> "Selection":
        """Return the rows that take part; raise an error if an engine or device is unknown."""
        from ..core.selection import select

        names = engine_names(self.engines)
        return select(names, all_backends(self.backends), threads=self.threads, device=self.device)


def all_backends(backends: str) -> bool:
    """Return whether every backend was requested: `all`, or `default`."""
    if backends not in ("default", "all"):
        raise typer.BadParameter(f"{backends!r}; use default or all", param_hint="--backends")
    return backends == "all"


def engine_names(engines: str | None) -> list[str] | None:
    """Return the names of engines in an option.

    Raises
    ------
    EngineError
        Where there is none, or one twice.
    """
    from ..errors import EngineError

    if engines is None:
        return None
    names = [name.strip() for name in engines.split(",")]
    if not all(names):
        raise EngineError(
            f"--engines {engines!r}: give names with commas between them, for example numpy,torch"
        )
    if len(set(names)) < len(names):
        raise EngineError(f"--engines {engines!r}: names an engine twice")
    return names
