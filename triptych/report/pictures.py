"""Pictures at the end of a lesson: test digits with predictions, and curves of a Keras history."""

import io
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from ..core import files
from ..search_path import load_matplotlib

DIGITS_SHOWN = 8
SIDE = 28  # pixels

History = dict[str, list[float]]


def show(
    folder: Path,
    images: NDArray[Any],
    labels: NDArray[Any],
    predicted: NDArray[Any],
    history: History | None = None,
) -> None:
    """Write the pictures into a folder, then open their windows where there is a screen.

    Without matplotlib, one line tells how to install it.

    Parameters
    ----------
    folder : Path
        Receives predictions.png, and history.png if there is a history.
    images : ndarray, shape (samples, 784)
        Test images; the first eight are drawn.
    labels, predicted : ndarray of int, shape (samples,)
        The class of each test image, and what the network predicts.
    history : dict of str to list of float, optional
        ``loss``, ``accuracy``, ``val_loss`` and ``val_accuracy`` of each epoch.
    """
    if find_spec("matplotlib") is None:
        print("The pictures need matplotlib: python -m pip install matplotlib")
        return
    load_matplotlib()
    import matplotlib.pyplot as plt

    if history is not None:
        _save(draw_history(plt, history), folder / "history.png")
    first = slice(DIGITS_SHOWN)
    digits = draw_digits(plt, images[first], labels[first], predicted[first])
    _save(digits, folder / "predictions.png")
    backend = plt.get_backend().lower()
    if backend != "agg":  # "agg" only writes files
        if "inline" not in backend:  # a notebook shows pictures without a window
            windows = "window" if history is None else "windows"
            print(f"Close the {windows} to end.", flush=True)
        plt.show()
    plt.close("all")


def draw_digits(
    plt: Any, images: NDArray[Any], labels: NDArray[Any], predicted: NDArray[Any]
) -> Any:
    """Draw test digits, each with its prediction and its label; return the figure."""
    figure, axes = plt.subplots(1, len(images), figsize=(1.6 * len(images), 2.2), squeeze=False)
    for axis, image, label, prediction in zip(axes[0], images, labels, predicted, strict=True):
        color = "black" if prediction == label else "crimson"
        axis.imshow(image.reshape(SIDE, SIDE), cmap="gray")
        axis.set_title(f"{prediction} (is {label})", color=color)
        axis.axis("off")
    return figure


def draw_history(plt: Any, history: History) -> Any:
    """Draw loss and accuracy over the epochs of a Keras history; return the figure."""
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.2))
    for axis, name in zip(axes, ("loss", "accuracy"), strict=True):
        epochs = range(1, len(history[name]) + 1)
        axis.plot(epochs, history[name], label="training")
        axis.plot(epochs, history[f"val_{name}"], label="validation")
        axis.set(xlabel="epoch", ylabel=name)
        axis.legend()
    return figure


def _save(figure: Any, path: Path) -> None:
    figure.tight_layout()
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=120)
    files.write(path, content.getvalue())
    print(f"wrote {path}")
