"""Loading: the name of a data set or a path in; pixels or numbers, and labels, out."""

import os
from collections.abc import Generator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core import rng
from ..core.split import Split
from ..errors import DataError, one_line, suggest
from . import checks, hints
from .cache import cache_folder
from .dataset import Dataset, Origin, Standardised
from .download import files_present
from .published import NAMES, PUBLISHED
from .readers import digits, idx
from .reading import PLAIN, Contents, Options, Progress
from .registry import FOR_ROWS, Format, format_of_file, format_of_folder, formats

TEST_FRACTION = 0.1
BYTES_REORDERED_AT_ONCE = 2**26
# What an option of `FOR_ROWS` is for; the formats that follow it are added.
PURPOSES = {
    "label": "choosing the labels",
    "shape": "rows of numbers",
    "white": "pixels that are numbers",
}


def load(
    source: str | None = None,
    seed: int = 0,
    options: Options = PLAIN,
    progress: Progress | None = None,
    may_stream: bool = False,
) -> Dataset:
    """Load a data set.

    Parameters
    ----------
    source : str, optional
        The name of a data set, such as ``mnist``, or the path of a file or folder in one of the
        formats of `registry`. Without it: ``mnist_test.csv`` in the working directory, else MNIST
        in the cache, else digits.
    seed : int
        Decides how a single set is shuffled and split 90/10, class by class.
    options : Options
        How image files are decoded, which column has the labels, and what a row of numbers is.
    progress : callable, optional
        Called with the number of images decoded so far and of all images.
    may_stream : bool
        Whether images that would take too much of the memory are streamed, as with
        ``options.stream``.

    Returns
    -------
    Dataset

    Raises
    ------
    DataError
        Saying what is wrong, in which file, and where.
    """
    if source is None:
        source = default_source()
    with _naming_hidden(source):
        if may_stream and is_large(source, options):
            options = replace(options, stream=True)
        if options.stream:
            dataset = _streamed(source, options, seed, progress)
        else:
            dataset = _dataset(_read_source(source, options, progress), seed)
    return replace(dataset, origin=Origin(source, options.to_json()))


@dataclass(frozen=True)
class Unsplit:
    """What a source holds, before a test set is split off and columns are standardised.

    Attributes
    ----------
    name, source : str
        As in `Dataset`.
    contents : Contents
        What its reader returned.
    """

    name: str
    source: str
    contents: Contents


def read(source: str, options: Options = PLAIN, progress: Progress | None = None) -> Unsplit:
    """Read what a name or path means; the parameters and errors are those of `load`."""
    with _naming_hidden(source):
        return _read_source(source, options, progress)


def _read_source(source: str, options: Options, progress: Progress | None) -> Unsplit:
    path = _existing(source)
    if path is not None:
        return _read(source, path, options, progress)
    if source in NAMES:
        return _named(source, options)
    looks_like_path = os.sep in source or "." in source
    advice = "check the path" if looks_like_path else suggest(source, NAMES)
    raise DataError(f"{source}: no such file or data set; {advice}")


def format_of(source: str) -> Format | None:
    """Return the format of a file or folder; None for the name of a data set, and if unknown."""
    path = _existing(source)
    if path is None:
        return None
    if _is_folder(path):
        return format_of_folder(path)
    return format_of_file(path)


def _is_folder(path: Path) -> bool:
    with checks.reading(path):
        return path.is_dir()


@contextmanager
def _naming_hidden(source: str) -> Generator[None]:
    """Add to an error that a file or folder hides the data set of its name, where it does."""
    path = _existing(source) if source in NAMES else None
    if path is None:
        yield
        return
    with hints.hidden(source, path):
        yield


def default_source() -> str:
    """Return the source that is used when none is named."""
    if Path("mnist_test.csv").is_file():
        return "mnist_test.csv"
    if len(files_present("mnist")) == PUBLISHED["mnist"].count:
        return "mnist"
    return "digits"


