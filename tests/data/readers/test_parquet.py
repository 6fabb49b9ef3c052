"""Parquet of images as Hugging Face ships it, and what else may come in a file of that name."""

import io
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from support.commands import run_python
from support.pictures import SKIP, encoded, error_of, table

from triptych.data import loading as data
from triptych.data.readers import parquet, parquet_file
from triptych.data.reading import PLAIN, Options
from triptych.errors import DataError

CIFAR = Path(__file__).parents[4] / "shared" / "data" / "cifar10-jpeg"


@pytest.mark.parametrize(
    "where",
    ["train.parquet", "train-00000-of-00002.parquet", "plain_text/train-00000-of-00001.parquet"],
)
@pytest.mark.parametrize(("column", "bare"), [("img", False), ("image", False), ("image", True)])
def test_a_folder_of_parquet(root, where: str, column: str, bare: bool):
    greys = [encoded(np.full((3, 4), i, np.uint8)) for i in range(14)]
    table(root / where, greys[:6], [0, 1, 2] * 2, ["x", "y", "z"], column, bare)
    if "00002" in where:
        table(
            root / where.replace("00000", "00001"),
            greys[6:12],
            [2, 1, 0] * 2,
            ["x", "y", "z"],
            column,
            bare,
        )
    table(root / where.replace("train", "test"), greys[12:], [1, 2], ["x", "y", "z"], column, bare)
    dataset = data.load(str(root))
    assert dataset.classes == ("x", "y", "z")
    assert dataset.train.images[:, 0, 0, 0].tolist() == list(range(12 if "00002" in where else 6))
    assert dataset.train.labels[3:9].tolist() == (
        [0, 1, 2, 2, 1, 0] if "00002" in where else [0, 1, 2]
    )
    assert dataset.test.images[:, 2, 3, 0].tolist() == [12, 13]
    assert dataset.test.labels.tolist() == [1, 2]


def test_one_parquet_file_is_split_by_seed(tmp_path):
    path = table(
        tmp_path / "one.parquet",
        [encoded(np.full((2, 2), i, np.uint8)) for i in range(40)],
        [0, 1, 2, 3] * 10,
    )
    dataset = data.load(str(path))
    assert (dataset.name, dataset.classes, len(dataset.train), len(dataset.test)) == (
        "one",
        ("0", "1", "2", "3"),
        36,
        4,
    )
    for split in (dataset.train, dataset.test):
        assert (split.images[:, 0, 0, 0] % 4 == split.labels).all()


TEN = [encoded()] * 10
CELL = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def table_of(path: Path, **columns) -> Path:
    pq.write_table(pa.table(columns), path)
    return path


