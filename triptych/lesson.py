"""What the three scripts at the root share, so that each is free to show its network: data, first weights, batch order.

Arrays are as most textbooks of PyTorch and TensorFlow have them, a sample in each row; the NumPy script transposes.
"""

import os
import sys

from .process.search_path import leave_out, load_matplotlib, require_packages

require_packages()
leave_out(
    os.path.dirname(sys.argv[0]) or os.curdir
)  # of a script that was copied into a folder of other files

from .process import machine

# One thread, like each engine of `triptych compare`. A framework reads these variables once, when it is imported, so this
# comes before NumPy. What is set already is kept: a worker of the benchmarks has its own number of threads. "cuda" leaves
# a GPU visible.
for _name, _value in machine.environment(1, "cuda").items():
    os.environ.setdefault(_name, _value)

import argparse
import io
import signal
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_info

from .core import files, notices, registry, state
from .core.planner import BatchPlanner
from .data import loading as sources
from .data.dataset import DIGITS
from .errors import TriptychError
from .spec import zoo
from .spec.optimizers import SGD
from .spec.recipe import Recipe
from .training.run_folder import Run

Rows = NDArray[np.int32] | slice


def arguments(
    description: str, epochs: int, batch_size: int | Literal["full"]
) -> argparse.Namespace:
    """Parse ``--data``, ``--epochs``, ``--batch-size`` and ``--seed``; without any of them a script runs on what is here."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--data",
        metavar="NAME|PATH",
        help="digits, mnist, a CSV, an .npz or a folder (default: what is here)",
    )
    parser.add_argument(
        "--epochs",
        type=int,
        default=epochs,
        help=f"passes over the training data (default {epochs})",
    )
    parser.add_argument(
        "--batch-size",
        default=str(batch_size),
        metavar="N|full",
        help=f"samples a step (default {batch_size})",
    )
    parser.add_argument(
        "--seed", type=int, default=0, help="decides weights, order and split (default 0)"
    )
    chosen = parser.parse_args()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(
            errors="replace"
        )  # what the terminal's encoding lacks becomes a question mark
    if chosen.batch_size != "full" and not chosen.batch_size.isdigit():
        parser.error(f"--batch-size {chosen.batch_size!r}: give a whole number, or full")
    if chosen.seed < 0:
        parser.error(f"--seed {chosen.seed}: give a whole number of at least 0")
    signal.signal(signal.SIGINT, _stop)  # Ctrl-C: files are written at the end, or not at all
    if hasattr(signal, "SIGPIPE"):
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # as in: python SCRIPT | head
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
    schedule : BatchPlanner
    folder : Path
        Where a script leaves what it makes.
    """

    x_train: NDArray[Any]
    y_train: NDArray[np.int32]
    x_test: NDArray[Any]
    y_test: NDArray[np.int32]
    weights: dict[str, NDArray[Any]]
    schedule: BatchPlanner
    folder: Path

    @property
    def epochs(self) -> int:
        return self.schedule.recipe.epochs

    def batches(self, epoch: int) -> Iterator[Rows]:
        """Yield the rows of each batch of an epoch; in full batch, all rows as they lie."""
        for plan in self.schedule.epoch(epoch):
            yield from [slice(None)] * len(plan) if plan.indices is None else plan.indices


def prepare(
    dataset: sources.Dataset,
    epochs: int,
    batch_size: int | Literal["full"],
    seed: int,
    dtype: Literal["float32", "float64"] = "float32",
    folder: Path = Path(),
    hidden: Sequence[int] = (10,),
) -> Lesson:
    """Return the lesson for a data set: a dense network for 784 pixels and 10 classes, SGD 0.1.

    Parameters
    ----------
    dataset : Dataset
        Grey images of 28×28 pixels in 10 classes.
    epochs : int
        Passes over the training data.
    batch_size : int or "full"
        Samples a step.
    seed : int
        Decides the first weights and the order of the samples.
    dtype : {"float32", "float64"}
        Of pixels and weights.
    folder : Path
        Where a script leaves what it makes.
    hidden : sequence of int
        Units of each hidden layer.
    """
    network = zoo.dense("classic", hidden)
    recipe = Recipe(epochs, batch_size, SGD(0.1), seed, dtype)
    network.check_fits(dataset.shape, len(dataset.classes))
    x_train, x_test = (
        split.pixels(dtype).reshape(len(split), -1) for split in (dataset.train, dataset.test)
    )
    schedule = BatchPlanner(network, recipe, len(dataset.train))
    return Lesson(
        x_train,
        dataset.train.labels,
        x_test,
        dataset.test.labels,
        state.initial(network, recipe),
        schedule,
        folder,
    )


