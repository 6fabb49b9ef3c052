"""Data: a name or a path in, pixels or the numbers of a table and labels out, every reader behind one door."""

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core import rng
from ..core.split import Split
from ..errors import DataError, suggest
from . import checks, download
from .cache import cache_folder
from .dataset import Dataset, Standardised
from .readers import cifar, csv, digits, folder, hints, idx, npz, pairs, parquet
from .reading import PLAIN, Found, Options, Progress

__all__ = ["PLAIN", "Dataset", "Options", "Split", "load"]

NAMES = ("digits", *download.PUBLISHED)
TEST_FRACTION = 0.1
REORDERED_BYTES = 2**26  # that are copied at once where images are put in another order
NO_ROWS = ("label", "shape")  # options for rows of numbers, and what they are for:
MEANT_FOR = {
    "label": "a column of a CSV, an .npz or a Parquet file",
    "shape": "rows of numbers in a CSV or an .npz",
}


@dataclass(frozen=True)
class Format:
    """A kind of file or folder, and its reader.

    Attributes
    ----------
    name : str
    read : callable
        Given the path, the options, and what to tell its progress.
    files : tuple of str
        How the names of its files end.
    fits : callable, optional
        Whether a folder holds it.
    sign : str
        What such a folder is recognised by, for a person.
    decodes : bool
        Whether it takes `Options.size`.
    ignores : tuple of str
        Which of `Options.label` and `Options.shape` mean nothing to it.
    """

    name: str
    read: Callable[[Path, Options, Progress | None], Found]
    files: tuple[str, ...] = ()
    fits: Callable[[Path], bool] = lambda _: False
    sign: str = ""
    decodes: bool = False
    ignores: tuple[str, ...] = ()


# A folder is what the first that fits says.
FORMATS = (
    Format(
        "CSV",
        lambda path, options, _: csv.read(path, options),
        files=(".csv", ".csv.gz", ".csv.zip"),
    ),
    Format("npz", lambda path, options, _: npz.read(path, options), files=(".npz",)),
    Format(
        "IDX",
        lambda path, options, _: idx.read(path, options),
        fits=idx.fits,
        sign="train-images-idx3-ubyte",
        ignores=NO_ROWS,
    ),
    Format(
        "CIFAR-10 binary",
        lambda path, _, __: cifar.read(path),
        fits=cifar.fits,
        sign="data_batch_1.bin",
        ignores=NO_ROWS,
    ),
    Format(
        "CIFAR-100 binary",
        lambda path, options, _: cifar.read_100(path, options),
        fits=cifar.fits_100,
        ignores=("shape",),
    ),
    Format(
        "Parquet",
        parquet.read,
        (".parquet",),
        parquet.fits,
        "train*.parquet",
        decodes=True,
        ignores=("shape",),
    ),
    Format("CSV files", pairs.read_csv, fits=pairs.csv_fits),
    Format("npz files", pairs.read_npz, fits=pairs.npz_fits),
    Format(
        "image files",
        folder.read,
        fits=folder.fits,
        sign="folder of images for each class",
        decodes=True,
        ignores=NO_ROWS,
    ),
)


def load(
    source: str | None = None,
    seed: int = 0,
    options: Options = PLAIN,
    progress: Progress | None = None,
) -> Dataset:
    """Load a data set.

    Parameters
    ----------
    source : str, optional
        ``digits``, ``mnist``, ``fashion-mnist``, ``kmnist``, ``cifar10``; or a path: a CSV (also .gz), an .npz, a
        .parquet, or a folder of the files of one format; images, or the rows of a table. Without it:
        ``mnist_test.csv`` in the working directory,
        else MNIST in the cache, else digits.
    seed : int
        Decides how a single set is shuffled and split 90/10, class by class.
    options : Options
        How image files are decoded, which column has the labels, and what a row of numbers is.
    progress : callable, optional
        Told of images decoded, and how many there are.

    Raises
    ------
    DataError
        Saying what was wrong, in which file, and where.
    """
    if source is None:
        source = default()
    if not source:
        raise DataError(
            "the data has an empty name; give a name or a path, or leave it out for the default"
        )
    try:
        path = Path(source).expanduser()
        there = path.exists()
    except (OSError, RuntimeError, ValueError) as error:
        raise DataError(
            f"{source[:60]}: not a path ({error.strerror if isinstance(error, OSError) else error})"
        ) from None
    if there and source in NAMES:
        with hints.hidden(source, path):
            return _read(source, path, seed, options, progress)
    if there:
        return _read(source, path, seed, options, progress)
    if source in NAMES:
        return _named(source, seed, options)
    near = (
        suggest(source, NAMES) if os.sep not in source and "." not in source else "check the path"
    )
    raise DataError(f"{source}: no such file or data set; {near}")


def default() -> str:
    """Return the source that is used when none is named."""
    if Path("mnist_test.csv").is_file():
        return "mnist_test.csv"
    return "mnist" if len(idx.files(cache_folder() / "mnist")) == 4 else "digits"


