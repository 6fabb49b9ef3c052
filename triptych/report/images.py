"""The images of a report: mistakes, confusion matrices, and the weights of the first layer."""

import base64
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..search_path import load_matplotlib
from ..training import checkpoint, misclassified
from .class_names import brief_names
from .verdict import MOST_NAMES, Row, listed, number_word

MOST_UNITS = 16  # hidden units shown of each row
# A smaller difference of two weights, over the largest weight, is not seen in a picture.
INVISIBLE = 1 / 64
CONFUSIONS_LISTED = 5  # the most frequent ones
COLORS = 64  # of a small picture

Picture = NDArray[np.uint8]


def grouped(
    rows: list[Row], values: list[Any], are_equal: Callable[[Any, Any], bool]
) -> list[dict[str, Any]]:
    """Return the rows in groups of equal values.

    Parameters
    ----------
    rows : list of dict
    values : list
        Of each row.
    are_equal : callable
        Takes two values.

    Returns
    -------
    list of dict
        ``title``, the words for the rows of a group; ``value``; ``rows``.
    """
    groups: list[dict[str, Any]] = []
    for row, value in zip(rows, values, strict=True):
        group = next((group for group in groups if are_equal(group["value"], value)), None)
        if group is None:
            groups.append({"value": value, "rows": [row]})
        else:
            group["rows"].append(row)
    for group in groups:
        members = [row["label"] for row in group["rows"]]
        others = [row["label"] for row in rows if row not in group["rows"]]
        group["title"] = _group_title(members, others)
    return groups


def _group_title(members: list[str], others: list[str]) -> str:
    """Return the words for a group of rows among others, by their labels."""
    if not others and len(members) == 2:
        return "the same in both"
    if not others and len(members) > 2:
        return f"the same in all {number_word(len(members))}"
    if len(members) > MOST_NAMES >= len(others):
        return f"the same in all but {listed(others)}"
    return listed(members)


def confusions(rows: list[Row], classes: list[str]) -> list[dict[str, Any]]:
    """Return each confusion matrix that differs from the others, once, with the rows that have it.

    Parameters
    ----------
    rows : list of dict
        ``confusion`` is the matrix: lists of counts, by true class and predicted class.
    classes : list of str

    Returns
    -------
    list of dict
        As `grouped`; and ``counts``, the matrix; ``changed``, the cells (i, j) that differ from the
        first matrix; ``frequent``, the most frequent mistakes in words.
    """
    shown = [row for row in rows if row["confusion"]]
    matrices = [row["confusion"] for row in shown]
    groups = grouped(shown, matrices, lambda one, other: one == other)
    for group in groups:
        counts = np.array(group["value"])
        first = np.array(groups[0]["value"])
        group["counts"] = group["value"]
        group["changed"] = np.argwhere(counts != first).tolist()
        group["frequent"] = _frequent_mistakes(counts, classes)
    return groups


def _frequent_mistakes(counts: NDArray[np.int64], classes: list[str]) -> list[str]:
    """Return the most frequent mistakes in words, of a matrix (classes, classes) of counts."""
    mistaken = counts * (1 - np.eye(len(counts), dtype=int))
    order = np.argsort(-mistaken, axis=None, kind="stable")[:CONFUSIONS_LISTED]
    places = [divmod(int(at), len(counts)) for at in order if mistaken.flat[at]]
    return [f"{classes[i]} taken for {classes[j]} ({counts[i, j]})" for i, j in places]


def mistakes(path: Path, rows: dict[str, Row], classes: list[str]) -> dict[str, Any] | None:
    """Return the misclassified images with their captions.

    Parameters
    ----------
    path : Path
        The file of them in a run folder.
    rows : dict of str to dict
    classes : list of str

    Returns
    -------
    dict, optional
        ``images``; ``wrong``, how many test images are misclassified; ``differ``, for how many of
        the images shown the rows predict different classes; ``rows``, how many rows predict. None
        where the run folder has no such file, or the file is of another run.
    """
    loaded = misclassified.load(path)
    if loaded is None or not _fits(loaded, rows, classes):
        return None
    images = [_captioned(loaded, at, rows, classes) for at in range(len(loaded.images))]
    return {
        "images": images,
        "wrong": loaded.wrong,
        "differ": sum(len(image["predicted"]) > 1 for image in images),
        "rows": len(loaded.predictions),
    }


