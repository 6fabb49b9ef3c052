"""CIFAR-10 and CIFAR-100 in their binary version (Krizhevsky 2009): folders of records of 32×32 pixels in colour."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...core.split import Split
from ...errors import DataError, one_line
from ..checks import check_varied, check_whole, opened
from ..published import CIFAR10_CLASSES as CLASSES
from ..published import CIFAR10_TEST as TEST
from ..published import CIFAR10_TRAIN as TRAIN
from ..reading import PLAIN, Found, Options, Progress
from .content import HEAD_BYTES, mismatch, read_head

TRAIN_100, TEST_100 = ("train.bin",), ("test.bin",)
SIDE = 32
PIXELS = 3 * SIDE * SIDE  # the red, the green and the blue plane, row by row
RECORD = 1 + PIXELS  # the label first
RECORD_100 = 2 + PIXELS  # the coarse label, then the fine one
LABELS_100 = {
    "coarse_label": (0, 20),
    "fine_label": (1, 100),
}  # at which byte, and how many classes
BYTES = 2**30  # of all files of a folder, unpacked; CIFAR-10 has 184 MB


def fits(folder: Path) -> bool:
    """Return whether the folder holds any of the files, in this version or in the pickled one."""
    return any(
        (folder / name).exists()
        for file in (*TRAIN, *TEST)
        for name in (file, file.removesuffix(".bin"))
    )


def fits_100(folder: Path) -> bool:
    """Return whether the folder holds CIFAR-100's two files."""
    return all((folder / name).is_file() for name in (*TRAIN_100, *TEST_100))


def pickled(folder: Path) -> str | None:
    """Return what is wrong with a folder of CIFAR-10's Python version, or None where it is another."""
    for file in (*TRAIN, *TEST):
        name = folder / file.removesuffix(".bin")
        if name.exists() and not (folder / file).is_file():
            return (
                f"{one_line(name)}: a pickle, which can run any code when it is read; needed is CIFAR-10's binary version, "
                f"with {file}: triptych data fetch cifar10"
            )
    return None


def read(folder: Path, _options: Options = PLAIN, _progress: Progress | None = None) -> Found:
    """Read the training and the test split of CIFAR-10.

    Raises
    ------
    DataError
        Naming the file that is missing, truncated or holds a label over 9; and where there are only pickles.
    """
    for file in (*TRAIN, *TEST):
        if (folder / file).is_file():
            continue
        raise DataError(pickled(folder) or f"{one_line(folder)}: no {file} in this folder")
    train, test = _splits(folder, (TRAIN, TEST), RECORD, 0, len(CLASSES))
    check_varied(Path(one_line(folder)), train.labels, CLASSES)
    return Found(train, test, CLASSES)


def read_100(folder: Path, options: Options = PLAIN, _progress: Progress | None = None) -> Found:
    """Read the training and the test split of CIFAR-100: its 100 classes, or with ``--label coarse_label`` the 20 above them.

    Raises
    ------
    DataError
        Naming the file that is truncated or holds a label that is too high.
    """
    label = options.label or "fine_label"
    if label not in LABELS_100:
        raise DataError(
            f"{one_line(folder)}: no label {one_line(label, 40)} in CIFAR-100; use --label {' or --label '.join(LABELS_100)}"
        )
    at, count = LABELS_100[label]
    train, test = _splits(folder, (TRAIN_100, TEST_100), RECORD_100, at, count)
    classes = _names(folder / f"{label}_names.txt", count)
    check_varied(Path(one_line(folder)), train.labels, classes)
    other = next(name for name in LABELS_100 if name != label)
    notes = (
        ()
        if options.label
        else (f"the labels are the 100 fine ones; for the 20 coarse ones: --label {other}",)
    )
    return Found(train, test, classes, notes=notes)


def _names(path: Path, count: int) -> tuple[str, ...]:
    """Return the names of the classes, a line each; their numbers where the file is missing or another."""
    lines = read_head(path, 2**16).decode("utf-8", "replace").split("\n")
    names = tuple(line.strip() for line in lines if line.strip())
    good = len(names) == count == len(set(names)) and all(name.isprintable() for name in names)
    return names if good else tuple(map(str, range(count)))


def _splits(
    folder: Path, parts: tuple[tuple[str, ...], ...], record: int, label: int, count: int
) -> list[Split]:
    """Read the files of each part.

    Parameters
    ----------
    folder : Path
    parts : tuple of tuples of str
        The names of the files of each split.
    record : int
        Bytes of a record.
    label : int
        At which of them the label is.
    count : int
        How many classes there are.
    """
    found: list[Split] = []
    left = BYTES
    for files in parts:
        contents: list[NDArray[np.uint8]] = []
        for file in files:
            contents.append(_records(folder / file, record, left))
            check_whole(Path(one_line(folder / file)), "label", contents[-1][:, label], count - 1)
            left -= contents[-1].nbytes
        labels = np.concatenate([records[:, label] for records in contents]).astype(np.int32)
        images = np.empty((len(labels), SIDE, SIDE, 3), np.uint8)
        at = 0
        while contents:  # each is freed as soon as its pixels are in their places
            records = contents.pop(0)
            planes = records[:, -PIXELS:].reshape(-1, 3, SIDE, SIDE)
            images[at : at + len(planes)] = planes.transpose(0, 2, 3, 1)
            at += len(planes)
            del records, planes
        found.append(Split(images, labels))
    return found


def _records(path: Path, record: int, most: int) -> NDArray[np.uint8]:
    """Return a file's records, uint8 of shape (n, record), of `most` bytes in all."""
    data = bytearray()
    with opened(path) as stream:
        while piece := stream.read(min(2**20, most + 1 - len(data))):
            data += piece
    name = one_line(path)
    if len(data) > most:
        raise DataError(f"{name}: over the limit of {BYTES:,} bytes for all files of the folder")
    if not data or len(data) % record:
        if wrong := mismatch(bytes(data[:HEAD_BYTES]), "CIFAR's records"):
            raise DataError(f"{name}: {wrong}")
        raise DataError(
            f"{name}: {len(data):,} bytes are no whole number of images of {record:,} bytes each; it is truncated: fetch it again"
        )
    return np.frombuffer(data, np.uint8).reshape(-1, record)