BAD_PARQUET = {
    "a label that is null": (lambda p: table(p, TEN, [0, 1, None, 1] + [0] * 6), "row 3: no label"),
    "a label without end": (
        lambda p: table(p, TEN, [0, 1, 1, 2**60] + [0] * 6),
        "class '1152921504606846976' has 1 training image",
    ),
    "a label beyond the names": (
        lambda p: table(p, TEN, [0, 1, 2] + [0] * 7, ["a", "b"]),
        "row 3: label 2 is not a whole number from 0 to 1",
    ),
    "one class": (lambda p: table(p, TEN, [0] * 10), "every label is 0"),
    "one image of a class": (
        lambda p: table(p, TEN, [0] * 9 + [1]),
        "class '1' has 1 training image",
    ),
    "an image that is null": (
        lambda p: table(p, TEN[:9] + [None], [0, 1] * 5),
        "row 10: no bytes where an image is needed",
    ),
    "bytes that are null": (
        lambda p: table(p, TEN[:9] + [None], [0, 1] * 5, bare=True),
        "row 10: no bytes where an image is needed",
    ),
    "no labels in a test set": (
        lambda p: table(p, TEN, [-1] * 10),
        "every label is -1: this set has no labels; give the training file",
    ),
    "labels that are quantities": (
        lambda p: table(p, TEN, pa.array([0.5, 1.5] * 5)),
        "label 0.5 is not a whole number or a word",
    ),
    "labels that are lists": (
        lambda p: table(p, TEN, pa.array([[0], [1]] * 5)),
        "column label is of type list<",
    ),
    "labels that hardly repeat": (
        lambda p: table(p, TEN * 4, list(range(40))),
        "these are no classes; is it the right column?",
    ),
    "a label that is blank": (
        lambda p: table(p, TEN, pa.array(["a", "b", " "] + ["a"] * 7)),
        "row 3: no label",
    ),
    "no rows": (lambda p: table(p, [], []), "holds no rows"),
    "other columns": (
        lambda p: pq.write_table(pa.table({"x": [1], "y": [2]}), p),
        "columns x, y; needed are img or image, and label",
    ),
    "no bytes": (
        lambda p: pq.write_table(pa.table({"img": ["a.png"], "label": [2]}), p),
        "column img is of type string",
    ),
    "pixels": (
        lambda p: pq.write_table(
            pa.table({"label": [1]} | {f"pixel{i}": [0] for i in range(784)}), p
        ),
        (
            "columns label, pixel0, pixel1, pixel2, pixel3, pixel4, …, pixel783 (785 in all); "
            "needed are img or image, and label"
        ),
    ),
    "pixels, what to do": (
        lambda p: pq.write_table(
            pa.table({"label": [1]} | {f"pixel{i}": [0] for i in range(784)}), p
        ),
        (
            "for a table of pixels write a CSV: pandas.read_parquet(FILE).to_csv('bad.csv', "
            "index=False)"
        ),
    ),
    "paths in a struct": (
        lambda p: table_of(
            p,
            image=pa.array([{"path": f"images/{i}.png"} for i in range(10)], CELL),
            label=[0, 1] * 5,
        ),
        (
            "row 1: only the path of the image is in the file (images/0.png), not the image; write "
            "the file with the images in it"
        ),
    ),
    "paths in a struct without a column for bytes": (
        lambda p: table_of(
            p,
            image=[{"bytes": None, "path": f"images/{i}.png"} for i in range(10)],
            label=[0, 1] * 5,
        ),
        "only the paths of images and not the images themselves",
    ),
    "paths": (
        lambda p: table_of(p, image=["a.png"] * 10, label=[0, 1] * 5),
        "text such as paths and not the images themselves",
    ),
    "arrays": (
        lambda p: table_of(p, image=[[[1, 2], [3, 4]]] * 10, label=[0, 1] * 5),
        "column image is of type list<element: list<",
    ),
    "two kinds of labels": (
        lambda p: table_of(p, img=TEN, fine_label=[0, 1] * 5, coarse_label=[0] * 10),
        "none is called label: say which it is, --label fine_label or --label coarse_label",
    ),
    "a page": (
        lambda p: p.write_text("<html><body>404</body></html>"),
        "not a Parquet file, but an HTML page; fetch it again",
    ),
    "a pointer": (
        lambda p: p.write_text("version https://git-lfs.github.com/spec/v1\n"),
        "but a pointer of Git LFS; get the file itself",
    ),
    "no Parquet": (
        lambda p: p.write_bytes(b"PAR1" + b"x" * 50 + b"PAR1"),
        "not a readable Parquet file",
    ),
    "empty": (lambda p: p.write_bytes(b""), "not a readable Parquet file"),
    "truncated": (
        lambda p: p.write_bytes(table(p, TEN, [0, 1] * 5).read_bytes()[:-300]),
        "not a readable Parquet file",
    ),
}


# Labels as they are written, the classes, and the class of each image.
LABELS = {
    "with a gap": ([0, 1, 3, 3, 0, 1, 3, 0, 1, 1], ("0", "1", "3"), [0, 1, 2, 2, 0, 1, 2, 0, 1, 1]),
    "from 1": ([2, 1] * 5, ("1", "2"), [1, 0] * 5),
    "below 0": ([-1, 1] * 5, ("-1", "1"), [0, 1] * 5),
    "over 9": ([10, 9] * 5, ("9", "10"), [1, 0] * 5),
    "words": (pa.array(["bird", "ape"] * 5), ("ape", "bird"), [1, 0] * 5),
    "categories": (pa.array(["bird", "ape"] * 5).dictionary_encode(), ("ape", "bird"), [1, 0] * 5),
    "whole floats": (pa.array([1.0, 0.0] * 5), ("0", "1"), [1, 0] * 5),
    "true and false": (pa.array([True, False] * 5), ("False", "True"), [1, 0] * 5),
}


