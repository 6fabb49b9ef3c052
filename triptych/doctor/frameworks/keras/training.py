"""Everything besides the model: loss, optimizer, schedule, metric, callbacks and batches."""

import inspect
import math
import textwrap
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np
from keras.src.trainers import compile_utils

from ...observation import Array, Arrays, Component, Description, Settings, Updates
from ..adapter import Unsupported
from . import backend
from .calls import Recorder
from .model import UserModel

LONGEST_SOURCE = 2000  # characters


class Optimization:
    """The loss and the optimizer of one side.

    Parameters
    ----------
    model : UserModel
        The model.
    parts : dict
        What ``build()`` returned.
    """

    def __init__(self, model: UserModel, parts: dict[str, Any]) -> None:
        self.model = model
        self.parts = parts
        self.loss = parts.get("loss")
        self.optimizer = parts.get("optimizer")
        self._initial: dict[int, list[Array]] = {}

    def loss_of(self, outputs: Any, targets: Arrays) -> Any:
        """Return the user's loss as a number."""
        if self.loss is None:
            raise Unsupported("this side has no loss")
        arrays = [backend.to_tensor(self.model.cast(array)) for array in targets.values()]
        target = arrays[0] if len(arrays) == 1 else arrays
        loss = self.loss
        if isinstance(loss, str):
            # As compile does it.
            loss = compile_utils.get_loss(loss, target, outputs)
        return keras.ops.mean(loss(target, outputs))

    @contextmanager
    def fresh(self) -> Generator[Any]:
        """Return the optimizer in its first state, and restore it afterwards."""
        if self.optimizer is None:
            raise Unsupported("this side has no optimizer")
        optimizer = self.optimizer
        if not optimizer.built:
            optimizer.build(self.model.keras.trainable_variables)
        if id(optimizer) not in self._initial:
            values = [backend.to_numpy(variable).copy() for variable in optimizer.variables]
            self._initial[id(optimizer)] = values
        with self.model.preserved(optimizer.variables):
            for variable, value in zip(
                optimizer.variables, self._initial[id(optimizer)], strict=True
            ):
                variable.assign(value)
            yield optimizer

    def update(self, gradients: Sequence[Arrays]) -> Updates:
        """Apply gradients one by one with a new optimizer."""
        trained = self.model.trained
        variables = [weight.variable for weight in trained]
        weights: list[Arrays] = []
        rates: list[float] = []
        with self.model.preserved(self.model.keras.variables), self.fresh() as optimizer:
            for step in gradients:
                rates.append(rate_of(optimizer))
                tensors = [backend.to_tensor(_cast(w.join(step), w.variable)) for w in trained]
                optimizer.apply([optimizer.scale_loss(each) for each in tensors], variables)
                weights.append(self._trained_arrays())
        return Updates(tuple(weights), tuple(rates))

    def _trained_arrays(self) -> Arrays:
        arrays: Arrays = {}
        for weight in self.model.trained:
            arrays |= weight.split(backend.to_numpy(weight.variable).copy())
        return arrays

    def train(self, inputs: Arrays, targets: Arrays, steps: int) -> tuple[Arrays, list[float]]:
        """Make training steps without dropout."""
        model = self.model
        variables = [weight.variable for weight in model.trained]
        losses: list[float] = []
        with model.preserved(model.keras.variables), self.fresh() as optimizer:
            for _ in range(steps):
                with backend.Tape() as tape:
                    recorder = Recorder(model.instrument, tape, training=True)
                    with recorder.active():
                        outputs = model.run(inputs, training=True)
                    loss = self.loss_of(outputs, targets)
                    losses.append(float(loss))
                    total = loss + sum(model.keras.losses)
                    scaled = optimizer.scale_loss(total)
                optimizer.apply(tape.gradients(scaled, variables), variables)
            weights = model.weights()
        return weights, losses

    def rates(self, updates: int) -> list[float]:
        """Return the learning rate of each of so many updates."""
        schedule = self.parts.get("schedule")
        if self.optimizer is None:
            if schedule is None:
                raise Unsupported("this side has neither an optimizer nor a schedule")
            return [float(schedule(step)) for step in range(updates)]
        rates: list[float] = []
        with self.fresh() as optimizer:
            for step in range(updates):
                _counter(optimizer).assign(step)
                rates.append(rate_of(optimizer))
        return rates

    def epochs(self, validation_losses: Sequence[float]) -> dict[str, Any]:
        """Simulate epochs with these validation losses."""
        callbacks = [each for each in _listed(self.parts.get("callbacks")) if _acts(each)]
        steps = self.parts.get("steps_per_epoch") or 1
        rates: list[float] = []
        with self.fresh() as optimizer:
            model = StandIn(self.model.keras, optimizer)
            for callback in callbacks:
                _check_monitor(callback)
                callback.set_model(model)
                callback.on_train_begin()
            self._begin_epoch(callbacks, 0)
            for epoch, loss in enumerate(validation_losses):
                model.epoch = epoch
                _counter(optimizer).assign((epoch + 1) * steps)
                for callback in callbacks:
                    callback.on_epoch_end(epoch, {"loss": float(loss), "val_loss": float(loss)})
                if model.stop_training:
                    rates.append(rate_of(optimizer))
                    break
                self._begin_epoch(callbacks, epoch + 1)
                rates.append(rate_of(optimizer))
            for callback in callbacks:
                callback.on_train_end()
        stopped = model.epoch if model.stop_training else None
        return {"rates": rates, "stopped": stopped, "restored": model.restored}

    @staticmethod
    def _begin_epoch(callbacks: list[Any], epoch: int) -> None:
        for callback in callbacks:
            callback.on_epoch_begin(epoch)


