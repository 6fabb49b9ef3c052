"""Parquet as Hugging Face ships images: one file, or the training and test files of a folder."""

import re
from collections.abc import Iterator
from functools import partial
from hashlib import file_digest
from itertools import accumulate
from pathlib import Path
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from ...core.files import is_regular
from ...errors import DataError, one_line
from ..checks import reading
from ..reading import Contents, Options, Progress
from . import decoded, images
from .image_file import Content
from .labels import Values, classes_of, codes_of
from .listing import is_visible
from .parquet_file import Shard, errors_of
from .source import Listing
from .text import listed
from .words import PARTS, TEST, TRAIN, VALIDATION

# The names of folders that hold one part of a data set.
PART_FOLDERS = (*PARTS, "extra", "unsupervised")


def fits(folder: Path) -> bool:
    """Return whether there are training files in a folder."""
    return bool(_files(folder, TRAIN))


def read(path: Path, options: Options, progress: Progress | None) -> Contents:
    """Read one file, or the train*.parquet and test*.parquet of a folder or of one folder in it.

    Raises
    ------
    DataError
        Naming the file and the row of the first label or image that is wrong.
    """
    files, count, notes = _files_of(path)

    def decode() -> Contents:
        shards = [Shard.open(file, options.label, options.shape) for file in files]
        training = sum(len(shard.labels) for shard in shards[:count])
        classes, codes = _classes(path, shards[:count], shards[count:])

        def samples() -> Iterator[images.Sample]:
            for shard in shards:
                yield from shard.samples()

        return images.contents_of(path, samples, codes, training, classes, options, progress, notes)

    return decoded.load_or_decode(path, options, _digest(files, notes), decode)


def list_samples(path: Path, options: Options) -> Listing:
    """Return what `read` reads, without the images.

    Raises
    ------
    DataError
        Naming the file, and the row of the first label that is wrong.
    """
    files, count, notes = _files_of(path)
    shards = [Shard.open(file, options.label, options.shape) for file in files]
    classes, codes = _classes(path, shards[:count], shards[count:])
    return Listing(
        source=RowGroups(shards),
        labels=codes,
        training=sum(len(shard.labels) for shard in shards[:count]),
        classes=classes,
        notes=notes,
        files=tuple(files),
    )


class RowGroups:
    """The row groups of several files; a `triptych.data.readers.source.Source`.

    Parameters
    ----------
    shards : list of Shard
    """

    def __init__(self, shards: list[Shard]) -> None:
        self._shards = shards
        self._lock = Lock()  # a file is read by one thread at a time
        sizes = [shard.sizes() for shard in shards]
        self._groups = [(i, j) for i, of_file in enumerate(sizes) for j in range(len(of_file))]
        self.sizes = tuple(size for of_file in sizes for size in of_file)
        self._first_rows = [
            first for of_file in sizes for first in accumulate(of_file[:-1], initial=0)
        ]

    def read(self, group: int) -> list[Content]:
        """Return the images of one row group, of all files counted together."""
        i, j = self._groups[group]
        with self._lock, reading(self._shards[i].path):
            return self._shards[i].row_group(j)

    def where(self, group: int, row: int) -> str:
        """Return what a message calls a row of a row group."""
        i, _ = self._groups[group]
        return f"{one_line(self._shards[i].path)}: row {self._first_rows[group] + row + 1:,}"


def _files_of(path: Path) -> tuple[list[Path], int, tuple[str, ...]]:
    """Return the files of a path, how many of them are for training, and notes for the user."""
    train_files = [path]
    test_files: list[Path] = []
    notes: tuple[str, ...] = ()
    if path.is_dir():
        train_files, test_files, notes = _files_of_folder(path)
    files = [*train_files, *test_files]
    for file in files:
        if not is_regular(file):
            raise DataError(f"{one_line(file)}: not a regular file")
    return files, len(train_files), notes


def _files_of_folder(folder: Path) -> tuple[list[Path], list[Path], tuple[str, ...]]:
    """Return the training and the test files of a folder, and notes for the user."""
    name = one_line(folder)
    notes: list[str] = []
    train = _files(folder, TRAIN)
    test = _files(folder, TEST)
    if not test:
        test = _files(folder, VALIDATION)
        if test:
            notes.append(f"{_names(test)} is the test set: there is no test*.parquet")
    if not test:
        reason = f"holds {one_line(train[0].name, 80)}, but no test*.parquet"
        raise DataError(f"{name}: {reason}; to have a test set split off, name one file")
    homes = sorted({_home(file) for file in (*train, *test)})
    if len(homes) > 1:
        names = listed(home.name for home in homes).replace(", ", " and ")
        raise DataError(f"{name}: {names} both hold data; name one of them")
    notes += _missing_shards(train)
    notes += _missing_shards(test)
    unused = sorted(set(_all_files(homes[0])) - {*train, *test})
    if unused:
        notes.append(f"{_names(unused)} left out: neither training nor test set")
    return train, test, tuple(notes)


