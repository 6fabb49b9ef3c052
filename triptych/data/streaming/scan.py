"""One pass over all images of a source, by several threads: what training must know before."""

import warnings
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...core.devices import processors
from ...errors import one_line
from ..dataset import IMAGES_FOR_BOX, PixelFacts, border_sum, box_of
from ..readers.image_file import Content, size_of
from ..readers.image_survey import Rules, Survey
from ..readers.images import (
    check_left_out,
    check_some_left,
    faults,
    masks_note,
    read_sample,
    refuse_size,
)
from ..readers.pixel_values import compare_ranges
from ..readers.source import Listing
from ..reading import Options, Progress
from .findings import Findings

SAMPLES_AT_ONCE = 64  # that one thread decodes
BYTES_COUNTED_AT_ONCE = 2**22  # of decoded images
PIECES_AHEAD = 2  # for each thread


@dataclass
class _Tally:
    """Sums over images; grey images count as images of three equal channels among colour."""

    count: int = 0
    lowest: int = 255
    highest: int = 0
    means: float = 0.0  # of each image, summed
    borders: float = 0.0
    blank: int = 0
    sides: list[int] = field(default_factory=list[int])
    shape: tuple[int, ...] = (1, 1, 1)

    def add_images(self, images: NDArray[np.uint8], boxes: list[int]) -> None:
        """Add images (k, h, w, c); `boxes` are the sides of the drawings in some."""
        rows = images.reshape(len(images), -1)
        lowest = rows.min(axis=1)
        highest = rows.max(axis=1)
        border, border_count = border_sum(images)
        self.lowest = min(self.lowest, int(lowest.min()))
        self.highest = max(self.highest, int(highest.max()))
        self.means += int(rows.sum(dtype=np.uint64)) / rows.shape[1]
        self.borders += border / (border_count / len(images))
        self.blank += int((lowest == highest).sum())
        self.sides += boxes
        self.shape = np.broadcast_shapes(self.shape, images.shape[1:])
        self.count += len(images)

    def add(self, other: "_Tally") -> None:
        if not other.count:
            return
        self.shape = np.broadcast_shapes(self.shape, other.shape)
        self.count += other.count
        self.lowest = min(self.lowest, other.lowest)
        self.highest = max(self.highest, other.highest)
        self.means += other.means
        self.borders += other.borders
        self.blank += other.blank
        self.sides += other.sides

    def facts(self, factor: int) -> PixelFacts:
        return PixelFacts(
            shape=self.shape,
            count=self.count,
            are_bytes=True,
            lowest=float(self.lowest * factor),
            highest=float(self.highest * factor),
            mean=self.means / self.count * factor,
            limits=[0.0, 1.0],
            blank=self.blank,
            border=round(self.borders / self.count * factor, 2),
            box=max(1, int(np.median(self.sides))) if self.sides else 1,
        )


@dataclass
class _Piece:
    """What was found in some neighbouring samples."""

    is_read: list[bool] = field(default_factory=list[bool])
    left_out: list[str] = field(default_factory=list[str])
    survey: Survey = field(default_factory=Survey)
    train: _Tally = field(default_factory=_Tally)
    test: _Tally = field(default_factory=_Tally)
    first: str = ""  # what a message calls the first image
    shape: tuple[int, ...] = ()
    stored_bytes: int = 0
    digest: bytes = b""


