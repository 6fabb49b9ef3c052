"""Keras's own fit, over the same batches."""

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from .layers import IMAGES, Network
from .optimizers import Optimizer


class Recorder(keras.losses.Loss):
    """Softmax cross-entropy that also writes down the loss of each step: fit reports only running means (D83)."""

    def __init__(self, dtype: str) -> None:
        super().__init__(name="loss", dtype=dtype)
        self.written = tf.Variable(tf.zeros(0, dtype), shape=[None], trainable=False)
        self.inner = keras.losses.SparseCategoricalCrossentropy(from_logits=True, dtype=dtype)

    def __call__(self, y_true: tf.Tensor, y_pred: tf.Tensor, sample_weight: Any = None) -> tf.Tensor:
        loss = self.inner(y_true, y_pred, sample_weight)
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

    def __init__(self, network: Network, optimizer: Optimizer, dtype: str) -> None:
        self.network, self.optimizer = network, optimizer
        self.recorder = Recorder(dtype)
        network.compile(optimizer, self.recorder)

    def run(self, x: tf.Tensor, y: tf.Tensor, order: tf.Tensor | None, rate: tf.Tensor, keep: dict[str, tf.Tensor]) -> tf.Tensor:
        # A Dataset and not arrays: fit casts float64 arrays to floatx (D76). All rows as they lie are not copied.
        if order is None:
            steps = tf.data.Dataset.from_tensors((x, y)).repeat(len(rate))
        else:
            steps = tf.data.Dataset.from_tensor_slices((tf.gather(x, order), tf.gather(y, order)))
        if keep:
            masks = tf.data.Dataset.from_tensor_slices(keep)
            steps = tf.data.Dataset.zip(steps, masks).map(lambda xy, keep: ({IMAGES: xy[0], **keep}, xy[1]))
        else:
            steps = steps.map(lambda x, y: ({IMAGES: x}, y))
        self.recorder.written.assign(tf.zeros(0, rate.dtype))
        rates = rate.numpy()
        if len(set(rates)) == 1:
            self.optimizer.rate.assign(rates[0])
            callbacks = []
        else:
            callbacks = [Rates(self.optimizer, rates)]
        self.network.fit(steps, shuffle=False, verbose=0, callbacks=callbacks)
        return tf.identity(self.recorder.written)
