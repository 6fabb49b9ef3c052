"""Faults of the forward pass: what layers compute."""

from __future__ import annotations

from ..design import Node, Pair, remove
from ..style import Style
from .kind import (
    OUTSIDE,
    Kind,
    Unsuitable,
    culprit,
    defaults_differ,
    nothing,
    replace,
    set_on,
    shapes,
)

ANY_ACTIVATION = ("relu", "tanh", "elu", "silu", "gelu", "leaky_relu", "sigmoid", "softplus")
WITH_ACTIVATIONS = ("dense", "conv", "normalised", "residual", "series")
NORM = frozenset({"norm"})
ACTIVATION = frozenset({"activation"})
TIME = frozenset({"time"})


LAYER_NORM_PREPARE, LAYER_NORM_APPLY = defaults_differ("ln", "eps")
BATCH_NORM_PREPARE, BATCH_NORM_APPLY = defaults_differ("bn", "eps")
SLOPE_PREPARE, SLOPE_APPLY = defaults_differ("leaky_relu", "slope")


def _slope_prepare(pair: Pair, style: Style) -> None:
    replace(pair, ANY_ACTIVATION, "leaky_relu", slope=0.01)
    SLOPE_PREPARE(pair, style)


def _gelu_prepare(pair: Pair, style: Style) -> None:
    replace(pair, ANY_ACTIVATION, "gelu", approximate=style.chance("tanh form"))


def _gelu_apply(pair: Pair, style: Style) -> Node:
    side = pair.side(culprit(style))
    node = side.first("gelu")
    if node is None:
        raise Unsuitable("no gelu")
    return set_on(side, "gelu", "approximate", not node["approximate"])


def _stride_prepare(pair: Pair, style: Style) -> None:
    """Make the last convolution stride over images of even size, as Keras pads."""
    place = _last_convolution(pair)
    for side in pair.sides:
        node = side.nodes[place]
        node["padding"] = "same"
        node["stride"] = 2
    shapes(pair)
    node = pair.torch.nodes[place]
    if any(size % 2 for size in node.shape[:-1]):
        raise Unsuitable("an odd size is padded alike")
    pair.torch.nodes.insert(place, Node("pad", {"before": 0, "after": 1}, 1))
    node["padding"] = "valid"
    _no_pool_after(pair, place)
    shapes(pair)


def _last_convolution(pair: Pair) -> int:
    places = [i for i, node in enumerate(pair.torch.nodes) if node.kind in ("conv2d", "conv1d")]
    if not places:
        raise Unsuitable("no convolution")
    return places[-1]


def _no_pool_after(pair: Pair, place: int) -> None:
    for side in pair.sides:
        for node in side.nodes[place:]:
            if node.kind in ("max_pool", "avg_pool"):
                remove(side.nodes, node)
                break


def _stride_apply(pair: Pair, style: Style) -> Node:
    pad = pair.torch.first("pad")
    if pad is None:
        raise Unsuitable("no padding")
    place = pair.torch.nodes.index(pad)
    node = pair.torch.nodes[place + 1]
    pair.torch.nodes.remove(pad)
    node["padding"] = "same"
    return node


def _pool_prepare(pair: Pair, style: Style) -> None:
    """Put an average pooling over 3×3 places with padding after the first activation."""
    for side in pair.sides:
        pools = [node for node in side.nodes if node.kind in ("max_pool", "avg_pool")]
        if not pools:
            raise Unsuitable("no pooling")
        pool = pools[0]
        pool.kind = "avg_pool"
        pool.options = {"size": 3, "stride": 1, "padding": "same", "counts padding": False}
    shapes(pair)


def _pool_apply(pair: Pair, style: Style) -> Node:
    return set_on(pair.torch, "avg_pool", "counts padding", True)


def _cell(pair: Pair) -> str:
    for kind in ("lstm", "gru", "rnn"):
        if pair.torch.first(kind):
            return kind
    raise Unsuitable("no recurrent layer")


def _time_prepare(pair: Pair, style: Style) -> None:
    _cell(pair)


def _time_apply(pair: Pair, style: Style) -> Node:
    return set_on(pair.torch, _cell(pair), "time first", True)


