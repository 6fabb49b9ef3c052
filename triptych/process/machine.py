"""The conditions of a measurement: processor, BLAS kernel, threads, memory, library versions."""

import os
import platform
import time
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from .. import search_path
from ..core import registry
from ..core.devices import processors
from ..errors import EngineError, counted

LOOPBACK = "127.0.0.1"  # an address that only this machine can reach
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
# Threads without work sleep at once, so that they take no time from the other workers.
SLEEP_VARIABLES = {
    "OMP_WAIT_POLICY": "passive",
    "KMP_BLOCKTIME": "0",
    "OPENBLAS_THREAD_TIMEOUT": "4",
}


@dataclass(frozen=True)
class MemoryUse:
    """What a process holds.

    Attributes
    ----------
    peak_bytes : int or None
        The largest resident size so far, in bytes; None if the system does not tell.
    blas : list of str
        Its BLAS and OpenMP libraries, each with its kernel and threads.
    """

    peak_bytes: int | None
    blas: list[str]


def environment(threads: int, device: str) -> dict[str, str]:
    """Return the environment of a worker.

    Parameters
    ----------
    threads : int
        The number of threads of each library in the worker.
    device : str
        The device that is used; no other one is visible.

    Raises
    ------
    EngineError
        If there are fewer processors than threads: they would share, and times would mean nothing.
    """
    check_threads(threads)
    settings = os.environ | library_settings(threads, device)
    settings["PYTHONUNBUFFERED"] = "1"
    settings |= search_path.for_children()  # a worker finds this package, installed or not
    return settings


def library_settings(threads: int, device: str) -> dict[str, str]:
    """Return the environment variables that libraries read when they are imported.

    Parameters
    ----------
    threads, device
        As of `environment`.
    """
    settings = dict.fromkeys(THREAD_VARIABLES, str(threads)) | SLEEP_VARIABLES
    for entry in registry.entries().values():
        for name, value in entry.environment.items():
            settings[name] = value.format(threads=threads)
    if device == "cpu":
        settings["CUDA_VISIBLE_DEVICES"] = ""
    return settings


def check_threads(threads: int) -> None:
    """Raise an `EngineError` if there are fewer processors than threads."""
    if threads > processors():
        available = counted(processors(), "processor")
        raise EngineError(
            f"{threads} threads where this machine has {available}; use at most as many"
        )


def kernel_settings() -> dict[str, str]:
    """Return the variables of this environment that force a BLAS library's choice of kernel."""
    return {name: os.environ[name] for name in KERNEL_VARIABLES if os.environ.get(name)}


def describe() -> dict[str, Any]:
    """Return the machine and the libraries, as JSON; nothing heavy is imported."""
    versions: dict[str, str] = {}
    for entry in registry.entries().values():
        for name in (entry.requires, *entry.packages):
            installed = _version(name)
            if installed:
                versions[name] = installed
    return {
        "processor": processor(),
        "cores": os.cpu_count(),
        "system": platform.platform(terse=True),
        "python": platform.python_version(),
        "load": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "versions": versions,
    }


def processor() -> str:
    """Return the name of the processor."""
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def blas() -> list[str]:
    """Return each BLAS and OpenMP library loaded into this process, with its kernel and threads."""
    from threadpoolctl import threadpool_info

    libraries: list[str] = []
    for info in threadpool_info():
        keys = ("internal_api", "version", "architecture")
        parts = [str(info[key]) for key in keys if info.get(key)]
        threads = counted(info["num_threads"], "thread")
        libraries.append(f"{' '.join(parts)}, {threads}")
    return sorted(libraries)  # because the order of the system changes


def memory_use() -> MemoryUse:
    """Return the peak of this process's memory, and its BLAS libraries."""
    return MemoryUse(peak_memory(), blas())


def peak_memory() -> int | None:
    """Return the largest resident size of this process so far, in bytes, or None if it is unknown.

    It is VmHWM and not ``ru_maxrss``, which a child inherits from its parent.
    """
    with suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    with suppress(OSError):
        import psutil

        return getattr(psutil.Process().memory_info(), "peak_wset", None)  # Windows
    return None


def reset_peak_memory() -> None:
    """Start the peak anew from the present size, on Linux; elsewhere the peak does not change."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")  # 5 resets the peak: see proc(5)


def cpu_seconds(pid: int) -> float:
    """Return the processor time that another process has used, in seconds, without waking it."""
    try:
        # On Linux the CPU clock of any process has an id that is made of its number
        # (clock_getcpuclockid(3)). Its resolution is nanoseconds.
        return time.clock_gettime((~pid << 3) | 2)
    except (AttributeError, OSError):
        import psutil

        try:
            times = psutil.Process(pid).cpu_times()  # hundredths of a second
        except psutil.Error:
            return 0.0  # it has ended; the next message to it reports that
        return times.user + times.system


def tree_cpu_seconds(pid: int) -> float:
    """Return the processor time of a process and its children, in seconds; -1 if it has ended."""
    import psutil

    try:
        process = psutil.Process(pid)
        family = [process, *process.children(recursive=True)]
        times = [member.cpu_times() for member in family]
    except psutil.Error:
        return -1.0
    total = sum(t.user + t.system for t in times)
    for t in times:
        # The time of a child that has ended is part of its parent's children's times.
        total += getattr(t, "children_user", 0.0) + getattr(t, "children_system", 0.0)
    return round(total, 2)  # the system counts in hundredths


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
