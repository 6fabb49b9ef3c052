"""Faults of training and evaluation mode, of the buffers, and of what is trained."""

from __future__ import annotations

from ..design import DEFAULTS, Node, Pair
from ..style import Style
from .forward import ANY_ACTIVATION
from .kind import OUTSIDE, Kind, Unsuitable, culprit, nothing, set_everywhere, set_on, shapes

DROPOUT = frozenset({"dropout"})
BUFFERS = frozenset({"buffers"})
FROZEN = frozenset({"frozen"})
GRADIENT = frozenset({"gradient"})


def _dropout_prepare(pair: Pair, style: Style) -> None:
    """Put a dropout after the first activation, unless there is one."""
    rate = style.pick("dropout rate", (0.1, 0.2, 0.3))
    for side in pair.sides:
        nodes = side.all("dropout")
        if not nodes:
            place = _after_activation(side.nodes)
            side.nodes.insert(place, Node("dropout", {"rate": rate}, 1))
        for node in side.all("dropout"):
            node["rate"] = rate
    shapes(pair)


def _after_activation(nodes: list[Node]) -> int:
    for place, node in enumerate(nodes[:-1]):
        if node.kind in ANY_ACTIVATION:
            return place + 1
    raise Unsuitable("no activation")


def _function_prepare(pair: Pair, style: Style) -> None:
    _dropout_prepare(pair, style)
    set_on(pair.torch, "dropout", "function", True)


def _always_torch_apply(pair: Pair, style: Style) -> Node:
    return set_on(pair.torch, "dropout", "always", True)


def _always_keras_apply(pair: Pair, style: Style) -> Node:
    return set_on(pair.keras, "dropout", "always", True)


def _keep_apply(pair: Pair, style: Style) -> Node:
    side = pair.side(culprit(style))
    return set_on(side, "dropout", "rate", round(1 - side.all("dropout")[0]["rate"], 6))


def _no_dropout_apply(pair: Pair, style: Style) -> None:
    side = pair.side(culprit(style))
    side.nodes[:] = [node for node in side.nodes if node.kind != "dropout"]


def _freeze_norm_apply(pair: Pair, style: Style) -> Node:
    node = set_on(pair.torch, "bn", "frozen", True)
    set_on(pair.keras, "bn", "frozen", True)
    return node


def _has_norm(pair: Pair, style: Style) -> None:
    if pair.torch.first("bn") is None or pair.torch.all("block"):
        raise Unsuitable("no BatchNorm outside of blocks")


def _momentum_prepare(pair: Pair, style: Style) -> None:
    set_everywhere(pair, "bn", "momentum", style.pick("bn momentum", (0.1, 0.01, 0.05)))


def _momentum_apply(pair: Pair, style: Style) -> Node:
    framework = culprit(style)
    node = pair.side(framework).first("bn")
    if node is None:
        raise Unsuitable("no BatchNorm")
    usual = DEFAULTS[framework]["bn", "momentum"]
    value = round(1 - node["momentum"], 6)
    if node["momentum"] != usual and style.chance("default", 0.5):
        value = usual
    return set_on(pair.side(framework), "bn", "momentum", value)


def _biased_prepare(pair: Pair, style: Style) -> None:
    """Make the PyTorch side store the biased variance of a small batch."""
    if pair.data.kind != "features" or pair.torch.all("block"):
        raise Unsuitable("the batch is not small")
    set_on(pair.torch, "bn", "biased", True)
    pair.data["examples"] = style.pick("small batch", (6, 8, 10))


def _biased_apply(pair: Pair, style: Style) -> Node:
    return set_on(pair.torch, "bn", "biased", False)


def _freeze_apply(pair: Pair, style: Style) -> Node:
    side = pair.side(culprit(style))
    nodes = [node for node in side.nodes if node.kind in ("dense", "conv2d", "conv1d")]
    if len(nodes) < 2:
        raise Unsuitable("one layer")
    nodes[0]["frozen"] = True
    return nodes[0]


def _detach_apply(pair: Pair, style: Style) -> Node:
    """Cut the gradient before the last hidden layer."""
    side = pair.side(culprit(style))
    dense = [node for node in side.nodes if node.kind == "dense"]
    if len(dense) < 2:
        raise Unsuitable("one dense layer")
    place = side.nodes.index(dense[-1])
    node = Node("detach", {}, 1, shape=dense[-1].shape, out=dense[-1].shape)
    side.nodes.insert(place, node)
    return dense[-1]


def _kink_prepare(pair: Pair, style: Style) -> None:
    """Make some pre-activations exactly zero: empty rows, and a first bias that starts at zero."""
    for side in pair.sides:
        if side.nodes[0].kind != "dense" or side.nodes[1].kind not in ANY_ACTIVATION:
            raise Unsuitable("no activation after the first layer")
        side.nodes[0]["zero bias"] = True
        side.nodes[1].kind = "relu"
        side.nodes[1].options = {}
        side.preprocess = []
    pair.data["zero rows"] = style.pick("zero rows", (3, 4, 5))


def _kink_apply(pair: Pair, style: Style) -> Node:
    framework = culprit(style)
    node = pair.side(framework).nodes[1]
    node["form"] = "clamp" if framework == "torch" else "maximum"
    return node


KINDS = (
    Kind("dropout-always", "F.dropout stays on in evaluation", "mode", "D98", ("dense", "conv"),
         _function_prepare, _always_torch_apply, DROPOUT, accept=("forward",), weight=3),
    Kind("dropout-training", "dropout called with training=True", "mode", OUTSIDE,
         ("dense", "conv"), _dropout_prepare, _always_keras_apply, DROPOUT, accept=("forward",),
         causes=("D85", "D98")),
    Kind("dropout-keep", "the rate that is kept instead of the rate that is dropped", "mode",
         OUTSIDE, ("dense", "conv"), _dropout_prepare, _keep_apply, DROPOUT,
         accept=("forward",), causes=("D86",)),
    Kind("no-dropout", "dropout on one side only", "mode", OUTSIDE, ("dense", "conv"),
         _dropout_prepare, _no_dropout_apply, DROPOUT, accept=("forward",), causes=("D86",)),
    Kind("frozen-norm", "a frozen BatchNorm uses its stored statistics in Keras", "mode", "D22",
         ("normalised",), _has_norm, _freeze_norm_apply, BUFFERS, accept=("forward",), weight=2),
    Kind("bn-momentum", "BatchNorm momentum: the weight of the new or of the old value",
         "buffers", "D19", ("normalised", "residual"), _momentum_prepare, _momentum_apply,
         BUFFERS, weight=3),
    Kind("running-variance", "running variance with n - 1 against n", "buffers", "D20",
         ("normalised",), _biased_prepare, _biased_apply, BUFFERS, weight=2),
    Kind("frozen-layer", "a layer is not trained on one side", "gradient", OUTSIDE,
         ("dense", "conv", "series"), nothing, _freeze_apply, FROZEN, accept=("update",)),
    Kind("cut-gradient", "the gradient is cut on one side", "gradient", OUTSIDE,
         ("dense", "conv", "recurrent"), nothing, _detach_apply, GRADIENT, accept=("update",)),
    Kind("relu-at-zero", "ReLU written with another gradient at zero", "gradient", "D30",
         ("dense",), _kink_prepare, _kink_apply, GRADIENT | {"activation", "preprocess"}),
)  # fmt: skip
