"""The user's optimizer, schedule, callbacks, metric and batches."""

import copy
import inspect
import warnings
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import nn

from ...observation import Array, Arrays, Settings, Updates, inputs_of
from ..adapter import ModelError, Unsupported
from .averages import Averages
from .layout import to_array
from .model import UserModel

# By which an object tells that the training shall end.
STOP_SIGNS = ("stop_training", "should_stop", "early_stop", "stopped", "stop")
# Entries of a group of parameters that a schedule may change besides the rate.
MOMENTA = ("betas", "momentum")
STEPS_FOR_MOMENTA = 400  # of a schedule
MOST_PASSES = 2  # through the data, of an iterable of batches that does not end


class Training:
    """The optimizer with its schedule and the callbacks, as they were built.

    Parameters
    ----------
    model : UserModel
        The model.
    parts : dict
        What ``build()`` returned.

    Attributes
    ----------
    optimizer, schedule : object or None
        The user's.
    callbacks : list
        The user's.
    unit : str
        ``batch`` or ``epoch``: when the schedule advances.
    steps_per_epoch : int or None
        As the user gave it; an epoch is one update if not given.
    groups : list of dict
        The optimizer's groups of parameters, as built.
    slots : dict
        Its state by parameter, as built.
    averages : Averages
        Averages of the weights that are kept beside the model.
    clipping : dict of str to float
        Limits of the gradients that are tried; see `triptych.doctor.frameworks.torch.changes`.
    """

    def __init__(self, model: UserModel, parts: dict[str, Any]) -> None:
        self._model = model
        self.optimizer = parts.get("optimizer")
        self.schedule = parts.get("schedule")
        self.callbacks = list(parts.get("callbacks") or ())
        self.unit = parts.get("schedule_unit") or "epoch"
        self.steps_per_epoch = parts.get("steps_per_epoch")
        self._check()
        self.averages = Averages(model, parts)
        stateful = (self.schedule, *self.callbacks, *self.averages.owners())
        objects = [each for each in stateful if hasattr(each, "__dict__")]
        # What is not copied, because it is not state of these objects or is put back elsewhere.
        self._kept = [self.optimizer, model.call, *model.modules(), *model.tensors(), *objects]
        self.clipping: dict[str, float] = {}
        self._objects = [(each, self._copied(vars(each))) for each in objects]
        self.groups: list[dict[str, Any]] = []
        self.slots: dict[Any, Any] = {}
        if self.optimizer is not None:
            self._take(self.optimizer)

    def _check(self) -> None:
        if self.optimizer is not None and not hasattr(self.optimizer, "param_groups"):
            raise ModelError(
                f"optimizer is a {type(self.optimizer).__name__}; it must be one of torch.optim"
            )
        if self.schedule is not None and not hasattr(self.schedule, "step"):
            raise ModelError(f"schedule is a {type(self.schedule).__name__}, which has no step()")

    def _copied(self, attributes: dict[Any, Any]) -> dict[Any, Any]:
        memo = {id(each): each for each in self._kept}
        return {name: _copy(value, memo) for name, value in attributes.items()}

    @contextmanager
    def fresh(self) -> Generator[None]:
        """Put optimizer, schedule and callbacks into the state as built, before and after."""
        self._reset()
        self.averages.begin()
        try:
            yield
        finally:
            self.averages.end()
            self._reset()

    def attributes_of(self, held: Any) -> dict[str, Any]:
        """Return the attributes of the schedule or of a callback as built; changes are in force."""
        return next((attributes for each, attributes in self._objects if each is held), {})

    def _reset(self) -> None:
        for each, attributes in self._objects:
            vars(each).clear()
            vars(each).update(self._copied(attributes))
        if self.optimizer is None:
            return
        for group, built in zip(self.optimizer.param_groups, self.groups, strict=False):
            group.clear()
            group.update(self._copied(built))
        del self.optimizer.param_groups[len(self.groups) :]
        self.optimizer.state.clear()
        self.optimizer.state.update(self._copied(self.slots))
        for tensor, slots in self.optimizer.state.items():
            for name, slot in slots.items():
                if _is_like(slot, tensor):
                    slots[name] = slot.to(tensor.dtype)

    @property
    def rate(self) -> float:
        """The present learning rate, of the first group of parameters."""
        assert self.optimizer
        return float(self.optimizer.param_groups[0]["lr"])

    def update(self, gradients: Sequence[Arrays]) -> Updates:
        """Apply gradients one by one with a new optimizer."""
        self.check_steps()
        if isinstance(self.optimizer, torch.optim.SparseAdam):
            raise Unsupported(
                "SparseAdam takes sparse gradients only; what it makes of given gradients is not "
                "compared"
            )
        weights: list[Arrays] = []
        rates: list[float] = []
        with self.fresh():
            start = self._trained_weights()
            for number, arrays in enumerate(gradients):
                rates.append(self.rate)
                self._set_gradients(arrays)
                self.step(number)
                self._put_back_momenta()
                weights.append(self._trained_weights())
            averages, shares = self.averages.of_updates(start, weights)
        if shares:
            return Updates(tuple(weights), tuple(rates), averages, shares)
        with self.fresh():
            shares = self.averages.of_epochs(start, weights)
        return Updates(tuple(weights), tuple(rates), {}, shares, per_epoch=bool(shares))

    def _put_back_momenta(self) -> None:
        """Undo what a schedule has done to the momentum, which is no part of the rule."""
        for group, built in zip(self.optimizer.param_groups, self.groups, strict=False):
            group.update({name: built[name] for name in MOMENTA if name in built})

    def check_steps(self) -> None:
        """Raise `Unsupported` unless the optimizer makes an update of given gradients."""
        if self.optimizer is None:
            raise Unsupported("build() returns no optimizer")
        closure = inspect.signature(type(self.optimizer).step).parameters.get("closure")
        if closure is not None and closure.default is closure.empty:
            raise Unsupported(
                f"{type(self.optimizer).__name__} computes the loss itself, several times in a "
                "step; its updates cannot be compared one by one"
            )

    def step(self, number: int) -> None:
        """Make the update of this number, and advance the schedule as the user does."""
        self.check_steps()
        assert self.optimizer
        self._clip()
        self.optimizer.step()
        self.averages.after_step(number)
        self.advance(number)

    def _clip(self) -> None:
        tensors = [tensor for group in self.groups for tensor in group["params"]]
        tensors = [tensor for tensor in tensors if tensor.grad is not None]
        for kind, limit in self.clipping.items():
            if kind == "clip_norm":
                nn.utils.clip_grad_norm_(tensors, limit)
            elif kind == "clip_value":
                nn.utils.clip_grad_value_(tensors, limit)
            else:
                for tensor in tensors:
                    nn.utils.clip_grad_norm_([tensor], limit)

    def advance(self, number: int) -> None:
        """Advance the schedule after the update of this number; a plateau rule stays."""
        if self.schedule is None or self._needs_metric():
            return
        updates = 1 if self.unit == "batch" else self.steps_per_epoch or 1
        if (number + 1) % updates == 0:
            self._step_schedule()

    @property
    def advances_with_updates(self) -> bool:
        """Whether the schedule advances after each update."""
        return self.schedule is not None and self.unit == "batch" and not self._needs_metric()

    def _needs_metric(self) -> bool:
        parameters = inspect.signature(self.schedule.step).parameters.values()
        return any(
            each.default is each.empty
            and each.kind in (each.POSITIONAL_ONLY, each.POSITIONAL_OR_KEYWORD)
            for each in parameters
        )

    def _step_schedule(self, *metric: float) -> None:
        assert self.schedule
        with warnings.catch_warnings():
            # That the optimizer has made no step, which is so where only rates are wanted.
            warnings.simplefilter("ignore")
            self.schedule.step(*metric)

    def restart_schedule(self) -> Callable[[], None]:
        """Compute the first rate anew from the schedule's attributes; return how to undo it."""
        attributes = self.attributes_of(self.schedule)
        before = dict(attributes)
        rates = [group["lr"] for group in self.groups]
        if hasattr(self.schedule, "_initial_step") and not self._needs_metric():
            self._reset()
            for group in self.optimizer.param_groups:
                group["lr"] = group.get("initial_lr", group["lr"])
            self.schedule.last_epoch = -1
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                self.schedule._initial_step()
            attributes.update(self._copied(vars(self.schedule)))
            for group, live in zip(self.groups, self.optimizer.param_groups, strict=True):
                group["lr"] = live["lr"]

        def undo() -> None:
            attributes.clear()
            attributes.update(before)
            for group, rate in zip(self.groups, rates, strict=True):
                group["lr"] = rate

        return undo

    def exchange_optimizer(self, kind: Any) -> Callable[[], None]:
        """Put an optimizer of another class in place of the user's; return how to undo it."""
        attributes = self.attributes_of(self.schedule)
        if "_schedulers" in attributes:
            raise Unsupported("the optimizer of a schedule of several cannot be exchanged")
        before = (self.optimizer, self.groups, self.slots)
        names = inspect.signature(kind).parameters
        groups = [
            {name: value for name, value in group.items() if name in ("params", *names)}
            for group in self.groups
        ]
        optimizer = kind(groups)
        for group, old in zip(optimizer.param_groups, self.groups, strict=True):
            if "initial_lr" in old:
                group["initial_lr"] = old["initial_lr"]
        optimizer._optimizer_step_pre_hooks = self.optimizer._optimizer_step_pre_hooks
        optimizer._optimizer_step_post_hooks = self.optimizer._optimizer_step_post_hooks
        self._kept.append(optimizer)
        self._take(optimizer)
        if "optimizer" in attributes:
            attributes["optimizer"] = optimizer

        def undo() -> None:
            self.optimizer, self.groups, self.slots = before
            if "optimizer" in attributes:
                attributes["optimizer"] = self.optimizer

        return undo

    def _take(self, optimizer: Any) -> None:
        self.optimizer = optimizer
        self.groups = [self._copied(group) for group in optimizer.param_groups]
        self.slots = self._copied(dict(optimizer.state))

    def _set_gradients(self, arrays: Arrays) -> None:
        gradients: dict[int, torch.Tensor] = {}
        for tensor in self._model.tensors():
            tensor.grad = None
        for name, role, tensor in self._model.weights():
            if name in arrays and tensor.requires_grad:
                gradient = gradients.setdefault(id(tensor), torch.zeros_like(tensor))
                role.write(gradient, arrays[name])
                tensor.grad = gradient

    def _trained_weights(self) -> Arrays:
        return {
            name: role.read(tensor)
            for name, role, tensor in self._model.weights()
            if tensor.requires_grad
        }

    def rates(self, updates: int) -> list[float]:
        """Return the learning rate of each of so many updates, with a new schedule.

        OneCycleLR cannot go on after its end: the rates up to there are returned.
        """
        if self.optimizer is None:
            raise Unsupported("build() returns no optimizer")
        rates: list[float] = []
        with self.fresh():
            for number in range(updates):
                rates.append(self.rate)
                if self._has_ended():
                    break
                self.advance(number)
        return rates

    def momenta(self) -> list[float]:
        """Return the momentum after each of the first steps of the schedule, if it changes it."""
        found: list[float] = []
        if self.schedule is None or self._needs_metric():
            return found
        with self.fresh():
            for _ in range(STEPS_FOR_MOMENTA):
                found.append(_momentum_of(self.optimizer.param_groups[0]))
                if self._has_ended():
                    break
                self._step_schedule()
        return found if len(set(found)) > 1 else []

    def _has_ended(self) -> bool:
        total = getattr(self.schedule, "total_steps", None)
        return total is not None and self.schedule.last_epoch >= total - 1

    def epochs(self, validation_losses: Sequence[float]) -> dict[str, Any]:
        """Simulate epochs; see `triptych.doctor.frameworks.adapter.Adapter.epochs`."""
        rates: list[float] = []
        stopped: int | None = None
        restored: int | None = None
        with self.fresh():
            marked = _Marked(self._model)
            for epoch, loss in enumerate(validation_losses):
                marked.set(epoch)
                self._end_epoch(float(loss))
                ended = self._call_back(epoch, float(loss))
                restored = marked.changed(restored)
                if self.optimizer is not None:
                    rates.append(self.rate)
                if ended:
                    stopped = epoch
                    break
        return {"rates": rates, "stopped": stopped, "restored": restored}

    def _end_epoch(self, loss: float) -> None:
        if self.schedule is None:
            return
        if self._needs_metric():
            self._step_schedule(loss)
            return
        steps = self.steps_per_epoch or 1 if self.unit == "batch" else 1
        for _ in range(steps):
            self._step_schedule()

    def _call_back(self, epoch: int, loss: float) -> bool:
        """Call the callbacks at the end of an epoch; return whether the training shall end."""
        logs = {"val_loss": loss, "loss": loss}
        ended = False
        for callback in self.callbacks:
            if not hasattr(callback, "on_epoch_end"):
                raise ModelError(
                    f"a callback is a {type(callback).__name__}, which has no "
                    "on_epoch_end(epoch, logs)"
                )
            ended |= callback.on_epoch_end(epoch, dict(logs)) is True
        holders = (*self.callbacks, *self._model.modules())
        return ended or any(
            getattr(holder, sign, False) is True for holder in holders for sign in STOP_SIGNS
        )


