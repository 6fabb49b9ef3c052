"""Everything besides the model: loss, optimizer, schedule, metric, callbacks and batches."""

import copy
import inspect
import math
import textwrap
from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np
from keras.src.trainers import compile_utils

from ...observation import Array, Arrays, Component, Description, Settings, Updates
from .. import several_losses
from ..adapter import ModelError, Unsupported
from ..several_losses import SeveralLosses
from . import backend
from .loss import changed_output, common, has_parameter, loss_of, rebuilt
from .model import UserModel
from .recorder import Recorder

LONGEST_SOURCE = 2000  # characters
MOST_PASSES = 2  # through the data, of batches that do not end


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
        # A model that the user has compiled treats a function of the user as one of Keras.
        self.compiled = compiled_parts(model.call).get("loss") is parts.get("loss")
        self.loss = several_losses.of_parts(parts)
        self.optimizer = parts.get("optimizer")
        self.schedule = parts.get("schedule") or schedule_of(self.optimizer)
        self.callbacks = _listed(parts.get("callbacks"))
        self.steps_per_epoch = parts.get("steps_per_epoch")
        self.loss_settings: Settings = {}
        self.optimizer_settings: Settings = {}
        self.schedule_settings: Settings = {}
        self.functions: dict[int, Settings] = {}
        self._initial: list[Array] = []
        if self.optimizer is not None and not isinstance(self.optimizer, keras.Optimizer):
            raise ModelError(
                f"optimizer is a {type(self.optimizer).__name__}; it must be one of Keras"
            )

    def loss_of(self, outputs: Any, targets: Arrays) -> Any:
        """Return the user's loss as a number."""
        if self.loss is None:
            raise Unsupported("build() returns no loss")
        target = self.model.target(targets)
        several = self._several(outputs)
        if several is not None:
            return self._sum_of(several, outputs, target)
        loss = self.loss
        if self.compiled and not self.loss_settings:
            loss = compile_utils.get_loss(loss, target, outputs)
        return loss_of(loss, outputs, target, self.loss_settings)

    def _several(self, outputs: Any) -> SeveralLosses | None:
        """Return the losses of several outputs; one that Keras takes for each of them."""
        loss = self.loss
        if isinstance(loss, SeveralLosses):
            return loss
        of_each = self.compiled or isinstance(loss, (str, keras.losses.Loss))
        count = len(keras.tree.flatten(outputs))
        return SeveralLosses([loss] * count) if of_each and count > 1 else None

    def _sum_of(self, several: SeveralLosses, outputs: Any, target: Any) -> Any:
        """Return the weighted sum of several losses."""
        settings = dict(self.loss_settings)
        factor = settings.pop("scale", 1.0)
        if settings:
            raise Unsupported("the loss of several outputs cannot be changed")
        targets = target if isinstance(target, list) else [target]
        names = getattr(self.model.call, "output_names", None) or ()
        total = 0.0
        for each in several.terms(outputs, targets, names):
            loss = each.loss
            if self.compiled:
                loss = compile_utils.get_loss(loss, each.target, each.output)
            total = total + each.weight * loss_of(loss, each.output, each.target, {})
        return total * factor if factor != 1 else total

    @contextmanager
    def fresh(self) -> Generator[Any]:
        """Return the optimizer in its first state, and restore it afterwards."""
        if self.optimizer is None:
            raise Unsupported("build() returns no optimizer")
        trained = [weight.variable for weight in self.model.trained]
        if self.optimizer_settings or self.schedule_settings or self._lacks(trained):
            optimizer = self._changed()
            optimizer.build(trained)
            yield optimizer
            return
        optimizer = self.optimizer
        if not optimizer.built:
            optimizer.build(trained)
        if not self._initial:
            self._initial = [backend.to_numpy(each).copy() for each in optimizer.variables]
        with self.model.preserved(optimizer.variables):
            for variable, value in zip(optimizer.variables, self._initial, strict=True):
                variable.assign(value)
            yield optimizer

    def _lacks(self, trained: list[Any]) -> bool:
        """Return whether the optimizer was built before some weights were trained."""
        known = {id(variable) for variable in self.optimizer._trainable_variables}
        return self.optimizer.built and any(id(variable) not in known for variable in trained)

    def check_setting(self, name: str, value: Any) -> None:
        """Raise `Unsupported` if the optimizer has no such parameter."""
        inner = getattr(self.optimizer, "inner_optimizer", self.optimizer)
        if name == "type":
            cls = getattr(keras.optimizers, str(value), None)
            if not (isinstance(cls, type) and issubclass(cls, keras.Optimizer)):
                raise Unsupported(f"keras.optimizers has no optimizer {value}")
        elif not has_parameter(inner, name):
            raise Unsupported(f"{type(inner).__name__} has no parameter {name}")

    def _changed(self) -> Any:
        """Return a new optimizer with the changed settings."""
        before = self.optimizer
        inner = getattr(before, "inner_optimizer", before)
        settings = dict(self.optimizer_settings)
        cls = type(inner)
        config = inner.get_config()
        if "type" in settings:
            cls = getattr(keras.optimizers, settings.pop("type"))
            config = common(cls, config)
        if self.schedule_settings:
            config["learning_rate"] = self.changed_schedule()
        if "learning_rate" in settings:
            settings["learning_rate"] = float(settings["learning_rate"])
        optimizer = rebuilt(cls, config | settings)
        for name in ("_exclude_from_weight_decay", "_exclude_from_weight_decay_pattern"):
            if hasattr(inner, name):
                setattr(optimizer, name, getattr(inner, name))
        if inner is not before:
            return keras.optimizers.LossScaleOptimizer(optimizer, before.initial_scale)
        return optimizer

    def changed_schedule(self) -> Any:
        """Return the schedule with its changed settings."""
        settings = dict(self.schedule_settings)
        unit = settings.pop("unit", "batch")
        steps = settings.pop("steps_per_epoch", self.steps_per_epoch) or 1
        schedule = self.schedule
        if settings:
            schedule = rebuilt(type(schedule), schedule.get_config() | settings)
        return PerEpoch(schedule, steps) if unit == "epoch" else schedule

    def update(self, gradients: Sequence[Arrays]) -> Updates:
        """Apply gradients one by one with a new optimizer."""
        trained = self.model.trained
        variables = [weight.variable for weight in trained]
        weights: list[Arrays] = []
        rates: list[float] = []
        with self.model.preserved(self.model.variables), self.fresh() as optimizer:
            for step in gradients:
                rates.append(rate_of(optimizer))
                tensors = [backend.to_tensor(_cast(w.join(step), w.variable)) for w in trained]
                optimizer.apply([optimizer.scale_loss(each) for each in tensors], variables)
                weights.append(self._trained_arrays())
            averages: Arrays = {}
            if getattr(optimizer, "inner_optimizer", optimizer).use_ema:
                optimizer.finalize_variable_values(variables)  # as `fit` does at its end
                averages = self._trained_arrays()
        return Updates(tuple(weights), tuple(rates), averages)

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
        with model.preserved(model.variables), self.fresh() as optimizer:
            for _ in range(steps):
                with backend.Tape() as tape:
                    recorder = Recorder(
                        model.instrument, tape, training=True, changes=self.functions
                    )
                    with recorder.active():
                        outputs = model.run(inputs, training=True)
                    loss = self.loss_of(outputs, targets)
                    losses.append(float(backend.to_numpy(loss)))
                    total = loss + sum(model.losses)
                    scaled = optimizer.scale_loss(total)
                optimizer.apply(tape.gradients(scaled, variables), variables)
            weights = model.weights()
        return weights, losses

    def rates(self, updates: int) -> list[float]:
        """Return the learning rate of each of so many updates."""
        if self.optimizer is None:
            if self.schedule is None:
                raise Unsupported("build() returns neither an optimizer nor a schedule")
            schedule = self.changed_schedule()
            return [float(schedule(step)) for step in range(updates)]
        rates: list[float] = []
        with self.fresh() as optimizer:
            for step in range(updates):
                _counter(optimizer).assign(step)
                rates.append(rate_of(optimizer))
        return rates

    def epochs(self, validation_losses: Sequence[float]) -> dict[str, Any]:
        """Simulate epochs; see `triptych.doctor.frameworks.adapter.Adapter.epochs`."""
        callbacks = [_copied(each) for each in self.callbacks if not isinstance(each, PASSIVE)]
        steps = self.steps_per_epoch or 1
        rates: list[float] = []
        with self.fresh() as optimizer:
            model = StandIn(self.model, optimizer)
            _call(callbacks, "set_params", {"epochs": len(validation_losses), "steps": steps})
            _call(callbacks, "set_model", model)
            _call(callbacks, "on_train_begin")
            _call(callbacks, "on_epoch_begin", 0)
            for epoch, loss in enumerate(validation_losses):
                model.epoch = epoch
                for step in range(steps):
                    _call(callbacks, "on_train_batch_begin", step)
                    _counter(optimizer).assign(epoch * steps + step + 1)
                    _call(callbacks, "on_train_batch_end", step)
                logs = {"loss": float(loss), "val_loss": float(loss)}
                _call(callbacks, "on_epoch_end", epoch, logs)
                if not model.stop_training:
                    # A LearningRateScheduler sets the rate when the next epoch begins.
                    _call(callbacks, "on_epoch_begin", epoch + 1)
                rates.append(rate_of(optimizer))
                if model.stop_training:
                    break
            _call(callbacks, "on_train_end")
        stopped = model.epoch if model.stop_training else None
        return {"rates": rates, "stopped": stopped, "restored": model.restored}


