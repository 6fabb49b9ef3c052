"""A training in its run folder: begun or taken up again, logged, saved, and tested once at the end."""

from collections.abc import Generator, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from importlib.util import find_spec
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from ..core import files, metrics, registry, state
from ..core.planner import BatchPlanner
from ..core.state import State
from ..data import loading as data
from ..data.dataset import Dataset
from ..data.reading import PLAIN, Options
from ..errors import SpecError, TriptychError
from ..process import machine
from ..spec.monitor import Event
from ..spec.network import Network
from ..spec.recipe import Recipe
from ..spec.schedules import Timed
from ..spec.titles import title
from ..spec.validation import check_whole
from ..version import __version__
from . import checkpoint
from .loggers import Checkpoint, CSVLog, Observer, TensorBoard
from .loop import Position, Training, monitors_of, watched_for_best
from .run_folder import Run, read_events, read_results


@dataclass(frozen=True)
class Settings:
    """Where a training runs.

    Attributes
    ----------
    engine, backend : str
    device : str
    threads : int
        As they were set before the framework was imported.
    """

    engine: str
    backend: str
    device: str = "cpu"
    threads: int = 1


@dataclass(frozen=True)
class Saved:
    """What a run folder holds of a run that can go on.

    Attributes
    ----------
    folder : Path
    network : Network
    recipe : Recipe
    state : dict of str to ndarray
        After the last step that was saved.
    position : Position
    best : dict of str to ndarray, or None
        The state of the best epoch.
    best_file : dict or None
        ``epoch`` and ``sha256`` of the best state that belongs to the last one; a state of an older format names none.
    source : str
        What `triptych.data.registry.load` was given.
    reading : Options
        What `load` was given with it.
    data : dict
        What `Dataset.describe` returned.
    finished : bool
        Whether results.json is of this recipe. It is not while a finished run is trained for more epochs.
    planned : int
        Epochs of the run when it was saved.
    """

    folder: Path
    network: Network
    recipe: Recipe
    state: State
    position: Position
    best: State | None
    best_file: dict[str, Any] | None
    source: str
    reading: Options
    data: dict[str, Any]
    finished: bool
    planned: int

    @classmethod
    def read(cls, folder: Path) -> "Saved":
        """Read a run folder of triptych train.

        Raises
        ------
        TriptychError
            Where it holds no checkpoint, or a damaged one.
        """
        last = folder / "last" / "state.safetensors"
        if not last.exists():
            raise TriptychError(
                f"{folder}: holds no last/{last.name}; {_why_no_checkpoint(folder)}"
            )
        found = checkpoint.read_state(last)
        about = found.provenance
        if "training" not in about:
            raise TriptychError(
                f"{last}: a state from which no run can go on; name a run folder of triptych train"
            )
        with files.refusing(last, "a checkpoint that triptych train wrote"):
            position = Position.from_json(about["training"])
            names = {monitor.name for monitor in monitors_of(found.recipe)}
            if set(position.memories) != names:
                raise SpecError(
                    f"its position has memories of {sorted(position.memories)}, its recipe needs {sorted(names)}"
                )
            if (
                bool(found.recipe.validation)
                != all("validation_loss" in epoch for epoch in position.history)
                and position.history
            ):
                raise SpecError("its history does not fit the validation of its recipe")
            source = about["source"]
            if not isinstance(source, str) or "\0" in source:
                raise SpecError(f"its source must be a name or a path, not {source!r}")
            reading = Options.from_json(about["reading"])
            described = about["data"]
            for key in ("source", "train_sha256", "test_sha256"):
                if not isinstance(described[key], str):
                    raise SpecError(f"its data: {key} must be a text, not {described[key]!r}")
            epoch = position.memories[watched_for_best(found.recipe).name].best_epoch
            best_file = about.get("best")
            if best_file is not None and (best_file["epoch"], type(best_file["sha256"])) != (
                epoch,
                str,
            ):
                raise SpecError(
                    f"its best epoch is {epoch}, and it names a best state of epoch {best_file['epoch']!r}"
                )
        best = _best_state(folder, found, epoch, best_file)
        finished = False
        if (folder / "results.json").exists():
            results = read_results(folder, "train")
            with files.refusing(folder / "results.json", "results that triptych train wrote"):
                finished = Recipe.from_json(results["recipe"]) == found.recipe
        return cls(
            folder,
            found.network,
            found.recipe,
            found.state,
            position,
            best,
            best_file,
            source,
            reading,
            described,
            finished,
            found.recipe.epochs,
        )

    def going_on(self, epochs: int | None = None) -> "Saved":
        """Return the run as it goes on: to the end of its recipe, or to another number of epochs.

        Parameters
        ----------
        epochs : int, optional
            How many epochs the whole run shall have.

        Raises
        ------
        TriptychError
            Where it is finished, was ended by a callback, or has begun more epochs than that.
        """
        done = len(self.position.history)
        if epochs is None:
            if self.finished:
                raise TriptychError(
                    f"{self.folder}: this run is finished after {done} epochs; train it further with --epochs N, "
                    f"or see it with triptych show {self.folder}"
                )
            return self
        if self.position.stopped is not None:
            raise TriptychError(
                f"{self.folder}: a callback ended this run after epoch {done} ({self.position.stopped}), "
                "so more epochs would change nothing; begin a new run with another recipe"
            )
        last_step = self.position.history[-1]["step"] if self.position.history else 0
        begun = done + (self.position.step > last_step)
        if epochs < begun:
            raise TriptychError(
                f"--epochs {epochs}: this run is in its epoch {begun} already; give at least {begun}"
            )
        if self.finished and epochs <= self.planned:
            raise TriptychError(
                f"--epochs {epochs}: this run is finished after {self.planned} epochs; give more"
            )
        return replace(self, recipe=replace(self.recipe, epochs=epochs))

    def check_same(self, dataset: Dataset) -> None:
        """Raise `TriptychError` where the data is not what the run began with."""
        found = dataset.describe()
        for split in ("train", "test"):
            if found[f"{split}_sha256"] != self.data[f"{split}_sha256"]:
                raise TriptychError(
                    f"{dataset.source}: not the data this run began with ({self.data['source']}): the {split}ing images or labels "
                    f"have SHA-256 {found[f'{split}_sha256'][:12]}…, not {self.data[f'{split}_sha256'][:12]}…; give the same with --data"
                )


