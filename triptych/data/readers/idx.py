"""MNIST's own IDX format: images and labels in files of their own, plain or gzipped (LeCun, Cortes & Burges, mnist)."""

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import DataError
from ..checks import LIMIT, opened, read_exactly
from ..reading import PLAIN, Found, Options, Progress
from .arrays import found
from .content import HEAD_BYTES, mismatch
from .samples import Samples
from .text import listed

STEMS = {"train": ("train-images", "train-labels"), "test": ("t10k-images", "t10k-labels")}
DIMENSIONS = {"images": 3, "labels": 1}
TYPES = {0x08: np.dtype("u1"), 0x09: np.dtype("i1"), 0x0B: np.dtype(">i2"), 0x0C: np.dtype(">i4")}
FEW = 100  # entries of a folder that is searched for files of this format
DEEPEST = 2  # folders below the one that is named


@dataclass(frozen=True)
class _File:
    """One file of a set.

    Attributes
    ----------
    path : Path
    group : str
        The name of the set in the file's name: ``emnist-letters``; often nothing.
    part, what : str
        train or test; images or labels.
    dimensions : int
    kind : int
        The type of its numbers, as the magic number has it.
    """

    path: Path
    group: str
    part: str
    what: str
    dimensions: int
    kind: int


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


def fits(folder: Path) -> bool:
    """Return whether there are such files in it, or in one of its folders."""
    return not is_deeper(folder) or bool(_homes(folder))


def is_deeper(folder: Path) -> bool:
    """Return whether there are no such files in the folder itself, only perhaps in its folders."""
    return not (files(folder) or _members(folder))


def read(
    folder: Path,
    options: Options = PLAIN,
    _progress: Progress | None = None,
    classes: tuple[str, ...] = (),
) -> Found:
    """Read the training and the test split.

    Parameters
    ----------
    folder : Path
    options : Options
    classes : tuple of str
        What the labels 0, 1, 2 … stand for, where that is known.

    Raises
    ------
    DataError
        Naming the file that is missing, truncated, too long or not IDX.
    """
    homes = _homes(folder) if is_deeper(folder) else [folder]
    if len(homes) > 1:
        raise DataError(
            f"{folder}: {listed([str(home.relative_to(folder)) for home in homes])} hold IDX files; name one of them"
        )
    home = homes[0] if homes else folder
    chosen = _chosen(home)
    train, test = (
        _samples(chosen[part, "images"], chosen[part, "labels"]) for part in ("train", "test")
    )
    notes = () if home == folder else (f"found in {home.relative_to(folder)}",)
    return found(train, test, options, notes=notes, classes=classes)


def array(path: Path, dimensions: int, kind: int = 0x08) -> NDArray[Any]:
    """Read one IDX file.

    Nothing is allocated on the word of the header alone: memory follows the bytes that are really there.

    Parameters
    ----------
    path : Path
    dimensions : int
        3 for images, 1 for labels.
    kind : int
        The type of its numbers: 0x08 for unsigned bytes, 0x0c for whole numbers of 4 bytes.

    Raises
    ------
    DataError
        Where the magic number, the dimensions or the length is wrong.
    """
    dtype = TYPES[kind]
    with opened(path) as stream:
        size = 4 + 4 * dimensions
        header = read_exactly(stream, size)
        if len(header) < 4:
            raise DataError(f"{path}: {'empty' if not header else 'too short to be an IDX file'}")
        magic = kind << 8 | dimensions
        if header[:4] != struct.pack(">I", magic):
            head = header + read_exactly(stream, HEAD_BYTES - size)
            wrong = None if header[:3] == b"\0\0\x08" else mismatch(head, "an IDX file")
            if wrong:
                raise DataError(f"{path}: {wrong}")
            type_name = "unsigned bytes" if kind == 0x08 else dtype.name
            raise DataError(
                f"{path}: magic number 0x{header[:4].hex()} where 0x{magic:08x} ({type_name}, {dimensions}-D) is needed"
            )
        if len(header) < size:
            raise DataError(f"{path}: truncated inside its header")
        shape = struct.unpack(f">{dimensions}I", header[4:])
        promised = prod(shape) * dtype.itemsize
        if promised > LIMIT:
            raise DataError(
                f"{path}: its header promises {promised:,} bytes, over the limit of {LIMIT:,}"
            )
        data = read_exactly(stream, promised + 1)
    if len(data) < promised:
        raise DataError(
            f"{path}: its header promises {promised:,} bytes, the file holds {len(data):,}; it is truncated"
        )
    if len(data) > promised:
        raise DataError(f"{path}: more bytes than the {promised:,} its header promises")
    return np.frombuffer(data, dtype).reshape(shape)


