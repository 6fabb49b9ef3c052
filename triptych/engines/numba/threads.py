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
    """Return the BLAS library that kernels call, which is SciPy's; all if none has its name."""
    libraries = ThreadpoolController().select(user_api="blas").lib_controllers
    scipys = [library for library in libraries if "scipy.libs" in str(library.filepath)]
    return tuple(scipys or libraries)


@contextmanager
def one_blas_thread() -> Generator[None]:
    """Let BLAS use one thread: the kernels divide the work themselves."""
    before = [(library, int(library.get_num_threads() or 1)) for library in blas_libraries()]
    changed = [(library, threads) for library, threads in before if threads > 1]
    for library, _ in changed:
        library.set_num_threads(1)
    try:
        yield
    finally:
        for library, threads in changed:
            library.set_num_threads(threads)


@contextmanager
def computing() -> Generator[None]:
    """Let BLAS use one thread, without warnings of NumPy.

    If a training diverges, its losses show it.
    """
    with one_blas_thread(), np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        yield
