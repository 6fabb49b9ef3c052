"""How far a training is, between two blocks of steps; JSON in and out."""

from dataclasses import asdict, dataclass, field, fields
from typing import Any

from ..errors import SpecError
from ..spec.callbacks import CallbackMemory, EarlyStopping, ImprovementTracker
from ..spec.recipe import Recipe
from ..spec.validation import check_keys, check_number, check_whole


@dataclass
class Position:
    """All that a training needs to go on, together with the engine's state.

    Attributes
    ----------
    step : int
        Steps made.
    base_rate : float
        The rate that the schedule's factors are applied to: the optimizer's rate after all cuts.
    loss_sum : float
        Sum of the losses of all samples of the current epoch.
    seconds, cpu_seconds : float
        Wall time and processor time of the current epoch, in seconds, without evaluation.
    memories : dict of str to CallbackMemory
        What each callback remembers, by its name.
    history : list of dict
        The ``epoch`` events so far, as JSON objects.
    stopped : str or None
        Why a callback ended the training.
    """

    step: int = 0
    base_rate: float = 0.0
    loss_sum: float = 0.0
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    memories: dict[str, CallbackMemory] = field(default_factory=dict[str, CallbackMemory])
    history: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    stopped: str | None = None

    @classmethod
    def at_start(cls, recipe: Recipe) -> "Position":
        """Return the position before the first step."""
        memories = {monitor.name: CallbackMemory() for monitor in monitors_of(recipe)}
        return cls(base_rate=recipe.optimizer.rate, memories=memories)

    def to_json(self) -> dict[str, Any]:
        """Return the position as a JSON object."""
        memories = {name: memory.to_json() for name, memory in self.memories.items()}
        return asdict(self) | {"memories": memories}

    @classmethod
    def from_json(cls, data: Any) -> "Position":
        """Read what `to_json` wrote.

        Raises
        ------
        SpecError
            If a key is missing or unknown, or its value has a wrong type. The message names the
            key.
        """
        optional = {"loss_sum", "seconds", "cpu_seconds", "stopped"}
        values = check_keys(data, {f.name for f in fields(cls)}, "position", optional)
        check_whole("position", "step", values["step"], 0)
        for name in ("base_rate", "loss_sum", "seconds", "cpu_seconds"):
            check_number("position", name, values.get(name, 0.0))
        stopped = values.get("stopped")
        if stopped is not None and not isinstance(stopped, str):
            raise SpecError(f"position: stopped must be a text or null, not {stopped!r}")
        memories: Any = values["memories"]
        if not isinstance(memories, dict):
            raise SpecError(f"position: memories must be an object, not {memories!r}")
        history: Any = values["history"]
        if not isinstance(history, list):
            raise SpecError(f"position: history must be a list, not {history!r}")
        for number, epoch in enumerate(history, 1):
            _check_epoch(epoch, number)
        read: Any = {
            str(name): CallbackMemory.from_json(memory) for name, memory in memories.items()
        }
        return cls(**values | {"memories": read})


def _check_epoch(epoch: Any, number: int) -> None:
    """Raise `SpecError` unless a value is the ``epoch`` event of that number, from 1."""
    name = f"position: epoch {number}"
    if not isinstance(epoch, dict):
        raise SpecError(f"{name} must be an object, not {epoch!r}")
    missing = {"epoch", "step", "loss", "rate", "base_rate", "seconds"} - set(epoch)
    if missing:
        raise SpecError(f"{name}: missing key {min(missing)!r}")
    if ("validation_loss" in epoch) != ("validation_accuracy" in epoch):
        raise SpecError(f"{name}: has one of validation_loss and validation_accuracy only")
    check_whole(name, "epoch", epoch["epoch"], number)
    check_whole(name, "step", epoch["step"], number)
    if epoch["epoch"] != number:
        raise SpecError(f"{name} is numbered {epoch['epoch']!r}")
    for key in ("rate", "base_rate", "seconds", "cpu_seconds", "validation_accuracy"):
        check_number(name, key, epoch.get(key, 0.0))
    for key in ("loss", "validation_loss"):  # the loss of the validation split may be infinite
        if not isinstance(epoch.get(key, 0.0), int | float):
            raise SpecError(f"{name}: {key} must be a number, not {epoch[key]!r}")


def best_monitor(recipe: Recipe) -> ImprovementTracker:
    """Return what decides which epoch is the best: early stopping, or else the lowest loss."""
    for callback in recipe.callbacks:
        if isinstance(callback, EarlyStopping):
            return callback
    return ImprovementTracker(monitor="validation_loss" if recipe.validation else "loss")


def monitors_of(recipe: Recipe) -> list[ImprovementTracker]:
    """Return all that watch the epochs of a training: the callbacks, and `best_monitor`."""
    monitors = list(recipe.callbacks)
    best = best_monitor(recipe)
    if best not in monitors:
        monitors.append(best)
    return monitors


def restores_best(recipe: Recipe) -> bool:
    """Return whether a training ends with the weights of its best epoch."""
    monitor = best_monitor(recipe)
    return isinstance(monitor, EarlyStopping) and monitor.restore_best
