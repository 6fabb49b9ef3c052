"""A source whose images are decoded when they are needed."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...errors import DataError
from ..readers.image_file import Content
from ..readers.image_survey import Survey
from ..readers.images import read_sample
from ..readers.source import Listing
from ..reading import Options
from .findings import Findings


@dataclass(frozen=True, eq=False)
class Stream:
    """A source and what is known of its images: it decodes any of them.

    Attributes
    ----------
    path : Path
        The file or folder.
    listing : Listing
    findings : Findings
    options : Options
        How images are read.
    """

    path: Path
    listing: Listing
    findings: Findings
    options: Options

    @cached_property
    def first_rows(self) -> NDArray[np.int64]:
        """The index of the first sample of each group, and behind them the number of samples."""
        return np.concatenate([[0], np.cumsum(self.listing.source.sizes)]).astype(np.int64)

    @property
    def shape(self) -> tuple[int, ...]:
        """(h, w, c) of every image."""
        return self.findings.facts.shape

    @property
    def image_bytes(self) -> int:
        """Bytes of a decoded image."""
        return prod(self.shape)

    def groups_of(self, samples: NDArray[np.int64]) -> NDArray[np.intp]:
        """Return in which group each sample is."""
        return np.searchsorted(self.first_rows, samples, side="right") - 1

    def decode(
        self, samples: NDArray[np.int64], contents: dict[int, Sequence[Content]]
    ) -> NDArray[np.uint8]:
        """Return images, uint8 of shape (n, h, w, c).

        Parameters
        ----------
        samples : ndarray of int64, shape (n,)
            Indices into the source.
        contents : dict of int to sequence
            The groups that hold them.

        Raises
        ------
        DataError
            Naming the file and row of an image that cannot be read or has another shape.
        """
        images = np.empty((len(samples), *self.shape), np.uint8)
        groups = self.groups_of(samples)
        rows = samples - self.first_rows[groups]
        survey = Survey()
        source = self.listing.source
        for image, group, row in zip(images, groups.tolist(), rows.tolist(), strict=True):
            where = source.where(group, row)
            sample = (where, contents[group][row])
            pixels = read_sample(sample, self.options, self.findings.rules, survey)
            fits = not isinstance(pixels, str) and pixels.shape[:2] == self.shape[:2]
            if isinstance(pixels, str) or not fits or pixels.shape[2] > self.shape[2]:
                raise DataError(f"{where}: not the image that was there before; leave the files")
            image[...] = pixels
        if self.findings.factor > 1:
            images *= self.findings.factor
        return images
