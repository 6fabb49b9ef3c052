"""The layers as Keras layers. Images are (batch, h, w, c)."""

from collections.abc import Iterable
from math import pi, sqrt
from typing import Any

import keras
import tensorflow as tf

from ...spec import layers as spec
from ...spec.placement import Layer

IMAGES = "/images"  # no layer can be called so


class Pass:
    """What goes with one forward: masks by layer name, what to write outputs and batch statistics into."""

    def __init__(self, training: bool, masks: dict[str, tf.Tensor]) -> None:
        self.training, self.masks = training, masks
        self.outputs: dict[str, tf.Tensor] = {}
        self.statistics: list[tuple[tf.Tensor, tf.Tensor]] = []  # of every BatchNorm, in order


class Dropout(keras.layers.Layer):
    """keras.layers.Dropout that can be dealt its mask. (Keras reserves the argument name ``mask``.)"""

    def __init__(self, rate: float, own: tf.random.Generator, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.rate, self.own = rate, own

    def call(
        self, x: tf.Tensor, keep: tf.Tensor | None = None, training: bool = False
    ) -> tf.Tensor:
        if not training or self.rate == 0:
            return x
        if keep is None:
            keep = self.own.uniform(tf.shape(x)) >= self.rate
        return x * tf.cast(keep, x.dtype) / (1 - self.rate)


class Dense(keras.layers.Dense):
    """keras.layers.Dense, except that its gradient is (dyᵀ·x)ᵀ where a batch has more samples than inputs.

    For 9,000 samples, 784 inputs and 10 units dyᵀ·x takes two thirds of the time of xᵀ·dy. To transpose the kernel costs little then.
    """

    def call(self, x: tf.Tensor) -> tf.Tensor:
        if (x.shape[0] or 0) <= x.shape[1]:  # also where the number of samples is not known
            return super().call(x)
        y = tf.matmul(x, tf.transpose(self.kernel.value), transpose_b=True)
        return tf.nn.bias_add(y, self.bias.value) if self.use_bias else y


class Conv2D(keras.layers.Conv2D):
    """keras.layers.Conv2D with explicit padding: Keras's own "same" pads less on the left at stride 2 (D70)."""

    def __init__(self, c: spec.Conv2D, **kwargs: Any) -> None:
        super().__init__(c.filters, c.size, c.stride, groups=c.groups, use_bias=c.bias, **kwargs)
        self.layer = c

    def build(self, shape: Any) -> None:
        """Without Keras's own, which refuses images that are smaller than the kernel before they are padded."""
        size, filters = self.layer.size, self.layer.filters
        self._kernel = self.add_weight(
            shape=(size, size, shape[-1] // self.layer.groups, filters), name="kernel"
        )
        self.bias = self.add_weight(shape=(filters,), name="bias") if self.layer.bias else None

    def call(self, x: tf.Tensor) -> tf.Tensor:
        x = padded(x, self.layer.padding)
        # TensorFlow has no gradient for grouped convolutions on a processor: each group is one of its own.
        inputs, kernels = (
            tf.split(x, self.layer.groups, axis=-1),
            tf.split(self.kernel.value, self.layer.groups, axis=-1),
        )
        parts = [
            tf.nn.conv2d(part, kernel, self.layer.stride, "VALID")
            for part, kernel in zip(inputs, kernels, strict=True)
        ]
        y = parts[0] if len(parts) == 1 else tf.concat(parts, axis=-1)
        return tf.nn.bias_add(y, self.bias.value) if self.layer.bias else y


class Pool(keras.layers.Layer):
    """Pooling with explicit padding: -inf never wins a maximum, zeros count in a mean (D72)."""

    def __init__(self, pool: spec.MaxPool2D | spec.AvgPool2D, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.layer = pool

    def call(self, x: tf.Tensor) -> tf.Tensor:
        p = self.layer
        if isinstance(p, spec.MaxPool2D):
            return tf.nn.max_pool2d(padded(x, p.padding, float("-inf")), p.size, p.stride, "VALID")
        return tf.nn.avg_pool2d(padded(x, p.padding), p.size, p.stride, "VALID")


def padded(x: tf.Tensor, by: int, value: float = 0.0) -> tf.Tensor:
    return (
        tf.pad(x, ((0, 0), (by, by), (by, by), (0, 0)), constant_values=tf.constant(value, x.dtype))
        if by
        else x
    )


class BatchNorm(keras.layers.Layer):
    """keras.layers.BatchNormalization with the specification's variance: unbiased in the running one, if so told (D20).

    The layer hands its statistics out, and the step moves the running ones: a trace changes nothing.
    """

    def __init__(self, like: spec.BatchNorm, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.layer = like

    def build(self, shape: Any) -> None:
        self.gamma = self.add_weight(shape=shape[-1:], initializer="ones", name="gamma")
        self.beta = self.add_weight(shape=shape[-1:], initializer="zeros", name="beta")
        self.running_mean = self.add_weight(
            shape=shape[-1:], initializer="zeros", name="running_mean", trainable=False
        )
        self.running_variance = self.add_weight(
            shape=shape[-1:], initializer="ones", name="running_variance", trainable=False
        )

    def call(
        self, x: tf.Tensor, statistics: tuple[tf.Tensor, tf.Tensor] | None = None
    ) -> tf.Tensor:
        mean, variance = statistics or (self.running_mean.value, self.running_variance.value)
        return tf.nn.batch_normalization(
            x, mean, variance, self.beta.value, self.gamma.value, self.layer.epsilon
        )

    def measure(self, x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Return the batch's mean and variance, and the variance as the running one takes it."""
        mean, variance = tf.nn.moments(x, list(range(len(x.shape) - 1)))
        if not self.layer.unbiased:
            return mean, variance, variance
        count = tf.cast(tf.size(x) // x.shape[-1], x.dtype)
        return mean, variance, variance * (count / tf.maximum(count - 1, 1))

    def advance(self, mean: tf.Tensor, variance: tf.Tensor) -> None:
        for running, seen in ((self.running_mean, mean), (self.running_variance, variance)):
            old, m = running.value, self.layer.momentum
            running.assign((1 - m) * old + m * seen)


class LeakyReLU(keras.layers.Layer):
    """By hand, because tf.nn.leaky_relu keeps its slope in float32: 0.2 is 3e-9 off in float64."""

    def __init__(self, slope: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.slope = slope

    def call(self, x: tf.Tensor) -> tf.Tensor:
        return x * tf.where(x > 0, tf.constant(1, x.dtype), tf.constant(self.slope, x.dtype))


class GELU(keras.layers.Layer):
    """By hand, because tf.nn.gelu casts its constants from Python floats: through float32, 6e-8 off in float64 (D63)."""

    def __init__(self, form: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.form = form

    def call(self, x: tf.Tensor) -> tf.Tensor:
        if self.form == "erf":
            return 0.5 * x * (1 + tf.math.erf(x * tf.constant(sqrt(0.5), x.dtype)))
        return (
            0.5
            * x
            * (
                1
                + tf.tanh(
                    tf.constant(sqrt(2 / pi), x.dtype) * (x + tf.constant(0.044715, x.dtype) * x**3)
                )
            )
        )


class Residual:
    """The layers of a branch and of a projection; it has no variable of its own."""

    def __init__(self, r: spec.Residual, own: tf.random.Generator, dtype: str) -> None:
        self.name = r.name
        self.branch, self.projection = built(r.branch, own, dtype), built(r.projection, own, dtype)


class Network(keras.Model):
    """The layers in order. Inputs are a dict: the images, and a mask for each dropout that is dealt one."""

    def __init__(self, layers: Iterable[Layer], own: tf.random.Generator, dtype: str) -> None:
        super().__init__(dtype=dtype)
        self.stack = built(layers, own, dtype)
        self.flat = every(self.stack)  # where Keras finds them all

    def call(self, inputs: dict[str, tf.Tensor], training: bool = False) -> tf.Tensor:
        """One forward by itself, as Keras's fit makes it: in training the running statistics move."""
        x, going = self.forward(inputs, training)
        if training:
            self.advance(going.statistics)
        return x

    def forward(self, inputs: dict[str, tf.Tensor], training: bool) -> tuple[tf.Tensor, Pass]:
        """Return the logits, and the outputs and statistics of every layer."""
        going = Pass(training, inputs)
        return walk(self.stack, inputs[IMAGES], going), going

    def advance(self, statistics: list[tuple[tf.Tensor, tf.Tensor]]) -> None:
        """Let the running statistics of every BatchNorm move by one step."""
        norms = [layer for layer in self.flat if isinstance(layer, BatchNorm)]
        for norm, (mean, variance) in zip(norms, statistics, strict=True):
            norm.advance(mean, variance)


def walk(layers: list[Any], x: tf.Tensor, going: Pass) -> tf.Tensor:
    """Go through layers in order; what a residual contains comes before it."""
    for layer in layers:
        if isinstance(layer, Residual):
            x = walk(layer.branch, x, going) + walk(layer.projection, x, going)
        elif isinstance(layer, Dropout):
            x = layer(x, going.masks.get(layer.name), training=going.training)
        elif isinstance(layer, BatchNorm) and going.training:
            mean, variance, kept = layer.measure(x)
            going.statistics.append((mean, kept))
            x = layer(x, (mean, variance))
        else:
            x = layer(x)
        going.outputs[layer.name] = x
    return x


def every(layers: list[Any]) -> list[keras.layers.Layer]:
    """Return the Keras layers, those inside residuals among them."""
    return [
        part
        for layer in layers
        for part in (
            every(layer.branch) + every(layer.projection)
            if isinstance(layer, Residual)
            else [layer]
        )
    ]


def built(layers: Iterable[Layer], own: tf.random.Generator, dtype: str) -> list[Any]:
    return [build(layer, own, dtype) for layer in layers]


def build(layer: Layer, own: tf.random.Generator, dtype: str) -> Any:
    known: dict[str, Any] = {"name": layer.name, "dtype": dtype}
    match layer:
        case spec.Flatten():
            return keras.layers.Flatten(**known)
        case spec.Dense(units=units, bias=bias):
            return Dense(units, use_bias=bias, **known)
        case spec.Conv2D():
            return Conv2D(layer, **known)
        case spec.MaxPool2D() | spec.AvgPool2D():
            return Pool(layer, **known)
        case spec.GlobalAvgPool():
            return keras.layers.GlobalAveragePooling2D(**known)
        case spec.BatchNorm():
            return BatchNorm(layer, **known)
        case spec.LayerNorm(epsilon=epsilon):
            return keras.layers.LayerNormalization(epsilon=epsilon, **known)
        case spec.Residual():
            return Residual(layer, own, dtype)
        case spec.Dropout(rate=rate):
            return Dropout(rate, own, **known)
        case spec.ReLU():
            return keras.layers.ReLU(**known)
        case spec.LeakyReLU(slope=slope):
            return LeakyReLU(slope, **known)
        case spec.GELU(form=form):
            return GELU(form, **known)
        case spec.SiLU():
            return keras.layers.Activation("silu", **known)
        case spec.Tanh():
            return keras.layers.Activation("tanh", **known)
        case spec.Sigmoid():
            return keras.layers.Activation("sigmoid", **known)
        case other:
            raise TypeError(f"TensorFlow: no layer for {other}")
