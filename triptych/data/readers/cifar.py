"""CIFAR-10 and CIFAR-100 in their binary version: records of a label and 32×32 pixels in colour.

See Krizhevsky, "Learning Multiple Layers of Features from Tiny Images" (2009).
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...core.split import Split
from ...errors import DataError, one_line
from ..checks import check_varied, check_whole, opened
from ..published import CIFAR10_CLASSES as CLASSES
from ..published import CIFAR10_TEST as TEST
from ..published import CIFAR10_TRAIN as TRAIN
from ..reading import PLAIN, Contents, Options, Progress
from .content import HEAD_BYTES, PICKLE, mismatch, read_head

TRAIN_100 = ("train.bin",)
TEST_100 = ("test.bin",)
SIDE = 32
PIXELS = 3 * SIDE * SIDE  # the red, the green and the blue plane, row by row
RECORD = 1 + PIXELS  # the label first
RECORD_100 = 2 + PIXELS  # the coarse label, then the fine one
# Of CIFAR-100: the byte of a record at which a label is, and how many classes there are.
LABELS_100 = {"coarse_label": (0, 20), "fine_label": (1, 100)}
BYTES = 2**30  # of all files of a folder, unpacked; CIFAR-10 has 184 MB
BYTES_OF_NAMES = 2**16  # of a file of class names


@dataclass(frozen=True)
class _Records:
    """How the files of a data set are made up.

    Attributes
    ----------
    size : int
        Bytes of a record.
    label : int
        The byte of a record at which its label is.
    classes : int
        How many classes there are.
    """

    size: int
    label: int
    classes: int


def fits(folder: Path) -> bool:
    """Return whether a folder holds any of the files, in this version or in the pickled one."""
    names = [*TRAIN, *TEST]
    pickles = [name.removesuffix(".bin") for name in names]
    return any((folder / name).exists() for name in (*names, *pickles))


def fits_100(folder: Path) -> bool:
    """Return whether a folder holds CIFAR-100's two files."""
    return all((folder / name).is_file() for name in (*TRAIN_100, *TEST_100))


def pickled(folder: Path) -> str | None:
    """Return what is wrong with a folder of CIFAR-10's Python version, None for another folder."""
    for file in (*TRAIN, *TEST):
        name = folder / file.removesuffix(".bin")
        if name.exists() and not (folder / file).is_file():
            needed = f"needed is CIFAR-10's binary version, with {file}"
            return f"{one_line(name)}: {PICKLE}; {needed}: triptych data fetch cifar10"
    return None


def read(folder: Path, _options: Options = PLAIN, _progress: Progress | None = None) -> Contents:
    """Read the training and the test split of CIFAR-10.

    Raises
    ------
    DataError
        Naming the file that is missing, truncated or holds a label over 9; and where there are only
        pickles.
    """
    for file in (*TRAIN, *TEST):
        if not (folder / file).is_file():
            missing = f"no {file} in this folder; put it beside the others"
            raise DataError(pickled(folder) or f"{one_line(folder)}: {missing}")
    records = _Records(RECORD, 0, len(CLASSES))
    train, test = _splits(folder, (TRAIN, TEST), records)
    check_varied(Path(one_line(folder)), train.labels, CLASSES)
    return Contents(train, test, CLASSES)


def read_100(folder: Path, options: Options = PLAIN, _progress: Progress | None = None) -> Contents:
    """Read the training and the test split of CIFAR-100.

    The classes are its 100 fine ones, or with ``--label coarse_label`` the 20 coarse ones.

    Raises
    ------
    DataError
        Naming the file that is truncated or holds a label that is too high.
    """
    label = options.label or "fine_label"
    if label not in LABELS_100:
        known = " or --label ".join(LABELS_100)
        reason = f"no label {one_line(label, 40)} in CIFAR-100"
        raise DataError(f"{one_line(folder)}: {reason}; use --label {known}")
    place, count = LABELS_100[label]
    train, test = _splits(folder, (TRAIN_100, TEST_100), _Records(RECORD_100, place, count))
    classes = _class_names(folder / f"{label}_names.txt", count)
    check_varied(Path(one_line(folder)), train.labels, classes)
    notes: tuple[str, ...] = ()
    if not options.label:
        notes = ("the labels are the 100 fine ones; for the 20 coarse ones: --label coarse_label",)
    return Contents(train, test, classes, notes=notes)


def _class_names(path: Path, count: int) -> tuple[str, ...]:
    """Return the names of the classes, a line each; their numbers where the file is another one."""
    lines = read_head(path, BYTES_OF_NAMES).decode("utf-8", "replace").split("\n")
    names = tuple(line.strip() for line in lines if line.strip())
    is_complete = len(names) == count == len(set(names))
    if is_complete and all(name.isprintable() for name in names):
        return names
    return tuple(map(str, range(count)))


def _splits(folder: Path, parts: tuple[tuple[str, ...], ...], records: _Records) -> list[Split]:
    """Read the files of each part.

    Parameters
    ----------
    folder : Path
    parts : tuple of tuples of str
        The names of the files of each split.
    records : _Records
    """
    splits: list[Split] = []
    left = BYTES
    for files in parts:
        contents: list[NDArray[np.uint8]] = []
        for file in files:
            path = folder / file
            content = _read_records(path, records.size, left)
            labels = content[:, records.label]
            check_whole(Path(one_line(path)), "label", labels, records.classes - 1)
            contents.append(content)
            left -= content.nbytes
        splits.append(_split(contents, records.label))
    return splits


def _split(contents: list[NDArray[np.uint8]], label: int) -> Split:
    """Return the records of several files as one split; the list is emptied to free memory.

    Parameters
    ----------
    contents : list of ndarray of uint8, shape (n, bytes of a record)
    label : int
        The byte of a record at which its label is.
    """
    labels = np.concatenate([records[:, label] for records in contents]).astype(np.int32)
    images = np.empty((len(labels), SIDE, SIDE, 3), np.uint8)
    at = 0
    while contents:  # each is freed as soon as its pixels are copied
        records = contents.pop(0)
        planes = records[:, -PIXELS:].reshape(-1, 3, SIDE, SIDE)
        images[at : at + len(planes)] = planes.transpose(0, 2, 3, 1)
        at += len(planes)
        del records, planes
    return Split(images, labels)


def _read_records(path: Path, size: int, most: int) -> NDArray[np.uint8]:
    """Return a file's records, uint8 of shape (n, size), of `most` bytes in all."""
    data = bytearray()
    with opened(path) as stream:
        while piece := stream.read(min(2**20, most + 1 - len(data))):
            data += piece
    name = one_line(path)
    if len(data) > most:
        raise DataError(f"{name}: over the limit of {BYTES:,} bytes for all files of the folder")
    if not data or len(data) % size:
        wrong = mismatch(bytes(data[:HEAD_BYTES]), "CIFAR's records")
        if wrong:
            raise DataError(f"{name}: {wrong}")
        reason = f"{len(data):,} bytes are no whole number of images of {size:,} bytes each"
        raise DataError(f"{name}: {reason}; it is truncated: fetch it again")
    return np.frombuffer(data, np.uint8).reshape(-1, size)
