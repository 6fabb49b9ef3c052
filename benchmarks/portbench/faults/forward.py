"""Faults of the forward pass that the catalogue has: what layers compute by default."""

from __future__ import annotations

from ..design import Node, Pair
from ..families import norm_options
from ..layout import GATES
from ..style import Style
from .kind import (
    Kind,
    Unsuitable,
    culprit,
    defaults_differ,
    replace,
    set_everywhere,
    set_on,
    shapes,
)

ANY_ACTIVATION = ("relu", "tanh", "elu", "silu", "gelu", "leaky_relu", "sigmoid", "softplus")
WITH_ACTIVATIONS = ("dense", "conv", "normalised", "residual", "series")
NORM = frozenset({"norm"})
ACTIVATION = frozenset({"activation"})
TIME = frozenset({"time"})
PADDING = frozenset({"padding"})
MASK = frozenset({"mask"})

BATCH_NORM = defaults_differ("bn", "eps")
LAYER_NORM = defaults_differ("ln", "eps")
GROUP_NORM = defaults_differ("gn", "eps")
SLOPE = defaults_differ("leaky_relu", "slope")


def _group_prepare(pair: Pair, style: Style) -> None:
    replace(pair, ("bn", "ln"), "gn", **norm_options("gn", style))
    GROUP_NORM[0](pair, style)


def _rms_prepare(pair: Pair, style: Style) -> None:
    """Begin with an RMSNorm of values so small that its epsilon counts."""
    for side in pair.sides:
        side.nodes.insert(0, Node("rms", {"eps": 1e-6}, 1))
    pair.data["size"] = style.pick("size", (1e-3, 2e-3, 5e-3))
    shapes(pair)


def _rms_apply(pair: Pair, style: Style) -> Node:
    return set_on(pair.torch, "rms", "eps", None)


def _slope_prepare(pair: Pair, style: Style) -> None:
    replace(pair, ANY_ACTIVATION, "leaky_relu", slope=0.01)
    SLOPE[0](pair, style)


def _gelu_prepare(pair: Pair, style: Style) -> None:
    replace(pair, ANY_ACTIVATION, "gelu", approximate=style.chance("tanh form"))


def _gelu_apply(pair: Pair, style: Style) -> Node:
    side = pair.side(culprit(style))
    node = side.first("gelu")
    if node is None:
        raise Unsuitable("no gelu")
    return set_on(side, "gelu", "approximate", not node["approximate"])


def _hard_prepare(pair: Pair, style: Style) -> None:
    replace(pair, ANY_ACTIVATION, "hard_sigmoid")


def _hard_apply(pair: Pair, style: Style) -> Node:
    return set_on(pair.side(culprit(style)), "hard_sigmoid", "form", "old")


def _stride_prepare(pair: Pair, style: Style) -> None:
    """Make the last convolution stride over images of even size, padded as one side pads."""
    place = _last_convolution(pair)
    for side in pair.sides:
        node = side.nodes[place]
        node["padding"] = "same"
        node["stride"] = 2
    _no_pool_after(pair, place)
    shapes(pair)
    if any(size % 2 for size in pair.torch.nodes[place].shape[:-1]):
        raise Unsuitable("an odd size is padded alike")
    # Whose padding is right: Keras pads after the image only, padding=1 on both of its sides.
    framework = culprit(style)
    innocent = pair.keras if framework == "torch" else pair.torch
    amounts = {"before": 0, "after": 1} if framework == "torch" else {"before": 1, "after": 1}
    side = pair.side(framework)
    side.nodes[place]["padding"] = "valid"
    side.nodes.insert(place, Node("pad", amounts, 1))
    innocent.nodes[place]["padding"] = "same"
    shapes(pair)


def _last_convolution(pair: Pair) -> int:
    places = [i for i, node in enumerate(pair.torch.nodes) if node.kind == "conv2d"]
    if not places:
        raise Unsuitable("no convolution")
    return places[-1]


def _no_pool_after(pair: Pair, place: int) -> None:
    for side in pair.sides:
        for node in side.nodes[place:]:
            if node.kind in ("max_pool", "avg_pool"):
                side.nodes.remove(node)
                break


