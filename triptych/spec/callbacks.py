"""Callbacks that change a training. What the best epoch is, `triptych.spec.monitor` says.

Patience: the number of epochs in a row without a better one after which something is done; at least 1.
Cooldown: the number of epochs after a cut that do not count towards patience. A better value in them still is the best.

A callback is plain numbers; what it remembers is a `Memory`, which goes into JSON, so that a resumed run goes on exactly.
`like` reads a framework's own arguments, with its defaults, into these numbers: Keras acts where epochs ≥ patience and begins
to count in the last epoch of a cooldown, PyTorch acts where epochs > patience (D64, D65, D66).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

from ..errors import SpecError, suggest
from .monitor import Event, Memory, Monitor
from .validation import check_flag, check_number, check_whole


@dataclass(frozen=True, kw_only=True)
class EarlyStopping(Monitor):
    """Ends the training when the best stays away for `patience` epochs.

    Attributes
    ----------
    patience : int
    baseline : float or None
        A value that has to be beaten, too, before waiting begins anew.
    begin : int
        So many epochs at the beginning are not looked at.
    restore_best : bool
        Whether the training ends, however it ends, with the weights of the best epoch.
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
    def like(cls, framework: str, **theirs: Any) -> "EarlyStopping":
        """Return Keras's, from its own arguments; PyTorch has none.

        Raises
        ------
        SpecError
            Where the framework, or an argument, is unknown.
        """
        a = _arguments(cls.name, framework, theirs)
        return cls(
            monitor=a["monitor"],
            threshold=abs(a["min_delta"]),
            first_is_best=True,
            patience=max(1, a["patience"]),
            baseline=a["baseline"],
            begin=a["start_from_epoch"],
            restore_best=a["restore_best_weights"],
        )

    def see(self, epoch: Event, memory: Memory) -> Iterator[Event]:
        if epoch["epoch"] <= self.begin:
            return
        value = epoch[self.monitor]
        memory.wait += 1
        if self.better(value, memory.best):
            memory.best, memory.best_epoch = value, epoch["epoch"]
            if self.baseline is None or self.better(value, self.baseline):
                memory.wait = 0
        elif memory.wait >= self.patience:
            yield {
                "type": "stop",
                "epoch": epoch["epoch"],
                "why": f"{self.monitor} was not better for {memory.wait} epochs",
            }


@dataclass(frozen=True, kw_only=True)
class ReduceLROnPlateau(Monitor):
    """Cuts the learning rate when the best stays away for `patience` epochs.

    It cuts the rate that the schedule's factors are taken of: max(factor·rate, min_rate).

    Attributes
    ----------
    factor : float
        In (0, 1).
    patience, cooldown : int
    min_rate : float
    min_change : float
        A cut that would change the rate by no more than this is left out.
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
    def like(cls, framework: str, **theirs: Any) -> "ReduceLROnPlateau":
        """Return Keras's or PyTorch's, from its own arguments.

        Raises
        ------
        SpecError
            Where the framework, or an argument, is unknown.
        """
        a = _arguments(cls.name, framework, theirs)
        keras = framework == "keras"
        return cls(
            monitor=a["monitor"],
            threshold=abs(a["min_delta"]) if keras else a["threshold"],
            relative=not keras and a["threshold_mode"] == "rel",
            first_is_best=keras,
            factor=a["factor"],
            patience=max(1, a["patience"]) if keras else a["patience"] + 1,
            cooldown=max(0, a["cooldown"] - 1) if keras else a["cooldown"],
            min_rate=a["min_lr"],
            min_change=0.0 if keras else a["eps"],
        )

    def see(self, epoch: Event, memory: Memory) -> Iterator[Event]:
        yield from super().see(epoch, memory)
        if memory.cooling:
            memory.cooling -= 1
            memory.wait = 0
        if memory.wait >= self.patience:
            memory.cooling, memory.wait = self.cooldown, 0
            rate = max(epoch["base_rate"] * self.factor, self.min_rate)
            if epoch["base_rate"] - rate > self.min_change:
                yield {"type": "cut", "epoch": epoch["epoch"], "base_rate": rate}


CALLBACKS: dict[str, type[Monitor]] = {cls.name: cls for cls in (EarlyStopping, ReduceLROnPlateau)}

# The arguments and defaults of keras.callbacks 3.15 and torch.optim.lr_scheduler 2.13; monitors by our names.
_WATCHED = {"monitor": "validation_loss"}
_THEIRS: dict[str, dict[str, dict[str, Any]]] = {
    "early-stopping": {
        "keras": _WATCHED
        | {
            "min_delta": 0,
            "patience": 0,
            "baseline": None,
            "restore_best_weights": False,
            "start_from_epoch": 0,
        },
    },
    "reduce-lr-on-plateau": {
        "keras": _WATCHED
        | {"factor": 0.1, "patience": 10, "min_delta": 1e-4, "cooldown": 0, "min_lr": 0.0},
        "torch": _WATCHED
        | {
            "factor": 0.1,
            "patience": 10,
            "threshold": 1e-4,
            "threshold_mode": "rel",
            "cooldown": 0,
            "min_lr": 0.0,
            "eps": 1e-8,
        },
    },
}


def _arguments(name: str, framework: str, given: dict[str, Any]) -> dict[str, Any]:
    if framework not in _THEIRS[name]:
        raise SpecError(
            f"{name}: like {framework!r} is unknown; {suggest(framework, _THEIRS[name])}"
        )
    known = _THEIRS[name][framework]
    for argument in given:
        if argument not in known:
            raise SpecError(
                f"{name} like {framework}: unknown argument {argument!r}; {suggest(argument, known)}"
            )
    return known | given
