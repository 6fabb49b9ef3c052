"""Constructors of Keras layers, as text, and the names that Keras gives to layers."""

from __future__ import annotations

import re
from collections.abc import Callable

from .code import arguments, number
from .design import Node, is_default
from .style import Style

ACTIVATION_NAMES = {
    "relu": ("relu",),
    "tanh": ("tanh",),
    "sigmoid": ("sigmoid",),
    "elu": ("elu",),
    "silu": ("silu", "swish"),
    "softplus": ("softplus",),
    "hard_sigmoid": ("hard_sigmoid",),
    "softmax": ("softmax",),
    "log_softmax": ("log_softmax",),
    "gelu": ("gelu",),
}
# What a node's ``form`` prescribes, as functions of keras.ops.
FORMS = {
    "maximum": "{ops}maximum({x}, 0.0)",
    "old": "{ops}clip(0.2 * {x} + 0.5, 0.0, 1.0)",
    "exponential": "{ops}exp({ops}log_softmax({x}, axis=-1))",
    "logistic": "1.0 / (1.0 + {ops}exp(-{x}))",
}
LAYER_FORMS = {"relu": "ReLU()", "elu": "ELU()", "softmax": "Softmax()"}
WITH_ACTIVATION = ("dense", "conv2d", "conv1d")


def activation_name(node: Node, style: Style) -> str | None:
    """Return the name that ``activation=`` takes, or None if the name cannot mean this node."""
    if node.get("form") or (node.kind == "gelu" and node["approximate"]):
        return None
    if node.kind == "softmax" and node.get("axis", -1) != -1:
        return None
    names = ACTIVATION_NAMES.get(node.kind)
    return None if names is None else style.pick(f"name of {node.kind}", names)


def constructor(node: Node, style: Style, *extra: str | None) -> str | None:
    """Return the constructor of a node's layer without the module, or None if it has no layer.

    Parameters
    ----------
    node : Node
        The node.
    style : Style
        The side's style.
    *extra : str or None
        Arguments that follow the layer's own ones: activation, regularizers, name.
    """
    make = CONSTRUCTORS.get(node.kind)
    if make is not None:
        return make(node, style, extra)
    name = activation_name(node, style)
    if name is None:
        return None
    if node.kind in LAYER_FORMS and style.chance(f"layer of {node.kind}", 0.7):
        return LAYER_FORMS[node.kind]
    return f'Activation("{name}")'


def layer_name(text: str) -> str:
    """Return the name without a number that Keras gives to a layer, from its constructor.

    Keras turns the class's name into lower case with underscores.
    """
    name = text.partition("(")[0].rpartition(".")[2]
    name = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower()


Extra = tuple[str | None, ...]


def option(node: Node, name: str, keyword: str, style: Style) -> str | None:
    """Return a keyword argument, or None where the framework's default is meant."""
    if node.get(name) is None or is_default("keras", node, name):
        return None
    return f"{keyword}={number(node[name], style)}"


def _bias(node: Node) -> str | None:
    return None if node["bias"] else "use_bias=False"


def _dense(node: Node, style: Style, extra: Extra) -> str:
    return f"Dense({arguments(str(node['units']), *extra, _bias(node))})"


def _padding(node: Node) -> str | None:
    return None if node["padding"] == "valid" else 'padding="same"'


def _conv(node: Node, style: Style, extra: Extra) -> str:
    rank = len(node.shape) - 1
    stride = None if node["stride"] == 1 else f"strides={node['stride']}"
    forms = ("{0}", "({0}, {0})", "kernel_size={0}") if rank == 2 else ("{0}", "kernel_size={0}")
    size = style.pick("kernel form", forms).format(node["size"])
    sizes = (str(node["units"]), size)
    return f"Conv{rank}D({arguments(*sizes, stride, _padding(node), *extra, _bias(node))})"


def _depthwise(node: Node, style: Style, extra: Extra) -> str:
    multiplier = None
    if node["multiplier"] != 1:
        multiplier = f"depth_multiplier={node['multiplier']}"
    inside = arguments(str(node["size"]), _padding(node), multiplier, *extra, _bias(node))
    return f"DepthwiseConv2D({inside})"


def _conv_transpose(node: Node, style: Style, extra: Extra) -> str:
    sizes = (str(node["units"]), str(node["size"]), f"strides={node['stride']}")
    return f"Conv2DTranspose({arguments(*sizes, _padding(node), *extra)})"


def _pool(node: Node, style: Style, extra: Extra) -> str:
    name = "MaxPooling" if node.kind == "max_pool" else "AveragePooling"
    size = str(node["size"])
    usual = node.kind == "max_pool" and node["size"] == 2
    if usual and node["padding"] == "valid" and style.chance("pool size left out"):
        size = ""
    stride = None if node["stride"] == node["size"] else f"strides={node['stride']}"
    return f"{name}{len(node.shape) - 1}D({arguments(size, stride, _padding(node), *extra)})"


