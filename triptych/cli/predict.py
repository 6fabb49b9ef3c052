"""``triptych predict``: what a trained network makes of new images or rows."""

import csv
import io
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from . import options as o
from .app import app
from .option_groups import InferenceOptions, NewDataOptions, with_groups

if TYPE_CHECKING:
    from rich.console import Console

    from ..results import Prediction
    from ..training.new_data import NewData
    from ..training.trained import TrainedRun


What = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[WHAT]...",
        help="Image files, or a folder of them; or one table, folder or data set that --data "
        "of triptych train takes. Default: the test split of the run's own data.",
        show_default=False,
    ),
]
CsvFile = Annotated[
    Path | None,
    typer.Option(
        "--csv",
        metavar="FILE",
        help="Write index, label, predicted class and probabilities of each sample.",
        show_default=False,
    ),
]


@app.command("predict")
@with_groups
def predict(
    *,
    run: o.TrainedPath,
    what: What = None,
    inference: InferenceOptions,
    data: NewDataOptions,
    csv_file: CsvFile = None,
) -> None:
    """Classify images or rows with a trained network, in any engine.

    Images are scaled and converted to the network's size and colours; rows are standardised with
    the mean and deviation of the training data. Of labelled data the accuracy, with its 95 %
    interval, and the confusion matrix are shown. Data with a test split of its own is classified
    there only.

    Examples:

    triptych predict runs/20260101-120000-train-torch-custom-digits three.png

    triptych predict runs/20260101-120000-train-torch-custom-digits new.csv --csv predicted.csv
    """
    from rich.console import Console

    from .. import api
    from .say import say_if_unfinished

    console = Console(emoji=False)
    sources = what or []
    trained = _read_run(run, sources)
    say_if_unfinished(console, run)
    new = data.read(console, trained, sources)
    prediction = api.predict(
        trained,
        new.images,
        engine=inference.engine,
        backend=inference.backend,
        device=inference.device,
    )
    _show(console, new, prediction, trained.classes)
    if csv_file is not None:
        _write_csv(console, csv_file, new, prediction, trained)


def _read_run(path: Path, sources: list[str]) -> "TrainedRun":
    """Read the run; if it was given after what it shall classify, raise an error that says so."""
    from ..core.shell import quoted
    from ..errors import TriptychError
    from ..training.trained import TrainedRun

    try:
        return TrainedRun.read(path)
    except TriptychError:
        if sources and _is_run(Path(sources[-1])):
            command = quoted("triptych", "predict", sources[-1], str(path), *sources[:-1])
            raise TriptychError(f"{path}: not a run; the run comes first: {command}") from None
        raise


def _is_run(path: Path) -> bool:
    """Return whether a path is that of a run that can be read."""
    from ..errors import TriptychError
    from ..training.trained import TrainedRun

    try:
        TrainedRun.read(path)
    except TriptychError:
        return False
    return True


def _show(console: "Console", new: "NewData", prediction: "Prediction", classes: list[str]) -> None:
    """Print the data and its predictions, in as much detail as there is room for."""
    from . import prediction_view as view

    view.show_data(console, new)
    if new.labels is not None:
        view.show_evaluation(console, prediction, new.labels, classes)
    elif len(new.images) <= view.MOST_DETAILED:
        view.show_each(console, new, prediction, classes)
    else:
        view.show_list(console, new, prediction, classes)


def _write_csv(
    console: "Console", path: Path, new: "NewData", prediction: "Prediction", run: "TrainedRun"
) -> None:
    """Write a line for each sample; where images are files, with their names."""
    from ..core import files
    from .say import say

    names = run.classes
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    of_files = ["file"] if new.files else []
    writer.writerow(["index", *of_files, "label", "predicted", *(f"p({name})" for name in names)])
    for index, probabilities in enumerate(prediction.probabilities):
        file = [str(new.files[index])] if new.files else []
        label = "" if new.labels is None else names[int(new.labels[index])]
        predicted = names[int(prediction.classes[index])]
        numbers = [f"{probability:.6g}" for probability in probabilities]
        writer.writerow([index, *file, label, predicted, *numbers])
    files.write(path, text.getvalue())
    say(console, f"Predictions: {path}")
