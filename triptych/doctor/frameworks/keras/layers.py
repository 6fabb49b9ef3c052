"""The kinds and settings of Keras' layers."""

import json
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, replace
from typing import Any

import keras
import numpy as np
from keras import layers

from ...observation import Layer, Settings
from .activations import describe_activation, from_end, is_linear
from .weights import Weight, projection_weights, separable_weights, weights_of

Described = tuple[Settings, dict[str, str]]
Describe = Callable[[Any], Described]

NOISE_LAYERS = (
    layers.Dropout,
    layers.SpatialDropout1D,
    layers.SpatialDropout2D,
    layers.SpatialDropout3D,
    layers.GaussianDropout,
    layers.GaussianNoise,
    layers.AlphaDropout,
)
# They change images at random in training.
AUGMENTATIONS = tuple(
    value
    for name, value in vars(layers).items()
    if name.startswith("Random") or name in ("AugMix", "CutMix", "MixUp", "RandAugment")
)
RECURRENT = (layers.RNN, layers.Bidirectional)
SEPARABLE = (layers.SeparableConv1D, layers.SeparableConv2D)
CONVOLUTIONS = (layers.Conv1D, layers.Conv2D, layers.Conv3D)
DEPTHWISE = (layers.DepthwiseConv1D, layers.DepthwiseConv2D)
TRANSPOSED = (layers.Conv1DTranspose, layers.Conv2DTranspose, layers.Conv3DTranspose)
MAX_POOLS = (layers.MaxPooling1D, layers.MaxPooling2D, layers.MaxPooling3D)
AVERAGE_POOLS = (layers.AveragePooling1D, layers.AveragePooling2D, layers.AveragePooling3D)
GLOBAL_MAX_POOLS = (
    layers.GlobalMaxPooling1D,
    layers.GlobalMaxPooling2D,
    layers.GlobalMaxPooling3D,
)
GLOBAL_AVERAGE_POOLS = (
    layers.GlobalAveragePooling1D,
    layers.GlobalAveragePooling2D,
    layers.GlobalAveragePooling3D,
)
PADDINGS = (layers.ZeroPadding1D, layers.ZeroPadding2D, layers.ZeroPadding3D)
UPSAMPLINGS = (layers.UpSampling1D, layers.UpSampling2D, layers.UpSampling3D)
MERGES = {
    layers.Add: "add",
    layers.Subtract: "subtract",
    layers.Multiply: "multiply",
    layers.Average: "average",
    layers.Maximum: "maximum",
    layers.Minimum: "minimum",
    layers.Concatenate: "concatenate",
    layers.Dot: "dot",
}


@dataclass(frozen=True)
class Leaf:
    """A layer whose call is seen as one.

    Attributes
    ----------
    layer : keras.layers.Layer
        The layer.
    described : Layer
        Its path, kind and settings.
    weights : tuple of Weight
        Its weights.
    called : bool
        False for a layer that consists of other layers and has weights of its own besides, and for
        variables outside of layers.
    distributor : keras.layers.TimeDistributed or None
        The layer that applies this one to every step, and has its name.
    pointwise : Leaf or None
        Of the first half of a separable convolution, the other half.
    """

    layer: Any
    described: Layer
    weights: tuple[Weight, ...]
    called: bool = True
    distributor: Any = None
    pointwise: "Leaf | None" = None

    @property
    def anchor(self) -> bool:
        """Whether its calls are anchors."""
        return bool(self.weights) and self.called

    @property
    def is_own(self) -> bool:
        """Whether the user wrote what the layer computes, so that its functions are recorded."""
        return self.anchor and not is_built_in(self.layer)


def text(name: str, value: Any) -> str:
    """Return an argument as it is written in code."""
    if isinstance(value, tuple) and len(set(value)) == 1:
        value = value[0]
    if isinstance(value, str):
        return f"{name}={json.dumps(value)}"
    return f"{name}={value!r}"


def _same(layer: Any, **names: str) -> Described:
    """Return settings that have the same values in Keras, by canonical name the attribute."""
    settings: Settings = {}
    written: dict[str, str] = {}
    for setting, attribute in names.items():
        value = getattr(layer, attribute)
        settings[setting] = list(value) if isinstance(value, tuple) else value
        written[setting] = text(attribute, value)
    return settings, written


