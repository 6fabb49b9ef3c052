"""Faults of the loss and of the metric."""

from __future__ import annotations

from collections.abc import Callable

from ..design import Node, Pair, Part
from ..families import logits
from ..style import Style
from .kind import EVERY_FAMILY, OUTSIDE, Kind, Unsuitable, culprit, shapes

LOSS = frozenset({"loss", "head", "metric"})
METRIC = frozenset({"metric", "head"})
CLIPPED = LOSS | {"optimizer", "preprocess"}
CLASSES = ("classes",)
VALUES = ("values",)
Change = Callable[[Pair, Style], None]


def set_loss(pair: Pair, kind: str, **options: object) -> None:
    """Give both sides a loss, and no metric that might not fit."""
    for side in pair.sides:
        side.loss = Part(kind, dict(options))
        side.metric = None


def loss_of(pair: Pair, framework: str) -> Part:
    """Return the loss of a side."""
    loss = pair.side(framework).loss
    if loss is None:
        raise Unsuitable("no loss")
    return loss


def _logits_prepare(pair: Pair, style: Style) -> None:
    logits(pair)


def _logits_apply(pair: Pair, style: Style) -> None:
    loss_of(pair, "keras")["form"] = "probabilities"


def _append(pair: Pair, framework: str, kind: str) -> None:
    """Append an activation to one side's model."""
    side = pair.side(framework)
    last = side.nodes[-1]
    side.nodes.append(Node(kind, {}, 1, shape=last.out, out=last.out))
    side.head = kind


def _twice_prepare(pair: Pair, style: Style) -> None:
    """Make the Keras side return probabilities, or both return logits."""
    logits(pair)
    for side in pair.sides:
        side.metric = None
    if style.chance("both return probabilities"):
        _append(pair, "keras", "softmax" if pair.task == "classes" else "sigmoid")
        loss_of(pair, "keras")["form"] = "probabilities"


def _twice_apply(pair: Pair, style: Style) -> None:
    """Make the PyTorch side give probabilities to its loss; Keras would notice, and help."""
    _append(pair, "torch", "softmax" if pair.task == "classes" else "sigmoid")


def _clipped_prepare(pair: Pair, style: Style) -> None:
    """Make the model so sure that some probabilities are below 1e-7."""
    logits(pair)
    hidden = sum(node.kind == "dense" for node in pair.torch.nodes) - 1
    pair.data["size"] = 40.0 * 2**hidden
    for side in pair.sides:
        if any(node.kind in ("tanh", "sigmoid") for node in side.nodes):
            raise Unsuitable("the outputs are small")
        side.metric = None
        side.optimizer = Part("sgd", {"lr": 1e-4})
    _append(pair, "keras", "softmax" if pair.task == "classes" else "sigmoid")
    loss_of(pair, "keras")["form"] = "probabilities"


def _clipped_apply(pair: Pair, style: Style) -> None:
    """Compute the probabilities by hand; from Keras's function, its loss would take the logits."""
    node = pair.keras.nodes[-1]
    node["form"] = {"softmax": "exponential", "sigmoid": "logistic"}[node.kind]


def _distance_prepare(pair: Pair, style: Style) -> None:
    """Compare vectors, some of which are zero and predicted to be zero."""
    _vectors(pair, style)
    for side in pair.sides:
        for node in side.all("dense"):
            node["bias"] = False
    pair.data["zero rows"] = style.pick("zero rows", (4, 5, 7))
    pair.data["zero targets"] = True
    set_loss(pair, "distance")


def _distance_apply(pair: Pair, style: Style) -> None:
    loss_of(pair, "keras")["mistake"] = True


def _flat_prepare(pair: Pair, style: Style) -> None:
    """Targets of shape (N,), and outputs that are squeezed to it."""
    pair.data["flat targets"] = True
    node = pair.torch.nodes[-1]
    pair.torch.nodes.append(Node("squeeze", {}, 1, shape=node.out, out=node.out))
    for side in pair.sides:
        side.metric = None


def _flat_apply(pair: Pair, style: Style) -> None:
    del pair.torch.nodes[-1]


def _weights_prepare(pair: Pair, style: Style) -> None:
    logits(pair)
    count = pair.data["outputs"]
    weights = style.shuffled("class weights", [0.5, 1.0, 2.0, 4.0, 8.0, 3.0])[:count]
    set_loss(pair, "cross_entropy", form="logits", weights=weights)
    loss_of(pair, "keras")["divides by"] = "weights"


