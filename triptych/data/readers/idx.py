"""MNIST's own IDX format: images and labels in separate files, plain or gzipped.

The format is that of LeCun, Cortes & Burges, "The MNIST database of handwritten digits".
"""

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from math import prod
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from ...errors import DataError
from ..checks import LIMIT, opened, read_exactly
from ..reading import PLAIN, Contents, Options, Progress
from .arrays import contents_of
from .content import HEAD_BYTES, mismatch
from .listing import is_visible
from .samples import Samples
from .text import listed

STEMS = {"train": ("train-images", "train-labels"), "test": ("t10k-images", "t10k-labels")}
DIMENSIONS = {"images": 3, "labels": 1}
# The type of the numbers, by the third byte of a file.
UNSIGNED_BYTES = 0x08
INT32 = 0x0C
TYPES = {
    UNSIGNED_BYTES: np.dtype("u1"),
    0x09: np.dtype("i1"),
    0x0B: np.dtype(">i2"),
    INT32: np.dtype(">i4"),
}
PARTS = {"train": "train", "t10k": "test", "test": "test"}
# Words in the names of files that do not name a data set.
PLAIN_WORDS = (*PARTS, "images", "labels", "x", "y")
MOST_ENTRIES = 100  # of a folder that is searched for files of this format
LEVELS_SEARCHED = 2  # of folders below the one that is named


@dataclass(frozen=True)
class _Description:
    """What the name of a file says.

    Attributes
    ----------
    group : str
        The name of the data set: ``emnist-letters``; often nothing.
    part : str
        ``train`` or ``test``.
    what : str
        ``images`` or ``labels``.
    dimensions : int
        Of the array in it.
    kind : int
        The type of its numbers, as the third byte of the file has it.
    """

    group: str
    part: str
    what: str
    dimensions: int
    kind: int = UNSIGNED_BYTES


@dataclass(frozen=True)
class _File:
    """One file of a data set."""

    path: Path
    description: _Description


def files(folder: Path) -> dict[str, Path]:
    """Return the files of a folder with MNIST's names, by stem: ``train-images`` and so on.

    They may be gzipped; both spellings of the name count, with a hyphen or a dot before ``idx``.
    """
    present: dict[str, Path] = {}
    for stem in (stem for stems in STEMS.values() for stem in stems):
        dimensions = DIMENSIONS[stem.partition("-")[2]]
        for name in (f"{stem}-idx{dimensions}-ubyte", f"{stem}.idx{dimensions}-ubyte"):
            for path in (folder / name, folder / f"{name}.gz"):
                if path.is_file():
                    present.setdefault(stem, path)
    return present


def fits(folder: Path) -> bool:
    """Return whether there are such files in a folder, or in one of its folders."""
    return not is_deeper(folder) or bool(_homes(folder))


def is_deeper(folder: Path) -> bool:
    """Return whether there are no such files in the folder itself, only perhaps in its folders."""
    return not (files(folder) or _members(folder))


def read(
    folder: Path,
    options: Options = PLAIN,
    _progress: Progress | None = None,
    classes: tuple[str, ...] = (),
) -> Contents:
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
        Naming the file that is missing, truncated, too long or not IDX, or two that may be meant.
    """
    home = folder
    notes: tuple[str, ...] = ()
    homes = _homes(folder) if is_deeper(folder) else []
    if len(homes) > 1:
        names = listed([str(home.relative_to(folder)) for home in homes])
        raise DataError(f"{folder}: {names} hold IDX files; name one of them")
    if homes:
        home = homes[0]
        notes = (f"found in {home.relative_to(folder)}",)
    chosen = _chosen(home)
    train = _samples(chosen["train", "images"], chosen["train", "labels"])
    test = _samples(chosen["test", "images"], chosen["test", "labels"])
    return contents_of(train, test, options, notes=notes, classes=classes)


def array(path: Path, dimensions: int, kind: int = UNSIGNED_BYTES) -> NDArray[Any]:
    """Read one IDX file.

    No memory is allocated for what the header only promises: memory follows the bytes that are
    really in the file.

    Parameters
    ----------
    path : Path
    dimensions : int
        3 for images, 1 for labels.
    kind : int
        The type of its numbers, a key of `TYPES`.

    Raises
    ------
    DataError
        The magic number, the dimensions or the length is wrong.
    """
    dtype = TYPES[kind]
    with opened(path) as stream:
        shape = _shape(path, stream, dimensions, kind)
        promised = prod(shape) * dtype.itemsize
        promise = f"its header promises {promised:,} bytes"
        if promised > LIMIT:
            raise DataError(f"{path}: {promise}, over the limit of {LIMIT:,}")
        data = read_exactly(stream, promised + 1)
    if len(data) < promised:
        raise DataError(f"{path}: {promise}, the file holds {len(data):,}; it is truncated")
    if len(data) > promised:
        raise DataError(f"{path}: more bytes than the {promised:,} its header promises")
    return np.frombuffer(data, dtype).reshape(shape)


def _shape(path: Path, stream: IO[bytes], dimensions: int, kind: int) -> tuple[int, ...]:
    """Read the header of a file: 4 bytes for type and dimensions, and 4 for each side.

    Raises
    ------
    DataError
        The file is of another kind, or ends inside its header.
    """
    size = 4 + 4 * dimensions
    header = read_exactly(stream, size)
    if not header:
        raise DataError(f"{path}: empty")
    if len(header) < 4:
        raise DataError(f"{path}: too short to be an IDX file")
    magic = kind << 8 | dimensions
    if header[:4] != struct.pack(">I", magic):
        head = header + read_exactly(stream, HEAD_BYTES - size)
        is_idx = header[:3] == b"\0\0\x08"
        wrong = None if is_idx else mismatch(head, "an IDX file")
        if wrong:
            raise DataError(f"{path}: {wrong}")
        type_name = "unsigned bytes" if kind == UNSIGNED_BYTES else TYPES[kind].name
        needed = f"0x{magic:08x} ({type_name}, {dimensions}-D) is needed"
        advice = "give the files of one data set the names that they were published with"
        raise DataError(f"{path}: magic number 0x{header[:4].hex()} where {needed}; {advice}")
    if len(header) < size:
        raise DataError(f"{path}: truncated inside its header")
    return struct.unpack(f">{dimensions}I", header[4:])


def _samples(images: list[_File], labels: list[_File]) -> Samples:
    """Read the images and labels of a part; each in one file, or the same in several."""
    numbers = _same_in_all(labels)
    pixels = _same_in_all(images)
    return Samples(images[0].path, pixels, numbers, labels_path=labels[0].path)


def _same_in_all(files: list[_File]) -> NDArray[Any]:
    """Read a file, and make sure that the others of its part hold the same.

    Raises
    ------
    DataError
        They do not: nothing tells which one is meant.
    """
    first, *others = files
    values = _values(first)
    for other in others:
        if not np.array_equal(values, _values(other)):
            raise DataError(
                f"{first.path}: holds other {first.description.what} than {other.path}, and either "
                "may be meant; remove one of them"
            )
    return values


def _values(file: _File) -> NDArray[Any]:
    """Read a file. Of QMNIST's labels, eight numbers each, the first is the class."""
    description = file.description
    values = array(file.path, description.dimensions, description.kind)
    is_of_qmnist = description.what == "labels" and values.ndim == 2
    return values[:, 0] if is_of_qmnist else values


