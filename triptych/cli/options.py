"""The options that several commands have: type, name and help of each.

`triptych.cli.option_groups` puts those together that belong together.
"""

from pathlib import Path
from typing import Annotated

import typer

from ..data.published import NAMES
from ..data.registry import sources_help
from ..spec.losses import SoftmaxCrossEntropy, loss_names
from ..spec.optimizers import optimizer_names

TrainedPath = Annotated[
    Path, typer.Argument(metavar="RUN", help="A run folder of triptych train, or a state file.")
]
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
LossName = Annotated[
    str | None,
    typer.Option(
        "--loss",
        metavar="NAME",
        help=f"{loss_names()}. Default: {SoftmaxCrossEntropy.name}.",
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
Backend = Annotated[
    str | None,
    typer.Option(
        "--backend",
        metavar="NAME",
        help="How the engine runs. Default: its first.",
        show_default=False,
    ),
]
Runs = Annotated[Path, typer.Option("--runs", metavar="FOLDER", help="Where run folders are made.")]
Batch = Annotated[
    Path | None,
    typer.Option(
        "--batch",
        metavar="FILE",
        help="An npz file with x (x2, … for further inputs), y, and val_loss where a plateau rule "
        "or a callback needs it. Not needed with a trace, which holds its batch.",
        show_default=False,
    ),
]
JsonFile = Annotated[
    Path | None,
    typer.Option("--json", metavar="FILE", help="Write the answer as JSON.", show_default=False),
]
