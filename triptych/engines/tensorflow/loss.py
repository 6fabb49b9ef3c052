"""The loss: TensorFlow's own where it is the one asked for, the specification's targets where it is not."""

from collections.abc import Callable

import tensorflow as tf

from ...spec.losses import SoftmaxCrossEntropy


def cross_entropy(
    loss: SoftmaxCrossEntropy, classes: int, dtype: str
) -> Callable[[tf.Tensor, tf.Tensor], tf.Tensor]:
    """Return the loss of a batch as a function of labels and logits."""
    if not loss.class_weights and not loss.label_smoothing:
        return lambda y, z: tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(y, z))
    # Not softmax_cross_entropy_with_logits: its gradient takes it for granted that targets sum to 1.
    targets, divisors = loss.tables(classes)

    def weighted(y: tf.Tensor, z: tf.Tensor) -> tf.Tensor:
        t, d = tf.gather(tf.constant(targets, dtype), y), tf.gather(tf.constant(divisors, dtype), y)
        return -tf.reduce_sum(t * tf.nn.log_softmax(z)) / tf.reduce_sum(d)

    return weighted