def _chosen(home: Path) -> dict[tuple[str, str], list[_File]]:
    """Return the files of a data set, by part and by what they hold, the first one to be read.

    Raises
    ------
    DataError
        One is missing, or there are files of several data sets.
    """
    members = _members(home)
    groups = sorted({member.description.group for member in members})
    plain = [member for member in members if not member.description.group]
    if not plain and len(groups) > 1:
        advice = "put those of one into a folder of their own"
        raise DataError(f"{home}: files of several data sets, {listed(groups)}; {advice}")
    chosen: dict[tuple[str, str], list[_File]] = {}
    for member in plain or members:
        alike = chosen.setdefault((member.description.part, member.description.what), [])
        if member.path not in [each.path for each in alike]:
            alike.append(member)
    for part, stems in STEMS.items():
        for stem in stems:
            what = stem.partition("-")[2]
            if (part, what) not in chosen:
                raise DataError(_missing(home, part, what, stem, plain or members))
    return chosen


def _missing(home: Path, part: str, what: str, stem: str, members: list[_File]) -> str:
    """Return which file a folder lacks, by an example where its files are named in another way."""
    name = f"{stem}-idx{DIMENSIONS[what]}-ubyte(.gz)"
    if not members or files(home):
        return f"{home}: no {name} in this folder; put it beside the others"
    example = members[0].path.name
    return f"{home}: holds {example}, but no {what} of the {part} set, such as {name}"


def _members(folder: Path) -> list[_File]:
    """Return the files of this format in a folder, the published names first, plain before gzipped.

    An archiver may have put each into a folder of its name.
    """
    published = [_File(path, _published(stem)) for stem, path in files(folder).items()]
    others: list[_File] = []
    for path in _entries(folder):
        description = _described(path.name)
        if description is None:
            continue
        inside = [path / path.name, path / f"{path.name}.gz"] if path.is_dir() else [path]
        others += [_File(file, description) for file in inside if file.is_file()]
    others.sort(key=lambda file: (file.path.suffix == ".gz", str(file.path)))
    return published + others


def _published(stem: str) -> _Description:
    """Return what a published name says, by its stem."""
    part = "train" if stem.startswith("train") else "test"
    what = stem.partition("-")[2]
    return _Description("", part, what, DIMENSIONS[what])


def _described(name: str) -> _Description | None:
    """Return what the name of a file says; None where it is no name of this format."""
    stem = name.lower().removesuffix(".gz")
    ending = re.fullmatch(r"(.+)[-.]idx([1-4])[-.](ubyte|int)", stem)
    if ending is None:
        return None
    words = [word for word in re.split(r"[-_. ]+", ending[1]) if word]
    part = next((PARTS[word] for word in words if word in PARTS), None)
    if part is None:
        return None
    group = "-".join(word for word in words if word not in PLAIN_WORDS)
    dimensions = int(ending[2])
    what = "images" if dimensions >= 3 else "labels"
    kind = UNSIGNED_BYTES if ending[3] == "ubyte" else INT32
    return _Description(group, part, what, dimensions, kind)


def _entries(folder: Path) -> list[Path]:
    """Return what is in a folder, sorted; nothing where there is more than such a data set has."""
    try:
        entries = list(islice(folder.iterdir(), MOST_ENTRIES + 1))
    except OSError:
        return []
    return sorted(entries) if len(entries) <= MOST_ENTRIES else []


def _homes(folder: Path) -> list[Path]:
    """Return the folders below one that hold such files, of the nearest level with any."""
    level = [folder]
    for _ in range(LEVELS_SEARCHED):
        level = [path for parent in level for path in _folders(parent)][:MOST_ENTRIES]
        homes = [path for path in level if _members(path)]
        if homes:
            return homes
    return []


def _folders(folder: Path) -> Iterator[Path]:
    for path in _entries(folder):
        if path.is_dir() and is_visible(path.name):
            yield path
