"""A streamed data set for another process, which reads the same files: all but the images."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from ...errors import DataError, one_line
from ..reading import Options
from ..registry import format_of_file, format_of_folder
from .findings import Findings, key_of
from .split import StreamedSplit
from .stream import Stream

Arrays = dict[str, NDArray[Any]]


def pack_stream(train: StreamedSplit, test: StreamedSplit) -> tuple[dict[str, Any], Arrays]:
    """Return what another process needs of two splits of one stream: JSON and named arrays."""
    stream = train.stream
    values, arrays = stream.findings.pack()
    path = stream.path.resolve()
    packed = {
        "path": str(path),
        "key": key_of(path, stream.listing.files),
        "reading": stream.options.to_json(),
        "findings": values,
    }
    for name, split in (("train", train), ("test", test)):
        arrays[f"{name}/samples"] = split.samples
        arrays[f"{name}/labels"] = split.labels
    return packed, arrays


def unpack_stream(
    packed: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]
) -> tuple[StreamedSplit, StreamedSplit]:
    """Return the training and the test split that `pack_stream` packed.

    Raises
    ------
    DataError
        The files are not here, or not the same.
    """
    path = Path(packed["path"])
    options = Options.from_json(packed["reading"])
    known = format_of_folder(path) if path.is_dir() else format_of_file(path)
    if not path.exists() or known is None or known.list_samples is None:
        raise DataError(f"{one_line(path)}: not here; streamed data must be there on every node")
    listing = known.list_samples(path, options)
    if key_of(path, listing.files) != packed["key"]:
        raise DataError(f"{one_line(path)}: not the same files as where the data was loaded")
    stream = Stream(path, listing, Findings.unpack(packed["findings"], dict(arrays)), options)
    train, test = (
        StreamedSplit(stream, arrays[f"{name}/samples"], arrays[f"{name}/labels"])
        for name in ("train", "test")
    )
    return train, test
