"""CSV, .npz and IDX as programs write them: each kind is read exactly, or refused with cause and
remedy.
"""

import gzip
import io
import os
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_iris
from sklearn.preprocessing import StandardScaler

from triptych.data import loading as data
from triptych.data.dataset import Dataset
from triptych.data.reading import Options
from triptych.errors import DataError

PIXELS = [f"pixel{i}" for i in range(784)]


@pytest.fixture(scope="module")
def sample(digits: Dataset) -> tuple[np.ndarray, np.ndarray]:
    """Images (100, 28, 28) and labels (100,), ten of each digit in mixed order."""
    rows = np.array([np.flatnonzero(digits.train.labels == label)[:10] for label in range(10)])
    order = rows.T.ravel()
    return digits.train.images[order, ..., 0], digits.train.labels[order].astype(int)


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


def zipped(name: str, content: str) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, content)
    return out.getvalue()


def sorted_columns(x, y) -> str:
    names = ["label", *PIXELS]
    order = np.argsort(names)
    table = np.concatenate([y[:, None], x.reshape(len(x), -1)], axis=1)[:, order]
    return "\n".join(",".join(map(str, row)) for row in [sorted(names), *table.tolist()])


def numbered_rows(x, y) -> str:
    body = csv_text(x, y).splitlines()
    return "\n".join(
        [",".join(["", "label", *PIXELS]), *(f"{i},{line}" for i, line in enumerate(body))]
    )


READ = {
    "class last, quoted": (
        lambda x, y: csv_text(x, y, [f'"{n}"' for n in [*PIXELS, "class"]], last=True),
        "",
    ),
    "label, then numbers": (lambda x, y: csv_text(x, y, ["label", *map(str, range(784))]), ""),
    "numbers, then label": (
        lambda x, y: csv_text(x, y, [*map(str, range(784)), "label"], last=True),
        "",
    ),
    "a header of numbers": (
        lambda x, y: csv_text(x, y, list(map(str, range(785)))),
        "line 1 taken for a header",
    ),
    "# before the header": (lambda x, y: csv_text(x, y, ["# label", *PIXELS]), ""),
    "an index column": (numbered_rows, "column 1 (no name) left out: it numbers the rows"),
    "semicolons": (
        lambda x, y: csv_text(x, y, ["label", *PIXELS], sep=";"),
        "separated by semicolons",
    ),
    "Excel's sep line": (
        lambda x, y: "sep=;\n" + csv_text(x, y, ["label", *PIXELS], sep=";"),
        "semicolons",
    ),
    "tabs": (lambda x, y: csv_text(x, y, ["label", *PIXELS], sep="\t"), "separated by tabs"),
    "blanks": (lambda x, y: csv_text(x, y, sep=" "), "separated by blanks"),
    "UTF-16": (lambda x, y: csv_text(x, y, ["label", *PIXELS]).encode("utf-16"), "UTF-16"),
    "quoted labels": (
        lambda x, y: csv_text(x, [f"'{n}'" for n in y], [*PIXELS, "class"], last=True),
        "",
    ),
    "labels as floats": (
        lambda x, y: csv_text(
            x, [f"{n}.0" for n in y], ["label", *PIXELS], form=lambda v: f"{v:.1f}"
        ),
        "",
    ),
    "pixels from 0 to 1": (
        lambda x, y: csv_text(x, y, ["label", *PIXELS], form=lambda v: f"{v / 255:.4g}"),
        "pixels from 0 to 1 read times 255",
    ),
    "commas at the ends": (
        lambda x, y: csv_text(x, y, ["label", *PIXELS], end=",\n"),
        "the lines end in a separator",
    ),
    "label last, no header": (lambda x, y: csv_text(x, y, last=True), "labels in the last column"),
    "columns sorted by name": (
        sorted_columns,
        "columns put in the order of the numbers in their names",
    ),
    "a zip named csv": (lambda x, y: zipped("train.csv", csv_text(x, y, ["label", *PIXELS])), ""),
    "carriage returns only": (lambda x, y: csv_text(x, y, ["label", *PIXELS], end="\r"), ""),
}


