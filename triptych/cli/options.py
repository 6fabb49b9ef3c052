"""The options that commands share, and what they stand for."""

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from ..data import Dataset
    from ..network import Network
    from ..recipe import Recipe

DEFAULT_EPOCHS = {"full": 500, "mini": 10}

Data = Annotated[
    str | None,
    typer.Option(
        "--data",
        metavar="NAME|PATH",
        help="digits, mnist, fashion-mnist, kmnist; or a .csv, .csv.gz, .npz or a folder of IDX files. "
        "By default: mnist_test.csv if it is here, else MNIST from the cache, else digits.",
        show_default=False,
    ),
]
NetworkName = Annotated[
    str | None,
    typer.Option(
        "--network",
        metavar="NAME|FILE",
        help="classic (784-10-10, the default), custom (784-128-64-10), regularized, or a .json file.",
        show_default=False,
    ),
]
Hidden = Annotated[
    str | None,
    typer.Option("--hidden", metavar="128,64", help="Units of each hidden layer, instead of --network.", show_default=False),
]
DropoutRate = Annotated[float, typer.Option("--dropout", help="Dropout rate after each hidden layer; needs --hidden.")]
RecipeName = Annotated[
    str | None,
    typer.Option(
        "--recipe", metavar="NAME|FILE", help="How to train: a name, or a .json file. Other options override it.", show_default=False
    ),
]
Epochs = Annotated[
    int | None, typer.Option("--epochs", help="Default: 500 in full batch, as the original has it; 10 in mini-batches.", show_default=False)
]
BatchSize = Annotated[
    str | None, typer.Option("--batch-size", metavar="N|full", help="Samples a step, or full. Default: full.", show_default=False)
]
OptimizerName = Annotated[
    str | None,
    typer.Option("--optimizer", metavar="NAME", help="sgd, momentum, nesterov, adam or rmsprop. Default: sgd.", show_default=False),
]
Rate = Annotated[
    float | None,
    typer.Option("--rate", help="Learning rate. Default: sgd 0.1, momentum and nesterov 0.01, adam and rmsprop 0.001.", show_default=False),
]
Seed = Annotated[
    int | None,
    typer.Option("--seed", help="Decides weights, order, masks, and the split of a single file. Default: 0.", show_default=False),
]
DType = Annotated[
    str | None,
    typer.Option("--dtype", metavar="float32|float64", help="Precision. Default: float32 (verify: float64).", show_default=False),
]
Randomness = Annotated[
    str | None,
    typer.Option(
        "--random",
        metavar="matched|free",
        help="Feed every engine the same dropout masks (default), or let each draw its own.",
        show_default=False,
    ),
]
Engines = Annotated[
    str | None,
    typer.Option("--engines", metavar="LIST", help="For example numpy,torch,tensorflow/xla. Default: all.", show_default=False),
]
Backends = Annotated[
    str, typer.Option("--backends", metavar="default|all", help="all: also oneDNN, compiled, XLA and Keras fit, each a row of its own.")
]
Threads = Annotated[int, typer.Option("--threads", min=1, help="Threads of every engine.")]
Device = Annotated[str, typer.Option("--device", metavar="cpu|cuda|mps|auto", help="Where PyTorch and TensorFlow run.")]
Runs = Annotated[Path, typer.Option("--runs", metavar="FOLDER", help="Where run folders are made.")]


def network_of(name: str | None, hidden: str | None, dropout: float, recipe: str | None = None) -> "Network":
    """Return the network that the options describe; where none is named, that of the recipe's name, or classic."""
    from .. import zoo
    from ..errors import SpecError
    from ..network import Network

    if hidden is not None:
        try:
            widths = [int(width) for width in hidden.split(",") if width.strip()]
        except ValueError:
            raise SpecError(f"--hidden {hidden!r}: give whole numbers with commas between them, for example 128,64") from None
        return zoo.dense("-".join(map(str, ["dense", *widths])), widths, dropout)
    if dropout:
        raise SpecError("--dropout needs --hidden, for example: --hidden 128,64 --dropout 0.2")
    if name is None:
        name = recipe if recipe in zoo.ZOO else "classic"
    return Network.from_json(_json(Path(name))) if name.endswith(".json") else zoo.get(name)


def recipe_of(
    recipe: str | None,
    epochs: int | None = None,
    batch_size: str | None = None,
    optimizer: str | None = None,
    rate: float | None = None,
    schedule: str | None = None,
    warmup: float | None = None,
    **others: Any,
) -> "Recipe":
    """Return the recipe that the options describe: a named one, a file or the original's, with what was given in its place.

    `others` are fields of the recipe by name; None stands for not given.
    """
    from .. import zoo
    from ..errors import SpecError
    from ..recipe import Recipe
    from ..recipe import optimizer as named
    from ..schedules import schedule as named_schedule

    base = Recipe() if recipe is None else Recipe.from_json(_json(Path(recipe))) if recipe.endswith(".json") else zoo.recipe(recipe)
    given = {name: value for name, value in others.items() if value is not None}
    if batch_size is not None:
        try:
            given["batch_size"] = "full" if batch_size == "full" else int(batch_size)
        except ValueError:
            raise SpecError(f"--batch-size {batch_size!r}: give a whole number, or full") from None
    if schedule is not None or warmup is not None:
        begun = base.schedule if schedule is None else named_schedule(schedule)
        given["schedule"] = begun if warmup is None else replace(begun, warmup=warmup)
    if epochs is None and recipe is None:
        epochs = DEFAULT_EPOCHS["mini" if given.get("batch_size", "full") != "full" else "full"]
    if optimizer is not None:
        given["optimizer"] = named(optimizer, rate)
    elif rate is not None:
        given["optimizer"] = replace(base.optimizer, rate=rate)
    return replace(base, **given | ({} if epochs is None else {"epochs": epochs}))


def all_backends(backends: str) -> bool:
    """Return whether every backend is asked for; a usage error for any other word than all and default."""
    if backends not in ("default", "all"):
        raise typer.BadParameter(f"{backends!r}; use default or all", param_hint="--backends")
    return backends == "all"


def engines_of(engines: str | None) -> list[str] | None:
    return None if engines is None else [name.strip() for name in engines.split(",") if name.strip()]


def data_line(dataset: "Dataset") -> str:
    """Return the one line that says which data, and how to get MNIST."""
    h, w = dataset.train.images.shape[1:3]
    counts = f"{len(dataset.train):,} training and {len(dataset.test):,} test images of {h}×{w}, 10 classes"
    line = f"Data: {dataset.name}, {counts} ({dataset.source})."
    if dataset.name != "mnist":
        line += " For the whole of MNIST: triptych data fetch mnist"
    return line


def _json(path: Path) -> Any:
    from ..errors import SpecError

    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SpecError(f"{path}: cannot be read ({error.strerror})") from None
    except ValueError as error:
        raise SpecError(f"{path}: not JSON ({error})") from None
