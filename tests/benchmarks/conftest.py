"""Miniatures, so that no test waits: NumPy alone of ours, few images, small batches. Nothing here depends on how fast anything is."""

import pytest

from triptych.bench.contestants import Spec


@pytest.fixture
def numpy_alone(monkeypatch):
    """Of ours only NumPy takes part, and no round is thrown away on a busy machine."""
    monkeypatch.setattr(
        "benchmarks.contestants.ours", lambda all_backends=False: [Spec("numpy", "eager")]
    )
    monkeypatch.setattr("benchmarks.memory.ours", lambda: [Spec("numpy", "eager")])
    monkeypatch.setattr("triptych.bench.contestants.DISTURBED", 100.0)
