"""Faults of the data: what happens before the model, and in which order."""

from __future__ import annotations

from collections.abc import Callable

from ..design import Node, Pair, Part
from ..style import Style
from .kind import EVERY_FAMILY, OUTSIDE, Kind, Unsuitable, culprit, shapes

IMAGES = ("conv", "residual", "normalised")
TABLES = ("dense", "normalised", "residual")
SERIES = ("series", "recurrent", "attention")
PREPROCESS = frozenset({"preprocess"})
ORDER = frozenset({"order"})
Prepare = Callable[[Pair, Style], None]


def _needs(kind: str) -> Prepare:
    def prepare(pair: Pair, style: Style) -> None:
        if pair.data.kind != kind:
            raise Unsuitable(f"no {kind}")

    return prepare


def _steps(data: str, *steps: Callable[[Style], Part]) -> Prepare:
    """Return ``prepare`` that gives both sides the same preprocessing.

    Parameters
    ----------
    data : str
        The kind of data that it needs.
    *steps : callable
        Each makes a step from the style.
    """

    def prepare(pair: Pair, style: Style) -> None:
        _needs(data)(pair, style)
        for side in pair.sides:
            side.preprocess = [step(style) for step in steps]
        shapes(pair)

    return prepare


def _scale(style: Style) -> Part:
    return Part("scale", {"by": 255})


def _centre(style: Style) -> Part:
    mean, std = style.pick("mean and std", ((0.5, 0.5), (0.1307, 0.3081), (0.45, 0.22)))
    return Part("centre", {"mean": mean, "std": std})


def _standardise(style: Style) -> Part:
    return Part("standardise", {"axis": 0, "ddof": 0})


def _median(style: Style) -> Part:
    return Part("median", {"lower": False})


def _logarithm(style: Style) -> Part:
    return Part("log", {"function": "arcsinh"})


def _changed(place: int, **options: object) -> Callable[[Pair, Style], None]:
    """Return ``apply`` that changes a step on the culprit's side."""

    def apply(pair: Pair, style: Style) -> None:
        pair.side(culprit(style)).preprocess[place].options.update(options)

    return apply


def _removed(place: int) -> Callable[[Pair, Style], None]:
    def apply(pair: Pair, style: Style) -> None:
        del pair.side(culprit(style)).preprocess[place]

    return apply


def _added(kind: str, place: int, **options: object) -> Callable[[Pair, Style], None]:
    def apply(pair: Pair, style: Style) -> None:
        pair.side(culprit(style)).preprocess.insert(place, Part(kind, dict(options)))

    return apply


def _unscaled_apply(pair: Pair, style: Style) -> None:
    pair.side(culprit(style)).preprocess[0] = Part("convert")


def _twice_apply(pair: Pair, style: Style) -> Node:
    side = pair.side(culprit(style))
    shape = side.nodes[0].shape
    node = Node("rescale", {"by": 255}, 1, shape=shape, out=shape)
    side.nodes.insert(0, node)
    return node


def _lower_apply(pair: Pair, style: Style) -> None:
    pair.torch.preprocess[0]["lower"] = True


def _colour(pair: Pair, style: Style) -> None:
    _steps("images", _scale)(pair, style)
    if pair.input_shape[-1] != 3:
        raise Unsuitable("one channel")


def _crop_prepare(pair: Pair, style: Style) -> None:
    """Cut the middle out of the images."""
    _needs("images")(pair, style)
    size = pair.input_shape[0]
    pair.input_shape = (size + 4, size + 4, *pair.input_shape[2:])
    for side in pair.sides:
        side.preprocess = [Part("crop", {"first": 2, "size": size}), Part("scale", {"by": 255})]


def _crop_apply(pair: Pair, style: Style) -> None:
    pair.side(culprit(style)).preprocess[0]["first"] = style.pick("first", (1, 3))


def _window_prepare(pair: Pair, style: Style) -> None:
    """Cut the last steps out of longer series."""
    _needs("series")(pair, style)
    steps = pair.input_shape[0]
    pair.input_shape = (steps + 3, *pair.input_shape[1:])
    for side in pair.sides:
        side.preprocess = [Part("window", {"first": 3, "size": steps})]


