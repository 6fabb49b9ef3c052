import keras
import tensorflow as tf
from keras import layers


def loss(labels, output):
    labels = tf.one_hot(tf.cast(tf.reshape(labels, [-1]), tf.int32), 10, dtype=output.dtype)
    return tf.reduce_mean(tf.nn.softmax_cross_entropy_with_logits(logits=output, labels=labels))


def build():
    inputs = keras.Input((12, 12, 1))
    x = layers.Conv2D(8, 5, padding="same", activation="relu")(inputs)
    x = layers.MaxPooling2D()(x)
    x = layers.Dense(32, activation="relu")(layers.Flatten()(x))
    output = layers.Softmax()(layers.Dense(10)(x))
    return {
        "model": keras.Model(inputs, output),
        "loss": loss,
        "optimizer": keras.optimizers.SGD(0.1),
    }
