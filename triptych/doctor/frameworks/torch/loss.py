"""The user's loss, and the same loss with changes."""

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import nn

from ...observation import Settings
from ..adapter import ModelError, Unsupported
from ..several_losses import SeveralLosses

PROBABILITIES = "probabilities"
WRAPPINGS: dict[str, Callable[[torch.Tensor, int], torch.Tensor]] = {
    "softmax": lambda output, axis: output.softmax(axis),
    "log_softmax": lambda output, axis: output.log_softmax(axis),
    "sigmoid": lambda output, axis: output.sigmoid(),
    "log": lambda output, axis: output.log(),
    "logit": lambda output, axis: output.logit(),
}


def check_setting(name: str, value: Any) -> None:
    """Raise `Unsupported` if a setting of the loss or metric has no such value."""
    if name == "wrap" and value not in (*WRAPPINGS, PROBABILITIES):
        raise Unsupported(f"the output cannot go through {value!r}")
    if name == "type":
        kind = getattr(nn, str(value), None)
        if not (isinstance(kind, type) and issubclass(kind, nn.modules.loss._Loss)):
            raise Unsupported(f"torch.nn has no loss {value}")


def takes_argument(function: Any, name: str) -> bool:
    """Return whether a function takes an argument of this name after output and target."""
    try:
        parameters = list(inspect.signature(function).parameters)
    except (TypeError, ValueError):
        return False
    return name in parameters[2:]


def loss_of(loss: Any, output: Any, target: Any, settings: Settings, axis: int) -> torch.Tensor:
    """Return the loss as a number; what is no number is averaged.

    Parameters
    ----------
    loss : callable or SeveralLosses
        The user's loss.
    output, target : Tensor or tuple
        What the model returned, and the targets.
    settings : dict
        Changes; see `triptych.doctor.frameworks.torch.changes.Changes`.
    axis : int
        The axis of the classes.

    Raises
    ------
    ModelError
        If the loss returns no tensor.
    """
    settings = dict(settings)
    factor = settings.pop("scale", 1.0)
    if isinstance(loss, SeveralLosses):
        if settings:
            raise Unsupported("the loss of several outputs cannot be changed")
        targets = target if isinstance(target, tuple) else (target,)
        terms = [
            each.weight * loss_of(each.loss, each.output, each.target, {}, axis)
            for each in loss.terms(output, targets, ())
        ]
        return sum(terms[1:], terms[0]) * factor
    if settings:
        output = changed_output(output, target, settings, axis, binary=_is_binary(loss))
        loss = _changed(loss, target, settings)
    made = loss(output, target)
    if not isinstance(made, torch.Tensor):
        raise ModelError(f"the loss returns {type(made).__name__}; it must return a tensor")
    mean = made.mean() if made.ndim else made
    return mean * factor if factor != 1.0 else mean


def _is_binary(loss: Any) -> bool:
    name = getattr(loss, "__name__", type(loss).__name__)
    return "BCE" in name or "binary" in name


def changed_output(
    output: Any, target: Any, settings: Settings, axis: int, *, binary: bool = False
) -> Any:
    """Return what a loss or metric gets in place of the model's output.

    Parameters
    ----------
    output, target : Tensor or tuple
        What the model returned, and the targets.
    settings : dict
        ``squeeze``, ``clip`` and ``wrap``, in this order.
    axis : int
        The axis of the classes.
    binary : bool
        Whether the loss is one of a single probability.
    """
    if not {"squeeze", "clip", "wrap"} & set(settings):
        return output
    if not isinstance(output, torch.Tensor):
        raise Unsupported("the model returns several tensors; the loss cannot be changed")
    if settings.get("squeeze") and output.numel() == target.numel():
        output = output.reshape(target.shape)
    if "clip" in settings:
        output = output.clamp(settings["clip"], 1 - settings["clip"])
    wrap = settings.get("wrap")
    if wrap == PROBABILITIES:
        wrap = "logit" if binary else "log"
    return WRAPPINGS[wrap](output, axis) if wrap else output


def _changed(loss: Any, target: Any, settings: Settings) -> Any:
    """Return the loss of another type, with other arguments or another mean."""
    if "type" in settings:
        kind = getattr(nn, settings["type"])
        names = inspect.signature(kind).parameters
        loss = kind(**{name: getattr(loss, name) for name in names if hasattr(loss, name)})
    arguments = dict(settings.get("arguments", {}))
    by_count = settings.get("weights_by_count")
    if by_count and isinstance(loss, nn.Module):
        return partial(_mean_by_count, _summed(loss), getattr(loss, "ignore_index", None))
    if by_count:
        arguments["reduction"] = "sum"
    changed = partial(loss, **arguments) if arguments else loss
    return partial(_mean_by_count, changed, None) if by_count else changed


def _summed(loss: Any) -> Callable[..., Any]:
    def summed(output: Any, target: Any) -> Any:
        before = loss.reduction
        loss.reduction = "sum"
        try:
            return loss(output, target)
        finally:
            loss.reduction = before

    return summed


def _mean_by_count(
    summed: Callable[..., Any], ignored: int | None, output: Any, target: torch.Tensor
) -> Any:
    classes = not target.is_floating_point()
    # Targets that are probabilities have an axis of classes.
    count = target.numel() if classes or target.ndim < 2 else target.numel() // target.shape[1]
    if classes and ignored is not None:
        count = int((target != ignored).sum())
    return summed(output, target) / count
