"""From a listing to a stream: the images are looked at once, and again only if files change."""

from functools import partial
from math import prod
from pathlib import Path

import psutil

from ...errors import one_line
from ..readers.image_survey import Rules, Survey
from ..readers.images import LIMIT, check_classes, read_sample
from ..readers.source import Listing
from ..reading import Options, Progress
from .findings import load_or_find
from .scan import scan
from .split import splits_of
from .stream import Stream

BYTES_OF_A_PIXEL = 5  # in memory: the byte itself, and as float32 in the engine
SHARE_OF_MEMORY = 0.5  # images that would take more of the machine's memory are streamed
MOST_TRIED = 10  # samples from which the size of the images is estimated


def read_stream(
    path: Path, listing: Listing, options: Options, progress: Progress | None
) -> Stream:
    """Return a stream of the images of a source.

    Parameters
    ----------
    path : Path
        The source, for messages and for the name of what is kept.
    listing : Listing
        What it holds.
    options : Options
        How it is read.
    progress : callable, optional
        As of `scan`.

    Raises
    ------
    DataError
        Naming the first image that cannot be read or has another size, or the class with too few.
    """
    find = partial(scan, path, listing, options, progress)
    findings = load_or_find(path, options, listing.files, find)
    stream = Stream(path, listing, findings, options)
    if options.for_training:
        train, test = splits_of(stream)
        labels = listing.labels[stream.findings.is_read]
        count = len(train) if test is not None else len(labels)
        check_classes(one_line(path), labels, count, listing.classes)
    return stream


def is_too_large(listing: Listing, options: Options) -> bool:
    """Return whether images would take too much of this machine's memory, judged by the first.

    An image that cannot be read is passed over: `scan` will name it.
    """
    skipping = Options(size=options.size, skip_unreadable=True)
    source = listing.source
    for row, content in enumerate(source.read(0)[:MOST_TRIED]):
        sample = (source.where(0, row), content)
        pixels = read_sample(sample, skipping, Rules(), Survey())
        if isinstance(pixels, str):
            continue
        size = len(listing.labels) * prod(pixels.shape)
        share = SHARE_OF_MEMORY * psutil.virtual_memory().total
        return size > LIMIT or size * BYTES_OF_A_PIXEL > share
    return False
