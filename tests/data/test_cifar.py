"""CIFAR-10's binary version: read as it is written down, refused where it is not that, and never from a pickle."""

import gzip

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from triptych import data
from triptych.data import cifar
from triptych.errors import DataError

FILES = (*cifar.TRAIN, *cifar.TEST)


def records(count: int, seed: int) -> np.ndarray:
    """Random records, uint8 of shape (count, 3073), with labels 0, 1, 2 …"""
    found = np.random.default_rng(seed).integers(0, 256, (count, cifar.RECORD), np.uint8)
    found[:, 0] = np.arange(count) % 10
    return found


@pytest.fixture
def folder(tmp_path):
    for i, name in enumerate(FILES):
        (tmp_path / name).write_bytes(records(4, i).tobytes())
    return tmp_path


def test_planes_become_channels(folder):
    found = data.load(str(folder))
    assert found.shape == (32, 32, 3)
    assert found.classes[:2] == ("airplane", "automobile")
    assert (len(found.train), len(found.test)) == (20, 4)
    for i, n in ((0, 0), (4, 3)):
        record, image = records(4, i)[n], found.train.images[4 * i + n]
        for row, column, channel in ((0, 0, 0), (31, 0, 1), (5, 17, 2), (31, 31, 2)):
            assert image[row, column, channel] == record[1 + 1024 * channel + 32 * row + column]
    assert found.train.labels.tolist() == [0, 1, 2, 3] * 5
    assert found.train.images.flags.c_contiguous


@given(st.lists(st.integers(0, 12), min_size=1, max_size=3), st.integers(-3, 3), st.booleans())
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_whole_records_are_read_and_nothing_else(folder, labels: list[int], extra: int, zipped: bool):
    content = b"".join(bytes([label]) + bytes([label]) * 3072 for label in labels)
    content = content[: len(content) + extra] if extra < 0 else content + b"\0" * extra
    (folder / FILES[2]).write_bytes(gzip.compress(content) if zipped else content)
    if extra == 0 and max(labels) <= 9:
        found = data.load(str(folder)).train
        assert found.labels[8 : 8 + len(labels)].tolist() == labels
        assert (found.images[8 : 8 + len(labels)] == np.array(labels)[:, None, None, None]).all()
    else:
        with pytest.raises(DataError, match=FILES[2]) as error:
            data.load(str(folder))
        assert ("truncated" if extra else f"label {next(n for n in labels if n > 9)} is not a whole number from 0 to 9") in str(error.value)


@given(st.binary(max_size=4000))
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_no_bytes_whatever_bring_a_traceback(folder, junk: bytes):
    (folder / FILES[5]).write_bytes(junk)
    if len(junk) == cifar.RECORD and junk[0] < 10:
        assert len(data.load(str(folder)).test) == 1
    else:
        with pytest.raises(DataError, match=FILES[5]):
            data.load(str(folder))


def test_what_is_missing_or_of_one_class_is_said(folder):
    (folder / FILES[3]).unlink()
    with pytest.raises(DataError, match=r"no data_batch_4\.bin in this folder"):
        data.load(str(folder))
    for name in FILES:
        (folder / name).write_bytes(bytes([3]) * cifar.RECORD)
    with pytest.raises(DataError, match="every label is cat"):
        data.load(str(folder))


def test_the_pickles_are_refused_unread(tmp_path):
    for name in FILES:  # whoever unpickles this opens a file
        (tmp_path / name.removesuffix(".bin")).write_text(f"cbuiltins\nopen\n(S'{tmp_path / 'run'}'\nS'w'\ntR.")
    with pytest.raises(DataError, match=r"a pickle, which can run any code.*binary version.*triptych data fetch cifar10") as error:
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
