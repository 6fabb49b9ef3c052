"""Prove the contestants equal; then let them make the same steps in turn, each alone."""

import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from typing import Any

import numpy as np

from triptych import random, state
from triptych.bench import machine
from triptych.bench.remote import Remote
from triptych.bench.rounds import IDLE_SECONDS, MOST_ROUNDS
from triptych.bench.rows import Block, Row, engine_of, remote_of, valid_rounds
from triptych.bench.statistics import ratio
from triptych.data.dataset import Split
from triptych.errors import EngineError
from triptych.layers import Dropout
from triptych.parity.compare import BOUND, first_divergence
from triptych.plan import Plan, Schedule

from .workloads import Workload

PROOF_STEPS = 3
BATCHES = 16  # of random images: no time depends on what is in the pixels


class Contestant(Remote):
    """An engine or a peer in a process of its own."""

    worker = "benchmarks.worker"


class Race:
    """The contestants of one workload, each with the same number of threads; `close` ends their processes."""

    def __init__(self, workload: Workload, threads: int) -> None:
        self.workload, self.threads, self.split = workload, threads, images(workload)
        self.rows = [Row(spec, Contestant(spec.engine, spec.backend, threads=threads)) for spec in (*workload.ours, *workload.peers)]
        for row in self.rows:
            remote_of(row).greet()

    def close(self) -> None:
        for row in self.rows:
            remote_of(row).close()

    def prove(self) -> None:
        """Let everyone make a few steps in float64, nothing dropped, because peers draw their own masks.

        Raises
        ------
        EngineError
            Naming the contestant and the first weights that are not the reference's.
        """
        network, recipe = self.workload.network, replace(self.workload.recipe, dtype="float64")
        kept = tuple(replace(layer, rate=0.0) if isinstance(layer, Dropout) else layer for layer in network.layers)
        exact, reference = replace(self.workload, network=replace(network, layers=kept), recipe=recipe), dict[str, np.ndarray]()
        for row in self.rows:
            self._build(row, "proof", exact)
            engine_of(row).run_all(row.train, list(islice(plans(exact, 1), PROOF_STEPS)))
            reached = state.weights(engine_of(row).state())
            engine_of(row).drop()
            reference = reference or reached
            if difference := first_divergence(reference, reached, BOUND, "update"):
                raise EngineError(f"{row.spec.label} computes something else: {difference}")

    def run(self, rounds: int) -> None:
        """Time rounds until so many were undisturbed, after one to warm up; at most `MOST_ROUNDS` are added to reach them."""
        for row in self.rows:
            self._build(row, "timed", self.workload)
        for number, plan in enumerate(islice(plans(self.workload, self.workload.steps), 1 + rounds + MOST_ROUNDS)):
            for row, block in self._round(number, plan):
                (row.blocks if number else row.warmups).append(block)
            if len(valid_rounds(self.rows)) >= rounds:
                return
        raise EngineError(f"fewer than {rounds} of {rounds + MOST_ROUNDS} rounds were undisturbed; let the machine come to rest")

    def _build(self, row: Row, key: str, workload: Workload) -> None:
        row.engine = remote_of(row).build(key, workload.network, workload.recipe)
        row.engine.load(state.initial(workload.network, workload.recipe))
        row.train = row.engine.put(self.split)

    def _round(self, number: int, plan: Plan) -> Iterator[tuple[Row, Block]]:
        turn = number % len(self.rows)
        for row in self.rows[turn:] + self.rows[:turn]:
            time.sleep(IDLE_SECONDS)
            others, engine = [remote_of(other).pid for other in self.rows if other is not row], engine_of(row)
            used = sum(map(machine.cpu_seconds, others))
            engine.run(row.train, plan)
            used = sum(map(machine.cpu_seconds, others)) - used
            engine.sync()
            yield row, Block(number, engine.wall_s / len(plan), engine.cpu_s / engine.wall_s, used / engine.wall_s)

    def blocks(self, row: Row) -> list[Block]:
        """Return the blocks of the valid rounds."""
        valid = valid_rounds(self.rows)
        return [block for block in row.blocks if block.round in valid]

    def ratios(self, name: str) -> Iterator[dict[str, Any]]:
        """Yield, for each of ours and everyone else, how many times longer the other takes, with a 95 % interval."""
        seconds = [[block.seconds for block in self.blocks(row)] for row in self.rows]
        for own, times in zip(self.rows[: len(self.workload.ours)], seconds, strict=False):
            for other, theirs in zip(self.rows, seconds, strict=True):
                if other is not own:
                    about = {"workload": name, "engine": own.spec.key, "peer": other.spec.key, "threads": self.threads}
                    found = ratio(theirs, times)
                    yield about | {"ratio": found.median, "low": found.low, "high": found.high}


def images(workload: Workload) -> Split:
    """Return random images and labels."""
    count = BATCHES * int(workload.recipe.batch_size)
    pixels = random.uniform((count, *workload.network.input_shape), "pixels") * 256
    return Split(pixels.astype(np.uint8), (random.uniform((count,), "labels") * workload.network.classes).astype(np.int32))


def plans(workload: Workload, steps: int) -> Iterator[Plan]:
    """Yield plans of so many steps, practically without end."""
    recipe = replace(workload.recipe, epochs=10**9)
    return Schedule(workload.network, recipe, BATCHES * int(recipe.batch_size), steps).plans()
