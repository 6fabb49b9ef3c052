"""One Parquet file of images and labels: encoded, as Hugging Face ships them, or raw pixels."""

import json
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import DataError, one_line
from ..checks import LIMIT, check_whole
from .content import content_of, read_head
from .image_file import Content, Missing, size_of
from .images import Sample
from .labels import Values
from .raw_pixels import RawPixels, is_raw
from .text import listed

IMAGES = ("img", "image", "images")
LABELS = ("label", "labels")
ROWS = 10_000_000
CLASSES = 10_000  # that a file may name
BATCH = 2**28  # bytes that the images read at once may take
GROUP = 2**29  # bytes of images in a row group that is in memory as a whole
MANY_COLUMNS = 50  # a table with more columns, none of images, has a column for each pixel
MOST_ROWS_AT_ONCE = 1000


@contextmanager
def errors_of(path: Path) -> Generator[None]:
    """Turn what a damaged file raises into a `DataError` that names it."""
    try:
        yield
    except DataError:
        raise
    except Exception as error:  # a decoder that meets garbage may raise anything
        name = one_line(path)
        head = read_head(path)
        kind = content_of(head)
        if kind and not head.startswith(b"PAR1"):
            raise DataError(f"{name}: not a Parquet file, but {kind.what}; {kind.remedy}") from None
        why = one_line(" ".join(str(error).split()), 160)
        advice = "fetch or write it again"
        raise DataError(f"{name}: not a readable Parquet file ({why}); {advice}") from None