def _stride_apply(pair: Pair, style: Style) -> Node:
    side = pair.side(culprit(style))
    pad = side.first("pad")
    if pad is None:
        raise Unsuitable("no padding")
    place = side.nodes.index(pad)
    node = side.nodes[place + 1]
    side.nodes.remove(pad)
    node["padding"] = "same"
    return node


def _pool_prepare(pair: Pair, style: Style) -> None:
    """Make the first pooling an average over 3×3 places with padding."""
    for side in pair.sides:
        pools = [node for node in side.nodes if node.kind in ("max_pool", "avg_pool")]
        if not pools:
            raise Unsuitable("no pooling")
        pools[0].kind = "avg_pool"
        pools[0].options = {"size": 3, "stride": 1, "padding": "same", "counts padding": False}
    shapes(pair)


def _pool_apply(pair: Pair, style: Style) -> Node:
    return set_on(pair.torch, "avg_pool", "counts padding", True)


def _up_prepare(pair: Pair, style: Style) -> None:
    """Enlarge the images before they are averaged, by a transposed convolution."""
    units = style.pick("up units", (4, 6, 8))
    place = _before_the_end(pair)
    for side in pair.sides:
        node = Node("conv_transpose", {"units": units, "size": 3, "stride": 2, "padded": False,
                                       "padding": "same", "bias": True}, 1)  # fmt: skip
        side.nodes.insert(place, node)
    pair.torch.nodes.insert(place + 1, Node("crop", {}, 1))
    shapes(pair)


def _before_the_end(pair: Pair) -> int:
    """Return the place of the mean over the image."""
    for place, node in enumerate(pair.torch.nodes):
        if node.kind == "mean" and len(node.shape) == 3:
            return place
    raise Unsuitable("the image is not averaged")


def _up_apply(pair: Pair, style: Style) -> Node:
    crop = pair.torch.first("crop")
    if crop is None:
        raise Unsuitable("nothing is cut off")
    pair.torch.nodes.remove(crop)
    return set_on(pair.torch, "conv_transpose", "padded", True)


def _bilinear_prepare(pair: Pair, style: Style) -> None:
    """Enlarge the images before the last convolution."""
    place = _last_convolution(pair)
    for side in pair.sides:
        side.nodes.insert(place, Node("upsample", {"factor": 2, "mode": "bilinear"}, 1))
    shapes(pair)


def _bilinear_apply(pair: Pair, style: Style) -> Node:
    return set_on(pair.torch, "upsample", "aligned", True)


def _nearest_prepare(pair: Pair, style: Style) -> None:
    """Resize the images to a size where the two rules of the nearest pixel differ."""
    if pair.data.kind != "images":
        raise Unsuitable("no images")
    to = style.pick("size", (15, 17, 19))
    for side in pair.sides:
        side.nodes.insert(0, Node("resize", {"to": to, "mode": "nearest-exact"}, 1))
    shapes(pair)


def _nearest_apply(pair: Pair, style: Style) -> Node:
    return set_on(pair.torch, "resize", "mode", "nearest")


def cell(pair: Pair) -> str:
    """Return the kind of the recurrent layers."""
    for kind in GATES:
        if pair.torch.first(kind):
            return kind
    raise Unsuitable("no recurrent layer")


def time_prepare(pair: Pair, style: Style) -> None:
    """Check that the pair has a recurrent layer."""
    cell(pair)


def _outputs_prepare(pair: Pair, style: Style) -> None:
    """Take the last output instead of the final state, whose shape would raise an error."""
    set_on(pair.torch, cell(pair), "outputs only", True)


def _time_apply(pair: Pair, style: Style) -> Node:
    return set_on(pair.torch, cell(pair), "time first", True)


def _reset_prepare(pair: Pair, style: Style) -> None:
    set_everywhere(pair, "gru", "bias", False)


def _reset_apply(pair: Pair, style: Style) -> Node:
    return set_on(pair.keras, "gru", "reset before", True)


def _padded(pair: Pair, style: Style) -> None:
    """Fill the ends of the sequences with zeros."""
    pair.data["padded"] = True