@dataclass(frozen=True)
class _Scan:
    """One pass with the same rules for all images."""

    listing: Listing
    options: Options
    rules: Rules

    def piece(self, at: int, group: int, start: int, contents: Sequence[Content]) -> _Piece:
        """Look at neighbouring samples of a group; `at` is the index of the first of them."""
        piece = _Piece()
        digest = sha256()
        similar: list[NDArray[np.uint8]] = []  # of one shape and part, not counted yet
        boxes: list[int] = []
        tally = piece.train

        def count() -> None:
            if similar:
                images = np.ascontiguousarray(np.stack(similar))
                tally.add_images(images, boxes)
                digest.update(repr(images.shape).encode())
                digest.update(images.data)
                similar.clear()
                boxes.clear()

        box_step = -(-self.listing.training // IMAGES_FOR_BOX)
        for row, content in enumerate(contents, start):
            where = self.listing.source.where(group, row)
            index = at + row - start
            piece.stored_bytes += size_of(content)
            pixels = read_sample((where, content), self.options, self.rules, piece.survey)
            piece.is_read.append(not isinstance(pixels, str))
            if isinstance(pixels, str):
                piece.left_out.append(pixels)
                continue
            if not piece.first:
                piece.first = where
                piece.shape = pixels.shape
            refuse_size(where, pixels.shape, piece.first, piece.shape)
            part = piece.train if index < self.listing.training else piece.test
            is_other = part is not tally or (similar and similar[0].shape != pixels.shape)
            if is_other or len(similar) * pixels.nbytes > BYTES_COUNTED_AT_ONCE:
                count()
                tally = part
            similar.append(pixels)
            if part is piece.train and index % box_step == 0:
                boxes.append(box_of(pixels[np.newaxis]))
        count()
        piece.digest = digest.digest()
        return piece

    def pieces(self, progress: Progress | None) -> Iterator[_Piece]:
        """Yield what was found in all samples, in their order."""
        source = self.listing.source
        total = len(self.listing.labels)
        threads = processors()
        waiting: deque[Future[_Piece]] = deque()
        done = 0
        at = 0
        with ThreadPoolExecutor(threads) as pool:
            try:
                for group in range(len(source.sizes)):
                    contents = source.read(group)
                    for start in range(0, len(contents), SAMPLES_AT_ONCE):
                        some = contents[start : start + SAMPLES_AT_ONCE]
                        waiting.append(pool.submit(self.piece, at, group, start, some))
                        at += len(some)
                        if len(waiting) > PIECES_AHEAD * threads:
                            piece = waiting.popleft().result()
                            done += len(piece.is_read)
                            if progress:
                                progress(done, total)
                            yield piece
                while waiting:
                    yield waiting.popleft().result()
            finally:
                for each in waiting:
                    each.cancel()


def scan(path: Path, listing: Listing, options: Options, progress: Progress | None) -> Findings:
    """Decode every image once, and return what was found.

    Parameters
    ----------
    path : Path
        What an error is about.
    listing : Listing
        What is read.
    options : Options
        How it is read.
    progress : callable, optional
        Called with the number of images decoded so far, and of all images.

    Raises
    ------
    DataError
        Naming the first image that cannot be read or has another size.
    """
    whole = _merged(_Scan(listing, options, Rules()), progress)
    has_test = listing.training == len(listing.labels) or whole.test.count > 0
    check_some_left(one_line(path), whole.train.count, has_test, whole.left_out)
    rules = whole.survey.rules(path)
    notes = whole.survey.notes(rules)
    if rules != Rules():
        whole = _merged(_Scan(listing, options, rules), progress)
    every = _Tally()
    every.add(whole.train)
    every.add(whole.test)
    factor = 255 if (every.lowest, every.highest) == (0, 1) else 1
    if factor > 1:
        notes.append(masks_note())
    else:
        notes += faults(every.lowest, every.highest)
    if whole.test.count:
        name = one_line(path)
        notes += compare_ranges(name, whole.train.highest * factor, whole.test.highest * factor)
    return Findings(
        facts=replace(whole.train.facts(factor), shape=every.shape),
        rules=rules,
        factor=factor,
        is_read=np.array(whole.is_read),
        stored_bytes=whole.stored_bytes,
        digest=whole.digest.hex(),
        left_out=tuple(whole.left_out),
        notes=tuple(notes),
    )


def _merged(one_pass: _Scan, progress: Progress | None) -> _Piece:
    """Return what a pass has found in all images together."""
    whole = _Piece()
    digest = sha256()
    with warnings.catch_warnings():
        # Pillow's warnings are about metadata, and about too many pixels, which are refused.
        warnings.simplefilter("ignore")
        for piece in one_pass.pieces(progress):
            whole.is_read += piece.is_read
            whole.left_out += piece.left_out
            check_left_out(whole.left_out)
            whole.survey.add(piece.survey)
            if piece.first:
                whole.first = whole.first or piece.first
                whole.shape = whole.shape or piece.shape
                refuse_size(piece.first, piece.shape, whole.first, whole.shape)
            whole.train.add(piece.train)
            whole.test.add(piece.test)
            whole.stored_bytes += piece.stored_bytes
            digest.update(piece.digest)
    whole.digest = digest.digest()
    return whole
