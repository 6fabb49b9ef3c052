"""CSV files that tests write, and what is read of them."""

from pathlib import Path

import numpy as np

from triptych.data import loading as data
from triptych.data.dataset import Dataset
from triptych.data.reading import Options

PIXELS = [f"pixel{i}" for i in range(784)]


def csv_text(images, labels, header=None, sep=",", last=False, form=str, end="\n") -> str:
    """Return a CSV with the label first or last."""
    lines = [] if header is None else [sep.join(header)]
    for image, label in zip(images, labels, strict=True):
        cells = [form(value) for value in np.ravel(image).tolist()]
        lines.append(sep.join([*cells, str(label)] if last else [str(label), *cells]))
    return end.join(lines) + end


def pairs(dataset: Dataset) -> list[tuple[bytes, str]]:
    """Return every sample of both splits with the name of its class, sorted."""
    found = []
    for split in (dataset.train, dataset.test):
        names = np.array(dataset.classes)[split.labels]
        found += [
            (np.ascontiguousarray(i).tobytes(), str(n))
            for i, n in zip(split.images, names, strict=True)
        ]
    return sorted(found)


def expected(images, labels) -> list[tuple[bytes, str]]:
    images = np.ascontiguousarray(images, np.uint8)
    return sorted(
        (image.tobytes(), str(label)) for image, label in zip(images, labels, strict=True)
    )


def load(path: Path, content: str | bytes, **options) -> Dataset:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return data.load(str(path), 0, Options(**options))