def _why_no_checkpoint(folder: Path) -> str:
    if (folder / "results.json").exists() or not (folder / "events.jsonl").exists():
        return "name a run folder of triptych train"
    return "the run was stopped before its first checkpoint, and nothing can go on from it; begin a new one"


def _best_state(
    folder: Path, last: checkpoint.SavedState, epoch: int, recorded: dict[str, Any] | None
) -> State | None:
    """Return the state of the best epoch, or None where a kill came between a later best state and the last one.

    The later one is met again, because every step is made again.

    Raises
    ------
    TriptychError
        Where the best state is missing, or is not of this run.
    """
    path = folder / "best" / "state.safetensors"
    if not path.exists():
        if epoch:
            raise TriptychError(
                f"{path}: missing, where the run had its best in epoch {epoch}; restore it"
            )
        return None
    found = checkpoint.read_state(path)
    with files.refusing(path, "a best state that triptych train wrote"):
        of = found.provenance["epoch"]
        check_whole("its provenance", "epoch", of, 1)
        # A run that is trained further keeps its best state of before, with fewer epochs in the recipe.
        if (found.network, replace(found.recipe, epochs=last.recipe.epochs)) != (
            last.network,
            last.recipe,
        ):
            raise TriptychError(
                f"{path}: of another network or recipe than last/{path.name}; restore the one of this run"
            )
        if of < epoch:
            raise TriptychError(
                f"{path}: of epoch {of}, where the run had its best in epoch {epoch}; restore it"
            )
        if of > epoch:
            return None
        if recorded is not None and found.sha256 != recorded["sha256"]:
            raise TriptychError(
                f"{path}: not the one that this run saved in epoch {epoch}; restore it"
            )
    return found.state


def _events_until(saved: Saved) -> list[Event]:
    """Return what the log says of the steps before the checkpoint; a log that cannot be read keeps no run from going on."""
    try:
        events = read_events(saved.folder)
    except TriptychError:
        return []
    return [event for event in events if event.get("step", 0) <= saved.position.step]


