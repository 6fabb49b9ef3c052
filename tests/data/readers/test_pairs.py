"""Folders with a training and a test file."""

import numpy as np
import pytest
from support.csv_files import PIXELS, csv_text, expected, pairs

from triptych.data import loading as data
from triptych.errors import DataError


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


@pytest.mark.parametrize("litter", ["desktop.ini", "Thumbs.db", ".DS_Store", "__MACOSX/._data.csv"])
def test_files_that_a_system_leaves_are_no_data(tmp_path, sample, litter: str):
    x, y = sample
    (tmp_path / "data.csv").write_text(csv_text(x, y, ["label", *PIXELS]))
    (tmp_path / litter).parent.mkdir(exist_ok=True)
    (tmp_path / litter).write_text("of a system")
    assert pairs(data.load(str(tmp_path))) == expected(x, y)
