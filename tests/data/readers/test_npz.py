"""NumPy archives under the names people use, damaged ones included."""

import io
import struct
import zipfile

import numpy as np
import pytest
from sklearn.datasets import load_iris
from support.csv_files import expected, load, pairs

from triptych.data import loading as data
from triptych.errors import DataError

NAMES = {
    "capitals": ("X_train", "Y_train", "X_test", "Y_test"),
    "MedMNIST": ("train_images", "train_labels", "test_images", "test_labels"),
    "camel case": ("trainX", "trainY", "testX", "testY"),
}


@pytest.mark.parametrize("kind", NAMES)
def test_an_npz_under_other_names(tmp_path, sample, kind: str):
    x, y = sample
    arrays = (x[:80], y[:80, None], x[80:], y[80:, None])
    np.savez(
        tmp_path / "t.npz",
        **dict(zip(NAMES[kind], arrays, strict=True)),
        val_images=x[:9],
        val_labels=y[:9],
    )
    dataset = data.load(str(tmp_path / "t.npz"))
    assert pairs(dataset) == expected(x, y)
    assert "val_images and val_labels left out" in dataset.notes


def test_an_npz_in_colour_with_words(tmp_path):
    x = np.random.default_rng(0).integers(0, 256, (60, 6, 9, 3), np.uint8)
    y = np.array(["ant", "bee", "cat"])[np.arange(60) % 3]
    np.savez(tmp_path / "a.npz", x=x, y=y)
    np.savez(tmp_path / "b.npz", x=np.asfortranarray(x.transpose(0, 3, 1, 2)), y=y.astype("S"))
    for name in ("a.npz", "b.npz"):
        dataset = data.load(str(tmp_path / name))
        assert dataset.shape == (6, 9, 3)
        assert pairs(dataset) == expected(x, y)


def test_rows_of_floats_in_an_npz_are_a_table(tmp_path):
    iris = load_iris()
    np.savez(tmp_path / "iris.npz", X=iris.data, y=iris.target)
    dataset = data.load(str(tmp_path / "iris.npz"))
    assert (dataset.shape, dataset.classes) == ((1, 1, 4), ("0", "1", "2"))
    assert dataset.table is not None


def npz_of(header: bytes) -> bytes:
    member = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + bytes(4000)
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name in ("x.npy", "y.npy"):
            archive.writestr(name, member)
    return out.getvalue()


HEADERS = (
    b"{'descr': '|u1', 'fortran_order': False, 'shape': (4, 28, 28), ",
    b"{'descr': '|u1', 'fortran_order': False, 'shape': (True, 28, 28), }",
    b"{'descr': '|u1', 'fortran_order': False, 'shape': (-4, 28, 28), }",
    b"{'descr': '|u1, 'fortran_order': False}",
    b"(" * 900,
)


@pytest.mark.parametrize("header", HEADERS)
def test_a_damaged_header_of_an_npz_gets_one_line(tmp_path, header: bytes):
    with pytest.raises(DataError) as error:
        load(tmp_path / "t.npz", npz_of(header))
    assert str(error.value).isprintable()


def test_any_flipped_byte_of_an_npz_is_read_or_refused(tmp_path, sample):
    x, y = sample
    for compression in (zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2):
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w", compression) as archive:
            for name, array in (("x.npy", x[:30]), ("y.npy", y[:30])):
                content = io.BytesIO()
                np.save(content, array)
                archive.writestr(name, content.getvalue())
        whole = out.getvalue()
        for at in np.random.default_rng(0).integers(0, len(whole), 60).tolist():
            changed = bytearray(whole)
            changed[at] ^= 0x40
            (tmp_path / "t.npz").write_bytes(changed)
            try:
                data.load(str(tmp_path / "t.npz"))
            except DataError as error:
                assert str(error).isprintable()  # noqa: PT017 - every other exception fails the test


def test_names_in_an_npz_do_not_fill_the_screen(tmp_path):
    with zipfile.ZipFile(tmp_path / "t.npz", "w") as archive:
        archive.writestr("a\x1b[2J\n" + "b" * 60_000 + ".npy", b"")
        for i in range(500):
            archive.writestr(f"array_number_{i}.npy", b"")
    with pytest.raises(DataError) as error:
        data.load(str(tmp_path / "t.npz"))
    assert len(str(error.value)) < 300 + len(str(tmp_path / "t.npz"))
    assert str(error.value).isprintable()


def test_two_arrays_without_names_are_told_apart_by_their_axes(tmp_path, sample):
    x, y = sample
    for name, arrays, says in (
        ("a", (x, y), "arr_0 taken for the images, arr_1 for the labels"),
        ("b", (y, x), "arr_1 taken for the images, arr_0 for the labels"),
        ("c", (y[:, None], x), "arr_1 taken for the images, arr_0 for the labels"),
        ("d", (x.reshape(100, -1), y[:, None]), "arr_0 taken for the images, arr_1 for the labels"),
    ):
        np.savez(tmp_path / f"{name}.npz", *arrays)
        dataset = data.load(str(tmp_path / f"{name}.npz"))
        assert pairs(dataset) == expected(x, y)
        assert says in dataset.notes


BAD_ARRAYS = {
    "samples in columns": (lambda x, y: (x.reshape(100, -1).T, y), r"x\.transpose\(1, 0\)"),
    "labels in one row": (lambda x, y: (x, y[None]), r"of shape \(1, 100\).*labels\.reshape\(-1\)"),
    "one-hot rows": (lambda x, y: (x, np.eye(10)[y]), r"of shape \(100, 10\).*not one-hot rows"),
    "signed bytes": (
        lambda x, y: (x.astype(np.int8), y),
        "from -128 to 127 seem to be signed bytes, give them as unsigned ones",
    ),
}


@pytest.mark.parametrize("kind", BAD_ARRAYS)
def test_bad_arrays_get_advice_that_helps(tmp_path, sample, kind: str):
    make, says = BAD_ARRAYS[kind]
    x, y = make(*sample)
    np.savez(tmp_path / "t.npz", x=x, y=y)
    with pytest.raises(DataError, match=says):
        data.load(str(tmp_path / "t.npz"))