@dataclass(frozen=True)
class Shard:
    """One file of a data set.

    Attributes
    ----------
    path : Path
    file : pyarrow.parquet.ParquetFile
    columns : tuple of str
        The column of images, or its field ``img.bytes``, and then ``img.path``, if any.
    labels : ndarray of whole numbers, floats or bool, shape (n,), or list of str
        As they are written.
    names : list of str, optional
        What the labels stand for, where the file says so.
    raw : RawPixels, optional
        How pixels are stored that are not encoded as an image file.
    checked : dict of int to int
        How many bytes each chunk of images has at most, by row group, as far as it was looked up.
    """

    path: Path
    file: Any
    columns: tuple[str, ...]
    labels: Values
    names: list[str] | None
    raw: RawPixels | None = None
    checked: dict[int, int] = field(default_factory=dict[int, int])

    @classmethod
    def open(cls, path: Path, label: str | None = None, shape: str | None = None) -> "Shard":
        """Read everything but the images.

        Parameters
        ----------
        path : Path
        label : str, optional
            The column of the labels; by default the one that is called so.
        shape : str, optional
            The shape of raw pixels, as of `Options.shape`.

        Raises
        ------
        DataError
            Naming the file, and the column or the row that is wrong.
        """
        from pyarrow.parquet import ParquetFile

        name = one_line(path)
        with errors_of(path):
            file = ParquetFile(path, page_checksum_verification=True)
            schema = file.schema_arrow
            _check_rows(name, file.metadata)
            image = column_called(schema.names, IMAGES) or _only_images(schema)
            column = _label_column(name, schema, label, image)
            if image is None or column is None:
                raise DataError(f"{name}: {_lacking(path, schema, image)}")
            raw = RawPixels.of(name, schema.field(image), shape)
            columns = (image,) if raw else _image_columns(name, schema, image)
            values = _labels(name, file, column)
            names = _class_names(schema.metadata, column)
            if isinstance(values, np.ndarray) and (values == -1).all():
                why = "every label is -1: this set has no labels"
                advice = "give the training file to have a test set split off"
                raise DataError(f"{name}: {why}; {advice}")
            if names:
                check_whole(Path(name), "label", np.asarray(values), len(names) - 1, "row")
            return cls(path, file, columns, values, names, raw)

    def samples(self) -> Iterator[Sample]:
        """Yield each row's name and image, of which at most `BATCH` bytes are in memory."""
        name = one_line(self.path)
        row = 0
        groups = range(self.file.metadata.num_row_groups)
        for content in self._contents(groups, LIMIT):
            row += 1
            if row > len(self.labels):
                break
            yield f"{name}: row {row:,}", content
        if row != len(self.labels):
            raise DataError(f"{name}: its columns differ in length; it is damaged")

    def sizes(self) -> list[int]:
        """Return the number of rows of each row group.

        Raises
        ------
        DataError
            They are not as many as the labels.
        """
        metadata = self.file.metadata
        sizes = [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)]
        if min(sizes) < 0 or sum(sizes) != len(self.labels):
            raise DataError(f"{one_line(self.path)}: its columns differ in length; it is damaged")
        return sizes

    def row_group(self, number: int) -> list[Content]:
        """Return the images of one row group.

        Raises
        ------
        DataError
            Its images have more than `GROUP` bytes, or it is damaged.
        """
        name = one_line(self.path)
        contents: list[Content] = []
        size = 0
        for content in self._contents([number], GROUP):
            contents.append(content)
            # One image that is stored once can be in many rows.
            size += size_of(content)
            if size > GROUP:
                raise DataError(f"{name}: {_too_large('holds over', GROUP, GROUP)}")
        if len(contents) != self.file.metadata.row_group(number).num_rows:
            raise DataError(f"{name}: its columns differ in length; it is damaged")
        return contents

    def _contents(self, groups: Sequence[int], limit: int) -> Iterator[Content]:
        """Yield the images of some row groups, each with at most `limit` bytes of images."""
        columns = list(self.columns)
        with errors_of(self.path):
            rows = self._rows_at_once(groups, limit)
            for batch in self.file.iter_batches(rows, row_groups=list(groups), columns=columns):
                column = batch.column(0)
                yield from self._encoded(column) if self.raw is None else self.raw.images(column)

    def _encoded(self, column: Any) -> Iterator[bytes | Missing | None]:
        """Yield the encoded images of a column; for a row with only a path, why there is none."""
        paths: list[str | None] = []
        if "." in self.columns[0]:
            parts = column.flatten()  # null where the struct is
            fields = dict(zip(column.type.names, parts, strict=True))
            column = fields["bytes"]
            if column.null_count and "path" in fields:
                paths = fields["path"].to_pylist()
        for i, content in enumerate(column.to_pylist()):
            path = paths[i] if paths else None
            if content is None and path:
                yield _only_a_path(path)
            else:
                yield content

    def _rows_at_once(self, groups: Sequence[int], limit: int) -> int:
        """Return how many rows to read at once: one image may be as large as its row group."""
        largest = max(map(self._chunk_size, groups))
        if largest > limit:
            raise DataError(f"{one_line(self.path)}: {_too_large('claims', largest, limit)}")
        return max(1, min(MOST_ROWS_AT_ONCE, BATCH // max(1, largest)))

    def _chunk_size(self, group: int) -> int:
        """Return how many bytes the largest chunk of the columns has, as its metadata claim."""
        if group not in self.checked:
            columns = list(self.columns)
            paths = tuple(f"{column}." for column in columns)
            schema = self.file.schema
            names = [schema.column(j).path for j in range(len(schema))]
            # Damaged metadata of a chunk end the process in `column`. Reading a row raises.
            next(self.file.iter_batches(1, row_groups=[group], columns=columns), None)
            chunks = self.file.metadata.row_group(group)
            self.checked[group] = max(
                chunks.column(j).total_uncompressed_size
                for j, path in enumerate(names)
                if f"{path}.".startswith(paths)
            )
        return self.checked[group]


def _too_large(verb: str, size: int, limit: int) -> str:
    """Return that a row group is too large, and what to do."""
    what = f"{verb} {size:,} bytes of images in one row group, over the limit of {limit:,}"
    return f"{what}; write it with smaller ones: row_group_size=1000"


def column_called(names: list[str], wanted: tuple[str, ...]) -> str | None:
    """Return the first of `wanted` that is among the columns' names, in letters of either size."""
    known = {name.lower(): name for name in reversed(names)}
    return next((known[name] for name in wanted if name in known), None)


def _check_rows(name: str, metadata: Any) -> None:
    """Raise `DataError` for a file without rows, or with too many of them."""
    rows = sum(metadata.row_group(i).num_rows for i in range(metadata.num_row_groups))
    if rows <= 0:
        raise DataError(f"{name}: holds no rows")
    if rows > ROWS:
        raise DataError(f"{name}: claims {rows:,} rows, over the limit of {ROWS:,}")


def _only_images(schema: Any) -> str | None:
    """Return the only column that holds bytes, or a struct with them, whatever its name."""
    columns = [field.name for field in schema if _is_content(field.type)]
    return columns[0] if len(columns) == 1 else None


def _is_content(kind: Any) -> bool:
    """Return whether a type of column is bytes, a struct with a field of bytes, or raw pixels."""
    from pyarrow import types

    if is_raw(kind):
        return True
    if types.is_struct(kind) and kind.get_field_index("bytes") >= 0:
        kind = kind.field("bytes").type
    return types.is_binary(kind) or types.is_large_binary(kind) or types.is_binary_view(kind)


def _is_text(kind: Any) -> bool:
    from pyarrow import types

    return types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind)


def _label_column(name: str, schema: Any, label: str | None, image: str | None) -> str | None:
    """Return the column of labels: the one that was asked for, or that is called so.

    Raises
    ------
    DataError
        There is none, but there are columns of whole numbers, which are named.
    """
    from pyarrow import types

    columns = schema.names
    wanted = LABELS if label is None else (label.lower(),)
    column = column_called(columns, wanted)
    if column is not None or image is None:
        return column
    whole = [
        each
        for each in dict.fromkeys(columns)
        if columns.count(each) == 1 and types.is_integer(schema.field(each).type)
    ]
    if label is not None:
        known = f"whole numbers are in: {listed(whole)}"
        raise DataError(f"{name}: no column {one_line(label, 40)}; {known}")
    if whole:
        choices = " or ".join(f"--label {one_line(each, 40)}" for each in whole[:3])
        reason = f"columns {listed(columns)}; none is called label"
        raise DataError(f"{name}: {reason}: say which it is, {choices}")
    return None


def _lacking(path: Path, schema: Any, image: str | None) -> str:
    """Return which columns there are where those that are needed are not."""
    columns = f"columns {listed(schema.names, 60)}; needed are img or image, and label"
    has_labels = column_called(schema.names, LABELS) is not None
    if image is None and has_labels and len(schema.names) > MANY_COLUMNS:
        target = one_line(path.with_suffix(".csv").name, 60)
        conversion = f"pandas.read_parquet(FILE).to_csv({target!r}, index=False)"
        return f"{columns}; for a table of pixels write a CSV: {conversion}"
    return columns


def _image_columns(name: str, schema: Any, image: str) -> tuple[str, ...]:
    """Return the columns to read for the images.

    Raises
    ------
    DataError
        The column `image` does not hold the content of image files.
    """
    from pyarrow import types

    kind = schema.field(image).type
    if _is_content(kind) and not types.is_struct(kind):
        return (image,)
    if _is_content(kind):
        has_path = kind.get_field_index("path") >= 0 and _is_text(kind.field("path").type)
        return (f"{image}.bytes", f"{image}.path") if has_path else (f"{image}.bytes",)
    why = ""
    if types.is_struct(kind) and kind.get_field_index("path") >= 0:
        why = ", only the paths of images and not the images themselves"
    if _is_text(kind):
        why = ", text such as paths and not the images themselves"
    what = f"column {one_line(image, 40)} is of type {one_line(kind, 80)}{why}"
    raise DataError(f"{name}: {what}; bytes of image files, or a struct with them, are needed")


def _only_a_path(path: str) -> Missing:
    return Missing(
        f"only the path of the image is in the file ({one_line(path, 60)}), not the image",
        "write the file with the images in it, or give the folder of images",
    )


def _class_names(metadata: dict[bytes, bytes] | None, column: str) -> list[str] | None:
    """Return the names of a Hugging Face ``ClassLabel``, if there are."""
    try:
        names = json.loads((metadata or {})[b"huggingface"])["info"]["features"][column]["names"]
    except (KeyError, TypeError, ValueError, RecursionError):
        return None
    if not isinstance(names, list) or not 0 < len(names) <= CLASSES:
        return None
    are_texts = all(isinstance(name, str) and name.isprintable() for name in names)
    return names if are_texts else None


def _labels(name: str, file: Any, column: str) -> Values:
    """Return the labels of a file as they are written.

    Raises
    ------
    DataError
        The column holds neither numbers nor text, or a label is missing.
    """
    from pyarrow import types

    kind = file.schema_arrow.field(column).type
    held = kind.value_type if types.is_dictionary(kind) else kind
    is_number = types.is_integer(held) or types.is_floating(held) or types.is_boolean(held)
    if not is_number and not _is_text(held):
        what = f"column {one_line(column, 40)} is of type {one_line(kind, 60)}"
        raise DataError(f"{name}: {what}; a whole number or a word for each image is needed")
    stored = file.read(columns=[column]).column(column)
    if stored.null_count:
        row = stored.is_null().index(True).as_py() + 1
        raise DataError(f"{name}: row {row:,}: no label")
    if types.is_dictionary(kind):
        stored = stored.cast(held)
    return stored.to_pylist() if _is_text(held) else stored.to_numpy()
