"""NumPy archives: x_train, y_train, x_test, y_test as Keras ships MNIST, or one pair x and y (images and labels)."""

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from ..errors import DataError
from .checks import LIMIT, listed, reading, split_of
from .dataset import Split

PAIRS = (("x", "y"), ("X", "y"), ("images", "labels"))


def read(path: Path) -> tuple[Split, Split | None]:
    """Read the training and, where the archive has one, the test split.

    Raises
    ------
    DataError
        Where the archive is damaged, lacks the arrays, or would need a pickle to be read.
    """
    with reading(path), zipfile.ZipFile(path) as archive:
        names = {name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")}
        if {"x_train", "y_train", "x_test", "y_test"} <= names:
            train, test = (split_of(path, _array(archive, f"x_{s}"), _array(archive, f"y_{s}")) for s in ("train", "test"))
            return train, test
        for images, labels in PAIRS:
            if {images, labels} <= names:
                return split_of(path, _array(archive, images), _array(archive, labels)), None
    known = "x_train, y_train, x_test, y_test, or x and y"
    raise DataError(f"{path}: holds {listed(sorted(names))}; needed are {known}")


def _array(archive: zipfile.ZipFile, name: str) -> NDArray[Any]:
    """Read one member after its header and its size were found to agree: a few kilobytes can expand to gigabytes."""
    info = archive.getinfo(f"{name}.npy")
    with archive.open(info) as member:
        version = npy.read_magic(member)
        read_header = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, _, dtype = read_header(member)
        if dtype.hasobject:
            raise ValueError(f"{name} holds Python objects, which are never loaded")
        needed = int(np.prod(shape, dtype=object)) * dtype.itemsize
        if needed > LIMIT or needed > info.file_size:
            raise ValueError(f"{name} claims {needed:,} bytes, the archive holds {info.file_size:,} and the limit is {LIMIT:,}")
    with archive.open(info) as member:
        return npy.read_array(member, allow_pickle=False)