class StandIn:
    """Stands for the model that callbacks get; it notes whose weights are set.

    Attributes
    ----------
    optimizer : keras.optimizers.Optimizer
        The optimizer.
    stop_training : bool
        Set by callbacks.
    epoch : int
        The present epoch.
    restored : int or None
        The epoch whose weights a callback has set.
    """

    def __init__(self, model: Any, optimizer: Any) -> None:
        self._model = model
        self.optimizer = optimizer
        self.stop_training = False
        self.epoch = 0
        self.restored: int | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def get_weights(self) -> "EpochWeights":
        """Return the weights, with the epoch."""
        weights = EpochWeights(self._model.get_weights())
        weights.epoch = self.epoch
        return weights

    def set_weights(self, weights: list[Array]) -> None:
        """Note whose weights these are."""
        self.restored = getattr(weights, "epoch", None)


class EpochWeights(list[Array]):
    """Weights, and the epoch after which they were taken."""

    epoch: int


# They write files or print, and have no effect on numbers.
PASSIVE = (
    keras.callbacks.ModelCheckpoint,
    keras.callbacks.TensorBoard,
    keras.callbacks.CSVLogger,
    keras.callbacks.BackupAndRestore,
    keras.callbacks.RemoteMonitor,
    keras.callbacks.ProgbarLogger,
    keras.callbacks.History,
)


def _acts(callback: Any) -> bool:
    return not isinstance(callback, PASSIVE)


def _check_monitor(callback: Any) -> None:
    monitor = getattr(callback, "monitor", "val_loss")
    if monitor not in ("loss", "val_loss"):
        raise Unsupported(
            f"{type(callback).__name__} monitors {monitor}; only val_loss is simulated"
        )


def _counter(optimizer: Any) -> Any:
    """Return the variable that counts an optimizer's updates."""
    return getattr(optimizer, "inner_optimizer", optimizer)._iterations


def rate_of(optimizer: Any) -> float:
    """Return the present learning rate of an optimizer."""
    return float(backend.to_numpy(optimizer.learning_rate))


def _cast(array: Array, variable: Any) -> Array:
    return array.astype(str(variable.dtype)) if "bfloat" not in str(variable.dtype) else array


def _listed(value: Any) -> list[Any]:
    if value is None:
        return []
    return list(value) if isinstance(value, (list, tuple)) else [value]


def metric(model: UserModel, parts: dict[str, Any], outputs: Arrays, targets: Arrays) -> float:
    """Return the user's metric of given outputs."""
    given = parts.get("metric")
    if given is None:
        raise Unsupported("this side has no metric")
    results = [backend.to_tensor(model.cast(array)) for array in outputs.values()]
    wanted = [backend.to_tensor(model.cast(array)) for array in targets.values()]
    output = results[0] if len(results) == 1 else results
    target = wanted[0] if len(wanted) == 1 else wanted
    if isinstance(given, str):
        given = compile_utils.get_metric(given, target, output)
    if not isinstance(given, keras.metrics.Metric):
        return float(np.mean(backend.to_numpy(given(target, output))))
    with model.preserved(given.variables):
        given.reset_state()
        given.update_state(target, output)
        return float(np.mean(backend.to_numpy(given.result())))


