"""The layers as Keras layers."""

from typing import Any

import keras
import tensorflow as tf

from ... import network as spec

IMAGES = "images"


class Dropout(keras.layers.Layer):
    """keras.layers.Dropout that can be dealt its mask. (Keras reserves the argument name ``mask``.)"""

    def __init__(self, rate: float, own: tf.random.Generator, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.rate, self.own = rate, own

    def call(self, x: tf.Tensor, keep: tf.Tensor | None = None, training: bool = False) -> tf.Tensor:
        if not training or self.rate == 0:
            return x
        if keep is None:
            keep = self.own.uniform(tf.shape(x)) >= self.rate
        return x * tf.cast(keep, x.dtype) / (1 - self.rate)


class Network(keras.Model):
    """The layers in order. Inputs are a dict: the images, and a mask for each dropout that is dealt one."""

    def __init__(self, network: spec.Network, own: tf.random.Generator, dtype: str) -> None:
        super().__init__(name=network.name, dtype=dtype)
        self.stack = [keras_layer(layer, own, dtype) for layer in network.layers]

    def call(self, inputs: dict[str, tf.Tensor], training: bool = False) -> tf.Tensor:
        return self.outputs(inputs, training)[-1]

    def outputs(self, inputs: dict[str, tf.Tensor], training: bool) -> list[tf.Tensor]:
        """Return the output of every layer, in order; the last one is the logits."""
        x, outputs = inputs[IMAGES], []
        for layer in self.stack:
            x = layer(x, inputs.get(layer.name), training=training) if isinstance(layer, Dropout) else layer(x)
            outputs.append(x)
        return outputs


def keras_layer(layer: spec.Layer, own: tf.random.Generator, dtype: str) -> keras.layers.Layer:
    match layer:
        case spec.Dense(name=name, units=units):
            return keras.layers.Dense(units, name=name, dtype=dtype)
        case spec.ReLU(name=name):
            return keras.layers.ReLU(name=name, dtype=dtype)
        case spec.Dropout(name=name, rate=rate):
            return Dropout(rate, own, name=name, dtype=dtype)
        case spec.Flatten(name=name):
            return keras.layers.Flatten(name=name, dtype=dtype)
        case other:
            raise NotImplementedError(f"TensorFlow: no layer for {other}")
