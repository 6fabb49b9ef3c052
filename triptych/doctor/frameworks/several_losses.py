"""A loss for each of several outputs, added with weights."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..observation import Component, Settings
from .adapter import ModelError

KEY = "loss_weights"


@dataclass(frozen=True)
class Term:
    """What one output adds to the loss.

    Attributes
    ----------
    loss : object
        The user's loss of this output.
    weight : float
        Its weight.
    output, target : tensor
        What it takes.
    """

    loss: Any
    weight: float
    output: Any
    target: Any


class SeveralLosses:
    """The losses of several outputs.

    Parameters
    ----------
    losses : list, tuple or dict
        A loss for each output, None for an output without one. In a dict the names are those of the
        outputs.
    weights : list, tuple or dict, optional
        The same of their weights, 1 if not given.

    Raises
    ------
    ModelError
        If there is no loss, or there are not as many weights as losses.
    """

    def __init__(self, losses: Any, weights: Any = None) -> None:
        named = isinstance(losses, Mapping)
        self.names = list(losses) if named else list(range(len(losses)))
        self.losses = list(losses.values()) if named else list(losses)
        if all(loss is None for loss in self.losses):
            raise ModelError("loss has no loss of any output")
        self.weights = self._weights(weights)

    def _weights(self, weights: Any) -> list[float]:
        if weights is None:
            return [1.0] * len(self.losses)
        if isinstance(weights, Mapping):
            unknown = [name for name in weights if name not in self.names]
            if unknown:
                raise ModelError(f"{KEY} has {unknown[0]!r}, of which there is no loss")
            return [float(weights.get(name, 1.0)) for name in self.names]
        given = np.asarray(weights, float).reshape(-1).tolist()
        if len(given) != len(self.losses):
            raise ModelError(f"{KEY} has {len(given)} weights of {len(self.losses)} losses")
        return given

    def as_given(self, each: Sequence[Any]) -> Any:
        """Return something for each loss, as the losses were given: in a dict or in a list."""
        named = any(isinstance(name, str) for name in self.names)
        return dict(zip(self.names, each, strict=True)) if named else list(each)

    def terms(self, outputs: Any, targets: Sequence[Any], order: Sequence[str]) -> Iterator[Term]:
        """Yield what each output adds to the loss.

        Parameters
        ----------
        outputs : dict, list or tuple of tensor
            What the model returns.
        targets : sequence of tensor
            One for each loss in their order, or one for all of them.
        order : sequence of str
            The names of the outputs, if they are no dict and have names.

        Raises
        ------
        ModelError
            If losses, outputs and targets do not fit each other.
        """
        each = zip(self.names, self.losses, self.weights, self.targets(targets), strict=True)
        for name, loss, weight, target in each:
            if loss is not None:
                yield Term(loss, weight, _output(outputs, name, order), target)

    def targets(self, targets: Sequence[Any]) -> list[Any]:
        """Return a target for each entry of the losses; that of a missing loss is not used.

        Parameters
        ----------
        targets : sequence of tensor
            One for each loss in their order, or one for all of them.

        Raises
        ------
        ModelError
            If there are not as many.
        """
        if len(targets) == len(self.losses):
            return list(targets)
        count = sum(loss is not None for loss in self.losses)
        if len(targets) not in (1, count):
            raise ModelError(
                f"there are {count} losses and {len(targets)} targets, y, y2, …; give one "
                "target for each loss, or one for all"
            )
        waiting = iter(targets if len(targets) == count else [targets[0]] * count)
        return [targets[0] if loss is None else next(waiting) for loss in self.losses]


def _output(outputs: Any, name: Any, order: Sequence[str]) -> Any:
    """Return the output of a name or of a place."""
    if isinstance(outputs, Mapping):
        known = list(outputs)
        if isinstance(name, int):
            name = sorted(known)[name] if name < len(known) else name
        values: Mapping[Any, Any] = outputs
    else:
        values = dict(enumerate(outputs if isinstance(outputs, (list, tuple)) else [outputs]))
        known = list(order)
        name = known.index(name) if name in known else name
    if name not in values:
        held = ", ".join(map(str, known)) or f"{len(values)} outputs without names"
        raise ModelError(f"there is a loss of the output {name!r}; the model returns {held}")
    return values[name]


def of_parts(parts: Mapping[str, Any]) -> Any:
    """Return the user's loss; `SeveralLosses` if it is one for each of several outputs."""
    loss = parts.get("loss")
    if isinstance(loss, (list, tuple, Mapping)):
        return SeveralLosses(loss, parts.get(KEY))
    weights = parts.get(KEY)
    if loss is None or weights is None:
        return loss
    if isinstance(weights, Mapping):
        return SeveralLosses(dict.fromkeys(weights, loss), weights)
    return SeveralLosses([loss] * np.size(weights), weights)


def described(several: SeveralLosses, parts: Sequence[Component | None]) -> Component:
    """Return several losses as one component.

    Parameters
    ----------
    several : SeveralLosses
        The losses.
    parts : sequence of Component or None
        Each of them.
    """
    settings: Settings = {KEY: several.as_given(several.weights)}
    for name, part in zip(several.names, parts, strict=True):
        if part is not None:
            settings |= {f"{name}.{key}": value for key, value in part.settings.items()}
    types = [part.type for part in parts if part is not None]
    source = "\n".join(part.source for part in parts if part is not None and part.source)
    return Component(" + ".join(types), settings, source=source)
