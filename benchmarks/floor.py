"""The floor: the least time that a step could take on this machine.

It is max(operations / rate of products, bytes / rate of copies), the roofline of Williams et al.
2009. It is the larger of both and not their sum, because a processor computes while it loads, and a
floor must not be above what is possible. Both rates are measured.
"""

import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from math import prod
from typing import NamedTuple

import numpy as np

from triptych.advise.workload import Case
from triptych.core.planner import BatchPlanner
from triptych.spec.network import Network
from triptych.spec.recipe import Recipe

PRODUCT_SIZES = (256, 512, 1024, 2048)  # rows and columns of the square products
TRIALS = 5  # of which the fastest counts
TRIAL_SECONDS = 0.02
BYTES_COPIED_AT_ONCE = 2**22  # at least, so that no call of NumPy weighs


class Work(NamedTuple):
    """What one step must compute and move.

    Attributes
    ----------
    operations : int
        Multiplications and additions of the products.
    bytes : int
        What must be moved even if everything else stays in a cache.
    """

    operations: int
    bytes: int


@dataclass(frozen=True)
class Floor:
    """The work of a step, and how fast this machine can do it.

    Attributes
    ----------
    operations, bytes : int
        As in `Work`.
    product_rate : float
        Operations in one second.
    copy_rate : float
        Bytes in one second.
    """

    operations: int
    bytes: int
    product_rate: float
    copy_rate: float

    @property
    def seconds(self) -> float:
        """The least time of a step, in seconds."""
        return max(self.operations / self.product_rate, self.bytes / self.copy_rate)

    def __str__(self) -> str:
        computing = f"{self.operations / 1e6:,.1f} MFLOP at {self.product_rate / 1e9:,.0f} GFLOP/s"
        moving = f"{self.bytes / 1e6:,.2f} MB at {self.copy_rate / 1e9:,.0f} GB/s"
        computing_ms = 1e3 * self.operations / self.product_rate
        moving_ms = 1e3 * self.bytes / self.copy_rate
        return f"{computing}: {computing_ms:.3g} ms; {moving}: {moving_ms:.3g} ms"


def training_work(network: Network, recipe: Recipe, samples: int) -> Work:
    """Return the work of one training step.

    The images are moved once; weights and optimizer slots are read and written once.
    """
    batch = BatchPlanner(network, recipe, samples).batch
    pixels = batch * prod(network.input_shape)
    state = network.parameter_count * (1 + len(recipe.optimizer.slots))
    operations = Case(network, recipe, batch).operations
    return Work(operations, np.dtype(recipe.dtype).itemsize * (pixels + 2 * state))


def inference_work(network: Network, samples: int) -> Work:
    """Return the work of the float32 logits of some images: images and weights are read once."""
    numbers = samples * prod(network.input_shape) + network.parameter_count
    return Work(2 * samples * network.multiplications, np.dtype(np.float32).itemsize * numbers)


def product_rate(module: str) -> float:
    """Return the operations in one second of float32 matrix products in this process.

    The fastest size and the fastest trial count.

    Parameters
    ----------
    module : str
        What computes them: ``numpy`` or ``torch``.
    """
    make_product = _torch_product if module == "torch" else _numpy_product
    return max(2 * size**3 / _fastest(make_product(size)) for size in PRODUCT_SIZES)


def _numpy_product(size: int) -> Callable[[], object]:
    square = np.ones((size, size), np.float32)
    return partial(np.matmul, square, square, out=np.empty_like(square))


def _torch_product(size: int) -> Callable[[], object]:
    import torch

    square = torch.ones(size, size)
    return partial(torch.mm, square, square, out=torch.empty_like(square))


def copy_rate(size: int) -> float:
    """Return the bytes in one second that are read and written in repeated copies.

    Parameters
    ----------
    size : int
        The bytes of source and target together. The rate is that of the smallest cache that holds
        them: what stays in a cache from step to step need not come from memory.
    """
    threads = _threads()
    numbers = max(1, size // 8)  # float32: half of the bytes are read, half are written
    times = max(1, BYTES_COPIED_AT_ONCE // size)
    sources = np.array_split(np.ones(numbers, np.float32), threads)
    targets = np.array_split(np.ones(numbers, np.float32), threads)

    def copy(source: np.ndarray, target: np.ndarray) -> None:
        for _ in range(times):
            np.copyto(target, source)

    with ThreadPoolExecutor(threads) as pool:
        seconds = _fastest(lambda: list(pool.map(copy, sources, targets)))
    return 8 * numbers * times / seconds


def _fastest(action: Callable[[], object]) -> float:
    """Return the seconds of the fastest trial.

    With one thread they are processor time, with more they are wall time.
    """
    clock = time.process_time if _threads() == 1 else time.perf_counter
    action()
    return min(_seconds_of(action, clock) for _ in range(TRIALS))


def _seconds_of(action: Callable[[], object], clock: Callable[[], float]) -> float:
    """Return the mean seconds of an action, repeated for `TRIAL_SECONDS`."""
    end = time.perf_counter() + TRIAL_SECONDS
    before = clock()
    times = 0
    while time.perf_counter() < end:
        action()
        times += 1
    return (clock() - before) / times


def _threads() -> int:
    return int(os.environ["OMP_NUM_THREADS"])
