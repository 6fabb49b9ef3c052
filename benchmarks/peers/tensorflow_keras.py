"""Keras as most people write it: Sequential, with Keras's own optimizers and loss.

It is trained by fit, or by a tf.function for each step.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from triptych.core.plan import Plan
from triptych.core.split import Split
from triptych.core.state import State
from triptych.spec.network import Network
from triptych.spec.optimizers import Optimizer
from triptych.spec.recipe import Recipe


def r1(rate: float) -> list[layers.Layer]:
    """Return the layers of R1."""
    return [layers.Flatten(), layers.Dense(10, activation="relu"), layers.Dense(10)]


def r2(rate: float) -> list[layers.Layer]:
    """Return the layers of R2, with a dropout rate."""
    return [
        layers.Flatten(),
        layers.Dense(128, activation="relu"),
        layers.Dropout(rate),
        layers.Dense(64, activation="relu"),
        layers.Dropout(rate),
        layers.Dense(10),
    ]


def r3(rate: float) -> list[layers.Layer]:
    """Return the layers of R3, with a dropout rate."""
    return [
        layers.Conv2D(32, 3, activation="relu"),
        layers.Conv2D(64, 3, activation="relu"),
        layers.MaxPooling2D(),
        layers.Flatten(),
        layers.Dense(128, activation="relu"),
        layers.Dropout(rate),
        layers.Dense(10),
    ]


def sgd(specified: Optimizer) -> keras.optimizers.Optimizer:
    """Return Keras's SGD."""
    return keras.optimizers.SGD(0.1)


def adam(specified: Any) -> keras.optimizers.Optimizer:
    """Return Keras's Adam with the recipe's betas.

    Keras converts them to float32; the proof has betas that float32 holds exactly.
    """
    return keras.optimizers.Adam(beta_1=specified.beta1, beta_2=specified.beta2)


MODELS: dict[str, Callable[[float], list[layers.Layer]]] = {"R1": r1, "R2": r2, "R3": r3}
OPTIMIZERS: dict[str, Callable[[Any], keras.optimizers.Optimizer]] = {"sgd": sgd, "adam": adam}


@dataclass(frozen=True)
class DeviceSplit:
    """Images and labels: NumPy arrays for fit, tensors for a loop over steps."""

    x: Any
    y: Any


class Engine:
    """As much of an engine as a timing needs; its state is the weights, and `load` begins anew."""

    def __init__(
        self, network: Network, recipe: Recipe, *, device: str = "cpu", backend: str = "keras-fit"
    ) -> None:
        # The process belongs to this peer alone, so global settings are no danger. The policy would
        # otherwise remain the one of the first layer.
        keras.config.set_floatx(recipe.dtype)
        keras.config.set_dtype_policy(recipe.dtype)
        self.device = device
        self.recipe = recipe
        self.names = [parameter.name for parameter in network.parameters]
        self.variant = backend.partition("-")[2]
        rate = max((layer.rate for layer, _ in network.dropouts), default=0.0)
        inputs = keras.Input(network.input_shape)
        self.model: Any = keras.Sequential([inputs, *MODELS[network.name](rate)])
        self.loss: Any = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        self.losses: list[float] = []

    def load(self, state: State) -> None:
        """Take the weights in, and begin with a new optimizer."""
        self.model.set_weights([state[name] for name in self.names])
        self.model.compile(OPTIMIZERS[self.recipe.optimizer.name](self.recipe.optimizer), self.loss)
        self.model.optimizer.build(self.model.trainable_variables)
        self.step = tf.function(self._step, jit_compile=self.variant == "xla")

    def state(self) -> State:
        """Return the weights."""
        return dict(zip(self.names, self.model.get_weights(), strict=True))

    def upload(self, split: Split) -> DeviceSplit:
        """Return a split as the variant wants it."""
        images = split.pixels(self.recipe.dtype)
        if self.variant == "fit":
            return DeviceSplit(images, split.labels)
        return DeviceSplit(tf.constant(images), tf.constant(split.labels))

    def run(self, data: DeviceSplit, plan: Plan) -> None:
        """Make the steps of a plan."""
        if self.variant == "fit":
            self._fit(data, plan)
        elif plan.indices is None:
            for _ in range(len(plan)):
                self.losses.append(self.step(data.x, data.y))
        else:
            for rows in plan.indices:
                self.losses.append(self.step(tf.gather(data.x, rows), tf.gather(data.y, rows)))

    def _fit(self, data: DeviceSplit, plan: Plan) -> None:
        """Call fit over a plan's rows, in their order.

        A plan of full batches is an epoch for each step, another plan is one epoch.
        """
        x = data.x
        y = data.y
        batch_size = len(y)
        epochs = len(plan)
        if plan.indices is not None:
            x = x[plan.indices.ravel()]
            y = y[plan.indices.ravel()]
            batch_size = plan.indices.shape[1]
            epochs = 1
        history = self.model.fit(x, y, batch_size, epochs, verbose=0, shuffle=False)
        self.losses += history.history["loss"]

    def _step(self, x: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            loss = self.loss(y, self.model(x, training=True))
        variables = self.model.trainable_variables
        gradients = tape.gradient(loss, variables)
        self.model.optimizer.apply_gradients(zip(gradients, variables, strict=True))
        return loss

    def wait(self) -> np.ndarray:
        """Return the losses since the last call, when they are computed."""
        losses = np.array([float(loss) for loss in self.losses])
        self.losses = []
        return losses

    def logits(self, data: DeviceSplit) -> np.ndarray:
        """Return the logits of all images, by predict or by a direct call."""
        if self.variant == "fit":
            return np.asarray(self.model.predict(data.x, verbose=0))
        return np.asarray(self.model(data.x))
