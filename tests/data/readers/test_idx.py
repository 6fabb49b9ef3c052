"""IDX files of other sizes, classes and names than those of MNIST."""

import gzip
import struct
from pathlib import Path

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


FOUR = {
    "train-images-idx3-ubyte": 0,
    "train-labels-idx1-ubyte": 1,
    "t10k-images-idx3-ubyte": 2,
    "t10k-labels-idx1-ubyte": 3,
}
OTHER_FILES = {
    "gzipped": "{}.gz",
    "with a dot": "{}",
    "in a folder of its name": "{0}/{0}",
}


def write_beside(folder: Path, name: str, beside: str, array: np.ndarray) -> Path:
    """Write an array into a second file that may be meant by the name; return the file."""
    if beside == "with a dot":
        name = name.replace("-idx", ".idx")
    elif beside != "gzipped":  # where the folder is, there is no file of this name
        (folder / name).rename(folder / name.replace("-idx", ".idx"))
    path = folder / OTHER_FILES[beside].format(name)
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(gzip.compress(idx(array)) if beside == "gzipped" else idx(array))
    return path


@pytest.mark.parametrize("beside", OTHER_FILES)
@pytest.mark.parametrize("name", FOUR)
def test_two_files_that_may_be_meant_must_hold_the_same(tmp_path, sample, name: str, beside: str):
    x = sample[0]
    y = (np.arange(100) % 10).astype(np.uint8)
    arrays = [x[:70], y[:70], x[70:], y[70:]]
    for each, place in FOUR.items():
        (tmp_path / each).write_bytes(idx(arrays[place]))
    array = arrays[FOUR[name]]
    path = write_beside(tmp_path, name, beside, array)
    assert pairs(data.load(str(tmp_path))) == expected(x, y)
    path.unlink()
    changed = array.copy()
    changed.flat[-1] ^= 1
    path.write_bytes(gzip.compress(idx(changed)) if beside == "gzipped" else idx(changed))
    what = "images" if "images" in name else "labels"
    with pytest.raises(data.DataError, match=f"holds other {what} than") as refused:
        data.load(str(tmp_path))
    assert str(path) in str(refused.value)
    assert str(refused.value).endswith("either may be meant; remove one of them")
