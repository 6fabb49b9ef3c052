"""Faults of the data: what happens before the model, and how weights are loaded."""

from __future__ import annotations

from ..design import Node, Pair, Part
from ..style import Style
from .kind import OUTSIDE, Kind, Unsuitable, culprit

IMAGES = ("conv", "residual", "normalised")
PREPROCESS = frozenset({"preprocess"})


def _images(pair: Pair, style: Style) -> None:
    if pair.data.kind != "images":
        raise Unsuitable("no images")


def _plain_scale(pair: Pair, style: Style) -> None:
    _images(pair, style)
    for side in pair.sides:
        side.preprocess = [Part("scale", {"by": 255})]


def _unscaled_apply(pair: Pair, style: Style) -> None:
    pair.side(culprit(style)).preprocess[0] = Part("convert")


def _twice_apply(pair: Pair, style: Style) -> Node:
    side = pair.side(culprit(style))
    node = Node("rescale", {"by": 255}, 1)
    side.nodes.insert(0, node)
    return node


def _centre_prepare(pair: Pair, style: Style) -> None:
    _images(pair, style)
    for side in pair.sides:
        side.preprocess = [Part("scale", {"by": 255}),
                           Part("centre", {"mean": style.pick("mean", (0.5, 0.1307)),
                                           "std": style.pick("std", (0.5, 0.3081))})]  # fmt: skip


def _centre_apply(pair: Pair, style: Style) -> None:
    del pair.side(culprit(style)).preprocess[1]


def _freedom_prepare(pair: Pair, style: Style) -> None:
    if pair.data.kind != "features":
        raise Unsuitable("no table")
    for side in pair.sides:
        side.preprocess = [Part("standardise", {"axis": 0, "ddof": 0})]


def _freedom_apply(pair: Pair, style: Style) -> None:
    pair.side(culprit(style)).preprocess[0]["ddof"] = 1


def _axis_apply(pair: Pair, style: Style) -> None:
    pair.side(culprit(style)).preprocess[0]["axis"] = 1


def _colour(pair: Pair, style: Style) -> None:
    _images(pair, style)
    if pair.input_shape[-1] != 3:
        raise Unsuitable("one channel")


def _channels_apply(pair: Pair, style: Style) -> None:
    side = pair.side(culprit(style))
    side.preprocess.insert(0, Part("flip_channels"))


KINDS = (
    Kind("not-scaled", "pixels divided by 255 on one side only", "data", "D77", IMAGES,
         _plain_scale, _unscaled_apply, PREPROCESS, accept=("forward",), weight=2),
    Kind("scaled-twice", "pixels divided by 255 twice", "data", "D77", ("conv", "residual"),
         _plain_scale, _twice_apply, PREPROCESS, accept=("forward",), weight=2),
    Kind("not-centred", "mean and standard deviation subtracted on one side only", "data", "D77",
         IMAGES, _centre_prepare, _centre_apply, PREPROCESS, accept=("forward",), weight=2),
    Kind("deviation", "standard deviation with n - 1 against n", "data", "D78",
         ("dense", "normalised", "residual"), _freedom_prepare, _freedom_apply, PREPROCESS),
    Kind("standardise-axis", "rows standardised instead of columns", "data", OUTSIDE,
         ("dense", "normalised", "residual"), _freedom_prepare, _axis_apply, PREPROCESS,
         causes=("D77",)),
    Kind("channel-order", "BGR against RGB", "data", OUTSIDE, IMAGES, _colour, _channels_apply,
         PREPROCESS, causes=("D77",)),
)  # fmt: skip
