"""Every shape of data that is welcome, and every kind that is not, each with the line it gets."""

import gzip
import struct
import zipfile

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_digits

from triptych.core.split import Split
from triptych.data import checks
from triptych.data import loading as data
from triptych.data.dataset import Dataset
from triptych.data.readers import csv, digits, idx
from triptych.data.reading import PLAIN
from triptych.errors import DataError


@pytest.fixture(scope="module")
def table(digits: Dataset) -> np.ndarray:
    """60 rows: a label and 784 pixels; every label is in the first 40 and in the last 20."""
    rows = [np.flatnonzero(digits.train.labels == label)[:6] for label in range(10)]
    order = np.array(rows).T.ravel()
    return np.concatenate(
        [digits.train.labels[order, None], digits.train.images[order].reshape(60, -1)], axis=1
    )


def text(table: np.ndarray, header: str = "") -> str:
    return header + "\n".join(",".join(map(str, row)) for row in table.tolist()) + "\n"


def names(pattern: str) -> str:
    return ",".join(pattern.format(i) for i in range(784))


WELCOME = {
    "kaggle mnist-in-csv": lambda t: text(
        t, "label," + ",".join(f"{r}x{c}" for r in range(1, 29) for c in range(1, 29)) + "\n"
    ),
    "kaggle digit-recognizer": lambda t: text(t, "label," + names("pixel{}") + "\n"),
    "no header": text,
    "label last": lambda t: text(np.roll(t, -1, axis=1), names("pixel{}") + ",label\n"),
    "quoted header, CRLF, blank line": lambda t: (
        text(t, '"label",' + names('"p{}"') + "\n").replace("\n", "\r\n") + "\r\n"
    ),
    "whole numbers as floats": lambda t: text(t.astype(float)),
    "byte order mark": lambda t: "\ufeff" + text(t, "label," + names("pixel{}") + "\n"),
}


@pytest.mark.parametrize("shape", WELCOME)
@pytest.mark.parametrize("zipped", [False, True], ids=["plain", "gz"])
def test_csv_in_all_its_shapes(tmp_path, table, shape: str, zipped: bool):
    path = tmp_path / ("t.csv.gz" if zipped else "t.csv")
    content = WELCOME[shape](table).encode()
    path.write_bytes(gzip.compress(content) if zipped else content)
    dataset = csv.read(path, PLAIN)
    assert np.array_equal(np.array(dataset.classes)[dataset.train.labels], table[:, 0].astype(str))
    assert np.array_equal(dataset.train.images.reshape(60, -1), table[:, 1:])


def changed(table: np.ndarray, row: int, column: int, cell: str) -> str:
    cells = [list(map(str, line)) for line in table.tolist()]
    cells[row][column] = cell
    return "\n".join(map(",".join, cells))


BAD_CSV = {
    "empty": (lambda t: "", "the file is empty"),
    "header only": (lambda t: "label," + names("p{}") + "\n", "a header but no rows"),
    "a text row": (
        lambda t: changed(t, 5, 0, "seven"),
        "line 6, column 1: 'seven' is not a number",
    ),
    "a text first row": (lambda t: changed(t, 0, 3, "x"), "line 1, column 4: 'x' is not a number"),
    "an empty cell": (lambda t: changed(t, 5, 9, ""), "line 6, column 10: '' is not a number"),
    "ragged rows": (
        lambda t: changed(t, 5, 784, "0,0"),
        "line 6 has 786 columns where line 1 has 785",
    ),
    "fractional label": (
        lambda t: changed(t, 5, 0, "3.5"),
        "line 6: label 3.5 is not a whole number",
    ),
    "pixel too large": (
        lambda t: changed(t, 5, 2, "256"),
        "line 6, column 3: pixel 256 is not a whole number from 0 to 255",
    ),
    "pixel negative": (lambda t: changed(t, 5, 2, "-3"), "pixel -3 is not"),
    "pixel NaN": (lambda t: changed(t, 5, 2, "nan"), "line 6, column 3: pixel NaN"),
    "pixel infinite": (lambda t: changed(t, 5, 2, "inf"), "pixel inf"),
    "too few columns": (
        lambda t: text(t[:, :-1]),
        "783 columns of pixels make no square image; give --shape",
    ),
    "no label column": (lambda t: text(t, names("p{}") + ",digit\n"), "names no 'label' column"),
    "one class only": (lambda t: text(np.where(np.arange(785) == 0, 3, t)), "every label is 3"),
    "one endless line": (lambda t: "1," * 1_000_000, "a line is too long"),
    "not text": (lambda t: b"\xff\xfe\x00\x80" * 500, "not a text file"),
    "too few to split": (lambda t: text(t[:5]), "too few to split off a test set"),
}


