"""Parquet files of generated images, as large as wanted; raw pixels or JPEG, in one training file.

The images are drawn smoothly, so that a JPEG of them has about the size of one of a photograph.
"""

import io
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

CLASSES = 10
TEST_IMAGES = 2_000
DRAWN = 1_000  # different images; a larger set repeats them, each time shifted by another number
COARSE = 8  # pixels between two independent ones
JPEG_QUALITY = 90


def write_images(
    folder: Path, count: int, shape: tuple[int, int], kind: str, rows: int = 1_000
) -> Path:
    """Write ``train.parquet`` and ``test.parquet``.

    Parameters
    ----------
    folder : Path
        In which the files are written.
    count : int
        Number of training images.
    shape : tuple of (h, w)
        In pixels; there are three colours.
    kind : str
        ``raw`` or ``jpeg``.
    rows : int
        Images in a row group.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name, number in (("train", count), ("test", TEST_IMAGES)):
        _write(folder / f"{name}.parquet", number, shape, kind, rows)
    return folder


def _write(path: Path, count: int, shape: tuple[int, int], kind: str, rows: int) -> None:
    height, width = shape
    drawn = _drawn(min(count, DRAWN), height, width)
    if kind == "raw":
        metadata = {"shape": json.dumps([height, width, 3])}
        column = pa.field("image", pa.binary(height * width * 3), metadata=metadata)
        cells = (_shifted(drawn, i).tobytes() for i in range(count))
    else:
        column = pa.field("image", pa.binary())
        encoded = [_jpeg(image) for image in drawn]
        cells = (encoded[i % len(encoded)] for i in range(count))
    schema = pa.schema([column, pa.field("label", pa.int32())])
    with pq.ParquetWriter(path, schema, compression="none", use_dictionary=False) as writer:
        for start in range(0, count, rows):
            some = min(rows, count - start)
            images = pa.array(_next(cells, some), column.type)
            labels = pa.array(np.arange(start, start + some) % CLASSES, pa.int32())
            writer.write_table(pa.table([images, labels], schema))


def _next(cells: Iterator[bytes], count: int) -> list[bytes]:
    return [next(cells) for _ in range(count)]


def _drawn(count: int, height: int, width: int) -> np.ndarray:
    """Return images of coarse random colours, smoothed, uint8 of shape (count, h, w, 3)."""
    generator = np.random.default_rng(0)
    sides = (-(-height // COARSE), -(-width // COARSE), 3)
    images = np.empty((count, height, width, 3), np.uint8)
    for image in images:
        coarse = Image.fromarray(generator.integers(0, 256, sides, np.uint8))
        image[...] = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC))
    return images


def _shifted(drawn: np.ndarray, number: int) -> np.ndarray:
    """Return one of the images, brighter by the number of times that it came before."""
    return drawn[number % len(drawn)] + np.uint8(number // len(drawn) % 256)


def _jpeg(image: np.ndarray) -> bytes:
    content = io.BytesIO()
    Image.fromarray(image).save(content, "JPEG", quality=JPEG_QUALITY)
    return content.getvalue()
