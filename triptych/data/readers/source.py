"""Samples that are listed and not read yet: in groups that are read one at a time."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from .image_file import Content


class Source(Protocol):
    """Samples in groups; those of all groups are counted together, from 0.

    Attributes
    ----------
    sizes : tuple of int
        Number of samples of each group.
    """

    @property
    def sizes(self) -> tuple[int, ...]:
        """Number of samples of each group."""
        ...

    def read(self, group: int) -> Sequence[Content]:
        """Return the images of one group, as they are stored. Several threads may call it."""
        ...

    def where(self, group: int, row: int) -> str:
        """Return what a message calls one of the samples of a group: its file and row."""
        ...


@dataclass(frozen=True)
class Listing:
    """What a file or folder holds, without its images.

    Attributes
    ----------
    source : Source
    labels : ndarray of int32, shape (n,)
        The classes of all samples, of the training set first.
    training : int
        How many of them are of the training set; n where a test set is still to be split off.
    classes, notes : tuple of str
        As in `Dataset`.
    files : tuple of Path
        All files that are read.
    """

    source: Source
    labels: NDArray[np.int32]
    training: int
    classes: tuple[str, ...]
    notes: tuple[str, ...]
    files: tuple[Path, ...]
