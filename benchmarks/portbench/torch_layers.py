"""Constructors and calls of PyTorch layers, as text."""

from __future__ import annotations

from collections.abc import Callable

from .code import arguments, number
from .design import Node, is_default
from .style import Style

BIASED_NORM = "BatchNorm"  # an own class: its running variance is the biased one
MODULES = {
    "relu": "nn.ReLU()", "tanh": "nn.Tanh()", "sigmoid": "nn.Sigmoid()", "elu": "nn.ELU()",
    "silu": "nn.SiLU()", "softplus": "nn.Softplus()", "hard_sigmoid": "nn.Hardsigmoid()",
}  # fmt: skip
FUNCTIONS = {
    "relu": ("F.relu({})", "torch.relu({})", "F.relu({})"),
    "tanh": ("torch.tanh({})", "torch.tanh({})", "{}.tanh()"),
    "sigmoid": ("torch.sigmoid({})", "torch.sigmoid({})", "{}.sigmoid()"),
    "elu": ("F.elu({})",),
    "silu": ("F.silu({})",),
    "softplus": ("F.softplus({})",),
    "hard_sigmoid": ("F.hardsigmoid({})",),
    "detach": ("{}.detach()",),
    "squeeze": ("{}.squeeze(-1)", "{}.squeeze(1)"),
    "crop": ("{}[:, :, :-1, :-1]",),
}


# What a node's ``form`` prescribes, instead of what the style would choose.
FORMS = {
    "clamp": "torch.clamp({}, min=0)",
    "old": "torch.clamp(0.2 * {} + 0.5, 0, 1)",
}


def dims(node: Node) -> int:
    """Return the number of spatial dimensions: 2 for images, 1 for series, 0 for tables."""
    return len(node.shape) - 1


def option(node: Node, name: str, keyword: str, style: Style) -> str | None:
    """Return a keyword argument, or None where the framework's default is meant."""
    if node.get(name) is None or is_default("torch", node, name):
        return None
    return f"{keyword}={number(node[name], style)}"


def constructor(node: Node, style: Style) -> str | None:
    """Return the constructor of a node's module, or None if it is an operation without one."""
    if node.kind in MODULES and not node.get("form"):
        return MODULES[node.kind]
    make = CONSTRUCTORS.get(node.kind)
    return None if make is None else make(node, style)


def _linear(node: Node, style: Style) -> str:
    bias = None if node["bias"] else "bias=False"
    return f"nn.Linear({arguments(str(node.shape[-1]), str(node['units']), bias)})"


def _window(node: Node, style: Style) -> str:
    word = style.pick("kernel word", ("", "kernel_size="))
    return f"{word}{node['size']}"


def _padding(node: Node) -> str | None:
    """Return the padding argument; ``before`` stands for a padding that an own layer adds."""
    if node["padding"] in ("valid", "before"):
        return None
    return f"padding={node['size'] // 2}"


def _conv(node: Node, style: Style) -> str:
    stride = None if node["stride"] == 1 else f"stride={node['stride']}"
    bias = None if node["bias"] else "bias=False"
    sizes = (str(node.shape[-1]), str(node["units"]), _window(node, style))
    return f"nn.Conv{dims(node)}d({arguments(*sizes, stride, _padding(node), bias)})"


def _depthwise(node: Node, style: Style) -> str:
    channels = node.shape[-1]
    groups = f"groups={channels}"
    sizes = (str(channels), str(channels * node["multiplier"]), _window(node, style))
    bias = None if node["bias"] else "bias=False"
    return f"nn.Conv2d({arguments(*sizes, _padding(node), groups, bias)})"


def _conv_transpose(node: Node, style: Style) -> str:
    sizes = (str(node.shape[-1]), str(node["units"]), _window(node, style))
    stride = f"stride={node['stride']}"
    padding = "padding=1, output_padding=1" if node["padded"] else None
    return f"nn.ConvTranspose2d({arguments(*sizes, stride, padding)})"


def _max_pool(node: Node, style: Style) -> str:
    return f"nn.MaxPool{dims(node)}d({_pool_arguments(node)})"


def _avg_pool(node: Node, style: Style) -> str:
    return f"nn.AvgPool{dims(node)}d({_pool_arguments(node)})"


def _pool_arguments(node: Node) -> str:
    stride = None if node["stride"] == node["size"] else f"stride={node['stride']}"
    count = None
    if node.kind == "avg_pool" and node["padding"] != "valid" and not node["counts padding"]:
        count = "count_include_pad=False"
    return arguments(str(node["size"]), stride, _padding(node), count)


def _batch_norm(node: Node, style: Style) -> str:
    rank = max(dims(node), 1)
    eps = option(node, "eps", "eps", style)
    momentum = option(node, "momentum", "momentum", style)
    name = BIASED_NORM if node.get("biased") else f"nn.BatchNorm{rank}d"
    return f"{name}({arguments(str(node.shape[-1]), eps, momentum)})"


def _layer_norm(node: Node, style: Style) -> str:
    return f"nn.LayerNorm({arguments(str(node.shape[-1]), option(node, 'eps', 'eps', style))})"


def _group_norm(node: Node, style: Style) -> str:
    sizes = (str(node["groups"]), str(node.shape[-1]))
    return f"nn.GroupNorm({arguments(*sizes, option(node, 'eps', 'eps', style))})"


def _rms_norm(node: Node, style: Style) -> str:
    return f"nn.RMSNorm({arguments(str(node.shape[-1]), option(node, 'eps', 'eps', style))})"


def _dropout(node: Node, style: Style) -> str:
    return f"nn.Dropout({number(node['rate'], style)})"