def batches(parts: dict[str, Any], batch: Arrays) -> list[Arrays]:
    """Return the batches of one epoch."""
    x, y = batch["x"], batch.get("y")
    if "batches" in parts:
        return [_batch(each) for each in parts["batches"](x, y)]
    size = parts.get("batch_size")
    if size is None:
        raise Unsupported("this side has neither batches nor batch_size")
    starts = range(0, len(x), size)
    return [
        {name: batch[name][start : start + size] for name in ("x", "y") if name in batch}
        for start in starts
    ]


def _batch(values: Any) -> Arrays:
    """Return a batch that a user's loader gives: x, (x, y), ((x, x2), y), or a dict."""
    if isinstance(values, dict):
        return {name: backend.to_numpy(array) for name, array in values.items()}
    if not isinstance(values, (list, tuple)):
        return {"x": backend.to_numpy(values)}
    inputs, *rest = values
    arrays: Arrays = {}
    for number, array in enumerate(keras.tree.flatten(inputs)):
        arrays["x" if number == 0 else f"x{number + 1}"] = backend.to_numpy(array)
    if rest:
        arrays["y"] = backend.to_numpy(rest[0])
    return arrays


# Descriptions


def describe(model: UserModel, parts: dict[str, Any]) -> Description:
    """Return what a side consists of."""
    leaves = model.instrument.leaves
    dtypes = [str(weight.variable.dtype) for weight in model.all_weights]
    floating = [dtype for dtype in dtypes if "float" in dtype]
    return Description(
        framework="keras",
        version=backend.version(),
        model=type(model.keras).__name__,
        dtype=floating[0] if floating else keras.config.floatx(),
        layers=tuple(leaf.described for leaf in leaves),
        optimizer=_component(parts.get("optimizer")),
        loss=_component(parts.get("loss")),
        schedule=_component(parts.get("schedule"), unit="batch"),
        metric=_component(parts.get("metric")),
        callbacks=tuple(filter(None, map(_component, _listed(parts.get("callbacks"))))),
        steps_per_epoch=parts.get("steps_per_epoch"),
        batch_size=parts.get("batch_size"),
        given=tuple(name for name, value in parts.items() if value is not None),
        precision=_precision(model),
    )


def _precision(model: UserModel) -> str:
    """Return the name of a policy that lowers the precision."""
    for leaf in model.instrument.leaves:
        layer = leaf.layer
        if layer.compute_dtype in ("float16", "bfloat16"):
            return layer.dtype_policy.name
    return ""


def _component(value: Any, unit: str = "") -> Component | None:
    """Return a description of an optimizer, loss, schedule, metric or callback."""
    if value is None:
        return None
    if isinstance(value, str):
        return Component(type=value, settings={}, unit=unit)
    if inspect.isfunction(value):
        return Component(type=value.__name__, unit=unit, source=source_of(value))
    source = "" if _is_keras(type(value)) else source_of(type(value))
    return Component(type(value).__name__, _config(value), unit, source)


def _is_keras(cls: type) -> bool:
    return cls.__module__.partition(".")[0] == "keras"


def source_of(value: Any) -> str:
    """Return the source code of a user's function or class, shortened."""
    module = getattr(value, "__module__", "") or ""
    if module.partition(".")[0] in ("keras", "tensorflow"):
        return ""
    try:
        return textwrap.dedent(inspect.getsource(value))[:LONGEST_SOURCE]
    except (OSError, TypeError):
        return ""


def _config(value: Any) -> Settings:
    """Return all parameters of an object."""
    config: Any = None
    if hasattr(value, "get_config"):
        try:
            config = value.get_config()
        except NotImplementedError:
            config = None
    if config is None:
        config = {name: each for name, each in vars(value).items() if not name.startswith("_")}
    settings = {name: readable(each) for name, each in config.items() if name != "name"}
    return {name: each for name, each in settings.items() if each is not _UNREADABLE}


_UNREADABLE = object()


def readable(value: Any) -> Any:
    """Return a value as JSON can hold it; a rate that is stored in float32 as it was written."""
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, (float, np.floating)):
        return _written_number(float(value))
    if isinstance(value, (list, tuple)):
        parts = [readable(each) for each in value]
        return [each for each in parts if each is not _UNREADABLE]
    if isinstance(value, dict):
        if "class_name" in value and "config" in value:
            return {"class": value["class_name"], **readable(value["config"] or {})}
        parts = {str(name): readable(each) for name, each in value.items()}
        return {name: each for name, each in parts.items() if each is not _UNREADABLE}
    if inspect.isfunction(value):
        return value.__name__
    return _UNREADABLE


def _written_number(value: float) -> Any:
    if not math.isfinite(value):
        return str(value)
    single = np.float32(value)
    if float(single) == value:
        return float(str(single))
    return value