@pytest.mark.parametrize("kind", BAD_CSV)
def test_a_bad_csv_gets_one_clear_line(tmp_path, table, kind: str):
    make, says = BAD_CSV[kind]
    content = make(table)
    path = tmp_path / "bad.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(DataError) as error:
        data.load(str(path))
    assert says in str(error.value)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_damaged_and_truncated_gzip(tmp_path, table):
    whole = gzip.compress(text(table).encode())
    path = tmp_path / "t.csv.gz"
    path.write_bytes(whole[:-200])
    with pytest.raises(DataError, match="truncated"):
        data.load(str(path))
    path.write_bytes(whole[:-6] + bytes(6))
    with pytest.raises(DataError, match="damaged"):
        data.load(str(path))


@given(st.binary(max_size=400))
@settings(
    max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)
def test_no_bytes_whatever_bring_a_traceback(tmp_path, junk: bytes):
    for name, content in (
        ("j.csv", junk),
        ("j.csv.gz", gzip.compress(junk)),
        ("k.csv.gz", b"\x1f\x8b" + junk),
        ("j.npz", junk),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DataError):
            data.load(str(tmp_path / name))
    folder = tmp_path / "idx"
    folder.mkdir(exist_ok=True)
    for stem, n in (
        ("train-images", 3),
        ("train-labels", 1),
        ("t10k-images", 3),
        ("t10k-labels", 1),
    ):
        (folder / f"{stem}-idx{n}-ubyte").write_bytes(junk)
    with pytest.raises(DataError):
        data.load(str(folder))


def encode(array: np.ndarray) -> bytes:
    return struct.pack(f">I{array.ndim}I", 0x800 | array.ndim, *array.shape) + array.tobytes()


@pytest.fixture
def folder(tmp_path, table):
    """A folder of IDX files: 40 training images (gzipped) and 20 for testing (plain)."""
    images, labels = table[:, 1:].reshape(-1, 28, 28).astype(np.uint8), table[:, 0].astype(np.uint8)
    for split, part in (("train", slice(0, 40)), ("t10k", slice(40, 60))):
        for what, n, array in (("images", 3, images[part]), ("labels", 1, labels[part])):
            name = f"{split}-{what}-idx{n}-ubyte"
            if split == "train":
                (tmp_path / f"{name}.gz").write_bytes(gzip.compress(encode(array)))
            else:
                (tmp_path / name).write_bytes(encode(array))
    return tmp_path


def test_idx_plain_and_gzipped(folder, table):
    dataset = data.load(str(folder))
    assert (len(dataset.train), len(dataset.test)) == (40, 20)
    assert np.array_equal(dataset.test.images.reshape(20, -1), table[40:, 1:])


@pytest.mark.parametrize(
    ("name", "last"), [("mnist", "9"), ("fashion-mnist", "ankle boot"), ("kmnist", "wo")]
)
def test_idx_by_name(folder, tmp_path, monkeypatch, name: str, last: str):
    monkeypatch.setenv("TRIPTYCH_DATA", str(tmp_path / "cache"))
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / name).symlink_to(folder)
    dataset = data.load(name)
    assert (dataset.name, len(dataset.test), dataset.classes[9]) == (name, 20, last)


BAD_IDX = {
    "wrong magic": (
        lambda b: b"\0\0\x0d\x03" + b[4:],
        (
            "magic number 0x00000d03 where 0x00000803 (unsigned bytes, 3-D) is needed; "
            "give the files of one data set the names that they were published with"
        ),
    ),
    "truncated": (
        lambda b: b[:-100],
        "promises 15,680 bytes, the file holds 15,580; it is truncated",
    ),
    "truncated header": (lambda b: b[:9], "truncated inside its header"),
    "empty": (lambda b: b"", "empty"),
    "too long": (lambda b: b + b"x", "more bytes than the 15,680"),
    "a header that lies": (
        lambda b: b[:4] + struct.pack(">3I", 2**31, 28, 28) + b[16:],
        "over the limit",
    ),
    "a header that lies a little": (
        lambda b: b[:4] + struct.pack(">3I", 2_000_000, 28, 28) + b[16:],
        "it is truncated",
    ),
    "images and labels of different length": (
        lambda b: encode(np.zeros((7, 28, 28), np.uint8)),
        "7 images but 20 labels",
    ),
    "other size of image": (
        lambda b: encode(np.zeros((20, 8, 8), np.uint8)),
        "test images of shape (8, 8), but training images of 28×28×1",
    ),
}


