"""``triptych predict``: what a trained network makes of new images or rows."""

import csv
import io
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .app import app
from .option_groups import InferenceOptions, NewDataOptions, with_groups

if TYPE_CHECKING:
    from rich.console import Console

    from ..results import Prediction
    from ..training.new_data import NewData
    from ..training.trained import TrainedRun


@app.command("predict")
@with_groups
def predict(
    *,
    run: Annotated[
        Path, typer.Argument(metavar="RUN", help="A run folder of triptych train, or a state file.")
    ],
    what: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[WHAT]...",
            help="Image files, or a folder of them; or one table, folder or data set that --data "
            "of triptych train takes. Default: the test split of the run's own data.",
            show_default=False,
        ),
    ] = None,
    inference: InferenceOptions,
    data: NewDataOptions,
    csv_file: Annotated[
        Path | None,
        typer.Option(
            "--csv",
            metavar="FILE",
            help="Write index, label, predicted class and probabilities of each sample.",
            show_default=False,
        ),
    ] = None,
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
    from ..training.trained import TrainedRun
    from . import prediction_view as view
    from .loading import Decoding
    from .say import say_if_unfinished

    console = Console(emoji=False)
    trained = TrainedRun.read(run)
    say_if_unfinished(console, trained)
    with Decoding(console) as progress:
        new = api.load_new_data(
            trained,
            *(what or []),
            invert=data.invert,
            label=data.label,
            shape=data.shape,
            white=data.white,
            skip_unreadable=data.skip_unreadable,
            on_progress=progress.see,
        )
    prediction = api.predict(
        trained,
        new.images,
        engine=inference.engine,
        backend=inference.backend,
        device=inference.device,
    )
    view.show_data(console, new)
    if new.labels is not None:
        view.show_evaluation(console, prediction, new.labels, trained.classes)
    elif len(new.images) <= view.MOST_DETAILED:
        view.show_each(console, new, prediction, trained.classes)
    else:
        view.show_list(console, new, prediction, trained.classes)
    if csv_file is not None:
        _write_csv(console, csv_file, new, prediction, trained)


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