def _weights_apply(pair: Pair, style: Style) -> None:
    loss_of(pair, "keras")["divides by"] = "examples"


def _smoothing_prepare(pair: Pair, style: Style) -> None:
    logits(pair)
    smoothing = style.pick("smoothing", (0.1, 0.2, 0.05))
    count = pair.data["outputs"]
    set_loss(pair, "cross_entropy", form="logits", smoothing=smoothing, classes=count)


def _smoothing_apply(pair: Pair, style: Style) -> None:
    loss_of(pair, culprit(style))["smoothing"] = None


def _ignored_prepare(pair: Pair, style: Style) -> None:
    logits(pair)
    set_loss(pair, "cross_entropy", form="logits", ignored=0)


def _ignored_apply(pair: Pair, style: Style) -> None:
    loss_of(pair, culprit(style))["ignored"] = None


def _kl_prepare(pair: Pair, style: Style) -> None:
    logits(pair)
    set_loss(pair, "kl")
    loss_of(pair, "torch")["reduction"] = "batchmean"
    pair.data["targets"] = "distribution"
    _append(pair, "torch", "log_softmax")
    _append(pair, "keras", "softmax")


def _kl_apply(pair: Pair, style: Style) -> None:
    loss_of(pair, "torch")["reduction"] = "mean"


def _poisson_prepare(pair: Pair, style: Style) -> None:
    set_loss(pair, "poisson")
    loss_of(pair, "torch")["log input"] = False
    pair.data["targets"] = "counts"
    for side in pair.sides:
        last = side.nodes[-1]
        side.nodes.append(Node("softplus", {}, 9, shape=last.out, out=last.out))


def _poisson_apply(pair: Pair, style: Style) -> None:
    loss_of(pair, "torch")["log input"] = True


def _huber_prepare(pair: Pair, style: Style) -> None:
    set_loss(pair, "huber", delta=style.pick("delta", (0.5, 2.0, 0.25)))


def _huber_apply(pair: Pair, style: Style) -> None:
    loss_of(pair, "torch").kind = "smooth_l1"


def _delta_apply(pair: Pair, style: Style) -> None:
    loss_of(pair, culprit(style))["delta"] = 1.0


def _reduction_prepare(pair: Pair, style: Style) -> None:
    for side in pair.sides:
        if side.loss is not None:
            side.loss["reduction"] = "mean"


def _reduction_apply(pair: Pair, style: Style) -> None:
    loss_of(pair, culprit(style))["reduction"] = "sum"


def _vectors(pair: Pair, style: Style) -> None:
    """Make the models return vectors."""
    units = style.pick("vector", (3, 4, 5))
    pair.data["outputs"] = units
    for side in pair.sides:
        [node for node in side.nodes if node.kind == "dense"][-1]["units"] = units
    shapes(pair)


def _cosine_prepare(pair: Pair, style: Style) -> None:
    _vectors(pair, style)
    set_loss(pair, "cosine")


def _own(kind: str, **options: tuple[float, ...]) -> Change:
    """Return ``prepare`` for a loss that users write themselves."""

    def prepare(pair: Pair, style: Style) -> None:
        logits(pair)
        drawn = {name: style.pick(name, values) for name, values in options.items()}
        set_loss(pair, kind, **drawn)

    return prepare


def _mistake_apply(pair: Pair, style: Style) -> None:
    loss_of(pair, culprit(style))["mistake"] = True


def _threshold_prepare(pair: Pair, style: Style) -> None:
    logits(pair)
    for side in pair.sides:
        side.metric = Part("binary_accuracy", {"threshold": 0.0})


def _threshold_apply(pair: Pair, style: Style) -> None:
    _metric(pair, culprit(style))["threshold"] = 0.5


def _metric(pair: Pair, framework: str) -> Part:
    metric = pair.side(framework).metric
    if metric is None:
        raise Unsuitable("no metric")
    return metric


def _root_prepare(pair: Pair, style: Style) -> None:
    for side in pair.sides:
        side.metric = Part("root_mean_squared_error")


def _root_apply(pair: Pair, style: Style) -> None:
    _metric(pair, culprit(style)).kind = "mean_squared_error"


def _top_prepare(pair: Pair, style: Style) -> None:
    """Count the three best classes; five are the default of Keras."""
    logits(pair)
    count = 7
    pair.data["outputs"] = count
    for side in pair.sides:
        [node for node in side.nodes if node.kind == "dense"][-1]["units"] = count
        side.metric = Part("top_k", {"k": 3})
    shapes(pair)


