"""Keras and its adapter, imported when a test needs them."""

from typing import Any

import pytest


@pytest.fixture(scope="session")
def keras() -> Any:
    return pytest.importorskip("keras")


@pytest.fixture(scope="session")
def adapter(keras: Any) -> Any:
    from triptych.doctor.frameworks.keras import adapter

    return adapter