def _last_apply(pair: Pair, style: Style) -> Node:
    node = pair.torch.all(_cell(pair))[-1]
    node["place"] = style.pick("place", (-2, 0))
    return node


def _without_activation_apply(pair: Pair, style: Style) -> Node | None:
    side = pair.side(culprit(style))
    found = [node for node in side.nodes[:-1] if node.kind in ANY_ACTIVATION]
    if not found:
        raise Unsuitable("no activation")
    node = style.pick("removed activation", found)
    before = side.nodes[side.nodes.index(node) - 1]
    remove(side.nodes, node)
    return before


def _other_activation_apply(pair: Pair, style: Style) -> Node:
    side = pair.side(culprit(style))
    found = [node for node in side.nodes if node.kind in ANY_ACTIVATION]
    if not found:
        raise Unsuitable("no activation")
    node = style.pick("changed activation", found)
    kinds = [kind for kind in ("relu", "elu", "silu", "tanh", "softplus") if kind != node.kind]
    node.kind = style.pick("instead", kinds)
    node.options = {}
    return node


def _by_hand(pair: Pair) -> None:
    if any(node["form"] != "by hand" for node in pair.torch.all("attention")):
        raise Unsuitable("the attention is a layer of the framework")


def _hand_prepare(pair: Pair, style: Style) -> None:
    for side in pair.sides:
        for node in side.all("attention"):
            node["form"] = "by hand"
            node["heads"] = 1


def _axis_apply(pair: Pair, style: Style) -> Node:
    _by_hand(pair)
    return set_on(pair.side(culprit(style)), "attention", "axis", 1)


def _scale_apply(pair: Pair, style: Style) -> Node:
    _by_hand(pair)
    return set_on(pair.side(culprit(style)), "attention", "scale", False)


KINDS = (
    Kind("bn-eps", "BatchNorm epsilon left at its default", "forward", "D18",
         ("normalised", "residual"), BATCH_NORM_PREPARE, BATCH_NORM_APPLY, NORM, weight=2),
    Kind("ln-eps", "LayerNorm epsilon left at its default", "forward", "D23",
         ("normalised", "attention"), LAYER_NORM_PREPARE, LAYER_NORM_APPLY, NORM),
    Kind("leaky-slope", "LeakyReLU left at its default slope", "forward", "D26",
         WITH_ACTIVATIONS, _slope_prepare, SLOPE_APPLY, ACTIVATION),
    Kind("gelu-form", "GELU: exact against its tanh form", "forward", "D28",
         (*WITH_ACTIVATIONS, "attention"), _gelu_prepare, _gelu_apply, ACTIVATION),
    Kind("same-stride", "'same' with stride 2 pads after, padding=1 on both sides", "forward",
         "D70", ("conv",), _stride_prepare, _stride_apply, frozenset({"padding"}), weight=2),
    Kind("average-padding", "average pooling counts the padding", "forward", "D72", ("conv",),
         _pool_prepare, _pool_apply, frozenset({"pooling"})),
    Kind("batch-first", "a recurrent layer without batch_first", "forward", "D99",
         ("recurrent", "tokens"), _time_prepare, _time_apply, TIME, weight=2),
    Kind("wrong-time", "not the last output of a recurrent layer", "forward", OUTSIDE,
         ("recurrent",), _time_prepare, _last_apply, TIME),
    Kind("no-activation", "an activation is missing on one side", "forward", OUTSIDE,
         WITH_ACTIVATIONS, nothing, _without_activation_apply, ACTIVATION),
    Kind("other-activation", "another activation on one side", "forward", OUTSIDE,
         (*WITH_ACTIVATIONS, "attention"), nothing, _other_activation_apply, ACTIVATION),
    Kind("attention-axis", "softmax of the scores along the wrong axis", "forward", OUTSIDE,
         ("attention",), _hand_prepare, _axis_apply, frozenset({"attention"})),
    Kind("attention-scale", "attention without the division by the root of the width", "forward",
         OUTSIDE, ("attention",), _hand_prepare, _scale_apply, frozenset({"attention"})),
)  # fmt: skip
