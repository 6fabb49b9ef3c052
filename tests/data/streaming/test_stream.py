"""Streamed data: the same images, labels, classes and notes as in memory."""

import shutil
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.pictures import encoded, error_of, table
from support.streams import STREAM, drawings, parquet, streamed, write_folder, write_raw

from triptych.core.split import Split
from triptych.data import loading
from triptych.data.readers import parquet_file
from triptych.data.reading import PLAIN, Options
from triptych.data.streaming import findings, prefetch, split, stream
from triptych.errors import DataError

SKIPPING = replace(STREAM, skip_unreadable=True)


def assert_same(source: Path, options: Options = PLAIN) -> None:
    """Streamed and in memory, a source is the same data, its samples in the order of the files."""
    whole = loading.load(str(source), 0, options)
    read = loading.load(str(source), 0, replace(options, stream=True))
    assert read.classes == whole.classes
    assert read.left_out == whole.left_out
    assert read.notes[: len(whole.notes)] == whole.notes
    assert read.shape == whole.shape
    for one, other in ((read.train, whole.train), (read.test, whole.test)):
        assert len(one) == len(other)
        assert pairs(one) == pairs(other)


def pairs(part: Split) -> list[bytes]:
    """Each image with its label, sorted."""
    labels = part.labels.tolist()
    return sorted(
        image.tobytes() + bytes([label]) for image, label in zip(part.images, labels, strict=True)
    )


def test_two_sets(tmp_path):
    source = parquet(tmp_path / "set")
    assert_same(source)
    whole = loading.load(str(source))
    read = streamed(source)
    assert np.array_equal(read.train.images, whole.train.images)  # also the order
    described = read.describe()
    for key in ("border", "box", "pixels", "image", "train", "test", "class_names"):
        assert described[key] == whole.describe()[key]
    assert read.plausibility() == whole.plausibility()


def test_one_file_is_split_by_seed_and_class(tmp_path):
    source = write_raw(tmp_path / "one.parquet", *drawings(100))
    assert_same(source)
    first, other = (loading.load(str(source), seed, STREAM) for seed in (0, 1))
    assert first.train.digest != other.train.digest
    assert np.all(np.diff(first.train.samples) > 0)


def test_a_folder_of_images(tmp_path):
    source = write_folder(tmp_path / "pictures", *drawings(60))
    assert_same(source)
    assert streamed(source).train.order is None  # every file is as near as any other


