"""The misclassified images that a comparison leaves, and the report shows."""

import re

import numpy as np
import pytest
from support import made

from triptych.core.split import Split
from triptych.errors import TriptychError
from triptych.report import page
from triptych.training import misclassified


@pytest.fixture
def test_split() -> Split:
    """100 images of 6×6 with random pixels, in five classes."""
    rng = np.random.default_rng(0)
    return Split(
        rng.integers(0, 256, (100, 6, 6, 1)).astype(np.uint8),
        rng.integers(0, 5, 100).astype(np.int32),
    )


def wrong_at(split: Split, **places: list[int]) -> dict[str, np.ndarray]:
    """Predictions of rows that are right but at some places, where they say the next class."""
    predicted = {}
    for row, at in places.items():
        predicted[row] = split.labels.copy()
        predicted[row][at] = (predicted[row][at] + 1) % 5
    return predicted


def test_the_images_are_those_that_any_row_gets_wrong_and_disagreements_come_first(test_split):
    chosen = misclassified.find(
        test_split, wrong_at(test_split, numpy=[3, 50, 70], torch=[3, 60, 70])
    )
    assert chosen.index.tolist() == [50, 60, 3, 70]
    assert chosen.wrong == 4
    assert np.array_equal(chosen.images, test_split.images[[50, 60, 3, 70]])
    assert chosen.labels.tolist() == test_split.labels[[50, 60, 3, 70]].tolist()
    assert (chosen.predictions["numpy"] == chosen.labels).tolist() == [False, True, False, False]
    assert (chosen.predictions["torch"] == chosen.labels).tolist() == [True, False, False, False]


def test_of_many_mistakes_the_first_are_kept_and_all_are_counted(test_split):
    chosen = misclassified.find(
        test_split, wrong_at(test_split, numpy=list(range(90)), torch=list(range(89)))
    )
    assert chosen.index.tolist() == [89, *range(misclassified.MOST_IMAGES - 1)]
    assert chosen.wrong == 90


def test_a_file_is_read_as_it_was_written(test_split, tmp_path):
    predictions = wrong_at(test_split, numpy=[1, 2], torch=[2])
    misclassified.save(tmp_path / misclassified.FILE, test_split, predictions)
    chosen, expected = (
        misclassified.load(tmp_path / misclassified.FILE),
        misclassified.find(test_split, predictions),
    )
    assert chosen
    assert chosen.wrong == expected.wrong
    assert list(chosen.predictions) == ["numpy", "torch"]
    for name in ("images", "index", "labels"):
        assert np.array_equal(getattr(chosen, name), getattr(expected, name))
    for row, values in expected.predictions.items():
        assert np.array_equal(chosen.predictions[row], values)


def test_without_mistakes_the_file_says_so(test_split, tmp_path):
    misclassified.save(
        tmp_path / misclassified.FILE, test_split, wrong_at(test_split, numpy=[], torch=[])
    )
    chosen = misclassified.load(tmp_path / misclassified.FILE)
    assert chosen
    assert (chosen.wrong, len(chosen.images)) == (0, 0)


def test_rows_of_a_table_are_no_pictures(tmp_path):
    split = Split(np.zeros((5, 1, 1, 4), np.float32), np.zeros(5, np.int32))
    misclassified.save(tmp_path / misclassified.FILE, split, {"numpy": np.ones(5, np.int32)})
    assert misclassified.load(tmp_path / misclassified.FILE) is None


def test_large_images_are_thinned_and_floats_become_bytes():
    images = np.linspace(-1, 3, 2 * 200 * 100 * 3).reshape(2, 200, 100, 3).astype(np.float32)
    chosen = misclassified.find(
        Split(images, np.array([0, 1], np.int32)), {"numpy": np.array([1, 0], np.int32)}
    )
    assert chosen.images.shape == (2, 50, 25, 3)
    assert chosen.images.dtype == np.uint8
    assert chosen.images.min() == 0
    assert chosen.images.max() >= 250


@pytest.mark.parametrize("damage", ["cut", "flipped header", "empty"])
def test_a_damaged_file_is_refused_in_words(test_split, tmp_path, damage: str):
    path = tmp_path / misclassified.FILE
    misclassified.save(path, test_split, wrong_at(test_split, numpy=[1]))
    whole = path.read_bytes()
    path.write_bytes(
        {"cut": whole[:-10], "flipped header": whole[:20] + b"\xff" + whole[21:], "empty": b""}[
            damage
        ]
    )
    with pytest.raises(TriptychError, match="damaged"):
        misclassified.load(path)


@pytest.fixture
def results(tmp_path, monkeypatch):
    monkeypatch.setenv("TRIPTYCH_DATA", str(tmp_path / "no-data"))
    return made.results(
        {
            name: made.row(name, backend)
            for name, backend in (("numpy", "eager"), ("torch", "eager"))
        }
    )


def test_the_report_shows_each_image_and_frames_those_that_rows_see_differently(
    results, test_split, tmp_path
):
    folder = made.folder(tmp_path, results)
    misclassified.save(
        folder / misclassified.FILE,
        test_split,
        wrong_at(test_split, numpy=[3, 50, 70], torch=[3, 60, 70]),
    )
    text = page.write(folder).read_text(encoding="utf-8")
    assert "4 of 180 test images are classified wrongly by at least one row." in text
    assert re.findall(r'<figure class="(mistake[^"]*)"><img alt="test image (\d+)"', text) == [
        ("mistake differs", "50"),
        ("mistake differs", "60"),
        ("mistake", "3"),
        ("mistake", "70"),
    ]
    caption = re.search(r'alt="test image 50".*?</figcaption>', text, re.DOTALL)
    assert caption
    true = int(test_split.labels[50])
    assert f"true: {true}" in caption.group()
    assert f'title="NumPy">NumPy</span>: {(true + 1) % 5}' in caption.group()
    assert f'title="PyTorch">PyTorch</span>: {true}' in caption.group()


def test_a_run_without_the_file_has_a_report_without_images(results, tmp_path):
    folder = made.folder(tmp_path, results)
    assert "Misclassified" not in page.write(folder).read_text(encoding="utf-8")


def test_a_damaged_file_is_named_by_the_report(results, tmp_path):
    folder = made.folder(tmp_path, results)
    (folder / misclassified.FILE).write_bytes(b"nothing")
    with pytest.raises(
        TriptychError,
        match=f"{misclassified.FILE}: not misclassified images that triptych wrote, or damaged",
    ):
        page.write(folder)


def test_labels_that_are_no_classes_of_the_run_are_not_shown(results, tmp_path):
    folder = made.folder(tmp_path, results)
    split = Split(np.zeros((2, 6, 6, 1), np.uint8), np.array([0, 12], np.int32))
    misclassified.save(folder / misclassified.FILE, split, {"numpy": np.array([1, 1], np.int32)})
    assert "Misclassified" not in page.write(folder).read_text(encoding="utf-8")
