"""A training from its first step or a checkpoint to its test; logged and saved, if wanted."""

import time
from collections.abc import Generator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.util import find_spec
from itertools import chain
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from ..core import metrics, registry, state
from ..core.engine import Engine
from ..core.events import Event, ResultReady, TrainingStarted
from ..core.planner import BatchPlanner
from ..core.state import State
from ..data.dataset import Dataset
from ..data.loading import stratified
from ..errors import TriptychError
from ..process import machine
from ..spec.network import Network
from ..spec.recipe import Recipe
from ..spec.schedules import Timed
from ..spec.titles import title
from ..version import __version__
from .feeding import Evaluator, planner_of
from .loggers import Checkpoint, CheckpointInterval, CSVLog, Observer, TensorBoard
from .loop import Training
from .position import Position
from .run_folder import Run, locked, read_events
from .saved import SavedRun

Json = dict[str, Any]


@dataclass(frozen=True)
class Settings:
    """Where a training runs.

    Attributes
    ----------
    engine, backend : str
        Names in the registry of engines.
    device : str
        ``cpu``, ``cuda``, ``mps`` or ``auto``.
    threads : int
        Threads of the engine, as they were set before its framework was imported.
    workers : int
        How many processes train together.
    native : bool
        Whether the framework's own data-parallel training adds their gradients.
    """

    engine: str
    backend: str
    device: str = "cpu"
    threads: int = 1
    workers: int = 1
    native: bool = False


class EngineSource(Protocol):
    """What builds the engine of a training: `ThisProcess`, or the processes of several workers."""

    def create(self, settings: Settings, network: Network, recipe: Recipe) -> Engine:
        """Build an engine."""
        ...

    def cpu_seconds(self) -> float:
        """Return the processor time used so far by what computes, in seconds."""
        ...


class ThisProcess:
    """Builds an engine in this process."""

    def create(self, settings: Settings, network: Network, recipe: Recipe) -> Engine:
        """Build an engine."""
        return registry.create(
            settings.engine, network, recipe, device=settings.device, backend=settings.backend
        )

    def cpu_seconds(self) -> float:
        """Return the processor time of this process, in seconds."""
        return time.process_time()


