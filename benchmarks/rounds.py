"""Contestants act in turn, each alone, in rotated order; and what others do on the machine meanwhile is measured."""

import os
import time
from collections.abc import Callable, Iterable, Iterator

import psutil

from triptych.bench import machine
from triptych.bench.rounds import IDLE_SECONDS, MOST_ROUNDS
from triptych.bench.rows import Block, Row, remote_of, valid_rounds
from triptych.errors import EngineError

from .progress import progress
from .timing import Settings

Act = Callable[[Row], tuple[float, float, int]]  # lets a row make a block; returns its wall and processor seconds, and its steps


class Watch:
    """Measures what share of the machine is used by others than this process and its children, since it was made."""

    def __init__(self, rows: Iterable[Row] = ()) -> None:
        self.pids = [remote_of(row).pid for row in rows]
        self.begun, self.machine, self.own = time.perf_counter(), _machine_seconds(), self._own_seconds()

    def share(self) -> float:
        others = (_machine_seconds() - self.machine) - (self._own_seconds() - self.own)
        return max(0.0, others / ((time.perf_counter() - self.begun) * (os.cpu_count() or 1)))

    def _own_seconds(self) -> float:
        here = os.times()
        return sum(here[:4]) + sum(map(machine.cpu_seconds, self.pids))


def _machine_seconds() -> float:
    """Return the processor time used on this machine by anyone, the host of a virtual one included."""
    times = psutil.cpu_times()
    return sum(getattr(times, kind, 0.0) for kind in ("user", "nice", "system", "irq", "softirq", "steal"))


def others_now(seconds: float = 1.0) -> float:
    """Return the share of the machine that others use at the moment."""
    watch = Watch()
    time.sleep(seconds)
    return watch.share()


def compete(rows: list[Row], settings: Settings, acts: Iterator[Act]) -> float:
    """Time rounds until so many were undisturbed, after one to warm up; at most `MOST_ROUNDS` are added to reach them.

    Parameters
    ----------
    rows : list of Row
        Their `blocks` are filled, in seconds a step.
    settings : Settings
    acts : iterator
        What everyone does in each round.

    Returns
    -------
    float
        The share of the machine that others used meanwhile.

    Raises
    ------
    EngineError
        Where too many rounds were disturbed by the other contestants.
    """
    watch, rounds = Watch(rows), settings.rounds
    for number in range(1 + rounds + MOST_ROUNDS):
        if number == 1:  # a compiler that ran meanwhile in a process of its own is nobody else
            watch = Watch(rows)
        act, turn = next(acts), number % len(rows)
        for row in rows[turn:] + rows[:turn]:
            (row.blocks if number else row.warmups).append(_block(row, rows, number, act, settings.processor_time))
        done = len(valid_rounds(rows))
        progress(f"  {done} of {rounds} rounds", passing=True)
        if done >= rounds:
            return watch.share()
    raise EngineError(f"fewer than {rounds} of {rounds + MOST_ROUNDS} rounds were undisturbed; let the machine come to rest")


def _block(row: Row, rows: list[Row], number: int, act: Act, processor_time: bool) -> Block:
    time.sleep(IDLE_SECONDS)
    others = [remote_of(other).pid for other in rows if other is not row]
    used = sum(map(machine.cpu_seconds, others))
    wall, cpu, steps = act(row)
    used = sum(map(machine.cpu_seconds, others)) - used
    return Block(number, (cpu if processor_time else wall) / steps, cpu / wall, used / wall)
