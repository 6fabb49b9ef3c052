"""The training run, timed in rounds: every row the same steps, in rotated order, each alone."""

import time
from collections.abc import Generator, Iterator
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from ..core import metrics
from ..core.plan import Plan
from ..core.planner import BatchPlanner, Span
from ..parity import float32
from ..process import machine
from ..process.client import RemoteEngine
from . import load
from .contestants import Row, engine_of, remote_of, valid_rounds
from .rounds import IDLE_SECONDS, MOST_ROUNDS, ROUNDS, Block

if TYPE_CHECKING:
    from .comparison import Comparison

Event = dict[str, Any]

PATIENCE_SECONDS = 60.0  # how long a comparison waits for a busy machine, by default
WHOLE = 0.8  # of a block's steps: what is shorter is not timed
EVALUATIONS = 20


def train(comparison: "Comparison") -> Iterator[Event]:
    """Train and time every row; then time on until there are rounds enough."""
    recipe, network = comparison.settings.recipe, comparison.settings.network

    def begin(row: Row) -> None:
        engine_of(row).load(comparison.start)
        begun = engine_of(row).state()
        row.same_start = all(
            np.array_equal(begun[name], array) for name, array in comparison.start.items()
        )

    yield from comparison.each(begin)
    yield {
        "type": "start",
        "same": all(row.same_start for row in comparison.live),
        "parameters": network.parameter_count,
    }
    # Twins show what one unit in the last place does. Where each engine draws its own masks there is nothing to show.
    nudged = (
        float32.perturbed_starts(comparison.start, recipe.seed)
        if recipe.random == "matched"
        else []
    )
    twins = [comparison.witness.build(f"twin{i}", network, recipe) for i in range(len(nudged))]
    for twin, weights in zip(twins, nudged, strict=True):
        twin.upload(comparison.dataset.train)
        twin.load(weights)
    yield from comparison.each(lambda row: remote_of(row).ask("reset_memory"))
    groups = list(comparison.schedule.groups(comparison.piece_steps))
    every, seen, done = max(1, len(groups) // EVALUATIONS), set[tuple[int, int]](), 0
    yield from _evaluate(comparison, 0, twins)
    for number, spans in enumerate(groups):
        plans = yield from _round(comparison, number, comparison.schedule, spans, done, seen)
        done += sum(map(len, plans))
        for twin in twins:
            twin.run_all(comparison.dataset.train.digest, plans)
            twin.wait()
        if number % every == every - 1 or number == len(groups) - 1:
            yield from _evaluate(comparison, done, twins)
    yield from comparison.each(partial(_take, comparison))
    for twin in twins:
        twin.drop()
    # The same K as in the run, because that is the K that was proved.
    endless = replace(
        comparison.schedule,
        block=comparison.schedule.block_steps,
        recipe=replace(recipe, epochs=10**9),
    )
    for number, spans in enumerate(endless.groups(comparison.block_steps), len(groups)):
        if len(comparison.calm_rounds) >= ROUNDS or number >= len(groups) + MOST_ROUNDS:
            break
        enough = len(valid_rounds(comparison.live)) >= ROUNDS
        if enough and not (yield from _calm(comparison, number - 1)):
            break
        yield from _round(comparison, number, endless, spans, done, seen, training=False)


def _calm(comparison: "Comparison", last: int) -> Generator[Event, None, bool]:
    """Wait until the machine is calm, and return whether it is.

    The comparison has enough rounds already, but too few of them were calm. Without a second row
    there is no ratio that a busy machine could make wrong, so there is nothing to wait for.

    Parameters
    ----------
    comparison : Comparison
        Its `patience` is the time left for waiting, in seconds; what is waited is subtracted.
    last : int
        The round before. If it was calm, nothing is waited for.

    Yields
    ------
    dict
        ``waiting``, once a second.
    """
    if len(comparison.live) < 2:
        return False
    if last in comparison.calm_rounds:
        return True
    pids = [comparison.witness.pid, *(remote_of(row).pid for row in comparison.live)]
    others: float | None = None
    while comparison.patience > 0:
        yield {"type": "waiting", "others": others, "seconds": comparison.patience}
        before = time.perf_counter()
        others = load.others_now(min(load.SECONDS_OF_A_LOOK, comparison.patience), pids)
        comparison.patience -= time.perf_counter() - before
        if others <= load.BUSY:
            return True
    return False


def _take(comparison: "Comparison", row: Row) -> None:
    """Keep what the training came to, before the timing goes on."""
    comparison.states[row.spec.key] = engine_of(row).state()
    row.predictions = metrics.predictions(engine_of(row).logits(row.test))
    answer, _ = remote_of(row).ask("memory")
    row.peak_bytes, row.blas = answer["peak_bytes"], answer["blas"]


def _round(
    comparison: "Comparison",
    number: int,
    schedule: BatchPlanner,
    spans: list[Span],
    done: int,
    seen: set[tuple[int, int]],
    *,
    training: bool = True,
) -> Generator[Event, None, list[Plan]]:
    """Let every row make the same steps, in rotated order, each alone."""
    before = time.perf_counter()
    plans = [schedule.plan(*span) for span in spans]
    steps = sum(map(len, plans))
    comparison.drawing.append((time.perf_counter() - before) / steps)
    shapes = {(k, batch) for _, k, batch in spans}
    warm = not shapes <= seen
    seen |= shapes
    live = comparison.live
    turn = number % len(live)
    watch = load.Watch([comparison.witness.pid, *(remote_of(row).pid for row in live)])
    for row in live[turn:] + live[:turn]:
        time.sleep(IDLE_SECONDS)
        others = [
            comparison.witness.pid,
            *(remote_of(other).pid for other in comparison.live if other is not row),
        ]
        used = sum(map(machine.cpu_seconds, others))
        failures = list(
            comparison.attempt(row, lambda row=row: engine_of(row).run_all(row.train, plans))
        )
        yield from failures
        if failures:
            continue
        engine = engine_of(row)
        used = sum(map(machine.cpu_seconds, others)) - used
        losses = [float(f"{loss:.7g}") for loss in engine.wait()]
        block = Block(
            number, engine.wall_s / steps, engine.cpu_s / engine.wall_s, used / engine.wall_s
        )
        if training:
            row.losses += losses
        timed = (
            not warm and steps >= WHOLE * comparison.block_steps
        )  # a piece of a short training does not count
        if warm:
            row.warmups.append(block)
        elif timed:
            row.blocks.append(block)
        about = {
            "round": number,
            "step": done + steps,
            "steps": steps,
            "warm": warm,
            "timed": timed,
            "training": training,
        }
        figures = {
            "seconds": block.seconds,
            "cpu_share": block.cpu_share,
            "disturbance": block.disturbance,
        }
        yield {"type": "block", "row": row.spec.key} | about | figures | {"losses": losses}
    comparison.others[number] = watch.share()
    yield {
        "type": "round",
        "round": number,
        "others": comparison.others[number],
        "calm": number in comparison.calm_rounds,
        "counted": len(comparison.calm_rounds),
        "needed": ROUNDS,
        "training": training,
    }
    return plans


def _evaluate(comparison: "Comparison", step: int, twins: list[RemoteEngine]) -> Iterator[Event]:
    network, train, labels = (
        comparison.settings.network,
        comparison.dataset.train.digest,
        comparison.dataset.test.labels,
    )
    probe = float32.probe_plan(comparison.schedule)
    looks: dict[str, float32.Snapshot] = {}
    rows: dict[str, dict[str, float]] = {}

    def see(row: Row) -> None:
        predicted = metrics.predictions(engine_of(row).logits(row.test))
        looks[row.spec.key] = float32.take_snapshot(engine_of(row), row.train, probe)
        rows[row.spec.key] = {"accuracy": metrics.accuracy(predicted, labels)}

    yield from comparison.each(see)
    own = looks[comparison.reference.spec.key]
    for row in comparison.live[1:]:
        drift = float32.measure_drift(network, own, looks[row.spec.key])
        rows[row.spec.key] |= drift.to_json()
    snapshots = [float32.take_snapshot(twin, train, probe) for twin in twins]
    beside = [float32.measure_drift(network, own, twin).to_json() for twin in snapshots]
    yield {"type": "evaluation", "step": step, "rows": rows, "twins": beside}
