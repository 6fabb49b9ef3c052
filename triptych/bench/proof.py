"""The proof inside a comparison: float64 in lockstep with the witness, K steps at once, and the float32 verdict."""

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ..core import state
from ..parity import lockstep
from ..parity.divergence import BOUND
from ..parity.float32 import STEPS, StepErrors, judge_float32, step_errors
from .contestants import Row, engine_of, remote_of

if TYPE_CHECKING:
    from .comparison import Comparison

PROOF_STEPS = 50


def float64(comparison: "Comparison") -> Iterator[dict[str, Any]]:
    """Walk every row beside the witness, and check that K steps at once are K single steps."""
    recipe = replace(comparison.settings.recipe, dtype="float64", random="matched")
    start = state.initial(comparison.settings.network, recipe)
    schedule = replace(comparison.schedule, recipe=recipe)
    reference = comparison.witness.build("reference", comparison.settings.network, recipe)
    steps, tolerances = (
        list(lockstep.proof_plans(schedule, PROOF_STEPS)),
        lockstep.Tolerances.of(comparison.settings.network, recipe),
    )
    if len(comparison.live) < 2:
        steps = []  # there is nothing to compare NumPy with; what is left is the check of K steps

    def prove(row: Row) -> Iterator[dict[str, Any]]:
        engine = remote_of(row).build("exact", comparison.settings.network, recipe)
        for row.walked in lockstep.walk(
            reference, engine, comparison.dataset.train, steps, start, tolerances
        ):
            if steps:
                yield _progress(row, "float64", row.walked.steps, len(steps))
        yield {"type": "checking", "row": row.spec.key, "steps": schedule.block_steps}
        row.blocked = lockstep.check_blocks_equal_single_steps(
            engine, comparison.dataset.train, schedule, start
        )
        engine.drop()

    for row in comparison.live:
        if steps:
            yield {"type": "proving", "row": row.spec.key, "what": "float64"}
        yield from comparison.attempt_events(row, prove(row))
        if row.walked and row.blocked:
            figure = {
                "walk": row.walked.largest,
                "blocks": row.blocked.largest,
                "bound": BOUND,
                "steps": row.walked.steps,
            }
            yield {"type": "float64", "row": row.spec.key, "unproved": row.unproved} | figure
    reference.drop()


def float32(comparison: "Comparison") -> Iterator[dict[str, Any]]:
    """Judge one float32 step of every row at a time, from the witness's own states."""
    recipe = replace(comparison.settings.recipe, random="matched")
    reference = comparison.witness.build("reference", comparison.settings.network, recipe)
    exact = comparison.witness.build(
        "exact", comparison.settings.network, replace(recipe, dtype="float64")
    )
    start = state.initial(comparison.settings.network, recipe)
    errors: dict[str, list[StepErrors]] = {}
    schedule = replace(comparison.schedule, recipe=recipe)
    free = (
        comparison.settings.recipe.random == "free"
    )  # then a second engine, fed its masks, stands for the one that is timed

    def judge_row(row: Row) -> Iterator[dict[str, Any]]:
        engine = (
            remote_of(row).build("matched", comparison.settings.network, recipe)
            if free
            else engine_of(row)
        )
        errors[row.spec.key] = []
        for step in step_errors(
            reference, exact, engine, comparison.dataset.train, schedule, start
        ):
            errors[row.spec.key].append(step)
            yield _progress(row, "float32", len(errors[row.spec.key]), STEPS)
        if free:
            engine.drop()

    for row in comparison.live:
        yield {"type": "proving", "row": row.spec.key, "what": "float32"}
        yield from comparison.attempt_events(row, judge_row(row))
        if not row.failed:
            proved = row.unproved is None
            steps = errors[row.spec.key]
            row.rounding = judge_float32(steps, proved=proved)
            figures = {"errors": [step.row for step in steps]} | row.rounding.to_json()
            yield {"type": "float32", "row": row.spec.key} | figures
    reference.drop()
    exact.drop()


def _progress(row: Row, what: str, done: int, steps: int) -> dict[str, Any]:
    """Return the event that says how many of the proof's steps are done."""
    return {"type": "walking", "row": row.spec.key, "what": what, "done": done, "steps": steps}
