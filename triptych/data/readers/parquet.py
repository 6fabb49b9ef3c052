"""Parquet as Hugging Face ships images: a column ``img`` or ``image`` of encoded files and a column ``label``."""

import json
import re
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from hashlib import file_digest
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...core.files import is_regular
from ...errors import DataError, one_line
from ..checks import LIMIT, check_whole
from ..reading import Found, Options, Progress
from . import decoded, images
from .content import content_of, read_head
from .labels import Values, classes_of, codes_of
from .text import listed

IMAGES = ("img", "image", "images")
LABELS = ("label", "labels")
TRAIN = ("train", "training")
TEST = ("test", "testing")
VALIDATION = ("validation", "valid", "val")
SPLITS = (
    *TRAIN,
    *TEST,
    *VALIDATION,
    "extra",
    "unsupervised",
)  # names of folders that hold one part
ROWS = 10_000_000
CLASSES = 10_000  # that a file may name
BATCH = 2**28  # bytes that the images read at once may take


def fits(folder: Path) -> bool:
    """Return whether there are training files in it."""
    return bool(_files(folder, TRAIN))


def read(path: Path, options: Options, progress: Progress | None) -> Found:
    """Read one file, or the train*.parquet and test*.parquet of a folder or of one folder in it.

    Raises
    ------
    DataError
        Naming the file and the row of the first label or image that is wrong.
    """
    paths, notes = _parts(path) if path.is_dir() else ([[path]], ())
    for file in (file for files in paths for file in files):
        if not is_regular(file):
            raise DataError(f"{one_line(file)}: not a regular file")

    def decode() -> Found:
        train, *test = ([_Shard.open(file, options.label) for file in files] for files in paths)
        shards = [*train, *(shard for part in test for shard in part)]
        training = sum(len(shard.labels) for shard in train)
        classes, codes = _classes(path, train, shards[len(train) :])

        def samples() -> Iterator[images.Sample]:
            return (sample for shard in shards for sample in shard.samples())

        return images.found(path, samples, codes, training, classes, options, progress, notes)

    return decoded.kept(
        path, options, _digest([file for files in paths for file in files], notes), decode
    )


def _parts(folder: Path) -> tuple[list[list[Path]], tuple[str, ...]]:
    """Return the training and the test files of a folder, and what is left out or taken for something else."""
    train, test = _files(folder, TRAIN), _files(folder, TEST)
    notes: list[str] = []
    if not test and (test := _files(folder, VALIDATION)):
        notes.append(f"{_brief(test)} is the test set: there is no test*.parquet")
    where = one_line(folder)
    if not test:
        raise DataError(
            f"{where}: no test*.parquet beside {one_line(train[0].name, 80)}; to have a test set split off, name one file"
        )
    homes = sorted({_home(file) for file in train} | {_home(file) for file in test})
    if len(homes) > 1:
        names = listed(home.name for home in homes).replace(", ", " and ")
        raise DataError(f"{where}: {names} both hold data; name one of them")
    used = {*train, *test}
    around = [homes[0], *(path for path in _listed(homes[0]) if path.name.lower() in SPLITS)]
    others = [
        file
        for place in around
        for file in _listed(place)
        if _is_parquet(file) and file not in used
    ]
    for files in (train, test):
        notes += _shards_missing(files)
    if others:
        notes.append(f"{_brief(sorted(others))} left out: neither training nor test set")
    return [train, test], tuple(notes)


def _shards_missing(files: list[Path]) -> list[str]:
    """Return a line where names such as ``train-00000-of-00002.parquet`` speak of more files than there are."""
    numbered = [
        match
        for file in files
        if (match := re.search(r"(.*)-\d+-of-(\d+)\.parquet$", file.name, re.IGNORECASE))
    ]
    for name, count in sorted({(match[1], int(match[2])) for match in numbered}):
        present = sum(match[1] == name and int(match[2]) == count for match in numbered)
        if present < count:
            return [
                f"only {present} of the {count:,} files {one_line(name, 40)}-…-of-{count:05} are here"
            ]
    return []


