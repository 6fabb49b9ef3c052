"""Parquet of images as Hugging Face ships it, and what else may come in a file of that name."""

import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pictures import encoded, error_of, table
from PIL import Image

from triptych import data
from triptych.data import parquet
from triptych.errors import DataError

CIFAR = Path(__file__).parents[3] / "shared" / "data" / "cifar10-jpeg"


@pytest.mark.parametrize("where", ["train.parquet", "train-00000-of-00002.parquet", "plain_text/train-00000-of-00001.parquet"])
@pytest.mark.parametrize(("column", "bare"), [("img", False), ("image", False), ("image", True)])
def test_a_folder_of_parquet(root, where: str, column: str, bare: bool):
    greys = [encoded(np.full((3, 4), i, np.uint8)) for i in range(14)]
    table(root / where, greys[:6], [0, 1, 2] * 2, ["x", "y", "z"], column, bare)
    if "00002" in where:
        table(root / where.replace("00000", "00001"), greys[6:12], [2, 1, 0] * 2, ["x", "y", "z"], column, bare)
    table(root / where.replace("train", "test"), greys[12:], [1, 2], ["x", "y", "z"], column, bare)
    found = data.load(str(root))
    assert found.classes == ("x", "y", "z")
    assert found.train.images[:, 0, 0, 0].tolist() == list(range(12 if "00002" in where else 6))
    assert found.train.labels[3:9].tolist() == ([0, 1, 2, 2, 1, 0] if "00002" in where else [0, 1, 2])
    assert found.test.images[:, 2, 3, 0].tolist() == [12, 13]
    assert found.test.labels.tolist() == [1, 2]


def test_one_parquet_file_is_split_by_seed(tmp_path):
    path = table(tmp_path / "one.parquet", [encoded(np.full((2, 2), i, np.uint8)) for i in range(40)], [0, 1, 2, 3] * 10)
    found = data.load(str(path))
    assert (found.name, found.classes, len(found.train), len(found.test)) == ("one", ("0", "1", "2", "3"), 36, 4)
    for split in (found.train, found.test):
        assert (split.images[:, 0, 0, 0] % 4 == split.labels).all()


TEN = [encoded()] * 10
BAD_PARQUET = {
    "a label that is null": (lambda p: table(p, TEN, [0, 1, None, 1] + [0] * 6), "row 3: no label"),
    "a negative label": (lambda p: table(p, TEN, [0, 1, 0, -1] + [0] * 6), "row 4: label -1 is not a whole number from 0 to 9999"),
    "a label without end": (lambda p: table(p, TEN, [0, 1, 2**60] + [0] * 7), "row 3: label 1.15292e+18 is not a whole number"),
    "a label beyond the names": (
        lambda p: table(p, TEN, [0, 1, 2] + [0] * 7, ["a", "b"]),
        "row 3: label 2 is not a whole number from 0 to 1",
    ),
    "labels with a gap": (lambda p: table(p, TEN, [0, 1, 3] + [0] * 7), "labels go up to 3, but no training image has label 2"),
    "one class": (lambda p: table(p, TEN, [0] * 10), "every label is 0"),
    "one image of a class": (lambda p: table(p, TEN, [0] * 9 + [1]), "class '1' has 1 training image"),
    "an image that is null": (lambda p: table(p, TEN[:9] + [None], [0, 1] * 5), "row 10: no bytes where an image is needed"),
    "bytes that are null": (lambda p: table(p, TEN[:9] + [None], [0, 1] * 5, bare=True), "row 10: no bytes where an image is needed"),
    "labels that are words": (lambda p: table(p, TEN, pa.array(["a", "b"] * 5)), "column label is of type string"),
    "labels that are fractions": (lambda p: table(p, TEN, pa.array([0.0, 1.0] * 5)), "column label is of type double"),
    "no rows": (lambda p: table(p, [], []), "holds no rows"),
    "other columns": (lambda p: pq.write_table(pa.table({"x": [1], "y": [2]}), p), "columns x, y; needed are img or image, and label"),
    "no bytes": (lambda p: pq.write_table(pa.table({"img": ["a.png"], "label": [2]}), p), "column img is of type string"),
    "no Parquet": (lambda p: p.write_bytes(b"PAR1" + b"x" * 50 + b"PAR1"), "not a readable Parquet file"),
    "empty": (lambda p: p.write_bytes(b""), "not a readable Parquet file"),
    "truncated": (lambda p: p.write_bytes(table(p, TEN, [0, 1] * 5).read_bytes()[:-300]), "not a readable Parquet file"),
}


