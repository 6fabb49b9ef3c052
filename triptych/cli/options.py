"""The options that commands share, and the functions that evaluate them."""

import json
import shlex
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..data.published import NAMES
from ..data.registry import sources_help
from ..spec.optimizers import optimizer_names

if TYPE_CHECKING:
    from rich.console import Console

    from ..data.dataset import Dataset
    from ..data.reading import Options
    from ..spec.network import Network
    from ..spec.recipe import Recipe

LARGEST_JSON = 4 * 2**20  # bytes of a network or recipe; those of this package take a few thousand
DEFAULT_EPOCHS = {"full": 500, "mini": 10}

Data = Annotated[
    str | None,
    typer.Option(
        "--data",
        metavar="NAME|PATH",
        help=f"{', '.join(NAMES)}; or {sources_help()}. "
        "By default: mnist_test.csv if it is here, else MNIST from the cache, else digits.",
        show_default=False,
    ),
]
Size = Annotated[
    str | None,
    typer.Option(
        "--size",
        metavar="N|HxW",
        help="Scale image files to this size in pixels, for example 32 or 28x32.",
        show_default=False,
    ),
]
SkipUnreadable = Annotated[
    bool,
    typer.Option(
        "--skip-unreadable", help="Leave out image files that cannot be read, and name them."
    ),
]
Label = Annotated[
    str | None,
    typer.Option(
        "--label",
        metavar="NAME",
        help="The column with the labels; in a CSV without names, first or last. "
        "Default: label, class, target or y.",
        show_default=False,
    ),
]
Shape = Annotated[
    str | None,
    typer.Option(
        "--shape",
        metavar="HxW[xC]|table",
        help="What a row of numbers in a CSV or .npz is: an image, for example 28x28 or 32x32x3 "
        "(3x32x32: each colour a block of its own), or a table. Default: found out.",
        show_default=False,
    ),
]
White = Annotated[
    int | None,
    typer.Option(
        "--white",
        metavar="N",
        help="Which number is white in the pixels of a CSV, .npz or IDX file, for example 16. "
        "Default: found out; 255, 1, 15 or 16.",
        show_default=False,
    ),
]
NetworkName = Annotated[
    str | None,
    typer.Option(
        "--network",
        metavar="NAME|FILE",
        help="classic (784-10-10, the default), custom (784-128-64-10), regularized, mlp (98 %), "
        "lenet, lenet-bn, cnn, fast (99 %), "
        "best (99.5 %), resnet20, resnet; or a .json file. For convolutions there is a recipe of "
        "the same name.",
        show_default=False,
    ),
]
Hidden = Annotated[
    str | None,
    typer.Option(
        "--hidden",
        metavar="128,64",
        help="Units of each hidden layer, instead of --network.",
        show_default=False,
    ),
]
DropoutRate = Annotated[
    float, typer.Option("--dropout", help="Dropout rate after each hidden layer; needs --hidden.")
]
RecipeName = Annotated[
    str | None,
    typer.Option(
        "--recipe",
        metavar="NAME|FILE",
        help="How to train: a name, or a .json file. Other options override it.",
        show_default=False,
    ),
]
Epochs = Annotated[
    int | None,
    typer.Option(
        "--epochs",
        help="Default: 500 in full batch, as the original has it; 10 in mini-batches.",
        show_default=False,
    ),
]
BatchSize = Annotated[
    str | None,
    typer.Option(
        "--batch-size",
        metavar="N|full",
        help="Samples a step, or full. Default: full.",
        show_default=False,
    ),
]
OptimizerName = Annotated[
    str | None,
    typer.Option(
        "--optimizer",
        metavar="NAME",
        help=f"{optimizer_names()}. Default: sgd.",
        show_default=False,
    ),
]
Rate = Annotated[
    float | None,
    typer.Option(
        "--rate",
        help="Learning rate. Default: the optimizer's own; sgd 0.1, adam 0.001.",
        show_default=False,
    ),
]
Like = Annotated[
    str | None,
    typer.Option(
        "--like",
        metavar="torch|keras",
        help="Whose formulas and defaults hold, in all engines: optimizer, loss, clipping, layers.",
        show_default=False,
    ),
]
Seed = Annotated[
    int | None,
    typer.Option(
        "--seed",
        help="Decides weights, order, masks, and the split of a single file. Default: 0.",
        show_default=False,
    ),
]
DType = Annotated[
    str | None,
    typer.Option(
        "--dtype",
        metavar="float32|float64",
        help="Precision. Default: float32 (verify: float64).",
        show_default=False,
    ),
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
    typer.Option(
        "--engines",
        metavar="LIST",
        help="For example numpy,torch,tensorflow/xla. Default: all.",
        show_default=False,
    ),
]
Backends = Annotated[
    str,
    typer.Option(
        "--backends",
        metavar="default|all",
        help="all: oneDNN, bf16, compiled, XLA and Keras fit, too, each a row of its own.",
    ),
]
Threads = Annotated[int, typer.Option("--threads", min=1, help="Threads of every engine.")]
Device = Annotated[
    str,
    typer.Option(
        "--device",
        metavar="cpu|cuda|mps|auto",
        help="Where the frameworks run; NumPy has the processor only.",
    ),
]
Runs = Annotated[Path, typer.Option("--runs", metavar="FOLDER", help="Where run folders are made.")]


