"""Contestants act in turn, each alone, in rotated order; and what others do on the machine meanwhile is measured."""

import time
from collections.abc import Callable, Iterator

from triptych.bench.contestants import Row, remote_of, valid_rounds
from triptych.bench.load import Watch
from triptych.bench.rounds import IDLE_SECONDS, MOST_ROUNDS, Block
from triptych.errors import EngineError
from triptych.process import machine

from .progress import progress
from .timing import Settings

Act = Callable[
    [Row], tuple[float, float, int]
]  # lets a row make a block; returns its wall and processor seconds, and its steps


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
    pids = [remote_of(row).pid for row in rows]
    watch = Watch(pids)
    rounds = settings.rounds
    for number in range(1 + rounds + MOST_ROUNDS):
        if number == 1:  # a compiler that ran meanwhile in a process of its own is nobody else
            watch = Watch(pids)
        act, turn = next(acts), number % len(rows)
        for row in rows[turn:] + rows[:turn]:
            (row.blocks if number else row.warmups).append(
                _block(row, rows, number, act, settings.processor_time)
            )
        done = len(valid_rounds(rows))
        progress(f"  {done} of {rounds} rounds", passing=True)
        if done >= rounds:
            return watch.share()
    raise EngineError(
        f"fewer than {rounds} of {rounds + MOST_ROUNDS} rounds were undisturbed; let the machine come to rest"
    )


def _block(row: Row, rows: list[Row], number: int, act: Act, processor_time: bool) -> Block:
    time.sleep(IDLE_SECONDS)
    others = [remote_of(other).pid for other in rows if other is not row]
    used = sum(map(machine.cpu_seconds, others))
    wall, cpu, steps = act(row)
    used = sum(map(machine.cpu_seconds, others)) - used
    return Block(number, (cpu if processor_time else wall) / steps, cpu / wall, used / wall)