def _samples(images: _File, labels: _File) -> Samples:
    """Read a pair of files. Of QMNIST's labels, eight numbers each, the first is the class."""
    numbers = array(labels.path, labels.dimensions, labels.kind)
    numbers = numbers[:, 0] if numbers.ndim == 2 else numbers
    pixels = array(images.path, images.dimensions, images.kind)
    return Samples(images.path, pixels, numbers, labels_path=labels.path)


def _chosen(home: Path) -> dict[tuple[str, str], _File]:
    """Return the four files of a set.

    Raises
    ------
    DataError
        Where one is missing, or there are several sets.
    """
    members = _members(home)
    groups = sorted({member.group for member in members})
    plain = [member for member in members if not member.group]
    if plain:
        members = plain
    elif len(groups) > 1:
        raise DataError(
            f"{home}: files of several data sets, {listed(groups)}; put those of one into a folder of their own"
        )
    chosen: dict[tuple[str, str], _File] = {}
    for member in members:
        chosen.setdefault((member.part, member.what), member)
    for part, stems in STEMS.items():
        for stem in stems:
            what = stem.partition("-")[2]
            if (part, what) in chosen:
                continue
            name = f"{stem}-idx{DIMENSIONS[what]}-ubyte(.gz)"
            if members and not files(home):
                like = members[0].path.name
                raise DataError(
                    f"{home}: no {what} of the {part} set in this folder beside {like}, as {name} is"
                )
            raise DataError(f"{home}: no {name} in this folder")
    return chosen


def _members(folder: Path) -> list[_File]:
    """Return the files of this format in a folder, the published names first, plain before gzipped.

    An archiver may have put each into a folder of its name.
    """
    members = [_File(path, "", *_known(stem)) for stem, path in files(folder).items()]
    found: list[_File] = []
    for path in _entries(folder):
        described = _described(path.name)
        if described is None:
            continue
        inside = [path / path.name, path / f"{path.name}.gz"] if path.is_dir() else [path]
        found += [_File(file, *described) for file in inside if file.is_file()]
    found.sort(key=lambda member: (member.path.suffix == ".gz", str(member.path)))
    return members + found


def _known(stem: str) -> tuple[str, str, int, int]:
    part = "train" if stem.startswith("train") else "test"
    what = stem.partition("-")[2]
    return part, what, DIMENSIONS[what], 0x08


def _described(name: str) -> tuple[str, str, str, int, int] | None:
    """Return group, part, what, dimensions and kind by a file's name; None where it has another name."""
    stem = name.lower().removesuffix(".gz")
    ending = re.fullmatch(r"(.+)[-.]idx([1-4])[-.](ubyte|int)", stem)
    if ending is None:
        return None
    words = [word for word in re.split(r"[-_. ]+", ending[1]) if word]
    parts = {"train": "train", "t10k": "test", "test": "test"}
    part = next((parts[word] for word in words if word in parts), None)
    dimensions = int(ending[2])
    images = dimensions >= 3
    left = [word for word in words if word not in (*parts, "images", "labels", "x", "y")]
    if part is None:
        return None
    kind = 0x08 if ending[3] == "ubyte" else 0x0C
    return "-".join(left), part, "images" if images else "labels", dimensions, kind


def _entries(folder: Path) -> list[Path]:
    """Return what is in a folder; nothing where there is more than such a data set has."""
    try:
        entries = list(islice(folder.iterdir(), FEW + 1))
    except OSError:
        return []
    return sorted(entries) if len(entries) <= FEW else []


def _homes(folder: Path) -> list[Path]:
    """Return the folders below one that hold such files, the nearest level only."""
    level = [folder]
    for _ in range(DEEPEST):
        level = [path for parent in level for path in _folders(parent)][:FEW]
        homes = [path for path in level if _members(path)]
        if homes:
            return homes
    return []


def _folders(folder: Path) -> Iterator[Path]:
    for path in _entries(folder):
        if path.is_dir() and not path.name.startswith(".") and path.name != "__MACOSX":
            yield path
