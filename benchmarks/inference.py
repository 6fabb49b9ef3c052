"""Inference: the logits of one image, again and again."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import repeat

import numpy as np

from triptych.bench.rounds import Elapsed
from triptych.errors import EngineError
from triptych.parity.divergence import BOUND, first_divergence
from triptych.parity.float32 import LARGEST_FACTOR, Rounding, StepErrors, judge_float32
from triptych.spec.network import Network
from triptych.spec.recipe import Recipe

from .contestants import Contestant, Loaded, attempt, compete, field, load, opened
from .floor import inference_work
from .job import Job
from .measured import timing_of
from .proof import check_dtype, in_dtype
from .timing import Settings, Timing
from .training import images

PROVED = (
    f"float64 logits equal to {BOUND:g}; "
    f"float32 logits within {LARGEST_FACTOR:g} times NumPy's rounding"
)
PROVED_IMAGES = 64
BLOCK_SECONDS = 0.05  # of every contestant, so that no clock is too coarse
ANSWERS_THAT_SET_THE_PACE = 10


@dataclass(frozen=True)
class Inference:
    """Some networks whose logits are computed, and the peers that do it too."""

    title: str
    networks: tuple[Network, ...]
    peers: tuple[str, ...]
    timed = True

    def measure(self, name: str, settings: Settings) -> Iterator[Timing]:
        """Prove and time everybody, one network after the other."""
        for network in self.networks:
            yield self._measure(f"{name} {network.name}", network, settings)

    def _measure(self, name: str, network: Network, settings: Settings) -> Timing:
        job = Job(network, Recipe(), images(network, PROVED_IMAGES, None))
        single = replace(job, split=images(network, 1, None))
        with opened(field(self.peers, settings), settings.threads) as contestants:
            roundings = _prove(contestants, job)
            loaded = attempt(contestants, lambda contestant: load(contestant, "timed", single))
            times = attempt(contestants, lambda contestant: _times(loaded[contestant.key]))

            def answer(contestant: Contestant, _: None) -> Elapsed:
                return _infer(loaded[contestant.key], times[contestant.key])

            raced = compete(contestants, settings, answer, repeat(None))
            empty = Timing(name, self.title, settings, raced.others, proof=PROVED, unit="an image")
            return timing_of(empty, contestants, raced, roundings, inference_work(network, 1))


def _infer(loaded: Loaded, times: int) -> Elapsed:
    """Let a contestant compute the logits of its images several times."""
    engine = loaded.engine
    answer, _ = engine.remote.ask("infer", key=engine.key, name=loaded.data, times=times)
    return Elapsed(answer["wall_s"], answer["cpu_s"], times)


def _times(loaded: Loaded) -> int:
    """Return how many times a contestant must compute the logits to fill a block."""
    _infer(loaded, 2)  # the first call compiles
    elapsed = _infer(loaded, ANSWERS_THAT_SET_THE_PACE)
    return max(1, round(BLOCK_SECONDS * elapsed.steps / elapsed.wall_seconds))


def _prove(contestants: list[Contestant], job: Job) -> dict[str, Rounding]:
    """Compare everybody's logits with the reference's, as in `benchmarks.proof.prove`."""
    reference = contestants[0]
    truth = _logits(reference, in_dtype(job, "float64"))
    rounding_of_reference = _error(_logits(reference, in_dtype(job, "float32")), truth)

    def prove_one(contestant: Contestant) -> Rounding:
        exact = _logits(contestant, in_dtype(job, "float64"))
        if difference := first_divergence({"logits": truth}, {"logits": exact}, BOUND):
            raise EngineError(f"{contestant.spec.label} computes something else: {difference}")
        error = _error(_logits(contestant, in_dtype(job, "float32")), truth)
        return judge_float32([StepErrors(error, rounding_of_reference)], proved=True)

    return attempt(contestants, prove_one)


def _logits(contestant: Contestant, job: Job) -> np.ndarray:
    loaded = load(contestant, "proof", job)
    logits = loaded.engine.logits(loaded.data)
    loaded.engine.drop()
    check_dtype(contestant, {str(logits.dtype)}, job.recipe.dtype)
    return logits


def _error(logits: np.ndarray, truth: np.ndarray) -> float:
    return float(np.linalg.norm(logits - truth))
