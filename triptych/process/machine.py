"""What a measurement stands on: processor, BLAS kernel, threads, load, memory and library versions."""

import os
import platform
import time
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from ..core import registry
from ..errors import EngineError, counted
from . import search_path

THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)
KERNEL_VARIABLES = (
    "OPENBLAS_CORETYPE",
    "OPENBLAS_L2_SIZE",
    "MKL_ENABLE_INSTRUCTIONS",
    "MKL_DEBUG_CPU_TYPE",
    "ONEDNN_MAX_CPU_ISA",
)


def environment(threads: int, device: str) -> dict[str, str]:
    """Return the environment of a worker: equal threads, idle threads that sleep, no device but the one asked for.

    Raises
    ------
    EngineError
        Where there are fewer processors than threads: they would share, and the times would mean nothing.
    """
    if threads > processors():
        here = counted(processors(), "processor")
        raise EngineError(f"{threads} threads where this machine has {here}; use at most as many")
    settings = {name: str(threads) for name in THREAD_VARIABLES} | {
        "OMP_WAIT_POLICY": "passive",
        "KMP_BLOCKTIME": "0",
        "OPENBLAS_THREAD_TIMEOUT": "4",
        "PYTHONUNBUFFERED": "1",
    }
    settings |= search_path.for_children()  # a worker finds this package, installed or not
    for entry in registry.entries().values():
        settings |= {
            name: value.format(threads=threads) for name, value in entry.environment.items()
        }
    return os.environ | settings | ({"CUDA_VISIBLE_DEVICES": ""} if device == "cpu" else {})


def processors() -> int:
    """Return how many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def kernel_settings() -> dict[str, str]:
    """Return the variables of this environment that force a BLAS library's choice of kernel."""
    return {name: os.environ[name] for name in KERNEL_VARIABLES if os.environ.get(name)}


def describe() -> dict[str, Any]:
    """Return the machine and the libraries, as JSON; nothing heavy is imported."""
    return {
        "processor": processor(),
        "cores": os.cpu_count(),
        "system": platform.platform(terse=True),
        "python": platform.python_version(),
        "load": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "versions": {
            name: v
            for e in registry.entries().values()
            for name in (e.requires, *e.packages)
            if (v := _version(name))
        },
    }


def processor() -> str:
    """Return the processor's name as it calls itself."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def blas() -> list[str]:
    """Return each BLAS and OpenMP library loaded into this process, with its kernel and threads."""
    from threadpoolctl import threadpool_info

    found: list[str] = []
    for info in threadpool_info():
        parts = [
            str(info[key]) for key in ("internal_api", "version", "architecture") if info.get(key)
        ]
        threads = counted(info["num_threads"], "thread")
        found.append(f"{' '.join(parts)}, {threads}")
    return sorted(found)  # the system lists them in an order of its own


def peak_memory() -> int | None:
    """Return the largest resident size of this process so far, in bytes, or None where the system does not tell.

    VmHWM and not ``ru_maxrss``, which a child inherits from its parent.
    """
    try:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    try:
        import psutil

        return getattr(psutil.Process().memory_info(), "peak_wset", None)  # Windows
    except OSError:
        return None


def reset_peak_memory() -> None:
    """Start the peak anew from the present size (Linux: 5 to clear_refs; elsewhere the peak stays that of the process)."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def cpu_seconds(pid: int) -> float:
    """Return the processor time another process has used, without waking it."""
    try:
        # On Linux the CPU clock of any process has an id made of its number (clock_getcpuclockid(3)): nanoseconds.
        return time.clock_gettime((~pid << 3) | 2)
    except (AttributeError, OSError):
        import psutil

        try:
            times = psutil.Process(pid).cpu_times()  # hundredths of a second
        except psutil.Error:
            return 0.0  # it has ended; the next message to it says so
        return times.user + times.system


def tree_cpu_seconds(pid: int) -> float:
    """Return the processor time that a process and its children have used, in seconds; -1 where it has ended."""
    import psutil

    try:
        process = psutil.Process(pid)
        family = [process, *process.children(recursive=True)]
        times = [member.cpu_times() for member in family]
    except psutil.Error:
        return -1.0
    # What a child used that has ended is in its parent's children's times.
    ended = sum(
        getattr(t, "children_user", 0.0) + getattr(t, "children_system", 0.0) for t in times
    )
    return round(
        ended + sum(t.user + t.system for t in times), 2
    )  # hundredths are what the system counts in


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
