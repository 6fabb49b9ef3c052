"""What the three scripts at the root share, so that each is free to show its network: data, first weights, batch order.

Arrays are as most textbooks of PyTorch and TensorFlow have them, a sample in each row; the NumPy script transposes.
"""

import os
import sys

from .search_path import leave_out

leave_out(os.path.dirname(sys.argv[0]) or os.curdir)  # of a script that was copied into a folder of other files

import argparse
import io
import signal
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from . import data as sources
from . import files, state, zoo
from .cli.options import data_line
from .errors import TriptychError
from .optimizers import SGD
from .plan import Schedule
from .recipe import Recipe
from .runs import Run

Rows = NDArray[np.int32] | slice


def arguments(description: str, epochs: int, batch_size: int | Literal["full"]) -> argparse.Namespace:
    """Parse ``--data``, ``--epochs``, ``--batch-size`` and ``--seed``; without any of them a script runs on what is here."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", metavar="NAME|PATH", help="digits, mnist, a CSV, an .npz or a folder (default: what is here)")
    parser.add_argument("--epochs", type=int, default=epochs, help=f"passes over the training data (default {epochs})")
    parser.add_argument("--batch-size", default=str(batch_size), metavar="N|full", help=f"samples a step (default {batch_size})")
    parser.add_argument("--seed", type=int, default=0, help="decides weights, order and split (default 0)")
    chosen = parser.parse_args()
    if chosen.batch_size != "full" and not chosen.batch_size.isdigit():
        parser.error(f"--batch-size {chosen.batch_size!r}: give a whole number, or full")
    if chosen.seed < 0:
        parser.error(f"--seed {chosen.seed}: give a whole number of at least 0")
    signal.signal(signal.SIGINT, _stop)  # Ctrl-C: files are written at the end, or not at all
    chosen.batch_size = "full" if chosen.batch_size == "full" else int(chosen.batch_size)
    return chosen


def _stop(*_: Any) -> None:
    sys.exit(130)


@dataclass(frozen=True)
class Lesson:
    """Data, first weights and batch order: the same numbers in all three scripts.

    Attributes
    ----------
    x_train, x_test : ndarray, shape (samples, 784)
        Pixels in [0, 1].
    y_train, y_test : ndarray of int32, shape (samples,)
    weights : dict of str to ndarray
        ``hidden/kernel`` (784, 10), ``hidden/bias`` (10,), ``output/kernel`` (10, 10), ``output/bias`` (10,).
    schedule : Schedule
    folder : Path
        Where a script leaves what it makes.
    """

    x_train: NDArray[Any]
    y_train: NDArray[np.int32]
    x_test: NDArray[Any]
    y_test: NDArray[np.int32]
    weights: dict[str, NDArray[Any]]
    schedule: Schedule
    folder: Path

    @property
    def epochs(self) -> int:
        return self.schedule.recipe.epochs

    def batches(self, epoch: int) -> Iterator[Rows]:
        """Yield the rows of each batch of an epoch; in full batch, all rows as they lie."""
        for plan in self.schedule.epoch(epoch):
            yield from [slice(None)] * len(plan) if plan.order is None else plan.order


def prepare(
    dataset: sources.Dataset,
    epochs: int,
    batch_size: int | Literal["full"],
    seed: int,
    dtype: Literal["float32", "float64"] = "float32",
    folder: Path = Path(),
) -> Lesson:
    """Return the lesson for a data set: the 784-10-10 network of the zoo, SGD 0.1."""
    network, recipe = zoo.get("classic"), Recipe(epochs, batch_size, SGD(0.1), seed, dtype)
    network.check_fits(dataset.shape, len(dataset.classes))
    x_train, x_test = (split.pixels(dtype).reshape(len(split), -1) for split in (dataset.train, dataset.test))
    schedule = Schedule(network, recipe, len(dataset.train))
    return Lesson(x_train, dataset.train.labels, x_test, dataset.test.labels, state.initial(network, recipe), schedule, folder)


def start(chosen: argparse.Namespace, kind: str) -> Lesson:
    """Load the data, say which it is, make ``runs/<time>-<kind>``; a user's mistake ends the script with one line."""
    try:
        dataset = sources.load(chosen.data, chosen.seed)
        lesson = prepare(dataset, chosen.epochs, chosen.batch_size, chosen.seed)
        with Run.create(Path("runs"), kind) as run:
            lesson = replace(lesson, folder=run.folder)
    except TriptychError as error:
        print(f"{Path(sys.argv[0]).name}: {error}", file=sys.stderr)
        sys.exit(2)
    print(data_line(dataset))
    return lesson


def show_digits(x: NDArray[Any], labels: NDArray[np.int32], predicted: NDArray[np.integer[Any]], path: Path) -> None:
    """Draw test digits with prediction and label: a PNG, and a window where there is a display."""
    plt = _pyplot()
    figure, axes = plt.subplots(1, len(x), figsize=(1.6 * len(x), 2.2), squeeze=False)
    for axis, image, label, prediction in zip(axes[0], x, labels, predicted, strict=True):
        axis.imshow(image.reshape(28, 28), cmap="gray")
        axis.set_title(f"{prediction} (is {label})", color="black" if prediction == label else "crimson")
        axis.axis("off")
    _finish(plt, figure, path)


def show_history(history: dict[str, list[float]], path: Path) -> None:
    """Draw loss and accuracy over the epochs of a Keras history."""
    plt = _pyplot()
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.2))
    for axis, name in zip(axes, ("loss", "accuracy"), strict=True):
        for key in (name, f"val_{name}"):
            axis.plot(range(1, len(history[key]) + 1), history[key], label="validation" if key.startswith("val_") else "training")
        axis.set(xlabel="epoch", ylabel=name)
        axis.legend()
    _finish(plt, figure, path)


def _pyplot() -> Any:
    import matplotlib as mpl

    if not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY") or sys.platform in ("win32", "darwin")):
        mpl.use("agg")
    import matplotlib.pyplot as plt

    return plt


def _finish(plt: Any, figure: Any, path: Path) -> None:
    figure.tight_layout()
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=120)
    files.write(path, content.getvalue())
    print(f"wrote {path}")
    if plt.get_backend().lower() != "agg":
        plt.show()
    plt.close(figure)
