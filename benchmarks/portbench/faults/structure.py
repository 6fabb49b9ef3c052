"""Faults of the model's structure, which the catalogue does not have."""

from __future__ import annotations

from ..design import Node, Pair, Side
from ..families import logits, probabilities
from ..style import Style
from .forward import ACTIVATION, ANY_ACTIVATION, TIME, WITH_ACTIVATIONS, cell, time_prepare
from .kind import OUTSIDE, Kind, Unsuitable, culprit, nothing, set_on, shapes

STRUCTURE = frozenset({"structure"})
ATTENTION = frozenset({"attention"})


def _last_apply(pair: Pair, style: Style) -> Node:
    node = pair.torch.all(cell(pair))[-1]
    node["place"] = style.pick("place", (-2, 0))
    return node


def _gates_apply(pair: Pair, style: Style) -> Node:
    return set_on(pair.keras, cell(pair), "gates", "hard_sigmoid")


def _without_activation_apply(pair: Pair, style: Style) -> Node | None:
    side = pair.side(culprit(style))
    node = _activation(side, style)
    before = side.nodes[side.nodes.index(node) - 1]
    side.nodes.remove(node)
    return before


def _activation(side: Side, style: Style) -> Node:
    """Return one of the activations that are not in a block."""
    found = [node for node in side.nodes[:-1] if node.kind in ANY_ACTIVATION]
    if not found:
        raise Unsuitable("no activation")
    return style.pick("activation", found)


def _other_activation_apply(pair: Pair, style: Style) -> Node:
    side = pair.side(culprit(style))
    node = _activation(side, style)
    kinds = [kind for kind in ("relu", "elu", "silu", "tanh", "softplus") if kind != node.kind]
    node.kind = style.pick("instead", kinds)
    node.options = {}
    return node


def _by_hand_prepare(pair: Pair, style: Style) -> None:
    for side in pair.sides:
        for node in side.all("attention"):
            node["form"] = "by hand"
            node["heads"] = 1


def _axis_apply(pair: Pair, style: Style) -> Node:
    return set_on(pair.side(culprit(style)), "attention", "axis", 1)


def _scale_apply(pair: Pair, style: Style) -> Node:
    return set_on(pair.side(culprit(style)), "attention", "scale", False)


def _order_apply(pair: Pair, style: Style) -> Node:
    """Exchange a normalisation and the activation after it."""
    side = pair.side(culprit(style))
    for place, node in enumerate(side.nodes[:-1]):
        if node.kind in ("bn", "ln") and side.nodes[place + 1].kind in ANY_ACTIVATION:
            side.nodes[place : place + 2] = [side.nodes[place + 1], node]
            return node
    raise Unsuitable("no activation after a normalisation")


def _skip_apply(pair: Pair, style: Style) -> Node:
    side = pair.side(culprit(style))
    nodes = side.all("residual")
    if not nodes:
        raise Unsuitable("no residual")
    nodes[0]["skip"] = False
    return nodes[0].body[-1]


def _after_sum_apply(pair: Pair, style: Style) -> Node:
    """Leave the activation after the sum out."""
    side = pair.side(culprit(style))
    for block in side.all("block"):
        if block.body[-1].kind in ANY_ACTIVATION:
            removed = block.body.pop()
            return next(node for node in block.body[0].body if node.kind != removed.kind)
    raise Unsuitable("no activation after the sum")


def _pooling_apply(pair: Pair, style: Style) -> Node:
    side = pair.side(culprit(style))
    for node in side.nodes:
        if node.kind in ("max_pool", "avg_pool") and node["padding"] == "valid":
            node.kind = "avg_pool" if node.kind == "max_pool" else "max_pool"
            return node
    raise Unsuitable("no pooling")


def _square_prepare(pair: Pair, style: Style) -> None:
    """Give two hidden layers after each other one width."""
    for side in pair.sides:
        hidden = [node for node in side.nodes if node.kind == "dense"][:-1]
        if len(hidden) < 2:
            raise Unsuitable("one hidden layer")
        for node in hidden:
            node["units"] = hidden[0]["units"]
    shapes(pair)


