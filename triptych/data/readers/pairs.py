"""A folder with a training and a test file: CSV or .npz."""

import re
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

from ...errors import DataError
from ..reading import Found, Options, Progress
from . import csv, npz
from .text import listed

CSV_ENDINGS = (".csv", ".csv.gz", ".csv.zip")
PARTS = {"train": "train", "training": "train", "test": "test", "testing": "test"}
OTHER = ("val", "valid", "validation", "dev")
LABELS_ALONE = ("label", "labels", "y", "target", "targets")
PAPERS = (".md", ".txt", ".names", ".json", ".html", ".pdf", ".py", ".ipynb")
MOST_ENTRIES = 1000  # of a folder that is searched


@dataclass(frozen=True)
class _Files:
    """The files of a folder that end alike, by what their names say."""

    train: list[Path]
    test: list[Path]
    validation: list[Path]
    every: list[Path]


def csv_fits(folder: Path) -> bool:
    """Return whether the data of a folder is its CSV files."""
    return _fits(folder, CSV_ENDINGS)


def npz_fits(folder: Path) -> bool:
    """Return the same for .npz files."""
    return _fits(folder, (".npz",))


def read_csv(folder: Path, options: Options, _: Progress | None) -> Found:
    """Read train*.csv and test*.csv; of one that has no labels, or is missing, a test set is split off.

    Raises
    ------
    DataError
        Where several files may be meant; and as `csv.read`.
    """
    files, notes = _chosen(folder, CSV_ENDINGS)
    train = files.train[0]
    found = csv.read_pair(train, files.test[0], options) if files.test else csv.read(train, options)
    return replace(found, notes=(*notes, *found.notes))


def read_npz(folder: Path, options: Options, _: Progress | None) -> Found:
    """Read train*.npz and test*.npz.

    Raises
    ------
    DataError
        Where several files may be meant; and as `npz.read`.
    """
    files, notes = _chosen(folder, (".npz",))
    found = npz.read_files(files.train[0], files.test[0] if files.test else None, options)
    return replace(found, notes=(*notes, *found.notes))


def _fits(folder: Path, endings: tuple[str, ...]) -> bool:
    """Return whether the files of a folder that end so are its data, and not lists of the images beside them."""
    files = _listed(folder, endings)
    if not files.every:
        return False
    for path in _visible(folder):
        words = set(_words(path.name))
        if path.is_dir() and (not files.train or words & {*PARTS, *OTHER, "images", "img"}):
            return False
        if not files.train and path not in files.every and not path.name.lower().endswith(PAPERS):
            return False
    return True


def _words(name: str) -> list[str]:
    """Return the words of a file's name, in lower case."""
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)
    return [word for word in re.split(r"[^a-z]+", spaced.lower()) if word]


def _visible(folder: Path) -> list[Path]:
    try:
        entries = list(islice(folder.iterdir(), MOST_ENTRIES))
    except OSError:
        return []
    return sorted(path for path in entries if not path.name.startswith((".", "__MACOSX")))


def _listed(folder: Path, endings: tuple[str, ...]) -> _Files:
    found = _Files([], [], [], [])
    for path in _visible(folder):
        if not path.name.lower().endswith(endings) or path.is_dir():
            continue
        found.every.append(path)
        words = _words(path.name)
        parts = {PARTS[word] for word in words if word in PARTS}
        if any(word in LABELS_ALONE for word in words):
            continue  # labels in a file of their own
        if any(word in OTHER for word in words):
            found.validation.append(path)
        elif parts == {"train"}:
            found.train.append(path)
        elif parts == {"test"}:
            found.test.append(path)
    return found


def _chosen(folder: Path, endings: tuple[str, ...]) -> tuple[_Files, list[str]]:
    """Return the files to read, and what is worth a word.

    Raises
    ------
    DataError
        Where several files may be meant.
    """
    files = _listed(folder, endings)
    if not files.train and len(files.every) > 1:
        raise DataError(
            f"{folder}: {listed(path.name for path in files.every)}: name one file, or have train and test in the names of two"
        )
    if not files.train:
        only = files.every[0]
        return _Files([only], [], [], []), [f"the only file: {only.name}"]
    for part in (files.train, files.test):
        if len(part) > 1:
            raise DataError(
                f"{folder}: {listed(path.name for path in part)} may all be meant; name one file, "
                "or put a training and a test file into a folder of their own"
            )
    notes: list[str] = []
    test = files.test
    if not test and len(files.validation) == 1:
        test = files.validation
        notes.append(f"{test[0].name} is the test set")
    elif files.validation:
        notes.append(f"{listed(path.name for path in files.validation)} left out")
    return _Files(files.train, test, [], []), notes
