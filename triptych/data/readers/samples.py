"""What a reader of arrays takes out of a file, before it is known what the numbers mean."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from .labels import Values


def _sample(i: int) -> str:
    return f"sample {i + 1:,}"


def _pixel_of_sample(i: int, j: int) -> str:
    return f"{_sample(i)}, pixel {j + 1}"


@dataclass(frozen=True)
class Samples:
    """The numbers and the labels of a file.

    Attributes
    ----------
    path : Path
    values : ndarray, shape (n, columns), (n, h, w), (n, h, w, c) or (n, c, h, w)
    labels : ndarray or sequence of str, shape (n,)
    where : callable
        Takes the index of a sample; returns where the sample is, for a message: ``line 7``.
    cell : callable
        Takes the indices of a sample and of a value in it; returns where that value is.
    labels_path : Path, optional
        The file of the labels, if it is another one.
    """

    path: Path
    values: NDArray[Any]
    labels: Values
    where: Callable[[int], str] = _sample
    cell: Callable[[int, int], str] = _pixel_of_sample
    labels_path: Path | None = None

    @property
    def about_labels(self) -> Path:
        """The file that a message about the labels names."""
        return self.labels_path or self.path


@dataclass(frozen=True)
class Columns:
    """What the names of columns mean.

    Attributes
    ----------
    names : tuple of str
        Empty where the columns have no names.
    pixels : bool, optional
        Whether the columns are pixels. None where the names leave it open.
    shape : tuple of (h, w, c), optional
        The shape of an image, where the names form a grid.
    gaps : bool
        Whether the numbers in names of pixels leave some out, or occur twice.
    """

    names: tuple[str, ...] = ()
    pixels: bool | None = None
    shape: tuple[int, int, int] | None = None
    gaps: bool = False