class _Marked:
    """Marks the model's weights with the epoch, to see whose weights a callback puts back."""

    def __init__(self, model: UserModel) -> None:
        floating = (tensor for tensor in model.tensors() if tensor.is_floating_point())
        self._tensor = next((tensor for tensor in floating if tensor.numel()), None)
        self._version = 0

    def set(self, epoch: int) -> None:
        if self._tensor is not None:
            with torch.no_grad():
                self._tensor.fill_(epoch)
            self._version = self._tensor._version

    def changed(self, restored: int | None) -> int | None:
        """Return the epoch whose weights were put back since `set`, or what it was before."""
        if self._tensor is None or self._tensor._version == self._version:
            return restored
        return round(self._tensor.detach().flatten()[0].item())


def _momentum_of(group: dict[str, Any]) -> float:
    """Return the momentum of a group of parameters, or Adam's first beta; 0 if it has none."""
    betas = group.get("betas")
    return float(betas[0] if betas else group.get("momentum", 0.0))


def _copy(value: Any, memo: dict[int, Any]) -> Any:
    try:
        return copy.deepcopy(value, memo)
    except Exception:
        # A file, a generator, or a tensor inside of a graph: it stays what it is.
        return value


def _is_like(slot: Any, tensor: Any) -> bool:
    return (
        isinstance(slot, torch.Tensor)
        and isinstance(tensor, torch.Tensor)
        and slot.shape == tensor.shape
        and slot.is_floating_point()
    )


