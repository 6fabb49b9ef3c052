"""Exports that are run in this process."""

from pathlib import Path

import pytest
from support import exporting

from triptych.exporting import verification
from triptych.exporting.web_runtime import WebRuntime


@pytest.fixture
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run exported models in this process, whose frameworks are imported once for all tests."""
    monkeypatch.setattr(verification, "run_exported", exporting.run_in_this_process)


@pytest.fixture(scope="session")
def web_runtime(npm_folder: Path) -> WebRuntime:
    """Return the runtime of the browser, which npm installs."""
    return WebRuntime.find(npm_folder, npm_folder)
