"""The layers as Keras layers. Images are (batch, rows, columns, channels).

A builder of a layer is a function ``builder(place, dtype) -> keras.layers.Layer``, where `place`
is a `PlacedLayer`. The Keras layer has the specification's name. Its trainable and its other
variables, in the order in which it adds them, are the ones that ``place.parameters`` and
``place.buffers`` list. The engine fills them in, so their first values do not matter. A layer
assigns new values to its buffers itself, when it is called with ``training=True``.
"""

from collections.abc import Callable, Iterable
from inspect import signature
from math import pi, sqrt
from typing import Any

import keras
import tensorflow as tf

from ...core.builders import BuilderTable
from ...spec import layers as spec
from ...spec.network import Network
from ...spec.placement import Layer, PlacedLayer

IMAGES = "/images"  # the model's input of images; no layer can have this name

LayerBuilder = Callable[[PlacedLayer, str], Any]

LAYERS: BuilderTable[LayerBuilder] = BuilderTable("TensorFlow", "layer")


def register_layer(spec_class: type[Layer], builder: LayerBuilder) -> None:
    """Use `builder` for layers of `spec_class`; see the top of this file."""
    LAYERS.register(spec_class, builder)


def build_layer(place: PlacedLayer, dtype: str) -> Any:
    """Return the Keras layer of a placed layer; raise `EngineError` without a builder for it."""
    builder = LAYERS.find(place.layer)
    return builder(place, dtype)


