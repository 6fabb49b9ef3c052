"""What the lessons at the root share: the command line, and the same data, weights and batches."""

from .process import script

script.prepare_imports(threads=1)  # before the first import of NumPy

from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Any

from . import Recipe, TriptychError, load_data, optimizers, zoo
from .core import planner, state
from .report import pictures
from .training.run_folder import Run


class Lesson:
    """Images (samples, 784) in [0, 1], labels (samples,), first weights by name, and batches."""

    folder: Path  # of the run, where a script writes its files

    def __init__(self, data: Any, args: Any, hidden: Any = (10,), dtype: Any = "float32") -> None:
        network = zoo.dense("classic", hidden)
        network.check_fits(data.shape, len(data.classes))
        recipe = Recipe(args.epochs, args.batch_size, optimizers.SGD(0.1), args.seed, dtype)
        self.planner = planner.BatchPlanner(network, recipe, len(data.train))
        self.weights = state.initial(network, recipe)
        self.x_train = data.train.pixels(dtype).reshape(-1, 784)
        self.y_train = data.train.labels.astype("int64")
        self.x_test = data.test.pixels(dtype).reshape(-1, 784)
        self.y_test = data.test.labels.astype("int64")

    def batches(self, epoch: int) -> Any:
        """Yield the rows of each batch: an array of indices, or a slice that takes all rows."""
        for plan in self.planner.epoch(epoch):
            yield from [slice(None)] * len(plan) if plan.indices is None else plan.indices


def arguments(description: str, epochs: int, batch_size: int | str) -> Namespace:
    """Parse the command line; in a notebook, return the defaults."""
    parser = ArgumentParser(description=description.splitlines()[0])
    parser.add_argument("--data", help="digits, mnist, a CSV, an .npz or a folder")
    parser.add_argument("--epochs", type=int, default=epochs, help="passes over the data")
    parser.add_argument("--batch-size", type=script.whole_or_full, default=batch_size)
    parser.add_argument("--seed", type=int, default=0, help="of weights, batches and split")
    return parser.parse_args([] if script.in_notebook() else None)


def start(args: Namespace, name: str, hidden: Any = (10,)) -> Lesson:
    """Load the data, make a run folder and print what will be done; stop at a user's mistake."""
    script.prepare_terminal()
    try:
        data = load_data(args.data, seed=args.seed)
        lesson = Lesson(data, args, hidden)
        with Run.create(Path("runs"), "lesson", name.lower()) as run:
            lesson.folder = run.folder
    except TriptychError as error:
        script.fail(error)
    print(data.summary())
    print(f"Training: {lesson.planner.summary()}; {script.threads()}, seed {args.seed}")
    return lesson


def end(lesson: Lesson, predicted: Any, history: Any = None) -> None:
    """Tell how times are compared, then show pictures: digits, and the curves of a history."""
    print("To compare times, run: triptych compare (same steps, same batches, in turn)")
    pictures.show(lesson.folder, lesson.x_test, lesson.y_test, predicted, history)
