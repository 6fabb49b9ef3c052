"""What was measured of one workload, and how it is said: times, what stands beside them, and ratios."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from triptych.bench.load import BUSY
from triptych.bench.rounds import ROUNDS
from triptych.bench.statistics import interval, ratio

from .floor import Floor

COLUMNS = 4  # of ratios beside each other

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
        Of each contestant.
    rounds : int
        That count.
    all_backends : bool
        Whether those that compile, and every backend of ours, take part.
    data : str, optional
        What to train on, as `triptych.data.registry.load` takes it; random images without it.
    """

    threads: int = 1
    rounds: int = ROUNDS
    all_backends: bool = False
    data: str | None = None

    @property
    def processor_time(self) -> bool:
        """Whether processor time counts: with one thread it does, because it is the same on a busy machine."""
        return self.threads == 1


@dataclass(frozen=True)
class Line:
    """One contestant: its seconds in each round, paired with everyone else's."""

    key: str
    about: str
    ours: bool
    seconds: list[float]
    rank: Rank = "ranked"


@dataclass(frozen=True)
class Timing:
    """One workload, measured.

    Attributes
    ----------
    name, title : str
    settings : Settings
    others : float
        The share of the machine that others used meanwhile.
    lines : list of Line
    proof : str
        What was found equal before anything was timed.
    unit : str
        Of what the seconds are: a step, an image.
    floor : Floor, optional
    kernels : str
        What products are computed with.
    failed : list of str
        Who was left out, and why.
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
        return not self.settings.processor_time and self.others > BUSY

    @property
    def ok(self) -> bool:
        return not self.busy and not self.failed

    def entries(self) -> list[dict[str, Any]]:
        """Return, for each of ours and everyone else of its rank, how many times longer the other takes, with a 95 % interval."""
        return [entry for rank in ("ranked", "reduced") for entry in self._ratios(rank)]

    def _ratios(self, rank: Rank) -> Iterator[dict[str, Any]]:
        lines = [line for line in self.lines if line.rank == rank and not self.busy]
        workload = self.name if rank == "ranked" else f"{self.name} {rank}"
        for own in [line for line in lines if line.ours]:
            for other in [line for line in lines if line is not own]:
                found = ratio(other.seconds, own.seconds)
                about = {
                    "workload": workload,
                    "engine": own.key,
                    "peer": other.key,
                    "threads": self.settings.threads,
                }
                yield about | {"ratio": found.median, "low": found.low, "high": found.high}

    def text(self) -> Iterator[str]:
        """Yield the block that a person reads, line by line."""
        threads = (
            "1 thread, processor time"
            if self.settings.processor_time
            else f"{self.settings.threads} threads, wall time"
        )
        yield f"{self.name}: {self.title} ({threads}; others used {self.others:.0%} of the machine)"
        if self.busy:
            yield f"  no ratio: others used more than {BUSY:.0%}, so wall times mean nothing; let the machine come to rest"
            return
        yield f"  proved first: {self.proof}"
        yield from (f"  left out: {reason}" for reason in self.failed)
        yield from [f"  floor: {self.floor}"] if self.floor else []
        yield from [f"  kernels: {self.kernels}"] if self.kernels else []
        for rank, heading in HEADINGS.items():
            if lines := [line for line in self.lines if line.rank == rank]:
                yield from ["", f"  {heading}"] if heading else [""]
                yield from self._times(rank, lines)
                yield from self._table(rank, lines)

    def _times(self, rank: Rank, lines: list[Line]) -> Iterator[str]:
        floor = self.floor if rank != "reduced" else None  # which is of float32
        scale, unit = _scale(min(min(line.seconds) for line in lines))
        yield f"  {'':26}{f'{unit} {self.unit}':>12}  {'95 % interval':22}" + (
            "× floor" if floor else ""
        )
        for line in lines:
            t = interval([scale * seconds for seconds in line.seconds])
            above = f"{t.median / scale / floor.seconds:7.1f}  " if floor else ""
            yield f"  {line.key:26}{t.median:12.3f}  {f'[{t.low:.3f}, {t.high:.3f}]':22}{above}{line.about}"

    def _table(self, rank: Rank, lines: list[Line]) -> Iterator[str]:
        """Yield the ratios: a column for each of ours, so many beside each other, and a row for each of the others."""
        cells = {
            (entry["engine"], entry["peer"]): "{ratio:.2f} [{low:.2f}, {high:.2f}]".format(**entry)
            for entry in self._ratios(rank)
        }
        columns = [line.key for line in lines if line.ours and cells and rank != "unproved"]
        for beside in (columns[i : i + COLUMNS] for i in range(0, len(columns), COLUMNS)):
            yield from [
                "",
                f"  {'ours, times as fast as':26}" + "".join(f"{key:>24}" for key in beside),
            ]
            yield from (
                f"  {row.key:26}"
                + "".join(f"{cells.get((key, row.key), '–'):>24}" for key in beside)
                for row in lines
            )


def _scale(seconds: float) -> tuple[float, str]:
    return (1.0, "s") if seconds >= 1 else (1e3, "ms") if seconds >= 1e-3 else (1e6, "µs")
