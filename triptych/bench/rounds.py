"""The race: contestants act in turn, each alone, and what disturbs them is measured.

This is the only loop of the project that takes times. `triptych compare`, the benchmarks, the cost
model and `triptych doctor --time` use it.
"""

import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from ..errors import EngineError
from ..process import machine
from .load import Watch

C = TypeVar("C")  # a contestant
J = TypeVar("J")  # what all contestants do in one round

ROUNDS = 15  # that must count
MOST_ROUNDS = 45  # that may be added to reach them
IDLE_SECONDS = 0.05  # before each block, so that the threads of the others have come to rest
LARGEST_DISTURBANCE = 0.05


@dataclass(frozen=True)
class Elapsed:
    """What a contestant needed for its part of a round.

    Attributes
    ----------
    wall_seconds, cpu_seconds : float
        Wall time, and processor time of all its threads, in seconds.
    steps : int
        How many equal steps the time was needed for.
    """

    wall_seconds: float
    cpu_seconds: float
    steps: int = 1


@dataclass(frozen=True)
class Block:
    """One timed block: some steps of one contestant.

    Attributes
    ----------
    round : int
        The number of the round, from 0.
    seconds : float
        Time of one step, in seconds.
    cpu_share : float
        Processor time over wall time: about 1 for one thread that always had a processor.
    disturbance : float
        Processor time that the other contestants used meanwhile, over the wall time of the block.
    """

    round: int
    seconds: float
    cpu_share: float
    disturbance: float


@dataclass(frozen=True)
class Turn(Generic[C, J]):
    """A contestant did its part of a round; `job` is what the round asked for."""

    contestant: C
    job: J
    block: Block


@dataclass(frozen=True)
class Dropout(Generic[C]):
    """A contestant could not do its part; it takes no part in the rounds that follow."""

    contestant: C
    error: EngineError


@dataclass(frozen=True)
class RoundOver(Generic[J]):
    """Every contestant had its turn.

    Attributes
    ----------
    number : int
        The number of the round, from 0.
    job
        What the round asked for.
    others : float
        The share of the machine, from 0 to 1, that programs used which do not belong to the race.
    """

    number: int
    job: J
    others: float


def race(
    contestants: Sequence[C],
    act: Callable[[C, J], Elapsed],
    rounds: Iterable[J],
    *,
    pid: Callable[[C], int | None],
    bystanders: Collection[int] = (),
    processor_time: bool = False,
    idle_seconds: float = IDLE_SECONDS,
    resting: Callable[[C], bool] | None = None,
) -> Iterator[Turn[C, J] | Dropout[C] | RoundOver[J]]:
    """Let all contestants act in every round, one after the other.

    The first of a round is the second of the round before, so that each is first equally often.

    Parameters
    ----------
    contestants : sequence
    act : callable
        Lets a contestant do what a round asks for. It may raise an EngineError.
    rounds : iterable
        What is to be done in each round. It is read lazily, so it may end when enough is measured.
    pid : callable
        Returns the number of a contestant's process, or None if it has none between its turns.
    bystanders : collection of int
        Processes that belong to the measurement and must be idle during a block.
    processor_time : bool
        Whether `Block.seconds` is processor time. By default it is wall time.
    idle_seconds : float
        How long everybody is idle before each block, in seconds.
    resting : callable, optional
        Returns whether a contestant misses its next turn.

    Yields
    ------
    Turn, Dropout or RoundOver
        A `Turn` or a `Dropout` for each contestant; after the last of a round, a `RoundOver`.
    """
    remaining = list(contestants)
    for number, job in enumerate(rounds):
        if not remaining:
            return
        watch = Watch([*bystanders, *_pids(remaining, pid)])
        for contestant in _rotated(remaining, number):
            if resting and resting(contestant):
                continue
            time.sleep(idle_seconds)
            idle = [*bystanders, *_pids([c for c in remaining if c is not contestant], pid)]
            used_before = sum(map(machine.cpu_seconds, idle))
            try:
                elapsed = act(contestant, job)
            except EngineError as error:
                remaining.remove(contestant)
                yield Dropout(contestant, error)
                continue
            used = sum(map(machine.cpu_seconds, idle)) - used_before
            yield Turn(contestant, job, _block(number, elapsed, used, processor_time))
        yield RoundOver(number, job, watch.share())


def _rotated(contestants: Sequence[C], turns: int) -> list[C]:
    first = turns % len(contestants)
    return [*contestants[first:], *contestants[:first]]


def _pids(contestants: Iterable[C], pid: Callable[[C], int | None]) -> list[int]:
    pids = [pid(contestant) for contestant in contestants]
    return [number for number in pids if number is not None]


def _block(number: int, elapsed: Elapsed, used_by_others: float, processor_time: bool) -> Block:
    seconds = elapsed.cpu_seconds if processor_time else elapsed.wall_seconds
    return Block(
        number,
        seconds / elapsed.steps,
        elapsed.cpu_seconds / elapsed.wall_seconds,
        used_by_others / elapsed.wall_seconds,
    )


def valid_rounds(blocks: Mapping[str, Iterable[Block]]) -> set[int]:
    """Return the rounds in which every contestant was timed and undisturbed by the others.

    Parameters
    ----------
    blocks : mapping of str to iterable of Block
        By contestant.
    """
    undisturbed = [
        {block.round for block in of_one if block.disturbance <= LARGEST_DISTURBANCE}
        for of_one in blocks.values()
    ]
    return set.intersection(*undisturbed) if undisturbed else set()
