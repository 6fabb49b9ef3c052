"""What is timed: one entry for each workload."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Protocol

from triptych.spec import zoo
from triptych.spec.optimizers import SGD, optimizer
from triptych.spec.recipe import Recipe

from .advise import Advise
from .inference import Inference
from .loading import Loading
from .memory import Memory
from .scaling import Case, Scaling
from .starting import Starting
from .timing import Settings
from .training import Training

ORIGINAL_IMAGES = 9_000  # what the original trained on
IMAGES = 8_960  # the same in whole batches of 32, 64 and 128


class Measured(Protocol):
    """What was measured of a workload."""

    @property
    def ok(self) -> bool:
        """Whether everything was measured."""
        ...

    def text(self) -> Iterator[str]:
        """Yield the block that a person reads, line by line."""
        ...

    def entries(self) -> list[dict[str, Any]]:
        """Return the ratios."""
        ...


class Workload(Protocol):
    """What can be measured.

    Attributes
    ----------
    timed : bool
        Whether times are measured, so that a busy machine matters and threads make a difference.
    """

    @property
    def title(self) -> str:
        """A few words."""
        ...

    timed: bool

    def measure(self, name: str, settings: Settings) -> Iterator[Measured]:
        """Measure it, in one block or several."""
        ...


PLAIN_TORCH = ("torch-plain", "torch-plain-onednn", "torch-plain-compiled")
KERAS = ("tensorflow-keras-fit", "tensorflow-keras-function", "tensorflow-keras-xla")
PEERS_OF_R1 = ("numpy-original", "numpy-sklearn", *PLAIN_TORCH, *KERAS)
PEERS_OF_MINI_BATCHES = ("numpy-sklearn", *PLAIN_TORCH, "torch-loader", *KERAS)
PEERS_OF_R3 = (
    "torch-plain",
    "torch-plain-channels_last",
    "torch-plain-bf16",
    "torch-plain-compiled",
    "torch-loader",
    *KERAS,
)
PEERS_OF_INFERENCE = (
    "torch-plain",
    "torch-plain-channels_last",
    "torch-plain-compiled",
    "tensorflow-keras-fit",
    "tensorflow-keras-function",
)

R1 = zoo.dense("R1", [10])
R2 = zoo.dense("R2", [128, 64], 0.2)
R3 = replace(zoo.get("cnn"), name="R3")
FULL_BATCHES = Recipe(1, "full", SGD(0.1))
ADAM = Recipe(1, 64, optimizer("adam"), random="free")
ADAM_128 = replace(ADAM, batch_size=128)

SMALL_BATCHES = Recipe(1, 32, SGD(0.1))

WORKLOADS: dict[str, Workload] = {
    "R1": Training(
        "784-10-10, every step all 9,000 images, SGD: the original's job",
        network=R1,
        recipe=FULL_BATCHES,
        samples=ORIGINAL_IMAGES,
        steps=20,
        peers=PEERS_OF_R1,
    ),
    "R2": Training(
        "784-128-64-10, dropout 0.2, Adam, batch 128",
        network=R2,
        recipe=ADAM_128,
        samples=IMAGES,
        steps=70,
        peers=PEERS_OF_MINI_BATCHES,
    ),
    "R3": Training(
        "two convolutions, dropout 0.5, Adam, batch 64",
        network=R3,
        recipe=ADAM,
        samples=IMAGES,
        steps=28,
        peers=PEERS_OF_R3,
    ),
    "overhead": Training(
        "784-10-10, SGD, batch 32: the cost of a step with little to compute",
        network=R1,
        recipe=SMALL_BATCHES,
        samples=IMAGES,
        steps=280,
        peers=PEERS_OF_MINI_BATCHES,
    ),
    "csv": Loading("a CSV of the Kaggle shape", 10_000),
    "start-up": Starting("whole processes, import and all"),
    "memory": Memory(
        "60,000 images of MNIST's size, peak of the process",
        {"R1": (R1, FULL_BATCHES), "R2": (R2, ADAM_128)},
        60_000,
    ),
    "inference": Inference("the logits of one image", (R2, R3), PEERS_OF_INFERENCE),
    "scaling": Scaling(
        "two workers with one thread each, each with the batch of one",
        (
            Case(zoo.dense("0.1 MB", [32]), SMALL_BATCHES, 100),
            Case(zoo.dense("1 MB", [314]), SMALL_BATCHES, 50),
            Case(zoo.dense("10 MB", [1230, 1230]), SMALL_BATCHES, 10),
            Case(zoo.get("lenet"), replace(ADAM, random="matched"), 10),
            Case(R3, replace(ADAM, random="matched"), 5),
        ),
    ),
    "advise": Advise("a hundred networks that were never timed"),
}
