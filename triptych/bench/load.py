"""How much of the machine other programs use during a measurement."""

import os
import time
from collections.abc import Iterable

import psutil

from ..process import machine

# Above this share, wall time tells more about other programs than about the contestants.
LARGEST_SHARE_OF_OTHERS = 0.05
SECONDS_OF_A_LOOK = 1.0  # long enough for the system's counters, which tick 100 times a second


class Watch:
    """Measures which share of the machine others use, from the moment when it is made.

    Parameters
    ----------
    pids : iterable of int
        Processes that belong to the measurement, in addition to this one.
    """

    def __init__(self, pids: Iterable[int] = ()) -> None:
        self.pids = list(pids)
        self.begun = time.perf_counter()
        self.machine_seconds = _machine_seconds()
        self.our_seconds = self._our_seconds()

    def share(self) -> float:
        """Return the share of the machine that others have used so far, from 0 to 1."""
        seconds = time.perf_counter() - self.begun
        used = _machine_seconds() - self.machine_seconds
        used_by_us = self._our_seconds() - self.our_seconds
        available = seconds * (os.cpu_count() or 1)
        return max(0.0, (used - used_by_us) / available)

    def _our_seconds(self) -> float:
        times = os.times()
        ended_children = times.children_user + times.children_system
        return time.process_time() + ended_children + sum(map(machine.cpu_seconds, self.pids))


def _machine_seconds() -> float:
    """Return the processor time of all programs, that of a virtual machine's host included."""
    times = psutil.cpu_times()
    kinds = ("user", "nice", "system", "irq", "softirq", "steal")
    return sum(getattr(times, kind, 0.0) for kind in kinds)


def others_now(seconds: float = SECONDS_OF_A_LOOK, pids: Iterable[int] = ()) -> float:
    """Return the share of the machine that others use at the moment, from 0 to 1.

    Parameters
    ----------
    seconds : float
        How long to measure, in seconds.
    pids : iterable of int
        As for `Watch`.
    """
    watch = Watch(pids)
    time.sleep(seconds)
    return watch.share()
