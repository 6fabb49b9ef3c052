"""The layers as pure functions. Images are (batch, rows, columns, channels).

A builder of a layer is a function ``builder(place)``, where `place` is a `PlacedLayer`. It
returns a function ``layer(x, arrays, forward_pass) -> y``: `arrays` are the layer's own
parameters and buffers by the names that its specification gives them (``kernel``,
``running_mean``), and `forward_pass` knows whether it is training and collects new values of
buffers.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from ...core.builders import BuilderTable
from ...spec import layers as spec
from ...spec.network import Network
from ...spec.placement import Layer, PlacedLayer

Arrays = dict[str, Array]


@dataclass
class ForwardPass:
    """One pass through a network: what it is given, and what it collects.

    Attributes
    ----------
    arrays : dict of str to Array
        Weights and buffers by their names in the state.
    training : bool
    masks : dict of str to Array
        What each dropout layer keeps, by its name; empty in evaluation.
    outputs : dict of str to Array
        The output of every layer, by its name.
    buffers : dict of str to Array
        The buffers after the step, by their names in the state; empty in evaluation.
    """

    arrays: Arrays
    training: bool = False
    masks: Arrays = field(default_factory=dict[str, Array])
    outputs: Arrays = field(default_factory=dict[str, Array])
    buffers: Arrays = field(default_factory=dict[str, Array])


LayerFunction = Callable[[Array, Arrays, ForwardPass], Array]
LayerBuilder = Callable[[PlacedLayer], LayerFunction]

LAYERS: BuilderTable[LayerBuilder] = BuilderTable("JAX", "layer")


def register_layer(spec_class: type[Layer], builder: LayerBuilder) -> None:
    """Use `builder` for layers of `spec_class`; see the top of this file."""
    LAYERS.register(spec_class, builder)


def build_layer(place: PlacedLayer) -> LayerFunction:
    """Return the function of a placed layer; raise `EngineError` if there is no builder for it."""
    builder = LAYERS.find(place.layer)
    return builder(place)


def run_layers(places: Iterable[PlacedLayer], x: Array, forward_pass: ForwardPass) -> Array:
    """Return the output of the last of several layers."""
    for place in places:
        layer = build_layer(place)
        arrays = {p.leaf: forward_pass.arrays[p.name] for p in place.parameters + place.buffers}
        x = layer(x, arrays, forward_pass)
        forward_pass.outputs[place.layer.name] = x
    return x


def draw_masks(
    network: Network, key: Array, batch: int, dtype: np.dtype, given: Arrays
) -> tuple[Arrays, Array]:
    """Return a mask for every dropout layer, drawn if it is not given, and the next key."""
    masks = dict(given)
    for layer, shape in network.dropouts:
        if layer.name not in masks:
            key, layer_key = jax.random.split(key)
            uniform = jax.random.uniform(layer_key, (batch, *shape), dtype)
            masks[layer.name] = uniform >= layer.rate
    return masks, key


def build_flatten(place: PlacedLayer) -> LayerFunction:
    """Return the function of flattening."""
    return layer_without_arrays(lambda x: x.reshape(len(x), -1))


def build_dense(place: PlacedLayer) -> LayerFunction:
    """Return the function of a dense layer."""

    def dense(x: Array, arrays: Arrays, forward_pass: ForwardPass) -> Array:
        return x @ arrays["kernel"] + arrays.get("bias", 0)

    return dense


def build_convolution(place: PlacedLayer) -> LayerFunction:
    """Return the function of a convolution."""
    layer = place.layer

    def convolution(x: Array, arrays: Arrays, forward_pass: ForwardPass) -> Array:
        y = lax.conv_general_dilated(
            x,
            arrays["kernel"],
            window_strides=(layer.stride, layer.stride),
            padding=[(layer.padding, layer.padding)] * 2,
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
            feature_group_count=layer.groups,
        )
        return y + arrays.get("bias", 0)

    return convolution


def build_max_pool(place: PlacedLayer) -> LayerFunction:
    """Return the function of a maximum over windows."""
    # Of equal values the first in row-major order receives the gradient, as in the specification.
    return layer_without_arrays(lambda x: slide_window(place.layer, x, lax.max, -np.inf))


def build_average_pool(place: PlacedLayer) -> LayerFunction:
    """Return the function of a mean over windows."""
    area = place.layer.size**2
    return layer_without_arrays(lambda x: slide_window(place.layer, x, lax.add, 0) / area)


def build_global_average_pool(place: PlacedLayer) -> LayerFunction:
    """Return the function of the mean of each channel."""
    return layer_without_arrays(lambda x: x.mean((1, 2)))


def slide_window(pool: spec.Pool, x: Array, combine: Callable[..., Array], neutral: float) -> Array:
    """Combine the values of each window; the padding has the value that changes nothing."""
    return lax.reduce_window(
        x,
        np.array(neutral, x.dtype),
        combine,
        window_dimensions=(1, pool.size, pool.size, 1),
        window_strides=(1, pool.stride, pool.stride, 1),
        padding=((0, 0), (pool.padding, pool.padding), (pool.padding, pool.padding), (0, 0)),
    )


def build_batch_norm(place: PlacedLayer) -> LayerFunction:
    """Return the function of batch normalization."""
    layer = place.layer

    def batch_norm(x: Array, arrays: Arrays, forward_pass: ForwardPass) -> Array:
        if not forward_pass.training:
            mean = arrays["running_mean"]
            variance = arrays["running_variance"]
            return normalize(x, mean, variance, arrays, layer.epsilon)
        mean, variance = moments(x, tuple(range(x.ndim - 1)))
        batch_statistics = {"running_mean": mean, "running_variance": variance}
        if layer.unbiased:
            count = x.size // x.shape[-1]
            batch_statistics["running_variance"] = variance * (count / max(count - 1, 1))
        for leaf, statistic in batch_statistics.items():
            before = (1 - layer.momentum) * arrays[leaf]
            after = before + layer.momentum * statistic.reshape(-1)
            forward_pass.buffers[f"{layer.name}/{leaf}"] = after
        return normalize(x, mean, variance, arrays, layer.epsilon)

    return batch_norm


def build_layer_norm(place: PlacedLayer) -> LayerFunction:
    """Return the function of layer normalization."""

    def layer_norm(x: Array, arrays: Arrays, forward_pass: ForwardPass) -> Array:
        mean, variance = moments(x, -1)
        return normalize(x, mean, variance, arrays, place.layer.epsilon)

    return layer_norm


def moments(x: Array, axes: int | tuple[int, ...]) -> tuple[Array, Array]:
    """Return mean and biased variance over some axes, which stay with length 1."""
    mean = x.mean(axes, keepdims=True)
    variance = jnp.square(x - mean).mean(axes, keepdims=True)
    return mean, variance


def normalize(x: Array, mean: Array, variance: Array, arrays: Arrays, epsilon: float) -> Array:
    """Return gamma·(x - mean)/√(variance + epsilon) + beta."""
    return (x - mean) * lax.rsqrt(variance + epsilon) * arrays["gamma"] + arrays["beta"]


def build_residual(place: PlacedLayer) -> LayerFunction:
    """Return the function of a sum of two branches."""

    def residual(x: Array, arrays: Arrays, forward_pass: ForwardPass) -> Array:
        branch = run_layers(place.branch, x, forward_pass)
        projection = run_layers(place.projection, x, forward_pass)
        return branch + projection

    return residual


def build_dropout(place: PlacedLayer) -> LayerFunction:
    """Return the function of dropout."""
    layer = place.layer

    def dropout(x: Array, arrays: Arrays, forward_pass: ForwardPass) -> Array:
        if layer.name not in forward_pass.masks:  # in evaluation, or with a rate of 0
            return x
        return x * forward_pass.masks[layer.name] / (1 - layer.rate)

    return dropout


def build_relu(place: PlacedLayer) -> LayerFunction:
    """Return the function of ReLU."""
    return layer_without_arrays(jax.nn.relu)


def build_leaky_relu(place: PlacedLayer) -> LayerFunction:
    """Return the function of leaky ReLU."""
    slope = place.layer.slope
    # Written out, because jax.nn.leaky_relu has the derivative 1 at 0.
    return layer_without_arrays(lambda x: jnp.where(x > 0, x, slope * x))


def build_gelu(place: PlacedLayer) -> LayerFunction:
    """Return the function of GELU."""
    approximate = place.layer.form == "tanh"
    return layer_without_arrays(lambda x: jax.nn.gelu(x, approximate=approximate))


def build_silu(place: PlacedLayer) -> LayerFunction:
    """Return the function of SiLU."""
    return layer_without_arrays(jax.nn.silu)


def build_tanh(place: PlacedLayer) -> LayerFunction:
    """Return the function of tanh."""
    return layer_without_arrays(jnp.tanh)


def build_sigmoid(place: PlacedLayer) -> LayerFunction:
    """Return the function of the sigmoid."""
    return layer_without_arrays(jax.nn.sigmoid)


def layer_without_arrays(function: Callable[[Array], Array]) -> LayerFunction:
    """Return a layer without arrays, which only depends on its input."""

    def layer(x: Array, arrays: Arrays, forward_pass: ForwardPass) -> Array:
        return function(x)

    return layer


register_layer(spec.Flatten, build_flatten)
register_layer(spec.Dense, build_dense)
register_layer(spec.Conv2D, build_convolution)
register_layer(spec.MaxPool2D, build_max_pool)
register_layer(spec.AvgPool2D, build_average_pool)
register_layer(spec.GlobalAvgPool, build_global_average_pool)
register_layer(spec.BatchNorm, build_batch_norm)
register_layer(spec.LayerNorm, build_layer_norm)
register_layer(spec.Residual, build_residual)
register_layer(spec.Dropout, build_dropout)
register_layer(spec.ReLU, build_relu)
register_layer(spec.LeakyReLU, build_leaky_relu)
register_layer(spec.GELU, build_gelu)
register_layer(spec.SiLU, build_silu)
register_layer(spec.Tanh, build_tanh)
register_layer(spec.Sigmoid, build_sigmoid)