def _convolution(layer: Any) -> Described:
    settings, written = _same(layer, strides="strides", dilation="dilation_rate", padding="padding")
    groups = getattr(layer, "groups", None)
    if groups is not None:
        settings["groups"] = groups
        written["groups"] = text("groups", groups)
    return _with_activation(layer, settings, written)


def _with_activation(layer: Any, settings: Settings, written: dict[str, str]) -> Described:
    """Add how the activation inside a layer is written."""
    activation = getattr(layer, "activation", None)
    if not is_linear(activation) and not isinstance(activation, layers.Layer):
        name, _ = describe_activation(activation)
        written = written | {"function": text("activation", name)}
    return settings, written


def _dense(layer: Any) -> Described:
    return _with_activation(layer, {}, {})


def _batch_norm(layer: Any) -> Described:
    settings, written = _same(layer, epsilon="epsilon")
    # Without the rounding error of the subtraction: 0.01 rather than 0.010000000000000009.
    settings["momentum"] = round(1 - layer.momentum, 12)
    settings["unbiased_variance"] = False
    written["momentum"] = text("momentum", layer.momentum)
    return settings, written


def _norm(layer: Any) -> Described:
    settings, written = _same(layer, epsilon="epsilon", axis="axis")
    axis = layer.axis
    if layer.built and layer.weights:
        axis = from_end(axis, None)
    settings["axis"] = list(axis) if isinstance(axis, (list, tuple)) else axis
    return settings, written


def _group_norm(layer: Any) -> Described:
    return _same(layer, epsilon="epsilon", groups="groups")


def _embedding(layer: Any) -> Described:
    index = 0 if layer.mask_zero else None
    return {"padding_index": index}, {"padding_index": text("mask_zero", layer.mask_zero)}


def _pool(layer: Any) -> Described:
    settings, written = _same(layer, size="pool_size", strides="strides", padding="padding")
    settings["pooling"] = layer.pool_mode
    if layer.pool_mode == "average":
        settings["count_padding"] = False
    return settings, written


def _global_pool(layer: Any) -> Described:
    pooling = "max" if isinstance(layer, GLOBAL_MAX_POOLS) else "average"
    return {"pooling": pooling, "size": "global"}, {}


def _cell_of(layer: Any) -> Any:
    if isinstance(layer, layers.Bidirectional):
        layer = layer.forward_layer
    return getattr(layer, "cell", None)


def _recurrent(layer: Any) -> Described:
    cell = _cell_of(layer)
    settings: Settings = {
        "batch_first": True,
        "bidirectional": isinstance(layer, layers.Bidirectional),
    }
    written: dict[str, str] = {}
    if settings["bidirectional"]:
        settings["merge"] = layer.merge_mode
    elif layer.go_backwards:
        settings["reverse"] = True
    for attribute in ("activation", "recurrent_activation"):
        function = getattr(cell, attribute, None)
        if function is not None:
            name, _ = describe_activation(function)
            settings[attribute] = name
            written[attribute] = text(attribute, name)
    for attribute in ("reset_after", "dropout", "recurrent_dropout"):
        value = getattr(cell, attribute, None)
        if value is not None:
            settings[attribute] = value
            written[attribute] = text(attribute, value)
    return settings, written


def _attention(layer: Any) -> Described:
    settings = {
        "batch_first": True,
        "heads": layer.num_heads,
        "size": layer.key_dim,
        "rate": layer.dropout,
    }
    written = {
        "heads": text("num_heads", layer.num_heads),
        "size": text("key_dim", layer.key_dim),
        "rate": text("dropout", layer.dropout),
    }
    return settings, written


def _noise(layer: Any) -> Described:
    attribute = "stddev" if isinstance(layer, layers.GaussianNoise) else "rate"
    return _same(layer, rate=attribute)


def _activation(layer: Any) -> Described:
    function = layer.activation
    if isinstance(function, layers.Layer):
        return describe(function)[1:]
    name, settings = describe_activation(function)
    written = {setting: text(setting, value) for setting, value in settings.items()}
    return settings, written | {"function": json.dumps(name)}