class Session:
    """A training under way. Iterate over `events`.

    Parameters
    ----------
    settings : Settings
    network : Network
    recipe : Recipe
    dataset : Dataset
    source : str
        What `triptych.data.registry.load` was given.
    root : Path
        Where the run folder is made.
    saved : Saved, optional
        The run that goes on, in its own folder.
    reading : Options
        What `load` was given with the source.
    """

    def __init__(
        self,
        settings: Settings,
        network: Network,
        recipe: Recipe,
        dataset: Dataset,
        source: str,
        root: Path,
        saved: Saved | None = None,
        reading: Options = PLAIN,
    ) -> None:
        network.check_fits(dataset.shape, len(dataset.classes))
        self.settings, self.network, self.recipe, self.dataset = settings, network, recipe, dataset
        train, validation = dataset.train, None
        if recipe.validation:
            train, validation = data.stratified(train, recipe.seed, recipe.validation, "validation")
        self.engine = registry.create(
            settings.engine, network, recipe, device=settings.device, backend=settings.backend
        )
        self.engine.load(saved.state if saved else state.initial(network, recipe))
        self.schedule = BatchPlanner(network, recipe, len(train))
        position = saved.position if saved else None
        best = saved.best if saved else None
        if position:
            self._check_position(position)
        self.training = Training(self.engine, self.schedule, train, validation, position, best)
        self._extended = saved is not None and saved.planned != recipe.epochs
        self.title, self.label = title(network, recipe), registry.entry(settings.engine).label
        events = _events_until(saved) if saved else None
        self.run = (
            Run(saved.folder, events)
            if saved
            else Run.create(root, "train", settings.engine, network.name, dataset.name)
        )
        about = {"triptych": __version__, "data": dataset.describe(), "machine": machine.describe()}
        about |= {"source": source, "reading": reading.to_json()} | asdict(settings)
        checkpoint = Checkpoint(
            self.run.folder, self.training, about, saved.best_file if saved else None
        )
        checkpoint.save()
        self.observers: list[Observer] = [
            checkpoint,
            CSVLog(self.run.folder, self.training.position.history),
        ]
        if find_spec("tensorboardX"):
            self.observers.append(TensorBoard(self.run.folder, events or []))

    def _check_position(self, position: Position) -> None:
        """Raise `TriptychError` where a position is none of this training."""
        epochs = position.step // self.schedule.steps_per_epoch
        if position.step > self.schedule.steps or len(position.history) != epochs:
            raise TriptychError(
                f"a position of {position.step:,} steps and {len(position.history)} epochs does not fit "
                f"{self.schedule.steps_per_epoch:,} steps an epoch; the checkpoint is damaged"
            )

    @property
    def notes(self) -> list[str]:
        """What to know before it begins."""
        found: list[str] = []
        if (
            self._extended
            and self.training.position.step
            and isinstance(self.recipe.schedule, Timed)
            and self.recipe.schedule.epochs is None
        ):
            found.append(
                f"The schedule {self.recipe.schedule.name} lasts to the end of the run, so its rates change from here on: "
                f"the weights will not be those of {self.recipe.epochs} epochs from the beginning."
            )
        if self.recipe.random == "free" and self.network.dropouts:
            found.append(
                "Each engine draws its own masks (random free): a run that is stopped goes on with others."
            )
        if not find_spec("tensorboardX"):
            found.append("No TensorBoard logs: pip install 'triptych[report]'")
        return found

    def events(self) -> Iterator[Event]:
        """Train on, and test at the end; results.json of before is replaced only then.

        Yields
        ------
        dict
            ``begin``, the events of `Training`, and ``result`` where the training came to its end.

        Raises
        ------
        TriptychError
            Where the training diverged, or a file cannot be written.
        """
        with ExitStack() as stack:
            stack.enter_context(self._writing())
            stack.enter_context(self.run)
            for observer in self.observers:
                stack.enter_context(closing(observer))
            about = {
                "type": "begin",
                "step": self.training.position.step,
                "machine": machine.describe(),
            }
            for event in chain([about | asdict(self.settings)], self.training.events()):
                self.run.log(event)
                for observer in self.observers:
                    observer.see(event)
                yield event
            if self.training.done:
                result = self._result()
                self.run.log({"type": "result", "result": result})
                self.run.save_results(result)
                yield {"type": "result", "result": result}

    @contextmanager
    def _writing(self) -> Generator[None]:
        """Say which file a full disk kept from being written, and that nothing is lost."""
        try:
            yield
        except OSError as error:
            # On a full disk closing the other files fails, too; the first failure knows which file it was.
            first: BaseException = error
            while isinstance(first.__context__, OSError):
                first = first.__context__
            name = getattr(first, "filename", None) or self.run.folder
            raise TriptychError(
                f"{name}: {error.strerror or error}; what was saved before is whole; "
                f"make room there, then go on with triptych train {self.settings.engine} --resume {self.run.folder}"
            ) from None

    def _result(self) -> dict[str, Any]:
        """Look at the test set, once."""
        epoch, position, labels = (
            self.training.finish(),
            self.training.position,
            self.dataset.test.labels,
        )
        logits = self.engine.logits(self.engine.upload(self.dataset.test))
        if not np.isfinite(logits).all():
            raise TriptychError(
                f"the weights after step {position.step:,} give no finite logits: the training diverged in its last steps"
            )
        predicted = metrics.predictions(logits)
        right = int((predicted == labels).sum())
        low, high = metrics.wilson(right, len(labels))
        return (
            {
                "kind": "train",
                "created": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
                "machine": machine.describe(),
                "title": self.title,
                "network": self.network.to_json(),
                "recipe": self.recipe.to_json(),
                "parameters": self.network.parameter_count,
                "data": self.dataset.describe(),
                "label": self.label,
            }
            | asdict(self.settings)
            | {
                "device": self.engine.device,
                "steps": position.step,
                "history": position.history,
                **{
                    part: sum(e.get(part, 0.0) for e in position.history)
                    for part in ("seconds", "cpu_seconds")
                },
                "stopped": position.stopped,
                "best_epoch": self.training.best_epoch,
                "tested_epoch": epoch,
                "accuracy": {
                    "value": right / len(labels),
                    "right": right,
                    "of": len(labels),
                    "low": low,
                    "high": high,
                },
                "confusion": metrics.confusion(
                    predicted, labels, len(self.dataset.classes)
                ).tolist(),
            }
        )
