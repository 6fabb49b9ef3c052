"""TensorFlow: Keras layers, GradientTape, the K-step loop inside one tf.function; or Keras's own fit."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from ...core.devices import find_device
from ...core.engine import SAMPLES_EVALUATED_AT_ONCE
from ...core.plan import Plan
from ...core.split import Split
from ...core.state import State, check
from ...spec import network as spec
from ...spec import recipe as how
from .augmentation import augment
from .info import INFO
from .keras_fit import Fitting
from .layers import IMAGES, Network
from .loss import cross_entropy
from .optimizers import Optimizer

Steps = dict[str, Any]  # a plan on the device


@dataclass(frozen=True)
class DeviceSplit:
    x: tf.Tensor
    y: tf.Tensor


class Engine:
    def __init__(
        self,
        network: spec.Network,
        recipe: how.Recipe,
        *,
        device: str = "cpu",
        backend: str = "compiled",
    ) -> None:
        self.description, self.recipe, self.backend = network, recipe, backend
        self.device = find_device(
            INFO.label, device, {"cuda": bool(tf.config.list_physical_devices("GPU")), "cpu": True}
        )
        with self._on_device():
            own = tf.random.Generator.from_seed(recipe.seed)
            self.network = Network(network.layers, own, recipe.dtype)
            self.network(
                {IMAGES: tf.zeros((1, *network.input_shape), recipe.dtype)}
            )  # builds the variables
            layers = {layer.name: layer for layer in self.network.flat}
            self.variables, self.buffers = (
                {p.name: getattr(layers[p.layer], p.leaf) for p in part}
                for part in (network.parameters, network.buffers)
            )
            kernels = [p.leaf == "kernel" for p in network.parameters]
            self.optimizer = Optimizer(recipe, list(self.variables.values()), kernels)
        self.loss = cross_entropy(recipe.loss, network.classes, recipe.dtype)
        self.losses: list[tf.Tensor] = []
        if backend == "fit":
            self.fitting = Fitting(self.network, self.optimizer, recipe, self.loss)
        # A graph of one shape, then one of any K, then one of any batch size: no more, because each takes half a second to trace.
        self._steps: Callable[..., tf.Tensor] = tf.function(self._loop, reduce_retracing=True)
        self._logits: Callable[..., tf.Tensor] = tf.function(
            lambda x: self.network({IMAGES: x}), reduce_retracing=True
        )
        self._traced: Callable[..., Any] = tf.function(self._seen)
        # XLA has forward and backward, not the loop around them, in which its convolutions would take eighty times as long.
        self._gradients: Callable[..., Any] = (
            tf.function(self._computed, jit_compile=True) if backend == "xla" else self._computed
        )

    def load(self, state: State) -> None:
        check(state, self.description, self.recipe)
        for i, (name, variable) in enumerate(self.variables.items()):
            variable.assign(state[name])
            for slot, kept in self.optimizer.slots.items():
                kept[i].assign(state[f"{name}/{slot}"])
        for name, variable in self.buffers.items():
            variable.assign(state[name])
        self.optimizer.iterations.assign(int(state.get("step", 0)))

    def state(self) -> State:
        weights = {
            name: array(variable) for name, variable in (self.variables | self.buffers).items()
        }
        slots = {
            f"{name}/{slot}": array(kept[i])
            for slot, kept in self.optimizer.slots.items()
            for i, name in enumerate(self.variables)
        }
        step = (
            {"step": array(self.optimizer.iterations).astype(np.int64)}
            if self.recipe.optimizer.counts_steps
            else {}
        )
        return weights | slots | step

    def upload(self, split: Split) -> DeviceSplit:
        with self._on_device():
            return DeviceSplit(
                tf.constant(split.pixels(self.recipe.dtype)), tf.constant(split.labels)
            )

    def run(self, data: DeviceSplit, plan: Plan) -> None:
        with self._on_device():
            steps = self.fitting.run if self.backend == "fit" else self._steps
            self.losses.append(steps(data.x, data.y, self._moved(plan)))

    def wait(self) -> np.ndarray:
        losses = (
            np.concatenate([part.numpy() for part in self.losses])
            if self.losses
            else np.zeros(0, self.recipe.dtype)
        )
        self.losses = []
        return losses

    def logits(self, data: DeviceSplit) -> np.ndarray:
        with self._on_device():
            return np.concatenate(
                [
                    self._logits(data.x[i : i + SAMPLES_EVALUATED_AT_ONCE]).numpy()
                    for i in range(0, len(data.x), SAMPLES_EVALUATED_AT_ONCE)
                ]
            )

    def trace(self, data: DeviceSplit, plan: Plan, *, outputs: bool = True) -> State:
        with self._on_device():
            seen, loss, gradients = self._traced(data.x, data.y, self._moved(plan), outputs)
        forward = {
            f"output/{p.layer.name}": seen[p.layer.name].numpy()
            for p in self.description.places
            if outputs
        }
        by_name = dict(zip(self.variables, gradients, strict=True))
        backward = {
            f"gradient/{name}": by_name[name].numpy() for name in self.description.gradient_order
        }
        return forward | {"loss": np.asarray(loss.numpy())} | backward

    def _loop(self, x: tf.Tensor, y: tf.Tensor, steps: Steps) -> tf.Tensor:
        rate = steps["rate"]
        count = tf.shape(rate)[0]
        losses = tf.TensorArray(rate.dtype, size=count)
        for k in tf.range(count):
            loss, gradients, statistics, _ = self._gradients(*self._batch(x, y, steps, k))
            self.optimizer.rate.assign(rate[k])
            self.optimizer.apply(gradients, list(self.variables.values()))
            self.network.advance(statistics)
            losses = losses.write(k, loss)
        return losses.stack()

    def _seen(self, x: tf.Tensor, y: tf.Tensor, steps: Steps, outputs: bool) -> Any:
        loss, gradients, _, seen = self._gradients(*self._batch(x, y, steps, 0), outputs)
        return seen, loss, gradients

    def _batch(
        self, x: tf.Tensor, y: tf.Tensor, steps: Steps, k: Any
    ) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
        if steps["order"] is not None:
            x, y = tf.gather(x, steps["order"][k]), tf.gather(y, steps["order"][k])
        if steps["drawn"]:
            x = augment(
                self.recipe.augmentation,
                x,
                {name: drawn[k] for name, drawn in steps["drawn"].items()},
            )
        return {IMAGES: x} | {name: mask[k] for name, mask in steps["keep"].items()}, y

    def _computed(self, inputs: dict[str, tf.Tensor], y: tf.Tensor, outputs: bool = False) -> Any:
        """Return the loss, the gradients, what every BatchNorm is to keep, and the outputs where they are asked for."""
        variables = [variable.value for variable in self.variables.values()]
        with tf.GradientTape() as tape:
            logits, going = self.network.forward(inputs, training=True)
            loss = self.loss(y, logits)
        return (
            loss,
            tape.gradient(loss, variables),
            going.statistics,
            going.outputs if outputs else {},
        )

    def _moved(self, plan: Plan) -> Steps:
        """Return a plan's arrays on the device."""
        return {
            "order": None if plan.indices is None else tf.constant(plan.indices),
            "rate": tf.constant(plan.rates, self.recipe.dtype),
            "keep": {name: tf.constant(mask) for name, mask in plan.dropout_masks.items()},
            "drawn": {name: tf.constant(array) for name, array in plan.augmentations.items()},
        }

    def _on_device(self) -> Any:
        return tf.device({"cpu": "/CPU:0", "cuda": "/GPU:0"}[self.device])


def array(variable: keras.Variable) -> np.ndarray:
    """Return a copy of a Keras variable's value."""
    return np.array(variable.value.numpy())