def _brief(files: list[Path]) -> str:
    names = [f"{file.parent.name}/{file.name}" if _in_split(file) else file.name for file in files]
    return listed(names, 100)


def _home(file: Path) -> Path:
    """Return the folder of the data set of which a file is a part; the Hub's own is one above: ``train/0000.parquet``."""
    return file.parent.parent if _in_split(file) else file.parent


def _in_split(file: Path) -> bool:
    return file.parent.name.lower() in SPLITS


def _is_parquet(path: Path) -> bool:
    return path.name.lower().endswith(".parquet") and not path.is_dir()


def _files(folder: Path, names: tuple[str, ...]) -> list[Path]:
    """Return the files of a part: of the folder itself, of its folder of that name, or of those one folder deeper."""
    for places in ([folder], [path for path in _listed(folder) if path.is_dir()]):
        found: list[Path] = []
        for place in places:
            for path in _listed(place):
                name = path.name.lower()
                if name.startswith(names) and _is_parquet(path):
                    found.append(path)
                elif name in names and path.is_dir():
                    found += [file for file in _listed(path) if _is_parquet(file)]
        if found:
            return sorted(found)
    return []


def _listed(folder: Path) -> list[Path]:
    try:
        return [path for path in folder.iterdir() if not path.name.startswith(".")]
    except OSError:
        return []


def _digest(paths: list[Path], notes: tuple[str, ...]) -> str:
    sums = [*notes]
    for path in paths:
        with _errors(path), path.open("rb") as file:
            sums.append(file_digest(file, "sha256").hexdigest())
    return repr(sums)


@contextmanager
def _errors(path: Path) -> Generator[None]:
    """Turn what a damaged file brings into a `DataError`."""
    try:
        yield
    except DataError:
        raise
    except Exception as error:  # a decoder that meets garbage may raise anything
        found = content_of(read_head(path))
        if found and not read_head(path).startswith(b"PAR1"):
            raise DataError(
                f"{one_line(path)}: not a Parquet file, but {found.what}; {found.remedy}"
            ) from None
        why = one_line(" ".join(str(error).split()), 160)
        raise DataError(
            f"{one_line(path)}: not a readable Parquet file ({why}); fetch or write it again"
        ) from None


