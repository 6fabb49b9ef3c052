"""What the changes of all frameworks have in common; see `Changes`."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

from ..observation import Call, Change, Settings
from .adapter import Unsupported
from .preprocessing import InputChanges

Undo = Callable[[], None]


class Changes(ABC):
    """The changes that are in force, and how each is undone.

    ============  ==================================================================================
    target        settings
    ============  ==================================================================================
    callback      by its number in the list: its attributes
    preprocess    ``scale`` and ``offset``: numbers or lists with an entry for each channel;
                  ``reverse_channels``: True. The path is the number of the input, or empty for all
    ============  ==================================================================================

    The other targets are those of the framework.

    Parameters
    ----------
    parts : dict
        What ``build()`` returned.
    callbacks : list
        The user's.

    Attributes
    ----------
    metric : dict
        Settings of the metric.
    inputs : InputChanges
        Those of the preprocessing.
    """

    def __init__(self, parts: dict[str, Any], callbacks: list[Any]) -> None:
        self._parts = parts
        self._callbacks = callbacks
        self._undo: list[Undo] = []
        self.metric: Settings = {}
        self.inputs = InputChanges()
        self._targets: dict[str, Callable[[Change], None]] = {
            "layer": self._layer,
            "optimizer": self._optimizer,
            "loss": self._loss,
            "schedule": self._schedule,
            "callback": self._callback,
            "metric": self._metric,
            "preprocess": self._preprocess,
        }

    def apply(self, changes: Sequence[Change], calls: Sequence[Call]) -> None:
        """Apply changes; none of them if one cannot be applied.

        Parameters
        ----------
        changes : sequence of Change
            The changes.
        calls : sequence of Call
            The calls of the last observation.

        Raises
        ------
        Unsupported
            If a change cannot be applied from outside.
        """
        before = len(self._undo)
        try:
            for change in changes:
                if change.target == "function":
                    number = _place(change.path, calls)
                    if number is None or calls[number].layer:
                        raise Unsupported(
                            f"call {change.path} is no call of a function, or was not observed"
                        )
                    self._function(calls[number], change)
                elif change.target in self._targets:
                    self._targets[change.target](change)
                else:
                    raise Unsupported(f"nothing can be changed of the {change.target}")
        except Exception:
            self._undo_until(before)
            raise

    def restore(self) -> None:
        """Undo all changes."""
        self._undo_until(0)

    def _undo_until(self, count: int) -> None:
        while len(self._undo) > count:
            self._undo.pop()()

    def _set(self, holder: dict[Any, Any], key: Any, value: Any) -> None:
        """Set an entry; the undo puts the former one back."""
        missing = key not in holder
        before = holder.get(key)

        def undo() -> None:
            if missing:
                holder.pop(key, None)
            else:
                holder[key] = before

        holder[key] = value
        self._undo.append(undo)

    @abstractmethod
    def _layer(self, change: Change) -> None:
        """Change a setting of a layer."""

    @abstractmethod
    def _function(self, call: Call, change: Change) -> None:
        """Change a setting of the call of a function."""

    @abstractmethod
    def _optimizer(self, change: Change) -> None:
        """Change a parameter of the optimizer."""

    @abstractmethod
    def _loss(self, change: Change) -> None:
        """Change the loss."""

    @abstractmethod
    def _schedule(self, change: Change) -> None:
        """Change a parameter of the schedule."""

    @abstractmethod
    def _metric(self, change: Change) -> None:
        """Change the metric."""

    @abstractmethod
    def _attributes_of(self, callback: Any) -> dict[str, Any]:
        """Return the attributes of a callback; what is set in them is in force."""

    def _callback(self, change: Change) -> None:
        number = _place(change.path, self._callbacks)
        if number is None:
            raise Unsupported(f"there is no callback {change.path}")
        callback = self._callbacks[number]
        attributes = self._attributes_of(callback)
        if change.setting not in attributes:
            kind = type(callback).__name__
            raise Unsupported(f"{kind} has no attribute {change.setting}")
        self._set(attributes, change.setting, change.value)

    def _preprocess(self, change: Change) -> None:
        self._set(vars(self), "inputs", self.inputs.with_change(change))


def _place(path: str, held: Sequence[Any]) -> int | None:
    """Return the place in a sequence that a change's path names; None if it has no such place."""
    number = int(path) if path.isdigit() else len(held)
    return number if number < len(held) else None
