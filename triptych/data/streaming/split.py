"""A split whose images are read from files when they are needed."""

from collections.abc import Iterable, Iterator
from contextlib import closing
from functools import cached_property
from hashlib import sha256
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...core.engine import SAMPLES_EVALUATED_AT_ONCE
from ...core.order import WindowedOrder
from ...core.split import Split
from ...errors import DataError, counted
from ..readers.images import LIMIT
from .prefetch import Prefetcher
from .stream import Stream

WINDOW_BYTES = 2**27  # of images as they are stored, that are shuffled among each other
BLOCK_BYTES = 2**26  # of decoded images that are evaluated at once


class StreamedSplit(Split):
    """Labelled images in files.

    Parameters
    ----------
    stream : Stream
        Where the images are.
    samples : ndarray of int64, shape (n,)
        Indices into the source, ascending.
    labels : ndarray of int32, shape (n,)
        The class of each sample.
    """

    stream: Stream
    samples: NDArray[np.int64]

    def __init__(
        self, stream: Stream, samples: NDArray[np.int64], labels: NDArray[np.int32]
    ) -> None:
        for name, value in (("stream", stream), ("samples", samples), ("labels", labels)):
            object.__setattr__(self, name, value)

    @cached_property
    def images(self) -> NDArray[Any]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """All images, uint8 of shape (n, h, w, c); they stay in memory.

        Raises
        ------
        DataError
            They take more memory than a data set that is not streamed may take.
        """
        size = len(self) * self.stream.image_bytes
        if size > LIMIT:
            count = f"{len(self):,} streamed images take {size:,} bytes in memory"
            advice = "only triptych train streams them"
            raise DataError(f"{count}, over the limit of {LIMIT:,}; {advice}")
        return np.concatenate([block.images for block in self.blocks()])

    @cached_property
    def digest(self) -> str:
        """A SHA-256 of pixels and labels, in hexadecimal digits; not that of a split in memory."""
        h = sha256(self.stream.findings.digest.encode())
        h.update(self.samples.data)
        h.update(self.labels.data)
        return h.hexdigest()

    @property
    def order(self) -> WindowedOrder | None:
        """The order of an epoch; None where all samples are shuffled alike, as in memory."""
        sizes = self.stream.listing.source.sizes
        if len(sizes) == 1:
            return None
        counts = np.bincount(self.stream.groups_of(self.samples), minlength=len(sizes))
        return WindowedOrder(tuple(counts[counts > 0].tolist()), self._window())

    def _window(self) -> int:
        """Return how many samples are shuffled among each other."""
        total = len(self.stream.listing.labels)
        each = max(1, -(-self.stream.findings.stored_bytes // total))
        return max(1, WINDOW_BYTES // each)

    def take(self, samples: NDArray[Any]) -> "StreamedSplit":
        """Return some of the samples, by their indices, in the order of the files."""
        chosen = np.sort(samples)
        return StreamedSplit(self.stream, self.samples[chosen], self.labels[chosen])

    def prefetched(self, orders: Iterable[NDArray[Any]]) -> Prefetcher:
        """Return what reads the samples in a shuffled order, ahead of their use.

        Parameters
        ----------
        orders : iterable of ndarray of int
            Indices into this split, one array for each epoch.
        """
        epochs = (self.samples[order] for order in orders)
        return Prefetcher(self.stream, epochs, ahead=self._window())

    def blocks(self) -> Iterator[Split]:
        """Yield all samples in their order, as many at a time as engines evaluate at once."""
        block = max(1, min(SAMPLES_EVALUATED_AT_ONCE, BLOCK_BYTES // self.stream.image_bytes))
        with closing(Prefetcher(self.stream, iter([self.samples]), ahead=block)) as reader:
            for start in range(0, len(self), block):
                labels = self.labels[start : start + block]
                yield Split(reader.take(len(labels)), labels)


def splits_of(stream: Stream) -> tuple[StreamedSplit, StreamedSplit | None]:
    """Return the training set and the test set, None where one is still to be split off."""
    listing = stream.listing
    samples = np.flatnonzero(stream.findings.is_read)
    is_training = samples < listing.training
    train, test = (
        StreamedSplit(stream, some, listing.labels[some])
        for some in (samples[is_training], samples[~is_training])
    )
    return train, None if listing.training == len(listing.labels) else test


def notes_of(train: StreamedSplit) -> tuple[str, ...]:
    """Return what a person should know of how the data of a training set is read."""
    how = "streamed: images are read while they are trained on"
    if train.order is not None:
        groups = counted(len(train.order.sizes), "row group")
        how += f", in {groups}, shuffled within windows of {train.order.window:,} images"
    return *train.stream.listing.notes, *train.stream.findings.notes, how
