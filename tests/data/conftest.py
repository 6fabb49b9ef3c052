"""A cache of its own for every test, and a folder of images."""

from pathlib import Path

import pytest
from support.pictures import encoded, fill


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("TRIPTYCH_DATA", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def root(tmp_path, monkeypatch) -> Path:
    """A folder that is to be made, by a short path: a message leaves the middle out if it is over
    300 characters.
    """
    monkeypatch.chdir(tmp_path)
    return Path("pictures")


@pytest.fixture
def pictures(root) -> Path:
    """root/train and root/test, two classes of two images each."""
    for split in ("train", "test"):
        for name in ("bird", "ape"):
            fill(root / split / name, encoded(), 2)
    return root
