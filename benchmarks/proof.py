"""Contestants are proved equal before they are timed: in float64 by their weights, in float32 by the size of their rounding."""

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from itertools import islice
from typing import Any

import numpy as np

from triptych.bench.contestants import Row, remote_of
from triptych.core import state
from triptych.core.plan import Plan
from triptych.core.planner import BatchPlanner
from triptych.core.split import Split
from triptych.core.state import State
from triptych.errors import EngineError
from triptych.parity.divergence import BOUND, first_divergence
from triptych.parity.float32 import LARGEST_FACTOR, StepErrors, judge_float32
from triptych.process.client import RemoteEngine
from triptych.spec.layers import Dropout
from triptych.spec.network import Network
from triptych.spec.optimizers import Optimizer, optimizer
from triptych.spec.recipe import Recipe

from .contestants import attempt
from .peers import PEERS
from .progress import progress

STEPS = (
    3  # made one after the other in float64; and as many, each from the first weights, in float32
)
SAID = (
    f"float64 weights equal to {BOUND:g} after {STEPS} steps, nothing dropped; "
    f"float32 steps within {LARGEST_FACTOR:g} times NumPy's rounding"
)


@dataclass(frozen=True)
class Job:
    """What everyone trains, and on what."""

    network: Network
    recipe: Recipe
    split: Split

    def plans(self, steps: int) -> Iterator[Plan]:
        """Yield plans of so many steps, practically without end."""
        return BatchPlanner(
            self.network, replace(self.recipe, epochs=10**9), len(self.split), steps
        ).plans()


def build(row: Row, key: str, job: Job) -> RemoteEngine:
    """Let a contestant begin from the first weights, as the engine that its row holds from now on."""
    row.engine = remote_of(row).build(key, job.network, job.recipe)
    row.engine.load(state.initial(job.network, job.recipe))
    row.train = row.engine.upload(job.split)
    return row.engine


def prove(rows: list[Row], job: Job) -> None:
    """Let everyone who can make the same few steps; what differs in float64 is `failed`, the rest has a float32 `rounding`.

    The first row is the reference, and has to be able to compute by every formula. Nothing is dropped, because peers draw
    their own masks.

    Raises
    ------
    EngineError
        Where the reference itself cannot run.
    """
    truths: dict[str, _Truth] = {}

    def proof(row: Row) -> None:
        peer = PEERS.get(row.spec.key)
        if peer and not peer.proved:
            return
        progress(f"  proving {row.spec.key}", passing=True)
        like = peer.like if peer else "torch"
        kept = _kept(job, like)
        truths[like] = truths.get(like) or _Truth(rows[0], kept)
        _prove(row, kept, truths[like])

    attempt(rows, proof)


def _kept(job: Job, like: str) -> Job:
    """Return the job with nothing dropped and, where they are a framework's own, other formulas in its optimizer."""
    layers = tuple(
        replace(layer, rate=0.0) if isinstance(layer, Dropout) else layer
        for layer in job.network.layers
    )
    recipe = (
        job.recipe
        if like == "torch"
        else replace(job.recipe, optimizer=_as_keras(job.recipe.optimizer))
    )
    return replace(job, network=replace(job.network, layers=layers), recipe=recipe)


def _as_keras(own: Optimizer) -> Optimizer:
    """Return an optimizer with Keras's formulas, and with betas that float32 holds exactly: Keras takes them through it (D63)."""
    betas = {
        f.name: float(np.float32(getattr(own, f.name)))
        for f in fields(own)
        if f.name.startswith("beta")
    }
    return optimizer(own.name, own.rate, "keras", **betas)


class _Truth:
    """What the reference computes: its weights after some steps in float64, and the change of each of its first steps."""

    def __init__(self, row: Row, job: Job) -> None:
        self.reached = walked(row, job)
        self.changes = changes(row, job, "float64")
        self.own = self.errors(changes(row, job, "float32"))

    def errors(self, changes: list[np.ndarray]) -> list[float]:
        """Return ‖Δw - Δw₆₄‖/‖Δw₆₄‖ of each step."""
        return [
            float(np.linalg.norm(a - b) / np.linalg.norm(b))
            for a, b in zip(changes, self.changes, strict=True)
        ]


def _prove(row: Row, job: Job, truth: _Truth) -> None:
    if difference := first_divergence(truth.reached, walked(row, job), BOUND, "update"):
        raise EngineError(f"{row.spec.label} computes something else: {difference}")
    errors = truth.errors(changes(row, job, "float32"))
    row.rounding = judge_float32(map(StepErrors, errors, truth.own), proved=True)


def walked(row: Row, job: Job) -> State:
    """Return the weights after a few steps in float64, made as those that are timed: in one call, where an epoch has so many."""
    job = replace(job, recipe=replace(job.recipe, dtype="float64"))
    engine = build(row, "proof", job)
    plans = job.plans(STEPS)
    made = 0
    while made < STEPS:
        plan = next(plans)
        engine.run(row.train, plan)
        made += len(plan)
    reached = state.weights(engine.state())
    engine.drop()
    return reached


def changes(row: Row, job: Job, dtype: Any) -> list[np.ndarray]:
    """Return what each of a few steps, all from the same float32 weights, does to them, as one vector."""
    start = state.cast(state.initial(job.network, job.recipe), dtype)
    engine = build(row, "proof", replace(job, recipe=replace(job.recipe, dtype=dtype)))
    found: list[np.ndarray] = []
    for plan in islice(job.plans(1), STEPS):
        engine.load(start)
        engine.run(row.train, plan)
        after = state.weights(engine.state())
        if other := {str(array.dtype) for array in after.values()} - {dtype}:
            raise EngineError(
                f"{row.spec.label} computes in {other.pop()} where {dtype} is asked for"
            )
        found.append(
            np.concatenate(
                [
                    (after[name] - start[name].astype(np.float64)).ravel()
                    for name in state.weights(start)
                ]
            )
        )
    engine.drop()
    return found
