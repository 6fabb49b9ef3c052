"""Reading the arrays of a safetensors or npz file that another program wrote.

Such a file may be damaged or hostile. What it declares is checked before its arrays are read, and
no pickle is ever loaded.
"""

import errno
import json
import os
import zipfile
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from io import BytesIO
from math import prod
from pathlib import Path, PurePosixPath
from typing import IO, Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from ..core import files
from ..core.npy import read_npy_header
from ..errors import TriptychError, one_line

LONGEST_HEADER = 10 * 2**20  # bytes of JSON in a safetensors file
MOST_WEIGHTS = 10_000  # arrays in a file of weights
MOST_AXES = 8
LONGEST_NAME = 1_000  # characters
SPARE_BYTES = 16 * 2**20  # that a file may have more than the network needs: counters, headers
ZIP = b"PK\x03\x04"
ENDING = ".npy"  # of the members of an npz file
# All of the format's types that NumPy has, too.
SAFETENSORS_TYPES = {
    "F64": "<f8",
    "F32": "<f4",
    "F16": "<f2",
    "I64": "<i8",
    "I32": "<i4",
    "I16": "<i2",
    "I8": "|i1",
    "U64": "<u8",
    "U32": "<u4",
    "U16": "<u2",
    "U8": "|u1",
    "BOOL": "|b1",
}
NUMBERS = "fiu"  # kinds of dtypes
SAVE_TORCH = 'safetensors.torch.save_file(model.state_dict(), "model.safetensors")'
CONVERT = f"save the weights with {SAVE_TORCH}, or with numpy.savez (docs/import.md)"
PICKLE = (
    "a pickle, which is never opened because it can run programs; load it in PyTorch, and save "
    f"its weights: {SAVE_TORCH}"
)
PICKLE_MEMBER = "data.pkl"  # of an archive of PyTorch; the first member if torch.save wrote it
HEAD_BYTES = 512
# What a file is by its first bytes, if it is no safetensors and no npz file.
OTHER_FORMATS = (
    (b"\x89HDF\r\n\x1a\n", f"an HDF5 file, which is not read; {CONVERT}"),
    (b"\x93NUMPY", f"a single NumPy array, which is not read; {CONVERT}"),
    *((b"\x80" + bytes([protocol]), PICKLE) for protocol in (2, 3, 4, 5)),
)


class TooLarge(TriptychError):
    """A file that declares more than the network needs."""


@dataclass(frozen=True)
class StoredArray:
    """What a file declares of one array.

    Attributes
    ----------
    name : str
        Its name in the file.
    shape : tuple of int
        In the layout of the framework.
    dtype : dtype
        A float or a whole number.
    """

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @property
    def size(self) -> int:
        """Bytes of its numbers."""
        return prod(self.shape) * self.dtype.itemsize


Read = Callable[[StoredArray], NDArray[Any]]
# What a file declares, and what makes of its content a function that reads one array.
Declared = tuple[dict[str, StoredArray], Callable[[bytes], Read]]


@dataclass(frozen=True)
class WeightsFile:
    """A file of weights in memory, whose arrays are not unpacked yet.

    Attributes
    ----------
    path : Path
        The file.
    arrays : dict of str to StoredArray
        What the file declares, by name, in the order of the file.
    ordered : bool
        Whether that order is the one in which a program wrote them; safetensors sorts them.
    sha256 : str
        The digest of the file.
    read : callable
        Takes a `StoredArray` and returns its numbers.
    """

    path: Path
    arrays: dict[str, StoredArray]
    ordered: bool
    sha256: str
    read: Read


