"""A folder with a training and a test file, or with one file: CSV or .npz."""

import re
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path

from ...errors import DataError
from ..reading import Contents, Options, Progress
from . import csv, npz
from .listing import is_visible
from .text import listed
from .words import PICTURES, TEST, TRAIN, VALIDATION

CSV_ENDINGS = (".csv", ".csv.gz", ".csv.zip")
NPZ_ENDINGS = (".npz",)
# Words in the names of files and folders, in small letters.
LABELS = ("label", "labels", "y", "target", "targets")
# The endings of files about the data, which may be in the same folder.
PAPERS = (".md", ".txt", ".names", ".json", ".html", ".pdf", ".py", ".ipynb")
MOST_ENTRIES = 1000  # of a folder that is searched


@dataclass(frozen=True)
class _Files:
    """The files of a folder with the same ending, by what their names say.

    Attributes
    ----------
    train, test, validation : list of Path
    every : list of Path
        These and others.
    """

    train: list[Path] = field(default_factory=list[Path])
    test: list[Path] = field(default_factory=list[Path])
    validation: list[Path] = field(default_factory=list[Path])
    every: list[Path] = field(default_factory=list[Path])


@dataclass(frozen=True)
class _Chosen:
    """The files to read.

    Attributes
    ----------
    train : Path
    test : Path, optional
    notes : tuple of str
        What the user should know about the choice.
    """

    train: Path
    test: Path | None
    notes: tuple[str, ...] = ()


def csv_fits(folder: Path) -> bool:
    """Return whether the data of a folder is its CSV files."""
    return _fits(folder, CSV_ENDINGS)


def npz_fits(folder: Path) -> bool:
    """Return whether the data of a folder is its .npz files."""
    return _fits(folder, NPZ_ENDINGS)


def read_csv(folder: Path, options: Options, _: Progress | None) -> Contents:
    """Read train*.csv and test*.csv.

    Where the test file has no labels, or is missing, a test set is still to be split off.

    Raises
    ------
    DataError
        Several files may be meant; and as `csv.read`.
    """
    chosen = _choose(folder, CSV_ENDINGS)
    result = csv.read_pair(chosen.train, chosen.test, options)
    return replace(result, notes=(*chosen.notes, *result.notes))


def read_npz(folder: Path, options: Options, _: Progress | None) -> Contents:
    """Read train*.npz and test*.npz.

    Raises
    ------
    DataError
        Several files may be meant; and as `npz.read`.
    """
    chosen = _choose(folder, NPZ_ENDINGS)
    result = npz.read_files(chosen.train, chosen.test, options)
    return replace(result, notes=(*chosen.notes, *result.notes))


def _fits(folder: Path, endings: tuple[str, ...]) -> bool:
    """Return whether the files of a folder that end so are its data, and no lists of its images."""
    files = _files(folder, endings)
    if not files.every:
        return False
    for path in _visible(folder):
        if path.is_dir() and (not files.train or _may_hold_data(path)):
            return False
        is_other = path not in files.every and not path.name.lower().endswith(PAPERS)
        if is_other and not files.train:
            return False
    return True


def _may_hold_data(folder: Path) -> bool:
    """Return whether the name of a folder speaks of a part of a data set, or of images."""
    words = set(_words(folder.name))
    return bool(words & {*TRAIN, *TEST, *VALIDATION, *PICTURES})


def _words(name: str) -> list[str]:
    """Return the words of a file's name, in small letters."""
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)
    return [word for word in re.split(r"[^a-z]+", spaced.lower()) if word]


def _visible(folder: Path) -> list[Path]:
    """Return the first visible entries of a folder, sorted; none where it cannot be listed."""
    try:
        entries = list(islice(folder.iterdir(), MOST_ENTRIES))
    except OSError:
        return []
    return sorted(path for path in entries if is_visible(path.name))


def _files(folder: Path, endings: tuple[str, ...]) -> _Files:
    """Return the files of a folder that end so, by what their names say."""
    files = _Files()
    for path in _visible(folder):
        if not path.name.lower().endswith(endings) or path.is_dir():
            continue
        files.every.append(path)
        words = set(_words(path.name))
        if words & {*LABELS}:
            continue  # labels in a file of their own
        is_train = bool(words & {*TRAIN})
        is_test = bool(words & {*TEST})
        if words & {*VALIDATION}:
            files.validation.append(path)
        elif is_train and not is_test:
            files.train.append(path)
        elif is_test and not is_train:
            files.test.append(path)
    return files


def _choose(folder: Path, endings: tuple[str, ...]) -> _Chosen:
    """Return the files to read.

    Raises
    ------
    DataError
        Several files may be meant.
    """
    files = _files(folder, endings)
    if not files.train and len(files.every) > 1:
        names = listed(path.name for path in files.every)
        advice = "name one file, or have train and test in the names of two"
        raise DataError(f"{folder}: {names}: {advice}")
    if not files.train:
        only = files.every[0]
        return _Chosen(only, None, (f"the only file: {only.name}",))
    for part in (files.train, files.test):
        if len(part) > 1:
            names = listed(path.name for path in part)
            advice = "name one file, or put a training and a test file into a folder of their own"
            raise DataError(f"{folder}: {names} may all be meant; {advice}")
    train = files.train[0]
    test = files.test[0] if files.test else None
    if test is None and len(files.validation) == 1:
        validation = files.validation[0]
        return _Chosen(train, validation, (f"{validation.name} is the test set",))
    if files.validation:
        names = listed(path.name for path in files.validation)
        return _Chosen(train, test, (f"{names} left out",))
    return _Chosen(train, test)
