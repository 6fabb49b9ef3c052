"""Exports that are run in this process."""

import pytest
from support import exporting

from triptych.exporting import verification


@pytest.fixture
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run exported models in this process, whose frameworks are imported once for all tests."""
    monkeypatch.setattr(verification, "run_exported", exporting.run_in_this_process)
