"""The training loop: steps, epochs, validation, callbacks. A generator of events, and no words.

It holds an engine by the waist and never asks which. Order, masks, augmentation and rates come from the schedule as pure
functions of the step, so a run goes on from its `Position` and the engine's state without replaying anything, in this
engine or in another.
"""

import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

import numpy as np

from ..core import metrics
from ..core.engine import Engine
from ..core.planner import BatchPlanner
from ..core.split import Split
from ..core.state import State
from ..errors import SpecError, TriptychError
from ..spec.callbacks import EarlyStopping
from ..spec.monitor import Event, Memory, Monitor
from ..spec.recipe import Recipe
from ..spec.validation import check_keys, check_number, check_whole

BLOCK_SECONDS = 0.25  # about how long a stop request waits
LONGEST_BLOCK = 1024
PACED = 4  # single steps before the length of a block is chosen, the first of which compiles


@dataclass
class Position:
    """Where a run stands, between two blocks: with the engine's state, all that is needed to go on.

    Attributes
    ----------
    step : int
        Steps made.
    base_rate : float
        What the schedule's factors are taken of: the optimizer's rate after all cuts.
    loss_sum, seconds, cpu_seconds : float
        Of the epoch so far: the sum of its samples' losses, and of training without evaluation, by the clock and on processors.
    memories : dict of str to Memory
        By callback.
    history : list of dict
        The ``epoch`` events so far.
    stopped : str or None
        Why a callback ended the run.
    """

    step: int = 0
    base_rate: float = 0.0
    loss_sum: float = 0.0
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    memories: dict[str, Memory] = field(default_factory=dict[str, Memory])
    history: list[Event] = field(default_factory=list[Event])
    stopped: str | None = None

    def to_json(self) -> dict[str, Any]:
        return asdict(self) | {
            "memories": {name: memory.to_json() for name, memory in self.memories.items()}
        }

    @classmethod
    def from_json(cls, data: Any) -> "Position":
        """Read what `to_json` wrote.

        Raises
        ------
        SpecError
            Naming the key that is missing, unknown or of a wrong type.
        """
        optional = {"loss_sum", "seconds", "cpu_seconds", "stopped"}
        values = check_keys(data, {f.name for f in fields(cls)}, "position", optional)
        check_whole("position", "step", values["step"], 0)
        for name in ("base_rate", "loss_sum", "seconds", "cpu_seconds"):
            check_number("position", name, values.get(name, 0.0))
        stopped = values.get("stopped")
        if stopped is not None and not isinstance(stopped, str):
            raise SpecError(f"position: stopped must be a text or null, not {stopped!r}")
        if not isinstance(values["memories"], dict):
            raise SpecError(f"position: memories must be an object, not {values['memories']!r}")
        if not isinstance(values["history"], list):
            raise SpecError(f"position: history must be a list, not {values['history']!r}")
        for number, epoch in enumerate(values["history"], 1):
            _check_epoch(epoch, number)
        memories: Any = {
            str(name): Memory.from_json(memory) for name, memory in values["memories"].items()
        }
        return cls(**values | {"memories": memories})


def _check_epoch(epoch: Any, number: int) -> None:
    """Raise `SpecError` unless a value is the ``epoch`` event of that number, from 1."""
    name = f"position: epoch {number}"
    if not isinstance(epoch, dict):
        raise SpecError(f"{name} must be an object, not {epoch!r}")
    if missing := {"epoch", "step", "loss", "rate", "base_rate", "seconds"} - set(epoch):
        raise SpecError(f"{name}: missing key {min(missing)!r}")
    if ("validation_loss" in epoch) != ("validation_accuracy" in epoch):
        raise SpecError(f"{name}: has one of validation_loss and validation_accuracy only")
    check_whole(name, "epoch", epoch["epoch"], number)
    check_whole(name, "step", epoch["step"], number)
    if epoch["epoch"] != number:
        raise SpecError(f"{name} is numbered {epoch['epoch']!r}")
    for key in ("rate", "base_rate", "seconds", "cpu_seconds", "validation_accuracy"):
        check_number(name, key, epoch.get(key, 0.0))
    for key in ("loss", "validation_loss"):  # the loss of validation images may be infinite
        if not isinstance(epoch.get(key, 0.0), int | float):
            raise SpecError(f"{name}: {key} must be a number, not {epoch[key]!r}")


def watched_for_best(recipe: Recipe) -> Monitor:
    """Return what decides which epoch is the best: early stopping where the recipe has it, else the lowest loss."""
    for callback in recipe.callbacks:
        if isinstance(callback, EarlyStopping):
            return callback
    return Monitor(monitor="validation_loss" if recipe.validation else "loss")


def monitors_of(recipe: Recipe) -> list[Monitor]:
    """Return everything that watches the epochs of a run: the callbacks, and what decides which epoch is the best."""
    best_by = watched_for_best(recipe)
    return [*recipe.callbacks] if best_by in recipe.callbacks else [*recipe.callbacks, best_by]


