"""Miniatures, so that no test waits: of our engines only NumPy, few images, small batches.

No test depends on how fast anything is.
"""

import pytest

from triptych.core.selection import EngineSpec


@pytest.fixture
def numpy_alone(monkeypatch):
    """Of ours only NumPy takes part, and no round is thrown away on a busy machine."""
    monkeypatch.setattr(
        "benchmarks.contestants.ours", lambda all_backends=False: [EngineSpec("numpy", "eager")]
    )
    monkeypatch.setattr("benchmarks.memory.ours", lambda: [EngineSpec("numpy", "eager")])
    monkeypatch.setattr("triptych.bench.rounds.LARGEST_DISTURBANCE", 100.0)