def open_weights(
    path: Path, needed: int, kinds: str = NUMBERS, most: int = MOST_WEIGHTS
) -> WeightsFile:
    """Read a file of weights into memory, and what it declares of its arrays.

    Parameters
    ----------
    path : Path
        The file.
    needed : int
        Bytes of the network's arrays in float64. A file that declares much more is refused before
        it is read.
    kinds : str
        The kinds of dtypes that its arrays may have.
    most : int
        How many arrays it may hold.

    Raises
    ------
    TriptychError
        If the file is neither safetensors nor npz, or is damaged; `TooLarge` if it is too large.
    """
    with files.refusing(path, "a safetensors or npz file"):
        with files.opened(path) as file:
            head = file.read(HEAD_BYTES)
            _refuse_other_formats(path, head)
            size = os.fstat(file.fileno()).st_size
            if size > needed + SPARE_BYTES:
                raise TooLarge(f"{path}: {size:,} bytes, where at most {needed:,} are read")
            file.seek(0)
            # What it declares is checked before the rest of it is read.
            if head.startswith(ZIP):
                arrays, reader = _declared_by_npz(path, file, needed, kinds, most)
            else:
                arrays, reader = _declared_by_safetensors(file, size, kinds, most)
            file.seek(0)
            content = file.read(size)
        if len(content) != size:
            raise TriptychError("it was changed while it was read")
        digest = sha256(content).hexdigest()
        return WeightsFile(path, arrays, head.startswith(ZIP), digest, reader(content))


def _refuse_other_formats(path: Path, head: bytes) -> None:
    """Raise `TriptychError` if the first bytes are those of another format."""
    for beginning, advice in OTHER_FORMATS:
        if head.startswith(beginning):
            raise TriptychError(f"{path}: {advice}")
    if head.startswith(ZIP) and PICKLE_MEMBER.encode() in head:
        raise TriptychError(f"{path}: {PICKLE}")


def _declared_by_safetensors(file: BinaryIO, size: int, kinds: str, most: int) -> Declared:
    """Return what a safetensors file of this size in bytes declares."""
    text = files.read_safetensors_header(file, size, LONGEST_HEADER)
    header = json.loads(text, object_pairs_hook=without_duplicates)
    if not isinstance(header, dict):
        raise TriptychError("its header is not an object")
    header.pop("__metadata__", None)
    _check_count(header, most)
    begin = 8 + len(text)
    arrays: dict[str, StoredArray] = {}
    places: dict[str, tuple[int, int]] = {}
    for name, entry in header.items():
        arrays[name] = _safetensors_array(name, entry, kinds)
        places[name] = _place(arrays[name], entry["data_offsets"])
    _check_places(places, size - begin)

    def reader(content: bytes) -> Read:
        def read(array: StoredArray) -> NDArray[Any]:
            first, _ = places[array.name]
            flat = np.frombuffer(content, array.dtype, prod(array.shape), begin + first)
            return flat.reshape(array.shape)

        return read

    return arrays, reader


