"""Which number is white: 255, or what ``--white`` says; nearly black images get a warning."""

import struct
from pathlib import Path

import numpy as np
import pytest

from triptych.data.dataset import Dataset
from triptych.data.loading import load
from triptych.data.reading import Options
from triptych.errors import DataError, SpecError

LABELS = np.arange(40) % 4


def pixels(highest: int, dtype: type = np.uint8) -> np.ndarray:
    """40 images of 8×8 with every value from 0 to `highest`."""
    values = np.arange(40 * 64) % (highest + 1)
    return np.random.default_rng(0).permutation(values).reshape(40, 8, 8).astype(dtype)


def csv(folder: Path, images: np.ndarray) -> Path:
    path = folder / "t.csv"
    header = ",".join(["label", *(f"pixel{i}" for i in range(64))])
    table = np.c_[LABELS, images.reshape(40, -1)]
    np.savetxt(path, table, "%g", delimiter=",", header=header, comments="")
    return path


def npz(folder: Path, images: np.ndarray) -> Path:
    path = folder / "t.npz"
    np.savez(path, x=images, y=LABELS)
    return path


def idx(folder: Path, images: np.ndarray) -> Path:
    for part in ("train", "t10k"):
        for what, array in (("images", images), ("labels", LABELS.astype(np.uint8))):
            header = struct.pack(f">4B{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
            path = folder / f"{part}-{what}-idx{array.ndim}-ubyte"
            path.write_bytes(header + array.tobytes())
    return folder


def all_pixels(dataset: Dataset) -> np.ndarray:
    return np.sort(np.concatenate([dataset.train.images, dataset.test.images]).ravel())


def expected(images: np.ndarray, white: int) -> np.ndarray:
    return np.sort(np.floor(images.astype(float) * 255 / white + 0.5).astype(np.uint8).ravel())


@pytest.mark.parametrize("highest", [2, 15, 16, 63])
@pytest.mark.parametrize("write", [csv, npz, idx])
def test_nearly_black_images_get_a_line_of_their_own(tmp_path, write, highest: int):
    images = pixels(highest)
    dataset = load(str(write(tmp_path, images)))
    assert np.array_equal(np.unique(all_pixels(dataset)), np.unique(images))
    (warning,) = dataset.warnings
    assert warning.endswith(f"if {highest} is white, add --white {highest}")
    assert dataset.summary().splitlines()[-1].strip() == f"Warning: {warning}."


@pytest.mark.parametrize("highest", [64, 255])
def test_a_brighter_set_gets_no_warning(tmp_path, highest: int):
    assert not load(str(npz(tmp_path, pixels(highest)))).warnings


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.float32])
@pytest.mark.parametrize("white", [16, 20, 255])
def test_the_option_decides(tmp_path, dtype: type, white: int):
    images = pixels(16, dtype)
    dataset = load(str(npz(tmp_path, images)), 0, Options(white=white))
    assert np.array_equal(all_pixels(dataset), expected(images, white))
    assert not dataset.notes
    assert not dataset.warnings


def test_pixels_of_16_bits_need_the_option(tmp_path):
    images = pixels(255).astype(np.uint16) * 257
    with pytest.raises(DataError, match="add --white VALUE"):
        load(str(npz(tmp_path, images)))
    dataset = load(str(npz(tmp_path, images)), 0, Options(white=65535))
    assert np.array_equal(all_pixels(dataset), expected(images, 65535))


def test_a_pixel_over_white_is_named(tmp_path):
    with pytest.raises(DataError, match="is not a whole number from 0 to 10, which --white gives"):
        load(str(csv(tmp_path, pixels(16))), 0, Options(white=10))


def test_a_table_has_no_white(tmp_path):
    with pytest.raises(DataError, match="read as a table; --white is for the pixels"):
        load(str(csv(tmp_path, pixels(16))), 0, Options(shape="table", white=16))


def test_data_without_such_pixels_refuses_the_option():
    with pytest.raises(DataError, match="digits: --white is for pixels that are numbers"):
        load("digits", 0, Options(white=16))


@pytest.mark.parametrize("white", [0, -1, 65536])
def test_the_option_has_a_range(white: int):
    with pytest.raises(DataError, match="whole number from 1 to 65,535"):
        Options(white=white)


def test_the_option_is_kept_in_a_file():
    options = Options(white=16)
    assert Options.from_json(options.to_json()) == options
    written = options.to_json()
    del written["white"]
    assert Options.from_json(written) == Options()
    with pytest.raises(SpecError):
        Options.from_json({**written, "white": "16"})
