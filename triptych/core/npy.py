"""The header of an array in NumPy's format, read and checked before the array is."""

from dataclasses import dataclass
from typing import IO, Any, Literal

import numpy as np
from numpy.lib import format as npy

from ..errors import one_line


@dataclass(frozen=True)
class NpyHeader:
    """What the header of an array claims; nothing of the array itself is read.

    Attributes
    ----------
    shape : tuple of int
        No side is negative, but it may be larger than any memory.
    dtype : dtype
        It may be of Python objects, whose array must not be read.
    order : "C" or "F"
        The order of the axes in the file.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    order: Literal["C", "F"]


def read_npy_header(file: IO[bytes]) -> NpyHeader:
    """Read the header of an array.

    Parameters
    ----------
    file : file
        At the beginning of an npy file. It is left behind the header.

    Raises
    ------
    ValueError
        If the header is damaged, is longer than 10,000 characters, or makes no sense. Hostile
        bytes can raise other exceptions, too.
    """
    version = npy.read_magic(file)
    if version not in ((1, 0), (2, 0), (3, 0)):
        raise ValueError(f"an array in version {version} of NumPy's format")
    read_header = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    shape, is_fortran, dtype = read_header(file)
    if not all(type(side) is int and side >= 0 for side in shape):
        raise ValueError(f"an array claims the shape {one_line(repr(shape), 40)}")
    return NpyHeader(shape, dtype, "F" if is_fortran else "C")
