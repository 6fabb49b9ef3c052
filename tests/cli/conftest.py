"""A process that runs commands, for the tests that run many."""

from collections.abc import Iterator

import pytest
from support.damage import Driver


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Driver]:
    """Return a process in which the tests of a file run their commands."""
    with Driver(tmp_path_factory.mktemp("driver")) as started:
        yield started
