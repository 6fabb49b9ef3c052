"""The threads that share the work of a step, in place of those that BLAS would start for each product."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from contextvars import copy_context
from functools import cache
from typing import Any


class Crew:
    """The threads of an engine. While several of them work, each computes with one thread of BLAS."""

    def __init__(self, lanes: int | None = None) -> None:
        self.lanes = lanes or threads()
        self.pool = ThreadPoolExecutor(self.lanes - 1) if self.lanes > 1 else None

    def each(self, count: int, work: Callable[[int], None], worth: int = 2) -> None:
        """Do work(0) … work(count - 1), number k in lane k mod `lanes`, in ascending order within a lane; alone if less than `worth`."""
        if self.pool is None or count < worth:
            for k in range(count):
                work(k)
            return

        def lane(first: int) -> None:
            for k in range(first, count, self.lanes):
                work(k)

        with blas().limit(limits=1, user_api="blas"):
            # Each in a copy of this context, where NumPy keeps its errstate.
            others = [self.pool.submit(copy_context().run, lane, first) for first in range(1, min(self.lanes, count))]
            try:
                lane(0)
            finally:  # whatever happened, nobody goes on while others write
                wait(others)
        for other in others:
            other.result()


@cache
def blas() -> Any:
    """Return the controller of this process's BLAS libraries."""
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


def threads() -> int:
    """Return the number of threads that BLAS has now."""
    return max((library["num_threads"] for library in blas().info() if library["user_api"] == "blas"), default=1)
