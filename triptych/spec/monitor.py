"""What "best" is, said once: every callback that watches a figure of the epochs goes by it.

A value is better than the best so far where it beats it by more than the threshold,

    value < best - threshold,  or relative  value < best·(1 - threshold),  of a loss
    value > best + threshold,  or relative  value > best·(1 + threshold),  of an accuracy

and becomes the best; a tie is not better. Before the first value the best is infinitely bad, and NaN is not better than
that, either. With `first_is_best` the first value is the best whatever it is; where that is NaN, none is ever better.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from math import inf, isfinite
from typing import Any, ClassVar

from ..errors import SpecError, suggest
from .validation import (
    check_flag,
    check_keys,
    check_number,
    check_whole,
)

Event = dict[str, Any]

MONITORS = ("loss", "validation_loss", "validation_accuracy")


@dataclass
class Memory:
    """What a callback remembers from one epoch to the next.

    Attributes
    ----------
    best : float or None
        None before the first value that was better than nothing.
    best_epoch : int
        From 1; 0 where there is none.
    wait : int
        Epochs that count towards patience.
    cooling : int
        Epochs that are left of a cooldown.
    """

    best: float | None = None
    best_epoch: int = 0
    wait: int = 0
    cooling: int = 0

    def to_json(self) -> dict[str, Any]:
        best = (
            self.best if self.best is None or isfinite(self.best) else repr(self.best)
        )  # JSON knows no NaN
        return asdict(self) | {"best": best}

    @classmethod
    def from_json(cls, data: Any) -> "Memory":
        """Read what `to_json` wrote.

        Raises
        ------
        SpecError
            Naming the key that is missing, unknown or of a wrong type.
        """
        values = check_keys(data, {f.name for f in fields(cls)}, "memory of a callback")
        for name in ("best_epoch", "wait", "cooling"):
            check_whole("memory of a callback", name, values[name], 0)
        best = values["best"]
        if isinstance(best, str) and best in ("inf", "-inf", "nan"):
            values["best"] = float(best)
        elif best is not None:
            check_number("memory of a callback", "best", best)
            values["best"] = float(best)
        return cls(**values)


@dataclass(frozen=True, kw_only=True)
class Monitor:
    """Watches one figure of each epoch for the best.

    Attributes
    ----------
    monitor : str
        ``loss``, ``validation_loss`` or ``validation_accuracy``: lower is better, of an accuracy higher.
    threshold : float
        At least 0; below 1 where it is relative.
    relative : bool
    first_is_best : bool
        Whether the first value is the best whatever it is.
    """

    monitor: str = "validation_loss"
    threshold: float = 0.0
    relative: bool = False
    first_is_best: bool = False
    name: ClassVar[str] = "best"

    def __post_init__(self) -> None:
        if self.monitor not in MONITORS:
            raise SpecError(
                f"{self.name}: monitor {self.monitor!r} is unknown; {suggest(str(self.monitor), MONITORS)}"
            )
        check_number(self.name, "threshold", self.threshold, 0)
        for name in ("relative", "first_is_best"):
            check_flag(self.name, name, getattr(self, name))
        if self.relative and self.threshold >= 1:
            raise SpecError(
                f"{self.name}: a relative threshold must be below 1, not {self.threshold}"
            )

    @classmethod
    def like(cls, framework: str, **theirs: Any) -> "Monitor":
        """Return a framework's own, from its own arguments; neither has this one.

        Raises
        ------
        SpecError
        """
        raise SpecError(f"{cls.name}: no framework has it, so like {framework!r} means nothing")

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
        if self.rising:
            return value > (
                best * (1.0 + self.threshold) if self.relative else best + self.threshold
            )
        return value < (best * (1.0 - self.threshold) if self.relative else best - self.threshold)

    def see(self, epoch: Event, memory: Memory) -> Iterator[Event]:
        """Take the end of an epoch in.

        Parameters
        ----------
        epoch : dict
            With ``epoch`` (from 1), ``base_rate``, and the figure that is watched.
        memory : Memory
            Is changed.

        Yields
        ------
        dict
            What shall be done, if anything: of type ``stop`` or ``cut``.
        """
        if self.better(epoch[self.monitor], memory.best):
            memory.best, memory.best_epoch, memory.wait = epoch[self.monitor], epoch["epoch"], 0
        else:
            memory.wait += 1
        yield from ()