class Training:
    """One run. Iterate over `events`; between any two of them `position` and the engine's state belong together.

    Parameters
    ----------
    engine : Engine
        With the state of `position` loaded.
    schedule : BatchPlanner
    train : Split
    validation : Split or None
        Looked at after each epoch.
    position : Position, optional
        Where to go on; otherwise the beginning.
    best : dict of str to ndarray, optional
        The state of the best epoch so far.
    """

    def __init__(
        self,
        engine: Engine,
        schedule: BatchPlanner,
        train: Split,
        validation: Split | None = None,
        position: Position | None = None,
        best: State | None = None,
    ) -> None:
        self.engine, self.schedule, self.validation = engine, replace(schedule, block=1), validation
        recipe = self.recipe = schedule.recipe
        self.best_by = watched_for_best(recipe)
        self.monitors = monitors_of(recipe)
        self.position = position or Position(
            base_rate=recipe.optimizer.rate, memories={m.name: Memory() for m in self.monitors}
        )
        self.best = best
        self._asked_to_stop = False
        self._paces: list[float] = []
        self._data = engine.upload(train)
        self._watched = engine.upload(validation) if validation else None

    @property
    def best_epoch(self) -> int:
        """The best epoch so far, from 1; 0 where there is none."""
        return self.position.memories[self.best_by.name].best_epoch

    @property
    def done(self) -> bool:
        return self.position.stopped is not None or self.position.step >= self.schedule.steps

    def stop(self) -> None:
        """Ask it to end after the block in flight; safe in a signal handler."""
        self._asked_to_stop = True

    def events(self) -> Iterator[Event]:
        """Train.

        Yields
        ------
        dict
            With a ``type``: ``block``; ``cut``, ``stop`` and then ``epoch`` at the end of an epoch; ``trained`` or
            ``interrupted`` at the end of all. docs/training.md lists their keys.

        Raises
        ------
        TriptychError
            Where a loss is not finite.
        """
        while not self.done and not self._asked_to_stop:
            block = self._block()
            ended = (
                []
                if self.position.step % self.schedule.steps_per_epoch
                else self._end_epoch(block["rate"])
            )
            yield block
            yield from ended
        yield {
            "type": "trained" if self.done else "interrupted",
            "step": self.position.step,
            "best_epoch": self.best_epoch,
        }

    def finish(self) -> int:
        """Load the weights that the recipe wants at the end; return the epoch they are of, from 1."""
        if (
            self.best is not None
            and isinstance(self.best_by, EarlyStopping)
            and self.best_by.restore_best
        ):
            self.engine.load(self.best)
            return self.best_epoch
        return len(self.position.history)

    def _block(self) -> Event:
        p, per_epoch = self.position, self.schedule.steps_per_epoch
        before, on_processors = time.perf_counter(), time.process_time()
        span = next(self.schedule.within(*divmod(p.step, per_epoch)))
        plan = self.schedule.plan(*span, rate=p.base_rate)
        drawn = time.perf_counter()
        self.engine.run(self._data, plan)
        losses = [float(loss) for loss in self.engine.wait()]
        now = time.perf_counter()
        p.cpu_seconds += time.process_time() - on_processors
        _, steps, batch = span
        for at, loss in enumerate(losses, 1):
            if not np.isfinite(loss):
                raise TriptychError(
                    f"the loss is {loss} at step {p.step + at} (epoch {p.step // per_epoch + 1}): the training diverged; "
                    f"try a lower learning rate than {p.base_rate:g}, or clip gradients"
                )
            p.loss_sum += loss * batch  # a smaller last batch weighs less (D82)
        p.step += steps
        p.seconds += now - before
        self._choose_block((now - drawn) / steps)
        about = {
            "epoch": (p.step - 1) // per_epoch + 1,
            "step": p.step,
            "steps": steps,
            "rate": float(plan.rates[-1]),
        }
        return (
            {"type": "block"}
            | about
            | {
                "seconds": (now - before) / steps,
                "losses": [float(f"{loss:.7g}") for loss in losses],
            }
        )

    def _choose_block(self, pace: float) -> None:
        if len(self._paces) < PACED:
            self._paces.append(pace)
            if len(self._paces) == PACED:
                block = int(BLOCK_SECONDS / max(min(self._paces), 1e-9))
                self.schedule = replace(self.schedule, block=max(1, min(block, LONGEST_BLOCK)))

    def _end_epoch(self, rate: float) -> list[Event]:
        p = self.position
        number = p.step // self.schedule.steps_per_epoch
        epoch: Event = {
            "type": "epoch",
            "epoch": number,
            "step": p.step,
            "loss": p.loss_sum / self.schedule.samples,
        }
        if self.validation:
            epoch |= self._validate(self.validation)
        epoch |= {
            "rate": rate,
            "base_rate": p.base_rate,
            "seconds": p.seconds,
            "cpu_seconds": p.cpu_seconds,
        }
        actions: list[Event] = [
            {"step": p.step} | action
            for m in self.monitors
            for action in m.see(epoch, p.memories[m.name])
        ]
        for action in actions:
            if action["type"] == "cut":
                p.base_rate = action["base_rate"]
            else:
                p.stopped = action["why"]
        if self.best_epoch == number:
            self.best = self.engine.state()
        p.history.append(epoch)
        p.loss_sum = p.seconds = p.cpu_seconds = 0.0
        return [*actions, epoch]

    def _validate(self, split: Split) -> dict[str, float]:
        logits = self.engine.logits(self._watched)
        predicted = metrics.predictions(logits)
        return {
            "validation_loss": self.recipe.loss.evaluate(logits, split.labels),
            "validation_accuracy": metrics.accuracy(predicted, split.labels),
        }
