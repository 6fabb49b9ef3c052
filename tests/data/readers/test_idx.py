"""IDX files of other sizes, classes and names than those of MNIST."""

import gzip
import struct

import numpy as np
import pytest
from support.csv_files import expected, pairs

from triptych.data import loading as data


def idx(array: np.ndarray, kind: int = 0x08) -> bytes:
    return struct.pack(f">I{array.ndim}I", kind << 8 | array.ndim, *array.shape) + array.tobytes()


IDX = {
    "MNIST": ("{}-{}-idx{}-ubyte", ("train", "t10k"), ("images", "labels")),
    "EMNIST": ("emnist-letters-{}-{}-idx{}-ubyte", ("train", "test"), ("images", "labels")),
    "Kannada": ("{1}_kannada_MNIST_{0}-idx{2}-ubyte", ("train", "test"), ("X", "y")),
    "folders of their names": (
        "{0}-{1}-idx{2}-ubyte/{0}-{1}-idx{2}-ubyte",
        ("train", "t10k"),
        ("images", "labels"),
    ),
    "one folder too high": ("MNIST/raw/{}-{}-idx{}-ubyte", ("train", "t10k"), ("images", "labels")),
}


@pytest.mark.parametrize("kind", IDX)
@pytest.mark.parametrize("gz", [False, True])
def test_idx_of_other_sizes_and_classes(tmp_path, sample, kind: str, gz: bool):
    name, parts, whats = IDX[kind]
    x = sample[0][:, :, :20]
    y = np.arange(100) % 26 + 1
    for part, rows in zip(parts, (slice(0, 70), slice(70, None)), strict=True):
        for what, n, array in zip(whats, (3, 1), (x[rows], y[rows].astype(np.uint8)), strict=True):
            path = tmp_path / (name.format(part, what, n) + ".gz" * gz)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(gzip.compress(idx(array)) if gz else idx(array))
    found = data.load(str(tmp_path))
    assert found.shape == (28, 20, 1)
    assert found.classes == tuple(map(str, range(1, 27)))
    assert pairs(found) == expected(x, y)
    assert np.array_equal(found.test.images[..., 0], x[70:])
