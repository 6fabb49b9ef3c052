"""CIFAR-10 in its binary version (Krizhevsky 2009): a folder with five training files and one for testing."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError
from .checks import LIMIT, check_varied, check_whole, opened, read_exactly
from .dataset import Split
from .reading import Found

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
TRAIN, TEST = tuple(f"data_batch_{i}.bin" for i in range(1, 6)), ("test_batch.bin",)
SIDE = 32
RECORD = 1 + 3 * SIDE * SIDE  # the label, then the red, the green and the blue plane, row by row


def fits(folder: Path) -> bool:
    """Return whether the folder holds any of the files, in this version or in the pickled one."""
    return any((folder / name).exists() for file in (*TRAIN, *TEST) for name in (file, file.removesuffix(".bin")))


def read(folder: Path) -> Found:
    """Read the training and the test split.

    Raises
    ------
    DataError
        Naming the file that is missing, truncated or holds a label over 9; and where there are only pickles.
    """
    for file in (*TRAIN, *TEST):
        if (folder / file).is_file():
            continue
        if (pickled := folder / file.removesuffix(".bin")).exists():
            raise DataError(
                f"{pickled}: a pickle, which can run any code when it is read; needed is CIFAR-10's binary version, "
                f"with {file}: triptych data fetch cifar10"
            )
        raise DataError(f"{folder}: no {file} in this folder")
    train, test = (_split(folder, files) for files in (TRAIN, TEST))
    check_varied(folder, train.labels, CLASSES)
    return Found(train, test, CLASSES)


def _split(folder: Path, files: tuple[str, ...]) -> Split:
    records = np.concatenate([_records(folder / file) for file in files])
    planes = records[:, 1:].reshape(-1, 3, SIDE, SIDE)
    return Split(np.ascontiguousarray(planes.transpose(0, 2, 3, 1)), records[:, 0].astype(np.int32))


def _records(path: Path) -> NDArray[np.uint8]:
    """Return a file's records, uint8 of shape (n, 3073)."""
    with opened(path) as stream:
        data = read_exactly(stream, LIMIT + 1)
    if len(data) > LIMIT:
        raise DataError(f"{path}: over the limit of {LIMIT:,} bytes")
    if not data or len(data) % RECORD:
        raise DataError(f"{path}: {len(data):,} bytes are no whole number of images of {RECORD:,} bytes each; it is truncated")
    records = np.frombuffer(data, np.uint8).reshape(-1, RECORD)
    check_whole(path, "label", records[:, 0], len(CLASSES) - 1)
    return records
