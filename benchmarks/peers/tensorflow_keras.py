"""Keras as most people write it: Sequential, its own optimizers and loss, trained by fit or by a tf.function for each step."""

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
from triptych.spec import network as spec
from triptych.spec import recipe as how


def r1(rate: float) -> list[layers.Layer]:
    return [layers.Flatten(), layers.Dense(10, activation="relu"), layers.Dense(10)]


def r2(rate: float) -> list[layers.Layer]:
    return [
        *(layers.Flatten(), layers.Dense(128, activation="relu"), layers.Dropout(rate)),
        *(layers.Dense(64, activation="relu"), layers.Dropout(rate), layers.Dense(10)),
    ]


def r3(rate: float) -> list[layers.Layer]:
    return [
        *(
            layers.Conv2D(32, 3, activation="relu"),
            layers.Conv2D(64, 3, activation="relu"),
            layers.MaxPooling2D(),
            layers.Flatten(),
        ),
        *(layers.Dense(128, activation="relu"), layers.Dropout(rate), layers.Dense(10)),
    ]


MODELS: dict[str, Callable[[float], list[layers.Layer]]] = {"R1": r1, "R2": r2, "R3": r3}
# The betas are the recipe's only because Keras takes them through float32 (D63): the proof gives some that survive it.
OPTIMIZERS: dict[str, Callable[[Any], keras.optimizers.Optimizer]] = {
    "sgd": lambda _: keras.optimizers.SGD(0.1),
    "adam": lambda o: keras.optimizers.Adam(beta_1=o.beta1, beta_2=o.beta2),
}


@dataclass(frozen=True)
class DeviceSplit:
    """NumPy's arrays for fit, tensors for a loop of one's own."""

    x: Any
    y: Any


class Engine:
    """As much of an engine as a timing needs; its state is the weights alone, and `load` begins anew."""

    def __init__(
        self,
        network: spec.Network,
        recipe: how.Recipe,
        *,
        device: str = "cpu",
        backend: str = "keras-fit",
    ) -> None:
        keras.config.set_floatx(recipe.dtype)  # the process is its own
        keras.config.set_dtype_policy(recipe.dtype)  # it would stay what the first layer had
        self.device, self.recipe, self.names, self.variant = (
            device,
            recipe,
            [p.name for p in network.parameters],
            backend.partition("-")[2],
        )
        rate = max((layer.rate for layer, _ in network.dropouts), default=0.0)
        self.model: Any = keras.Sequential(
            [keras.Input(network.input_shape), *MODELS[network.name](rate)]
        )
        self.loss: Any = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        self.losses: list[float] = []

    def load(self, state: State) -> None:
        self.model.set_weights([state[name] for name in self.names])
        self.model.compile(OPTIMIZERS[self.recipe.optimizer.name](self.recipe.optimizer), self.loss)
        self.model.optimizer.build(self.model.trainable_variables)
        self.step = tf.function(self._step, jit_compile=self.variant == "xla")

    def state(self) -> State:
        return dict(zip(self.names, self.model.get_weights(), strict=True))

    def upload(self, split: Split) -> DeviceSplit:
        x, y = split.pixels(self.recipe.dtype), split.labels
        return (
            DeviceSplit(x, y)
            if self.variant == "fit"
            else DeviceSplit(tf.constant(x), tf.constant(y))
        )

    def run(self, data: DeviceSplit, plan: Plan) -> None:
        if self.variant == "fit":
            self._fit(data, plan)
            return
        for k in range(len(plan)):
            x, y = (
                (data.x, data.y)
                if plan.indices is None
                else (tf.gather(data.x, plan.indices[k]), tf.gather(data.y, plan.indices[k]))
            )
            self.losses.append(self.step(x, y))

    def _fit(self, data: DeviceSplit, plan: Plan) -> None:
        """An epoch over the plan's rows as they lie; where every step sees all rows, an epoch for each step."""
        if plan.indices is None:
            x, y, batch, epochs = data.x, data.y, len(data.y), len(plan)
        else:
            x, y, batch, epochs = (
                data.x[plan.indices.ravel()],
                data.y[plan.indices.ravel()],
                plan.indices.shape[1],
                1,
            )
        self.losses += self.model.fit(x, y, batch, epochs, verbose=0, shuffle=False).history["loss"]

    def _step(self, x: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            loss = self.loss(y, self.model(x, training=True))
        variables = self.model.trainable_variables
        self.model.optimizer.apply_gradients(
            zip(tape.gradient(loss, variables), variables, strict=True)
        )
        return loss

    def wait(self) -> np.ndarray:
        losses, self.losses = np.array([float(loss) for loss in self.losses]), []
        return losses

    def logits(self, data: DeviceSplit) -> np.ndarray:
        return np.asarray(
            self.model.predict(data.x, verbose=0) if self.variant == "fit" else self.model(data.x)
        )
