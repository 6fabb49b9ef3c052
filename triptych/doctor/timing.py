"""The figures of a measurement of two sides; see `triptych.doctor.stopwatch`."""

from dataclasses import asdict, dataclass
from typing import Any, Literal

from ..bench.statistics import Interval
from ..errors import counted

Part = Literal["training", "inference"]


@dataclass(frozen=True)
class SideTime:
    """What one side needed.

    Attributes
    ----------
    code : str
        What ran, as a user writes it.
    first_seconds : float
        Of the first call, compilation included.
    seconds : Interval
        Of one of the calls that followed.
    """

    code: str
    first_seconds: float
    seconds: Interval


@dataclass(frozen=True)
class TimedPart:
    """One thing that both sides did.

    Attributes
    ----------
    part : str
        ``training`` for a training step, ``inference`` for a forward pass in evaluation mode.
    a, b : SideTime
        Of each side.
    ratio : Interval
        The time of B over the time of A, paired by round.
    faster : str or None
        ``a`` or ``b``; None if no difference was measured, or the machine was busy.
    rounds : int
        How many rounds count.
    others : float
        The median share of the machine that other programs used in these rounds, from 0 to 1.
    busy : str
        Why the machine was too busy to name the faster side; otherwise empty.
    """

    part: Part
    a: SideTime
    b: SideTime
    ratio: Interval
    faster: str | None
    rounds: int
    others: float
    busy: str = ""

    @property
    def sentence(self) -> str:
        """The ratio in words, and what it decides."""
        ratio = self.ratio
        text = (
            f"{self.part}: B takes {ratio.median:.3g} times as long as A "
            f"({ratio.low:.3g} to {ratio.high:.3g}, {counted(self.rounds, 'round')})"
        )
        if self.busy:
            return f"{text}; the machine was busy, so no side is called faster: {self.busy}"
        if self.faster:
            return f"{text}; {self.faster.upper()} is faster"
        return f"{text}; no difference was measured"


@dataclass(frozen=True)
class Timing:
    """A measurement of two sides, or why there is none.

    Attributes
    ----------
    threads : int
        The threads of each side.
    parts : tuple of TimedPart
        What was timed.
    reason : str
        Why there is no ratio, or none of the training step; otherwise empty.
    notes : tuple of str
        What a reader should know about the figures.
    """

    threads: int
    parts: tuple[TimedPart, ...] = ()
    reason: str = ""
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return plain values; times are in seconds."""
        parts = [asdict(part) | {"sentence": part.sentence} for part in self.parts]
        return asdict(self) | {"parts": parts}
