"""The floor: the least time that a step could take here, from what it must compute and move, and from this machine's measured peak.

max(operations / rate of products, bytes / rate of copying): the roofline of Williams et al. 2009. The larger of both and not their
sum, because a processor computes while it loads, and a floor must not lie above what is possible.
"""

import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from math import prod

import numpy as np

from triptych.advise.workload import arithmetic
from triptych.core.planner import BatchPlanner
from triptych.spec.network import Network
from triptych.spec.recipe import Recipe

SIZES = (256, 512, 1024, 2048)  # of the square products tried
LOOKS = 5  # of which the fastest counts
LOOK_SECONDS = 0.02


@dataclass(frozen=True)
class Floor:
    """What a step must do at the least, and how fast this machine can.

    Attributes
    ----------
    operations, bytes : int
    product_rate, copy_rate : float
        Of each a second.
    """

    operations: int
    bytes: int
    product_rate: float
    copy_rate: float

    @property
    def seconds(self) -> float:
        return max(self.operations / self.product_rate, self.bytes / self.copy_rate)

    def __str__(self) -> str:
        computing = f"{self.operations / 1e6:,.1f} MFLOP at {self.product_rate / 1e9:,.0f} GFLOP/s"
        moving = f"{self.bytes / 1e6:,.2f} MB at {self.copy_rate / 1e9:,.0f} GB/s"
        return f"{computing}: {_time(self.operations / self.product_rate)}; {moving}: {_time(self.bytes / self.copy_rate)}"


def _time(seconds: float) -> str:
    return f"{1e3 * seconds:.3g} ms"


def training_work(network: Network, recipe: Recipe, samples: int) -> tuple[int, int]:
    """Return (operations, bytes) of one training step.

    The operations are those of the products. The bytes are what must be moved even where everything else stays in a cache: the
    images once, and weights and optimizer slots read and written once.
    """
    batch = BatchPlanner(network, recipe, samples).batch
    images = batch * prod(network.input_shape)
    state = network.parameter_count * (1 + len(recipe.optimizer.slots))
    return arithmetic(network, recipe, batch).operations, np.dtype(recipe.dtype).itemsize * (
        images + 2 * state
    )


def inference_work(network: Network, samples: int) -> tuple[int, int]:
    """Return (operations, bytes) of the logits of so many images: the forward products; images and weights read once."""
    return 2 * samples * network.multiplications, 4 * (
        samples * prod(network.input_shape) + network.parameter_count
    )


def product_rate(module: str) -> float:
    """Return the operations a second of float32 matrix products in this process: the fastest size, the fastest look."""
    return max(2 * size**3 / _fastest(action) for size, action in _products(module))


def _products(module: str) -> Iterator[tuple[int, Callable[[], object]]]:
    for size in SIZES:
        a, out = np.ones((size, size), np.float32), np.empty((size, size), np.float32)
        if module == "torch":
            import torch

            yield (
                size,
                partial(
                    torch.mm, torch.from_numpy(a), torch.from_numpy(a), out=torch.from_numpy(out)
                ),
            )
        else:
            yield size, partial(np.matmul, a, a, out=out)


def copy_rate(size: int) -> float:
    """Return the bytes a second that are read and written when `size` bytes are moved again and again.

    It is the rate of the smallest cache that holds them: what lies in one from step to step need not come from memory.
    """
    count, threads = (
        max(1, size // 8),
        _threads(),
    )  # of float32, half of the bytes read and half written
    source, target = np.ones(count, np.float32), np.ones(count, np.float32)
    parts = list(zip(np.array_split(source, threads), np.array_split(target, threads), strict=True))
    times = max(1, 2**22 // size)

    def copy(part: tuple[np.ndarray, np.ndarray]) -> None:
        for _ in range(times):
            np.copyto(part[1], part[0])

    with ThreadPoolExecutor(threads) as pool:
        return 8 * count * times / _fastest(lambda: list(pool.map(copy, parts)))


def _fastest(action: Callable[[], object]) -> float:
    """Return the seconds of the fastest look, of processor time where there is one thread."""
    clock = time.process_time if _threads() == 1 else time.perf_counter
    action()
    return min(_look(action, clock) for _ in range(LOOKS))


def _look(action: Callable[[], object], clock: Callable[[], float]) -> float:
    before, begun, times = clock(), time.perf_counter(), 0
    while time.perf_counter() - begun < LOOK_SECONDS:
        action()
        times += 1
    return (clock() - before) / times


def _threads() -> int:
    return int(os.environ["OMP_NUM_THREADS"])
