"""A comparison over one or several seeds, in its run folder."""

from collections.abc import Generator
from contextlib import closing, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..core import events
from ..core.events import Event
from ..core.selection import EngineSpec, installed
from ..data import loading
from ..data.dataset import Dataset
from ..data.reading import Options
from ..process.pool import Workers
from ..training.run_folder import Run
from . import artifacts
from .comparison import compare_rows
from .contestants import Settings
from .estimate import estimate
from .results import Comparison


class ComparisonSession:
    """A comparison and its run folder. Iterate over `events` once; `results` is complete then.

    Parameters
    ----------
    settings : Settings
        What is compared, with the first seed.
    dataset : Dataset
        What every row is trained and tested on. For every further seed it is loaded again, because
        the seed splits a single file into training and test data.
    seeds : int
        How many seeds, counted up from that of the recipe.
    runs : Path or None
        Where the run folder is made; None writes nothing.
    workers : Workers, optional
        The workers of the rows if they were started before, while the data was read.
    named : bool
        Whether the user asked for the rows by name.

    Attributes
    ----------
    results : list of dict
        The result of each complete seed, as in ``runs`` of results.json.
    present : list of EngineSpec
        The rows whose framework is installed.
    run : Run or None
        The run folder.
    """

    def __init__(
        self,
        settings: Settings,
        dataset: Dataset,
        seeds: int = 1,
        runs: Path | None = None,
        workers: Workers | None = None,
        *,
        named: bool = False,
    ) -> None:
        network = settings.network
        network.check_fits(dataset.shape, len(dataset.classes))
        self.present: list[EngineSpec] = installed(settings.rows, named=named)
        self.results: list[dict[str, Any]] = []
        self.run: Run | None = None
        self._settings = settings
        self._dataset = dataset
        self._seeds = seeds
        self._runs = runs
        self._workers = workers

    @property
    def folder(self) -> Path | None:
        """The run folder, or None."""
        return self.run.folder if self.run else None

    @property
    def notes(self) -> list[str]:
        """What a person should know before the comparison begins, a sentence each."""
        recipe = self._settings.recipe
        left_out = ["validation"] if recipe.validation else []
        left_out += [callback.name for callback in recipe.callbacks]
        if not left_out:
            return []
        note = (
            f"Without {' and '.join(left_out)}: every row trains all epochs on the whole training "
            "split, so that all make the same steps."
        )
        return [note]

    def estimated_seconds(self) -> float:
        """Return how long the comparison will take, from NumPy steps that are timed now."""
        return self._seeds * estimate(self._dataset, replace(self._settings, rows=self.present))

    def events(self) -> Generator[Event]:
        """Compare with each seed.

        Yields
        ------
        Event
            For each seed `SeedStarted`, and the events of `compare_rows`.

        Raises
        ------
        EngineError
            If the reference cannot run, or no second row can.
        TriptychError
            If a file cannot be written.
        """
        if self._runs is not None:
            network = self._settings.network
            self.run = Run.create(self._runs, "compare", network.name, self._dataset.name)
        settings = self._settings
        with artifacts.kept_if_begun(self.run) if self.run else nullcontext():
            for number in range(1, self._seeds + 1):
                comparison = yield from self._one_seed(number, settings)
                settings = replace(settings, patience=comparison.timed.patience)

    def _one_seed(self, number: int, settings: Settings) -> Generator[Event, None, Comparison]:
        """Compare with the ``number``-th seed, from 1, and write what came of it."""
        seed = self._settings.recipe.seed + number - 1
        seeded = replace(settings, recipe=replace(settings.recipe, seed=seed))
        yield events.SeedStarted(seed, number, self._seeds)
        comparing = compare_rows(self._data(number, seed), seeded, self._workers)
        self._workers = None  # they are taken; the next seed starts its own
        with closing(comparing):
            comparison = yield from self._logged(comparing, seed)
        if self.run:
            prefix = f"seed-{seed}/" if self._seeds > 1 else ""
            artifacts.save_states(self.run, comparison, prefix)
            # After each seed, so that a comparison that is stopped keeps what is complete.
            artifacts.save(self.run, self._settings, self.results)
        return comparison

    def _logged(
        self, comparing: Generator[Event, None, Comparison], seed: int
    ) -> Generator[Event, None, Comparison]:
        """Yield the events of one seed, each after it was logged."""
        while True:
            try:
                event = next(comparing)
            except StopIteration as end:
                return end.value
            if self.run:
                self.run.log({"seed": seed} | event.to_json())
            if isinstance(event, events.ResultReady):
                self.results.append(event.result)
            yield event

    def _data(self, number: int, seed: int) -> Dataset:
        """Return the data of a seed."""
        origin = self._dataset.origin
        if number == 1 or origin is None:
            return self._dataset
        return loading.load(origin.source, seed, Options.from_json(origin.reading))
