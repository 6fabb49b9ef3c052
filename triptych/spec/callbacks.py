"""Callbacks: rules that check each epoch and may end the training or reduce its learning rate.

Every callback tracks the best value of one figure (`ImprovementTracker`). A value is better than
the best so far if it exceeds or undercuts it by more than the threshold:

    loss:      value < best - threshold,  or, relative,  value < best·(1 - threshold)
    accuracy:  value > best + threshold,  or, relative,  value > best·(1 + threshold)

It then becomes the best; a tie is not better. Before the first value the best is infinitely bad,
and NaN is not better than that either. With `first_is_best` any first value becomes the best; if it
is NaN, no later value is better.

Patience is the number of epochs in a row without a better value after which the callback acts, at
least 1. Cooldown is the number of epochs after a rate cut that do not count towards patience; a
better value in them still becomes the best.

A callback contains only its settings. What changes from epoch to epoch is a `CallbackMemory`, which
is stored as JSON, so that a resumed run continues exactly. `like` translates the arguments of a
framework: Keras acts when epochs ≥ patience and counts from the last epoch of a cooldown; PyTorch
acts when epochs > patience (D64, D65, D66).
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from math import inf, isfinite
from typing import Any, ClassVar

from ..errors import SpecError
from .conventions import arguments
from .registry import Registry
from .validation import check_choice, check_flag, check_keys, check_number, check_whole

Event = dict[str, Any]

MONITORS = ("loss", "validation_loss", "validation_accuracy")


@dataclass
class CallbackMemory:
    """What a callback remembers from one epoch to the next.

    Attributes
    ----------
    best : float or None
        The best value so far; None before the first that was better than nothing.
    best_epoch : int
        The epoch of the best value, from 1; 0 if there is none.
    wait : int
        The number of epochs that count towards patience.
    cooling : int
        The number of epochs until the end of a cooldown.
    """

    best: float | None = None
    best_epoch: int = 0
    wait: int = 0
    cooling: int = 0

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object that `from_json` reads."""
        values = asdict(self)
        if self.best is not None and not isfinite(self.best):
            values["best"] = repr(self.best)  # JSON has no NaN and no infinities
        return values

    @classmethod
    def from_json(cls, data: Any) -> "CallbackMemory":
        """Read what `to_json` wrote.

        Raises
        ------
        SpecError
            Naming the key that is missing, unknown or of a wrong type.
        """
        where = "memory of a callback"
        values = check_keys(data, {f.name for f in fields(cls)}, where)
        for name in ("best_epoch", "wait", "cooling"):
            check_whole(where, name, values[name], 0)
        best = values["best"]
        if isinstance(best, str) and best in ("inf", "-inf", "nan"):
            values["best"] = float(best)
        elif best is not None:
            check_number(where, "best", best)
            values["best"] = float(best)
        return cls(**values)


@dataclass(frozen=True, kw_only=True)
class ImprovementTracker:
    """Tracks the best value of one figure; the base of every callback.

    Attributes
    ----------
    monitor : str
        ``loss``, ``validation_loss`` or ``validation_accuracy``. The lowest loss is the best, and
        the highest accuracy.
    threshold : float
        At least 0; below 1 if it is relative.
    relative : bool
        Whether the threshold is a fraction of the best value.
    first_is_best : bool
        Whether the first value is the best whatever it is.
    """

    monitor: str = "validation_loss"
    threshold: float = 0.0
    relative: bool = False
    first_is_best: bool = False
    name: ClassVar[str] = "best"

    def __post_init__(self) -> None:
        check_choice(self.name, "monitor", self.monitor, MONITORS)
        check_number(self.name, "threshold", self.threshold, 0)
        for name in ("relative", "first_is_best"):
            check_flag(self.name, name, getattr(self, name))
        if self.relative and self.threshold >= 1:
            raise SpecError(
                f"{self.name}: a relative threshold must be below 1, not {self.threshold}"
            )

    @classmethod
    def like(cls, framework: str, **given: Any) -> "ImprovementTracker":
        """Return a framework's callback, from the framework's own arguments.

        Raises
        ------
        SpecError
            If the framework has no such callback, which is so here.
        """
        raise SpecError(f"{cls.name}: no framework has it, so like {framework!r} means nothing")

    @classmethod
    def examples(cls) -> "tuple[ImprovementTracker, ...]":
        """Return a few instances for tests and documentation."""
        return (cls(),)

    @property
    def rising(self) -> bool:
        """Whether higher is better."""
        return self.monitor.endswith("accuracy")

    def better(self, value: float, best: float | None) -> bool:
        """Return whether a value is better than the best so far."""
        if best is None:
            if self.first_is_best:
                return True
            best = -inf if self.rising else inf
        margin = self.threshold if self.rising else -self.threshold
        bound = best * (1.0 + margin) if self.relative else best + margin
        return value > bound if self.rising else value < bound

    def on_epoch_end(self, epoch: Event, memory: CallbackMemory) -> Iterator[Event]:
        """Update the memory with the figures of an epoch.

        Parameters
        ----------
        epoch : dict
            Has ``epoch`` (from 1), ``base_rate``, and the figure that is monitored.
        memory : CallbackMemory
            The memory after the epoch before; it is updated in place.

        Yields
        ------
        dict
            A request to the training loop, with the key ``type``: ``stop`` ends the training, for
            the reason ``why``; ``cut`` replaces the rate by ``base_rate``.
        """
        if self.better(epoch[self.monitor], memory.best):
            memory.best = epoch[self.monitor]
            memory.best_epoch = epoch["epoch"]
            memory.wait = 0
        else:
            memory.wait += 1
        yield from ()