def _flatten(node: Node, style: Style, extra: Extra) -> str:
    return f"Flatten({arguments(*extra)})"


def _pad(node: Node, style: Style, extra: Extra) -> str:
    before, after = node["before"], node["after"]
    amount = str(before) if before == after else f"({before}, {after})"
    if len(node.shape) == 3 and before != after:
        amount = f"({amount}, {amount})"
    return f"ZeroPadding{len(node.shape) - 1}D({arguments(amount, *extra)})"


def _rescale(node: Node, style: Style, extra: Extra) -> str:
    return f"Rescaling({arguments('1.0 / ' + str(node['by']), *extra)})"


def _upsample(node: Node, style: Style, extra: Extra) -> str:
    mode = None if node["mode"] == "nearest" else f'interpolation="{node["mode"]}"'
    return f"UpSampling2D({arguments(str(node['factor']), mode, *extra)})"


def _resize(node: Node, style: Style, extra: Extra) -> str:
    mode = node["mode"].partition("-")[0]
    return f'Resizing({node["to"]}, {node["to"]}, interpolation="{mode}")'


def _mean(node: Node, style: Style, extra: Extra) -> str:
    return f"GlobalAveragePooling{len(node.shape) - 1}D({arguments(*extra)})"


def _batch_norm(node: Node, style: Style, extra: Extra) -> str:
    momentum = None
    if not is_default("keras", node, "momentum"):
        momentum = f"momentum={number(round(1 - node['momentum'], 6), style)}"
    eps = option(node, "eps", "epsilon", style)
    return f"BatchNormalization({arguments(momentum, eps, *extra)})"


def _layer_norm(node: Node, style: Style, extra: Extra) -> str:
    return f"LayerNormalization({arguments(option(node, 'eps', 'epsilon', style), *extra)})"


def _group_norm(node: Node, style: Style, extra: Extra) -> str:
    groups = f"groups={node['groups']}"
    return f"GroupNormalization({arguments(groups, option(node, 'eps', 'epsilon', style), *extra)})"


def _rms_norm(node: Node, style: Style, extra: Extra) -> str:
    return f"RMSNormalization({arguments(option(node, 'eps', 'epsilon', style), *extra)})"


def _dropout(node: Node, style: Style, extra: Extra) -> str:
    return f"Dropout({arguments(number(node['rate'], style), *extra)})"


def _leaky_relu(node: Node, style: Style, extra: Extra) -> str:
    return f"LeakyReLU({arguments(option(node, 'slope', 'negative_slope', style), *extra)})"


def _recurrent(node: Node, style: Style, extra: Extra) -> str:
    name = {"lstm": "LSTM", "gru": "GRU"}[node.kind]
    sequences = "return_sequences=True" if node["sequences"] else None
    gates = None
    if node.get("gates"):
        gates = f'recurrent_activation="{node["gates"]}"'
    reset = "reset_after=False" if node.get("reset before") else None
    return f"{name}({arguments(str(node['units']), sequences, gates, reset, *extra, _bias(node))})"


def _embedding(node: Node, style: Style, extra: Extra) -> str:
    if node.get("table"):
        return f"WordTable({node['words']}, {node['units']})"
    mask = "mask_zero=True" if node.get("mask") else None
    return f"Embedding({arguments(str(node['words']), str(node['units']), mask, *extra)})"


def _attention(node: Node, style: Style, extra: Extra) -> str:
    if node["form"] == "by hand":
        return f"SelfAttention({node.shape[-1]})"
    heads = f"num_heads={node['heads']}"
    width = f"key_dim={node.shape[-1] // node['heads']}"
    return f"MultiHeadAttention({arguments(heads, width, *extra)})"


CONSTRUCTORS: dict[str, Callable[[Node, Style, Extra], str]] = {
    "dense": _dense,
    "conv2d": _conv,
    "conv1d": _conv,
    "depthwise": _depthwise,
    "conv_transpose": _conv_transpose,
    "max_pool": _pool,
    "avg_pool": _pool,
    "flatten": _flatten,
    "upsample": _upsample,
    "resize": _resize,
    "pad": _pad,
    "rescale": _rescale,
    "mean": _mean,
    "bn": _batch_norm,
    "ln": _layer_norm,
    "gn": _group_norm,
    "rms": _rms_norm,
    "dropout": _dropout,
    "leaky_relu": _leaky_relu,
    "lstm": _recurrent,
    "gru": _recurrent,
    "embedding": _embedding,
    "attention": _attention,
}