def _relu(layer: Any) -> Described:
    if layer.max_value is None and not layer.threshold and layer.negative_slope:
        return _leaky_relu(layer)
    settings: Settings = {"function": "relu"}
    if layer.max_value == 6 and not layer.negative_slope and not layer.threshold:
        settings = {"function": "relu6"}
    elif layer.max_value is not None or layer.threshold or layer.negative_slope:
        settings |= {
            "slope": layer.negative_slope,
            "max_value": layer.max_value,
            "threshold": layer.threshold,
        }
    return settings, {"slope": text("negative_slope", layer.negative_slope)}


def _leaky_relu(layer: Any) -> Described:
    settings: Settings = {"function": "leaky_relu", "slope": float(layer.negative_slope)}
    return settings, {"slope": text("negative_slope", layer.negative_slope)}


def _elu(layer: Any) -> Described:
    return {"function": "elu", "alpha": layer.alpha}, {"alpha": text("alpha", layer.alpha)}


def _softmax(layer: Any) -> Described:
    axis = list(layer.axis) if isinstance(layer.axis, (list, tuple)) else layer.axis
    return {"function": "softmax", "axis": axis}, {"axis": text("axis", layer.axis)}


def _merge(layer: Any) -> Described:
    function = next(name for kind, name in MERGES.items() if isinstance(layer, kind))
    settings: Settings = {"function": function}
    if function == "concatenate":
        return settings | {"axis": layer.axis}, {"axis": text("axis", layer.axis)}
    return settings, {}


def _padding(layer: Any) -> Described:
    padding = layer.padding
    if isinstance(layer, layers.ZeroPadding1D):
        padding = (padding,)
    settings: Settings = {"padding": [list(pair) for pair in padding]}
    return settings, {"padding": text("padding", layer.padding)}


def _upsampling(layer: Any) -> Described:
    size = layer.size if isinstance(layer.size, (list, tuple)) else (layer.size,)
    interpolation = getattr(layer, "interpolation", "nearest")
    settings: Settings = {
        "scale": [int(each) for each in size],
        "interpolation": interpolation,
        "align_corners": False,
        "antialias": False,
    }
    return settings, {
        "interpolation": text("interpolation", interpolation),
        "scale": text("size", layer.size),
    }


def _resizing(layer: Any) -> Described:
    settings, written = _same(layer, interpolation="interpolation", antialias="antialias")
    return settings | {"align_corners": False}, written


def _rescaling(layer: Any) -> Described:
    return _same(layer, scale="scale", offset="offset")


def _normalization(layer: Any) -> Described:
    """Describe the layer that Keras adapts to data: its scale is that of a Rescaling."""
    if layer.mean is None:
        return {}, {}
    mean = np.ravel(keras.ops.convert_to_numpy(layer.mean))
    deviation = np.ravel(np.sqrt(keras.ops.convert_to_numpy(layer.variance)))
    scale = 1 / np.maximum(deviation, keras.config.epsilon())
    return {"scale": scale.tolist(), "offset": (-mean * scale).tolist()}, {}


def _reshape(layer: Any) -> Described:
    return {}, {}