def without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object of JSON; it is refused if it has a name twice."""
    names: dict[str, Any] = {}
    for name, value in pairs:
        if name in names:
            raise TriptychError(f"holds {one_line(name, 60)!r} twice")
        names[name] = value
    return names


def _check_count(names: Any, most: int) -> None:
    if not names:
        raise TriptychError("holds no arrays")
    if len(names) > most:
        raise TriptychError(f"holds {len(names):,} arrays, over the limit of {most:,}")


def _safetensors_array(name: str, entry: Any, kinds: str) -> StoredArray:
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise TriptychError(f"array {one_line(name, 60)!r} is not described as it must be")
    if not isinstance(entry["dtype"], str) or entry["dtype"] not in SAFETENSORS_TYPES:
        kind = one_line(entry["dtype"], 20)
        raise TriptychError(f"array {one_line(name, 60)!r} is of type {kind}; save it as float32")
    return _checked(name, entry["shape"], np.dtype(SAFETENSORS_TYPES[entry["dtype"]]), kinds)


def _checked(name: str, shape: Any, dtype: np.dtype[Any], kinds: str) -> StoredArray:
    """Return what is declared of an array, if it makes sense."""
    shown = one_line(name, 60)
    if not name or len(name) > LONGEST_NAME or not name.isprintable():
        raise TriptychError(f"an array has the name {shown!r}")
    is_shape = isinstance(shape, list | tuple) and len(shape) <= MOST_AXES
    if not is_shape or not all(type(side) is int and 0 <= side < 2**40 for side in shape):
        raise TriptychError(f"array {shown!r} has the shape {one_line(shape, 40)}")
    if dtype.kind not in kinds or dtype.itemsize > 8:
        raise TriptychError(f"array {shown!r} is of type {dtype}, not of numbers; nothing is read")
    return StoredArray(name, tuple(shape), dtype)


def _place(array: StoredArray, offsets: Any) -> tuple[int, int]:
    """Return where an array begins and ends, if that fits its shape."""
    is_pair = isinstance(offsets, list) and len(offsets) == 2
    if not is_pair or not all(type(offset) is int and offset >= 0 for offset in offsets):
        raise TriptychError(f"array {one_line(array.name, 60)!r} is at {one_line(offsets, 40)}")
    first, last = offsets
    if last - first != array.size:
        raise TriptychError(
            f"array {one_line(array.name, 60)!r} of shape {array.shape} takes {array.size:,} "
            f"bytes, not {last - first:,}"
        )
    return first, last


def _check_places(places: dict[str, tuple[int, int]], size: int) -> None:
    """Raise `TriptychError` if arrays overlap, or bytes belong to none."""
    end = 0
    for name, (first, last) in sorted(places.items(), key=lambda item: item[1]):
        if first != end:
            fault = "overlaps the one before" if first < end else "follows a hole"
            raise TriptychError(f"array {one_line(name, 60)!r} {fault}")
        end = last
    if end != size:
        raise TriptychError(f"its arrays take {end:,} bytes, but {size:,} follow the header")


def _declared_by_npz(path: Path, file: BinaryIO, needed: int, kinds: str, most: int) -> Declared:
    """Return what the members of an npz file declare."""
    arrays: dict[str, StoredArray] = {}
    with _inside_of_file(), zipfile.ZipFile(file) as archive:
        members = archive.infolist()
        _check_count(members, most)
        if any(PurePosixPath(member.filename).name == PICKLE_MEMBER for member in members):
            raise TriptychError(f"{path}: {PICKLE}")
        declared = sum(member.file_size for member in members)
        if declared > needed + SPARE_BYTES:
            raise TooLarge(
                f"{path}: its arrays take {declared:,} bytes, where at most {needed:,} are read"
            )
        for member in members:
            if not member.filename.endswith(ENDING):
                raise TriptychError(
                    f"{path}: an archive with {one_line(member.filename, 60)!r}; {CONVERT}"
                )
            name = member.filename.removesuffix(ENDING)
            if name in arrays:
                raise TriptychError(f"holds {one_line(name, 60)!r} twice")
            with archive.open(member) as stream:
                arrays[name] = _npz_array(name, stream, member.file_size, kinds)

    def reader(content: bytes) -> Read:
        archive = zipfile.ZipFile(BytesIO(content))  # once: its list of members may be long

        def read(array: StoredArray) -> NDArray[Any]:
            with files.refusing(path, "an npz file"):
                member = BytesIO(archive.read(array.name + ENDING))  # this checks its checksum
                header = read_npy_header(member)
                flat = np.frombuffer(member.getbuffer(), array.dtype, offset=member.tell())
                return flat.reshape(array.shape, order=header.order)

        return read

    return arrays, reader


@contextmanager
def _inside_of_file() -> Generator[None]:
    """Refuse an archive whose parts are before its beginning."""
    try:
        yield
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        raise zipfile.BadZipFile("its parts are outside of the file") from None


def _npz_array(name: str, stream: IO[bytes], size: int, kinds: str) -> StoredArray:
    """Return what a member of an npz file, of this size in bytes, declares."""
    header = read_npy_header(stream)
    array = _checked(name, header.shape, header.dtype, kinds)
    held = size - stream.tell()
    if held != array.size:
        raise TriptychError(
            f"array {one_line(name, 60)!r} of shape {array.shape} takes {array.size:,} bytes, not "
            f"{held:,}"
        )
    return array
