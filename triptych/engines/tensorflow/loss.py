"""The losses: TensorFlow's own wherever their formula is the one of the specification.

A builder of a loss is a function ``builder(loss, classes, dtype)`` that returns a function of
logits (batch, classes) and labels (batch,) with a scalar result.
"""

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from ...core.builders import BuilderTable
from ...spec.losses import Loss, MeanSquaredError, SoftmaxCrossEntropy

LossFunction = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]
LossBuilder = Callable[[Any, int, str], LossFunction]

LOSSES: BuilderTable[LossBuilder] = BuilderTable("TensorFlow", "loss")


def register_loss(spec_class: type[Loss], builder: LossBuilder) -> None:
    """Use `builder` for losses of `spec_class`; see the top of this file."""
    LOSSES.register(spec_class, builder)


def build_loss(loss: Loss, classes: int, dtype: str) -> LossFunction:
    """Return the loss of a batch as a function of logits and labels."""
    builder = LOSSES.find(loss)
    return builder(loss, classes, dtype)


def cross_entropy(loss: SoftmaxCrossEntropy, classes: int, dtype: str) -> LossFunction:
    """Return softmax cross-entropy: TensorFlow's, or the specification's table of targets."""
    if loss.class_weights or loss.label_smoothing:
        return tabulated_cross_entropy(loss, classes, dtype)

    def compute(logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
        return tf.reduce_mean(losses)

    return compute


def tabulated_cross_entropy(loss: SoftmaxCrossEntropy, classes: int, dtype: str) -> LossFunction:
    """Return softmax cross-entropy with label smoothing and class weights.

    TensorFlow's `softmax_cross_entropy_with_logits` cannot be used: its gradient assumes that the
    targets of a sample sum to 1.
    """
    target_table, divisor_table = loss.tables(classes)

    def compute(logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
        targets = tf.gather(tf.constant(target_table, dtype), labels)
        divisors = tf.gather(tf.constant(divisor_table, dtype), labels)
        total = -tf.reduce_sum(targets * tf.nn.log_softmax(logits))
        return total / tf.reduce_sum(divisors)

    return compute


def mean_squared_error(loss: MeanSquaredError, classes: int, dtype: str) -> LossFunction:
    """Return the mean squared difference between logits and one-hot labels: Keras's class."""
    keras_loss = keras.losses.MeanSquaredError(dtype=dtype)

    def compute(logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
        one_hot = tf.one_hot(labels, classes, dtype=dtype)
        return keras_loss(one_hot, logits)

    return compute


register_loss(SoftmaxCrossEntropy, cross_entropy)
register_loss(MeanSquaredError, mean_squared_error)
