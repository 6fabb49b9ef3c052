"""Who takes part: our engines and the peers, each in a process of its own."""

from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from triptych.bench.contestants import Row, remote_of, valid_rounds
from triptych.core import registry
from triptych.core.selection import EngineSpec
from triptych.errors import EngineError
from triptych.process.client import Remote

from .floor import Floor
from .peers import PEERS
from .progress import progress
from .timing import Line, Rank, Settings, Timing

FURTHER = (EngineSpec("torch", "onednn"),)  # of ours, beside each engine's first backend


class Contestant(Remote):
    """An engine or a peer in a process of its own."""

    worker = "benchmarks.worker"


def ours(all_backends: bool = False) -> list[EngineSpec]:
    """Return our engines that are installed, NumPy, the reference, first."""
    there = [entry for entry in registry.entries().values() if entry.installed]
    every = [EngineSpec(entry.name, backend) for entry in there for backend in entry.backends]
    return [spec for spec in every if all_backends or spec.key == spec.engine or spec in FURTHER]


def field(peers: Iterable[str], settings: Settings) -> list[EngineSpec]:
    """Return ours and those of the peers that are installed and wanted."""
    chosen = [PEERS[key] for key in peers if settings.all_backends or not PEERS[key].slow]
    return ours(settings.all_backends) + [
        peer.spec for peer in chosen if registry.entry(peer.spec.engine).installed
    ]


@contextmanager
def opened(specs: list[EngineSpec], threads: int) -> Generator[list[Row]]:
    """Start a process for each, all at once, and end them afterwards."""
    progress(f"  starting {len(specs)} processes", passing=True)
    rows: list[Row] = []
    try:
        rows.extend(
            Row(spec, Contestant(spec.engine, spec.backend, threads=threads)) for spec in specs
        )
        attempt(rows, lambda row: remote_of(row).greet())
        yield rows
    finally:
        for row in rows:
            remote_of(row).close()


def attempt(rows: list[Row], action: Callable[[Row], Any]) -> None:
    """Do something for every row that is left; one that cannot says why, and is out.

    Raises
    ------
    EngineError
        Where it is the first, to which the others are compared.
    """
    for row in [row for row in rows if not row.failed]:
        try:
            action(row)
        except EngineError as error:
            if row is rows[0]:
                raise
            row.failed = str(error)


def filled(timing: Timing, rows: list[Row], operations: int, size: int) -> Timing:
    """Return a timing with what was measured of those that did not fail, and the floor of so many operations and bytes."""
    running = [row for row in rows if not row.failed]
    failed = [f"{row.spec.key}: {row.failed}" for row in rows if row.failed]
    floor = measured_floor(running, operations, size)
    return replace(
        timing, lines=lines(running), floor=floor, kernels=kernels(running), failed=failed
    )


def lines(rows: list[Row]) -> list[Line]:
    """Return what was timed, in the rounds that are valid for everyone."""
    valid = valid_rounds(rows)
    return [
        Line(
            row.spec.key,
            about(row),
            row.spec.key not in PEERS,
            [b.seconds for b in row.blocks if b.round in valid],
            rank(row),
        )
        for row in rows
    ]


def about(row: Row) -> str:
    if peer := PEERS.get(row.spec.key):
        return peer.about
    entry = registry.entry(row.spec.engine)
    return f"ours: {entry.label}, {entry.backends[row.spec.backend]}"


def rank(row: Row) -> Rank:
    return (
        "unproved"
        if row.rounding is None
        else "ranked"
        if row.rounding.verdict == "rounding"
        else "reduced"
    )


def kernels(rows: list[Row]) -> str:
    """Return what NumPy and PyTorch compute products with, and their threads."""
    return "; ".join(
        f"{remote.entry.label}: {remote.ask('kernel', module=name)[0]['kernel']}"
        for name, remote in telling(rows).items()
    )


def measured_floor(rows: list[Row], operations: int, size: int) -> Floor:
    """Measure the peak in those processes that can: of products the fastest of NumPy and PyTorch, of copies NumPy's."""
    remotes = telling(rows)
    products = [
        remote.ask("product_rate", module=name)[0]["rate"] for name, remote in remotes.items()
    ]
    return Floor(
        operations, size, max(products), remotes["numpy"].ask("copy_rate", size=size)[0]["rate"]
    )


def telling(rows: list[Row]) -> dict[str, Remote]:
    """Return a process of NumPy's and one of PyTorch's, of those that are there."""
    first = {row.spec.engine: remote_of(row) for row in reversed(rows)}
    return {name: first[name] for name in ("numpy", "torch") if name in first}
