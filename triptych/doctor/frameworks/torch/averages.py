"""Averages of the weights that a user keeps beside the model and updates after each step."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from types import FunctionType, MethodType, NoneType
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from ...averages import moving_averages, shares_of_series
from ...observation import Array, Arrays
from .. import references
from .model import UserModel
from .weights import Role

DEEPEST = 5  # how far tensors are looked for in what a hook or callback refers to
FEWEST_VALUES = 4  # of a weight that tells how it is averaged
AFTER_A_STEP = ("on_train_batch_end", "on_batch_end")
# An average in float32 of weights in float64 is as near as that.
SAME = 1e-5


class Averages:
    """What the hooks of the optimizer and the callbacks keep of the weights.

    Parameters
    ----------
    model : UserModel
        The model.
    parts : dict
        What ``build()`` returned.
    """

    def __init__(self, model: UserModel, parts: dict[str, Any]) -> None:
        self._model = model
        self._optimizer = parts.get("optimizer")
        self._callbacks = list(parts.get("callbacks") or ())
        self._weight: tuple[str, Role, torch.Tensor] | None = None
        self._series: list[dict[str, Array]] = []
        self._before: list[tuple[torch.Tensor, torch.Tensor]] = []

    def tensors(self) -> dict[str, torch.Tensor]:
        """Return the tensors that are kept besides those of the model, by what holds them."""
        # A view of a weight is the weight.
        owned = {_memory_of(tensor) for tensor in self._model.tensors()}
        return {
            path: tensor
            for path, tensor in _tensors(self._holders())
            if tensor.is_floating_point() and _memory_of(tensor) not in owned
        }

    def owners(self) -> list[Any]:
        """Return the objects whose methods are hooks, if they hold no more than averages do."""
        methods = [hook for hook in self._hooks() if isinstance(hook, MethodType)]
        return [each.__self__ for each in methods if _is_small(each.__self__)]

    def _hooks(self) -> list[Any]:
        hooks: list[Any] = []
        for kind in ("pre", "post"):
            by_number = getattr(self._optimizer, f"_optimizer_step_{kind}_hooks", {})
            hooks += by_number.values()
        return hooks

    def _holders(self) -> list[Any]:
        return [self._hooks(), self._callbacks]

    def begin(self) -> None:
        """Begin to watch the tensors, in the dtype of the model."""
        counts = [
            each.n_averaged for each in _modules(self._holders()) if isinstance(each, AveragedModel)
        ]
        kept = [*self.tensors().values(), *counts]
        self._before = [(tensor, tensor.data) for tensor in kept]
        for tensor in kept:
            dtype = self._model.dtype if tensor.is_floating_point() else tensor.dtype
            tensor.data = tensor.data.to(dtype, copy=True)
        trained = [each for each in self._model.weights() if each[2].requires_grad]
        fitting = [each for each in trained if each[2].numel() >= FEWEST_VALUES]
        # A bias before a BatchNorm does not move.
        self._weight = min(
            fitting, key=lambda each: (each[2].ndim < 2, each[2].numel()), default=None
        )
        self._series = [self._present()]

    def end(self) -> None:
        """Put back the tensors."""
        for tensor, data in self._before:
            tensor.data = data

    def _present(self) -> dict[str, Array]:
        """Return the tensors that may be averages of one weight."""
        if self._weight is None:
            return {}
        _, role, weight = self._weight
        return {
            path: np.array(role.read(tensor), np.float64)
            for path, tensor in self.tensors().items()
            if tensor.shape == weight.shape
        }

    def after_step(self, number: int) -> None:
        """Let the callbacks do what they do after an update; the optimizer's hooks have done so.

        An average that neither of them updates stays as it is: it is not known when the user's
        loop updates it.
        """
        for callback in self._callbacks:
            for event in AFTER_A_STEP:
                if hasattr(callback, event):
                    # It may need more than the loss.
                    with suppress(Exception):
                        getattr(callback, event)(number, {"loss": 1.0})
        self._series.append(self._present())

    def of_updates(
        self, start: Arrays, weights: Sequence[Arrays]
    ) -> tuple[Arrays, tuple[float, ...]]:
        """Return the averages of all weights after the last update, and how they were averaged.

        Parameters
        ----------
        start : dict of str to ndarray
            The weights before the first update.
        weights : sequence of dict
            Those after each update.

        Returns
        -------
        averages : dict of str to ndarray
            By ``PATH/ROLE``; empty if there are none.
        shares : tuple of float
            For each update, the share of the old average in the new one.
        """
        if self._weight is None:
            return {}, ()
        name = self._weight[0]
        of_weight = [each[name] for each in (start, *weights)]
        for path in self._series[-1]:
            series = [each.get(path) for each in self._series]
            shares = shares_of_series(series, of_weight)
            if shares:
                return self._of_all(start, weights, shares), shares
        return {}, ()

    def of_epochs(self, start: Arrays, weights: Sequence[Arrays]) -> tuple[float, ...]:
        """Return how callbacks average weights at the ends of epochs; empty if they do not.

        Parameters
        ----------
        start : dict of str to ndarray
            The weights before the first epoch.
        weights : sequence of dict
            Those after each epoch.
        """
        callbacks = [each for each in self._callbacks if self._holds_weights(each)]
        if self._weight is None or not callbacks:
            return ()
        name = self._weight[0]
        self._series = [self._present()]
        for epoch, arrays in enumerate(weights):
            self._set(arrays)
            logs = dict.fromkeys(("loss", "val_loss"), 1 / (epoch + 1))
            try:
                for callback in callbacks:
                    callback.on_epoch_end(epoch, dict(logs))
            except Exception:  # it needs more than the losses
                return ()
            self._series.append(self._present())
        of_weight = [each[name] for each in (start, *weights)]
        tried = (
            shares_of_series([each.get(path) for each in self._series], of_weight)
            for path in self._series[-1]
        )
        return next(filter(None, tried), ())

    def _holds_weights(self, callback: Any) -> bool:
        """Return whether a callback with an end of an epoch has a tensor like the weight."""
        if self._weight is None or not hasattr(callback, "on_epoch_end"):
            return False
        shape = self._weight[2].shape
        owned = {_memory_of(tensor) for tensor in self._model.tensors()}
        kept = (tensor for _, tensor in _tensors([callback]))
        return any(each.shape == shape and _memory_of(each) not in owned for each in kept)

    @torch.no_grad()
    def _set(self, arrays: Arrays) -> None:
        """Give the model weights."""
        for name, role, tensor in self._model.weights():
            if name in arrays:
                role.write(tensor.data, arrays[name])

    def _of_all(self, start: Arrays, weights: Sequence[Arrays], shares: Sequence[float]) -> Arrays:
        """Return the kept tensors that are the averages of the weights."""
        expected = moving_averages(start, weights, shares)
        kept = list(self.tensors().values())
        averages: Arrays = {}
        for name, role, weight in self._model.weights():
            if name not in expected:
                continue
            for tensor in kept:
                if tensor.shape != weight.shape:
                    continue
                array = role.read(tensor)
                if np.allclose(array, expected[name], rtol=SAME, atol=SAME * np.ptp(array)):
                    averages[name] = array.copy()
                    break
        return averages


def _memory_of(tensor: torch.Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


def _is_small(owner: Any) -> bool:
    """Return whether an object holds only numbers, tensors and modules, or such in a dict."""
    if isinstance(owner, nn.Module):
        return False
    values = [
        each
        for value in getattr(owner, "__dict__", {}).values()
        for each in (value.values() if isinstance(value, dict) else [value])
    ]
    return all(
        isinstance(each, (int, float, str, torch.Tensor, nn.Module, NoneType)) for each in values
    )


def _tensors(holders: Iterable[Any]) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield the tensors that objects refer to, each once, with what holds them."""
    for path, value in _walked(holders, lambda each: isinstance(each, (torch.Tensor, nn.Module))):
        if isinstance(value, nn.Module):
            for name, tensor in (*value.named_parameters(), *value.named_buffers()):
                yield f"{path}.{name}", tensor
        else:
            yield path, value


def _modules(holders: Iterable[Any]) -> Iterator[nn.Module]:
    for _, value in _walked(holders, lambda each: isinstance(each, nn.Module)):
        yield value


def _walked(holders: Iterable[Any], is_wanted: Callable[[Any], bool]) -> Iterator[tuple[str, Any]]:
    """Yield what is wanted among what objects refer to, with the way to it."""
    seen: set[int] = set()
    waiting: list[tuple[str, Any, int]] = [("", each, 0) for each in holders]
    while waiting:
        path, value, depth = waiting.pop(0)
        if id(value) in seen or depth > DEEPEST:
            continue
        seen.add(id(value))
        if is_wanted(value):
            yield path, value
        else:
            waiting += [(f"{path}.{name}", each, depth + 1) for name, each in _held(value)]


def _held(value: Any) -> list[tuple[str, Any]]:
    """Return what an object refers to."""
    if isinstance(value, (MethodType, FunctionType, list, tuple, dict)):
        return references.held_by("", value)
    library = type(value).__module__.partition(".")[0] in (*references.LIBRARIES, "builtins")
    return [] if library else list(getattr(value, "__dict__", {}).items())
