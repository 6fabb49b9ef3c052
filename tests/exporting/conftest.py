"""Exports that are run in this process."""

import pytest
from support import exporting, npm

from triptych.exporting import verification
from triptych.exporting.web_runtime import PACKAGE, VERSION, WebRuntime


@pytest.fixture
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run exported models in this process, whose frameworks are imported once for all tests."""
    monkeypatch.setattr(verification, "run_exported", exporting.run_in_this_process)


@pytest.fixture(scope="session")
def web_runtime(tmp_path_factory: pytest.TempPathFactory) -> WebRuntime:
    """Return the runtime of the browser, which npm installs."""
    folder = npm.install(f"{PACKAGE}@{VERSION}", tmp_path_factory.mktemp("npm"))
    return WebRuntime.find(folder, folder)