@dataclass(frozen=True, kw_only=True)
class EarlyStopping(ImprovementTracker):
    """Ends the training after `patience` epochs without a better value.

    Attributes
    ----------
    patience : int
        Epochs, at least 1.
    baseline : float or None
        A value that must be beaten as well before waiting starts again from 0.
    begin : int
        The number of first epochs that are not looked at.
    restore_best : bool
        Whether the training ends, for whatever reason, with the weights of the best epoch.
    """

    patience: int = 5
    baseline: float | None = None
    begin: int = 0
    restore_best: bool = True
    name: ClassVar[str] = "early-stopping"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_whole(self.name, "patience", self.patience, 1)
        check_whole(self.name, "begin", self.begin, 0)
        check_flag(self.name, "restore_best", self.restore_best)
        if self.baseline is not None:
            check_number(self.name, "baseline", self.baseline)

    @classmethod
    def like(cls, framework: str, **given: Any) -> "EarlyStopping":
        """Return Keras's, from its own arguments; PyTorch has none.

        Raises
        ------
        SpecError
            If the framework has no such callback, or an argument is unknown.
        """
        values = arguments(cls.name, framework, given)
        return cls(
            monitor=values["monitor"],
            threshold=abs(values["min_delta"]),
            first_is_best=True,
            patience=max(1, values["patience"]),
            baseline=values["baseline"],
            begin=values["start_from_epoch"],
            restore_best=values["restore_best_weights"],
        )

    def on_epoch_end(self, epoch: Event, memory: CallbackMemory) -> Iterator[Event]:
        """Yield a ``stop`` after `patience` epochs without a better value."""
        if epoch["epoch"] <= self.begin:
            return
        value = epoch[self.monitor]
        memory.wait += 1
        if self.better(value, memory.best):
            memory.best = value
            memory.best_epoch = epoch["epoch"]
            if self.baseline is None or self.better(value, self.baseline):
                memory.wait = 0
        elif memory.wait >= self.patience:
            why = f"{self.monitor} was not better for {memory.wait} epochs"
            yield {"type": "stop", "epoch": epoch["epoch"], "why": why}


@dataclass(frozen=True, kw_only=True)
class ReduceLROnPlateau(ImprovementTracker):
    """Reduces the learning rate after `patience` epochs without a better value.

    The rate that the schedule's factors are applied to becomes max(factor·rate, min_rate).

    Attributes
    ----------
    factor : float
        In (0, 1).
    patience, cooldown : int
        Epochs.
    min_rate : float
        The lowest rate, at least 0.
    min_change : float
        A cut that would change the rate by no more than this is not made.
    """

    factor: float = 0.1
    patience: int = 10
    cooldown: int = 0
    min_rate: float = 0.0
    min_change: float = 0.0
    name: ClassVar[str] = "reduce-lr-on-plateau"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number(self.name, "factor", self.factor, 0, above=True)
        if self.factor >= 1:
            raise SpecError(f"{self.name}: factor must be below 1, not {self.factor}")
        check_whole(self.name, "patience", self.patience, 1)
        check_whole(self.name, "cooldown", self.cooldown, 0)
        for name in ("min_rate", "min_change"):
            check_number(self.name, name, getattr(self, name), 0)

    @classmethod
    def like(cls, framework: str, **given: Any) -> "ReduceLROnPlateau":
        """Return Keras's or PyTorch's, from its own arguments.

        Raises
        ------
        SpecError
            If the framework or an argument is unknown.
        """
        values = arguments(cls.name, framework, given)
        shared: dict[str, Any] = {
            "monitor": values["monitor"],
            "factor": values["factor"],
            "min_rate": values["min_lr"],
        }
        if framework == "keras":
            return cls(
                **shared,
                threshold=abs(values["min_delta"]),
                first_is_best=True,
                patience=max(1, values["patience"]),
                cooldown=max(0, values["cooldown"] - 1),
            )
        return cls(
            **shared,
            threshold=values["threshold"],
            relative=values["threshold_mode"] == "rel",
            patience=values["patience"] + 1,
            cooldown=values["cooldown"],
            min_change=values["eps"],
        )

    def on_epoch_end(self, epoch: Event, memory: CallbackMemory) -> Iterator[Event]:
        """Yield a ``cut`` after `patience` epochs without a better value."""
        yield from super().on_epoch_end(epoch, memory)
        if memory.cooling:
            memory.cooling -= 1
            memory.wait = 0
        if memory.wait < self.patience:
            return
        memory.cooling = self.cooldown
        memory.wait = 0
        rate = max(epoch["base_rate"] * self.factor, self.min_rate)
        if epoch["base_rate"] - rate > self.min_change:
            yield {"type": "cut", "epoch": epoch["epoch"], "base_rate": rate}


CALLBACKS: Registry[type[ImprovementTracker]] = Registry()


def register_callback(cls: type[ImprovementTracker]) -> type[ImprovementTracker]:
    """Make a callback known by its name in recipes; usable as a decorator."""
    CALLBACKS[cls.name] = cls
    return cls


register_callback(EarlyStopping)
register_callback(ReduceLROnPlateau)
