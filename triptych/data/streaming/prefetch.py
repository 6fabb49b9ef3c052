"""Reading ahead: one thread reads groups, others decode, and the main thread takes the images."""

import time
import warnings
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from ...core.devices import processors
from ..readers.image_file import Content
from .stream import Stream

PIECE_SAMPLES = 128  # that one thread decodes at a time, at most
PIECE_BYTES = 2**22  # of decoded images, likewise
AHEAD_BYTES = 2**24  # of decoded images that wait to be taken: two blocks of steps
PIECES_AHEAD = 2  # for each thread, at least

Loading = Future[Sequence[Content]]


class _Epoch:
    """The samples of an epoch in their order, and when each group is needed.

    Parameters
    ----------
    stream : Stream
    samples : ndarray of int64, shape (n,)
        Indices into the source.
    start : int
        How many samples the epochs before have.
    """

    def __init__(self, stream: Stream, samples: NDArray[np.int64], start: int) -> None:
        self.samples = samples
        self.groups = stream.groups_of(samples)
        self.end = start + len(samples)
        present, first = np.unique(self.groups, return_index=True)
        by_need = np.argsort(first)
        # The groups in the order in which they are needed, and from which sample on.
        self.to_load = deque(
            zip(present[by_need].tolist(), (start + first[by_need]).tolist(), strict=True)
        )
        last = np.zeros(int(present.max(initial=0)) + 1, np.int64)
        last[self.groups] = np.arange(len(samples))
        self.last = last
        self.loading: dict[int, Loading] = {}
        self.taken = 0  # samples that were given to a thread


class Prefetcher:
    """Decodes samples in a given order, ahead of `take`, with bounded memory.

    The groups of the next `ahead` samples are in memory as they are stored, and about 16 MiB of
    decoded images. An error of a thread is raised by `take` at the place of its sample.

    Parameters
    ----------
    stream : Stream
        What decodes.
    epochs : iterator of ndarray of int64
        The samples of each epoch in their order, as indices into the source.
    ahead : int
        How many samples before its first use a group is read.

    Attributes
    ----------
    waited : float
        Seconds in which `take` has waited for a thread.
    """

    def __init__(self, stream: Stream, epochs: Iterator[NDArray[np.int64]], ahead: int) -> None:
        self._stream = stream
        self._coming = epochs
        self._ahead = ahead
        size = stream.image_bytes
        self._piece = max(1, min(PIECE_SAMPLES, PIECE_BYTES // size))
        threads = processors()
        self._most_pieces = max(PIECES_AHEAD * threads, AHEAD_BYTES // (self._piece * size))
        self._reader = ThreadPoolExecutor(1, "read")
        self._decoders = ThreadPoolExecutor(threads, "decode")
        self._epochs: deque[_Epoch] = deque()  # that are read or decoded
        self._samples_seen = 0  # of all epochs in `_epochs` and before
        self._decoded = 0  # samples that were given to a thread
        self._pieces: deque[Future[NDArray[np.uint8]]] = deque()
        self._rest = np.empty((0, *stream.shape), np.uint8)  # of a piece that is taken in part
        self.waited = 0.0
        # Pillow's warnings are about metadata, and about too many pixels, which are refused. The
        # filter is the whole process's: one of a thread alone does not exist.
        warnings.filterwarnings("ignore", module=r"PIL\.")

    def take(self, count: int) -> NDArray[np.uint8]:
        """Return the next images, uint8 of shape (count, h, w, c).

        Raises
        ------
        DataError
            Naming the file and row of an image that cannot be read.
        """
        images = np.empty((count, *self._stream.shape), np.uint8)
        filled = 0
        while filled < count:
            if not len(self._rest):
                self._rest = self._next_piece()
            some = self._rest[: count - filled]
            images[filled : filled + len(some)] = some
            self._rest = self._rest[len(some) :]
            filled += len(some)
        self._fill()
        return images

    def _next_piece(self) -> NDArray[np.uint8]:
        self._fill()
        piece = self._pieces.popleft()
        begun = time.perf_counter()
        try:
            return piece.result()
        finally:
            self.waited += time.perf_counter() - begun

    def _fill(self) -> None:
        """Give the threads as much to do as memory allows."""
        while len(self._pieces) < self._most_pieces and self._has_epoch():
            epoch = self._epochs[0]
            self._load_ahead()
            start = epoch.taken
            stop = min(start + self._piece, len(epoch.samples))
            groups = np.unique(epoch.groups[start:stop]).tolist()
            contents = {group: epoch.loading[group] for group in groups}
            samples = epoch.samples[start:stop]
            self._pieces.append(self._decoders.submit(self._decode, samples, contents))
            for group in groups:
                if epoch.last[group] < stop:
                    del epoch.loading[group]  # the last piece that needs it has it
            self._decoded += stop - start
            epoch.taken = stop

    def _decode(
        self, samples: NDArray[np.int64], contents: dict[int, Loading]
    ) -> NDArray[np.uint8]:
        read = {group: loading.result() for group, loading in contents.items()}
        return self._stream.decode(samples, read)

    def _has_epoch(self) -> bool:
        """Return whether the first of `_epochs` has samples left, or there is another one."""
        while self._epochs and self._epochs[0].taken == len(self._epochs[0].samples):
            self._epochs.popleft()
        return bool(self._epochs) or self._append_epoch()

    def _append_epoch(self) -> bool:
        samples = next(self._coming, None)
        if samples is None:
            return False
        self._epochs.append(_Epoch(self._stream, samples, self._samples_seen))
        self._samples_seen += len(samples)
        return True

    def _load_ahead(self) -> None:
        """Start to read the groups that are needed within the next samples."""
        limit = self._decoded + self._ahead + self._piece
        while self._samples_seen < limit and self._append_epoch():
            pass
        for epoch in self._epochs:
            while epoch.to_load and epoch.to_load[0][1] < limit:
                group, _ = epoch.to_load.popleft()
                loading = self._reader.submit(self._stream.listing.source.read, group)
                epoch.loading[group] = loading

    def close(self) -> None:
        """End the threads; what they are doing is finished first."""
        # A decoder that waits for a group is told that the group is not read any more.
        self._reader.shutdown(wait=False, cancel_futures=True)
        self._decoders.shutdown(wait=True, cancel_futures=True)
        self._reader.shutdown(wait=True)
        self._pieces.clear()
        self._epochs.clear()
