"""CIFAR-10's binary version: read as it is written down, refused where it is not that, and never
from a pickle.
"""

import gzip
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from triptych.data import loading as data
from triptych.data.readers import cifar
from triptych.data.reading import Options
from triptych.errors import DataError

FILES = (*cifar.TRAIN, *cifar.TEST)


def records(count: int, seed: int) -> np.ndarray:
    """Random records, uint8 of shape (count, 3073), with labels 0, 1, 2 …"""
    made = np.random.default_rng(seed).integers(0, 256, (count, cifar.RECORD), np.uint8)
    made[:, 0] = np.arange(count) % 10
    return made


@pytest.fixture
def folder(tmp_path):
    for i, name in enumerate(FILES):
        (tmp_path / name).write_bytes(records(4, i).tobytes())
    return tmp_path


def test_planes_become_channels(folder):
    dataset = data.load(str(folder))
    assert dataset.shape == (32, 32, 3)
    assert dataset.classes[:2] == ("airplane", "automobile")
    assert (len(dataset.train), len(dataset.test)) == (20, 4)
    for i, n in ((0, 0), (4, 3)):
        record, image = records(4, i)[n], dataset.train.images[4 * i + n]
        for row, column, channel in ((0, 0, 0), (31, 0, 1), (5, 17, 2), (31, 31, 2)):
            assert image[row, column, channel] == record[1 + 1024 * channel + 32 * row + column]
    assert dataset.train.labels.tolist() == [0, 1, 2, 3] * 5
    assert dataset.train.images.flags.c_contiguous


@given(st.lists(st.integers(0, 12), min_size=1, max_size=3), st.integers(-3, 3), st.booleans())
@settings(
    max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)
def test_whole_records_are_read_and_nothing_else(
    folder, labels: list[int], extra: int, zipped: bool
):
    content = b"".join(bytes([label]) + bytes([label]) * 3072 for label in labels)
    content = content[: len(content) + extra] if extra < 0 else content + b"\0" * extra
    (folder / FILES[2]).write_bytes(gzip.compress(content) if zipped else content)
    if extra == 0 and max(labels) <= 9:
        dataset = data.load(str(folder)).train
        assert dataset.labels[8 : 8 + len(labels)].tolist() == labels
        assert (dataset.images[8 : 8 + len(labels)] == np.array(labels)[:, None, None, None]).all()
    else:
        with pytest.raises(DataError, match=FILES[2]) as error:
            data.load(str(folder))
        assert (
            "truncated"
            if extra
            else f"label {next(n for n in labels if n > 9)} is not a whole number from 0 to 9"
        ) in str(error.value)


@given(st.binary(max_size=4000))
@settings(
    max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)
def test_no_bytes_whatever_bring_a_traceback(folder, junk: bytes):
    (folder / FILES[5]).write_bytes(junk)
    if len(junk) == cifar.RECORD and junk[0] < 10:
        assert len(data.load(str(folder)).test) == 1
    else:
        with pytest.raises(DataError, match=FILES[5]):
            data.load(str(folder))


def test_what_is_missing_or_of_one_class_is_said(folder):
    (folder / FILES[3]).unlink()
    with pytest.raises(DataError, match=r"no data_batch_4\.bin in this folder; put it beside"):
        data.load(str(folder))
    for name in FILES:
        (folder / name).write_bytes(bytes([3]) * cifar.RECORD)
    with pytest.raises(DataError, match="every label is cat"):
        data.load(str(folder))


def hundred(folder: Path, count: int = 100) -> np.ndarray:
    """Write CIFAR-100's two files, with random pixels, and return the training records."""
    made = np.random.default_rng(9).integers(0, 256, (count, cifar.RECORD_100), np.uint8)
    made[:, 0] = np.arange(count) // 5 % 20
    made[:, 1] = np.arange(count) % 100
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "train.bin").write_bytes(made.tobytes())
    (folder / "test.bin").write_bytes(made[::-1].tobytes())
    return made


