"""The second phase of a comparison: every row is proved equal to NumPy before it is timed.

In float64 every row makes the same steps as the *witness*, a NumPy engine in a worker of its own
that is never timed, and many steps in one call are compared with as many calls. In float32 single
steps of every row are judged.
"""

from collections.abc import Generator
from dataclasses import dataclass, replace
from typing import Any

from ..core import events, state
from ..core.events import Event
from ..core.plan import Plan
from ..core.planner import BatchPlanner
from ..core.selection import EngineSpec
from ..core.split import Split
from ..data.dataset import Dataset
from ..parity.divergence import BOUND
from ..parity.float32 import (
    LARGEST_FACTOR,
    STEPS,
    Rounding,
    StepErrors,
    judge_float32,
    step_errors,
)
from ..parity.lockstep import (
    Outcome,
    Tolerances,
    check_blocks_equal_single_steps,
    proof_plans,
    walk,
)
from ..process.client import Remote, RemoteEngine
from .contestants import Failure, RunningRow, Settings, attempt_events, remaining
from .starting import Started

PROOF_STEPS = 50


@dataclass(frozen=True)
class Proof:
    """What the proof of one row found.

    Attributes
    ----------
    lockstep : Outcome
        Of the float64 steps that were compared one by one.
    blocks : Outcome
        Of many steps in one call against as many calls.
    rounding : Rounding, optional
        The float32 verdict; None if the training itself is in float64, or only one row runs.
    """

    lockstep: Outcome
    blocks: Outcome
    rounding: Rounding | None = None


@dataclass(frozen=True)
class Standing:
    """Whether the times of a row may be compared.

    Attributes
    ----------
    spec : EngineSpec
        The row.
    proof : Proof, optional
        None if the row failed before.
    failure : str, optional
        Why the row takes no further part.
    same_start : bool
        Whether it began with the same weights as all others, to the bit.
    """

    spec: EngineSpec
    proof: Proof | None
    failure: str | None = None
    same_start: bool = True

    @property
    def unequal(self) -> str | None:
        """Why the row does not compute by the same formulas from the same weights, or None."""
        if self.failure:
            return self.failure
        if self.proof is None:
            return "not proved"
        lockstep = self.proof.lockstep
        if lockstep.divergence:
            return f"differs in float64 at step {lockstep.at + 1}: {lockstep.divergence}"
        blocks = self.proof.blocks
        if blocks.divergence:
            return f"K steps in one run are not K runs of one step: {blocks.divergence}"
        if not self.same_start:
            return "did not begin with the same weights"
        return None

    @property
    def unproved(self) -> str | None:
        """Why no ratio of the row's times is given, or None if it is proved equal."""
        return self.unequal or why_imprecise(self.proof.rounding if self.proof else None)

    @property
    def as_announced(self) -> bool:
        """Whether it is unproved only for a reduced precision that its backend announces."""
        if self.unequal or self.proof is None or self.proof.rounding is None:
            return False
        return self.proof.rounding.verdict == "precision" and self.spec.announces_precision

    def to_json(self) -> dict[str, Any]:
        """Return the entries of results.json on the proof of the row."""
        proof = self.proof
        return {
            "failed": self.failure,
            "proved": self.unproved is None,
            "unproved": self.unproved,
            "as_announced": self.as_announced,
            "float64": _outcome_to_json(proof.lockstep) if proof else None,
            "blocks": _outcome_to_json(proof.blocks) if proof else None,
            "float32": proof.rounding.to_json() if proof and proof.rounding else None,
        }


def why_imprecise(rounding: Rounding | None) -> str | None:
    """Return why float32 steps are not equal up to rounding, or None if they are or are unknown."""
    if rounding is None or rounding.verdict == "rounding":
        return None
    if rounding.verdict == "diverged":
        return (
            "follows a training that diverges: its float64 steps are not finite, "
            "so there is nothing to judge by"
        )
    reason = "follows another formula in float32"
    if rounding.verdict == "precision":
        reason = "computes in reduced precision"
    return (
        f"{reason}: {rounding.factor:.1f} times NumPy's own float32 error "
        f"(at most {LARGEST_FACTOR:g} is rounding)"
    )


def _outcome_to_json(outcome: Outcome) -> dict[str, Any]:
    divergence: dict[str, Any] | None = None
    if outcome.divergence:
        text = str(outcome.divergence)
        divergence = vars(outcome.divergence) | {"step": outcome.at + 1, "text": text}
    return {
        "steps": outcome.steps,
        "worst": outcome.worst,
        "largest": outcome.largest,
        "divergence": divergence,
    }


@dataclass(frozen=True)
class Proved:
    """The rows after the second phase.

    Attributes
    ----------
    proofs : dict of str to Proof
        By key, of the rows that did not fail.
    failures : dict of str to str
        By key, why a row takes no further part, since the beginning.
    """

    proofs: dict[str, Proof]
    failures: dict[str, str]


