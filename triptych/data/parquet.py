"""Parquet as Hugging Face ships images: a column ``img`` or ``image`` of encoded files and a column ``label`` of whole numbers."""

import json
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import file_digest
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError
from . import decoded, images
from .checks import LIMIT, check_whole
from .reading import Found, Options, Progress

IMAGES, LABEL = ("img", "image"), "label"
ROWS = 10_000_000
CLASSES = 10_000  # where the file names none
BATCH = 2**28  # bytes that the images read at once may take


def fits(folder: Path) -> bool:
    """Return whether there are training files in it."""
    return bool(_files(folder, "train"))


def read(path: Path, options: Options, progress: Progress | None) -> Found:
    """Read one file, or the train*.parquet and test*.parquet of a folder or of one folder in it.

    Raises
    ------
    DataError
        Naming the file and the row of the first label or image that is wrong.
    """
    paths = [[path]] if path.is_file() else [_files(path, "train"), _files(path, "test")]
    if not all(paths):
        raise DataError(f"{path}: no test*.parquet beside {paths[0][0].name}; to have a test set split off, name one file")
    for folders in ({file.parent for file in files} for files in paths):
        if len(folders) > 1:
            raise DataError(f"{path}: {' and '.join(sorted(folder.name for folder in folders))} both hold data; name one of them")

    def decode() -> Found:
        train, *test = ([_Shard.open(file) for file in files] for files in paths)
        shards = [*train, *(shard for part in test for shard in part)]
        labels = np.concatenate([shard.labels for shard in shards])
        training = sum(len(shard.labels) for shard in train)
        samples = (sample for shard in shards for sample in shard.samples())
        return images.found(path, samples, labels, training, _classes(shards, labels[:training]), options, progress)

    return decoded.kept(path, options, _digest([file for files in paths for file in files]), decode)


def _files(folder: Path, split: str) -> list[Path]:
    """Return the files of a split, those of the folder itself before those one folder deeper."""
    deeper = (path for path in folder.glob(f"*/{split}*.parquet") if not path.parent.name.startswith("."))
    return sorted(folder.glob(f"{split}*.parquet")) or sorted(deeper)


def _digest(paths: list[Path]) -> str:
    sums: list[str] = []
    for path in paths:
        with _errors(path), path.open("rb") as file:
            sums.append(file_digest(file, "sha256").hexdigest())
    return repr(sums)


@contextmanager
def _errors(path: Path) -> Generator[None]:
    """Turn what a damaged file brings into a `DataError`."""
    from pyarrow import ArrowException

    try:
        yield
    except (ArrowException, OSError, ValueError, KeyError) as error:
        raise DataError(f"{path}: not a readable Parquet file ({' '.join(str(error).split())[:160]})") from None


@dataclass(frozen=True)
class _Shard:
    """One file.

    Attributes
    ----------
    path : Path
    file : pyarrow.parquet.ParquetFile
    image : str
        The column of encoded images, ``img`` or ``image``, or its field ``img.bytes``.
    labels : ndarray of int32, shape (n,)
    names : list of str, optional
        What the labels stand for, where the file says so.
    """

    path: Path
    file: Any
    image: str
    labels: NDArray[np.int32]
    names: list[str] | None

    @classmethod
    def open(cls, path: Path) -> "_Shard":
        """Read all but the images."""
        from pyarrow import types
        from pyarrow.parquet import ParquetFile

        with _errors(path):
            file = ParquetFile(path, page_checksum_verification=True)
            about, schema = file.metadata, file.schema_arrow
            rows = sum(about.row_group(i).num_rows for i in range(about.num_row_groups))
            if not 0 < rows <= ROWS:
                raise DataError(f"{path}: {f'claims {rows:,} rows, over the limit of {ROWS:,}' if rows > 0 else 'holds no rows'}")
            image = next((name for name in IMAGES if name in schema.names), None)
            if image is None or LABEL not in schema.names:
                raise DataError(f"{path}: columns {', '.join(schema.names) or 'none'}; needed are img or image, and label")
            kind = schema.field(image).type
            if types.is_struct(kind) and kind.get_field_index("bytes") >= 0:
                image, kind = f"{image}.bytes", kind.field("bytes").type
            if not (types.is_binary(kind) or types.is_large_binary(kind)):
                raise DataError(f"{path}: column {image} is of type {kind}; bytes of image files, or a struct with them, are needed")
            if not types.is_integer(schema.field(LABEL).type):
                raise DataError(f"{path}: column label is of type {schema.field(LABEL).type}; whole numbers are needed")
            labels = file.read(columns=[LABEL]).column(LABEL)
            if labels.null_count:
                raise DataError(f"{path}: row {labels.is_null().index(True).as_py() + 1:,}: no label")
            names = _names(schema.metadata)
            check_whole(path, "label", labels.to_numpy(), len(names or range(CLASSES)) - 1, "row")
            return cls(path, file, image, labels.to_numpy().astype(np.int32), names)

    def samples(self) -> Iterator[images.Sample]:
        """Yield each row's name and encoded image, with no more at a time in memory than `BATCH`."""
        at = 0
        with _errors(self.path):
            for batch in self.file.iter_batches(self._batch(), columns=[self.image]):
                column = batch.column(0)
                if "." in self.image:
                    (column,) = column.flatten()  # null where the struct is
                for content in column.to_pylist():
                    at += 1
                    if at > len(self.labels):
                        break
                    yield f"{self.path}: row {at:,}", content
        if at != len(self.labels):
            raise DataError(f"{self.path}: its columns differ in length; it is damaged")

    def _batch(self) -> int:
        """Return how many rows to read at once: one image may be as large as its row group."""
        about = self.file.metadata
        groups = (about.row_group(i) for i in range(about.num_row_groups))
        chunks = (group.column(j) for group in groups for j in range(group.num_columns))
        largest = max(chunk.total_uncompressed_size for chunk in chunks if chunk.path_in_schema == self.image)
        if largest > LIMIT:
            raise DataError(f"{self.path}: claims {largest:,} bytes of images in one row group, over the limit of {LIMIT:,}")
        return max(1, min(1000, BATCH // max(1, largest)))


def _names(metadata: dict[bytes, bytes] | None) -> list[str] | None:
    """Return the names of a Hugging Face ``ClassLabel``, if there are."""
    try:
        names = json.loads((metadata or {})[b"huggingface"])["info"]["features"][LABEL]["names"]
    except (KeyError, TypeError, ValueError):
        return None
    good = isinstance(names, list) and 0 < len(names) <= CLASSES and all(isinstance(n, str) and n.isprintable() for n in names)
    return names if good else None


def _classes(shards: list[_Shard], training: NDArray[np.int32]) -> tuple[str, ...]:
    """Return what the labels stand for: the names in the files, or the labels themselves, if they have no gap."""
    names = shards[0].names
    for shard in shards:
        if shard.names != names:
            raise DataError(f"{shard.path}: names its classes otherwise than {shards[0].path}")
    if names:
        return tuple(names)
    present = set(training.tolist())
    count = max(max(present), *(int(shard.labels.max()) for shard in shards)) + 1
    if absent := set(range(count)) - present:
        raise DataError(
            f"{shards[0].path}: labels go up to {count - 1}, but no training image has label {min(absent)}; "
            "where no names are given, they must be 0, 1, 2 … without a gap"
        )
    return tuple(map(str, range(count)))