@pytest.mark.parametrize("kind", LABELS)
def test_labels_of_any_kind_are_classes(root, kind: str):
    written, classes, codes = LABELS[kind]
    contents = [encoded(np.full((6, 5), 20 * i, np.uint8)) for i in range(10)]
    for part in ("train", "test"):
        table(root / f"{part}.parquet", contents, written)
    dataset = data.load(str(root))
    assert dataset.classes == classes
    assert dataset.train.labels.tolist() == dataset.test.labels.tolist() == codes
    assert dataset.train.images[:, 0, 0, 0].tolist() == [20 * i for i in range(10)]


def test_a_test_label_needs_a_training_sample(root):
    table(root / "train.parquet", TEN, pa.array(["a", "b"] * 5))
    table(root / "test.parquet", TEN, pa.array(["a"] * 9 + ["c"]))
    with pytest.raises(
        DataError, match="row 10: label c has no training sample; the training labels are a, b"
    ):
        data.load(str(root))


@pytest.mark.parametrize("kind", BAD_PARQUET)
def test_a_bad_parquet_file_gets_one_clear_line(tmp_path, kind: str):
    make, says = BAD_PARQUET[kind]
    path = tmp_path / "bad.parquet"
    make(path)
    with pytest.raises(DataError) as error:
        data.load(str(path))
    assert says in str(error.value)
    assert str(error.value).startswith(str(path))
    assert len(str(error.value)) < 500
    assert "\n" not in str(error.value)


def test_a_folder_of_parquet_that_lacks_or_mixes_something(root):
    table(root / "train.parquet", TEN, [0, 1] * 5, ["a", "b"])
    with pytest.raises(DataError, match=r"holds train\.parquet, but no test\*\.parquet"):
        data.load(str(root))
    table(root / "test.parquet", TEN, [0, 1] * 5, ["b", "a"])
    with pytest.raises(
        DataError,
        match=r"test\.parquet: names its classes otherwise than .*train\.parquet; write both with",
    ):
        data.load(str(root))
    for path in (root / "train.parquet", root / "test.parquet"):
        path.unlink()
    for name in ("one", "two"):
        table(root / name / "train.parquet", TEN, [0, 1] * 5)
        table(root / name / "test.parquet", TEN, [0, 1] * 5)
    with pytest.raises(DataError, match="one and two both hold data; name one of them"):
        data.load(str(root))


GREYS = [encoded(np.full((3, 4), 13 * i, np.uint8)) for i in range(20)]
LAYOUTS = {
    "the Hub's converted files": (("train/0000.parquet", "test/0000.parquet"), ()),
    "of one configuration": (("default/train/0000.parquet", "default/test/0000.parquet"), ()),
    "capitals": (("TRAIN.PARQUET", "Test.Parquet"), ()),
    "validation for testing": (
        ("data/train-00000-of-00001.parquet", "data/validation-00000-of-00001.parquet"),
        ("validation-00000-of-00001.parquet is the test set: there is no test*.parquet",),
    ),
    "others besides": (
        ("train.parquet", "test.parquet", "validation.parquet", "extra.parquet"),
        ("extra.parquet, validation.parquet left out: neither training nor test set",),
    ),
    "others besides, converted": (
        ("x/train/0000.parquet", "x/test/0000.parquet", "x/validation/0000.parquet"),
        ("validation/0000.parquet left out: neither training nor test set",),
    ),
    "a file that is missing": (
        ("train-00001-of-00003.parquet", "test-00000-of-00001.parquet"),
        ("only 1 of the 3 files train-…-of-00003 are here",),
    ),
}


