"""One row of a comparison: an engine with a backend, its worker, and what was found out about it."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..core import registry
from ..core.selection import EngineSpec
from ..parity.float32 import Rounding
from ..parity.lockstep import Outcome
from ..process.client import Remote, RemoteEngine
from . import rounds
from .rounds import Block


@dataclass
class Row:
    """A row in the making. `failed` says why it is out of the comparison; `unproved` why its ratios are withheld."""

    spec: EngineSpec
    remote: Remote | None = None
    engine: RemoteEngine | None = None
    train: str = ""
    test: str = ""
    failed: str | None = None
    same_start: bool = True
    timing: dict[str, float] = field(default_factory=dict[str, float])
    walked: Outcome | None = None
    blocked: Outcome | None = None
    rounding: Rounding | None = None
    warmups: list[Block] = field(default_factory=list[Block])
    blocks: list[Block] = field(default_factory=list[Block])
    losses: list[float] = field(default_factory=list[float])
    predictions: np.ndarray | None = None
    peak_bytes: int | None = None
    blas: list[str] = field(default_factory=list[str])

    @property
    def unequal(self) -> str | None:
        """Why it cannot be said that it computes by the same formulas from the same weights, whatever its precision."""
        if self.failed:
            return self.failed
        if not self.walked or not self.blocked:
            return "not proved"
        if self.walked.divergence:
            return f"differs in float64 at step {self.walked.at + 1}: {self.walked.divergence}"
        if self.blocked.divergence:
            return f"K steps in one run are not K runs of one step: {self.blocked.divergence}"
        if not self.same_start:
            return "did not begin with the same weights"
        return None

    @property
    def unproved(self) -> str | None:
        if self.unequal:
            return self.unequal
        if self.rounding and self.rounding.verdict == "diverged":
            return "follows a training that diverges: its float64 steps are not finite, so there is nothing to judge by"
        if self.rounding and self.rounding.verdict != "rounding":
            what = (
                "computes in reduced precision"
                if self.rounding.verdict == "precision"
                else "follows another formula in float32"
            )
            return f"{what}: {self.rounding.factor:.1f} times NumPy's own float32 error (at most 4 is rounding)"
        return None

    @property
    def as_announced(self) -> bool:
        """Whether it is unproved for its precision alone, and its backend never promised more."""
        imprecise = (
            not self.unequal and self.rounding is not None and self.rounding.verdict == "precision"
        )
        return imprecise and self.spec.backend in registry.entry(self.spec.engine).reduced

    def to_json(self) -> dict[str, Any]:
        """Return everything but the statistics over rounds, which need the other rows."""
        entry = registry.entry(self.spec.engine)
        return {
            "engine": self.spec.engine,
            "backend": self.spec.backend,
            "label": self.spec.label,
            "mode": entry.backends[self.spec.backend],
            "argued": entry.argued,
            "device": self.engine.device if self.engine else None,
            "failed": self.failed,
            "proved": self.unproved is None,
            "unproved": self.unproved,
            "as_announced": self.as_announced,
            "float64": _outcome(self.walked),
            "blocks": _outcome(self.blocked),
            "float32": self.rounding.to_json() if self.rounding else None,
            "seconds": self.timing,
            "peak_bytes": self.peak_bytes,
            "blas": self.blas,
        }


def described(row: Row) -> str:
    """Return why a row failed, with its name in front unless the reason begins with it."""
    why = row.failed or ""
    return why if why.startswith(row.spec.label) else f"{row.spec.label}: {why}"


def _outcome(outcome: Outcome | None) -> dict[str, Any] | None:
    if outcome is None:
        return None
    divergence = (
        None
        if outcome.divergence is None
        else vars(outcome.divergence) | {"step": outcome.at + 1, "text": str(outcome.divergence)}
    )
    return {
        "steps": outcome.steps,
        "worst": outcome.worst,
        "largest": outcome.largest,
        "divergence": divergence,
    }


def valid_rounds(rows: list[Row]) -> set[int]:
    """Return the rounds in which every row was timed and none was disturbed by another one."""
    return rounds.valid_rounds({row.spec.key: row.blocks for row in rows})


def engine_of(row: Row) -> RemoteEngine:
    """Return the engine of a row that has one."""
    assert row.engine
    return row.engine


def remote_of(row: Row) -> Remote:
    """Return the worker of a row that has one."""
    assert row.remote
    return row.remote
