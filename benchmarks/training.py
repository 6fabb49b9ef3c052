"""Training: everybody makes the same steps on the same batches, in turn."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from triptych.bench.rounds import Elapsed
from triptych.core import rng
from triptych.core.plan import Plan
from triptych.core.split import Split
from triptych.data import loading as data
from triptych.errors import DataError
from triptych.spec.network import Network
from triptych.spec.recipe import Recipe

from .contestants import Contestant, attempt, compete, field, load, opened
from .floor import training_work
from .job import Job
from .measured import timing_of
from .proof import PROVED, prove
from .timing import Settings, Timing


@dataclass(frozen=True)
class Training:
    """A training job, and the peers that do it too.

    Attributes
    ----------
    title : str
    network : Network
        It has the name of the peers' models.
    recipe : Recipe
        With ``random="free"``, so that everybody draws its own dropout masks.
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
        """Prove and time everybody.

        Raises
        ------
        EngineError
            If nothing can be timed.
        """
        job = Job(self.network, self.recipe, images(self.network, self.samples, settings.data))
        with opened(field(self.peers, settings), settings.threads) as contestants:
            roundings = prove(contestants, job)
            loaded = attempt(contestants, lambda contestant: load(contestant, "timed", job))

            def make_steps(contestant: Contestant, plan: Plan) -> Elapsed:
                engine = loaded[contestant.key].engine
                engine.run(loaded[contestant.key].data, plan)
                engine.wait()
                return Elapsed(engine.wall_s, engine.cpu_s, len(plan))

            raced = compete(contestants, settings, make_steps, job.plans(self.steps))
            work = training_work(self.network, self.recipe, self.samples)
            empty = Timing(name, self.title, settings, raced.others, proof=PROVED, unit="a step")
            yield timing_of(empty, contestants, raced, roundings, work)


def images(network: Network, samples: int, source: str | None) -> Split:
    """Return the first training images of a data set, or random images and labels.

    Parameters
    ----------
    network : Network
        The images have its input shape and its classes.
    samples : int
        How many.
    source : str, optional
        A name or a path, as `triptych.data.loading.load` takes it; random images by default.

    Raises
    ------
    DataError, SpecError
        If the data cannot be read, or does not fit.
    """
    if source is None:
        pixels = rng.uniform((samples, *network.input_shape), "pixels") * 256
        labels = rng.uniform((samples,), "labels") * network.classes
        return Split(pixels.astype(np.uint8), labels.astype(np.int32))
    dataset = data.load(source)
    network.check_fits(dataset.shape, len(dataset.classes))
    if len(dataset.train) < samples:
        raise DataError(
            f"{source}: {len(dataset.train):,} training images are too few; {samples:,} are needed"
        )
    return Split(dataset.train.images[:samples], dataset.train.labels[:samples])
