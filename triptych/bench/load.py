"""What other programs do on the machine during a measurement, and the rule when it was too busy.

A round of a comparison is *calm* if both hold:

- other programs used at most 5 % of the machine (`BUSY`), as in ``python -m benchmarks``;
- every row that runs on the processor had one for at least 90 % of its block's time (`SHARE`;
  60 % on Windows, because of its clock).

Times of calm rounds are preferred. If there are too few of them, the machine was *busy*: then the
times of all rounds are shown, and no row is named the fastest.
"""

import os
import time
from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING

import numpy as np
import psutil

from ..process import machine

if TYPE_CHECKING:
    from .contestants import Row

BUSY = (
    0.05  # of the whole machine, used by others: then wall time says more about them than about us
)
# Of a block's wall time for which a row must have had a processor. Windows counts processor time in
# ticks of 16 ms, a third of the shortest block, so there one block cannot be judged as finely.
SHARE = 0.6 if os.name == "nt" else 0.9
SECONDS_OF_A_LOOK = (
    1.0  # long enough for the system's counters, which tick a hundred times a second
)


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
        self.machine = _machine_seconds()
        self.own = self._own_seconds()

    def share(self) -> float:
        """Return the share of the machine that others have used so far, from 0 to 1."""
        seconds = time.perf_counter() - self.begun
        others = (_machine_seconds() - self.machine) - (self._own_seconds() - self.own)
        return max(0.0, others / (seconds * (os.cpu_count() or 1)))

    def _own_seconds(self) -> float:
        here = os.times()
        children = here.children_user + here.children_system
        return time.process_time() + children + sum(map(machine.cpu_seconds, self.pids))


def _machine_seconds() -> float:
    """Return the processor time used on this machine by anyone, the host of a virtual one included."""
    times = psutil.cpu_times()
    return sum(
        getattr(times, kind, 0.0) for kind in ("user", "nice", "system", "irq", "softirq", "steal")
    )


def others_now(seconds: float = SECONDS_OF_A_LOOK, pids: Iterable[int] = ()) -> float:
    """Return the share of the machine that others use at the moment.

    Parameters
    ----------
    seconds : float
        How long to watch.
    pids : iterable of int
        As for `Watch`.
    """
    watch = Watch(pids)
    time.sleep(seconds)
    return watch.share()


def starved(row: "Row", rounds: Collection[int]) -> float | None:
    """Return the share of time for which a row had a processor, if it was too small; otherwise None.

    Parameters
    ----------
    row : Row
        A row on another device waits for it, and is never starved.
    rounds : collection of int
        Whose blocks are looked at; the share is their median.
    """
    shares = [block.cpu_share for block in row.blocks if block.round in rounds]
    if not shares or not row.engine or row.engine.device != "cpu":
        return None
    share = float(np.median(shares))
    return share if share < SHARE else None


def calm_rounds(
    rows: Iterable["Row"], rounds: Iterable[int], others: Mapping[int, float]
) -> set[int]:
    """Return those of some rounds in which the machine was calm.

    Parameters
    ----------
    rows : iterable of Row
        All that were timed.
    rounds : iterable of int
    others : mapping of int to float
        By round, the share of the machine that others used.
    """
    rows = list(rows)
    return {
        number
        for number in rounds
        if others.get(number, 0.0) <= BUSY and all(starved(row, {number}) is None for row in rows)
    }


def reason(rows: Iterable["Row"], rounds: Collection[int], others: Mapping[int, float]) -> str:
    """Return in words what made the machine busy during some rounds."""
    parts: list[str] = []
    used = float(np.median([others.get(number, 0.0) for number in rounds])) if rounds else 0.0
    if used > BUSY:
        parts.append(f"other programs used {used:.0%} of it")
    waited = {row.spec.label: share for row in rows if (share := starved(row, rounds)) is not None}
    if waited:
        shares = ", ".join(f"{label} {share:.0%}" for label, share in waited.items())
        parts.append(f"share of the time with a processor: {shares}")
    if not parts:
        parts.append("other programs ran in most of the rounds")
    return "; ".join(parts)
