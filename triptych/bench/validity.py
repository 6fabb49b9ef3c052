"""Which rounds of a comparison count, and when the machine was too busy to trust them.

A round is *valid* if every row was timed in it and no row was disturbed by the worker of another
one. A valid round is *calm* if both hold:

- other programs used at most 5 % of the machine (`LARGEST_SHARE_OF_OTHERS`), as in
  ``python -m benchmarks``;
- every row that computes on the processor had one for at least 90 % of the time of its block
  (`SMALLEST_CPU_SHARE`; 60 % on Windows, because of its clock).

The times of calm rounds are preferred. If there are too few of them, the machine was *busy*: then
the times of all valid rounds are shown, and no row is named the fastest.
"""

import os
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from .load import LARGEST_SHARE_OF_OTHERS
from .rounds import Block, valid_rounds

# Windows counts processor time in ticks of 16 ms, a third of the shortest block, so a block cannot
# be judged as finely there.
SMALLEST_CPU_SHARE = 0.6 if os.name == "nt" else 0.9
FEWEST_ROUNDS = 6  # that must count: with five, the interval of a median is as wide as the range


@dataclass(frozen=True)
class RowBlocks:
    """The blocks of one row.

    Attributes
    ----------
    label : str
        The row's name for readers.
    device : str
        On which it computes.
    blocks : list of Block
        Those that are timed.
    warmups : list of Block
        Those that met a shape for the first time, so that they may contain compilation.
    """

    label: str
    device: str = "cpu"
    blocks: list[Block] = field(default_factory=list[Block])
    warmups: list[Block] = field(default_factory=list[Block])

    def counted(self, rounds: Collection[int]) -> list[Block]:
        """Return the blocks of some rounds."""
        return [block for block in self.blocks if block.round in rounds]

    def cpu_share(self, rounds: Collection[int]) -> float | None:
        """Return the median share of the time with a processor, or None without blocks."""
        shares = [block.cpu_share for block in self.counted(rounds)]
        return float(np.median(shares)) if shares else None

    @property
    def starved_rounds(self) -> set[int]:
        """The rounds in which the row lacked a processor."""
        if self.device != "cpu":  # it waits for its device
            return set()
        return {block.round for block in self.blocks if block.cpu_share < SMALLEST_CPU_SHARE}

    def starved(self, rounds: Collection[int]) -> bool:
        """Return whether the row lacked a processor. On another device it waits for that one."""
        share = self.cpu_share(rounds)
        return self.device == "cpu" and share is not None and share < SMALLEST_CPU_SHARE


@dataclass(frozen=True)
class Rounds:
    """What was timed.

    Attributes
    ----------
    rows : dict of str to RowBlocks
        By row; only rows that did not fail.
    others : mapping of int to float
        By round, the share of the machine that other programs used, from 0 to 1.
    """

    rows: dict[str, RowBlocks]
    others: Mapping[int, float]

    @property
    def timed(self) -> int:
        """The largest number of blocks of a row."""
        return max((len(row.blocks) for row in self.rows.values()), default=0)

    @property
    def valid(self) -> set[int]:
        """The rounds in which every row was timed and none was disturbed by another one."""
        return valid_rounds({key: row.blocks for key, row in self.rows.items()})

    @property
    def calm(self) -> set[int]:
        """The valid rounds in which the machine was calm."""
        starved = [row.starved_rounds for row in self.rows.values()]
        with_processors = self.valid.difference(*starved)
        return {number for number in with_processors if not self._others_were_busy(number)}

    @property
    def counted(self) -> set[int]:
        """The rounds whose times count: the calm ones, or all valid ones of a busy machine."""
        return self.valid if self.busy else self.calm

    @property
    def busy(self) -> str | None:
        """Why the machine was too busy to name a winner, or None if enough rounds were calm."""
        valid = self.valid
        if len(self.calm) >= min(FEWEST_ROUNDS, len(valid)):
            return None
        return self._reason(valid)

    def _others_were_busy(self, number: int) -> bool:
        return self.others.get(number, 0.0) > LARGEST_SHARE_OF_OTHERS

    def _reason(self, rounds: Collection[int]) -> str:
        parts: list[str] = []
        used = _median(self.others.get(number, 0.0) for number in rounds)
        if used > LARGEST_SHARE_OF_OTHERS:
            parts.append(f"other programs used {used:.0%} of it")
        starved = [row for row in self.rows.values() if row.starved(rounds)]
        if starved:
            shares = ", ".join(f"{row.label} {row.cpu_share(rounds):.0%}" for row in starved)
            parts.append(f"share of the time with a processor: {shares}")
        if not parts:
            parts.append("other programs ran in most of the rounds")
        return "; ".join(parts)


def _median(values: Iterable[float]) -> float:
    listed = list(values)
    return float(np.median(listed)) if listed else 0.0