def _captioned(
    loaded: misclassified.Mistakes, at: int, rows: dict[str, Row], classes: list[str]
) -> dict[str, Any]:
    """Return one misclassified image with its true class and what the rows predict."""
    labels_by_class: dict[int, list[str]] = {}
    for key, values in loaded.predictions.items():
        labels_by_class.setdefault(int(values[at]), []).append(rows[key]["label"])
    brief = brief_names(classes)

    def named(label: int) -> tuple[str, str]:
        return brief[label], classes[label]

    pixels = loaded.images[at]
    is_grey = pixels.shape[-1] == 1
    return {
        "png": _png(pixels[..., 0] if is_grey else pixels),
        "index": int(loaded.index[at]),
        "true": named(int(loaded.labels[at])),
        "predicted": [(named(label), labels) for label, labels in labels_by_class.items()],
    }


def _fits(loaded: misclassified.Mistakes, rows: dict[str, Row], classes: list[str]) -> bool:
    """Return whether all rows and classes of the misclassified images are those of the run."""
    labels = np.concatenate([loaded.labels, *loaded.predictions.values()])
    is_class = (labels >= 0) & (labels < len(classes))
    return set(loaded.predictions) <= set(rows) and bool(is_class.all())


def first_layer(folder: Path, prefix: str, rows: list[Row]) -> list[dict[str, Any]]:
    """Return pictures of the first layer's weights: once for all rows whose pictures look the same.

    Parameters
    ----------
    folder : Path
        The run folder.
    prefix : str
        Of the folders of the rows in it.
    rows : list of dict

    Returns
    -------
    list of dict
        As `grouped`; and ``count``, how many units there are; ``images``, PNG in base64 of the
        first units.
    """
    shown: list[Row] = []
    pictures: list[NDArray[np.float64]] = []
    count = 0
    for row in rows:
        if row["failed"]:
            continue
        weights = _relative_weights(folder / f"{prefix}{row['key']}" / checkpoint.STATE)
        if weights is not None:
            shown.append(row)
            count = weights.shape[-1]
            pictures.append(weights[..., :MOST_UNITS])
    groups = grouped(shown, pictures, _look_equal)
    for group in groups:
        units = np.moveaxis(group["value"], -1, 0)
        group["count"] = count
        group["images"] = [_png(_blue_to_red(unit)) for unit in units]
    return groups


def _look_equal(one: NDArray[np.float64], other: NDArray[np.float64]) -> bool:
    """Return whether two pictures of weights look the same to the eye."""
    return one.shape == other.shape and bool(np.abs(one - other).max(initial=0) <= INVISIBLE)


def _relative_weights(path: Path) -> NDArray[np.float64] | None:
    """Return each unit's weights over its own largest.

    Returns
    -------
    ndarray of float64, shape (height, width, units), optional
        From -1 to 1, the mean over the channels. None where there are no such weights.
    """
    if not path.exists():
        return None
    try:
        state, network, _, _ = checkpoint.load_state(path)
    except checkpoint.NotFiniteError:  # there is nothing to see
        return None
    kernel = next(iter(state.values())).astype(np.float64)
    image = network.input_shape if len(network.input_shape) == 3 else (1, *network.input_shape, 1)
    if kernel.ndim == 4:
        image = kernel.shape[:3]
    elif kernel.shape[0] != np.prod(image):
        return None
    pictures = kernel.reshape(*image, -1).mean(axis=2)
    largest = np.abs(pictures).max(axis=(0, 1))
    return pictures / np.where(largest == 0, 1, largest)


def _blue_to_red(picture: NDArray[np.float64]) -> Picture:
    """Return numbers from -1 to 1 as colours, uint8 of shape (height, width, 3)."""
    load_matplotlib()
    from matplotlib import colormaps

    return (colormaps["bwr"](0.5 + 0.5 * picture)[..., :3] * 255).astype(np.uint8)


def _png(pixels: Picture) -> str:
    """Return a small picture as PNG in base64, with at most `COLORS` colours."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(pixels).quantize(COLORS).save(buffer, "PNG", optimize=True)
    return base64.b64encode(buffer.getvalue()).decode()