def prove(
    dataset: Dataset, settings: Settings, started: Started, witness: Remote
) -> Generator[Event, None, Proved]:
    """Prove every row that runs.

    Raises
    ------
    EngineError
        If the reference or the witness cannot go on.
    """
    proved = yield from _prove_float64(dataset.train, settings, started, witness)
    several = len(remaining(started.rows, proved.failures)) > 1
    if settings.recipe.dtype == "float32" and several:
        proved = yield from _judge_float32(dataset.train, settings, started, proved, witness)
    return proved


def _prove_float64(
    split: Split, settings: Settings, started: Started, witness: Remote
) -> Generator[Event, None, Proved]:
    network = settings.network
    recipe = replace(settings.recipe, dtype="float64", random="matched")
    planner = replace(started.pace.planner, recipe=recipe)
    reference = witness.build("reference", network, recipe)
    failures = dict(started.failures)
    rows = remaining(started.rows, failures)
    plans: list[Plan] = []
    if len(rows) > 1:  # without another row only the check of many steps at once is left
        plans = list(proof_plans(planner, PROOF_STEPS))

    proofs: dict[str, Proof] = {}
    for row in rows:
        if plans:
            yield events.ProofStarted(row.key, "float64")
        proof = yield from attempt_events(
            row.spec,
            _compare_with(reference, row, split, plans, planner),
            required=row.spec == settings.rows[0],
            witness=witness,
        )
        if isinstance(proof, Failure):
            failures[row.key] = proof.why
            continue
        proofs[row.key] = proof
        yield events.Float64Judged(
            row.key,
            Standing(row.spec, proof).unproved,
            walk=proof.lockstep.largest,
            blocks=proof.blocks.largest,
            bound=BOUND,
            steps=proof.lockstep.steps,
        )
    reference.drop()
    return Proved(proofs, failures)


def _compare_with(
    reference: RemoteEngine, row: RunningRow, split: Split, plans: list[Plan], planner: BatchPlanner
) -> Generator[Event, None, Proof]:
    """Compare a row with the witness step by step, then many of its steps with single ones."""
    weights = state.initial(planner.network, planner.recipe)
    tolerances = Tolerances.of(planner.network, planner.recipe)
    engine = row.remote.build("exact", planner.network, planner.recipe)
    lockstep = Outcome()
    steps = walk(reference, engine, split, plans, weights, tolerances, concurrently=True)
    for lockstep in steps:
        if plans:
            yield events.ProofStep(row.key, "float64", lockstep.steps, len(plans))
    yield events.BlockCheckStarted(row.key, planner.block_steps)
    blocks = check_blocks_equal_single_steps(engine, split, planner, weights)
    engine.drop()
    return Proof(lockstep, blocks)


def _judge_float32(
    split: Split, settings: Settings, started: Started, proved: Proved, witness: Remote
) -> Generator[Event, None, Proved]:
    network = settings.network
    recipe = replace(settings.recipe, random="matched")
    planner = replace(started.pace.planner, recipe=recipe)
    reference = witness.build("reference", network, recipe)
    exact = witness.build("exact", network, replace(recipe, dtype="float64"))
    # An engine that draws its own masks cannot be fed ours, so another engine is judged for it.
    substitute = settings.recipe.random == "free"

    failures = dict(proved.failures)
    proofs = dict(proved.proofs)
    for row in remaining(started.rows, failures):
        yield events.ProofStarted(row.key, "float32")
        errors = yield from attempt_events(
            row.spec,
            _step_errors(reference, exact, row, split, planner, substitute=substitute),
            required=row.spec == settings.rows[0],
            witness=witness,
        )
        if isinstance(errors, Failure):
            failures[row.key] = errors.why
            continue
        equal = Standing(row.spec, proofs[row.key]).unequal is None
        rounding = judge_float32(errors, proved=equal)
        proofs[row.key] = replace(proofs[row.key], rounding=rounding)
        yield events.Float32Judged(
            row.key,
            [step.row for step in errors],
            rounding.verdict,
            rounding.error,
            reference_error=rounding.reference_error,
            factor=rounding.factor,
        )
    reference.drop()
    exact.drop()
    return Proved(proofs, failures)


def _step_errors(
    reference: RemoteEngine,
    exact: RemoteEngine,
    row: RunningRow,
    split: Split,
    planner: BatchPlanner,
    *,
    substitute: bool,
) -> Generator[Event, None, list[StepErrors]]:
    engine = row.engine
    if substitute:
        engine = row.remote.build("matched", planner.network, planner.recipe)
    weights = state.initial(planner.network, planner.recipe)
    errors: list[StepErrors] = []
    for step in step_errors(reference, exact, engine, split, planner, weights):
        errors.append(step)
        yield events.ProofStep(row.key, "float32", len(errors), STEPS)
    if substitute:
        engine.drop()
    return errors