def quoted(*words: str) -> str:
    """Return a command as it is typed into the shell of this system."""
    return subprocess.list2cmdline(words) if sys.platform == "win32" else shlex.join(words)


def reading_of(
    size: str | None,
    skip_unreadable: bool,
    label: str | None = None,
    shape: str | None = None,
    white: int | None = None,
) -> "Options":
    """Return how data is to be read."""
    from ..data.reading import Options
    from ..errors import DataError

    if size is None:
        return Options(None, skip_unreadable, label, shape, white)
    try:
        h, w = map(int, size.lower().split("x")) if "x" in size.lower() else (int(size),) * 2
    except ValueError:
        raise DataError(
            f"--size {size!r}: give pixels, for example 32, or height and width, for example 28x32"
        ) from None
    return Options((h, w), skip_unreadable, label, shape, white)


def network_of(
    name: str | None,
    hidden: str | None,
    dropout: float,
    recipe: str | None = None,
    dataset: "Dataset | None" = None,
    like: str | None = None,
) -> "Network":
    """Return the network that the options describe; by default that of the recipe, or classic.

    It is built for the images and classes of `dataset`, if one is given; a file's is what it is,
    and must fit them. `like` gives its layers a framework's own numbers, of a file's those that it
    leaves out.
    """
    from ..spec.network import Network

    if hidden is None and not dropout and name is not None and name.endswith(".json"):
        data = _json(Path(name))
        with _naming(name):
            network = Network.from_json(
                {"like": like} | data if like is not None and isinstance(data, dict) else data
            )
        if dataset:
            network.check_fits(dataset.shape, len(dataset.classes))
        return network
    network = _built(name, hidden, dropout, recipe, dataset)
    return network if like is None else network.like(like)


def _built(
    name: str | None,
    hidden: str | None,
    dropout: float,
    recipe: str | None,
    dataset: "Dataset | None",
) -> "Network":
    from ..errors import SpecError, suggest
    from ..spec import zoo

    if name is not None and hidden is not None:
        raise SpecError(
            f"--network {name} and --hidden {hidden} both name a network to train; leave one of "
            "them out"
        )
    built_for: dict[str, Any] = (
        {"shape": dataset.shape, "classes": len(dataset.classes)} if dataset else {}
    )
    if hidden is not None:
        try:
            widths = [int(width) for width in hidden.split(",")] if hidden.strip() else []
        except ValueError:
            raise SpecError(
                f"--hidden {hidden!r}: give whole numbers with commas between them, for example "
                "128,64"
            ) from None
        return zoo.dense("-".join(map(str, ["dense", *widths])), widths, dropout, **built_for)
    if dropout:
        raise SpecError("--dropout needs --hidden, for example: --hidden 128,64 --dropout 0.2")
    if name is not None and name not in zoo.ZOO:
        raise SpecError(
            f"network {name!r} is unknown; {suggest(name, zoo.ZOO)} (for other widths: --hidden "
            "128,64)"
        )
    if name is None:
        name = recipe if recipe in zoo.ZOO else "classic"
    if dataset and dataset.table is not None:
        _refuse_windows(zoo.get(name))
    return zoo.get(name, **built_for)