@pytest.mark.parametrize("kind", READ)
def test_a_csv_as_programs_write_it_is_read_exactly(tmp_path, sample, kind: str):
    x, y = sample
    make, note = READ[kind]
    found = load(tmp_path / "T.CSV", make(x, y))
    assert pairs(found) == expected(x, y)
    assert found.classes == tuple("0123456789")
    assert found.shape == (28, 28, 1)
    assert note in "; ".join(found.notes)


def test_pixels_0_and_1_are_black_and_white(tmp_path, sample):
    x, y = sample
    ones = (x > 127).astype(int)
    for content in (
        csv_text(ones, y, ["label", *PIXELS]),
        csv_text(ones.astype(float), y, ["label", *PIXELS]),
    ):
        found = load(tmp_path / "t.csv", content)
        assert pairs(found) == expected(ones * 255, y)
        assert "pixels 0 and 1 read as 0 and 255" in found.notes
    np.savez(tmp_path / "t.npz", x=x > 127, y=y)
    assert pairs(data.load(str(tmp_path / "t.npz"))) == expected(ones * 255, y)


def test_a_corner_pixel_does_not_become_the_label(tmp_path, sample):
    """The first pixel is 0 in most rows and has noise; the last column has ten values, evenly."""
    x, y = sample[0].copy(), sample[1]
    x[::9, 0, 0] = 3
    x[1::9, 0, 0] = 7
    assert pairs(load(tmp_path / "t.csv", csv_text(x, y, last=True))) == expected(x, y)
    x[:, -1, -1] = x[:, 0, 0]
    assert pairs(load(tmp_path / "t.csv", csv_text(x, y))) == expected(x, y)


def test_two_columns_that_may_be_labels_are_asked_about(tmp_path, sample):
    x, y = sample[0].copy(), sample[1]
    x[:, -1, -1] = (y + 1) % 10
    with pytest.raises(
        DataError,
        match=r"first column \(10 values\) or in the last \(10\); say which: --label first",
    ):
        load(tmp_path / "t.csv", csv_text(x, y))
    assert pairs(load(tmp_path / "t.csv", csv_text(x, y), label="first")) == expected(x, y)


LABELS = {
    "two digits": ([0, 1], ("0", "1")),
    "from anywhere": ([-1, 7, 300], ("-1", "7", "300")),
    "by value, not by letter": ([2, 10, 9], ("2", "9", "10")),
    "words": (["pear", "apple", "fig tree"], ("apple", "fig tree", "pear")),
    "a separator between quotes": (['"b, c"', "a"], ("a", "b, c")),
}


@pytest.mark.parametrize("kind", LABELS)
@pytest.mark.parametrize("last", [False, True])
def test_classes_are_the_labels_that_occur(tmp_path, sample, kind: str, last: bool):
    labels, classes = LABELS[kind]
    x = sample[0][:60]
    y = [labels[i % len(labels)] for i in range(60)]
    header = [*PIXELS, "label"] if last else ["label", *PIXELS]
    found = load(tmp_path / "t.csv", csv_text(x, y, header, last=last))
    assert found.classes == classes
    assert pairs(found) == expected(x, [str(label).strip('"') for label in y])


def test_images_of_any_size_and_colour(tmp_path):
    rng = np.random.default_rng(0)
    y = np.arange(60) % 3
    for shape in ((8, 8, 1), (32, 32, 1), (28, 28, 3)):
        x = rng.integers(0, 256, (60, *shape), np.uint8)
        found = load(
            tmp_path / "t.csv",
            csv_text(x, y, ["label", *(f"pixel{i:04d}" for i in range(x[0].size))]),
        )
        assert found.shape == shape
        assert pairs(found) == expected(x, y)
    x = rng.integers(0, 256, (60, 5, 7), np.uint8)
    text = csv_text(x, y, ["label", *(f"{r}x{c}" for r in range(1, 6) for c in range(1, 8))])
    assert load(tmp_path / "t.csv", text).shape == (5, 7, 1)
    text = csv_text(x, y)
    assert load(tmp_path / "t.csv", text, shape="7x5", label="first").shape == (7, 5, 1)


