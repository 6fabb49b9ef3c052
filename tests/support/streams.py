"""Data sets of drawings, written as files that can be streamed."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from triptych.data import loading
from triptych.data.dataset import Dataset
from triptych.data.reading import Options

SHAPE = (6, 5, 3)
STREAM = Options(stream=True)


def drawings(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Images with pixels that are zero in all of them, and in most of them; labels 0, 1 and 2."""
    rng = np.random.default_rng(seed)
    images = rng.integers(1, 256, (count, *SHAPE), np.uint8)
    images[:, 0] = 0
    images[:, 1] *= rng.random((count, 1, 1)) < 0.02
    return images, np.arange(count) % 3


def write_raw(path: Path, images: np.ndarray, labels: np.ndarray, rows: int = 20) -> Path:
    """Write pixels as bytes of one length, whose shape is in the metadata of the column."""
    cells = pa.array([image.tobytes() for image in images], pa.binary(images[0].size))
    shape = {"shape": json.dumps(list(images.shape[1:]))}
    schema = pa.schema([pa.field("image", cells.type, metadata=shape), ("label", pa.int64())])
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table([cells, pa.array(labels)], schema), path, row_group_size=rows)
    return path


def write_folder(root: Path, images: np.ndarray, labels: np.ndarray) -> Path:
    """Write PNG files into a folder for each class."""
    for i, (image, label) in enumerate(zip(images, labels, strict=True)):
        folder = root / str(label)
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / f"{i:04}.png")
    return root


def parquet(root: Path, count: int = 200) -> Path:
    """Write a training set in two files and a test set."""
    images, labels = drawings(count)
    half = count // 2
    write_raw(root / "train-00000-of-00002.parquet", images[:half], labels[:half])
    write_raw(root / "train-00001-of-00002.parquet", images[half:], labels[half:])
    write_raw(root / "test.parquet", *drawings(count // 4, 1))
    return root


def streamed(source: Path | str, seed: int = 0) -> Dataset:
    return loading.load(str(source), seed, STREAM)