def _refuse_windows(network: "Network") -> None:
    """Raise `SpecError` if a network needs neighbouring pixels, which a table does not have."""
    from ..errors import SpecError

    if network.has_windows:
        raise SpecError(
            f"network {network.name!r} has convolutions or pooling, for images; the data is a "
            "table: "
            "use --hidden 16, or --network mlp (a CSV of images: --shape HxW)"
        )


def recipe_named(recipe: str | None, network: str | None, hidden: str | None) -> str | None:
    """Return the name of the recipe: its own, or that of a network that has a recipe."""
    from ..spec import zoo

    return network if recipe is None and hidden is None and network in zoo.RECIPES else recipe


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
    """Return the recipe that the options describe.

    It is a named one, a file or the default, with the given options in their places. `others` are
    keys of a recipe file; None means not given.
    """
    from ..errors import SpecError
    from ..spec import zoo
    from ..spec.recipe import Recipe
    from ..spec.serialization import to_json

    data: Any = (
        {}
        if recipe is None
        else _json(Path(recipe))
        if recipe.endswith(".json")
        else zoo.recipe(recipe)
    )
    with _naming(recipe):
        # Mistakes in a file are reported even if an option replaces the wrong value.
        base = Recipe.from_json(data)
    data = dict(data) | {name: value for name, value in others.items() if value is not None}
    if batch_size is not None:
        try:
            data["batch_size"] = "full" if batch_size == "full" else int(batch_size)
        except ValueError:
            raise SpecError(f"--batch-size {batch_size!r}: give a whole number, or full") from None
    if warmup is not None and not 0 <= warmup < inf:
        raise SpecError(f"--warmup {warmup:g}: give a number of epochs, 0 or more")
    if schedule is not None or warmup is not None:
        begun = to_json(base.schedule) if schedule is None else {"name": schedule}
        data["schedule"] = begun | ({} if warmup is None else {"warmup": warmup})
    if optimizer is not None or rate is not None:
        begun = data.get("optimizer", {"name": "sgd"}) if optimizer is None else {"name": optimizer}
        data["optimizer"] = begun | ({} if rate is None else {"rate": rate})
    if epochs is not None:
        data["epochs"] = epochs
    elif recipe is None:
        data["epochs"] = DEFAULT_EPOCHS[
            "mini" if data.get("batch_size", "full") != "full" else "full"
        ]
    return Recipe.from_json(data)


@contextmanager
def _naming(name: str | None) -> Generator[None]:
    """Put the name of a file before what is wrong in it."""
    from ..errors import SpecError, one_line

    try:
        yield
    except SpecError as error:
        if name is None or not name.endswith(".json"):
            raise
        raise SpecError(f"{one_line(name, 100)}: {error}") from None


def say_batch(console: "Console", recipe: "Recipe", samples: int, kind: str) -> None:
    """Print a line if a batch is larger than the training split.

    Parameters
    ----------
    console : Console
        Where it is printed.
    recipe : Recipe
        With the batch size.
    samples : int
        Size of the training split.
    kind : str
        What the samples are, in the plural.
    """
    from .say import say

    if recipe.batch_size != "full" and recipe.batch_size > samples:
        batch = f"Batch size {recipe.batch_size:,} is larger than the training split"
        say(console, f"{batch}: every step takes all {samples:,} {kind}.")


def all_backends(backends: str) -> bool:
    """Return whether every backend was requested: `all`, or `default`."""
    if backends not in ("default", "all"):
        raise typer.BadParameter(f"{backends!r}; use default or all", param_hint="--backends")
    return backends == "all"


def engines_of(engines: str | None) -> list[str] | None:
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


def _json(path: Path) -> Any:
    from ..errors import SpecError

    try:
        size = path.stat().st_size
        if not path.is_file() and not path.is_dir():
            raise SpecError(f"{path}: not a regular file")
        if size > LARGEST_JSON:
            raise SpecError(
                f"{path}: a file of at most {LARGEST_JSON // 2**20} MiB is needed, and this one "
                f"has {size:,} bytes"
            )
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SpecError(f"{path}: cannot be read ({error.strerror})") from None
    except ValueError as error:
        raise SpecError(f"{path}: not JSON ({error})") from None
    except RecursionError:
        raise SpecError(f"{path}: brackets are nested too deeply") from None
