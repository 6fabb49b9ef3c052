"""The memory of the test processes: freed as tests end, and reported after all of them."""

import ctypes
import gc
import sys
from typing import Any

import psutil
import pytest

from triptych.process import machine

MEGABYTE = 1e6
# By how much the memory may grow within a file of tests, until what they have left is freed.
LARGEST_GROWTH = 64 * 2**20  # bytes


class Release:
    """A plugin that frees what tests have left in memory.

    That is done after each file of tests, and within a file whenever the memory has grown: what
    JAX alone has compiled for one test takes up to 60 MB.
    """

    def __init__(self) -> None:
        self.bytes_before = resident_bytes()

    @pytest.hookimpl(trylast=True)  # after the fixtures of the test and of its file have ended
    def pytest_runtest_teardown(self, item: pytest.Item, nextitem: pytest.Item | None) -> None:
        """Free memory, where a file ends or the memory has grown."""
        if nextitem is None:
            return
        if nextitem.path != item.path:
            forget(item.getparent(pytest.Module))
        elif resident_bytes() < self.bytes_before + LARGEST_GROWTH:
            return
        release()
        self.bytes_before = resident_bytes()


def resident_bytes() -> int:
    """Return the present resident size of this process."""
    return psutil.Process().memory_info().rss


def forget(module: pytest.Module | None) -> None:
    """Clear the results of functions in a file that are decorated with `functools.cache`."""
    for value in vars(module.obj).values() if module else ():
        if hasattr(value, "cache_clear"):
            value.cache_clear()


def release() -> None:
    """Free what the frameworks have compiled, and what nothing refers to."""
    if "jax" in sys.modules:
        sys.modules["jax"].clear_caches()
    if "torch._dynamo" in sys.modules:
        sys.modules["torch._dynamo"].reset()
    gc.collect()  # what was in the caches is in cycles, too
    if sys.platform == "linux":  # the C library keeps freed memory unless it is told not to
        ctypes.CDLL(None).malloc_trim(0)


class PeakMemory:
    """A plugin that prints the largest memory of every test process below the results."""

    def __init__(self, config: pytest.Config) -> None:
        self.worker = getattr(config, "workerinput", {}).get("workerid")
        self.output: dict[str, Any] = getattr(config, "workeroutput", {})
        self.peak_bytes: dict[str, int] = {}

    def pytest_sessionfinish(self) -> None:
        """Measure this process, at the end of its tests."""
        peak = machine.peak_memory() or 0
        self.output["peak_bytes"] = peak
        if self.worker is None:
            self.peak_bytes["this process"] = peak

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any, error: object) -> None:
        """Receive the figure of another process of pytest-xdist."""
        if "peak_bytes" in getattr(node, "workeroutput", {}):
            self.peak_bytes[node.gateway.id] = node.workeroutput["peak_bytes"]

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        """Print one line."""
        figures = [
            f"{name} {peak / MEGABYTE:,.0f} MB" for name, peak in sorted(self.peak_bytes.items())
        ]
        terminalreporter.write_line(f"Peak memory: {', '.join(figures)}")