def test_the_order_of_colours_is_found_from_real_neighbours_or_asked_for(tmp_path):
    """Smooth images, a ramp of its own in each channel; noise says nothing."""
    rng = np.random.default_rng(0)
    ramp = np.linspace(0, 1, 32)
    slopes = rng.uniform(-120, 120, (60, 2, 3))
    x = (
        128
        + slopes[:, 0, None, None] * ramp[:, None, None]
        + slopes[:, 1, None, None] * ramp[None, :, None]
    )
    x = np.clip(x / 2 + rng.uniform(0, 120, (60, 1, 1, 3)), 0, 255).astype(np.uint8)
    y = np.arange(60) % 3
    header = ["label", *(f"pixel{i}" for i in range(3072))]
    blocks = x.transpose(0, 3, 1, 2)
    assert pairs(load(tmp_path / "a.csv", csv_text(x, y, header))) == expected(x, y)
    assert pairs(load(tmp_path / "b.csv", csv_text(blocks, y, header))) == expected(x, y)
    noise = rng.integers(0, 256, x.shape, np.uint8)
    with pytest.raises(DataError, match=r"give --shape 32x32x3 .* or --shape 3x32x32"):
        load(tmp_path / "c.csv", csv_text(noise, y, header))
    planes = csv_text(noise.transpose(0, 3, 1, 2), y, header)
    assert pairs(load(tmp_path / "d.csv", planes, shape="3x32x32")) == expected(noise, y)


# ---------------------------------------------------------------- tables

IRIS = load_iris()
FEATURES = ["sepal_length", "sepal_width", "petal_length", "petal_width"]
SPECIES = [str(IRIS.target_names[label]) for label in IRIS.target]

IRIS_FILES = {
    "names": csv_text(IRIS.data, SPECIES, [*FEATURES, "species"], last=True),
    "no header": csv_text(IRIS.data, SPECIES, last=True),
    "decimal commas": csv_text(
        IRIS.data, SPECIES, [*FEATURES, "species"], ";", True, lambda v: str(v).replace(".", ",")
    ),
    "an Id": "\n".join(
        f"{i or 'Id'},{line}"
        for i, line in enumerate(
            csv_text(IRIS.data, SPECIES, [*FEATURES, "Species"], last=True).splitlines()
        )
    ),
}


@pytest.mark.parametrize("kind", IRIS_FILES)
def test_a_table_is_standardised_by_its_training_rows(tmp_path, kind: str):
    found = load(tmp_path / "iris.csv", IRIS_FILES[kind])
    assert (found.shape, found.classes) == ((1, 1, 4), ("setosa", "versicolor", "virginica"))
    table = found.table
    assert table is not None
    train, test = (split.images.reshape(len(split), 4) for split in (found.train, found.test))
    back = [rows * table.deviation + table.mean for rows in (train, test)]
    both = sorted(map(tuple, np.concatenate(back).round(9).tolist()))
    assert both == sorted(map(tuple, IRIS.data.round(9).tolist()))
    theirs = StandardScaler().fit(back[0])
    assert np.abs(theirs.transform(back[0]) - train).max() < 1e-12
    assert np.abs(theirs.transform(back[1]) - test).max() < 1e-12
    assert found.describe()["standardised"]["mean"] == table.mean.tolist()
    assert (
        "135 training and 15 test rows of 4 features, standardised by the training rows"
        in found.summary()
    )


def test_constant_columns_and_other_numbers_of_a_table(tmp_path):
    rng = np.random.default_rng(0)
    table = rng.normal(size=(40, 3)) * 1e6 + 1e9
    table[:, 1] = 0.1
    found = load(
        tmp_path / "t.csv", csv_text(table, np.arange(40) % 2, ["y", "a", "b", "c"], form=repr)
    )
    assert (found.train.images[..., 1] == 0).all()
    assert np.isfinite(found.train.images).all()
    assert "1 constant column" in found.summary()
    bad = csv_text(table, np.arange(40) % 2, ["y", "a", "b", "c"], form=repr).replace("0.1", "", 1)
    with pytest.raises(
        DataError, match=r"line 2, column 3 \('b'\): '' is not a number; fill it in"
    ):
        load(tmp_path / "t.csv", bad)


