"""Measures a Keras program: what it computes at every stage of training."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf

from .layout import Anchor, Array, from_keras, to_keras
from .runner import EPOCHS, RATES, STEPS, Measured, batch, inputs, load, prefixed, stop_epoch

SEED = 20260


def measure(job: dict[str, Any]) -> Measured:
    """Run a program as its author would, and return what it computes.

    Parameters
    ----------
    job : dict
        ``folder``, ``dtype``, ``anchors``, and ``torch``, the file with what the other side
        computed, whose first weights are taken over.
    """
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    keras.config.set_floatx(job["dtype"])
    keras.utils.set_random_seed(SEED)
    folder = Path(job["folder"])
    built = load(folder / "keras_side.py")()
    with np.load(job["torch"]) as file:
        start = {name: file[name] for name in file.files if name.startswith("weights/")}
    return Run(built, batch(folder), job["dtype"], job["anchors"], start).all()


class Run:
    """The measurements of one program.

    Parameters
    ----------
    built : dict
        What ``build`` returned.
    arrays : dict
        The batch.
    dtype : str
        In which everything is computed.
    anchors : list of dict
        The layers with weights.
    start : dict
        The other side's weights, in the common layout.
    """

    def __init__(
        self,
        built: dict[str, Any],
        arrays: Measured,
        dtype: str,
        anchors: list[Anchor],
        start: Measured,
    ) -> None:
        self.built = built
        self.arrays = arrays
        self.dtype = dtype
        self.anchors = anchors
        self.start = start
        self.model = built["model"]
        self.measured: Measured = {}

    def all(self) -> Measured:
        """Measure every stage that the program has."""
        raw = inputs(self.arrays)
        if "batches" in self.built:
            self._batches()
        prepare = self.built.get("preprocess")
        data = prepare(*raw) if prepare else tuple(raw)
        data = data if isinstance(data, tuple) else (data,)
        for place, x in enumerate(data):
            self.measured[f"data/{place}"] = np.asarray(x)
        converted = [self._cast(np.asarray(x)) for x in data]
        self.inputs = converted[0] if len(converted) == 1 else converted
        self.model(self.inputs, training=False)  # makes the weights
        layers = {layer.name: layer for layer in self.model._flatten_layers()}
        self.layers = [layers[anchor["keras"]] for anchor in self.anchors]
        if "loss" in self.built:
            self._transplant()
        self._state("weights")
        self._forward()
        if "metric" in self.built:
            self._metric()
        if "loss" in self.built:
            self._train()
        if "schedule" in self.built:
            self._schedule()
        if "callbacks" in self.built:
            self._callbacks()
        return self.measured

    def _cast(self, x: Array) -> tf.Tensor:
        return tf.constant(x.astype(self.dtype) if x.dtype.kind == "f" else x)

    def _target(self) -> tf.Tensor:
        return self._cast(self.arrays["y"])

    def _transplant(self) -> None:
        for anchor, layer in zip(self.anchors, self.layers, strict=True):
            start = f"weights/{anchor['torch']}."
            named = {
                name.removeprefix(start): array
                for name, array in self.start.items()
                if name.startswith(start)
            }
            shapes = [tuple(weight.shape) for weight in layer.weights]
            layer.set_weights(to_keras(anchor, named, shapes))

    def _named(self, arrays: list[list[Array]]) -> Measured:
        """Return each layer's arrays in the common layout, by PyTorch's names."""
        named: Measured = {}
        for anchor, own in zip(self.anchors, arrays, strict=True):
            for name, array in from_keras(anchor, own).items():
                named[f"{anchor['torch']}.{name}"] = array
        return named

    def _state(self, prefix: str) -> None:
        weights = [
            [np.array(weight.numpy()) for weight in _weights(layer)] for layer in self.layers
        ]
        self.measured.update(prefixed(prefix, self._named(weights)))

    def _forward(self) -> None:
        """Evaluate twice: something random in evaluation mode gives two results."""
        first = self.model(self.inputs, training=False)
        second = self.model(self.inputs, training=False)
        self.measured["forward_eval"] = np.array(first)
        self.measured["forward_again"] = np.array(second)
        self.output = first

    def _metric(self) -> None:
        metric: Any = keras.metrics.get(self.built["metric"])
        target = self._target()
        output = self.output
        if isinstance(metric, keras.metrics.SparseTopKCategoricalAccuracy):
            output = tf.cast(output, "float32")  # its operation has no float64
        if isinstance(metric, keras.metrics.Metric):
            metric.update_state(target, output)
            value: Any = metric.result()
        else:
            value = tf.reduce_mean(metric(target, output))
        self.measured["metric"] = np.array(float(value))

    def _train(self) -> None:
        """Train with dropout switched off, whose masks are never alike."""
        rates: list[float] = []
        for layer in self.model._flatten_layers():
            if isinstance(layer, keras.layers.Dropout):
                rates.append(layer.rate)
                layer.rate = 0.0
        self.measured["dropout"] = np.array(rates)
        optimizer = self.built.get("optimizer")
        self.model.compile(optimizer=optimizer or "sgd", loss=self.built["loss"], run_eagerly=True)
        for step in range(STEPS):
            with tf.GradientTape() as tape:
                output = self.model(self.inputs, training=True)
                loss = self.model.compute_loss(self.inputs, self._target(), output, training=True)
            variables = self.model.trainable_variables
            gradients = tape.gradient(loss, variables)
            if step == 0:
                self.measured["forward_train"] = np.array(output)
                self.measured["loss"] = np.array(loss)
                self._gradients(variables, gradients)
            if optimizer is None:
                break
            self.model.optimizer.apply(gradients, variables)
            if step == 0:
                self._state("after_1")
            self.measured[f"loss_{step}"] = np.array(loss)
        self._state(f"after_{STEPS}")

    def _gradients(self, variables: list[Any], gradients: list[Any]) -> None:
        found = {
            id(variable): tf.convert_to_tensor(gradient).numpy()
            for variable, gradient in zip(variables, gradients, strict=True)
            if gradient is not None
        }
        own = [
            [found.get(id(weight), np.zeros(weight.shape)) for weight in _weights(layer)]
            for layer in self.layers
        ]
        self.measured.update(prefixed("gradient", self._named(own)))

    def _schedule(self) -> None:
        schedule = self.built["schedule"]
        rates = [float(schedule(step)) for step in range(RATES)]
        self.measured["schedule"] = np.array(rates, "float64")

    def _callbacks(self) -> None:
        callbacks = self.built["callbacks"]
        if not hasattr(self.model, "optimizer") or self.model.optimizer is None:
            self.model.compile(optimizer=self.built["optimizer"], loss=self.built["loss"])
        stops: list[bool] = []
        rates: list[float] = []
        for callback in callbacks:
            callback.set_model(self.model)
            callback.on_train_begin()
        self.model.stop_training = False
        optimizer: Any = self.model.optimizer
        for epoch, value in enumerate(self.arrays["val_loss"][:EPOCHS]):
            logs = {"val_loss": float(value), "loss": float(value)}
            for callback in callbacks:
                callback.on_epoch_begin(epoch)
                callback.on_epoch_end(epoch, logs)
            stopped = any(stop_epoch(callback, self.model) for callback in callbacks)
            stops.append(stopped)
            rates.append(float(optimizer.learning_rate))
        self.measured["callback/stop"] = np.array(stops, "float64")
        self.measured["callback/rate"] = np.array(rates, "float64")

    def _batches(self) -> None:
        made = list(self.built["batches"](self.arrays["x"], self.arrays["y"]))
        self.measured["batches/sizes"] = np.array([len(x) for x, _ in made])
        order: list[Array] = [np.asarray(y) for _, y in made]
        self.measured["batches/targets"] = np.concatenate(order)


def _weights(layer: Any) -> list[Any]:
    """Return a layer's weights without the states of random generators."""
    return [weight for weight in layer.weights if "seed" not in weight.path]
