"""Predictions in the terminal: a picture of the input, bars, accuracy and confusion matrix."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..core import metrics
from ..errors import counted, one_line
from .progress import accuracy_text
from .say import say

if TYPE_CHECKING:
    from ..results import Prediction
    from ..training.new_data import NewData

MOST_DETAILED = 10  # samples that are shown with a picture and bars
MOST_LISTED = 20  # samples that get a line each
MOST_NAMED = 10  # images left out, or confusions, that are listed
BEST_CLASSES = 5
BAR_WIDTH = 30  # characters
EIGHTHS = " ▏▎▍▌▋▊▉"
WIDEST_PICTURE = 40  # characters
LONGEST_NAME = 16  # characters of a class in a table


def show_data(console: Console, new: "NewData") -> None:
    """Print which data was read, and how."""
    line = f"Data: {new.name}, {counted(len(new.images), new.kind)}"
    if new.left_out:
        line += f"; {len(new.left_out):,} more cannot be read, and left out"
    say(console, f"{line}.")
    if new.notes:
        say(console, f"  As read: {'; '.join(new.notes)}.")
    for warning in new.warnings:
        say(console, f"  Warning: {warning}.", "yellow")
    for reason in new.left_out[:MOST_NAMED]:
        say(console, f"  left out: {reason}", "yellow")
    if len(new.left_out) > MOST_NAMED:
        say(console, f"  … and {len(new.left_out) - MOST_NAMED:,} more", "yellow")


def show_each(
    console: Console, new: "NewData", prediction: "Prediction", names: Sequence[str]
) -> None:
    """Print each sample with a picture of what the network sees, and its best classes."""
    for index, probabilities in enumerate(prediction.probabilities):
        if len(new.images) > 1:
            say(console, f"\n{sample_name(new, index)}")
        if not new.is_table and console.is_terminal and console.color_system is not None:
            console.print(picture(new.images[index]))
        for line in bars(probabilities, names):
            say(console, line)


def show_list(
    console: Console, new: "NewData", prediction: "Prediction", names: Sequence[str]
) -> None:
    """Print a line for each of the first samples, and how often each class is predicted."""
    best = prediction.probabilities.max(axis=1)
    for index in range(min(len(best), MOST_LISTED)):
        name = one_line(names[int(prediction.classes[index])], LONGEST_NAME)
        say(console, f"  {sample_name(new, index)}: {name} ({best[index]:.1%})")
    if len(best) > MOST_LISTED:
        more = len(best) - MOST_LISTED
        say(console, f"  … and {more:,} more; --csv FILE writes all of them")
    counts = np.bincount(prediction.classes, minlength=len(names))
    order = np.argsort(-counts, kind="stable")[:MOST_NAMED]
    shares = [f"{one_line(names[i], LONGEST_NAME)} {counts[i]:,}" for i in order if counts[i]]
    say(console, f"Predicted: {', '.join(shares)}.")


def show_evaluation(
    console: Console, prediction: "Prediction", labels: NDArray[np.int32], names: Sequence[str]
) -> None:
    """Print accuracy and confusion matrix."""
    tested = metrics.tested(prediction.classes, labels, len(names))
    say(console, f"Accuracy: {accuracy_text(tested)}.")
    matrix = np.array(tested["confusion"])
    table = confusion_table(matrix, names)
    if console.measure(table).maximum <= console.width:
        say(console, "Each row is a true class, each column a predicted one:")
        console.print(table)
    else:
        show_confusions(console, matrix, names)


def sample_name(new: "NewData", index: int) -> str:
    """Return what a line calls a sample: its file, or its number from 0, as in the CSV."""
    if new.files:
        return one_line(new.files[index], 60)
    return f"{new.kind} {index:,}"


def picture(image: NDArray[Any]) -> Text:
    """Return an image in half-block characters: two rows of pixels in one line of text.

    Parameters
    ----------
    image : ndarray of uint8 or floats from 0 to 1, shape (h, w, 1 or 3)
        Drawn in grey.
    """
    pixels = _shrunk(_in_grey(image))
    if len(pixels) % 2:
        pixels = np.vstack([pixels, np.zeros_like(pixels[:1])])
    text = Text(no_wrap=True)
    for upper, lower in zip(pixels[::2], pixels[1::2], strict=True):
        text.append("  ")
        for above, below in zip(upper.tolist(), lower.tolist(), strict=True):
            style = f"rgb({above},{above},{above}) on rgb({below},{below},{below})"
            text.append("▀", style)
        text.append("\n")
    text.rstrip()
    return text


def _in_grey(image: NDArray[Any]) -> NDArray[np.uint8]:
    """Return an image as whole numbers (h, w)."""
    values = image.mean(axis=2)
    if image.dtype.kind == "f":
        values = values.clip(0, 1) * 255
    return np.rint(values).astype(np.uint8)


def _shrunk(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return pixels (h, w) that fit into the width of a picture."""
    from PIL import Image

    height, width = pixels.shape
    if width <= WIDEST_PICTURE:
        return pixels
    rows = max(1, round(height * WIDEST_PICTURE / width))
    image = Image.fromarray(pixels)
    return np.asarray(image.resize((WIDEST_PICTURE, rows), Image.Resampling.BILINEAR))


def bars(probabilities: NDArray[Any], names: Sequence[str]) -> list[str]:
    """Return a line with a bar for each of the most probable classes."""
    best = np.argsort(-probabilities, kind="stable")[:BEST_CLASSES]
    shown = [one_line(names[i], LONGEST_NAME) for i in best]
    width = max(map(len, shown))
    lines: list[str] = []
    for name, probability in zip(shown, probabilities[best].tolist(), strict=True):
        lines.append(f"  {name:>{width}}  {probability:6.1%}  {_bar(probability)}".rstrip())
    return lines


def _bar(share: float) -> str:
    eighths = round(share * BAR_WIDTH * 8)
    return "█" * (eighths // 8) + EIGHTHS[eighths % 8].strip()


def confusion_table(matrix: NDArray[np.int64], names: Sequence[str]) -> Table:
    """Return a confusion matrix as a table: a row for each true class."""
    shown = [Text(one_line(name, LONGEST_NAME)) for name in names]
    table = Table(box=None)
    table.add_column("", justify="right", no_wrap=True)
    for name in shown:
        table.add_column(name, justify="right", no_wrap=True)
    for index, counts in enumerate(matrix.tolist()):
        cells = [_cell(count, is_right=column == index) for column, count in enumerate(counts)]
        table.add_row(shown[index], *cells)
    return table


def _cell(count: int, *, is_right: bool) -> Text:
    if not count:
        return Text("·", style="dim")
    return Text(f"{count:,}", style="bold" if is_right else "red")


def show_confusions(console: Console, matrix: NDArray[np.int64], names: Sequence[str]) -> None:
    """Print the most frequent confusions, where the whole matrix is too wide."""
    wrong = matrix.copy()
    np.fill_diagonal(wrong, 0)
    order = np.argsort(-wrong, axis=None, kind="stable")[:MOST_NAMED]
    for place in order:
        true, predicted = divmod(int(place), len(names))
        count = int(wrong[true, predicted])
        if not count:
            break
        pair = f"{one_line(names[true], 40)} taken for {one_line(names[predicted], 40)}"
        say(console, f"  {pair}: {count:,} of {int(matrix[true].sum()):,}")