def test_labels_of_a_table_are_named_where_they_are_not_known(tmp_path):
    rows = np.random.default_rng(0).random((40, 2)).round(3)
    text = csv_text(rows, np.arange(40) % 3 + 5, ["acid", "sugar", "quality"], last=True)
    with pytest.raises(DataError, match=r"--label NAME; the columns are acid, sugar, quality"):
        load(tmp_path / "t.csv", text)
    assert load(tmp_path / "t.csv", text, label="Quality").classes == ("5", "6", "7")
    with pytest.raises(DataError, match="did you mean 'quality'"):
        load(tmp_path / "t.csv", text, label="qualty")
    with pytest.raises(DataError, match=r"line 2: label 0\.\d+ is not a whole number or a word"):
        load(tmp_path / "t.csv", text, label="acid")


@given(
    st.lists(
        st.lists(
            st.floats(-1e6, 1e6, allow_nan=False).map(lambda v: round(v, 3)), min_size=2, max_size=2
        ),
        min_size=20,
        max_size=40,
    ),
    st.sampled_from([",", ";", "\t", "|"]),
    st.sampled_from([("a", "b"), ("1", "2"), ("x y", "z")]),
    st.booleans(),
    st.sampled_from(["\n", "\r\n"]),
)
@settings(
    max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)
def test_what_is_written_is_read(
    tmp_path, rows, sep: str, names: tuple[str, str], last: bool, end: str
):
    labels = [names[i % 2] for i in range(len(rows))]
    header = ["u", "v", "class"] if last else ["class", "u", "v"]
    found = load(tmp_path / "t.csv", csv_text(rows, labels, header, sep, last, repr, end))
    table = found.table
    assert table is not None
    spread = np.abs(np.array(rows)).max() + 1
    back = []
    for split in (found.train, found.test):
        values = split.images.reshape(-1, 2) * table.deviation + table.mean
        back += [
            (found.classes[label], *row)
            for label, row in zip(split.labels, values.tolist(), strict=True)
        ]
    wanted = sorted((label, *row) for label, row in zip(labels, rows, strict=True))
    got = np.array(sorted(row[1] + 3 * row[2] for row in back))
    assert (
        np.abs(got - np.array(sorted(row[1] + 3 * row[2] for row in wanted))).max() < 1e-9 * spread
    )
    assert sorted(row[0] for row in back) == sorted(labels)


# ---------------------------------------------------------------- two files, archives, IDX


def test_a_folder_with_a_training_and_a_test_file(tmp_path, sample):
    x, y = sample
    for names in (("mnist_train.csv", "mnist_test.csv"), ("Training.csv", "Test.csv")):
        folder = tmp_path / names[0].removesuffix(".csv")
        folder.mkdir()
        (folder / names[0]).write_text(csv_text(x[:80], y[:80], ["label", *PIXELS]))
        (folder / names[1]).write_text(csv_text(x[80:], y[80:], ["label", *PIXELS]))
        found = data.load(str(folder))
        assert pairs(found) == expected(x, y)
        assert np.array_equal(found.test.images[..., 0], x[80:])


def test_an_unlabelled_test_file_is_said_and_not_used(tmp_path, sample):
    x, y = sample
    (tmp_path / "train.csv").write_text(csv_text(x, y, ["label", *PIXELS]))
    (tmp_path / "test.csv").write_text(
        "\n".join([",".join(PIXELS), *(",".join(map(str, r.ravel().tolist())) for r in x)])
    )
    found = data.load(str(tmp_path))
    assert (len(found.train), len(found.test)) == (90, 10)
    assert "test.csv has no labels and is not used" in found.notes
    with pytest.raises(
        DataError, match="no label column; a test file of a competition has no labels"
    ):
        data.load(str(tmp_path / "test.csv"))