def compiled_parts(model: Any) -> dict[str, Any]:
    """Return the loss, optimizer and metric with which the user has compiled a model."""
    if not isinstance(model, keras.Model) or not model.compiled:
        return {}
    metrics = getattr(model._compile_metrics, "_user_metrics", None)
    metrics = metrics if isinstance(metrics, (list, tuple)) else [metrics]
    parts = {
        "loss": getattr(model, "loss", None),
        "optimizer": getattr(model, "optimizer", None),
        "metric": metrics[0] if metrics else None,
    }
    several = (list, tuple, dict)
    if isinstance(parts["metric"], several):
        del parts["metric"]  # of several outputs
    weights = getattr(getattr(model, "_compile_loss", None), "_user_loss_weights", None)
    parts[several_losses.KEY] = weights
    return {name: part for name, part in parts.items() if part is not None}


class PerEpoch(keras.optimizers.schedules.LearningRateSchedule):
    """A schedule that advances once per epoch.

    Parameters
    ----------
    schedule : LearningRateSchedule
        The schedule.
    steps : int
        The updates of an epoch.
    """

    def __init__(self, schedule: Any, steps: int) -> None:
        self.schedule = schedule
        self.steps = steps

    def __call__(self, step: Any) -> Any:
        """Return the rate of an update."""
        return self.schedule(step // self.steps)


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

    def __init__(self, model: UserModel, optimizer: Any) -> None:
        self._model = model
        self.optimizer = optimizer
        self.stop_training = False
        self.epoch = 0
        self.restored: int | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model.call, name)

    def get_weights(self) -> "EpochWeights":
        """Return the weights, with the epoch."""
        weights = EpochWeights(backend.to_numpy(each) for each in self._model.variables)
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


