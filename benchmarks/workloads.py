"""What is timed: one entry for each workload."""

from collections.abc import Callable
from dataclasses import dataclass

from triptych import zoo
from triptych.bench.rows import Spec
from triptych.network import Network
from triptych.optimizers import optimizer
from triptych.recipe import Recipe


@dataclass(frozen=True)
class Workload:
    """A training job, and who does it: `ours`, the reference first, and `peers`, the files `benchmarks/peers/ENGINE_BACKEND.py`."""

    title: str
    network: Network
    recipe: Recipe  # in free mode, where everyone draws its own dropout masks
    steps: int  # in one timed block
    ours: tuple[Spec, ...]
    peers: tuple[Spec, ...]


def r3() -> Workload:
    ours = (Spec("numpy", "eager"), Spec("torch", "eager"), Spec("tensorflow", "compiled"))
    recipe = Recipe(1, 64, optimizer("adam"), random="free")
    return Workload("two convolutions, Adam, batch 64", zoo.get("cnn"), recipe, 4, ours, (Spec("torch", "plain"),))


WORKLOADS: dict[str, Callable[[], Workload]] = {"R3": r3}
