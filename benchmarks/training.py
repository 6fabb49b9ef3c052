"""Training: everyone makes the same steps on the same batches, in turn."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from triptych.bench.contestants import Row, engine_of
from triptych.core import rng
from triptych.core.plan import Plan
from triptych.core.split import Split
from triptych.data import loading as data
from triptych.errors import DataError
from triptych.spec.network import Network
from triptych.spec.recipe import Recipe

from .contestants import attempt, field, filled, opened
from .floor import training_work
from .proof import SAID, Job, build, prove
from .rounds import Act, compete
from .timing import Settings, Timing


@dataclass(frozen=True)
class Training:
    """A training job, and who else does it.

    Attributes
    ----------
    title : str
    network : Network
        Named as the peers' models are.
    recipe : Recipe
        In free mode, where everyone draws its own dropout masks.
    samples : int
        In the training split.
    steps : int
        In one timed block.
    peers : tuple of str
        Keys of `PEERS`.
    """

    title: str
    network: Network
    recipe: Recipe
    samples: int
    steps: int
    peers: tuple[str, ...]
    timed = True

    def measure(self, name: str, settings: Settings) -> Iterator[Timing]:
        """Prove and time everyone.

        Raises
        ------
        EngineError
            Where nothing can be timed.
        """
        job = Job(self.network, self.recipe, images(self.network, self.samples, settings.data))
        with opened(field(self.peers, settings), settings.threads) as rows:
            prove(rows, job)
            attempt(rows, lambda row: build(row, "timed", job))
            others = compete(
                [row for row in rows if not row.failed], settings, map(_act, job.plans(self.steps))
            )
            measured = Timing(name, self.title, settings, others, proof=SAID, unit="a step")
            yield filled(measured, rows, *training_work(self.network, self.recipe, self.samples))


def _act(plan: Plan) -> Act:
    def act(row: Row) -> tuple[float, float, int]:
        engine = engine_of(row)
        engine.run(row.train, plan)
        engine.wait()
        return engine.wall_s, engine.cpu_s, len(plan)

    return act


def images(network: Network, samples: int, source: str | None) -> Split:
    """Return the first training images of a data set, or random images and labels.

    Raises
    ------
    DataError, SpecError
        Where it cannot be read, or does not fit.
    """
    if source is None:
        pixels = rng.uniform((samples, *network.input_shape), "pixels") * 256
        return Split(
            pixels.astype(np.uint8),
            (rng.uniform((samples,), "labels") * network.classes).astype(np.int32),
        )
    found = data.load(source)
    network.check_fits(found.shape, len(found.classes))
    if len(found.train) < samples:
        raise DataError(
            f"{source}: {len(found.train):,} training images are too few; {samples:,} are needed"
        )
    return Split(found.train.images[:samples], found.train.labels[:samples])
