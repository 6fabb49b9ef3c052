"""The table of formats: a package outside adds one, and help and documentation follow the table."""

from dataclasses import replace
from pathlib import Path
from tokenize import TokenError

import numpy as np
import pytest
from support.commands import ROOT

from triptych import plugins
from triptych.core.split import Split
from triptych.data import registry
from triptych.data.loading import load
from triptych.data.reading import Contents, Options, Progress
from triptych.errors import DataError


def read_dots(path: Path, options: Options, progress: Progress | None) -> Contents:
    """Read a made-up format: each line is a label and two rows of dots and hashes."""
    lines = [line.split() for line in path.read_text().splitlines()]
    labels = np.array([int(label) for label, *_ in lines], np.int32)
    rows = [[[255 * (mark == "#") for mark in row] for row in rows] for _, *rows in lines]
    images = np.array(rows, np.uint8)[..., None]
    return Contents(Split(images, labels), classes=("low", "high"))


DOTS = registry.Format(name="dots", read=read_dots, help="dots and hashes", suffixes=(".dots",))


@pytest.fixture
def dots():
    before = plugins.contents()
    registry.register_format(DOTS)
    yield
    plugins.restore(before)


def test_a_registered_format_is_read(tmp_path, dots):
    path = tmp_path / "few.dots"
    path.write_text("0 .. ##\n1 ## ..\n" * 10)
    dataset = load(str(path))
    assert dataset.shape == (2, 2, 1)
    assert dataset.classes == ("low", "high")
    assert len(dataset.train) == 18
    assert ".dots" in registry.sources_help()


def test_without_the_format_its_file_is_refused(tmp_path):
    path = tmp_path / "few.dots"
    path.write_text("0 .. ##\n")
    with pytest.raises(DataError, match="unknown kind of file"):
        load(str(path))


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (KeyError("row"), "row"),
        (TokenError("EOF in multi-line statement", (2, 0)), "EOF in multi-line statement"),
        (IndexError(), "IndexError"),
    ],
)
def test_any_mistake_of_a_reader_is_one_line_that_names_the_file(
    tmp_path, monkeypatch, error: Exception, cause: str
):
    def stumble(path, options, progress):
        raise error

    monkeypatch.setattr(registry, "_FORMATS", [replace(DOTS, read=stumble)])
    path = tmp_path / "few.dots"
    path.write_text("0 .. ##\n")
    with pytest.raises(DataError) as raised:
        load(str(path))
    assert str(raised.value) == f"{path}: damaged, or not what it seems ({cause})"


def test_names_and_suffixes_are_registered_once(dots):
    with pytest.raises(DataError, match="already a format 'dots'"):
        registry.register_format(DOTS)
    other = registry.Format(name="other", read=read_dots, help="", suffixes=(".csv",))
    with pytest.raises(DataError, match=r"\.csv is already a suffix of the format 'CSV'"):
        registry.register_format(other)


def test_the_documentation_shows_the_table():
    assert registry.markdown_table() in (ROOT / "docs" / "data.md").read_text()


@pytest.mark.parametrize("known", registry.formats(), ids=lambda known: known.name)
def test_every_format_can_be_imported(known: registry.Format, tmp_path):
    if known.is_in_folder is not None:
        assert not known.is_in_folder(tmp_path)
    with pytest.raises((DataError, OSError, IndexError)):
        known.read(tmp_path / "nothing", Options(), None)
