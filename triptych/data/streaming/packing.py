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


def pack_stream(*splits: StreamedSplit) -> tuple[dict[str, Any], Arrays]:
    """Return what another process needs of splits of one stream: JSON and named arrays."""
    stream = splits[0].stream
    values, arrays = stream.findings.pack()
    packed = {
        "path": str(stream.path.resolve()),
        "key": key_of(stream.path, stream.listing.files),
        "reading": stream.options.to_json(),
        "findings": values,
        "splits": len(splits),
    }
    for number, split in enumerate(splits):
        arrays[f"{number}/samples"] = split.samples
        arrays[f"{number}/labels"] = split.labels
    return packed, arrays


def unpack_stream(
    packed: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]
) -> list[StreamedSplit]:
    """Return the splits that `pack_stream` packed.

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
    return [
        StreamedSplit(stream, arrays[f"{number}/samples"], arrays[f"{number}/labels"])
        for number in range(packed["splits"])
    ]
