"""How many threads the kernels use, and the BLAS library inside them."""

from collections.abc import Generator
from contextlib import contextmanager
from functools import cache

import numba
import numpy as np
import scipy.linalg.cython_blas  # noqa: F401  # the BLAS library that kernels call
from threadpoolctl import LibController, ThreadpoolController

# Numbers that a thread sweeps over at least: for fewer, waking it takes longer.
LEAST_SHARE = 2**15


def share_count(work: int, least: int = LEAST_SHARE) -> int:
    """Return how many threads share some work.

    Parameters
    ----------
    work : int
        How many numbers are computed.
    least : int
        What a thread gets at least.
    """
    return max(1, min(numba.get_num_threads(), work // least))


@cache
def blas_libraries() -> tuple[LibController, ...]:
    """Return the BLAS libraries that have threads of their own."""
    return tuple(ThreadpoolController().select(user_api="blas").lib_controllers)


@contextmanager
def computing() -> Generator[None]:
    """Let BLAS use one thread: the kernels divide the work themselves.

    Warnings of NumPy are off: if a training diverges, its losses show it.
    """
    libraries = blas_libraries()
    before = [library.num_threads for library in libraries]
    for library in libraries:
        library.set_num_threads(1)
    try:
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            yield
    finally:
        for library, threads in zip(libraries, before, strict=True):
            library.set_num_threads(threads)