def measure(
    metric: Any, output: Any, target: Any, arguments: Settings, batch_size: int | None
) -> float:
    """Return the user's metric: a function, or an object with ``update`` and ``compute``.

    Parameters
    ----------
    metric : object
        The user's metric; an object is copied, so that it starts anew.
    output, target : Tensor or tuple
        What the model returned, and the targets.
    arguments : dict
        Further arguments of a function.
    batch_size : int or None
        The size of the batches with which an object is updated; None for one batch.

    Returns
    -------
    float
        The metric.
    """
    with torch.no_grad():
        if hasattr(metric, "update") and hasattr(metric, "compute"):
            metric = copy.deepcopy(metric)
            for part, wanted in _in_batches(output, target, batch_size):
                metric.update(part, wanted)
            value = metric.compute()
        else:
            value = metric(output, target, **arguments)
    array = to_array(value) if isinstance(value, torch.Tensor) else np.asarray(value)
    if array.size != 1 or array.dtype.kind not in "biuf":
        raise ModelError(f"the metric returns {value!r}; it must return a number")
    return float(array.reshape(()))


def _in_batches(output: Any, target: Any, batch_size: int | None) -> Iterator[tuple[Any, Any]]:
    """Yield outputs and targets batch by batch, or as a whole if they are not single tensors."""
    tensors = isinstance(output, torch.Tensor) and isinstance(target, torch.Tensor)
    if not batch_size or not tensors:
        yield output, target
        return
    yield from zip(output.split(batch_size), target.split(batch_size), strict=True)