@pytest.mark.parametrize("kind", BAD_PARQUET)
def test_a_bad_parquet_file_gets_one_clear_line(tmp_path, kind: str):
    make, says = BAD_PARQUET[kind]
    path = tmp_path / "bad.parquet"
    make(path)
    with pytest.raises(DataError) as error:
        data.load(str(path))
    assert says in str(error.value)
    assert str(error.value).startswith(str(path))
    assert "\n" not in str(error.value)


def test_a_folder_of_parquet_that_lacks_or_mixes_something(root):
    table(root / "train.parquet", TEN, [0, 1] * 5, ["a", "b"])
    with pytest.raises(DataError, match=r"no test\*\.parquet beside train\.parquet"):
        data.load(str(root))
    table(root / "test.parquet", TEN, [0, 1] * 5, ["b", "a"])
    with pytest.raises(DataError, match=r"test\.parquet: names its classes otherwise than .*train\.parquet"):
        data.load(str(root))
    for path in (root / "train.parquet", root / "test.parquet"):
        path.unlink()
    for name in ("one", "two"):
        table(root / name / "train.parquet", TEN, [0, 1] * 5)
        table(root / name / "test.parquet", TEN, [0, 1] * 5)
    with pytest.raises(DataError, match="one and two both hold data; name one of them"):
        data.load(str(root))


@pytest.mark.parametrize("metadata", ["no JSON", "[]", '{"info": {"features": {"label": {"names": [1, 2]}}}}'])
def test_metadata_that_says_nothing_is_passed_over(tmp_path, metadata: str):
    path = table(tmp_path / "m.parquet", TEN, [0, 1] * 5)
    pq.write_table(pq.read_table(path).replace_schema_metadata({"huggingface": metadata}), path)
    assert data.load(str(path)).classes == ("0", "1")


def test_a_parquet_file_that_claims_too_much(tmp_path, monkeypatch):
    path = table(tmp_path / "big.parquet", TEN, [0, 1] * 5)
    monkeypatch.setattr(parquet, "ROWS", 9)
    with pytest.raises(DataError, match="claims 10 rows, over the limit of 9"):
        data.load(str(path))
    monkeypatch.undo()
    monkeypatch.setattr(parquet, "LIMIT", 100)
    with pytest.raises(DataError, match=r"claims \d+ bytes of images in one row group, over the limit of 100"):
        data.load(str(path))


def test_few_large_images_are_read_at_a_time(tmp_path, monkeypatch):
    """Many rows of one image take next to nothing in the file, and each its whole size in memory."""
    path = tmp_path / "bomb.parquet"
    pq.write_table(pa.table({"img": pa.array([encoded()] * 500, pa.binary()), "label": [0, 1] * 250}), path)
    monkeypatch.setattr(parquet, "BATCH", 1000)
    shard = parquet._Shard.open(path)
    assert 1 <= shard._batch() <= 1000 // len(encoded())
    assert len(list(shard.samples())) == 500


@given(st.data())
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_a_damaged_parquet_file_brings_no_traceback(tmp_path, drawn):
    path = table(tmp_path / "damaged.parquet", TEN, [0, 1] * 5)
    content = bytearray(path.read_bytes())
    for _ in range(drawn.draw(st.integers(1, 4))):
        content[drawn.draw(st.integers(0, len(content) - 1))] = drawn.draw(st.integers(0, 255))
    path.write_bytes(content)
    said = error_of(path)
    assert not said or (str(path) in said and "\n" not in said)


@pytest.mark.skipif(not CIFAR.is_dir(), reason="shared/data/cifar10-jpeg is not beside the repository")
def test_cifar_as_hugging_face_ships_it():
    found = data.load(str(CIFAR / "test.parquet"), 3)
    assert (found.shape, found.classes) == ((32, 32, 3), tuple("0123456789"))
    assert (len(found.train), len(found.test)) == (9000, 1000)
    assert np.bincount(found.test.labels).tolist() == [100] * 10
    rows = pq.read_table(CIFAR / "test.parquet", columns=["img", "label"]).slice(0, 50).to_pylist()
    whole = {image.tobytes(): label for image, label in zip(found.train.images, found.train.labels.tolist(), strict=True)}
    whole |= {image.tobytes(): label for image, label in zip(found.test.images, found.test.labels.tolist(), strict=True)}
    for row in rows:
        assert whole[np.asarray(Image.open(io.BytesIO(row["img"]["bytes"]))).tobytes()] == row["label"]