def test_a_test_label_that_training_lacks(tmp_path, sample):
    x, y = sample
    (tmp_path / "train.csv").write_text(csv_text(x[y < 9], y[y < 9], ["label", *PIXELS]))
    (tmp_path / "test.csv").write_text(csv_text(x[y > 7], y[y > 7], ["label", *PIXELS]))
    with pytest.raises(
        DataError,
        match=r"test\.csv: line \d+: label 9 has no training sample; the training labels are 0, 1",
    ):
        data.load(str(tmp_path))


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
    found = data.load(str(tmp_path / "t.npz"))
    assert pairs(found) == expected(x, y)
    assert "val_images and val_labels left out" in found.notes


def test_an_npz_in_colour_with_words(tmp_path):
    x = np.random.default_rng(0).integers(0, 256, (60, 6, 9, 3), np.uint8)
    y = np.array(["ant", "bee", "cat"])[np.arange(60) % 3]
    np.savez(tmp_path / "a.npz", x=x, y=y)
    np.savez(tmp_path / "b.npz", x=np.asfortranarray(x.transpose(0, 3, 1, 2)), y=y.astype("S"))
    for name in ("a.npz", "b.npz"):
        found = data.load(str(tmp_path / name))
        assert found.shape == (6, 9, 3)
        assert pairs(found) == expected(x, y)


def test_rows_of_floats_in_an_npz_are_a_table(tmp_path):
    np.savez(tmp_path / "iris.npz", X=IRIS.data, y=IRIS.target)
    found = data.load(str(tmp_path / "iris.npz"))
    assert (found.shape, found.classes) == ((1, 1, 4), ("0", "1", "2"))
    assert found.table is not None


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


# ---------------------------------------------------------------- refusals