def _top_apply(pair: Pair, style: Style) -> None:
    _metric(pair, "keras")["k"] = 5


KINDS = (
    Kind("from-logits", "raw outputs given to a loss that expects probabilities", "loss", "D37",
         EVERY_FAMILY, _logits_prepare, _logits_apply, LOSS, ("classes", "binary"), weight=4),
    Kind("softmax-twice", "probabilities given to a loss that expects logits", "loss", "D38",
         EVERY_FAMILY, _twice_prepare, _twice_apply, LOSS, ("classes", "binary"), weight=4),
    Kind("clipped-softmax", "a softmax written by hand is clipped in the loss", "loss", "D34",
         ("dense",), _clipped_prepare, _clipped_apply, CLIPPED, CLASSES),
    Kind("clipped-sigmoid", "a sigmoid written by hand is clipped in the loss", "loss", "D39",
         ("dense",), _clipped_prepare, _clipped_apply, CLIPPED, ("binary",)),
    Kind("norm-at-zero", "the gradient of a norm at zero", "gradient", "D31", ("dense",),
         _distance_prepare, _distance_apply, LOSS | {"preprocess"}, VALUES, accept=("loss",)),
    Kind("broadcast", "targets (N,) against outputs (N, 1)", "loss", "D44", EVERY_FAMILY,
         _flat_prepare, _flat_apply, LOSS, VALUES, weight=4),
    Kind("class-weights", "class weights: divided by their sum or by the examples", "loss",
         "D40", EVERY_FAMILY, _weights_prepare, _weights_apply, LOSS, CLASSES, weight=2),
    Kind("label-smoothing", "label smoothing on one side only", "loss", "D41", EVERY_FAMILY,
         _smoothing_prepare, _smoothing_apply, LOSS, CLASSES),
    Kind("ignored-label", "a label is ignored on one side only", "loss", "D42", EVERY_FAMILY,
         _ignored_prepare, _ignored_apply, LOSS, CLASSES),
    Kind("kl-mean", "KL divergence averaged over all elements", "loss", "D43", EVERY_FAMILY,
         _kl_prepare, _kl_apply, LOSS, CLASSES),
    Kind("poisson-log", "Poisson loss of the logarithm", "loss", "D45", EVERY_FAMILY,
         _poisson_prepare, _poisson_apply, LOSS, VALUES),
    Kind("smooth-l1", "SmoothL1Loss against Huber with another width", "loss", "D45",
         EVERY_FAMILY, _huber_prepare, _huber_apply, LOSS, VALUES),
    Kind("cosine-sign", "1 - cos against -cos", "loss", "D45", EVERY_FAMILY, _cosine_prepare,
         _mistake_apply, LOSS, VALUES),
    Kind("huber-width", "Huber loss left at its default width", "loss", OUTSIDE, EVERY_FAMILY,
         _huber_prepare, _delta_apply, LOSS, VALUES, causes=("D45",)),
    Kind("loss-sum", "sum against mean", "loss", OUTSIDE, EVERY_FAMILY, _reduction_prepare,
         _reduction_apply, LOSS),
    Kind("quantile-sign", "the error of a quantile loss with the other sign", "loss", OUTSIDE,
         EVERY_FAMILY, _own("quantile", q=(0.1, 0.25, 0.9)), _mistake_apply, LOSS, VALUES),
    Kind("charbonnier-width", "the width of a loss is not squared", "loss", OUTSIDE,
         EVERY_FAMILY, _own("charbonnier", width=(0.1, 0.01)), _mistake_apply, LOSS, VALUES),
    Kind("half-squares", "half of the squares against all", "loss", OUTSIDE, EVERY_FAMILY,
         _own("half squares"), _mistake_apply, LOSS, VALUES),
    Kind("focal-weight", "a focal loss weighs the other probability", "loss", OUTSIDE,
         EVERY_FAMILY, _own("focal", gamma=(2.0, 1.0)), _mistake_apply, LOSS, ("binary",)),
    Kind("accuracy-threshold", "binary accuracy of logits with the threshold 0.5", "metric",
         "D84", EVERY_FAMILY, _threshold_prepare, _threshold_apply, METRIC, ("binary",),
         weight=2),
    Kind("no-root", "mean squared error against its root", "metric", OUTSIDE, EVERY_FAMILY,
         _root_prepare, _root_apply, METRIC, VALUES),
    Kind("top-k", "another number of best classes", "metric", OUTSIDE, EVERY_FAMILY,
         _top_prepare, _top_apply, METRIC, CLASSES),
)  # fmt: skip