@pytest.mark.parametrize(
    ("label", "at", "count"), [(None, 1, 100), ("fine_label", 1, 100), ("coarse_label", 0, 20)]
)
def test_cifar_100(tmp_path, label: str | None, at: int, count: int):
    written = hundred(tmp_path)
    (tmp_path / "fine_label_names.txt").write_text("".join(f"fine {i}\n" for i in range(100)))
    (tmp_path / "coarse_label_names.txt").write_text("".join(f"coarse {i}\n" for i in range(20)))
    dataset = data.load(str(tmp_path), 0, Options(label=label))
    assert (dataset.shape, len(dataset.classes)) == ((32, 32, 3), count)
    assert dataset.classes[7] == ("fine 7" if at else "coarse 7")
    assert dataset.train.labels.tolist() == written[:, at].tolist()
    assert dataset.test.labels.tolist() == written[::-1, at].tolist()
    assert np.array_equal(
        dataset.train.images, written[:, 2:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    )
    notes = cifar.read_100(tmp_path, Options(label=label)).notes
    assert notes == (
        ()
        if label
        else ("the labels are the 100 fine ones; for the 20 coarse ones: --label coarse_label",)
    )


def test_cifar_100_without_names_or_with_another_label(tmp_path):
    hundred(tmp_path)
    assert data.load(str(tmp_path)).classes == tuple(map(str, range(100)))
    with pytest.raises(
        DataError,
        match="no label grade in CIFAR-100; use --label coarse_label or --label fine_label",
    ):
        data.load(str(tmp_path), 0, Options(label="grade"))
    (tmp_path / "train.bin").write_bytes(bytes([20, 0]) + bytes(3072))
    with pytest.raises(
        DataError, match=r"train\.bin: sample 1: label 20 is not a whole number from 0 to 19"
    ):
        data.load(str(tmp_path), 0, Options(label="coarse_label"))


def test_a_small_file_that_unpacks_without_end_is_left_at_the_limit(folder, monkeypatch):
    monkeypatch.setattr(cifar, "BYTES", 200 * cifar.RECORD)
    (folder / FILES[1]).write_bytes(gzip.compress(bytes(10_000 * cifar.RECORD)))
    tracemalloc.start()
    with pytest.raises(
        DataError, match=r"data_batch_2\.bin: over the limit of 614,600 bytes for all files"
    ):
        data.load(str(folder))
    assert tracemalloc.get_traced_memory()[1] < 8 * 2**20
    tracemalloc.stop()


def test_the_limit_is_for_all_files_together(folder, monkeypatch):
    monkeypatch.setattr(cifar, "BYTES", 6 * 4 * cifar.RECORD)
    assert len(data.load(str(folder)).train) == 20
    monkeypatch.setattr(cifar, "BYTES", 6 * 4 * cifar.RECORD - 1)
    with pytest.raises(DataError, match=r"test_batch\.bin: over the limit"):
        data.load(str(folder))


def test_a_page_in_the_place_of_records(folder):
    (folder / FILES[0]).write_text("<html><body>404 Not Found</body></html>")
    with pytest.raises(
        DataError, match=r"data_batch_1\.bin: not CIFAR's records, but an HTML page; fetch it again"
    ):
        data.load(str(folder))


def test_the_pickles_are_refused_unread(tmp_path):
    for name in FILES:  # unpickling this opens a file
        (tmp_path / name.removesuffix(".bin")).write_text(
            f"cbuiltins\nopen\n(S'{tmp_path / 'run'}'\nS'w'\ntR."
        )
    with pytest.raises(
        DataError,
        match=r"a pickle, which can run any code.*binary version.*triptych data fetch cifar10",
    ) as error:
        data.load(str(tmp_path))
    assert "\n" not in str(error.value)
    assert not (tmp_path / "run").exists()


def test_by_name_it_is_what_was_fetched(folder, monkeypatch, tmp_path):
    monkeypatch.setenv("TRIPTYCH_DATA", str(tmp_path / "cache"))
    with pytest.raises(DataError, match="triptych data fetch cifar10"):
        data.load("cifar10")
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "cifar10").mkdir()
    for name in FILES:
        (folder / name).rename(tmp_path / "cache" / "cifar10" / name)
    assert data.load("cifar10").classes == cifar.CLASSES
