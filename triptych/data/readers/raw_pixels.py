"""Raw pixels in a column of a Parquet file: bytes or lists of one length, with a shape."""

import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import DataError, one_line
from ..reading import LARGEST, image_shape
from .image_file import Missing

TENSOR = "arrow.fixed_shape_tensor"  # Arrow's own type of an array with a shape
KEY = b"shape"  # of a column's metadata: a JSON list such as [64, 64, 3]
CHANNELS = (1, 3)
EXAMPLE = "--shape 64x64x3"


@dataclass(frozen=True)
class RawPixels:
    """How the pixels of an image are stored in a cell.

    Attributes
    ----------
    shape : tuple of int
        (h, w, c), where c is 1 or 3.
    planes : bool
        Whether each colour is a block of its own.
    """

    shape: tuple[int, int, int]
    planes: bool = False

    @classmethod
    def of(cls, name: str, field: Any, shape: str | None) -> "RawPixels | None":
        """Return how a column stores raw pixels; None where it holds encoded images.

        Parameters
        ----------
        name : str
            The file, for messages.
        field : pyarrow.Field
            The column.
        shape : str, optional
            As of `Options.shape`. It makes raw pixels of a column of bytes.

        Raises
        ------
        DataError
            The column has no shape, or one that does not fit.
        """
        column = f"{name}: column {one_line(field.name, 40)}"
        given = None if shape is None else image_shape(shape)
        if shape is not None and given is None:
            raise DataError(f"{name}: --shape table is for rows of numbers; leave it out")
        if given is None:
            sides = _sides_of(field)
            given = None if sides is None else (_as_image(column, sides), False)
        if not is_raw(field.type) and (given is None or not _is_bytes(field.type)):
            if shape is not None:
                raise DataError(f"{column} holds image files, which have a shape; omit --shape")
            return None
        if given is None:
            raise DataError(f"{column} holds raw pixels without a shape; say it: {EXAMPLE}")
        pixels, planes = given
        if pixels[2] not in CHANNELS:
            raise DataError(f"{column}: images of {pixels[2]} channels; 1 or 3 are needed")
        count = _numbers(column, field.type)
        if count not in (None, prod(pixels)):
            size = "×".join(map(str, pixels))
            raise DataError(f"{column}: {count:,} numbers a cell are no image of {size}; {EXAMPLE}")
        return cls(pixels, planes)

    def images(self, column: Any) -> Iterator[NDArray[np.uint8] | Missing | None]:
        """Yield the images of a part of the column, views of shape (h, w, c); None without one."""
        from pyarrow import types

        if isinstance(column.type, _extension_type()):
            column = column.storage
        if not types.is_fixed_size_binary(column.type) and not types.is_fixed_size_list(
            column.type
        ):
            yield from map(self._of_bytes, column.to_pylist())
            return
        width = prod(self.shape)
        values = column.values.buffers()[1] if _is_list(column.type) else column.buffers()[1]
        start = column.offset * width
        if _is_list(column.type):
            start += column.values.offset
        flat = np.frombuffer(values, np.uint8, len(column) * width, start)
        is_valid = column.is_valid().to_numpy(zero_copy_only=False)
        for row, valid in zip(flat.reshape(len(column), width), is_valid, strict=True):
            yield self._image(row) if valid else None

    def _of_bytes(self, content: bytes | None) -> NDArray[np.uint8] | Missing | None:
        if content is None:
            return None
        width = prod(self.shape)
        if len(content) != width:
            return Missing(f"{len(content):,} bytes, where {width:,} are needed", "mend the row")
        return self._image(np.frombuffer(content, np.uint8))

    def _image(self, row: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return a row of numbers as an image (h, w, c)."""
        if not self.planes:
            return row.reshape(self.shape)
        height, width, channels = self.shape
        return row.reshape(channels, height, width).transpose(1, 2, 0)


def is_raw(kind: Any) -> bool:
    """Return whether cells of a type can only be raw pixels: they have one length."""
    from pyarrow import types

    is_tensor = isinstance(kind, _extension_type()) and kind.extension_name == TENSOR
    return is_tensor or types.is_fixed_size_binary(kind) or _is_list(kind)


def _is_list(kind: Any) -> bool:
    from pyarrow import types

    return types.is_fixed_size_list(kind)


def _is_bytes(kind: Any) -> bool:
    from pyarrow import types

    return types.is_binary(kind) or types.is_large_binary(kind)


def _extension_type() -> Any:
    from pyarrow import BaseExtensionType

    return BaseExtensionType


def _numbers(column: str, kind: Any) -> int | None:
    """Return how many bytes a cell has; None where each cell may have another number of them.

    Raises
    ------
    DataError
        The numbers are no bytes.
    """
    from pyarrow import types

    if isinstance(kind, _extension_type()):
        kind = kind.storage_type
    if types.is_fixed_size_binary(kind):
        return kind.byte_width
    if not _is_list(kind):
        return None
    if not types.is_uint8(kind.value_type):
        what = f"lists of {one_line(kind.value_type, 40)}"
        raise DataError(f"{column}: {what}; pixels from 0 to 255 as uint8 are needed")
    return kind.list_size


def _sides_of(field: Any) -> list[int] | None:
    """Return the shape that a column's type or metadata name; None where they name none."""
    if isinstance(field.type, _extension_type()):
        return list(field.type.shape)
    with suppress(ValueError, KeyError, TypeError, RecursionError):
        sides = json.loads((field.metadata or {})[KEY])
        if isinstance(sides, list):
            return sides
    return None


def _as_image(column: str, sides: list[Any]) -> tuple[int, int, int]:
    """Return a shape as (h, w, c); raise `DataError` if it is not one of an image."""
    are_whole = all(isinstance(side, int) and 1 <= side <= LARGEST for side in sides)
    if not are_whole or len(sides) not in (2, 3):
        text = one_line(sides, 60)
        raise DataError(f"{column}: the shape {text} is not height, width and channels")
    height, width, *channels = sides
    return height, width, channels[0] if channels else 1
