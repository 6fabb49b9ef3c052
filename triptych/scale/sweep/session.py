"""A sweep from its grid to its folder: what is left is run, and everything is kept at once."""

from collections.abc import Generator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...core import files, registry
from ...core.events import Event, SweepEnded, SweepStarted
from ...core.state import State
from ...errors import EngineError, TriptychError
from ...process import machine
from ...training.run_folder import plain
from ...version import __version__
from . import cell as one_cell
from .client import SweepDriver
from .folder import SweepFolder
from .grid import Cell, LoadedGrid

Json = dict[str, Any]


@dataclass(frozen=True)
class SweepSettings:
    """Where a sweep runs.

    Attributes
    ----------
    address : str or None
        The address of a cluster, as ``ray.init`` takes it; None starts Ray on this machine.
    runs : Path
        The folder in which the sweep's folder is.
    retime : bool
        Whether timed cells that ran on a busy node are run again.
    """

    address: str | None
    runs: Path
    retime: bool = False


class SweepSession:
    """A sweep and its folder. Iterate over `events` once.

    Parameters
    ----------
    loaded : LoadedGrid
        What is trained.
    settings : SweepSettings
        Where it runs.

    Raises
    ------
    TriptychError
        If Ray or an engine is not installed, or a network does not fit the data.
    """

    def __init__(self, loaded: LoadedGrid, settings: SweepSettings) -> None:
        self.loaded = loaded
        self.settings = settings
        self.cells = loaded.cells()
        self.labels = [cell.labels() for cell in self.cells]
        self.folder = settings.runs / f"sweep-{plain(loaded.grid.name)}"
        self.stopped = False
        self._driver: SweepDriver | None = None
        if settings.address is None:
            _check_here(self.cells)

    def stop(self) -> None:
        """Request an end; a signal handler may call it. What is finished is kept."""
        self.stopped = True
        if self._driver is not None:
            self._driver.stop()

    def events(self) -> Generator[Event]:
        """Run the cells that are not finished; write the table at the end, however it comes.

        Yields
        ------
        Event
            `SweepStarted`, `ClusterReady`, `CellStarted`, `CellRetried`, `CellEnded`, and
            `SweepEnded` at the end of all.

        Raises
        ------
        TriptychError
            If Ray cannot be started or reached, or another process writes into the folder.
        """
        busy = f"{self.folder}: another sweep is running in this folder; wait until it has ended"
        with files.naming(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
        with files.locked(self.folder / ".lock", busy), self._opened() as folder:
            keys = [cell.key for cell in self.cells]
            finished = folder.finished(keys, or_busy=not self.settings.retime)
            grid = self.loaded.grid.to_json()
            started = SweepStarted(self.labels, finished, grid, __version__)
            with closing(self._happening(started)) as happening:
                for event in happening:
                    folder.log(event)
                    yield event
            if not self.stopped:
                done = len(folder.finished(keys))
                ended = SweepEnded(done, len(keys) - done)
                folder.log(ended)
                yield ended

    @contextmanager
    def _opened(self) -> Generator[SweepFolder]:
        """Open the folder; at the end write the table of what has ended."""
        with closing(SweepFolder(self.folder)) as folder:
            try:
                yield folder
            finally:
                folder.write_table(self.labels, self.loaded.grid.to_json())

    def _happening(self, started: SweepStarted) -> Generator[Event]:
        """Yield the events before the last one."""
        yield started
        finished = set(started.finished)
        left = [cell for cell in self.cells if cell.key not in finished]
        if not left or self.stopped:
            return
        self._driver = SweepDriver(*self._request(left))
        with closing(self._driver):
            if self.stopped:  # meanwhile, by a signal
                self._driver.stop()
            try:
                yield from self._driver.events()
            except TriptychError:
                if not self.stopped:
                    raise

    def _request(self, cells: Sequence[Cell]) -> tuple[Json, State]:
        """Return what the driver is sent: the cells, and the data sets that they need."""
        needed = {cell.data_digest for cell in cells}
        described: Json = {}
        arrays: State = {}
        for digest, dataset in self.loaded.by_digest.items():
            if digest in needed:
                described[digest], packed = one_cell.pack(dataset)
                arrays |= {f"{digest}/{name}": array for name, array in packed.items()}
        request = {
            "cells": [cell.to_json() for cell in cells],
            "address": self.settings.address,
            "data": described,
        }
        return request, arrays


def _check_here(cells: Sequence[Cell]) -> None:
    """Raise `EngineError` if this machine cannot run some cells."""
    for name in dict.fromkeys(cell.row.engine for cell in cells):
        entry = registry.entry(name)
        if not entry.installed:
            raise EngineError(f"{entry.label} is not installed: {entry.install}")
    machine.check_threads(max(cell.threads for cell in cells))
