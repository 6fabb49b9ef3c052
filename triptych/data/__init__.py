"""Data: a name or a path in, whole pixels and labels out, every reader behind one door."""

import os
from pathlib import Path

import numpy as np

from .. import random
from ..errors import DataError, suggest
from . import csv, digits, fetch, idx, npz
from .dataset import CLASSES, Dataset, Split

__all__ = ["CLASSES", "Dataset", "Split", "load"]

NAMES = ("digits", *fetch.PUBLISHED)
TEST_FRACTION = 0.1


def load(source: str | None = None, seed: int = 0) -> Dataset:
    """Load a data set.

    Parameters
    ----------
    source : str, optional
        ``digits``, ``mnist``, ``fashion-mnist``, ``kmnist``; or a path: a CSV (also .gz), an .npz, or a folder with
        the four IDX files. Without it: ``mnist_test.csv`` in the working directory, else MNIST in the cache, else digits.
    seed : int
        Decides how a single file is shuffled and split 90/10, class by class.

    Raises
    ------
    DataError
        Saying what was wrong, in which file, and where.
    """
    if source is None:
        source = default()
    try:
        path = Path(source).expanduser()
        there = path.exists()
    except (OSError, RuntimeError, ValueError) as error:
        raise DataError(f"{source[:60]}: not a path ({error.strerror if isinstance(error, OSError) else error})") from None
    if source in NAMES and not there:
        return _named(source, seed)
    if path.is_dir():
        return Dataset(path.resolve().name, f"{source} (IDX)", *idx.read(path))
    if not there:
        near = suggest(source, NAMES) if os.sep not in source and "." not in source else "check the path"
        raise DataError(f"{source}: no such file or data set; {near}")
    if path.suffix == ".npz":
        train, test = npz.read(path)
        if test is not None:
            return Dataset(path.stem, source, train, test)
        whole = train
    elif path.suffixes[-1:] == [".csv"] or path.suffixes[-2:] == [".csv", ".gz"]:
        whole = csv.read(path)
    else:
        raise DataError(f"{source}: unknown kind of file; a .csv, .csv.gz, .npz or a folder of IDX files is needed")
    return Dataset(path.name.split(".")[0], source, *stratified(whole, seed))


def default() -> str:
    """Return the source that is used when none is named."""
    if Path("mnist_test.csv").is_file():
        return "mnist_test.csv"
    return "mnist" if len(idx.files(fetch.cache() / "mnist")) == 4 else "digits"


def stratified(whole: Split, seed: int, fraction: float = TEST_FRACTION) -> tuple[Split, Split]:
    """Shuffle by seed and split off `fraction` for testing, each class in proportion.

    Class sizes are rounded so that their sum is exact (largest remainders).
    """
    order = random.permutation(len(whole), seed, "split")
    labels = whole.labels[order]
    classes, counts = np.unique(labels, return_counts=True)
    wanted = counts * fraction
    take = np.floor(wanted).astype(int)
    most_short = np.argsort(take - wanted, kind="stable")
    take[most_short[: round(len(whole) * fraction) - int(take.sum())]] += 1
    testing = np.zeros(len(whole), bool)
    for label, count in zip(classes, take, strict=True):
        testing[np.flatnonzero(labels == label)[:count]] = True
    train, test = (Split(whole.images[order[part]], labels[part]) for part in (~testing, testing))
    if not len(test):
        raise DataError(f"{len(whole)} samples are too few to split off a test set; at least 10 are needed")
    return train, test


def _named(name: str, seed: int) -> Dataset:
    if name == "digits":
        return Dataset("digits", "scikit-learn's 1,797 digits, scaled to 28×28", *stratified(digits.read(), seed))
    folder = fetch.cache() / name
    if len(idx.files(folder)) < 4:
        raise DataError(f"{name} is not in {folder}; get it with: triptych data fetch {name}")
    return Dataset(name, f"{folder} (IDX)", *idx.read(folder))
