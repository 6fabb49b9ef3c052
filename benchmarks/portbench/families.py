"""Designs of correct pairs: kinds of models, with the losses and optimizers that go with them."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from .design import Node, Pair, Part, Shape, Side
from .shapes import infer
from .style import Style

THEMES = (
    "churn", "credit", "wine", "iris", "sensor", "energy", "traffic", "weather", "pump", "grid",
    "leaf", "cell", "plate", "scan", "tile", "rock", "voice", "gait", "heart", "sales", "click",
    "news", "review", "song", "river", "motor", "ship", "crop", "steel", "price",
)  # fmt: skip
ACTIVATIONS = ("relu", "relu", "relu", "tanh", "elu", "silu", "gelu", "leaky_relu")


@dataclass
class Nodes:
    """Collects nodes, and counts them by kind."""

    style: Style
    nodes: list[Node] = field(default_factory=list[Node])
    counts: dict[str, int] = field(default_factory=dict[str, int])

    def make(self, kind: str, **options: Any) -> Node:
        """Return a new node that is not yet in the list."""
        self.counts[kind] = self.counts.get(kind, 0) + 1
        return Node(kind, options, self.counts[kind])

    def add(self, kind: str, **options: Any) -> Node:
        """Append a new node."""
        node = self.make(kind, **options)
        self.nodes.append(node)
        return node

    def activation(self, kind: str) -> Node:
        """Append an activation, with its settings."""
        return self.add(kind, **activation_options(kind, self.style))

    def dense(self, units: int, bias: bool = True) -> Node:
        """Append a dense layer."""
        return self.add("dense", units=units, bias=bias)


def activation_options(kind: str, style: Style) -> dict[str, Any]:
    """Return the settings of an activation, equal on both sides."""
    if kind == "leaky_relu":
        return {"slope": style.pick("leaky slope", (0.1, 0.2, 0.05))}
    if kind == "gelu":
        return {"approximate": style.chance("gelu approximate", 0.3)}
    return {}


def width(style: Style, name: str, options: tuple[int, ...] = (12, 16, 20, 24, 32)) -> int:
    """Return the width of a layer."""
    return style.pick(f"width {name}", options)


def dense(style: Style) -> Pair:
    """Design a stack of dense layers on a table of numbers."""
    build = Nodes(style)
    kind = style.pick("activation", ACTIVATIONS)
    regular = style.chance("regular", 0.4)
    units = width(style, "all")
    for place in range(style.pick("depth", (1, 2, 2, 3))):
        build.dense(units if regular else width(style, str(place)))
        build.activation(kind)
        if not regular and style.chance(f"dropout {place}", 0.25):
            build.add("dropout", rate=style.pick("rate", (0.1, 0.2, 0.3, 0.5)))
    return finish("dense", style, build, (style.pick("inputs", (6, 9, 12, 16, 20)),), "features")


def conv(style: Style) -> Pair:
    """Design convolutions and pooling on small images."""
    build = Nodes(style)
    kind = style.pick("activation", ACTIVATIONS)
    padding = style.pick("padding", ("valid", "same", "same"))
    for place in range(2):
        build.add("conv2d", units=(6, 8, 10)[place + style.pick("filters", (0, 1))], size=3,
                  stride=1, padding=padding, bias=True)  # fmt: skip
        build.activation(kind)
        if place == 0 or style.chance("second pool"):
            build.add(style.pick("pool", ("max_pool", "max_pool", "avg_pool")), size=2, stride=2,
                      padding="valid")  # fmt: skip
    if style.chance("flatten", 0.6):
        build.add("flatten")
        build.dense(width(style, "hidden"))
        build.activation(kind)
    else:
        build.add("mean")
    side = style.pick("side", (10, 12, 14))
    return finish("conv", style, build, (side, side, style.pick("channels", (1, 3))), "images")


def normalised(style: Style) -> Pair:
    """Design convolutions or dense layers, each followed by a normalisation."""
    build = Nodes(style)
    images = style.chance("images", 0.5)
    kind = style.pick("activation", ("relu", "relu", "elu", "silu", "leaky_relu"))
    norm = style.pick("norm", ("bn", "bn", "ln"))
    if images:
        norm = "bn"
    for place in range(2):
        bias = norm != "bn"  # a bias before BatchNorm would get no gradient but rounding
        if images:
            build.add("conv2d", units=8 + 4 * place, size=3, stride=1, padding="same", bias=bias)
        else:
            build.dense(width(style, str(place)), bias=bias)
        build.add(norm, **norm_options(norm, style))
        build.activation(kind)
        if images and place == 0:
            build.add("max_pool", size=2, stride=2, padding="valid")
    if images:
        build.add("mean")
        return finish("normalised", style, build, (12, 12, 3), "images")
    return finish("normalised", style, build, (style.pick("inputs", (8, 12, 20)),), "features")


def norm_options(kind: str, style: Style) -> dict[str, Any]:
    """Return the settings of a normalisation, equal on both sides."""
    eps = style.pick("norm eps", (1e-3, 1e-5, 1e-5, 1e-6))
    if kind == "bn":
        return {"eps": eps, "momentum": style.pick("momentum", (0.1, 0.1, 0.01, 0.05))}
    if kind == "gn":
        return {"eps": eps, "groups": style.pick("groups", (2, 4))}
    return {"eps": eps}


def residual(style: Style) -> Pair:
    """Design a stem and residual blocks."""
    build = Nodes(style)
    images = style.chance("images", 0.6)
    kind = style.pick("activation", ("relu", "relu", "elu", "silu"))
    units = width(style, "trunk", (8, 12, 16))
    bias = not images

    def layer(target: Nodes) -> Node:
        if images:
            return target.make("conv2d", units=units, size=3, stride=1, padding="same", bias=bias)
        return target.make("dense", units=units, bias=bias)

    def norm(target: Nodes) -> list[Node]:
        return [target.make("bn", **norm_options("bn", style))] if images else []

    build.nodes += [layer(build), *norm(build), build.make(kind)]
    inner = Nodes(style)
    body = [layer(inner), *norm(inner), inner.make(kind), layer(inner), *norm(inner)]
    branch = Node("residual", {}, 1, body)
    block = Node("block", {"repeat": style.pick("blocks", (1, 1, 2))}, 1, [branch])
    if style.chance("activation after the sum", 0.7):
        block.body.append(inner.make(kind))
    build.nodes.append(block)
    if images:
        build.add("mean")
        return finish("residual", style, build, (10, 10, 3), "images")
    return finish("residual", style, build, (style.pick("inputs", (8, 12, 20)),), "features")


def recurrent(style: Style) -> Pair:
    """Design an LSTM or a GRU on sequences of numbers."""
    build = Nodes(style)
    kind = style.pick("cell", ("lstm", "gru"))
    stacked = style.chance("stacked", 0.25)
    if stacked:
        build.add(kind, units=width(style, "cell", (8, 12)), sequences=True, bias=kind == "gru")
    build.add(kind, units=width(style, "cell", (8, 12, 16)), sequences=False, bias=kind == "gru")
    if style.chance("hidden dense", 0.4):
        build.dense(width(style, "hidden"))
        build.activation(style.pick("activation", ("relu", "tanh", "elu")))
    shape = (style.pick("steps", (8, 12, 16)), style.pick("channels", (3, 4, 6)))
    return finish("recurrent", style, build, shape, "series")


def attention(style: Style) -> Pair:
    """Design blocks of attention and a small dense network."""
    build = Nodes(style)
    units = width(style, "model", (8, 12, 16))
    form = style.pick("attention", ("layer", "by hand"))
    heads = style.pick("heads", (2, 4)) if form == "layer" else 1
    build.dense(units)
    inner = Nodes(style)
    attend = [inner.make("ln", **norm_options("ln", style)),
              inner.make("attention", heads=heads, form=form, scale=True, axis=-1)]  # fmt: skip
    gelu = inner.make("gelu", **activation_options("gelu", style))
    dense_part = [inner.make("ln", **norm_options("ln", style)),
                  inner.make("dense", units=2 * units, bias=True), gelu,
                  inner.make("dense", units=units, bias=True)]  # fmt: skip
    block = Node("block", {"repeat": 1}, 1)
    block.body = [Node("residual", {}, 1, attend), Node("residual", {}, 2, dense_part)]
    build.nodes.append(block)
    build.add("mean")
    shape = (style.pick("steps", (6, 8, 10)), style.pick("channels", (4, 6, 7)))
    pair = finish("attention", style, build, shape, "series")
    not_adaptive(pair)  # the gradient of the keys' bias is nothing but rounding
    return pair


def not_adaptive(pair: Pair) -> None:
    """Replace an optimizer that divides by the size of the gradients."""
    for side in pair.sides:
        if side.optimizer is not None and side.optimizer.kind != "sgd":
            side.optimizer = Part("sgd", {"lr": 0.1})


def series(style: Style) -> Pair:
    """Design convolutions along time."""
    build = Nodes(style)
    kind = style.pick("activation", ACTIVATIONS)
    for place in range(2):
        build.add(
            "conv1d",
            units=width(style, str(place), (8, 12)),
            size=style.pick("k", (3, 5)),
            stride=1,
            padding=style.pick("padding", ("valid", "same")),
            bias=True,
        )
        build.activation(kind)
    build.add("mean")
    shape = (style.pick("steps", (16, 20, 24)), style.pick("channels", (2, 4, 5)))
    return finish("series", style, build, shape, "series")


def tokens(style: Style) -> Pair:
    """Design an embedding of words, averaged or read by a GRU."""
    build = Nodes(style)
    words = style.pick("words", (30, 50, 80))
    build.add("embedding", words=words, units=width(style, "embedding", (8, 12, 16)))
    if style.chance("mean", 0.6):
        build.add("mean")
        build.dense(width(style, "hidden"))
        build.activation(style.pick("activation", ("relu", "tanh", "elu")))
    else:
        build.add("gru", units=width(style, "cell", (8, 12)), sequences=False, bias=True)
    pair = finish("tokens", style, build, (style.pick("steps", (8, 12)),), "tokens")
    pair.data["words"] = words
    not_adaptive(pair)  # Keras would square the gradients of a repeated word one by one
    return pair


def masked(style: Style) -> Pair:
    """Design attention over words that leaves the padding out."""
    build = Nodes(style)
    words = style.pick("words", (30, 50, 80))
    units = width(style, "model", (8, 12, 16))
    build.add("embedding", words=words, units=units)
    build.add("attention", heads=style.pick("heads", (2, 4)), form="layer", mask=True)
    build.add("mean")
    pair = finish("masked", style, build, (style.pick("steps", (8, 10, 12)),), "tokens")
    pair.data["words"] = words
    pair.data["padded"] = True
    pair.torch.forms["mask"] = "=="
    pair.keras.forms["mask"] = "!="
    not_adaptive(pair)
    return pair


FAMILIES: dict[str, Callable[[Style], Pair]] = {
    "dense": dense,
    "conv": conv,
    "normalised": normalised,
    "residual": residual,
    "recurrent": recurrent,
    "attention": attention,
    "series": series,
    "tokens": tokens,
    "masked": masked,
}


def finish(family: str, style: Style, build: Nodes, shape: Shape, data: str) -> Pair:
    """Add the output layer, the loss and the optimizer, and make both sides."""
    task = style.pick("task", ("classes", "classes", "classes", "binary", "values"))
    outputs = style.pick("classes", (3, 4, 5, 6)) if task == "classes" else 1
    build.dense(outputs)
    infer(build.nodes, shape)
    side = Side("torch", build.nodes, head="values" if task == "values" else "logits")
    if data == "images":
        side.preprocess = [Part("scale", {"by": 255})]
        if style.chance("centre", 0.4):
            std = style.pick("std", (0.5, 0.25))
            side.preprocess.append(Part("centre", {"mean": 0.5, "std": std}))
    side.loss = loss(task, style)
    side.optimizer = optimizer(style)
    if style.chance("has a metric", 0.4):
        side.metric = metric(task)
    other = copy.deepcopy(side)
    other.framework = "keras"
    size = style.pick("batch", (16, 24, 32))
    pair = Pair(family, style.pick("theme", THEMES), task, shape,
                Part(data, {"examples": size, "outputs": outputs}), side, other)  # fmt: skip
    if task != "values":
        heads(pair, style)
    return pair


def heads(pair: Pair, style: Style) -> None:
    """Let some models return probabilities, with the losses that expect them."""
    if style.chance("keras probabilities", 0.3):
        probabilities(pair.keras, pair.task)
        if pair.keras.loss is not None and style.chance("harmless from_logits", 0.15):
            # Keras sees the activation, takes what it was given, and warns.
            pair.keras.loss["form"] = "logits"
            pair.also.append("D38")
    if style.chance("torch probabilities", 0.15):
        probabilities(pair.torch, pair.task)


def probabilities(side: Side, task: str) -> None:
    """Append the layer that makes probabilities, and change the loss and the metric with it."""
    last = side.nodes[-1]
    kind, form = "sigmoid", "probabilities"
    if task == "classes" and side.framework == "torch":
        kind, form = "log_softmax", "log_probabilities"
    elif task == "classes":
        kind = "softmax"
    side.nodes.append(Node(kind, {}, 1, shape=last.out, out=last.out))
    side.head = kind
    if side.loss is not None:
        side.loss["form"] = form
    if side.metric is not None and side.metric.kind == "binary_accuracy":
        side.metric["threshold"] = 0.5


def logits(pair: Pair) -> None:
    """Make both models return logits, with losses that take them."""
    for side in pair.sides:
        if side.nodes[-1].kind in ("softmax", "log_softmax", "sigmoid"):
            del side.nodes[-1]
        if side.head == "values":
            continue
        side.head = "logits"
        pair.also = [cause for cause in pair.also if cause != "D38"]
        if side.loss is not None:
            side.loss["form"] = "logits"
        if side.metric is not None and side.metric.kind == "binary_accuracy":
            side.metric["threshold"] = 0.0


def loss(task: str, style: Style) -> Part:
    """Return a loss for a task."""
    if task == "classes":
        return Part("cross_entropy", {"form": "logits"})
    if task == "binary":
        return Part("binary", {"form": "logits"})
    kind = style.pick("loss", ("mse", "mse", "mae", "huber"))
    if kind == "huber":
        return Part(kind, {"delta": style.pick("delta", (1.0, 0.5))})
    return Part(kind)


def metric(task: str) -> Part:
    """Return a metric for a task."""
    if task == "classes":
        return Part("accuracy")
    if task == "binary":
        return Part("binary_accuracy", {"threshold": 0.0})
    return Part("mean_absolute_error")


def optimizer(style: Style) -> Part:
    """Return an optimizer whose formula is the same in both frameworks."""
    kind = style.pick("optimizer", ("sgd", "sgd", "sgd", "momentum", "momentum", "adam", "adagrad"))
    if kind == "momentum":
        return Part("sgd", {"lr": style.pick("lr", (0.05, 0.02, 0.1)), "momentum": 0.9,
                            "nesterov": style.chance("nesterov", 0.3)})  # fmt: skip
    if kind == "adam":
        # The frameworks add epsilon at different places; so small a value makes no difference.
        return Part("adam", {"lr": style.pick("lr", (1e-3, 2e-3, 5e-3)), "eps": 1e-15})
    if kind == "adagrad":
        return Part("adagrad", {"lr": style.pick("lr", (0.02, 0.05)), "initial": 0.1, "eps": 1e-7})
    return Part("sgd", {"lr": style.pick("lr", (0.05, 0.1, 0.2))})