@dataclass(frozen=True)
class _Shard:
    """One file.

    Attributes
    ----------
    path : Path
    file : pyarrow.parquet.ParquetFile
    columns : tuple of str
        The column of encoded images, or its field ``img.bytes``, and then ``img.path`` if there is one.
    labels : ndarray of whole numbers, floats or bool, shape (n,), or list of str
        As they are written.
    names : list of str, optional
        What the labels stand for, where the file says so.
    """

    path: Path
    file: Any
    columns: tuple[str, ...]
    labels: Values
    names: list[str] | None

    @classmethod
    def open(cls, path: Path, label: str | None = None) -> "_Shard":
        """Read all but the images; the labels are in the column `label`, by default the one that is called so."""
        from pyarrow.parquet import ParquetFile

        name = one_line(path)
        with _errors(path):
            file = ParquetFile(path, page_checksum_verification=True)
            about, schema = file.metadata, file.schema_arrow
            rows = sum(about.row_group(i).num_rows for i in range(about.num_row_groups))
            if not 0 < rows <= ROWS:
                raise DataError(
                    f"{name}: {f'claims {rows:,} rows, over the limit of {ROWS:,}' if rows > 0 else 'holds no rows'}"
                )
            image = _called(schema.names, IMAGES) or _only_images(schema)
            column = _label(name, schema, label, image)
            if image is None or column is None:
                raise DataError(f"{name}: {_lacking(path, schema, image)}")
            columns = _image_columns(name, schema, image)
            values = _values(name, file, column)
            names = _names(schema.metadata, column)
            if isinstance(values, np.ndarray) and (values == -1).all():
                raise DataError(
                    f"{name}: every label is -1: this set has no labels; give the training file to have a test set split off"
                )
            if names:
                check_whole(Path(name), "label", np.asarray(values), len(names) - 1, "row")
            return cls(path, file, columns, values, names)

    def samples(self) -> Iterator[images.Sample]:
        """Yield each row's name and encoded image, with no more at a time in memory than `BATCH`."""
        at = 0
        name = one_line(self.path)
        with _errors(self.path):
            for batch in self.file.iter_batches(self._batch(), columns=list(self.columns)):
                column = batch.column(0)
                places: list[Any] = []
                if "." in self.columns[0]:
                    fields = dict(
                        zip(column.type.names, column.flatten(), strict=True)
                    )  # null where the struct is
                    column = fields["bytes"]
                    if column.null_count and "path" in fields:
                        places = fields["path"].to_pylist()
                for i, content in enumerate(column.to_pylist()):
                    at += 1
                    if at > len(self.labels):
                        break
                    if content is None and places and places[i]:
                        yield f"{name}: row {at:,}", _only_a_path(places[i])
                    else:
                        yield f"{name}: row {at:,}", content
        if at != len(self.labels):
            raise DataError(f"{name}: its columns differ in length; it is damaged")

    def _batch(self) -> int:
        """Return how many rows to read at once: one image may be as large as its row group."""
        about = self.file.metadata
        groups = (about.row_group(i) for i in range(about.num_row_groups))
        chunks = (group.column(j) for group in groups for j in range(group.num_columns))
        largest = max(
            chunk.total_uncompressed_size
            for chunk in chunks
            if chunk.path_in_schema in self.columns
        )
        if largest > LIMIT:
            raise DataError(
                f"{one_line(self.path)}: claims {largest:,} bytes of images in one row group, over the limit of {LIMIT:,}"
            )
        return max(1, min(1000, BATCH // max(1, largest)))


def _called(names: list[str], wanted: tuple[str, ...]) -> str | None:
    """Return the first of `wanted` that is among the columns' names, in letters of either size."""
    known = {name.lower(): name for name in reversed(names)}
    return next((known[name] for name in wanted if name in known), None)


def _only_images(schema: Any) -> str | None:
    """Return the only column that holds bytes, or a struct with them, whatever its name."""
    found = [field.name for field in schema if _is_content(field.type)]
    return found[0] if len(found) == 1 else None


def _is_content(kind: Any) -> bool:
    from pyarrow import types

    if types.is_struct(kind) and kind.get_field_index("bytes") >= 0:
        kind = kind.field("bytes").type
    return types.is_binary(kind) or types.is_large_binary(kind) or types.is_binary_view(kind)


def _is_text(kind: Any) -> bool:
    from pyarrow import types

    return types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind)


def _label(name: str, schema: Any, label: str | None, image: str | None) -> str | None:
    """Return the column of labels: the one that was asked for, or that is called so.

    Raises
    ------
    DataError
        Where there is none, naming those that hold whole numbers.
    """
    from pyarrow import types

    columns = schema.names
    found = _called(columns, LABELS) if label is None else _called(columns, (label.lower(),))
    if found is not None or image is None:
        return found
    whole = [
        column
        for column in dict.fromkeys(columns)
        if columns.count(column) == 1 and types.is_integer(schema.field(column).type)
    ]
    if label is not None:
        raise DataError(
            f"{name}: no column {one_line(label, 40)}; whole numbers are in: {listed(whole)}"
        )
    if whole:
        choices = " or ".join(f"--label {one_line(column, 40)}" for column in whole[:3])
        raise DataError(
            f"{name}: columns {listed(columns)}; none is called label: say which it is, {choices}"
        )
    return None


def _lacking(path: Path, schema: Any, image: str | None) -> str:
    """Return which columns there are where those that are needed are not."""
    columns = f"columns {listed(schema.names, 60)}; needed are img or image, and label"
    if image is None and _called(schema.names, LABELS) and len(schema.names) > 50:
        target = one_line(path.with_suffix(".csv").name, 60)
        return f"{columns}; for a table of pixels write a CSV: pandas.read_parquet(FILE).to_csv({target!r}, index=False)"
    return columns


def _image_columns(name: str, schema: Any, image: str) -> tuple[str, ...]:
    """Return the columns to read for the images, or raise `DataError` where they are not the content of image files."""
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
    shape = one_line(kind, 80)
    what = f"column {one_line(image, 40)} is of type {shape}{why}"
    raise DataError(f"{name}: {what}; bytes of image files, or a struct with them, are needed")


def _only_a_path(place: str) -> images.Missing:
    return images.Missing(
        f"only the path of the image is in the file ({one_line(place, 60)}), not the image",
        "write the file with the images in it, or give the folder of images",
    )


def _names(metadata: dict[bytes, bytes] | None, column: str) -> list[str] | None:
    """Return the names of a Hugging Face ``ClassLabel``, if there are."""
    try:
        names = json.loads((metadata or {})[b"huggingface"])["info"]["features"][column]["names"]
    except (KeyError, TypeError, ValueError, RecursionError):
        return None
    good = (
        isinstance(names, list)
        and 0 < len(names) <= CLASSES
        and all(isinstance(n, str) and n.isprintable() for n in names)
    )
    return names if good else None


def _values(name: str, file: Any, column: str) -> Values:
    """Return the labels of a file as they are written.

    Raises
    ------
    DataError
        Where the column holds neither numbers nor text, or a label is missing.
    """
    from pyarrow import types

    kind = file.schema_arrow.field(column).type
    held = kind.value_type if types.is_dictionary(kind) else kind
    if not (
        types.is_integer(held)
        or types.is_floating(held)
        or types.is_boolean(held)
        or _is_text(held)
    ):
        what = f"column {one_line(column, 40)} is of type {one_line(kind, 60)}"
        raise DataError(f"{name}: {what}; a whole number or a word for each image is needed")
    stored = file.read(columns=[column]).column(column)
    if stored.null_count:
        raise DataError(f"{name}: row {stored.is_null().index(True).as_py() + 1:,}: no label")
    if types.is_dictionary(kind):
        stored = stored.cast(held)
    return stored.to_pylist() if _is_text(held) else stored.to_numpy()


def _classes(
    path: Path, train: list[_Shard], test: list[_Shard]
) -> tuple[tuple[str, ...], NDArray[np.int32]]:
    """Return the classes, and which of them each label is, the training files first.

    The classes are the names in the files, or otherwise the distinct labels of the training files.
    """
    names = train[0].names
    for shard in (*train, *test):
        if shard.names != names:
            raise DataError(
                f"{one_line(shard.path)}: names its classes otherwise than {one_line(train[0].path)}"
            )
    if names:
        return tuple(names), np.concatenate(
            [np.asarray(shard.labels, np.int32) for shard in (*train, *test)]
        )
    about = Path(one_line(path))
    classes, codes = classes_of(about, _joined(train), partial(_place, train))
    if not test:
        return classes, codes
    return classes, np.concatenate(
        [codes, codes_of(about, _joined(test), partial(_place, test), classes)]
    )


def _joined(shards: list[_Shard]) -> Values:
    """Return the labels of several files one after the other."""
    arrays = [shard.labels for shard in shards if isinstance(shard.labels, np.ndarray)]
    if len(arrays) == len(shards):
        return np.concatenate(arrays)
    return [str(value) for shard in shards for value in shard.labels]


def _place(shards: list[_Shard], at: int) -> str:
    """Return where a label of several files is."""
    for shard in shards:
        if at < len(shard.labels):
            row = f"row {at + 1:,}"
            return row if len(shards) == 1 else f"{one_line(shard.path.name, 60)}, {row}"
        at -= len(shard.labels)
    raise AssertionError("the index is that of a label")
