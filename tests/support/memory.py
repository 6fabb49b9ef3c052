"""The memory of the test processes: freed after each file of tests, and reported at the end."""

import ctypes
import gc
import sys
from typing import Any

import pytest

from triptych.process import machine

MEGABYTE = 1e6


def release(module: pytest.Module | None) -> None:
    """Free what the tests of a file have left in memory.

    Parameters
    ----------
    module : pytest.Module or None
        The file. Functions in it that are decorated with `functools.cache` forget their results.
    """
    for value in vars(module.obj).values() if module else ():
        if hasattr(value, "cache_clear"):
            value.cache_clear()
    gc.collect()
    if "jax" in sys.modules:
        sys.modules["jax"].clear_caches()
    if "torch._dynamo" in sys.modules:
        sys.modules["torch._dynamo"].reset()
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
