"""Training with Keras's own `fit`, on the same batches."""

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from ...spec.recipe import Recipe
from .augmentation import augment
from .layers import IMAGES, Model
from .loss import LossFunction
from .optimizers import Optimizer


class RecordedLoss(keras.losses.Loss):
    """A loss that also records its value at each step: `fit` reports only running means (D83)."""

    def __init__(self, loss: LossFunction, dtype: str) -> None:
        super().__init__(name="loss", dtype=dtype)
        self.values = tf.Variable(tf.zeros(0, dtype), shape=[None], trainable=False)
        self.loss = loss

    def __call__(
        self, y_true: tf.Tensor, y_pred: tf.Tensor, sample_weight: Any = None
    ) -> tf.Tensor:
        """Return the loss of a batch, without Keras's weights and reductions."""
        loss = self.loss(y_pred, y_true)
        self.values.assign(tf.concat([self.values, loss[None]], 0))
        return loss


class RateOfEachStep(keras.callbacks.Callback):
    """Sets the optimizer's rate before each step."""

    def __init__(self, optimizer: Optimizer, rates: np.ndarray) -> None:
        super().__init__()
        self.optimizer = optimizer
        self.rates = rates

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        """Set the rate of step `batch`."""
        self.optimizer.rate.assign(self.rates[batch])


class Fitting:
    """Keras's training loop: inputs are images and dropout masks, outputs are logits."""

    def __init__(
        self, model: Model, optimizer: Optimizer, recipe: Recipe, loss: LossFunction
    ) -> None:
        self.model = model
        self.optimizer = optimizer
        self.recipe = recipe
        self.recorded_loss = RecordedLoss(loss, recipe.dtype)
        model.compile(optimizer, self.recorded_loss)

    def train_steps(self, data: Any, plan: Any) -> tf.Tensor:
        """Make the K steps of a `DevicePlan` on a `DeviceSplit`, and return their losses."""
        rates = plan.rates.numpy()
        callbacks: list[keras.callbacks.Callback] = []
        if len(set(rates)) == 1:
            self.optimizer.rate.assign(rates[0])
        else:
            callbacks.append(RateOfEachStep(self.optimizer, rates))
        self.recorded_loss.values.assign(tf.zeros(0, rates.dtype))
        batches = self.make_batches(data.x, data.y, plan)
        self.model.fit(batches, shuffle=False, verbose=0, callbacks=callbacks)
        return tf.identity(self.recorded_loss.values)

    def make_batches(self, x: tf.Tensor, y: tf.Tensor, plan: Any) -> tf.data.Dataset:
        """Return the batches as a Dataset: `fit` casts float64 arrays to floatx (D76)."""
        if plan.indices is None:  # all rows, which are not copied
            batches = tf.data.Dataset.from_tensors((x, y)).repeat(len(plan.rates))
        else:
            images = tf.gather(x, plan.indices)
            labels = tf.gather(y, plan.indices)
            batches = tf.data.Dataset.from_tensor_slices((images, labels))
        extras: dict[str, Any] = {}
        if plan.dropout_masks:
            extras["masks"] = plan.dropout_masks
        if plan.augmentations:
            extras["draws"] = plan.augmentations
        if not extras:
            return batches.map(lambda x, y: ({IMAGES: x}, y))
        steps = tf.data.Dataset.from_tensor_slices(extras)
        return tf.data.Dataset.zip(batches, steps).map(self.make_inputs)

    def make_inputs(self, batch: Any, extras: dict[str, Any]) -> Any:
        """Return one batch as `fit` takes it: a dict of inputs, and the labels."""
        x, y = batch
        if "draws" in extras:
            x = augment(self.recipe.augmentation, x, extras["draws"])
        return {IMAGES: x} | extras.get("masks", {}), y
