"""Image files and Parquet files to read."""

import io
import json
import struct
import zlib
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from triptych.data import loading as data
from triptych.data.reading import PLAIN, Options
from triptych.errors import DataError

COLOUR = np.random.default_rng(0).integers(0, 256, (6, 5, 3), np.uint8)
SKIP = Options(skip_unreadable=True)


def encoded(array: np.ndarray = COLOUR, kind: str = "PNG", **options) -> bytes:
    content = io.BytesIO()
    Image.fromarray(array).save(content, kind, **options)
    return content.getvalue()


def claiming(width: int, height: int) -> bytes:
    """A PNG whose header promises more than is there."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + struct.pack(">I", 13)
        + header
        + struct.pack(">I", zlib.crc32(header))
        + b"\0\0\0\0IDAT"
    )


def fill(folder: Path, content: bytes, count: int = 1, suffix: str = "png") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(count):
        (folder / f"{i}.{suffix}").write_bytes(content)


def table(
    path: Path,
    contents: list,
    labels,
    names: list[str] | None = None,
    column: str = "img",
    bare: bool = False,
) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    kind = pa.binary() if bare else pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    cells = (
        contents if bare else [None if c is None else {"bytes": c, "path": None} for c in contents]
    )
    labels = labels if isinstance(labels, pa.Array) else pa.array(labels, pa.int64())
    found = pa.table({column: pa.array(cells, kind), "label": labels})
    if names is not None:
        features = {
            "features": {
                "label": {"names": names, "_type": "ClassLabel"},
                column: {"_type": "Image"},
            }
        }
        found = found.replace_schema_metadata({"huggingface": json.dumps({"info": features})})
    pq.write_table(found, path, row_group_size=5)
    return path


def error_of(source: Path, options: Options = PLAIN) -> str:
    """Return the line that a source gets, or nothing where it is fine."""
    try:
        data.load(str(source), 0, options)
    except DataError as error:
        return str(error)
    return ""