def _mask_zero_apply(pair: Pair, style: Style) -> Node:
    return set_on(pair.keras, "embedding", "mask", True)


def _attention_prepare(pair: Pair, style: Style) -> None:
    if pair.torch.forms.get("mask") is None:
        raise Unsuitable("no mask")


def _attention_apply(pair: Pair, style: Style) -> Node:
    side = pair.side(culprit(style))
    side.forms["mask"] = "!=" if side.forms["mask"] == "==" else "=="
    return side.all("attention")[0]


def _time_first_prepare(pair: Pair, style: Style) -> None:
    """Use the framework's own attention layer."""
    nodes = pair.torch.all("attention")
    if not nodes or nodes[0]["form"] != "layer" or pair.torch.forms.get("mask"):
        raise Unsuitable("no attention layer")


def _time_first_apply(pair: Pair, style: Style) -> Node:
    return set_on(pair.torch, "attention", "time first", True)


KINDS = (
    Kind("bn-eps", "BatchNorm epsilon left at its default", "forward", "D18",
         ("normalised", "residual"), *BATCH_NORM, NORM, weight=2),
    Kind("ln-eps", "LayerNorm epsilon left at its default", "forward", "D23",
         ("normalised", "attention"), *LAYER_NORM, NORM),
    Kind("gn-eps", "GroupNorm epsilon left at its default", "forward", "D24",
         ("normalised",), _group_prepare, GROUP_NORM[1], NORM),
    Kind("rms-eps", "RMSNorm epsilon left at its default", "forward", "D25",
         ("dense",), _rms_prepare, _rms_apply, NORM | {"preprocess"}),
    Kind("leaky-slope", "LeakyReLU left at its default slope", "forward", "D26",
         WITH_ACTIVATIONS, _slope_prepare, SLOPE[1], ACTIVATION),
    Kind("gelu-form", "GELU: exact against its tanh form", "forward", "D28",
         (*WITH_ACTIVATIONS, "attention"), _gelu_prepare, _gelu_apply, ACTIVATION),
    Kind("hard-sigmoid", "hard sigmoid with the slope 0.2 against 1/6", "forward", "D29",
         WITH_ACTIVATIONS, _hard_prepare, _hard_apply, ACTIVATION),
    Kind("same-stride", "'same' with stride 2 pads after, padding=1 on both sides", "forward",
         "D70", ("conv",), _stride_prepare, _stride_apply, PADDING, weight=3),
    Kind("average-padding", "average pooling counts the padding", "forward", "D72", ("conv",),
         _pool_prepare, _pool_apply, frozenset({"pooling"}), weight=2),
    Kind("transposed-padding", "a transposed convolution cut on the other side", "forward",
         "D13", ("conv", "normalised"), _up_prepare, _up_apply, frozenset({"up"})),
    Kind("aligned-corners", "bilinear enlargement with aligned corners", "forward", "D75",
         ("conv", "normalised"), _bilinear_prepare, _bilinear_apply, frozenset({"up"})),
    Kind("nearest-pixel", "resizing with another rule of the nearest pixel", "forward", "D73",
         ("conv", "normalised", "residual"), _nearest_prepare, _nearest_apply,
         frozenset({"resize"}), accept=("data",)),
    Kind("batch-first", "a recurrent layer without batch_first", "forward", "D99",
         ("recurrent", "tokens"), _outputs_prepare, _time_apply, TIME, weight=2),
    Kind("attention-batch-first", "an attention layer without batch_first", "forward", "D99",
         ("attention",), _time_first_prepare, _time_first_apply, TIME),
    Kind("reset-before", "GRU with the reset gate before the product", "forward", "D106",
         ("recurrent",), _reset_prepare, _reset_apply, TIME),
    Kind("mask-zero", "mask_zero leaves the padding out on one side", "forward", "D101",
         ("tokens",), _padded, _mask_zero_apply, MASK),
    Kind("mask-sign", "a mask that hides the words instead of the padding", "forward", "D100",
         ("masked",), _attention_prepare, _attention_apply, MASK, weight=2),
)  # fmt: skip