def _window_apply(pair: Pair, style: Style) -> None:
    pair.side(culprit(style)).preprocess[0]["first"] = style.pick("first", (2, 0))


def _order_prepare(pair: Pair, style: Style) -> None:
    """Shuffle with one permutation, and keep the smaller last batch."""
    count = pair.data["examples"]
    size = style.pick("size", [size for size in (5, 6, 7, 9) if count % size])
    options = {"size": size, "shuffle": style.pick("shuffle", (0, 1, 42)), "drop": False,
               "generator": style.pick("generator", ("default_rng", "RandomState"))}  # fmt: skip
    for side in pair.sides:
        side.batches = Part("batches", dict(options))


def _batches(pair: Pair, framework: str) -> Part:
    batches = pair.side(framework).batches
    if batches is None:
        raise Unsuitable("no batches")
    return batches


def _unshuffled_apply(pair: Pair, style: Style) -> None:
    _batches(pair, culprit(style))["shuffle"] = None


def _seed_apply(pair: Pair, style: Style) -> None:
    _batches(pair, culprit(style))["shuffle"] = style.pick("other seed", (7, 123, 2024))


def _drop_apply(pair: Pair, style: Style) -> None:
    _batches(pair, culprit(style))["drop"] = True


KINDS = (
    Kind("not-scaled", "pixels divided by 255 on one side only", "data", "D77", IMAGES,
         _steps("images", _scale), _unscaled_apply, PREPROCESS, accept=("forward",), weight=3),
    Kind("scaled-twice", "pixels divided by 255 twice", "data", "D77", ("conv", "residual"),
         _steps("images", _scale), _twice_apply, PREPROCESS, accept=("forward",), weight=2),
    Kind("not-centred", "mean and standard deviation subtracted on one side only", "data", "D77",
         IMAGES, _steps("images", _scale, _centre), _removed(1), PREPROCESS,
         accept=("forward",), weight=3),
    Kind("deviation", "standard deviation with n - 1 against n", "data", "D78", TABLES,
         _steps("features", _standardise), _changed(0, ddof=1), PREPROCESS, weight=2),
    Kind("median", "the lower of two middle values against their mean", "data", "D79", TABLES,
         _steps("features", _median), _lower_apply, PREPROCESS),
    Kind("not-shuffled", "shuffled on one side only", "data", "D80", EVERY_FAMILY,
         _order_prepare, _unshuffled_apply, ORDER, causes=("D81",), weight=2),
    Kind("last-batch", "the smaller last batch is left out on one side", "data", "D80",
         EVERY_FAMILY, _order_prepare, _drop_apply, ORDER),
    Kind("other-shuffle", "another seed of the shuffle", "data", OUTSIDE, EVERY_FAMILY,
         _order_prepare, _seed_apply, ORDER, causes=("D80", "D81")),
    Kind("standardise-axis", "rows standardised instead of columns", "data", OUTSIDE, TABLES,
         _steps("features", _standardise), _changed(0, axis=1), PREPROCESS,
         causes=("D77", "D78")),
    Kind("channel-order", "BGR against RGB", "data", OUTSIDE, IMAGES, _colour,
         _added("flip_channels", 0), PREPROCESS, causes=("D77",)),
    Kind("crop", "a crop that begins one pixel off", "data", OUTSIDE, IMAGES, _crop_prepare,
         _crop_apply, PREPROCESS),
    Kind("window", "a window that begins one step off", "data", OUTSIDE, SERIES,
         _window_prepare, _window_apply, PREPROCESS),
    Kind("reversed", "series read backwards", "data", OUTSIDE, ("series", "recurrent"),
         _needs("series"), _added("reverse", 0), PREPROCESS, accept=("forward",)),
    Kind("no-logarithm", "values compressed on one side only", "data", OUTSIDE, TABLES,
         _steps("features", _logarithm), _removed(0), PREPROCESS, causes=("D77",)),
)  # fmt: skip