class Model(keras.Model):
    """The layers in order. Inputs are a dict: the images, and a mask for each dropout layer.

    Masks that are not given are drawn, in training.
    """

    def __init__(self, network: Network, dtype: str, seed: int) -> None:
        super().__init__(dtype=dtype)
        self.dropouts = network.dropouts
        self.generator = tf.random.Generator.from_seed(seed)
        self.chain = [build_layer(place, dtype) for place in network.chain]
        self.flat = flatten_residuals(self.chain)  # Keras tracks the layers that it finds in lists

    def layers_by_name(self) -> dict[str, Any]:
        """Return every Keras layer by its name, those inside residuals included."""
        return {layer.name: layer for layer in self.flat}

    def call(
        self,
        inputs: dict[str, tf.Tensor],
        training: bool = False,
        outputs: dict[str, tf.Tensor] | None = None,
    ) -> tf.Tensor:
        """Return the logits.

        Parameters
        ----------
        inputs : dict of str to tf.Tensor
            The images, and masks by the names of dropout layers.
        training : bool
            If true, running statistics change.
        outputs : dict of str to tf.Tensor, optional
            Receives the output of every layer.
        """
        x = inputs[IMAGES]
        masks: dict[str, tf.Tensor] = {}
        if training:
            masks = self.draw_masks(x, inputs)
        return run_layers(self.chain, x, training, masks, outputs)

    def draw_masks(self, x: tf.Tensor, given: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Return a mask for every dropout layer; those that are not given are drawn."""
        masks = dict(given)
        for layer, shape in self.dropouts:
            if layer.name not in masks:
                batch = x.shape[0] or tf.shape(x)[0]  # not known when the graph is built
                masks[layer.name] = self.generator.uniform((batch, *shape)) >= layer.rate
        return masks


class NativeModel(tf.Module):
    """A trained network as a user of TensorFlow expects it: images in, logits out.

    Parameters
    ----------
    model : Model
        The network.
    """

    def __init__(self, model: Model) -> None:
        super().__init__(name="network")
        self.model = model

    def __call__(self, images: tf.Tensor) -> tf.Tensor:
        """Return the logits, in evaluation mode."""
        return self.model({IMAGES: images})


def run_layers(
    layers: Iterable[Any],
    x: tf.Tensor,
    training: bool,
    masks: dict[str, tf.Tensor],
    outputs: dict[str, tf.Tensor] | None,
) -> tf.Tensor:
    """Return the output of the last of several layers; `outputs` receives those of all."""
    for layer in layers:
        if isinstance(layer, Residual):
            branch = run_layers(layer.branch, x, training, masks, outputs)
            projection = run_layers(layer.projection, x, training, masks, outputs)
            x = branch + projection
        elif isinstance(layer, Dropout):
            x = layer(x, masks.get(layer.name))
        elif "training" in signature(layer.call).parameters:
            x = layer(x, training=training)
        else:
            x = layer(x)
        if outputs is not None:
            outputs[layer.name] = x
    return x


def flatten_residuals(layers: Iterable[Any]) -> list[Any]:
    """Return the Keras layers in order of computation, those inside residuals included."""
    flat: list[Any] = []
    for layer in layers:
        if isinstance(layer, Residual):
            flat += flatten_residuals(layer.branch)
            flat += flatten_residuals(layer.projection)
        else:
            flat.append(layer)
    return flat


class Residual:
    """The sum of two branches, which `run_layers` computes; it has no variables of its own."""

    def __init__(self, place: PlacedLayer, dtype: str) -> None:
        self.name = place.layer.name
        self.branch = [build_layer(inner, dtype) for inner in place.branch]
        self.projection = [build_layer(inner, dtype) for inner in place.projection]


class Dropout(keras.layers.Layer):
    """Dropout with a mask as an argument; without one, as in evaluation, it does nothing.

    The argument cannot have the name ``mask``, which Keras uses for masks of sequences.
    """

    def __init__(self, rate: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.rate = rate

    def call(self, x: tf.Tensor, retained: tf.Tensor | None = None) -> tf.Tensor:
        """Return what is kept, scaled."""
        if retained is None:
            return x
        return x * tf.cast(retained, x.dtype) / (1 - self.rate)


class Dense(keras.layers.Dense):
    """`keras.layers.Dense` with another order of the gradient's product for large batches.

    With more samples than inputs, the gradient of the kernel is (dyᵀ·x)ᵀ. For 9,000 samples, 784
    inputs and 10 units dyᵀ·x takes two thirds of the time of xᵀ·dy, and transposing the kernel
    costs little.
    """

    def call(self, x: tf.Tensor) -> tf.Tensor:
        """Return x·kernel + bias."""
        samples = x.shape[0] or 0  # None if it is not known
        if samples <= x.shape[1]:
            return super().call(x)
        y = tf.matmul(x, tf.transpose(self.kernel.value), transpose_b=True)
        return tf.nn.bias_add(y, self.bias.value) if self.use_bias else y


class Conv2D(keras.layers.Conv2D):
    """`keras.layers.Conv2D` with explicit padding; Keras's "same" pads less on the left (D70)."""

    def __init__(self, layer: spec.Conv2D, **kwargs: Any) -> None:
        super().__init__(
            layer.filters,
            layer.size,
            layer.stride,
            groups=layer.groups,
            use_bias=layer.bias,
            **kwargs,
        )
        self.layer = layer

    def build(self, shape: Any) -> None:
        """Add the variables; Keras's method refuses images that only fit with their padding."""
        layer = self.layer
        kernel_shape = (layer.size, layer.size, shape[-1] // layer.groups, layer.filters)
        self._kernel = self.add_weight(shape=kernel_shape, name="kernel")
        self.bias = None
        if layer.bias:
            self.bias = self.add_weight(shape=(layer.filters,), name="bias")

    def call(self, x: tf.Tensor) -> tf.Tensor:
        """Return the convolution, plus the bias."""
        layer = self.layer
        # On a CPU, TensorFlow has no gradient for grouped convolutions: each group is one of its
        # own.
        inputs = tf.split(pad_images(x, layer.padding), layer.groups, axis=-1)
        kernels = tf.split(self.kernel.value, layer.groups, axis=-1)
        groups = [
            tf.nn.conv2d(group, kernel, layer.stride, "VALID")
            for group, kernel in zip(inputs, kernels, strict=True)
        ]
        y = groups[0] if len(groups) == 1 else tf.concat(groups, axis=-1)
        return tf.nn.bias_add(y, self.bias.value) if layer.bias else y


class MaxPool2D(keras.layers.Layer):
    """Maximum of each window, with explicit padding that never wins."""

    def __init__(self, layer: spec.MaxPool2D, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.layer = layer

    def call(self, x: tf.Tensor) -> tf.Tensor:
        """Return the maxima."""
        padded = pad_images(x, self.layer.padding, float("-inf"))
        return tf.nn.max_pool2d(padded, self.layer.size, self.layer.stride, "VALID")


class AvgPool2D(keras.layers.Layer):
    """Mean of each window, with explicit padding whose zeros count (D72)."""

    def __init__(self, layer: spec.AvgPool2D, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.layer = layer

    def call(self, x: tf.Tensor) -> tf.Tensor:
        """Return the means."""
        padded = pad_images(x, self.layer.padding)
        return tf.nn.avg_pool2d(padded, self.layer.size, self.layer.stride, "VALID")


def pad_images(images: tf.Tensor, pixels: int, value: float = 0.0) -> tf.Tensor:
    """Return images with a border of some pixels on all sides."""
    if not pixels:
        return images
    border = ((0, 0), (pixels, pixels), (pixels, pixels), (0, 0))
    return tf.pad(images, border, constant_values=tf.constant(value, images.dtype))


class BatchNorm(keras.layers.Layer):
    """`keras.layers.BatchNormalization` whose running variance can be the unbiased one (D20)."""

    def __init__(self, layer: spec.BatchNorm, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.layer = layer

    def build(self, shape: Any) -> None:
        """Add the variables."""
        channels = (shape[-1],)
        self.gamma = self.add_weight(shape=channels, name="gamma")
        self.beta = self.add_weight(shape=channels, name="beta")
        self.running_mean = self.add_weight(shape=channels, name="running_mean", trainable=False)
        self.running_variance = self.add_weight(
            shape=channels, name="running_variance", trainable=False
        )

    def call(self, x: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Normalize with the batch's statistics in training, with the running ones otherwise."""
        if training:
            mean, variance = self.measure(x)
            self.update_running_statistics(x, mean, variance)
        else:
            mean = self.running_mean.value
            variance = self.running_variance.value
        return self.normalize(x, mean, variance)

    def measure(self, x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Return the batch's mean and biased variance."""
        # The order in which TensorFlow's graph optimizer adds gradients depends on the names of
        # operations. Without the layer's name in these, results have the bits of earlier versions.
        with tf.name_scope(""):
            return tf.nn.moments(x, list(range(len(x.shape) - 1)))

    def normalize(self, x: tf.Tensor, mean: tf.Tensor, variance: tf.Tensor) -> tf.Tensor:
        """Return gamma·(x - mean)/√(variance + epsilon) + beta."""
        return tf.nn.batch_normalization(
            x, mean, variance, self.beta.value, self.gamma.value, self.layer.epsilon
        )

    def update_running_statistics(self, x: tf.Tensor, mean: tf.Tensor, variance: tf.Tensor) -> None:
        """Move the running statistics towards the batch's."""
        if self.layer.unbiased:
            count = tf.cast(tf.size(x) // x.shape[-1], x.dtype)
            variance = variance * (count / tf.maximum(count - 1, 1))
        momentum = self.layer.momentum
        for running, statistic in (
            (self.running_mean, mean),
            (self.running_variance, variance),
        ):
            running.assign((1 - momentum) * running.value + momentum * statistic)


class LeakyReLU(keras.layers.Layer):
    """Written out, because tf.nn.leaky_relu has its slope in float32: 0.2 is 3e-9 off."""

    def __init__(self, slope: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.slope = slope

    def call(self, x: tf.Tensor) -> tf.Tensor:
        """Return x where it is positive, and slope·x elsewhere."""
        one = tf.constant(1, x.dtype)
        slope = tf.constant(self.slope, x.dtype)
        return x * tf.where(x > 0, one, slope)


class GELU(keras.layers.Layer):
    """Written out, because tf.nn.gelu has its constants in float32: 6e-8 off in float64 (D63)."""

    def __init__(self, form: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.form = form

    def call(self, x: tf.Tensor) -> tf.Tensor:
        """Return x·Φ(x), or its approximation by tanh."""
        if self.form == "erf":
            argument = x * tf.constant(sqrt(0.5), x.dtype)
            return 0.5 * x * (1 + tf.math.erf(argument))
        cubic = x + tf.constant(0.044715, x.dtype) * x**3
        argument = tf.constant(sqrt(2 / pi), x.dtype) * cubic
        return 0.5 * x * (1 + tf.tanh(argument))


class SiLU(keras.layers.Layer):
    """Written out, because a graph that contains tf.nn.silu is never freed.

    TensorFlow registers the gradient of each of its calls for the rest of the process, and the
    gradient refers to the graph.
    """

    def call(self, x: tf.Tensor) -> tf.Tensor:
        """Return x·sigmoid(x)."""
        return x * tf.sigmoid(x)


def build_flatten(place: PlacedLayer, dtype: str) -> keras.layers.Layer:
    """Return Keras's layer."""
    return keras.layers.Flatten(name=place.layer.name, dtype=dtype)


def build_dense(place: PlacedLayer, dtype: str) -> keras.layers.Layer:
    """Return `Dense`."""
    layer: Any = place.layer
    return Dense(layer.units, use_bias=layer.bias, name=layer.name, dtype=dtype)


def build_global_average_pool(place: PlacedLayer, dtype: str) -> keras.layers.Layer:
    """Return Keras's layer."""
    return keras.layers.GlobalAveragePooling2D(name=place.layer.name, dtype=dtype)


def build_layer_norm(place: PlacedLayer, dtype: str) -> keras.layers.Layer:
    """Return Keras's layer."""
    layer: Any = place.layer
    return keras.layers.LayerNormalization(epsilon=layer.epsilon, name=layer.name, dtype=dtype)


def build_dropout(place: PlacedLayer, dtype: str) -> keras.layers.Layer:
    """Return `Dropout`."""
    layer: Any = place.layer
    return Dropout(layer.rate, name=layer.name, dtype=dtype)


def build_relu(place: PlacedLayer, dtype: str) -> keras.layers.Layer:
    """Return Keras's layer."""
    return keras.layers.ReLU(name=place.layer.name, dtype=dtype)


def build_leaky_relu(place: PlacedLayer, dtype: str) -> keras.layers.Layer:
    """Return `LeakyReLU`."""
    layer: Any = place.layer
    return LeakyReLU(layer.slope, name=layer.name, dtype=dtype)


def build_gelu(place: PlacedLayer, dtype: str) -> keras.layers.Layer:
    """Return `GELU`."""
    layer: Any = place.layer
    return GELU(layer.form, name=layer.name, dtype=dtype)


def build_silu(place: PlacedLayer, dtype: str) -> keras.layers.Layer:
    """Return `SiLU`."""
    return SiLU(name=place.layer.name, dtype=dtype)


def builder_from_spec(layer_class: type[keras.layers.Layer]) -> LayerBuilder:
    """Return the builder of a class that takes the specification's layer as its first argument."""

    def builder(place: PlacedLayer, dtype: str) -> keras.layers.Layer:
        return layer_class(place.layer, name=place.layer.name, dtype=dtype)

    return builder


def builder_of_activation(activation: str) -> LayerBuilder:
    """Return the builder of one of Keras's activations."""

    def builder(place: PlacedLayer, dtype: str) -> keras.layers.Layer:
        return keras.layers.Activation(activation, name=place.layer.name, dtype=dtype)

    return builder


register_layer(spec.Flatten, build_flatten)
register_layer(spec.Dense, build_dense)
register_layer(spec.Conv2D, builder_from_spec(Conv2D))
register_layer(spec.MaxPool2D, builder_from_spec(MaxPool2D))
register_layer(spec.AvgPool2D, builder_from_spec(AvgPool2D))
register_layer(spec.GlobalAvgPool, build_global_average_pool)
register_layer(spec.BatchNorm, builder_from_spec(BatchNorm))
register_layer(spec.LayerNorm, build_layer_norm)
register_layer(spec.Residual, Residual)
register_layer(spec.Dropout, build_dropout)
register_layer(spec.ReLU, build_relu)
register_layer(spec.LeakyReLU, build_leaky_relu)
register_layer(spec.GELU, build_gelu)
register_layer(spec.SiLU, build_silu)
register_layer(spec.Tanh, builder_of_activation("tanh"))
register_layer(spec.Sigmoid, builder_of_activation("sigmoid"))