# By class, in the order in which they are tried: the kind, and what describes the settings.
KINDS: tuple[tuple[Any, str, Describe], ...] = (
    (layers.Dense, "dense", _dense),
    (DEPTHWISE, "depthwise_conv", _convolution),
    (TRANSPOSED, "conv_transpose", _convolution),
    (CONVOLUTIONS, "conv", _convolution),
    (layers.Embedding, "embedding", _embedding),
    (layers.BatchNormalization, "batch_norm", _batch_norm),
    (layers.LayerNormalization, "layer_norm", _norm),
    (layers.GroupNormalization, "group_norm", _group_norm),
    (layers.RMSNormalization, "rms_norm", _norm),
    (layers.MultiHeadAttention, "attention", _attention),
    (layers.PReLU, "prelu", lambda layer: ({"function": "prelu"}, {})),
    (NOISE_LAYERS, "dropout", _noise),
    (AUGMENTATIONS, "dropout", lambda layer: ({"rate": 1.0}, {})),
    (layers.LeakyReLU, "activation", _leaky_relu),
    (layers.ReLU, "activation", _relu),
    (layers.ELU, "activation", _elu),
    (layers.Softmax, "activation", _softmax),
    (layers.Activation, "activation", _activation),
    ((*MAX_POOLS, *AVERAGE_POOLS), "pool", _pool),
    ((*GLOBAL_MAX_POOLS, *GLOBAL_AVERAGE_POOLS), "pool", _global_pool),
    (layers.Flatten, "flatten", _reshape),
    (layers.Reshape, "reshape", _reshape),
    (tuple(MERGES), "merge", _merge),
    (PADDINGS, "padding", _padding),
    (UPSAMPLINGS, "resize", _upsampling),
    (layers.Resizing, "resize", _resizing),
    (layers.Rescaling, "rescaling", _rescaling),
    (layers.Normalization, "rescaling", _normalization),
)

CELLS = ((layers.LSTMCell, "lstm"), (layers.GRUCell, "gru"), (layers.SimpleRNNCell, "rnn"))


def describe(layer: Any) -> tuple[str, Settings, dict[str, str]]:
    """Return a layer's kind, its canonical settings, and how these are written."""
    if isinstance(layer, layers.EinsumDense) and is_dense(layer):
        return "dense", *_dense(layer)
    for classes, kind, describe_settings in KINDS:
        if isinstance(layer, classes):
            return kind, *describe_settings(layer)
    if isinstance(layer, RECURRENT):
        cell = _cell_of(layer)
        for cell_class, kind in CELLS:
            if isinstance(cell, cell_class):
                return kind, *_recurrent(layer)
    if layer.weights:
        return "other", {}, {}
    return "function", {}, {}


def is_dense(layer: Any) -> bool:
    """Return whether an EinsumDense multiplies the last axis with a matrix, as Dense does."""
    inputs, _, rest = layer.equation.replace(" ", "").partition(",")
    kernel, _, outputs = rest.partition("->")
    return (
        len(kernel) == 2
        and inputs[-1:] == kernel[0]
        and outputs[-1:] == kernel[1]
        and inputs[:-1] == outputs[:-1]
        and layer.bias_axes in (None, kernel[1])
    )


def is_built_in(layer: Any) -> bool:
    """Return whether a layer is one of Keras' layers or a subclass that adds no other layers."""
    module = type(layer).__module__
    return module.startswith("keras.") and not isinstance(layer, keras.Model)


def _is_leaf(layer: Any) -> bool:
    """Return whether the call of a layer is seen as one, not the calls of what it consists of."""
    if isinstance(layer, (keras.Model, layers.Lambda, layers.InputLayer)):
        return False
    if isinstance(layer, layers.TimeDistributed):
        return not can_be_joined(layer)
    if is_built_in(layer):
        return True
    if any(isinstance(layer, classes) for classes, _, _ in KINDS):
        return True
    # A user's layer that consists of others, or has no weights, is seen through.
    return bool(layer.weights) and not _sublayers(layer)


def can_be_joined(distributor: Any) -> bool:
    """Return whether one call for all steps is the same as one for each: without a BatchNorm."""
    inner = distributor.layer._flatten_layers()
    return not any(isinstance(each, layers.BatchNormalization) for each in inner)


def _sublayers(layer: Any) -> list[Any]:
    return layer._flatten_layers(include_self=False, recursive=False)


def find_leaves(
    roots: dict[str, Any], loose: dict[str, Any], separated: Collection[int] = ()
) -> list[Leaf]:
    """Return all layers whose calls are seen, in the order in which the model defines them.

    Parameters
    ----------
    roots : dict of str to Layer
        The model, or the layers that a function calls; by the name that is put before their path,
        which is empty for the model.
    loose : dict of str to variable
        Variables outside of layers, by name.
    separated : collection of int
        The ids of attention layers whose dense layers are seen in their place.
    """
    leaves: list[Leaf] = []
    seen: set[int] = set()
    for prefix, root in roots.items():
        for leaf in _leaves(root, prefix, seen):
            leaves += _projections(leaf) if id(leaf.layer) in separated else [leaf]
    for name, variable in loose.items():
        weight = Weight(name, variable, ("value",))
        described = Layer(
            name, type(variable).__name__, "other", roles=("value",), frozen=not variable.trainable
        )
        leaves.append(Leaf(None, described, (weight,), called=False))
    return _distinct(leaves)