def _call(callbacks: list[Any], event: str, *args: Any) -> None:
    """Tell the callbacks of an event; one that is no Keras callback may lack it."""
    for callback in callbacks:
        monitor = getattr(callback, "monitor", "val_loss")
        if monitor not in ("loss", "val_loss"):
            kind = type(callback).__name__
            raise Unsupported(f"{kind} monitors {monitor}; only val_loss is simulated")
        if hasattr(callback, event):
            getattr(callback, event)(*args)


def _copied(callback: Any) -> Any:
    """Return a callback whose state may change."""
    try:
        return copy.deepcopy(callback)
    except Exception:  # it refers to something that cannot be copied
        return copy.copy(callback)


def schedule_of(optimizer: Any) -> Any:
    """Return the schedule that an optimizer has as its rate, or None."""
    rate = getattr(getattr(optimizer, "inner_optimizer", optimizer), "_learning_rate", None)
    if isinstance(rate, keras.optimizers.schedules.LearningRateSchedule):
        return rate
    return None


def _counter(optimizer: Any) -> Any:
    """Return the variable that counts an optimizer's updates."""
    return getattr(optimizer, "inner_optimizer", optimizer)._iterations


def rate_of(optimizer: Any) -> float:
    """Return the present learning rate of an optimizer."""
    return float(backend.to_numpy(optimizer.learning_rate))


def _cast(array: Array, variable: Any) -> Array:
    dtype = backend.dtype_of(variable)
    return array if dtype == "bfloat16" else array.astype(dtype)


def _listed(value: Any) -> list[Any]:
    if value is None:
        return []
    return list(value) if isinstance(value, (list, tuple)) else [value]


