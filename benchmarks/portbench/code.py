"""Text of programs: what both writers share."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from .design import Node
from .style import Style

INDENT = "    "
LONGEST_LINE = 92  # characters, before indentation; a longer call is broken
NAMES: dict[str, tuple[str, ...]] = {
    "dense": ("fc{}", "lin{}", "linear{}", "dense{}", "layer{}"),
    "conv2d": ("conv{}", "conv{}", "c{}", "conv_{}"),
    "conv1d": ("conv{}", "conv1d_{}", "c{}"),
    "depthwise": ("depthwise{}", "dw{}"),
    "conv_transpose": ("up{}", "deconv{}"),
    "bn": ("bn{}", "bn{}", "norm{}", "batchnorm{}"),
    "ln": ("norm{}", "ln{}", "layernorm{}"),
    "gn": ("gn{}", "norm{}", "groupnorm{}"),
    "rms": ("norm{}", "rms{}"),
    "dropout": ("drop{}", "dropout{}"),
    "lstm": ("lstm", "rnn", "cell"),
    "gru": ("gru", "rnn", "cell"),
    "embedding": ("embed", "embedding", "emb", "word_vectors"),
    "attention": ("attn", "attention", "self_attn", "mha"),
    "block": ("block", "blocks", "layer", "encoder"),
    "max_pool": ("pool{}", "maxpool{}"),
    "avg_pool": ("pool{}", "avgpool{}"),
    "flatten": ("flatten", "flat"),
    "mean": ("pool", "gap", "average"),
    "upsample": ("upsample", "resize"),
    "rescale": ("rescale", "rescaling", "scale"),
}
HEADS = ("out", "head", "classifier", "fc_out", "final")
PARAMETERS = {
    "dense", "conv2d", "conv1d", "depthwise", "conv_transpose", "bn", "ln", "gn", "rms", "lstm",
    "gru", "embedding", "attention",
}  # fmt: skip
ACTIVATIONS = {
    "relu", "tanh", "sigmoid", "elu", "gelu", "silu", "softplus", "leaky_relu", "hard_sigmoid",
    "softmax", "log_softmax",
}  # fmt: skip
RATE_CONSTANTS = ("LEARNING_RATE", "LR")
PROJECTIONS = ("query", "key", "value")  # of an attention that is written by hand


@dataclass
class Place:
    """Where a node is in the finished program.

    Attributes
    ----------
    key : str
        The node's name in both programs, with the names and the copies of the blocks around it.
    node : Node
        What it is.
    path : str
        Module path or layer name; for an operation without a module, how it is written.
    """

    key: str
    node: Node
    path: str


@dataclass
class Program:
    """The text of a program, and where everything is in it."""

    text: str
    places: list[Place] = field(default_factory=list[Place])


def number(value: Any, style: Style) -> str:
    """Return a number as somebody writes it: 1e-3 or 0.001."""
    if isinstance(value, (bool, int)) or value is None:
        return repr(value)
    if 1e-4 < abs(value) < 1e4 and not (abs(value) < 0.01 and style.chance("exponents")):
        return repr(float(value))
    mantissa, _, exponent = f"{value:e}".partition("e")
    return f"{float(mantissa):g}e{int(exponent)}"


def arguments(*parts: str | None) -> str:
    """Return the arguments of a call; None stands for an argument that is left out."""
    return ", ".join(part for part in parts if part)


def attribute(node: Node, style: Style, last: bool = False) -> str:
    """Return the name of a node's attribute, variable or layer.

    Parameters
    ----------
    node : Node
        The node.
    style : Style
        The side's style.
    last : bool
        Whether it is the output layer, which many programs call otherwise.
    """
    if last and style.chance("output named", 0.6):
        return style.pick("output name", HEADS)
    patterns = NAMES.get(node.kind, (node.kind + "{}",))
    pattern = style.pick(f"names of {node.kind}", patterns)
    if "{}" in pattern:
        return pattern.format(node.index)
    return pattern if node.index == 1 else f"{pattern}{node.index}"


def indent(lines: list[str], levels: int = 1) -> list[str]:
    """Return lines moved to the right; empty lines remain empty."""
    return [INDENT * levels + line if line else "" for line in lines]


def call(function: str, items: list[str]) -> list[str]:
    """Return a call as lines: in one line if it fits, else with one argument in each."""
    line = f"{function}({', '.join(items)})"
    if len(line) <= LONGEST_LINE:
        return [line]
    return [f"{function}(", *indent([f"{item}," for item in items]), ")"]


def join(head: str, lines: list[str], tail: str = "") -> list[str]:
    """Return lines with a text before the first and one after the last."""
    joined = list(lines)
    joined[0] = head + joined[0]
    joined[-1] += tail
    return joined


def rate_text(value: float, style: Style) -> str:
    """Return a learning rate as a number, or as the name of a constant of the program."""
    if style.chance("rate as constant", 0.25):
        return style.pick("rate constant", RATE_CONSTANTS)
    return number(value, style)


def constant_lines(text: str, rate: float, style: Style) -> list[str]:
    """Return the definition of the constants that a program uses, or none."""
    used = [name for name in RATE_CONSTANTS if re.search(rf"\b{name}\b", text)]
    return [f"{used[0]} = {number(rate, style)}", "", ""] if used else []


def class_name(theme: str, style: Style) -> str:
    """Return the name of the model's class."""
    ending = style.pick("class ending", ("Net", "Model", "Network", "Predictor"))
    return theme.capitalize() + ending


def projection(attention: Node) -> Node:
    """Return the dense layer that makes the queries, keys or values of an attention."""
    options = {"units": attention.shape[-1], "bias": True}
    return Node("dense", options, shape=attention.shape, out=attention.shape)