def stratified(
    whole: Split,
    seed: int,
    fraction: float = TEST_FRACTION,
    what: str = "test",
    in_place: bool = False,
) -> tuple[Split, Split]:
    """Shuffle by seed and split off `fraction` as the `what` set, each class in proportion.

    Class sizes are rounded so that their sum is exact (largest remainders). With `in_place` the images of `whole` are
    themselves put in their new order, where they can be, so that large sets are not in memory twice.

    Raises
    ------
    DataError
        Where nothing comes into one of the two.
    """
    order = rng.permutation(len(whole), seed, "split")
    labels = whole.labels[order]
    classes, counts = np.unique(labels, return_counts=True)
    wanted = counts * fraction
    take = np.floor(wanted).astype(int)
    most_short = np.argsort(take - wanted, kind="stable")
    take[most_short[: round(len(whole) * fraction) - int(take.sum())]] += 1
    testing = np.zeros(len(whole), bool)
    for label, count in zip(classes, take, strict=True):
        testing[np.flatnonzero(labels == label)[:count]] = True
    count = int(testing.sum())
    kept = len(whole) - count
    if not (kept and count):
        raise DataError(
            f"{len(whole)} samples are too few to split off a {what} set: {fraction} of them come to {count}, "
            f"and {kept} are left to train on; both must have some"
        )
    if in_place and whole.images.flags.writeable and whole.images.flags.c_contiguous:
        _reorder(whole.images, np.concatenate([order[~testing], order[testing]]))
        return Split(whole.images[:kept], labels[~testing]), Split(
            whole.images[kept:], labels[testing]
        )
    return Split(whole.images[order[~testing]], labels[~testing]), Split(
        whole.images[order[testing]], labels[testing]
    )


def _reorder(images: NDArray[Any], order: NDArray[Any]) -> None:
    """Put images (n, h, w, c) in the order of `order`, a part of each image at a time."""
    flat = images.reshape(len(images), -1)
    width = max(1, REORDERED_BYTES // (len(images) * images.itemsize))
    for begin in range(0, flat.shape[1], width):
        flat[:, begin : begin + width] = flat[order, begin : begin + width]


def _read(
    source: str, path: Path, seed: int, options: Options, progress: Progress | None
) -> Dataset:
    """Read a file or folder in the format that it is found to have."""
    with checks.reading(path):
        folder = path.is_dir()
    if folder:
        name = path.resolve().name
        kind = next((form for form in FORMATS if form.fits(path)), None)
    else:
        name = path.name.split(".")[0]
        kind = next((form for form in FORMATS if path.name.lower().endswith(form.files)), None)
    if kind is None and folder:
        raise DataError(hints.of_folder(path, [form.sign for form in FORMATS if form.sign]))
    if kind is None:
        known = ", ".join(end for form in FORMATS for end in form.files)
        raise DataError(hints.of_file(path, known))
    if not kind.decodes:
        _refuse_size(source, options)
    _refuse_ignored(source, options, kind.ignores)
    if source in NAMES and kind.name == "IDX" and idx.is_deeper(path):
        raise DataError(hints.of_folder(path, []))
    found = kind.read(path, options, progress)
    if source in NAMES:
        found = replace(found, notes=(*found.notes, hints.hiding(source, path)))
    said = f"{source} ({kind.name})" if folder else source
    return _dataset(name, said, found, seed)


def _dataset(name: str, source: str, found: Found, seed: int) -> Dataset:
    """Return what was found, with a test set; the columns of a table standardised by the training rows."""
    train, test = found.train, found.test
    if test is None:
        train, test = stratified(found.train, seed, in_place=True)
    table = None
    if found.features:
        table = Standardised.by(train, found.features, source)
        train = table.applied(train)
        test = table.applied(test)
    return Dataset(name, source, train, test, found.classes, found.left_out, found.notes, table)


def _named(name: str, seed: int, options: Options) -> Dataset:
    if name == "digits":
        _refuse_size(name, options)
        _refuse_ignored(name, options, NO_ROWS)
        return Dataset(
            "digits",
            "scikit-learn's 1,797 digits, scaled to 28×28",
            *stratified(digits.read(), seed),
        )
    path, published = cache_folder() / name, download.PUBLISHED[name]
    if len(download.here(name)) < published.count:
        raise DataError(f"{name} is not in {path}; get it with: triptych data fetch {name}")
    if published.members:
        read = _read(str(path), path, seed, options, None)
        return replace(read, name=name, classes=published.classes)
    _refuse_size(name, options)
    _refuse_ignored(name, options, NO_ROWS)
    return _dataset(name, f"{path} (IDX)", idx.read(path, options, published.classes), seed)


def _refuse_size(source: str, options: Options) -> None:
    if options.size:
        raise DataError(
            f"{source}: its images have one size; --size is for image files and for Parquet"
        )


def _refuse_ignored(source: str, options: Options, ignored: tuple[str, ...]) -> None:
    for option in ignored:
        if getattr(options, option) is not None:
            raise DataError(f"{source}: --{option} is for {MEANT_FOR[option]}; leave it out")
