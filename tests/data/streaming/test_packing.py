"""A streamed data set in another process: the same splits from the same files."""

import json

import numpy as np
import pytest
from support.streams import drawings, parquet, streamed, write_raw

from triptych.data.streaming.packing import pack_stream, unpack_stream
from triptych.errors import DataError


def test_the_same_splits_without_another_look(tmp_path, monkeypatch):
    write_raw(tmp_path / "one.parquet", *drawings(60))
    monkeypatch.chdir(tmp_path)
    dataset = streamed("one.parquet")
    packed, arrays = pack_stream(dataset.train, dataset.test)
    monkeypatch.setattr("triptych.data.streaming.loading.scan", pytest.fail)
    train, test = unpack_stream(json.loads(json.dumps(packed)), arrays)
    for mine, its in ((dataset.train, train), (dataset.test, test)):
        assert its.digest == mine.digest
        assert its.order == mine.order
        assert np.array_equal(its.images, mine.images)
    assert sum(array.nbytes for array in arrays.values()) < dataset.train.images.nbytes


def test_other_files_are_refused(tmp_path):
    source = parquet(tmp_path / "set")
    dataset = streamed(source)
    packed, arrays = pack_stream(dataset.train, dataset.test)
    write_raw(source / "test.parquet", *drawings(50, 2))
    with pytest.raises(DataError, match="not the same files as where the data was loaded"):
        unpack_stream(packed, arrays)
    with pytest.raises(DataError, match="not here; streamed data must be there on every node"):
        unpack_stream(packed | {"path": str(tmp_path / "nowhere.parquet")}, arrays)