def metric(
    model: UserModel,
    given: Any,
    output: Any,
    targets: Arrays,
    settings: Settings,
    batch_size: int | None,
) -> float:
    """Return the user's metric of given outputs, with changed settings.

    A Keras metric is updated with batches of the author's size, or with one batch.
    """
    if given is None:
        raise Unsupported("build() returns no metric")
    results = keras.tree.flatten(output)
    target = model.target(targets)
    output = changed_output(output, target, settings)
    arguments = settings.get("arguments", {})
    if isinstance(given, str):
        given = compile_utils.get_metric(given, target, output)
    if not isinstance(given, keras.metrics.Metric):
        return float(np.mean(backend.to_numpy(given(target, output, **arguments))))
    if arguments:
        given = rebuilt(type(given), given.get_config() | arguments)
    with model.preserved(given.variables):
        given.reset_state()
        single = len(results) == 1 and len(targets) == 1
        count = len(results[0])
        step = batch_size if batch_size and single else count
        for start in range(0, count, step):
            part = slice(start, start + step)
            if single:
                given.update_state(target[part], output[part])
            else:
                given.update_state(target, output)
        return float(np.mean(backend.to_numpy(given.result())))


def batches(parts: dict[str, Any], batch: Arrays) -> list[Arrays]:
    """Return the batches of one epoch; of a generator without an end, one pass."""
    samples = len(batch["x"])
    if "batches" in parts:
        made: list[Arrays] = []
        count = 0
        for each in _iterated(parts["batches"](batch["x"], batch.get("y"))):
            made.append(_batch(each))
            count += len(made[-1]["x"])
            if count >= MOST_PASSES * samples:
                break
        return made
    size = parts.get("batch_size")
    if size is None:
        raise Unsupported("build() returns neither batches nor batch_size")
    return [
        {name: batch[name][start : start + size] for name in ("x", "y") if name in batch}
        for start in range(0, samples, size)
    ]


def _iterated(loader: Any) -> Iterable[Any]:
    if isinstance(loader, keras.utils.PyDataset):
        return (loader[number] for number in range(loader.num_batches or 0))
    return loader


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
    dtypes = [backend.dtype_of(weight.variable) for weight in model.all_weights]
    floating = [dtype for dtype in dtypes if "float" in dtype]
    schedule = parts.get("schedule") or schedule_of(parts.get("optimizer"))
    given = [name for name, value in parts.items() if value is not None]
    if schedule is not None and "schedule" not in given:
        given.append("schedule")  # it is the optimizer's rate
    return Description(
        framework="keras",
        version=backend.version(),
        model=model.name,
        dtype=floating[0] if floating else keras.config.floatx(),
        layers=tuple(leaf.described for leaf in leaves),
        optimizer=_component(parts.get("optimizer")),
        loss=_loss_component(parts),
        schedule=_component(schedule, unit="batch"),
        metric=_component(parts.get("metric")),
        callbacks=tuple(filter(None, map(_component, _listed(parts.get("callbacks"))))),
        steps_per_epoch=parts.get("steps_per_epoch"),
        batch_size=parts.get("batch_size"),
        given=tuple(given),
        precision=_precision(model),
    )


def _precision(model: UserModel) -> str:
    """Return the name of a policy that lowers the precision."""
    for leaf in model.instrument.called:
        layer = leaf.layer
        if layer.compute_dtype in ("float16", "bfloat16"):
            return layer.dtype_policy.name
    return ""


def _loss_component(parts: dict[str, Any]) -> Component | None:
    loss = several_losses.of_parts(parts)
    if isinstance(loss, SeveralLosses):
        return several_losses.described(loss, [_component(each) for each in loss.losses])
    return _component(loss)


def _component(value: Any, unit: str = "") -> Component | None:
    """Return a description of an optimizer, loss, schedule, metric or callback."""
    if value is None:
        return None
    if isinstance(value, str):
        return Component(type=value, settings={}, unit=unit)
    if inspect.isfunction(value):
        return Component(type=value.__name__, unit=unit, source=source_of(value))
    settings = {}
    if isinstance(value, keras.optimizers.LossScaleOptimizer):
        settings["loss_scale"] = value.initial_scale
        value = value.inner_optimizer
    source = "" if _is_keras(type(value)) else source_of(type(value))
    return Component(type(value).__name__, _config(value) | settings, unit, source)


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
