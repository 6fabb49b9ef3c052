"""Every test's models start from the same weights, whichever tests ran before it."""

import sys

import pytest


@pytest.fixture(autouse=True)
def _seeded() -> None:
    """Seed the frameworks that are imported."""
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(0)
    if "keras" in sys.modules:
        sys.modules["keras"].utils.set_random_seed(0)
