"""Faults of loading: weights arrive in the wrong layout or order."""

from __future__ import annotations

from collections.abc import Callable

from ..code import PARAMETERS
from ..design import Node, Pair, Part
from ..families import logits
from ..style import Style
from .kind import OUTSIDE, Kind, Unsuitable, shapes

LOADING = frozenset({
    "loading", "loss", "optimizer", "metric", "schedule", "head", "buffers", "callback", "order",
    "frozen", "gradient", "time",
})  # fmt: skip
EVERY_LAYER = ("gate order", "height and width swapped", "mean and variance swapped")
Needs = Callable[[Pair, Style], None]


def load(pair: Pair) -> None:
    """Make both sides load weights, for inference."""
    if any(side.all("block") for side in pair.sides):
        raise Unsuitable("blocks are not loaded")
    logits(pair)
    for side in pair.sides:
        side.loss = None
        side.optimizer = None
        side.metric = None
        side.schedule = None
        side.loading = Part("npz")
    pair.keras.forms["named"] = True


def _loader(needs: Needs, kind: str, mistake: str) -> tuple[Needs, Callable[[Pair, Style], Node]]:
    """Return ``prepare`` and ``apply`` of a mistake in loading one kind of layer."""

    def prepare(pair: Pair, style: Style) -> None:
        needs(pair, style)
        load(pair)
        shapes(pair)

    def apply(pair: Pair, style: Style) -> Node:
        node = _target(pair, kind, mistake)
        if pair.keras.loading is None:
            raise Unsuitable("nothing is loaded")
        nodes = pair.keras.all(kind) if mistake in EVERY_LAYER else [node]
        pair.keras.loading["mistakes"] = {other.id: mistake for other in nodes}
        return node

    return prepare, apply


def _target(pair: Pair, kind: str, mistake: str) -> Node:
    nodes = [node for node in pair.keras.all(kind) if node.kind in PARAMETERS]
    if mistake == "not transposed":
        nodes = [node for node in nodes if node.shape[-1] == node["units"]]
    if mistake == "flatten order":
        places = [i for i, node in enumerate(pair.keras.nodes) if node.kind == "flatten"]
        nodes = [node for node in pair.keras.nodes[places[0] :] if node.kind == kind]
    if not nodes:
        raise Unsuitable(f"no {kind}")
    return nodes[0]


def _has_flatten(pair: Pair, style: Style) -> None:
    if pair.torch.first("flatten") is None:
        raise Unsuitable("nothing is flattened")


def _square(pair: Pair, style: Style) -> None:
    """Give all hidden dense layers one width, so that a second one is square."""
    hidden = [node for node in pair.torch.nodes if node.kind == "dense"][:-1]
    if len(hidden) < 2:
        raise Unsuitable("one hidden layer")
    units = hidden[0]["units"]
    for side in pair.sides:
        for node in [node for node in side.nodes if node.kind == "dense"][:-1]:
            node["units"] = units


def _has(kind: str) -> Needs:
    def needs(pair: Pair, style: Style) -> None:
        if pair.torch.first(kind) is None:
            raise Unsuitable(f"no {kind}")
        for side in pair.sides:
            for node in side.all(kind):
                if kind == "lstm":
                    node["bias"] = True

    return needs


def _depthwise(pair: Pair, style: Style) -> None:
    """Make the second convolution depthwise."""
    for side in pair.sides:
        nodes = side.all("conv2d")
        if len(nodes) < 2:
            raise Unsuitable("one convolution")
        node = nodes[1]
        node.kind = "depthwise"
        node.index = 1
        node.options = {"size": 3, "multiplier": 1, "padding": "same", "bias": True}


KINDS = (
    Kind("flatten-order", "the first dense layer loaded without the CHW to HWC permutation",
         "weights", "D17", ("conv",), *_loader(_has_flatten, "dense", "flatten order"), LOADING,
         accept=("forward",), weight=4),
    Kind("dense-transpose", "a square dense kernel that is not transposed", "weights", "D10",
         ("dense", "normalised"), *_loader(_square, "dense", "not transposed"), LOADING,
         accept=("forward",)),
    Kind("kernel-axes", "height and width of the kernels swapped", "weights", "D11",
         ("conv", "normalised"), *_loader(_has("conv2d"), "conv2d", "height and width swapped"),
         LOADING, accept=("forward",), weight=2),
    Kind("depthwise-axes", "height and width of a depthwise kernel swapped", "weights", "D12",
         ("conv",), *_loader(_depthwise, "depthwise", "height and width swapped"), LOADING,
         accept=("forward",)),
    Kind("gru-gates", "GRU weights loaded in PyTorch's gate order", "weights", "D15",
         ("recurrent", "tokens"), *_loader(_has("gru"), "gru", "gate order"), LOADING,
         accept=("forward",), weight=3),
    Kind("lstm-gates", "LSTM weights loaded in another gate order", "weights", "D14",
         ("recurrent",), *_loader(_has("lstm"), "lstm", "gate order"), LOADING,
         accept=("forward",)),
    Kind("lstm-bias", "only one of the LSTM's two biases is loaded", "weights", "D16",
         ("recurrent",), *_loader(_has("lstm"), "lstm", "second bias left out"), LOADING,
         accept=("forward",), weight=2),
    Kind("norm-swap", "mean and variance of BatchNorm swapped", "weights", OUTSIDE,
         ("normalised",), *_loader(_has("bn"), "bn", "mean and variance swapped"), LOADING,
         accept=("forward",)),
    Kind("norm-weights", "scale and shift of a normalisation swapped", "weights", OUTSIDE,
         ("normalised",), *_loader(_has("ln"), "ln", "weight and bias swapped"), LOADING,
         accept=("forward",)),
    Kind("not-loaded", "a layer whose weights are not loaded", "weights", OUTSIDE,
         ("dense", "conv", "series"), *_loader(_has("dense"), "dense", "not loaded"), LOADING,
         accept=("forward",)),
)  # fmt: skip
