"""Inference: the logits of one image, again and again."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import repeat

import numpy as np

from triptych.bench.contestants import Row, engine_of, remote_of
from triptych.errors import EngineError
from triptych.parity.divergence import BOUND, first_divergence
from triptych.parity.float32 import LARGEST_FACTOR, StepErrors, judge_float32
from triptych.spec.network import Network
from triptych.spec.recipe import Recipe

from .contestants import attempt, field, filled, opened
from .floor import inference_work
from .proof import Job, build
from .rounds import compete
from .timing import Settings, Timing
from .training import images

SAID = f"float64 logits equal to {BOUND:g}; float32 logits within {LARGEST_FACTOR:g} times NumPy's rounding"
PROVED = 64  # images
BLOCK_SECONDS = 0.05  # of everyone, so that nobody's clock is too coarse


@dataclass(frozen=True)
class Inference:
    """What is asked of each network, and who else answers."""

    title: str
    networks: tuple[Network, ...]
    peers: tuple[str, ...]
    timed = True

    def measure(self, name: str, settings: Settings) -> Iterator[Timing]:
        """Prove and time everyone, one network after the other."""
        for network in self.networks:
            # Of random pixels, few of which are zero: in a single image of a digit most are, and NumPy would leave them out.
            job = Job(network, Recipe(), images(network, PROVED, None))
            with opened(field(self.peers, settings), settings.threads) as rows:
                _prove(rows, job)
                one, times = replace(job, split=images(network, 1, None)), dict[str, int]()
                attempt(rows, partial(_ready, one, times))
                running = [row for row in rows if not row.failed]
                others = compete(
                    running,
                    settings,
                    repeat(lambda row, times=times: _infer(row, times[row.spec.key])),
                )
                measured = Timing(
                    f"{name} {network.name}",
                    self.title,
                    settings,
                    others,
                    proof=SAID,
                    unit="an image",
                )
                yield filled(measured, rows, *inference_work(network, 1))


def _infer(row: Row, times: int) -> tuple[float, float, int]:
    answer, _ = remote_of(row).ask("infer", key=engine_of(row).key, name=row.train, times=times)
    return answer["wall_s"], answer["cpu_s"], times


def _ready(one: Job, times: dict[str, int], row: Row) -> None:
    """Let a contestant hold one image, and note how often it answers in a block."""
    build(row, "timed", one)
    _infer(row, 2)  # the first call compiles
    wall, _, answers = _infer(row, 10)
    times[row.spec.key] = max(1, round(BLOCK_SECONDS * answers / wall))


def _prove(rows: list[Row], job: Job) -> None:
    """As in training, of logits."""
    truths: dict[str, np.ndarray] = {}
    own: list[float] = []

    def proof(row: Row) -> None:
        found = {
            dtype: _logits(row, replace(job, recipe=replace(job.recipe, dtype=dtype)))
            for dtype in ("float64", "float32")
        }
        truths.update({} if truths else found)
        if difference := first_divergence(
            {"logits": truths["float64"]}, {"logits": found["float64"]}, BOUND
        ):
            raise EngineError(f"{row.spec.label} computes something else: {difference}")
        error = float(np.linalg.norm(found["float32"] - truths["float64"]))
        own.append(error)
        row.rounding = judge_float32([StepErrors(error, own[0])], proved=True)

    attempt(rows, proof)


def _logits(row: Row, job: Job) -> np.ndarray:
    engine = build(row, "proof", job)
    found = engine.logits(row.train)
    engine.drop()
    if found.dtype != job.recipe.dtype:
        raise EngineError(
            f"{row.spec.label} computes in {found.dtype} where {job.recipe.dtype} is asked for"
        )
    return found