def batches_of(parts: dict[str, Any], batch: Arrays) -> list[Arrays]:
    """Return the batches of one epoch, in order.

    Parameters
    ----------
    parts : dict
        What ``build()`` returned.
    batch : dict of str to ndarray
        All data.

    Returns
    -------
    list of dict
        Each with ``x``, ``x2``, … and ``y``.
    """
    names = [*inputs_of(batch), *(name for name in ("y",) if name in batch)]
    rows = len(batch["x"])
    if parts.get("batches"):
        made = parts["batches"](*(batch[name] for name in names))
        return list(_until((_batch(each, names) for each in made), MOST_PASSES * rows))
    size = parts.get("batch_size")
    if not size:
        raise Unsupported("build() returns neither batches nor batch_size")
    starts = range(0, rows, size)
    return [{name: batch[name][start : start + size] for name in names} for start in starts]


def _batch(value: Any, names: list[str]) -> Arrays:
    if isinstance(value, dict):
        return {name: _array(each) for name, each in value.items()}
    parts: list[Any] = []
    for part in value if isinstance(value, (list, tuple)) else [value]:
        parts += part if isinstance(part, (list, tuple)) else [part]
    return {name: _array(each) for name, each in zip(names, parts, strict=False)}


def _array(value: Any) -> Array:
    return to_array(value) if isinstance(value, torch.Tensor) else np.asarray(value)


def _until(batches: Iterator[Arrays], rows: int) -> Iterator[Arrays]:
    """Return batches until they have so many rows."""
    for batch in islice(batches, rows):
        yield batch
        rows -= len(next(iter(batch.values())))
        if rows <= 0:
            return
