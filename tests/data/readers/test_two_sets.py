"""A training and a test set that were not saved in the same way."""

import struct
from pathlib import Path

import numpy as np
import pytest
from support.csv_files import PIXELS, csv_text, expected, pairs
from support.pictures import encoded

from triptych.data.loading import load
from triptych.errors import DataError

CUT = 40
COLOUR = np.random.default_rng(3).integers(0, 256, (60, 9, 12, 3), np.uint8)
GREY = np.random.default_rng(4).integers(0, 256, (60, 28, 28), np.uint8)
LABELS = np.arange(60) % 3


def npz(folder: Path, train: np.ndarray, test: np.ndarray) -> str:
    path = folder / "t.npz"
    y_train, y_test = LABELS[:CUT], LABELS[CUT:]
    np.savez(path, x_train=train, y_train=y_train, x_test=test, y_test=y_test)
    return str(path)


def csv(folder: Path, train: np.ndarray, test: np.ndarray) -> str:
    header = ["label", *PIXELS]
    for name, images, labels in (("train", train, LABELS[:CUT]), ("test", test, LABELS[CUT:])):
        (folder / f"{name}.csv").write_text(csv_text(images.astype(float), labels, header))
    return str(folder)


def idx(folder: Path, train: np.ndarray, test: np.ndarray) -> str:
    for part, images, labels in (("train", train, LABELS[:CUT]), ("t10k", test, LABELS[CUT:])):
        for what, array in (("images", images), ("labels", labels)):
            header = struct.pack(f">4B{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
            content = header + array.astype(np.uint8).tobytes()
            (folder / f"{part}-{what}-idx{array.ndim}-ubyte").write_bytes(content)
    return str(folder)


def pictures(folder: Path, train: np.ndarray, test: np.ndarray) -> str:
    for part, images, labels in (("train", train, LABELS[:CUT]), ("test", test, LABELS[CUT:])):
        for i, (image, label) in enumerate(zip(images, labels, strict=True)):
            path = folder / part / str(label) / f"{i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(encoded(image.astype(np.uint8)))
    return str(folder)


FIRST = COLOUR.transpose(0, 3, 1, 2)
SAME_IMAGES = {
    "colours first, then last": (COLOUR, FIRST[:CUT], COLOUR[CUT:]),
    "colours last, then first": (COLOUR, COLOUR[:CUT], FIRST[CUT:]),
    "one channel, then none": (GREY, GREY[:CUT, None], GREY[CUT:]),
    "images, then rows": (GREY, GREY[:CUT], GREY[CUT:].reshape(20, -1)),
    "rows, then images": (GREY, GREY[:CUT].reshape(CUT, -1), GREY[CUT:, ..., None]),
}


@pytest.mark.parametrize("kind", SAME_IMAGES)
def test_each_set_of_an_npz_may_have_its_own_order_of_axes(tmp_path, kind: str):
    images, train, test = SAME_IMAGES[kind]
    assert pairs(load(npz(tmp_path, train, test))) == expected(images, LABELS)


OTHER_SHAPES = {
    "height and width exchanged": (COLOUR[:CUT], COLOUR[CUT:].transpose(0, 2, 1, 3)),
    "rows, in which the order of colours is unknown": (COLOUR[:CUT], COLOUR[CUT:].reshape(20, -1)),
    "another size": (GREY[:CUT], GREY[CUT:, :14]),
    "as many pixels in another shape": (GREY[:CUT], GREY[CUT:].reshape(20, 14, 56)),
}


@pytest.mark.parametrize("kind", OTHER_SHAPES)
def test_test_images_of_another_shape_are_refused(tmp_path, kind: str):
    train, test = OTHER_SHAPES[kind]
    with pytest.raises(DataError, match=r"test images of shape .*; give both sets the same shape"):
        load(npz(tmp_path, train, test))


WRITERS = [npz, csv, idx, pictures]


@pytest.mark.parametrize("write", WRITERS)
@pytest.mark.parametrize("is_train", [True, False])
def test_a_set_of_zeros_and_ones_beside_one_of_pixels_is_refused(tmp_path, write, is_train: bool):
    """Read as they are, 0 and 1 would be black images, and no number would show it."""
    binary = (GREY > 127).astype(np.uint8)
    parts = (binary[:CUT], GREY[CUT:]) if is_train else (GREY[:CUT], binary[CUT:])
    train, test = (1, 255) if is_train else (255, 1)
    says = f"training pixels go up to {train}, the test pixels up to {test}; save both"
    with pytest.raises(DataError, match=says):
        load(write(tmp_path, *parts))


@pytest.mark.parametrize("write", [npz, csv])
def test_a_set_of_fractions_beside_one_of_pixels_is_refused(tmp_path, write):
    with pytest.raises(DataError, match="up to 255, the test pixels up to 1; save both"):
        load(write(tmp_path, GREY[:CUT], GREY[CUT:] / 255))


@pytest.mark.parametrize("write", WRITERS)
def test_a_dark_test_set_is_read_as_it_is_with_a_warning(tmp_path, write):
    dataset = load(write(tmp_path, GREY[:CUT], GREY[CUT:] // 16))
    says = "the training pixels go up to 255, the test pixels up to 15"
    assert any(line.startswith(says) for line in (*dataset.notes, *dataset.warnings))
    images = np.concatenate([GREY[:CUT], GREY[CUT:] // 16])
    assert pairs(dataset) == expected(images, LABELS)


@pytest.mark.parametrize("write", WRITERS)
def test_sets_of_the_same_range_are_not_spoken_of(tmp_path, write):
    dataset = load(write(tmp_path, GREY[:CUT], np.minimum(GREY[CUT:], 64)))
    assert (dataset.notes, dataset.warnings) == ((), ())


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_no_number_is_named_before_the_range_is_judged(tmp_path, bad: float):
    images = GREY / 255
    images[7, 3, 4] = bad
    np.savez(tmp_path / "t.npz", x=images, y=LABELS)
    shown = "NaN" if np.isnan(bad) else "inf"
    with pytest.raises(
        DataError, match=f"sample 8, pixel 89: pixel {shown} is not a finite number"
    ):
        load(str(tmp_path / "t.npz"))