@pytest.mark.parametrize("kind", LAYOUTS)
def test_the_layouts_of_a_folder(root, kind: str):
    names, notes = LAYOUTS[kind]
    table(root / names[0], GREYS[:10], [0, 1] * 5)
    table(root / names[1], GREYS[10:], [1, 0] * 5)
    for name in names[2:]:
        table(root / name, GREYS[:3], [0, 1, 0])
    dataset = parquet.read(root, PLAIN, None)
    assert (dataset.train.images[:, 0, 0, 0] // 13).tolist() == list(range(10))
    assert dataset.train.labels.tolist() == [0, 1] * 5
    assert dataset.test is not None
    assert (dataset.test.images[:, 0, 0, 0] // 13).tolist() == list(range(10, 20))
    assert dataset.test.labels.tolist() == [1, 0] * 5
    assert dataset.notes == notes


COLUMNS = {
    "capitals": ({"Image": GREYS, "Label": [0, 1] * 10}, None),
    "plural": ({"image": GREYS, "labels": [0, 1] * 10}, None),
    "by name": ({"img": GREYS, "fine_label": [0, 1] * 10, "coarse_label": [0] * 20}, "fine_label"),
    "by name, though another is called label": (
        {"img": GREYS, "digit": [0, 1] * 10, "label": [0] * 20},
        "digit",
    ),
    "the only one with images": ({"jpg": GREYS, "label": [0, 1] * 10, "url": ["x"] * 20}, None),
}


@pytest.mark.parametrize("kind", COLUMNS)
def test_the_columns(tmp_path, kind: str):
    columns, label = COLUMNS[kind]
    dataset = parquet.read(table_of(tmp_path / "c.parquet", **columns), Options(label=label), None)
    assert (dataset.train.images[:, 0, 0, 0] // 13).tolist() == list(range(20))
    assert dataset.train.labels.tolist() == [0, 1] * 10


def test_the_names_of_the_column_that_is_asked_for(tmp_path):
    path = table_of(tmp_path / "c.parquet", img=GREYS, fine_label=[0, 1] * 10, label=[0] * 20)
    features = {"fine_label": {"names": ["apple", "bear"]}, "label": {"names": ["x"]}}
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    pq.write_table(pq.read_table(path).replace_schema_metadata(metadata), path)
    assert parquet.read(path, Options(label="fine_label"), None).classes == ("apple", "bear")


def test_a_column_that_is_not_there(tmp_path):
    path = table_of(tmp_path / "c.parquet", img=GREYS, fine_label=[0, 1] * 10, name=["x"] * 20)
    assert (
        error_of(path, Options(label="grade"))
        == f"{path}: no column grade; whole numbers are in: fine_label"
    )


@pytest.mark.parametrize("kind", [pa.binary(), pa.large_binary(), pa.binary_view()])
@pytest.mark.parametrize("text", [pa.string(), pa.large_string(), pa.string_view()])
def test_the_types_that_other_programs_write(tmp_path, kind: pa.DataType, text: pa.DataType):
    cells = [{"bytes": content, "path": "x.png"} for content in GREYS]
    columns = pa.array(cells, pa.struct([("bytes", kind), ("path", text)]))
    path = table_of(tmp_path / "t.parquet", image=columns, label=pa.array([0, 1] * 10, pa.uint8()))
    dataset = parquet.read(path, PLAIN, None)
    assert (dataset.train.images[:, 0, 0, 0] // 13).tolist() == list(range(20))


def test_some_rows_with_a_path_only_are_left_out(tmp_path):
    cells = [{"bytes": content, "path": f"{i}.png"} for i, content in enumerate(GREYS)]
    cells[4]["bytes"] = None
    path = table_of(tmp_path / "c.parquet", image=cells, label=[0, 1] * 10)
    assert f"{path}: row 5: only the path of the image is in the file (4.png)" in error_of(path)
    dataset = parquet.read(path, SKIP, None)
    assert (dataset.train.images[:, 0, 0, 0] // 13).tolist() == [i for i in range(20) if i != 4]
    assert len(dataset.left_out) == 1


@pytest.mark.parametrize(
    "metadata",
    [
        "[" * 100_000,
        '{"info": ' * 50_000,
        "no JSON",
        "[]",
        '{"info": {"features": {"label": {"names": [1, 2]}}}}',
    ],
)
def test_metadata_that_says_nothing_is_passed_over(tmp_path, metadata: str):
    path = table(tmp_path / "m.parquet", TEN, [0, 1] * 5)
    pq.write_table(pq.read_table(path).replace_schema_metadata({"huggingface": metadata}), path)
    assert data.load(str(path)).classes == ("0", "1")


def test_a_parquet_file_that_claims_too_much(tmp_path, monkeypatch):
    path = table(tmp_path / "big.parquet", TEN, [0, 1] * 5)
    monkeypatch.setattr(parquet_file, "ROWS", 9)
    with pytest.raises(DataError, match="claims 10 rows, over the limit of 9"):
        data.load(str(path))
    monkeypatch.undo()
    monkeypatch.setattr(parquet_file, "LIMIT", 100)
    with pytest.raises(
        DataError, match=r"claims \d+ bytes of images in one row group, over the limit of 100"
    ):
        data.load(str(path))


@pytest.mark.process
def test_damage_that_ends_the_process_in_pyarrow_is_an_error(tmp_path):
    """In another process, because pyarrow would end this one."""
    path = table(tmp_path / "a.parquet", [encoded()] * 20, [0, 1] * 10)
    required, unknown = b"\x25\x02\x18\x05bytes", b"\x25\x12\x18\x05bytes"
    content = path.read_bytes()
    assert content.count(required) == 1
    path.write_bytes(content.replace(required, unknown))  # neither required nor optional
    code = f"from triptych.data import loading; loading.load({str(path)!r})"
    done = run_python("-c", code, cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith(f"triptych.errors.DataError: {path}: ")


def test_few_large_images_are_read_at_a_time(tmp_path, monkeypatch):
    """Many rows of one image take next to nothing in the file, and each its whole size in
    memory.
    """
    path = tmp_path / "bomb.parquet"
    pq.write_table(
        pa.table({"img": pa.array([encoded()] * 500, pa.binary()), "label": [0, 1] * 250}), path
    )
    monkeypatch.setattr(parquet_file, "BATCH", 1000)
    shard = parquet_file.Shard.open(path)
    assert 1 <= shard._rows_at_once([0], parquet_file.LIMIT) <= 1000 // len(encoded())
    assert len(list(shard.samples())) == 500


@given(st.data())
@settings(
    max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)
def test_a_damaged_parquet_file_brings_no_traceback(tmp_path, drawn):
    path = table(tmp_path / "damaged.parquet", TEN, [0, 1] * 5)
    content = bytearray(path.read_bytes())
    for _ in range(drawn.draw(st.integers(1, 4))):
        content[drawn.draw(st.integers(0, len(content) - 1))] = drawn.draw(st.integers(0, 255))
    path.write_bytes(content)
    message = error_of(path)
    assert not message or (str(path) in message and "\n" not in message)


@pytest.mark.skipif(
    not CIFAR.is_dir(), reason="shared/data/cifar10-jpeg is not next to the repository"
)
def test_cifar_as_hugging_face_ships_it():
    dataset = data.load(str(CIFAR / "test.parquet"), 3)
    assert (dataset.shape, dataset.classes) == ((32, 32, 3), tuple("0123456789"))
    assert (len(dataset.train), len(dataset.test)) == (9000, 1000)
    assert np.bincount(dataset.test.labels).tolist() == [100] * 10
    rows = pq.read_table(CIFAR / "test.parquet", columns=["img", "label"]).slice(0, 50).to_pylist()
    whole = {
        image.tobytes(): label
        for image, label in zip(dataset.train.images, dataset.train.labels.tolist(), strict=True)
    }
    whole |= {
        image.tobytes(): label
        for image, label in zip(dataset.test.images, dataset.test.labels.tolist(), strict=True)
    }
    for row in rows:
        assert (
            whole[np.asarray(Image.open(io.BytesIO(row["img"]["bytes"]))).tobytes()] == row["label"]
        )