def _existing(source: str) -> Path | None:
    """Return the path that a source is; None where nothing is there.

    Raises
    ------
    DataError
        The source is empty, or cannot be a path.
    """
    if not source:
        advice = "give a name or a path, or leave it out for the default"
        raise DataError(f"the data has an empty name; {advice}")
    try:
        path = Path(source).expanduser()
        return path if path.exists() else None
    except (OSError, RuntimeError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise DataError(f"{source[:60]}: not a path ({reason})") from None


def stratified(
    whole: Split,
    seed: int,
    fraction: float = TEST_FRACTION,
    what: str = "test",
    in_place: bool = False,
) -> tuple[Split, Split]:
    """Shuffle by seed and split off a part, each class in proportion.

    Class sizes are rounded so that their sum is exact (largest remainders).

    Parameters
    ----------
    whole : Split
    seed : int
    fraction : float
        The share of the samples to split off.
    what : str
        What the part is called in a message: ``test`` or ``validation``.
    in_place : bool
        Whether the images of `whole` may be put into their new order themselves, so that a large
        set is not in memory twice.

    Returns
    -------
    tuple of (Split, Split)
        What is left, and the part.

    Raises
    ------
    DataError
        One of the two would be empty.
    """
    order = rng.permutation(len(whole), seed, "split")
    labels = whole.labels[order]
    is_split_off = _first_of_each_class(labels, _proportional_counts(labels, fraction))
    count = int(is_split_off.sum())
    left = len(whole) - count
    if not left or not count:
        share = f"{100 * fraction:g} % of them"
        reason = f"{share} is less than one"
        if count:
            reason = f"{share} would leave none to train on"
        advice = "give more samples"
        if what != "test":
            advice += ", or another share"
        raise DataError(
            f"{len(whole)} samples are too few to split off a {what} set: {reason}; {advice}"
        )
    rest = order[~is_split_off]
    part = order[is_split_off]
    if in_place and whole.images.flags.writeable and whole.images.flags.c_contiguous:
        _reorder(whole.images, np.concatenate([rest, part]))
        return (
            Split(whole.images[:left], labels[~is_split_off]),
            Split(whole.images[left:], labels[is_split_off]),
        )
    return whole.take(rest), whole.take(part)


def _proportional_counts(labels: NDArray[np.int32], fraction: float) -> dict[int, int]:
    """Return how many samples of each class to split off.

    Parameters
    ----------
    labels : ndarray of int32, shape (n,)
    fraction : float
        Of all samples; the counts are rounded so that their sum is `fraction` · n, rounded.
    """
    classes, counts = np.unique(labels, return_counts=True)
    exact = counts * fraction
    rounded = np.floor(exact).astype(int)
    missing = round(len(labels) * fraction) - int(rounded.sum())
    largest_remainders = np.argsort(rounded - exact, kind="stable")[:missing]
    rounded[largest_remainders] += 1
    return dict(zip(classes.tolist(), rounded.tolist(), strict=True))


def _first_of_each_class(labels: NDArray[np.int32], counts: dict[int, int]) -> NDArray[np.bool_]:
    """Return where the first `counts[label]` samples of each class are, bool of shape (n,)."""
    chosen = np.zeros(len(labels), bool)
    for label, count in counts.items():
        chosen[np.flatnonzero(labels == label)[:count]] = True
    return chosen


def _reorder(images: NDArray[Any], order: NDArray[Any]) -> None:
    """Put images (n, h, w, c) into another order, in place, a part of each image at a time."""
    flat = images.reshape(len(images), -1)
    width = max(1, BYTES_REORDERED_AT_ONCE // (len(images) * images.itemsize))
    for begin in range(0, flat.shape[1], width):
        flat[:, begin : begin + width] = flat[order, begin : begin + width]


def _read(
    source: str,
    path: Path,
    options: Options,
    progress: Progress | None,
) -> Unsplit:
    """Read a file or folder that exists, in the format that it has."""
    known = _known_format(source, path, options)
    with checks.reading(path), _explained(path, known):
        contents = known.read(path, options, progress)
    if source in NAMES:
        contents = replace(contents, notes=(*contents.notes, hints.hiding(source, path)))
    return Unsplit(*_named_after(source, path, known), contents)


def _known_format(source: str, path: Path, options: Options) -> Format:
    """Return the format of a file or folder.

    Raises
    ------
    DataError
        It has none that is known, or one that does not follow the options.
    """
    is_folder = _is_folder(path)
    if is_folder:
        known = format_of_folder(path)
        hint = hints.about_folder
    else:
        known = format_of_file(path)
        hint = hints.about_file
    if known is None:
        raise DataError(hint(path))
    _refuse_ignored(source, options, known)
    if source in NAMES and known.is_deeper is not None and known.is_deeper(path):
        raise DataError(hints.about_folder(path))
    return known


def _explained(path: Path, known: Format) -> AbstractContextManager[None]:
    """Return what adds to an error about a folder where else its data may be."""
    return hints.explained(path) if known.is_last_resort else nullcontext()


def _named_after(source: str, path: Path, known: Format) -> tuple[str, str]:
    """Return the name of a data set, and where it came from."""
    if _is_folder(path):
        return path.resolve().name, f"{source} ({known.name})"
    return path.name.split(".")[0], source


def _streamed(source: str, options: Options, seed: int, progress: Progress | None) -> Dataset:
    """Return a dataset whose images stay in the files."""
    from .streaming.loading import read_stream
    from .streaming.split import notes_of, splits_of

    path = _existing(source)
    names = ", ".join(known.name for known in formats() if known.list_samples)
    if path is None:
        if source in NAMES:
            raise DataError(f"{source}: only files and folders can be streamed ({names})")
        _read_source(source, options, progress)  # raises the error
    assert path is not None
    known = _known_format(source, path, options)
    if known.list_samples is None:
        raise DataError(f"{source}: {known.name} cannot be streamed, but {names}; omit --stream")
    with checks.reading(path), _explained(path, known):
        stream = read_stream(path, known.list_samples(path, options), options, progress)
        train, test = splits_of(stream)
        notes = notes_of(train)
        if test is None:
            train, test = stratified(train, seed)
    name, shown = _named_after(source, path, known)
    return Dataset(
        name=name,
        source=shown,
        train=train,
        test=test,
        classes=stream.listing.classes,
        left_out=stream.findings.left_out,
        notes=notes,
        known=stream.findings.facts,
    )


def is_large(source: str, options: Options) -> bool:
    """Return whether the images of a source can be streamed and should not be in memory.

    They are estimated from the first one.
    """
    from .streaming.loading import is_too_large

    path = _existing(source)
    if path is None:
        return False
    known = _known_format(source, path, options)
    if known.list_samples is None:
        return False
    with checks.reading(path), _explained(path, known):
        return is_too_large(known.list_samples(path, options), options)


def _dataset(unsplit: Unsplit, seed: int) -> Dataset:
    """Return a dataset, with a test set split off where there is none.

    The columns of a table are standardised by the training rows.
    """
    contents = unsplit.contents
    source = unsplit.source
    train = contents.train
    test = contents.test
    if test is None:
        try:
            train, test = stratified(contents.train, seed, in_place=True)
        except DataError as error:
            raise DataError(f"{one_line(source)}: {error}") from None
    table = None
    if contents.features:
        table = Standardised.by(train, contents.features, source)
        train = table.applied(train)
        test = table.applied(test)
    return Dataset(
        name=unsplit.name,
        source=source,
        train=train,
        test=test,
        classes=contents.classes,
        left_out=contents.left_out,
        notes=contents.notes,
        warnings=contents.warnings,
        table=table,
    )


def _named(name: str, options: Options) -> Unsplit:
    """Load a data set by its name, from the cache or from scikit-learn."""
    if name == "digits":
        _refuse(name, options, resizes=False, ignores=FOR_ROWS)
        whole = Contents(digits.read())
        return Unsplit(name, "scikit-learn's 1,797 digits, scaled to 28×28", whole)
    path = cache_folder() / name
    published = PUBLISHED[name]
    if len(files_present(name)) < published.count:
        raise DataError(f"{name} is not in {path}; get it with: triptych data fetch {name}")
    if published.members:
        unsplit = _read(str(path), path, options, None)
        contents = replace(unsplit.contents, classes=published.classes)
        return Unsplit(name, unsplit.source, contents)
    _refuse(name, options, resizes=False, ignores=FOR_ROWS)
    contents = idx.read(path, options, classes=published.classes)
    return Unsplit(name, f"{path} (IDX)", contents)


def _refuse_ignored(source: str, options: Options, known: Format) -> None:
    """Raise `DataError` for an option that is set and that the format does not follow."""
    _refuse(source, options, known.resizes, known.ignores)


def _refuse(source: str, options: Options, resizes: bool, ignores: tuple[str, ...]) -> None:
    if options.size and not resizes:
        names = ", ".join(known.name for known in formats() if known.resizes)
        raise DataError(f"{source}: its images have one size; --size is for {names}")
    for option in ignores:
        if getattr(options, option) is not None:
            names = ", ".join(known.name for known in formats() if option not in known.ignores)
            purpose = f"{PURPOSES[option]} ({names})"
            raise DataError(f"{source}: --{option} is for {purpose}; leave it out")