@pytest.mark.parametrize("kind", BAD_IDX)
def test_a_bad_idx_file_gets_one_clear_line(folder, kind: str):
    make, says = BAD_IDX[kind]
    path = folder / "t10k-images-idx3-ubyte"
    path.write_bytes(make(path.read_bytes()))
    with pytest.raises(DataError) as error:
        data.load(str(folder))
    assert says in str(error.value)


def test_a_lying_header_allocates_nothing(folder):
    import tracemalloc

    path = folder / "t10k-images-idx3-ubyte"
    path.write_bytes(path.read_bytes()[:4] + struct.pack(">3I", 2_000_000, 28, 28) + bytes(1000))
    tracemalloc.start()
    with pytest.raises(DataError):
        idx.array(path, 3)
    assert tracemalloc.get_traced_memory()[1] < 5e6
    tracemalloc.stop()


def test_a_missing_idx_file_is_named(folder):
    (folder / "t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(DataError, match=r"no t10k-labels-idx1-ubyte.*; put it beside the others"):
        data.load(str(folder))


def test_npz(tmp_path, table):
    x, y = table[:, 1:].reshape(-1, 28, 28).astype(np.uint8), table[:, 0]
    np.savez(tmp_path / "a.npz", x_train=x[:40], y_train=y[:40], x_test=x[40:], y_test=y[40:])
    assert len(data.load(str(tmp_path / "a.npz")).test) == 20
    np.savez_compressed(tmp_path / "b.npz", x=x, y=y)
    assert len(data.load(str(tmp_path / "b.npz")).train) == 54
    np.savez(tmp_path / "c.npz", x=x)
    with pytest.raises(DataError, match="holds x; needed are"):
        data.load(str(tmp_path / "c.npz"))
    np.savez(tmp_path / "d.npz", x=x, y=np.array([object()] * 60))
    with pytest.raises(DataError, match="Python objects"):
        data.load(str(tmp_path / "d.npz"))
    np.savez(tmp_path / "e.npz", x=x[:7], y=y)
    with pytest.raises(DataError, match="7 images but 60 labels"):
        data.load(str(tmp_path / "e.npz"))
    np.savez(tmp_path / "h.npz", x=x[:50], y=np.eye(10, dtype=np.uint8)[y[:50]])
    with pytest.raises(DataError, match="not one-hot rows"):
        data.load(str(tmp_path / "h.npz"))
    np.savez(tmp_path / "s.npz", x=np.array(3), y=np.array(3))
    with pytest.raises(DataError, match="single number"):
        data.load(str(tmp_path / "s.npz"))
    np.savez(tmp_path / "f.npz", x=x / 127.5, y=y)
    with pytest.raises(DataError, match="is not a whole number from 0 to 255"):
        data.load(str(tmp_path / "f.npz"))


def test_an_npz_that_claims_more_than_it_holds(tmp_path):
    header = b"{'descr': '|u1', 'fortran_order': False, 'shape': (60000000, 28, 28), }"
    blob = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + bytes(100)
    with zipfile.ZipFile(tmp_path / "z.npz", "w") as archive:
        for name in ("x.npy", "y.npy"):
            archive.writestr(name, blob)
    with pytest.raises(DataError, match=r"claims 47,040,000,000 bytes"):
        data.load(str(tmp_path / "z.npz"))


def test_what_is_not_there_or_unknown(tmp_path, monkeypatch):
    monkeypatch.setenv("TRIPTYCH_DATA", str(tmp_path))
    for source, says in (
        ("digit", "did you mean 'digits'"),
        (str(tmp_path / "no.csv"), "no such file"),
        ("mnist", "triptych data fetch mnist"),
        (str(tmp_path), "no train-images"),
        ("~nobody-of-this-name/x.csv", "not a path"),
        ("x" * 400, "not a path"),
        ("", "the data has an empty name"),
    ):
        with pytest.raises(DataError, match=says):
            data.load(source)
    (tmp_path / "x.log").write_text("1")
    with pytest.raises(DataError, match="unknown kind of file"):
        data.load(str(tmp_path / "x.log"))


def test_what_is_used_without_a_name(tmp_path, monkeypatch, folder, table):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TRIPTYCH_DATA", str(tmp_path / "cache"))
    assert data.default_source() == "digits"
    (tmp_path / "cache" / "mnist").mkdir(parents=True)
    for path in idx.files(folder).values():
        (tmp_path / "cache" / "mnist" / path.name).write_bytes(path.read_bytes())
    assert data.default_source() == "mnist"
    (tmp_path / "mnist_test.csv").write_text(text(table))
    assert data.default_source() == "mnist_test.csv"
    assert data.load().name == "mnist_test"


@given(
    st.lists(st.integers(0, 9), min_size=10, max_size=300).filter(lambda x: len(set(x)) > 1),
    st.integers(0, 5),
)
@settings(max_examples=40)
def test_the_split_is_stratified_and_loses_nothing(labels: list[int], seed: int):
    images = (
        np.arange(len(labels), dtype=np.uint32).view(np.uint8).reshape(-1, 2, 2, 1)
    )  # each its own number
    train, test = data.stratified(Split(images, np.array(labels, np.int32)), seed)
    assert len(test) == round(len(labels) * 0.1)
    both = (
        np.concatenate([train.images, test.images]).reshape(len(labels), 4).view(np.uint32).ravel()
    )
    assert sorted(both.tolist()) == list(range(len(labels)))
    for label in set(labels):
        assert abs((test.labels == label).sum() - 0.1 * labels.count(label)) < 1


def test_digits_are_those_that_scikit_learn_loads():
    images, labels = load_digits(return_X_y=True)
    read = digits.read()
    assert np.array_equal(read.images[..., 0], digits.enlarge(images.reshape(-1, 8, 8) / 16, 28))
    assert np.array_equal(read.labels, labels)


def test_digits_are_scaled_by_the_formula_that_stands_there():
    """Against scipy's bilinear interpolation at the same half-pixel coordinates."""
    from scipy.ndimage import map_coordinates

    images = np.random.default_rng(0).random((3, 8, 8))
    at = np.clip((np.arange(28) + 0.5) * 8 / 28 - 0.5, 0, 7)
    grid = np.meshgrid(at, at, indexing="ij")
    enlarged = np.stack([map_coordinates(image, grid, order=1) for image in images])
    assert np.abs(digits.enlarge(images, 28).astype(float) - enlarged * 255).max() <= 0.5 + 1e-9


def test_pixels_are_in_0_1_in_either_dtype(few: Split):
    x = few.pixels("float64")
    assert x.dtype == np.float64
    assert (x.min(), x.max()) == (0.0, 1.0)
    assert few.pixels("float32").dtype == np.float32
    assert np.array_equal(few.pixels("float32"), x.astype(np.float32))


def test_the_limit_is_one_number():
    assert checks.LIMIT >= 60_000 * 784 * 4


@pytest.mark.parametrize("name", ["t.txt", "t.data", "t.tsv", "t.tab", "t.zip", "T.DATA"])
def test_the_name_of_a_csv_does_not_matter(tmp_path, table, name: str):
    content = text(table)
    path = tmp_path / name
    if name.endswith("zip"):
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("inside/t.csv", content)
            archive.writestr("readme.txt", "about it")
    else:
        separated = content.replace(",", "\t") if name.startswith("t.ta") else content
        path.write_text(separated)
    plain = tmp_path / "plain.csv"
    plain.write_text(content)
    named = data.load(str(path)).describe()
    expected = data.load(str(plain)).describe()
    assert named["train_sha256"] == expected["train_sha256"]
    assert named["classes"] == expected["classes"]


def test_an_archive_of_several_csv_files_is_refused(tmp_path):
    path = tmp_path / "t.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.csv", "1,2")
        archive.writestr("b.csv", "1,2")
    with pytest.raises(DataError, match=r"2 \.csv files, such as a\.csv and b\.csv; unpack it"):
        data.load(str(path))