@pytest.mark.parametrize("kind", ["grey and colour", "masks", "16 bits", "scaled"])
def test_what_the_whole_set_decides(tmp_path, kind: str):
    rng = np.random.default_rng(0)
    grey = rng.integers(0, 256, (6, 5), np.uint8)
    colour = rng.integers(0, 256, (6, 5, 3), np.uint8)
    options = PLAIN
    if kind == "grey and colour":
        contents = [encoded(grey), encoded(colour)] * 10
    elif kind == "masks":
        contents = [encoded(grey // 128), encoded(grey[::-1] // 128)] * 10
    elif kind == "16 bits":
        contents = [encoded(grey.astype(np.uint16) * 4), encoded(grey[::-1].astype(np.uint16))] * 10
    else:
        contents = [encoded(grey), encoded(grey[:3])] * 10
        options = Options(size=(4, 4))
    source = table(tmp_path / "a.parquet", contents, [0, 1] * 10)
    assert_same(source, options)


@pytest.mark.parametrize("kind", ["bytes", "list", "tensor", "any bytes", "planes"])
def test_raw_pixels(tmp_path, kind: str):
    images, labels = drawings(40)
    rows = images.reshape(len(images), -1)
    size = rows.shape[1]
    options = Options(shape="6x5x3")
    cells = pa.array([row.tobytes() for row in rows], pa.binary(size))
    if kind == "list":
        cells = pa.FixedSizeListArray.from_arrays(pa.array(rows.ravel()), size)
    elif kind == "tensor":
        flat = pa.FixedSizeListArray.from_arrays(pa.array(rows.ravel()), size)
        tensor = pa.fixed_shape_tensor(pa.uint8(), images.shape[1:])
        cells = pa.ExtensionArray.from_storage(tensor, flat)
        options = PLAIN
    elif kind == "any bytes":
        cells = pa.array([row.tobytes() for row in rows], pa.binary())
    elif kind == "planes":
        planes = images.transpose(0, 3, 1, 2)
        cells = pa.array([image.tobytes() for image in planes], pa.binary(size))
        options = Options(shape="3x6x5")
    path = tmp_path / "raw.parquet"
    pq.write_table(pa.table({"image": cells, "label": labels}), path, row_group_size=7)
    assert_same(path, options)
    read = loading.load(str(path), 0, replace(options, stream=True))
    assert np.array_equal(read.train.images, images[read.train.samples])


@pytest.mark.parametrize(
    ("cells", "shape", "message"),
    [
        (pa.array([bytes(90)] * 4, pa.binary(90)), None, "raw pixels without a shape; say it"),
        (pa.array([bytes(90)] * 4, pa.binary(90)), "6x6x3", "90 numbers a cell are no image"),
        (pa.array([bytes(90)] * 4, pa.binary(90)), "table", "--shape table is for rows of numbers"),
        (pa.array([bytes(60)] * 4, pa.binary(60)), "6x5x2", "images of 2 channels; 1 or 3"),
        (pa.array([bytes(89)] * 4, pa.binary()), "6x5x3", "row 1: 89 bytes, where 90 are needed"),
        (pa.array([[0.5] * 4] * 4, pa.list_(pa.float32(), 4)), "2x2", "lists of float"),
        (pa.array(["a"] * 4), "2x2", "holds image files, which have a shape; omit --shape"),
    ],
)
def test_raw_pixels_that_fit_no_shape(tmp_path, cells, shape, message):
    path = tmp_path / "raw.parquet"
    pq.write_table(pa.table({"image": cells, "label": [0, 1, 0, 1]}), path)
    for is_streamed in (False, True):
        assert message in error_of(path, Options(shape=shape, stream=is_streamed))


def test_a_row_without_pixels(tmp_path):
    images, labels = drawings(20)
    cells = pa.array([None, *(i.tobytes() for i in images[1:])], pa.binary(images[0].size))
    path = tmp_path / "raw.parquet"
    pq.write_table(pa.table({"image": cells, "label": labels}), path, row_group_size=7)
    options = Options(shape="6x5x3", skip_unreadable=True)
    assert_same(path, options)
    assert "raw.parquet: row 1: no bytes where an image is needed" in error_of(
        path, replace(options, skip_unreadable=False, stream=True)
    )


def test_damaged_images_are_named_or_left_out(tmp_path):
    contents = [encoded()] * 40
    contents[17] = encoded()[:60]
    path = table(tmp_path / "a.parquet", contents, [0, 1] * 20)
    assert error_of(path, STREAM) == error_of(path)
    assert "a.parquet: row 18: " in error_of(path, STREAM)
    assert_same(path, Options(skip_unreadable=True))
    read = loading.load(str(path), 0, SKIPPING)
    assert 17 not in {*read.train.samples.tolist(), *read.test.samples.tolist()}


@pytest.mark.parametrize(
    ("contents", "labels"),
    [
        ([encoded()] * 3 + [encoded(np.zeros((2, 2), np.uint8))] * 7, [0, 1] * 5),
        ([encoded()] * 10, [0] * 10),
        ([encoded()] * 10, [0] * 9 + [1]),
        ([None] * 10, [0, 1] * 5),
    ],
)
def test_refusals_are_those_of_memory(tmp_path, contents, labels):
    path = table(tmp_path / "a.parquet", contents, labels)
    for skip in (False, True):
        expected = error_of(path, Options(skip_unreadable=skip))
        assert expected
        assert error_of(path, Options(skip_unreadable=skip, stream=True)) == expected


def test_what_cannot_be_streamed(tmp_path):
    assert "digits: only files and folders can be streamed (Parquet" in error_of("digits", STREAM)
    assert "no such file or data set" in error_of("nowhere", STREAM)
    csv = tmp_path / "a.csv"
    csv.write_text("label,a,b\n0,1,2\n1,2,3\n")
    assert "CSV cannot be streamed, but Parquet, image files; omit --stream" in error_of(
        csv, STREAM
    )


def test_files_that_change_after_the_first_look(tmp_path):
    source = parquet(tmp_path / "set")
    read = streamed(source)
    images, labels = drawings(50, 1)
    write_raw(source / "test.parquet", images[:, :3], labels)
    shutil.copy(source / "test.parquet", source / "train-00001-of-00002.parquet")
    with pytest.raises(DataError, match=r"train-00001.* |test\.parquet"):
        np.concatenate([block.images for block in read.train.blocks()])


def test_images_are_looked_at_once(tmp_path, monkeypatch, cache):
    source = parquet(tmp_path / "set")
    first = streamed(source)
    assert len(list((cache / "scanned").iterdir())) == 1
    monkeypatch.setattr("triptych.data.streaming.loading.scan", pytest.fail)
    assert streamed(source).train.digest == first.train.digest
    monkeypatch.undo()
    place = next((cache / "scanned").iterdir())
    content = bytearray(place.read_bytes())
    content[len(content) // 2] ^= 1
    place.write_bytes(content)
    assert streamed(source).describe() == first.describe()
    write_raw(source / "test.parquet", *drawings(50, 2))
    changed = streamed(source)
    assert changed.train.digest != first.train.digest  # of all files together
    assert np.array_equal(changed.test.images, drawings(50, 2)[0])


def test_a_cache_that_cannot_be_written_is_no_error(tmp_path, monkeypatch):
    source = parquet(tmp_path / "set")
    monkeypatch.setattr(findings, "write", lambda *_: (_ for _ in ()).throw(OSError("full")))
    assert len(streamed(source).train) == 200


def test_memory_is_bounded(tmp_path, monkeypatch):
    """At no time more row groups are held than those of two windows."""
    images, labels = drawings(2000)
    source = write_raw(tmp_path / "one.parquet", images, labels, rows=20)
    monkeypatch.setattr(split, "WINDOW_BYTES", 100 * images[0].size)
    monkeypatch.setattr(prefetch, "AHEAD_BYTES", 50 * images[0].size)
    monkeypatch.setattr(prefetch, "PIECE_SAMPLES", 10)
    train = streamed(source).train
    order = train.order
    assert order.window == 100
    reader = train.prefetched(order.epoch(0, epoch) for epoch in range(3))
    most = 0
    for epoch in range(3):
        for start in range(0, len(train), 30):
            some = order.epoch(0, epoch)[start : start + 30]
            assert np.array_equal(reader.take(len(some)), images[train.samples[some]])
            most = max(most, sum(len(each.loading) for each in reader._epochs))
            assert len(reader._pieces) <= reader._most_pieces
    reader.close()
    assert 5 < most <= 2 * (100 // 20) + 3


def test_the_error_of_a_thread_is_raised_at_its_sample(tmp_path, monkeypatch):
    source = parquet(tmp_path / "set")
    train = streamed(source).train
    monkeypatch.setattr(prefetch, "PIECE_SAMPLES", 5)
    decode = stream.Stream.decode

    def fail(self, samples, contents):
        if 42 in samples:
            raise DataError("sample 42")
        return decode(self, samples, contents)

    monkeypatch.setattr(stream.Stream, "decode", fail)
    reader = train.prefetched([np.arange(len(train))])
    assert len(reader.take(40)) == 40
    with pytest.raises(DataError, match="sample 42"):
        reader.take(5)
    reader.close()


def test_closing_ends_the_threads(tmp_path):
    train = streamed(parquet(tmp_path / "set")).train
    before = set(threading.enumerate())
    reader = train.prefetched([np.arange(len(train))])
    reader.take(3)
    assert set(threading.enumerate()) - before
    reader.close()
    assert not set(threading.enumerate()) - before


def test_a_row_group_that_is_too_large(tmp_path, monkeypatch):
    source = write_raw(tmp_path / "one.parquet", *drawings(100), rows=100)
    monkeypatch.setattr(parquet_file, "GROUP", 1000)
    message = error_of(source, STREAM)
    assert "claims" in message
    assert "over the limit of 1,000; write it with smaller ones: row_group_size=1000" in message


def test_a_row_group_of_one_image_many_times(tmp_path, monkeypatch):
    """It takes next to nothing in the file, and each row its whole size in memory."""
    path = tmp_path / "bomb.parquet"
    images = pa.array([encoded()] * 500, pa.binary())
    pq.write_table(pa.table({"img": images, "label": [0, 1] * 250}), path)
    monkeypatch.setattr(parquet_file, "GROUP", 20_000)
    assert "holds over 20,000 bytes of images in one row group" in error_of(path, STREAM)


def test_images_that_are_too_large_for_memory(tmp_path, monkeypatch):
    train = streamed(parquet(tmp_path / "set")).train
    monkeypatch.setattr(split, "LIMIT", 100)
    with pytest.raises(DataError, match="200 streamed images take 18,000 bytes in memory"):
        _ = train.images


def test_large_data_is_streamed_by_itself(tmp_path, monkeypatch):
    source = str(parquet(tmp_path / "set"))
    assert loading.load(source, may_stream=True).known is None
    monkeypatch.setattr("triptych.data.streaming.loading.LIMIT", 100)
    dataset = loading.load(source, may_stream=True)
    assert dataset.known is not None
    assert dataset.provenance()["reading"]["stream"]
    assert loading.load("digits", may_stream=True).known is None