def start(chosen: argparse.Namespace, kind: str, hidden: Sequence[int] = (10,)) -> Lesson:
    """Load the data, make a run folder, print which data and how much training; a user's mistake ends the script with one line.

    The frameworks' own random numbers are seeded, too: whatever a student adds to a script is decided by ``--seed``.

    Parameters
    ----------
    chosen : Namespace
        What `arguments` returned.
    kind : str
        The last part of the run folder's name.
    hidden : sequence of int
        Units of each hidden layer.
    """
    try:
        dataset = sources.load(chosen.data, chosen.seed)
        if dataset.shape != zoo.GREY or len(dataset.classes) != len(DIGITS):
            needed = "a lesson's network reads grey images of 28×28 in ten classes"
            raise TriptychError(
                f"{dataset.source}: {needed}; for this data: triptych train numpy --data {chosen.data}"
            )
        lesson = prepare(dataset, chosen.epochs, chosen.batch_size, chosen.seed, hidden=hidden)
        with Run.create(Path("runs"), kind) as run:
            lesson = replace(lesson, folder=run.folder)
    except TriptychError as error:
        print(f"{Path(sys.argv[0]).name}: {error}", file=sys.stderr)
        sys.exit(2)
    seed_frameworks(chosen.seed)
    print(dataset.summary())
    print(training_line(lesson))
    return lesson


def seed_frameworks(seed: int) -> None:
    """Seed the random numbers of NumPy and of each framework that a script has imported."""
    seed = seed % 2**32  # NumPy's and Keras's limit
    np.random.seed(seed)  # noqa: NPY002 - a student's np.random.rand draws from this one
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(seed)
    if "keras" in sys.modules:
        sys.modules["keras"].utils.set_random_seed(seed)


def training_line(lesson: Lesson) -> str:
    """Return the one line that says how much training a script will do, and on how many threads."""
    recipe = lesson.schedule.recipe
    samples = len(lesson.x_train)
    size = samples if recipe.batch_size == "full" else min(recipe.batch_size, samples)
    batch = f"all {samples:,} digits" if size == samples else f"{size:,} digits"
    steps = -(-samples // size) * recipe.epochs
    threads = max((pool["num_threads"] for pool in threadpool_info()), default=1)
    return (
        f"Training: {recipe.epochs:,} epochs, {steps:,} steps, each on {batch}; "
        f"{threads} thread{'s' if threads > 1 else ''}, seed {recipe.seed}"
    )


def quiet() -> AbstractContextManager[None]:
    """Return a context in which TensorFlow's start-up notices are left out of standard error."""
    return notices.left_out(registry.entry("tensorflow").notices)


def end(
    lesson: Lesson,
    predicted: NDArray[np.integer[Any]],
    history: dict[str, list[float]] | None = None,
) -> None:
    """End a script, after its result was printed: say how times are compared, then draw the pictures.

    Parameters
    ----------
    lesson : Lesson
    predicted : ndarray of int, shape (samples,)
        The class that the network gave each test digit.
    history : dict of str to list of float, optional
        A Keras history: loss and accuracy of each epoch.
    """
    print("To compare times, run: triptych compare (same steps, same batches, in turn)")
    if find_spec("matplotlib") is None:
        print("The pictures need matplotlib: python -m pip install matplotlib")
        return
    plt = _pyplot()
    if history is not None:
        _save(draw_history(plt, history), lesson.folder / "history.png")
    _save(
        draw_digits(plt, lesson.x_test[:8], lesson.y_test[:8], predicted[:8]),
        lesson.folder / "predictions.png",
    )
    if plt.get_backend().lower() != "agg":
        print(
            "Close the window to end." if history is None else "Close the windows to end.",
            flush=True,
        )
        plt.show()
    plt.close("all")


def draw_digits(
    plt: Any, x: NDArray[Any], labels: NDArray[np.int32], predicted: NDArray[np.integer[Any]]
) -> Any:
    """Draw test digits, each with its prediction and its label; return the figure."""
    figure, axes = plt.subplots(1, len(x), figsize=(1.6 * len(x), 2.2), squeeze=False)
    for axis, image, label, prediction in zip(axes[0], x, labels, predicted, strict=True):
        axis.imshow(image.reshape(28, 28), cmap="gray")
        axis.set_title(
            f"{prediction} (is {label})", color="black" if prediction == label else "crimson"
        )
        axis.axis("off")
    return figure


def draw_history(plt: Any, history: dict[str, list[float]]) -> Any:
    """Draw loss and accuracy over the epochs of a Keras history; return the figure."""
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.2))
    for axis, name in zip(axes, ("loss", "accuracy"), strict=True):
        for key in (name, f"val_{name}"):
            label = "validation" if key.startswith("val_") else "training"
            axis.plot(range(1, len(history[key]) + 1), history[key], label=label)
        axis.set(xlabel="epoch", ylabel=name)
        axis.legend()
    return figure


def _pyplot() -> Any:
    load_matplotlib()
    import matplotlib as mpl

    if not (
        os.environ.get("DISPLAY")
        or os.environ.get("WAYLAND_DISPLAY")
        or sys.platform in ("win32", "darwin")
    ):
        mpl.use("agg")
    import matplotlib.pyplot as plt

    return plt


def _save(figure: Any, path: Path) -> None:
    figure.tight_layout()
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=120)
    files.write(path, content.getvalue())
    print(f"wrote {path}")
