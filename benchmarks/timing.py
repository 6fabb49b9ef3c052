"""What was measured of one workload, and how it is printed: times, ratios and the floor."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from triptych.bench.load import LARGEST_SHARE_OF_OTHERS
from triptych.bench.rounds import ROUNDS
from triptych.bench.statistics import interval, ratio

from .floor import Floor

COLUMNS = 4  # of ratios, next to each other

Rank = Literal["ranked", "reduced", "unproved"]
HEADINGS: dict[Rank, str] = {
    "ranked": "",
    "reduced": "in reduced precision, compared only among themselves:",
    "unproved": "not proved, because they cannot be fed the same batches; not ranked:",
}


@dataclass(frozen=True)
class Settings:
    """What the command line decides.

    Attributes
    ----------
    threads : int
        Threads of each contestant.
    rounds : int
        How many must count.
    all_backends : bool
        Whether contestants that compile, and every backend of ours, take part.
    data : str, optional
        What to train on, as `triptych.data.loading.load` takes it; random images by default.
    """

    threads: int = 1
    rounds: int = ROUNDS
    all_backends: bool = False
    data: str | None = None

    @property
    def processor_time(self) -> bool:
        """Whether processor time counts: with one thread it is the same on a busy machine."""
        return self.threads == 1


@dataclass(frozen=True)
class Line:
    """One contestant.

    Attributes
    ----------
    key, description : str
        Its name, and a few words.
    ours : bool
        Whether it is an engine of this project.
    seconds : list of float
        Its time for one step in each round; the rounds are the same for everybody.
    rank : str
        With whom it is compared.
    """

    key: str
    description: str
    ours: bool
    seconds: list[float]
    rank: Rank = "ranked"


@dataclass(frozen=True)
class Timing:
    """One workload, measured.

    Attributes
    ----------
    name, title : str
        Its key, and a few words.
    settings : Settings
    others : float
        The share of the machine that other programs used meanwhile, from 0 to 1.
    lines : list of Line
    proof : str
        What was proved equal before anything was timed.
    unit : str
        What the seconds are for: a step, an image.
    floor : Floor, optional
    kernels : str
        What products are computed with.
    failed : list of str
        Which contestants were left out, and why.
    """

    name: str
    title: str
    settings: Settings
    others: float
    lines: list[Line] = field(default_factory=list[Line])
    proof: str = ""
    unit: str = ""
    floor: Floor | None = None
    kernels: str = ""
    failed: list[str] = field(default_factory=list[str])

    @property
    def busy(self) -> bool:
        """Whether wall times mean nothing: then there are no ratios."""
        return not self.settings.processor_time and self.others > LARGEST_SHARE_OF_OTHERS

    @property
    def ok(self) -> bool:
        """Whether everything was measured."""
        return not self.busy and not self.failed

    def entries(self) -> list[dict[str, Any]]:
        """Return the ratios of each of ours with every other of its rank.

        A ratio is the other's time over ours, with a 95 % interval.
        """
        return [*self._ratios("ranked"), *self._ratios("reduced")]

    def _ratios(self, rank: Rank) -> Iterator[dict[str, Any]]:
        lines = [line for line in self.lines if line.rank == rank and not self.busy]
        workload = self.name if rank == "ranked" else f"{self.name} {rank}"
        for line in lines:
            if not line.ours:
                continue
            for other in lines:
                if other is line:
                    continue
                times = ratio(other.seconds, line.seconds)
                yield {
                    "workload": workload,
                    "engine": line.key,
                    "peer": other.key,
                    "threads": self.settings.threads,
                    "ratio": times.median,
                    "low": times.low,
                    "high": times.high,
                }

    def text(self) -> Iterator[str]:
        """Yield the block that a person reads, line by line."""
        clock = "1 thread, processor time"
        if not self.settings.processor_time:
            clock = f"{self.settings.threads} threads, wall time"
        yield f"{self.name}: {self.title} ({clock}; others used {self.others:.0%} of the machine)"
        if self.busy:
            yield (
                f"  no ratio: others used more than {LARGEST_SHARE_OF_OTHERS:.0%}, "
                "so wall times mean nothing; let the machine come to rest"
            )
            return
        yield f"  proved first: {self.proof}"
        for reason in self.failed:
            yield f"  left out: {reason}"
        if self.floor:
            yield f"  floor: {self.floor}"
        if self.kernels:
            yield f"  kernels: {self.kernels}"
        for rank, heading in HEADINGS.items():
            lines = [line for line in self.lines if line.rank == rank]
            if not lines:
                continue
            yield ""
            if heading:
                yield f"  {heading}"
            yield from self._times(rank, lines)
            yield from self._table(rank, lines)

    def _times(self, rank: Rank, lines: list[Line]) -> Iterator[str]:
        """Yield the times: a row for each contestant."""
        floor = self.floor if rank != "reduced" else None  # the floor is for float32
        scale, unit = _scale(min(min(line.seconds) for line in lines))
        last = "× floor" if floor else ""
        yield f"  {'':26}{f'{unit} {self.unit}':>12}  {'95 % interval':22}{last}"
        for line in lines:
            time = interval([scale * seconds for seconds in line.seconds])
            above = f"{time.median / scale / floor.seconds:7.1f}  " if floor else ""
            limits = f"[{time.low:.3f}, {time.high:.3f}]"
            yield f"  {line.key:26}{time.median:12.3f}  {limits:22}{above}{line.description}"

    def _table(self, rank: Rank, lines: list[Line]) -> Iterator[str]:
        """Yield the ratios: a column for each of ours, a row for everybody."""
        cells: dict[tuple[str, str], str] = {}
        for entry in self._ratios(rank):
            text = "{ratio:.2f} [{low:.2f}, {high:.2f}]".format(**entry)
            cells[entry["engine"], entry["peer"]] = text
        if not cells or rank == "unproved":
            return
        columns = [line.key for line in lines if line.ours]
        for first in range(0, len(columns), COLUMNS):
            shown = columns[first : first + COLUMNS]
            yield ""
            yield f"  {'ours, times as fast as':26}" + "".join(f"{key:>24}" for key in shown)
            for line in lines:
                ratios = [cells.get((key, line.key), "–") for key in shown]
                yield f"  {line.key:26}" + "".join(f"{text:>24}" for text in ratios)


def _scale(seconds: float) -> tuple[float, str]:
    """Return the factor and the name of the unit in which a time is readable."""
    if seconds >= 1:
        return 1.0, "s"
    if seconds >= 1e-3:
        return 1e3, "ms"
    return 1e6, "µs"