def _leaky_relu(node: Node, style: Style) -> str:
    return f"nn.LeakyReLU({option(node, 'slope', 'negative_slope', style) or ''})".replace(
        "negative_slope=", style.pick("slope word", ("", "negative_slope="))
    )


def _gelu(node: Node, style: Style) -> str:
    return 'nn.GELU(approximate="tanh")' if node["approximate"] else "nn.GELU()"


def _softmax(node: Node, style: Style) -> str:
    return f"nn.Softmax(dim={node.get('axis', -1)})"


def _log_softmax(node: Node, style: Style) -> str:
    return "nn.LogSoftmax(dim=-1)"


def _recurrent(node: Node, style: Style) -> str:
    name = {"lstm": "LSTM", "gru": "GRU"}[node.kind]
    sizes = (str(node.shape[-1]), str(node["units"]))
    bias = None if node["bias"] else "bias=False"
    first = None if node.get("time first") else "batch_first=True"
    return f"nn.{name}({arguments(*sizes, bias, first)})"


def _embedding(node: Node, style: Style) -> str:
    return f"nn.Embedding({node['words']}, {node['units']})"


def _attention(node: Node, style: Style) -> str:
    if node["form"] == "by hand":
        return f"SelfAttention({node.shape[-1]})"
    first = None if node.get("time first") else "batch_first=True"
    return f"nn.MultiheadAttention({arguments(str(node.shape[-1]), str(node['heads']), first)})"


def _flatten(node: Node, style: Style) -> str:
    return "nn.Flatten()"


def _pad(node: Node, style: Style) -> str:
    rank = dims(node)
    return f"nn.ZeroPad{rank}d({_pad_amounts(node)})"


def _pad_amounts(node: Node) -> str:
    return f"({', '.join([str(node['before']), str(node['after'])] * dims(node))})"


CONSTRUCTORS: dict[str, Callable[[Node, Style], str]] = {
    "dense": _linear,
    "conv2d": _conv,
    "conv1d": _conv,
    "depthwise": _depthwise,
    "conv_transpose": _conv_transpose,
    "max_pool": _max_pool,
    "avg_pool": _avg_pool,
    "bn": _batch_norm,
    "ln": _layer_norm,
    "gn": _group_norm,
    "rms": _rms_norm,
    "dropout": _dropout,
    "leaky_relu": _leaky_relu,
    "gelu": _gelu,
    "softmax": _softmax,
    "log_softmax": _log_softmax,
    "lstm": _recurrent,
    "gru": _recurrent,
    "embedding": _embedding,
    "attention": _attention,
    "flatten": _flatten,
    "pad": _pad,
}


def function(node: Node, x: str, style: Style, channels_first: bool) -> str | None:
    """Return a node as an expression of ``x`` without a module, or None if it needs a module.

    Parameters
    ----------
    node : Node
        The node.
    x : str
        The expression that it is applied to.
    style : Style
        The side's style.
    channels_first : bool
        Whether the channels of images and series come before the places.
    """
    if node.get("form") in FORMS:
        return FORMS[node["form"]].format(x)
    if node.kind in FUNCTIONS:
        return style.pick(f"form of {node.kind}", FUNCTIONS[node.kind]).format(x)
    if node.kind in ("softmax", "log_softmax"):
        name = style.pick("form of softmax", ("F", "torch"))
        return f"{name}.{node.kind}({x}, dim={node.get('axis', -1)})"
    if node.kind == "leaky_relu":
        slope = option(node, "slope", "negative_slope", style)
        return f"F.leaky_relu({arguments(x, slope)})"
    if node.kind == "gelu":
        tanh = 'approximate="tanh"' if node["approximate"] else None
        return f"F.gelu({arguments(x, tanh)})"
    if node.kind in ("max_pool", "avg_pool"):
        name = "max" if node.kind == "max_pool" else "avg"
        return f"F.{name}_pool{dims(node)}d({arguments(x, _pool_arguments(node))})"
    return _reshaping(node, x, style, channels_first)


def _reshaping(node: Node, x: str, style: Style, channels_first: bool) -> str | None:
    if node.kind in ("upsample", "resize"):
        return _interpolate(node, x)
    if node.kind == "rescale":
        return f"{x} / {node['by']}"
    if node.kind == "pad":
        return f"F.pad({x}, {_pad_amounts(node)})"
    if node.kind == "flatten":
        forms = ("torch.flatten({}, 1)", "{}.flatten(1)")
        return style.pick("form of flatten", forms).format(x)
    if node.kind == "mean":
        return _mean(node, x, style, channels_first)
    if node.kind == "dropout" and node.get("function"):
        training = "" if node.get("always") else ", training=self.training"
        return f"F.dropout({x}, {style.pick('p word', ('', 'p='))}{node['rate']}{training})"
    return None


def _interpolate(node: Node, x: str) -> str:
    size = f"scale_factor={node.get('factor')}"
    if node.kind == "resize":
        size = f"size=({node['to']}, {node['to']})"
    corners = "align_corners=True" if node.get("aligned") else None
    if node["mode"] == "bilinear" and not node.get("aligned"):
        corners = "align_corners=False"
    mode = f'mode="{node["mode"]}"'
    return f"F.interpolate({arguments(x, size, mode, corners)})"


def _mean(node: Node, x: str, style: Style, channels_first: bool) -> str:
    if dims(node) == 2:
        forms = ("{}.mean(dim=(2, 3))", "F.adaptive_avg_pool2d({}, 1).flatten(1)",
                 "torch.mean({}, dim=(2, 3))")  # fmt: skip
        return style.pick("form of mean", forms).format(x)
    dim = 2 if channels_first else 1
    return style.pick("form of mean", ("{}.mean(dim={})", "torch.mean({}, dim={})")).format(x, dim)
