"""MNIST's own IDX format: a folder with the four files, plain or gzipped (LeCun, Cortes & Burges, mnist)."""

import struct
from math import prod
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError
from .checks import LIMIT, opened, read_exactly, split_of
from .dataset import Split

STEMS = {"train": ("train-images", "train-labels"), "test": ("t10k-images", "t10k-labels")}
DIMENSIONS = {"images": 3, "labels": 1}


def files(folder: Path) -> dict[str, Path]:
    """Return the files of a folder by stem (``train-images`` …), gzipped or not; both spellings of the name count."""
    found: dict[str, Path] = {}
    for stem in (stem for pair in STEMS.values() for stem in pair):
        n = DIMENSIONS[stem.partition("-")[2]]
        for name in (f"{stem}-idx{n}-ubyte", f"{stem}.idx{n}-ubyte"):
            for path in (folder / name, folder / f"{name}.gz"):
                if path.is_file():
                    found.setdefault(stem, path)
    return found


def read(folder: Path) -> tuple[Split, Split]:
    """Read the training and the test split.

    Raises
    ------
    DataError
        Naming the file that is missing, truncated, too long or not IDX.
    """
    found = files(folder)
    for stem in (stem for pair in STEMS.values() for stem in pair):
        if stem not in found:
            raise DataError(f"{folder}: no {stem}-idx{DIMENSIONS[stem.partition('-')[2]]}-ubyte(.gz) in this folder")
    train, test = (split_of(found[images], array(found[images], 3), array(found[labels], 1)) for images, labels in STEMS.values())
    return train, test


def array(path: Path, dimensions: int) -> NDArray[np.uint8]:
    """Read one IDX file of unsigned bytes.

    Nothing is allocated on the word of the header alone: memory follows the bytes that are really there.

    Parameters
    ----------
    path : Path
    dimensions : int
        3 for images, 1 for labels.

    Raises
    ------
    DataError
        Where the magic number, the dimensions or the length is wrong.
    """
    with opened(path) as stream:
        size = 4 + 4 * dimensions
        header = read_exactly(stream, size)
        if len(header) < 4:
            raise DataError(f"{path}: {'empty' if not header else 'too short to be an IDX file'}")
        magic = 0x00000800 | dimensions
        if header[:4] != struct.pack(">I", magic):
            raise DataError(f"{path}: magic number 0x{header[:4].hex()} where 0x{magic:08x} (unsigned bytes, {dimensions}-D) is needed")
        if len(header) < size:
            raise DataError(f"{path}: truncated inside its header")
        shape = struct.unpack(f">{dimensions}I", header[4:])
        promised = prod(shape)
        if promised > LIMIT:
            raise DataError(f"{path}: its header promises {promised:,} bytes, over the limit of {LIMIT:,}")
        data = read_exactly(stream, promised + 1)
    if len(data) < promised:
        raise DataError(f"{path}: its header promises {promised:,} bytes, the file holds {len(data):,}; it is truncated")
    if len(data) > promised:
        raise DataError(f"{path}: more bytes than the {promised:,} its header promises")
    return np.frombuffer(data, np.uint8).reshape(shape)
