"""Test images that at least one row classifies wrongly, in a small file of the run folder."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load as load_arrays
from safetensors.numpy import save as save_arrays

from ..core import files
from ..core.split import Split

FILE = "misclassified.safetensors"
MOST_IMAGES = 40
CHANNELS = (1, 3)  # grey, and red, green, blue
SMALLEST_SIDE = 4  # in pixels; what is smaller, a row of a table for example, is no picture
LARGEST_SIDE = 64  # in pixels; of larger images every second, third … pixel is kept


@dataclass(frozen=True)
class Mistakes:
    """Misclassified test images.

    Attributes
    ----------
    images : ndarray of uint8, shape (n, h, w, c)
        Those that the rows disagree on come first.
    index : ndarray of int64, shape (n,)
        The place of each image in the test split.
    labels : ndarray of int32, shape (n,)
        The true classes.
    predictions : dict of str to ndarray of int32, shape (n,)
        The predicted classes, by row.
    wrong : int
        How many test images at least one row got wrong, those that are not kept included.
    """

    images: NDArray[np.uint8]
    index: NDArray[np.int64]
    labels: NDArray[np.int32]
    predictions: dict[str, NDArray[np.int32]]
    wrong: int


def are_pictures(shape: Sequence[int]) -> bool:
    """Return whether samples of a shape (h, w, c) can be looked at: the rows of a table cannot."""
    height, width, channels = shape
    return min(height, width) >= SMALLEST_SIDE and channels in CHANNELS


def find(test: Split, predictions: Mapping[str, NDArray[np.int32]]) -> Mistakes:
    """Return the misclassified images of a test split, at most `MOST_IMAGES`.

    Parameters
    ----------
    test : Split
    predictions : mapping of str to ndarray of int32, shape (len(test),)
        The predicted classes of every test image, by row.
    """
    rows = np.array(list(predictions.values()))
    wrong = np.flatnonzero((rows != test.labels).any(axis=0))
    disagree = (rows[:, wrong] != rows[0, wrong]).any(axis=0)
    chosen = np.concatenate([wrong[disagree], wrong[~disagree]])[:MOST_IMAGES]
    images = test.images[chosen]
    every = -(-max(images.shape[1:3]) // LARGEST_SIDE)
    shown = {key: predicted[chosen] for key, predicted in predictions.items()}
    return Mistakes(
        _bytes(images[:, ::every, ::every]), chosen, test.labels[chosen], shown, len(wrong)
    )


def _bytes(images: NDArray[Any]) -> NDArray[np.uint8]:
    """Return pixels as bytes; floats, which have no fixed range, are stretched to 0–255."""
    if images.dtype == np.uint8 or not images.size:
        return images.astype(np.uint8)
    low = images.min()
    high = images.max()
    return (255 * (images - low) / ((high - low) or 1)).astype(np.uint8)


def save(path: Path, test: Split, predictions: Mapping[str, NDArray[np.int32]]) -> None:
    """Write the misclassified images of a test split, if there are pictures and predictions."""
    if not predictions or not are_pictures(test.images.shape[1:]):
        return
    mistakes = find(test, predictions)
    arrays = {"images": mistakes.images, "index": mistakes.index, "labels": mistakes.labels}
    arrays |= {f"predictions/{key}": predicted for key, predicted in mistakes.predictions.items()}
    digest = files.BLANK_DIGEST.decode()
    header = {"sha256": digest, "rows": list(predictions), "wrong": mistakes.wrong}
    whole = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    content, _ = files.seal(save_arrays(whole, {"triptych": json.dumps(header)}))
    files.write(path, content)


def load(path: Path) -> Mistakes | None:
    """Read what `save` wrote, or return None where there is no such file.

    Raises
    ------
    TriptychError
        Where the file is damaged.
    """
    if not path.exists():
        return None
    with files.refusing(path, "misclassified images that triptych wrote"):
        blob = files.read_bytes(path)
        length = int.from_bytes(blob[:8], "little")
        header = json.loads(json.loads(blob[8 : 8 + length])["__metadata__"]["triptych"])
        files.check_seal(path, blob, header["sha256"])
        arrays = load_arrays(blob)
        predictions = {str(key): arrays[f"predictions/{key}"] for key in header["rows"]}
        mistakes = Mistakes(
            arrays["images"], arrays["index"], arrays["labels"], predictions, int(header["wrong"])
        )
        _check(mistakes)
    return mistakes


def _check(mistakes: Mistakes) -> None:
    """Raise ValueError unless all arrays are of one length and of the right types."""
    vectors = [mistakes.index, mistakes.labels, *mistakes.predictions.values()]
    if (
        mistakes.images.ndim != 4
        or mistakes.images.dtype != np.uint8
        or mistakes.images.shape[3] not in CHANNELS
    ):
        raise ValueError("images")
    if any(
        vector.shape != mistakes.images.shape[:1] or vector.dtype.kind != "i" for vector in vectors
    ):
        raise ValueError("vectors")