REFUSED = {
    "html": (
        b"<!DOCTYPE html><html><body>Sign in</body></html>",
        "not a CSV, but an HTML page; fetch it again",
    ),
    "lfs": (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 9\n", "git lfs pull"),
    "pickle": (b"\x80\x04\x95\x10" + bytes(40), "a pickle"),
    "parquet": (b"PAR1" + bytes(40), "name must end in .parquet"),
    "one column": (b"5\n4\n3\n", "one column only"),
    "blank lines": (b"label,a\n1,2\n" + b"\n" * 5000, "more blank lines than rows"),
    "cut off": (
        b"label,a,b\n1,2,3\n0,2,3\n1,2",
        "line 4 has 2 columns where line 1 has 3, and it is the last line: the file is cut off",
    ),
    "text among numbers": (
        b"label,a,b\n" + b"1,2,3\n0,1,2\n" * 9 + b"1,2,red\n",
        "line 20, column 3 ('b'): 'red' is not a number",
    ),
    "column of words": (
        b"label,a,sex\n" + b"1,2,male\n0,3,female\n" * 9,
        "column 3 ('sex') holds words, for example 'male'",
    ),
    "two label columns": (
        b"label,class,a\n" + b"1,2,3\n0,1,2\n" * 9,
        "may both be the labels; name one with --label",
    ),
    "a header that is too short": (
        b"label,a\n" + b"1,2,3\n0,1,2\n" * 9,
        "line 2 has 3 columns where line 1 has 2",
    ),
    "a row that is too long": (
        b"label,a,b\n" + b"1,2,3\n0,1,2\n" * 9 + b"1,2,3,4\n",
        "line 20 has 4 columns where line 1 has 3",
    ),
    "no number": (
        b"label,a,b\n" + b"1,2,3\n0,1,2\n" * 9 + b"1,nan,2\n",
        "line 20, column 2 ('a'): NaN is not a finite number",
    ),
    "quantities": (
        b"a,b,y\n" + b"1,2,3.5\n0,1,2.25\n" * 9,
        "label 3.5 is not a whole number or a word",
    ),
    "thousands or decimals": (
        b"a;label\n" + b"1,234;1\n2,345;0\n" * 9,
        "may be a decimal comma or a thousands separator",
    ),
    "pixels with gaps": (
        b"label,pixel0,pixel2,pixel3\n" + b"1,2,3,4\n0,1,2,3\n" * 9,
        "some of an image are left out",
    ),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_a_refusal_names_the_cause_and_the_remedy(tmp_path, kind: str):
    content, says = REFUSED[kind]
    with pytest.raises(DataError) as error:
        load(tmp_path / "t.csv", content)
    assert says in str(error.value)
    assert str(error.value).startswith(str(tmp_path / "t.csv"))


def test_pixels_packed_into_one_cell(tmp_path, sample):
    x, y = sample
    rows = [
        f"{label},{' '.join(map(str, image.ravel().tolist()))},Training"
        for image, label in zip(x, y, strict=True)
    ]
    found = load(tmp_path / "fer.csv", "\n".join(["emotion,pixels,Usage", *rows]))
    assert pairs(found) == expected(x, y)
    assert "column 3 ('Usage') left out" in found.notes


def test_names_of_rows_as_r_writes_them(tmp_path, sample):
    x, y = sample
    rows = [f'"{i + 1}" {line}' for i, line in enumerate(csv_text(x, y, sep=" ").splitlines())]
    found = load(tmp_path / "t.csv", "\n".join([" ".join(["label", *PIXELS]), *rows]))
    assert pairs(found) == expected(x, y)


def test_one_hot_columns_are_not_taken_for_pixels(tmp_path, sample):
    x, y = sample
    rows = np.concatenate([x.reshape(len(x), -1), np.eye(10, dtype=int)[y]], axis=1)
    with pytest.raises(DataError, match="the last 10 columns hold a 1 in each row"):
        load(tmp_path / "t.csv", "\n".join(",".join(map(str, row)) for row in rows.tolist()))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="named pipes are Unix's")
@pytest.mark.parametrize("name", ["t.csv", "t.csv.gz", "t.npz", "t.parquet"])
def test_a_pipe_or_a_device_is_not_waited_for(tmp_path, name: str):
    os.mkfifo(tmp_path / name)
    with pytest.raises(DataError, match="is a named pipe; a regular file is needed"):
        data.load(str(tmp_path / name))
    (tmp_path / name).unlink()
    (tmp_path / name).symlink_to("/dev/zero")
    with pytest.raises(DataError, match="is a device; a regular file is needed"):
        data.load(str(tmp_path / name))


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


def test_what_is_in_it_is_said(tmp_path, sample):
    x, y = sample[0].copy(), sample[1]
    x[y == 3] = 9
    np.savez(tmp_path / "t.npz", x_train=x[:-1], y_train=y[:-1], x_test=x, y_test=y)
    said = data.load(str(tmp_path / "t.npz")).summary()
    mean = f"{x[:-1].mean():.4g}"
    assert (
        f"In it: pixels 0 to 255, mean {mean}; 10 images are blank (10 %); training samples of a "
        "class: 9 (9) to 10 (0)." in said
    )


@pytest.mark.parametrize("text", ["28", "0x28", "28x28x3x3", "axb", "-1x5", ""])
def test_a_shape_that_is_none(text: str):
    with pytest.raises(DataError, match="give height and width, for example 28x28"):
        Options(shape=text)


@pytest.mark.parametrize(("option", "value"), [("label", "y"), ("shape", "28x28")])
def test_an_option_that_means_nothing_is_refused(option: str, value: str):
    with pytest.raises(DataError, match=f"digits: --{option} is for .*; leave it out"):
        data.load("digits", 0, Options(**{option: value}))


def test_a_gzip_that_is_too_large_is_refused_before_it_is_read(tmp_path):
    blank = gzip.compress(b"label,a\n1,2\n0,1\n" + b"\n" * 10_000_000)
    with pytest.raises(DataError, match="more blank lines than rows"):
        load(tmp_path / "a.csv.gz", blank)
    large = gzip.compress(b"label,a\n1,2\n0,1\n")[:-4] + struct.pack("<I", 3 * 2**30)
    with pytest.raises(DataError, match="3,221,225,472 bytes, over the limit"):
        load(tmp_path / "b.csv.gz", large)