class Session:
    """A training and its run folder. Iterate over `events` once.

    Parameters
    ----------
    settings : Settings
        Where it runs.
    network : Network
        What is trained.
    recipe : Recipe
        How it is trained.
    dataset : Dataset
        What it is trained and tested on.
    runs : Path or None
        Where the run folder is made; None writes nothing.
    saved : SavedRun, optional
        The run that goes on, in its own folder.
    every : CheckpointInterval, optional
        How often a checkpoint is written.
    source : EngineSource, optional
        What builds the engine; by default it is in this process.
    """

    def __init__(
        self,
        settings: Settings,
        network: Network,
        recipe: Recipe,
        dataset: Dataset,
        runs: Path | None,
        saved: SavedRun | None = None,
        *,
        every: CheckpointInterval | None = None,
        source: EngineSource | None = None,
    ) -> None:
        network.check_fits(dataset.shape, len(dataset.classes))
        self.settings = settings
        self.network = network
        self.recipe = recipe
        self.dataset = dataset
        self.every = every
        self.source = source or ThisProcess()
        self.title = title(network, recipe)
        self.label = registry.entry(settings.engine).label
        self.result: Json | None = None  # what results.json holds, once the training was tested
        self.final_state: State | None = None  # after the last event
        self._lock = ExitStack()
        self._open(runs, saved)

    def _open(self, runs: Path | None, saved: SavedRun | None) -> None:
        """Create the training, and its run folder or what goes on in it."""
        self.training = self._create_training(saved)
        self._first_step = self.training.position.step
        self.is_extended = saved is not None and saved.planned != self.recipe.epochs
        self.run: Run | None = None
        self.observers: list[Observer] = []
        self._earlier: list[Json] = []  # events before the checkpoint
        if saved:
            self._earlier = _events_until(saved)
            self._open_folder(Run(saved.folder, self._earlier), saved.best_file)
        elif runs is not None:
            parts = (self.settings.engine, self.network.name, self.dataset.name)
            run = Run.create(runs, "train", *parts)
            self._lock.enter_context(locked(run.folder))
            self._open_folder(run, None)

    @property
    def folder(self) -> Path | None:
        """The run folder, or None."""
        return self.run.folder if self.run else None

    def _create_training(self, saved: SavedRun | None) -> Training:
        recipe = self.recipe
        train = self.dataset.train
        validation = None
        if recipe.validation:
            train, validation = stratified(train, recipe.seed, recipe.validation, "validation")
        engine = self.source.create(self.settings, self.network, recipe)
        planner = planner_of(self.network, recipe, train)
        position = None
        if saved is not None:
            position = saved.position
            _check_position(position, planner)
        engine.load(saved.state if saved else state.initial(self.network, recipe))
        return Training(
            engine,
            planner,
            train,
            validation,
            position,
            saved.best if saved else None,
            pause=self.every.steps if self.every else None,
            cpu_seconds=self.source.cpu_seconds,
        )

    def _open_folder(self, run: Run, best_file: Json | None) -> None:
        """Write the first checkpoint, and open what is written during the training."""
        self.run = run
        first = Checkpoint(run.folder, self.training, self._provenance(), best_file, self.every)
        first.save()
        self.observers = [first, CSVLog(run.folder, self.training.position.history)]
        if find_spec("tensorboardX"):
            self.observers.append(TensorBoard(run.folder, self._earlier))

    def _provenance(self) -> Json:
        return {
            "triptych": __version__,
            "machine": machine.describe(),
            **self.dataset.provenance(),
            **asdict(self.settings),
        }

    @property
    def notes(self) -> list[str]:
        """What a person should know before the training begins, a sentence each."""
        notes: list[str] = []
        schedule = self.recipe.schedule
        lasts_to_the_end = isinstance(schedule, Timed) and schedule.epochs is None
        if self.is_extended and self.training.position.step and lasts_to_the_end:
            notes.append(
                f"The schedule {schedule.name} lasts to the end of the run, so its rates change "
                f"from here on: the weights will not be those of {self.recipe.epochs} epochs from "
                "the beginning."
            )
        if self.recipe.random == "free" and self.network.dropouts:
            notes.append(
                "Each engine draws its own masks (random free): "
                "a run that is stopped goes on with others."
            )
        if self.run and not find_spec("tensorboardX"):
            notes.append("No TensorBoard logs: pip install 'triptych[report]'")
        return notes

    def stop(self) -> None:
        """Request an end after the steps in flight; a signal handler may call it."""
        self.training.stop()

    def events(self) -> Generator[Event]:
        """Train to the end, and test there; an older results.json is replaced only then.

        Yields
        ------
        Event
            `TrainingStarted`, the events of `Training`, and `ResultReady` at the end, unless the
            training was interrupted.

        Raises
        ------
        TriptychError
            If the training diverges, or a file cannot be written.
        """
        started = TrainingStarted(
            self.training.position.step, machine.describe(), **asdict(self.settings)
        )
        with ExitStack() as stack:
            stack.enter_context(self._lock)
            stack.enter_context(self._naming_full_disk())
            stack.enter_context(closing(self.training.feed))
            if self.run:
                stack.enter_context(self.run)
            for observer in self.observers:
                stack.enter_context(closing(observer))
            for event in chain([started], self.training.events()):
                self._log(event)
                for observer in self.observers:
                    observer.on_event(event)
                yield event
            if self.training.done:
                self.result = self._result()
            self.final_state = self.training.engine.state()
            if self.result is not None:
                ready = ResultReady(self.result)
                self._log(ready)
                if self.run:
                    self.run.save_results(self.result)
                yield ready

    def _log(self, event: Event) -> None:
        if self.run:
            self.run.log(event.to_json())

    @contextmanager
    def _naming_full_disk(self) -> Generator[None]:
        """Report which file could not be written, and that nothing is lost."""
        try:
            yield
        except OSError as error:
            # On a full disk closing the other files fails, too; the first failure names its file.
            first: BaseException = error
            while isinstance(first.__context__, OSError):
                first = first.__context__
            name = getattr(first, "filename", None) or self.folder
            raise TriptychError(
                f"{name}: {error.strerror or error}; what was saved before is whole; make room "
                f"there, then go on with triptych train {self.settings.engine} "
                f"--resume {self.folder}"
            ) from None

    def _result(self) -> Json:
        """Evaluate the test split, once, and return all that results.json holds."""
        epoch = self.training.finish()
        position = self.training.position
        engine = self.training.engine
        return {
            "kind": "train",
            "created": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
            "machine": machine.describe(),
            "title": self.title,
            "network": self.network.to_json(),
            "recipe": self.recipe.to_json(),
            "parameters": self.network.parameter_count,
            "data": self.dataset.describe(),
            "label": self.label,
            **asdict(self.settings),
            "device": engine.device,
            "engines": self._engines(),
            "steps": position.step,
            "history": position.history,
            "seconds": _total(position, "seconds"),
            "cpu_seconds": _total(position, "cpu_seconds"),
            "stopped": position.stopped,
            "best_epoch": self.training.best_epoch,
            "tested_epoch": epoch,
            **self._waiting(),
            **self._test(),
        }

    def _waiting(self) -> Json:
        """Return how long the engine had to wait for streamed images, in seconds."""
        waited = self.training.feed.waited
        return {} if waited is None else {"waited_seconds": waited}

    def _test(self) -> Json:
        """Return accuracy and confusion matrix of the test split."""
        labels = self.dataset.test.labels
        logits = Evaluator(self.training.engine, self.dataset.test).logits()
        if not np.isfinite(logits).all():
            raise TriptychError(
                f"the weights after step {self.training.position.step:,} give no finite logits: "
                "the training diverged in its last steps"
            )
        return metrics.tested(metrics.predictions(logits), labels, len(self.dataset.classes))

    def _engines(self) -> list[Json]:
        """Return which engine trained from which step on, in order."""
        logged = [event for event in self._earlier if event["type"] == "begin"]
        present = {"step": self._first_step} | asdict(self.settings)
        stages: list[Json] = []
        for event in [*logged, present]:
            stage = {key: event.get(key) for key in ("step", "engine", "backend")}
            if stage["engine"] not in registry.entries() or not isinstance(stage["step"], int):
                continue  # a line of a log that was changed
            while stages and stages[-1]["step"] >= stage["step"]:
                stages.pop()  # no step of it was saved
            if stages and stages[-1]["engine"] == stage["engine"]:
                continue
            stages.append(stage)
        return stages


def _total(position: Position, key: str) -> float:
    return sum(epoch.get(key, 0.0) for epoch in position.history)


def _check_position(position: Position, planner: BatchPlanner) -> None:
    """Raise `TriptychError` if a position cannot be one of this training."""
    epochs = position.step // planner.steps_per_epoch
    if position.step > planner.steps or len(position.history) != epochs:
        raise TriptychError(
            f"a position of {position.step:,} steps and {len(position.history)} epochs does not "
            f"fit {planner.steps_per_epoch:,} steps an epoch; the checkpoint is damaged"
        )


def _events_until(saved: SavedRun) -> list[Json]:
    """Return the logged events of the steps before the checkpoint.

    A log that cannot be read does not keep a run from going on.
    """
    try:
        events = read_events(saved.folder)
    except TriptychError:
        return []
    return [event for event in events if event.get("step", 0) <= saved.position.step]