def _again_apply(pair: Pair, style: Style) -> Node:
    """Apply the second hidden layer twice."""
    nodes = pair.torch.nodes
    second = [node for node in nodes if node.kind == "dense"][1]
    place = nodes.index(second)
    group = [second]
    if nodes[place + 1].kind in ANY_ACTIVATION:
        group.append(nodes[place + 1])
    nodes[place + len(group) : place + len(group)] = group
    return second


def _bias_apply(pair: Pair, style: Style) -> Node:
    nodes = [node for node in pair.keras.walk() if node.kind in ("dense", "conv2d", "conv1d")]
    nodes = [node for node in nodes if node["bias"]]
    if not nodes:
        raise Unsuitable("no bias")
    node = nodes[0]
    node["bias"] = False
    return node


def _head_prepare(pair: Pair, style: Style) -> None:
    logits(pair)
    for side in pair.sides:
        probabilities(side, "classes")


def _head_apply(pair: Pair, style: Style) -> Node:
    node = pair.side(culprit(style)).nodes[-1]
    node["axis"] = 0
    return node


def _padding_apply(pair: Pair, style: Style) -> Node:
    """Pad the images on one side only, where their size does not matter afterwards."""
    side = pair.side(culprit(style))
    if not any(node.kind == "mean" for node in side.nodes):
        raise Unsuitable("the size matters")
    node = [node for node in side.nodes if node.kind in ("conv2d", "conv1d")][-1]
    node["padding"] = "valid" if node["padding"] == "same" else "same"
    return node


KINDS = (
    Kind("wrong-time", "not the last output of a recurrent layer", "forward", OUTSIDE,
         ("recurrent",), time_prepare, _last_apply, TIME),
    Kind("hard-gates", "gates of a recurrent layer with a hard sigmoid", "forward", OUTSIDE,
         ("recurrent",), time_prepare, _gates_apply, TIME, causes=("D29",)),
    Kind("no-activation", "an activation is missing on one side", "forward", OUTSIDE,
         WITH_ACTIVATIONS, nothing, _without_activation_apply, ACTIVATION),
    Kind("other-activation", "another activation on one side", "forward", OUTSIDE,
         (*WITH_ACTIVATIONS, "recurrent"), nothing, _other_activation_apply, ACTIVATION),
    Kind("attention-axis", "softmax of the scores along the wrong axis", "forward", OUTSIDE,
         ("attention",), _by_hand_prepare, _axis_apply, ATTENTION),
    Kind("attention-scale", "attention without the division by the root of the width", "forward",
         OUTSIDE, ("attention",), _by_hand_prepare, _scale_apply, ATTENTION),
    Kind("norm-order", "activation before the normalisation on one side", "forward", OUTSIDE,
         ("normalised",), nothing, _order_apply, STRUCTURE),
    Kind("no-skip", "the input of a residual block is not added", "forward", OUTSIDE,
         ("residual", "attention"), nothing, _skip_apply, STRUCTURE),
    Kind("no-activation-after-sum", "no activation after the sum of a residual block", "forward",
         OUTSIDE, ("residual",), nothing, _after_sum_apply, ACTIVATION),
    Kind("other-pooling", "maximum against average", "forward", OUTSIDE, ("conv",), nothing,
         _pooling_apply, frozenset({"pooling"})),
    Kind("layer-twice", "a layer applied twice", "forward", OUTSIDE, ("dense",),
         _square_prepare, _again_apply, STRUCTURE),
    Kind("no-bias", "a bias is missing on one side", "forward", OUTSIDE,
         ("dense", "conv", "series"), nothing, _bias_apply, STRUCTURE, accept=("weights",)),
    Kind("softmax-axis", "softmax over the batch", "forward", OUTSIDE, ("dense", "normalised"),
         _head_prepare, _head_apply, frozenset({"head", "loss"}), ("classes",)),
    Kind("other-padding", "padding on one side only", "forward", OUTSIDE, ("conv", "series"),
         nothing, _padding_apply, frozenset({"padding"}), causes=("D71",)),
)  # fmt: skip
