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
from .starting import Starting
from .timing import Settings
from .training import Training

ORIGINAL = 9_000  # images: what the original trained on
WHOLE = 8_960  # the same in whole batches of 32, 64 and 128


class Measured(Protocol):
    """What a workload came to."""

    @property
    def ok(self) -> bool:
        """Whether nothing was refused."""
        ...

    def text(self) -> Iterator[str]:
        """Yield the block that a person reads, line by line."""
        ...

    def entries(self) -> list[dict[str, Any]]:
        """Return the ratios."""
        ...


class Workload(Protocol):
    """What can be measured; `timed` says whether of time, so that a busy machine matters and threads make a difference."""

    @property
    def title(self) -> str: ...

    timed: bool

    def measure(self, name: str, settings: Settings) -> Iterator[Measured]:
        """Measure it, in one block or several."""
        ...


_MINI = ("torch-plain", "torch-plain-onednn", "torch-plain-compiled", "torch-loader")
_KERAS = ("tensorflow-keras-fit", "tensorflow-keras-function", "tensorflow-keras-xla")
_INFERRING = (
    "torch-plain",
    "torch-plain-channels_last",
    "torch-plain-compiled",
    "tensorflow-keras-fit",
    "tensorflow-keras-function",
)
_R1, _R2 = zoo.dense("R1", [10]), zoo.dense("R2", [128, 64], 0.2)
_R3 = replace(zoo.get("cnn"), name="R3")
_ADAM = Recipe(1, 64, optimizer("adam"), random="free")

WORKLOADS: dict[str, Workload] = {
    "R1": Training(
        "784-10-10, every step all 9,000 images, SGD: the original's job",
        *(_R1, Recipe(1, "full", SGD(0.1)), ORIGINAL, 20),
        ("numpy-original", "numpy-sklearn", *_MINI[:3], *_KERAS),
    ),
    "R2": Training(
        "784-128-64-10, dropout 0.2, Adam, batch 128",
        *(_R2, replace(_ADAM, batch_size=128), WHOLE, 70),
        ("numpy-sklearn", *_MINI, *_KERAS),
    ),
    "R3": Training(
        "two convolutions, dropout 0.5, Adam, batch 64",
        *(_R3, _ADAM, WHOLE, 28),
        ("torch-plain", "torch-plain-channels_last", "torch-plain-bf16", *_MINI[2:], *_KERAS),
    ),
    "overhead": Training(
        "784-10-10, SGD, batch 32: what a step costs where there is little to compute",
        *(_R1, Recipe(1, 32, SGD(0.1)), WHOLE, 280),
        ("numpy-sklearn", *_MINI, *_KERAS),
    ),
    "csv": Loading("a CSV of the Kaggle shape", 10_000),
    "start-up": Starting("whole processes, import and all"),
    "memory": Memory(
        "60,000 images of MNIST's size, peak of the process",
        {"R1": (_R1, Recipe(1, "full", SGD(0.1))), "R2": (_R2, replace(_ADAM, batch_size=128))},
        60_000,
    ),
    "inference": Inference("the logits of one image", (_R2, _R3), _INFERRING),
    "advise": Advise("a hundred networks that were never timed"),
}