def _all_files(home: Path) -> list[Path]:
    """Return every Parquet file of a data set."""
    parts = [path for path in _visible(home) if path.name.lower() in PART_FOLDERS]
    return [file for folder in (home, *parts) for file in _visible(folder) if _is_parquet(file)]


def _missing_shards(files: list[Path]) -> list[str]:
    """Return a note where names such as ``train-00000-of-00002.parquet`` speak of more files."""
    present: dict[tuple[str, int], int] = {}
    for file in files:
        numbered = re.search(r"(.*)-\d+-of-(\d+)\.parquet$", file.name, re.IGNORECASE)
        if numbered:
            key = (numbered[1], int(numbered[2]))
            present[key] = present.get(key, 0) + 1
    for (name, count), number in sorted(present.items()):
        if number < count:
            pattern = f"{one_line(name, 40)}-…-of-{count:05}"
            return [f"only {number} of the {count:,} files {pattern} are here"]
    return []


def _names(files: list[Path]) -> str:
    """Return the names of files for a message, with the folder of a part of the data set."""
    names = [
        f"{file.parent.name}/{file.name}" if _is_in_part(file) else file.name for file in files
    ]
    return listed(names, 100)


def _home(file: Path) -> Path:
    """Return the folder of a file's data set; for ``train/0000.parquet`` it is one above."""
    return file.parent.parent if _is_in_part(file) else file.parent


def _is_in_part(file: Path) -> bool:
    return file.parent.name.lower() in PART_FOLDERS


def _is_parquet(path: Path) -> bool:
    return path.name.lower().endswith(".parquet") and not path.is_dir()


def _files(folder: Path, names: tuple[str, ...]) -> list[Path]:
    """Return the files of a part, sorted.

    They are in the folder itself, in its folder of the part's name, or in those of the folders one
    level deeper.
    """
    deeper = [path for path in _visible(folder) if path.is_dir()]
    return _files_in([folder], names) or _files_in(deeper, names)


def _files_in(folders: list[Path], names: tuple[str, ...]) -> list[Path]:
    files: list[Path] = []
    for folder in folders:
        for path in _visible(folder):
            name = path.name.lower()
            if name.startswith(names) and _is_parquet(path):
                files.append(path)
            elif name in names and path.is_dir():
                files += [file for file in _visible(path) if _is_parquet(file)]
    return sorted(files)


def _visible(folder: Path) -> list[Path]:
    """Return the visible entries of a folder; none where it cannot be listed."""
    try:
        return [path for path in folder.iterdir() if is_visible(path.name)]
    except OSError:
        return []


def _digest(paths: list[Path], notes: tuple[str, ...]) -> str:
    """Return a text that differs where the content of a file, or what is said about it, does."""
    parts = [*notes]
    for path in paths:
        with errors_of(path), path.open("rb") as file:
            parts.append(file_digest(file, "sha256").hexdigest())
    return repr(parts)


def _classes(
    path: Path, train: list[Shard], test: list[Shard]
) -> tuple[tuple[str, ...], NDArray[np.int32]]:
    """Return the classes, and which of them each label is, the training files first.

    The classes are the names in the files, or otherwise the distinct labels of the training files.
    """
    names = train[0].names
    shards = [*train, *test]
    for shard in shards:
        if shard.names != names:
            first = one_line(train[0].path)
            raise DataError(
                f"{one_line(shard.path)}: names its classes otherwise than {first}; "
                "write both with the same names in the same order (cast_column with a ClassLabel)"
            )
    if names:
        codes = [np.asarray(shard.labels, np.int32) for shard in shards]
        return tuple(names), np.concatenate(codes)
    shown_path = Path(one_line(path))
    classes, codes = classes_of(shown_path, _joined(train), partial(_place, train))
    if not test:
        return classes, codes
    test_codes = codes_of(shown_path, _joined(test), partial(_place, test), classes)
    return classes, np.concatenate([codes, test_codes])


def _joined(shards: list[Shard]) -> Values:
    """Return the labels of several files one after the other."""
    arrays = [shard.labels for shard in shards if isinstance(shard.labels, np.ndarray)]
    if len(arrays) == len(shards):
        return np.concatenate(arrays)
    return [str(value) for shard in shards for value in shard.labels]


def _place(shards: list[Shard], index: int) -> str:
    """Return where a label of several files is, by its index in all of them."""
    for shard in shards:
        if index < len(shard.labels):
            row = f"row {index + 1:,}"
            return row if len(shards) == 1 else f"{one_line(shard.path.name, 60)}, {row}"
        index -= len(shard.labels)
    raise AssertionError("the index is that of a label")
