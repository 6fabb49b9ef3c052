"""The options that commands share, and what they stand for."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

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
    str, typer.Option("--network", metavar="NAME|FILE", help="classic (784-10-10), custom (784-128-64-10), regularized, or a .json file.")
]
Hidden = Annotated[
    str | None,
    typer.Option("--hidden", metavar="128,64", help="Units of each hidden layer, instead of --network.", show_default=False),
]
DropoutRate = Annotated[float, typer.Option("--dropout", help="Dropout rate after each hidden layer; needs --hidden.")]
Epochs = Annotated[
    int | None, typer.Option("--epochs", help="Default: 500 in full batch, as the original has it; 10 in mini-batches.", show_default=False)
]
BatchSize = Annotated[str, typer.Option("--batch-size", metavar="N|full", help="Samples a step, or full.")]
OptimizerName = Annotated[str, typer.Option("--optimizer", metavar="NAME", help="sgd, momentum, nesterov, adam or rmsprop.")]
Rate = Annotated[
    float | None,
    typer.Option("--rate", help="Learning rate. Default: sgd 0.1, momentum and nesterov 0.01, adam and rmsprop 0.001.", show_default=False),
]
Seed = Annotated[int, typer.Option("--seed", help="Decides weights, order, masks, and the split of a single file.")]
DType = Annotated[str, typer.Option("--dtype", metavar="float32|float64", help="Precision of the run.")]
Randomness = Annotated[
    str, typer.Option("--random", metavar="matched|free", help="Feed every engine the same dropout masks, or let each draw its own.")
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


def network_of(name: str, hidden: str | None, dropout: float) -> "Network":
    """Return the network that the options describe."""
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
    return Network.from_json(_json(Path(name))) if name.endswith(".json") else zoo.get(name)


def recipe_of(epochs: int | None, batch_size: str, optimizer: str, rate: float | None, seed: int, dtype: str, random: str) -> "Recipe":
    """Return the recipe that the options describe."""
    from ..errors import SpecError
    from ..recipe import Recipe
    from ..recipe import optimizer as named

    size: int | Literal["full"] = "full"
    if batch_size != "full":
        try:
            size = int(batch_size)
        except ValueError:
            raise SpecError(f"--batch-size {batch_size!r}: give a whole number, or full") from None
    if epochs is None:
        epochs = DEFAULT_EPOCHS["full" if size == "full" else "mini"]
    unchecked: Any = {"dtype": dtype, "random": random}
    return Recipe(epochs, size, named(optimizer, rate), seed, **unchecked)


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
