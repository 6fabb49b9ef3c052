"""Keras's own fit, over the same batches."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from ...spec import recipe as how
from .augmentation import augment
from .layers import IMAGES, Network
from .optimizers import Optimizer


class Recorder(keras.losses.Loss):
    """A loss that also writes down what it is at each step: fit reports only running means (D83)."""

    def __init__(self, inner: Callable[[tf.Tensor, tf.Tensor], tf.Tensor], dtype: str) -> None:
        super().__init__(name="loss", dtype=dtype)
        self.written = tf.Variable(tf.zeros(0, dtype), shape=[None], trainable=False)
        self.inner = inner

    def __call__(
        self, y_true: tf.Tensor, y_pred: tf.Tensor, sample_weight: Any = None
    ) -> tf.Tensor:
        loss = self.inner(y_true, y_pred)
        self.written.assign(tf.concat([self.written, loss[None]], 0))
        return loss


class Rates(keras.callbacks.Callback):
    """Gives the optimizer each step's rate."""

    def __init__(self, optimizer: Optimizer, rates: np.ndarray) -> None:
        super().__init__()
        self.steps, self.rates = optimizer, rates

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        self.steps.rate.assign(self.rates[batch])


class Fitting:
    """Keras's own training loop over the same batches: images and masks as inputs, trained on logits."""

    def __init__(
        self,
        network: Network,
        optimizer: Optimizer,
        recipe: how.Recipe,
        loss: Callable[[tf.Tensor, tf.Tensor], tf.Tensor],
    ) -> None:
        self.network, self.optimizer, self.recipe = network, optimizer, recipe
        self.recorder = Recorder(loss, recipe.dtype)
        network.compile(optimizer, self.recorder)

    def run(self, x: tf.Tensor, y: tf.Tensor, steps: dict[str, Any]) -> tf.Tensor:
        # A Dataset and not arrays: fit casts float64 arrays to floatx (D76). All rows as they lie are not copied.
        rates, order = steps["rate"].numpy(), steps["order"]
        if order is None:
            batches = tf.data.Dataset.from_tensors((x, y)).repeat(len(rates))
        else:
            batches = tf.data.Dataset.from_tensor_slices((tf.gather(x, order), tf.gather(y, order)))
        beside = {name: steps[name] for name in ("keep", "drawn") if steps[name]}
        if beside:
            batches = tf.data.Dataset.zip(batches, tf.data.Dataset.from_tensor_slices(beside)).map(
                self._inputs
            )
        else:
            batches = batches.map(lambda x, y: ({IMAGES: x}, y))
        self.recorder.written.assign(tf.zeros(0, rates.dtype))
        if len(set(rates)) == 1:
            self.optimizer.rate.assign(rates[0])
            callbacks = []
        else:
            callbacks = [Rates(self.optimizer, rates)]
        self.network.fit(batches, shuffle=False, verbose=0, callbacks=callbacks)
        return tf.identity(self.recorder.written)

    def _inputs(self, xy: Any, beside: dict[str, Any]) -> Any:
        x, y = xy
        if "drawn" in beside:
            x = augment(self.recipe.augmentation, x, beside["drawn"])
        return {IMAGES: x} | beside.get("keep", {}), y