def _leaves(layer: Any, path: str, seen: set[int], distributor: Any = None) -> Iterator[Leaf]:
    if id(layer) in seen or isinstance(layer, layers.InputLayer):
        return
    seen.add(id(layer))
    if isinstance(layer, SEPARABLE):
        yield from _halves(layer, path)
        return
    if _is_leaf(layer):
        yield replace(_leaf(layer, path or layer.name), distributor=distributor)
        activation = getattr(layer, "activation", None)
        if isinstance(activation, layers.Layer):
            yield from _leaves(activation, f"{path}.{activation.name}", seen)
        return
    if isinstance(layer, layers.TimeDistributed):
        name = path or layer.name
        inner = layer.layer
        if not _is_leaf(inner):
            name = f"{name}.{inner.name}"
        yield from _leaves(inner, name, seen, layer)
        return
    place = path or layer.name
    direct = weights_of(layer, "other", place, direct=True)
    if direct:
        yield replace(_leaf(layer, place, tuple(direct)), called=False)
    for sublayer in _sublayers(layer):
        name = f"{path}.{sublayer.name}" if path else sublayer.name
        yield from _leaves(sublayer, name, seen, distributor)


def _leaf(layer: Any, path: str, weights: tuple[Weight, ...] | None = None) -> Leaf:
    kind, settings, written = describe(layer)
    if weights is None:
        weights = tuple(weights_of(layer, kind, path))
    described = Layer(path, type(layer).__name__, kind, settings, written)
    return Leaf(layer, _with_weights(layer, described, weights), weights)


def _with_weights(layer: Any, described: Layer, weights: tuple[Weight, ...]) -> Layer:
    roles = tuple(role for weight in weights for role in weight.roles)
    trained = any(weight.variable.trainable for weight in weights) and layer.trainable
    return replace(described, roles=roles, frozen=bool(weights) and not trained)


def _halves(layer: Any, path: str) -> Iterator[Leaf]:
    """Return a separable convolution as the two that it consists of."""
    path = path or layer.name
    settings, written = _convolution(layer)
    depthwise = Layer(
        f"{path}.depthwise", type(layer).__name__, "depthwise_conv", settings, written
    )
    ones = [1] * layer.rank
    settings = {"strides": ones, "dilation": ones, "padding": "valid", "groups": 1}
    pointwise = Layer(f"{path}.pointwise", type(layer).__name__, "conv", settings)
    first, second = separable_weights(layer, depthwise.path, pointwise.path)
    other = Leaf(layer, _with_weights(layer, pointwise, second), second)
    yield Leaf(layer, _with_weights(layer, depthwise, first), first, pointwise=other)
    yield other


def _projections(leaf: Leaf) -> Iterator[Leaf]:
    """Return an attention layer as the dense layers that it consists of."""
    for name in ("query", "key", "value", "output"):
        dense = getattr(leaf.layer, f"{name}_dense")
        described = replace(
            leaf.described,
            path=f"{leaf.described.path}.{name}",
            kind="dense",
            settings={},
            written={},
        )
        weights = tuple(projection_weights(dense, described.path, "", output=name == "output"))
        yield Leaf(dense, _with_weights(dense, described, weights), weights)


def _distinct(leaves: list[Leaf]) -> list[Leaf]:
    """Add a number to the paths of layers that have the same name."""
    counts: dict[str, int] = {}
    distinct: list[Leaf] = []
    for leaf in leaves:
        path = leaf.described.path
        counts[path] = counts.get(path, 0) + 1
        if counts[path] > 1:
            path = f"{path}#{counts[path]}"
            weights = tuple(replace(weight, path=path) for weight in leaf.weights)
            leaf = replace(leaf, described=replace(leaf.described, path=path), weights=weights)
        distinct.append(leaf)
    return distinct
