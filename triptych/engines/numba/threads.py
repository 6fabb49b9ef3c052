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
    """Return the BLAS libraries of this process: that of SciPy, which kernels call, and NumPy's."""
    return tuple(ThreadpoolController().select(user_api="blas").lib_controllers)


class OneBlasThread:
    """While it is entered, BLAS uses one thread: the kernels divide the work themselves.

    NumPy's too: after a product, its second thread waits for the next one in a loop, on the
    processor that a thread of the kernels needs.
    """

    def __enter__(self) -> None:
        self.changed: list[tuple[LibController, int]] = []
        for library in blas_libraries():
            threads = int(library.get_num_threads() or 1)
            if threads > 1:
                library.set_num_threads(1)
                self.changed.append((library, threads))

    def __exit__(self, *exception: object) -> None:
        for library, threads in self.changed:
            library.set_num_threads(threads)


@contextmanager
def computing() -> Generator[None]:
    """Let BLAS use one thread, without warnings of NumPy.

    If a training diverges, its losses show it.
    """
    with OneBlasThread(), np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        yield
