"""Reading a run folder of a training that can go on."""

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..core import files
from ..core.state import State
from ..data.dataset import Dataset
from ..data.reading import Options
from ..errors import SpecError, TriptychError, one_line
from ..spec.network import Network
from ..spec.recipe import Recipe
from ..spec.validation import check_whole
from . import checkpoint, run_folder
from .checkpoint import STATE
from .position import Position, best_monitor, monitors_of, restores_best


@dataclass(frozen=True)
class SavedRun:
    """What a run folder holds of a training that can go on.

    Attributes
    ----------
    folder : Path
        The run folder.
    network : Network
        What is trained.
    recipe : Recipe
        How; `extended` changes its epochs.
    state : dict of str to ndarray
        After the last step that was saved.
    position : Position
        Where the training goes on.
    best : dict of str to ndarray, or None
        The state of the best epoch.
    best_file : dict or None
        ``epoch`` and ``sha256`` of the best state that belongs to `state`; a state of an older
        format names none.
    engine, backend : str or None
        Where it was trained last.
    source : str
        What `triptych.data.loading.load` was given.
    reading : Options
        The options that it was given.
    data : dict
        What `Dataset.describe` returned.
    finished : bool
        Whether results.json is of this recipe. It is not while a finished run is trained further.
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
    engine: str | None
    backend: str | None
    source: str
    reading: Options
    data: dict[str, Any]
    finished: bool
    planned: int

    @classmethod
    def read(cls, folder: Path) -> "SavedRun":
        """Read a run folder of ``triptych train``.

        Raises
        ------
        TriptychError
            If it holds no checkpoint, or a damaged one.
        """
        last = folder / "last" / STATE
        if not folder.exists():
            raise TriptychError(f"{folder}: no such folder; name a run folder of triptych train")
        if not last.exists():
            raise TriptychError(f"{folder}: holds no last/{STATE}; {_why_no_checkpoint(folder)}")
        saved = checkpoint.read_state(last)
        provenance = saved.provenance
        if "training" not in provenance:
            raise TriptychError(
                f"{last}: a state from which no run can go on; name a run folder of triptych train"
            )
        with files.refusing(last, "a checkpoint that triptych train wrote"):
            position = _position(provenance["training"], saved.recipe)
            best_epoch = position.memories[best_monitor(saved.recipe).name].best_epoch
            best_file = _best_file(provenance.get("best"), best_epoch)
            source = provenance["source"]
            if not isinstance(source, str) or "\0" in source:
                raise SpecError(f"its source must be a name or a path, not {source!r}")
            reading = Options.from_json(provenance["reading"])
            data = _described(provenance["data"])
        return cls(
            folder=folder,
            network=saved.network,
            recipe=saved.recipe,
            state=saved.state,
            position=position,
            best=_best_state(folder, saved, best_epoch, best_file),
            best_file=best_file,
            engine=_text(provenance.get("engine")),
            backend=_text(provenance.get("backend")),
            source=source,
            reading=reading,
            data=data,
            finished=_is_finished(folder, saved.recipe),
            planned=saved.recipe.epochs,
        )

    def extended(self, epochs: int | None = None) -> "SavedRun":
        """Return the run with another number of epochs, or to the end of its recipe.

        Parameters
        ----------
        epochs : int, optional
            Epochs of the whole run, those before included.

        Raises
        ------
        TriptychError
            If it is finished, was ended by a callback, or has begun more epochs than that.
        """
        done = len(self.position.history)
        if epochs is None:
            if self.finished:
                raise TriptychError(
                    f"{self.folder}: this run is finished after {done} epochs; train it further "
                    f"with --epochs N, or see it with triptych show {self.folder}"
                )
            return self
        if self.position.stopped is not None:
            raise TriptychError(
                f"{self.folder}: a callback ended this run after epoch {done} "
                f"({self.position.stopped}), so more epochs would change nothing; begin a new run "
                "with another recipe"
            )
        self._check_total(epochs)
        return replace(self, recipe=replace(self.recipe, epochs=epochs))

    def _check_total(self, epochs: int) -> None:
        """Raise `TriptychError` if a total number of epochs is too small for this run."""
        if self.finished and epochs <= self.planned:
            raise TriptychError(
                f"--epochs {epochs}: this run is finished after {self.planned} epochs, and "
                "--epochs "
                f"is the total; give {self.planned + 1} or more"
            )
        done = len(self.position.history)
        last_step = self.position.history[-1]["step"] if self.position.history else 0
        begun = done + (self.position.step > last_step)
        if epochs < begun:
            raise TriptychError(
                f"--epochs {epochs}: this run is in its epoch {begun} already, and --epochs is the "
                f"total; give {begun} or more"
            )

    def source_to_load(self) -> str:
        """Return `source`.

        Raises
        ------
        TriptychError
            If the data was made from arrays.
        """
        if not self.source:
            raise TriptychError(
                f"{self.folder}: its data was made from arrays, so it cannot be loaded again; "
                "give it, as data= in Python or as a file with --data"
            )
        return self.source

    def check_same(self, dataset: Dataset) -> None:
        """Raise `TriptychError` if the data is not what the run began with."""
        described = dataset.describe()
        if described.get("streamed") != self.data.get("streamed"):
            raise TriptychError(
                f"{dataset.source}: this run began with data that was "
                f"{_order_of(self.data)}, not {_order_of(described)}; so the order of the samples "
                "would be another one"
            )
        for split in ("train", "test"):
            key = f"{split}_sha256"
            if described[key] != self.data[key]:
                raise TriptychError(
                    f"{dataset.source}: not the data this run began with ({self.data['source']}): "
                    f"the {split}ing images or labels have SHA-256 {described[key][:12]}…, not "
                    f"{self.data[key][:12]}…; give the same with --data"
                )


@contextmanager
def resumable(folder: Path) -> Generator[SavedRun]:
    """Read a run folder, and keep other processes from training in it meanwhile.

    Raises
    ------
    TriptychError
        As of `SavedRun.read`; and if another process trains in this folder.
    """
    files.refuse_links(folder)
    if not (folder / "last").is_dir():
        yield SavedRun.read(folder)
        return
    # Locked before anything is read that the other process may write.
    with run_folder.locked(folder):
        files.sweep(folder)
        yield SavedRun.read(folder)


def _order_of(data: dict[str, Any]) -> str:
    """Return how described data is read."""
    streamed = data.get("streamed")
    if not isinstance(streamed, dict):
        return "read into memory"
    return f"streamed in windows of {one_line(streamed.get('window'), 20)} images"


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _position(data: Any, recipe: Recipe) -> Position:
    """Return the position of a checkpoint; raise `SpecError` if it does not fit the recipe."""
    position = Position.from_json(data)
    names = {monitor.name for monitor in monitors_of(recipe)}
    if set(position.memories) != names:
        raise SpecError(
            f"its position has memories of {sorted(position.memories)}, its recipe needs "
            f"{sorted(names)}"
        )
    validated = all("validation_loss" in epoch for epoch in position.history)
    if position.history and validated != bool(recipe.validation):
        raise SpecError("its history does not fit the validation of its recipe")
    return position


def _described(data: Any) -> dict[str, Any]:
    """Return the description of the data in a checkpoint, checked for what is read from it."""
    for key in ("source", "train_sha256", "test_sha256"):
        if not isinstance(data[key], str):
            raise SpecError(f"its data: {key} must be a text, not {data[key]!r}")
    return data


def _best_file(recorded: Any, epoch: int) -> dict[str, Any] | None:
    """Return what a checkpoint records of its best state; raise if that is of another epoch."""
    if recorded is None:
        return None
    if recorded["epoch"] != epoch or not isinstance(recorded["sha256"], str):
        raise SpecError(
            f"its best epoch is {epoch}, and it names a best state of epoch {recorded['epoch']!r}"
        )
    return recorded


def _is_finished(folder: Path, recipe: Recipe) -> bool:
    """Return whether a folder holds the results of a recipe."""
    path = folder / "results.json"
    if not path.exists():
        return False
    results = run_folder.read_results(folder, "train")
    with files.refusing(path, "results that triptych train wrote"):
        return Recipe.from_json(results["recipe"]) == recipe


def _why_no_checkpoint(folder: Path) -> str:
    if (folder / "results.json").exists():
        return _why_not_trained(folder)
    if not (folder / "events.jsonl").exists():
        return "name a run folder of triptych train"
    return (
        "the run was stopped before its first checkpoint, and nothing can go on from it; "
        "begin a new one"
    )


def _why_not_trained(folder: Path) -> str:
    """Return why no training can go on from the folder of another command."""
    if run_folder.read_results(folder, None).get("kind") == "import":
        return (
            "its weights were imported, and how they were trained is not known, so they cannot be "
            "trained further; predict, show, export and serve take this run"
        )
    return "name a run folder of triptych train"


def _best_state(
    folder: Path, last: checkpoint.SavedState, epoch: int, recorded: dict[str, Any] | None
) -> State | None:
    """Return the state of the best epoch.

    It is None if the process was killed after a later best state was written and before the last
    state was. The later best is computed again, because the steps to it are made again.

    Raises
    ------
    TriptychError
        If the best state is missing, or is not of this run.
    """
    path = folder / "best" / STATE
    if not path.exists():
        if epoch:
            raise TriptychError(
                f"{path}: missing, where the run had its best in epoch {epoch}; restore it"
            )
        return None
    best = checkpoint.read_state(path)
    with files.refusing(path, "a best state that triptych train wrote"):
        best_epoch = best.provenance["epoch"]
        check_whole("its provenance", "epoch", best_epoch, 1)
        # A run that is trained further keeps its earlier best state, with fewer epochs in the
        # recipe.
        recipe = replace(best.recipe, epochs=last.recipe.epochs)
        if best.network != last.network or recipe != last.recipe:
            raise TriptychError(
                f"{path}: of another network or recipe than last/{STATE}; restore the one of this "
                "run"
            )
        if best_epoch < epoch:
            raise TriptychError(
                f"{path}: of epoch {best_epoch}, where the run had its best in epoch {epoch}; "
                "restore it"
            )
        if best_epoch > epoch:
            return None
        if recorded is not None and best.sha256 != recorded["sha256"]:
            raise TriptychError(
                f"{path}: not the one that this run saved in epoch {epoch}; restore it"
            )
    return best.state


def read_trained(path: Path) -> checkpoint.SavedState:
    """Read the state that predictions are made with.

    Parameters
    ----------
    path : Path
        A state file, a folder that holds one, or a run folder of ``triptych train``. Of a run with
        early stopping that restores the best weights, the best state is read; otherwise the last.

    Raises
    ------
    TriptychError
        If there is no such state, or it is damaged.
    """
    if path.is_file():
        return checkpoint.read_state(path)
    if (path / STATE).exists():
        return checkpoint.read_state(path / STATE)
    if not path.exists():
        raise TriptychError(f"{path}: no such file or folder; name a run folder or a state file")
    last = path / "last" / STATE
    if not last.exists():
        raise TriptychError(f"{path}: holds no {STATE}; {_where_states_are(path)}")
    saved = checkpoint.read_state(last)
    best = path / "best" / STATE
    if restores_best(saved.recipe) and best.exists():
        return checkpoint.read_state(best)
    return saved


def _where_states_are(path: Path) -> str:
    """Return what to name instead of a folder without a state: those of a comparison's engines."""
    inside = sorted(path.glob(f"*/{STATE}"))
    if inside:
        return f"name one of its engines, for example {inside[0].parent}"
    return "name a run folder or a state file"
