"""A training in its run folder: begun or taken up again, logged, saved, and tested once at the end."""

from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.util import find_spec
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from . import __version__, data, engines, files, metrics, state
from .bench import machine
from .bench.result import title
from .data import PLAIN, Dataset, Options
from .errors import TriptychError
from .loop import Position, Training, watched_for_best
from .monitor import Event
from .network import Network
from .observers import Checkpoint, CSVLog, Observer, TensorBoard
from .plan import Schedule
from .recipe import Recipe
from .runs import Run, read_events
from .state import State


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
    """What a run folder holds of a run that can go on."""

    folder: Path
    network: Network
    recipe: Recipe
    state: State
    position: Position
    best: State | None
    source: str
    reading: Options
    data: dict[str, Any]

    @classmethod
    def read(cls, folder: Path) -> "Saved":
        """Read a run folder of triptych train.

        Raises
        ------
        TriptychError
            Where it holds no checkpoint, or is finished.
        """
        if (folder / "results.json").exists():
            raise TriptychError(f"{folder}: this run is finished; begin a new one, or see it with triptych show {folder}")
        last = folder / "last" / "state.safetensors"
        if not last.exists():
            raise TriptychError(f"{folder}: holds no last/{last.name}; name a run folder of triptych train")
        kept, network, recipe, about = files.load_state(last)
        if "training" not in about:
            raise TriptychError(f"{last}: a state from which no run can go on; name a run folder of triptych train")
        position, best = Position.from_json(about["training"]), None
        path, epoch = folder / "best" / "state.safetensors", position.memories[watched_for_best(recipe).name].best_epoch
        found, _, _, of = files.load_state(path) if path.exists() else (None, None, None, {"epoch": 0})
        if of["epoch"] < epoch:
            raise TriptychError(f"{path}: missing, or of epoch {of['epoch']}, where the run had its best in epoch {epoch}; restore it")
        best = found if of["epoch"] == epoch else None  # a later one is met again
        return cls(folder, network, recipe, kept, position, best, about["source"], Options.from_json(about["reading"]), about["data"])

    def check_same(self, dataset: Dataset) -> None:
        """Raise `TriptychError` where the data is not what the run began with."""
        found = dataset.describe()
        for split in ("train", "test"):
            if found[f"{split}_sha256"] != self.data[f"{split}_sha256"]:
                raise TriptychError(
                    f"{dataset.source}: not the data this run began with ({self.data['source']}): the {split}ing images or labels "
                    f"have SHA-256 {found[f'{split}_sha256'][:12]}…, not {self.data[f'{split}_sha256'][:12]}…; give the same with --data"
                )


class Session:
    """A training under way. Iterate over `events`.

    Parameters
    ----------
    settings : Settings
    network : Network
    recipe : Recipe
    dataset : Dataset
    source : str
        What `triptych.data.load` was given.
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
        self.engine = engines.create(settings.engine, network, recipe, device=settings.device, backend=settings.backend)
        self.engine.load(saved.state if saved else state.initial(network, recipe))
        self.schedule = Schedule(network, recipe, len(train))
        position, best = (saved.position, saved.best) if saved else (None, None)
        self.training = Training(self.engine, self.schedule, train, validation, position, best)
        self.title, self.label = title(network, recipe), engines.entry(settings.engine).label
        events = [e for e in read_events(saved.folder) if e.get("step", 0) <= saved.position.step] if saved else None
        self.run = Run(saved.folder, events) if saved else Run.create(root, "train")
        about = {"triptych": __version__, "data": dataset.describe(), "machine": machine.describe()}
        checkpoint = Checkpoint(self.run.folder, self.training, about | {"source": source, "reading": reading.to_json()} | asdict(settings))
        checkpoint.save()
        self.observers: list[Observer] = [checkpoint, CSVLog(self.run.folder, self.training.position.history)]
        if find_spec("tensorboardX"):
            self.observers.append(TensorBoard(self.run.folder, events or []))

    @property
    def notes(self) -> list[str]:
        """What to know before it begins."""
        found: list[str] = []
        if self.recipe.random == "free" and self.network.dropouts:
            found.append("Each engine draws its own masks (random free): a run that is stopped goes on with others.")
        if not find_spec("tensorboardX"):
            found.append("No TensorBoard logs: pip install 'triptych[report]'")
        return found

    def events(self) -> Iterator[Event]:
        """Train on, and test at the end.

        Yields
        ------
        dict
            ``begin``, the events of `Training`, and ``result`` where the training came to its end.

        Raises
        ------
        TriptychError
            Where the training diverged.
        """
        with ExitStack() as stack:
            stack.enter_context(self.run)
            for observer in self.observers:
                stack.enter_context(closing(observer))
            about = {"type": "begin", "step": self.training.position.step, "machine": machine.describe()}
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

    def _result(self) -> dict[str, Any]:
        """Look at the test set, once."""
        epoch, position, labels = self.training.finish(), self.training.position, self.dataset.test.labels
        logits = self.engine.logits(self.engine.put(self.dataset.test))
        if not np.isfinite(logits).all():
            raise TriptychError(f"the weights after step {position.step:,} give no finite logits: the training diverged in its last steps")
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
                **{part: sum(e.get(part, 0.0) for e in position.history) for part in ("seconds", "cpu_seconds")},
                "stopped": position.stopped,
                "best_epoch": self.training.best_epoch,
                "tested_epoch": epoch,
                "accuracy": {"value": right / len(labels), "right": right, "of": len(labels), "low": low, "high": high},
                "confusion": metrics.confusion(predicted, labels, len(self.dataset.classes)).tolist(),
            }
        )
