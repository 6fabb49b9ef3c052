"""Faults of the loss, the optimizer, the schedule, the buffers and the metric."""

from __future__ import annotations

from ..design import DEFAULTS, Node, Pair, Part
from ..families import logits
from ..style import Style
from .kind import (
    EVERY_FAMILY,
    Kind,
    Unsuitable,
    culprit,
    other,
    set_everywhere,
    set_on,
)

LOSS = frozenset({"loss", "head"})
OPTIMIZER = frozenset({"optimizer"})
SCHEDULE = frozenset({"schedule", "optimizer"})
# Adaptive optimizers amplify gradients that are nothing but rounding, as in attention, and
# Keras treats the gradients of an embedding differently.
WITHOUT_TOKENS = tuple(family for family in EVERY_FAMILY if family != "tokens")
ADAPTIVE = tuple(family for family in EVERY_FAMILY if family not in ("tokens", "attention"))


def _logits_prepare(pair: Pair, style: Style) -> None:
    logits(pair)


def _logits_apply(pair: Pair, style: Style) -> None:
    _loss(pair, "keras")["form"] = "probabilities"


def _loss(pair: Pair, framework: str) -> Part:
    loss = pair.side(framework).loss
    if loss is None:
        raise Unsuitable("no loss")
    return loss


def _probabilities(pair: Pair, framework: str, form: str) -> None:
    """Append a softmax or a sigmoid to one side's model, with the loss of a form."""
    side = pair.side(framework)
    kind = "softmax" if pair.task == "classes" else "sigmoid"
    last = side.nodes[-1]
    side.nodes.append(Node(kind, {}, 1, shape=last.out, out=last.out))
    side.head = kind
    _loss(pair, framework)["form"] = form
    if side.metric is not None and side.metric.kind == "binary_accuracy":
        side.metric["threshold"] = 0.5


def _twice_prepare(pair: Pair, style: Style) -> None:
    """Make the innocent side return probabilities, or both return logits."""
    logits(pair)
    if culprit(style) == "torch":
        _probabilities(pair, "keras", "probabilities")


def _twice_apply(pair: Pair, style: Style) -> None:
    framework = culprit(style)
    if framework == "torch":
        _probabilities(pair, "torch", "logits")
    else:
        _probabilities(pair, "keras", "logits")


def _adam_prepare(pair: Pair, style: Style) -> None:
    rate = style.pick("lr", (1e-3, 2e-3))
    for side in pair.sides:
        side.optimizer = Part("adam", {"lr": rate, "eps": 1e-15})


def _optimizer(pair: Pair, framework: str) -> Part:
    optimizer = pair.side(framework).optimizer
    if optimizer is None:
        raise Unsuitable("no optimizer")
    return optimizer


def _adam_apply(pair: Pair, style: Style) -> None:
    for framework in ("torch", "keras"):
        _optimizer(pair, framework)["eps"] = DEFAULTS[framework]["adam", "eps"]


def _rmsprop_prepare(pair: Pair, style: Style) -> None:
    rate = style.pick("lr", (1e-3, 2e-3))
    rho = style.pick("rho", (0.9, 0.99))
    for side in pair.sides:
        side.optimizer = Part("rmsprop", {"lr": rate, "rho": rho, "eps": 1e-20})


def _rmsprop_apply(pair: Pair, style: Style) -> None:
    framework = culprit(style)
    part = _optimizer(pair, framework)
    part["eps"] = DEFAULTS[framework]["rmsprop", "eps"]
    part["rho"] = DEFAULTS[framework]["rmsprop", "rho"]
    innocent = _optimizer(pair, other(framework))
    if innocent["rho"] == part["rho"]:
        raise Unsuitable("the same decay")


def _momentum_prepare(pair: Pair, style: Style) -> None:
    """Plain SGD with a rate that drops after a few updates."""
    rate = style.pick("lr", (0.05, 0.1, 0.2))
    at = style.pick("at", (3, 4, 5))
    for side in pair.sides:
        side.optimizer = Part("sgd", {"lr": rate})
        side.schedule = Part("piecewise", {"at": [at], "gamma": 0.1, "unit": "batch"})


def _momentum_apply(pair: Pair, style: Style) -> None:
    for framework in ("torch", "keras"):
        _optimizer(pair, framework)["momentum"] = 0.9


def _clip_prepare(pair: Pair, style: Style) -> None:
    rate = style.pick("lr", (0.05, 0.1))
    bound = style.pick("bound", (0.1, 0.05, 0.2))
    for side in pair.sides:
        side.optimizer = Part("sgd", {"lr": rate, "clip": ("global", bound)})


def _clip_apply(pair: Pair, style: Style) -> None:
    part = _optimizer(pair, "keras")
    part["clip"] = ("each", part["clip"][1])


def _decay_prepare(pair: Pair, style: Style) -> None:
    rate = style.pick("lr", (1e-3, 5e-3))
    decay = style.pick("decay", (0.01, 0.02, 0.05))
    for side in pair.sides:
        side.optimizer = Part("adamw", {"lr": rate, "eps": 1e-15, "weight_decay": decay})


def _decay_apply(pair: Pair, style: Style) -> None:
    framework = culprit(style)
    part = _optimizer(pair, framework)
    usual = DEFAULTS[framework]["adamw", "weight_decay"]
    if part["weight_decay"] == usual:
        innocent = _optimizer(pair, other(framework))
        innocent["weight_decay"] = DEFAULTS[other(framework)]["adamw", "weight_decay"]
        return
    part["weight_decay"] = usual


def _unit_prepare(pair: Pair, style: Style) -> None:
    """Halve the rate every few epochs, which Keras counts in updates."""
    rate = style.pick("lr", (0.1, 0.2))
    steps = style.pick("steps per epoch", (5, 10, 20))
    epochs = style.pick("epochs", (1, 2))
    for side in pair.sides:
        side.optimizer = Part("sgd", {"lr": rate})
        side.schedule = Part("step", {"size": steps * epochs, "gamma": 0.5, "unit": "epoch",
                                      "steps_per_epoch": steps})  # fmt: skip


def _unit_apply(pair: Pair, style: Style) -> None:
    schedule = pair.keras.schedule
    if schedule is None:
        raise Unsuitable("no schedule")
    schedule["size"] //= schedule["steps_per_epoch"]


def _bn_momentum_prepare(pair: Pair, style: Style) -> None:
    set_everywhere(pair, "bn", "momentum", style.pick("bn momentum", (0.1, 0.01, 0.05)))


def _bn_momentum_apply(pair: Pair, style: Style) -> Node:
    framework = culprit(style)
    node = pair.side(framework).first("bn")
    if node is None:
        raise Unsuitable("no BatchNorm")
    usual = DEFAULTS[framework]["bn", "momentum"]
    value = round(1 - node["momentum"], 6)
    if node["momentum"] != usual and style.chance("default", 0.5):
        value = usual
    return set_on(pair.side(framework), "bn", "momentum", value)


def _threshold_prepare(pair: Pair, style: Style) -> None:
    logits(pair)
    for side in pair.sides:
        side.metric = Part("binary_accuracy", {"threshold": 0.0})


def _threshold_apply(pair: Pair, style: Style) -> None:
    metric = pair.keras.metric
    if metric is None:
        raise Unsuitable("no metric")
    metric["threshold"] = 0.5


def _broadcast_prepare(pair: Pair, style: Style) -> None:
    pair.data["flat targets"] = True
    node = pair.torch.nodes[-1]
    pair.torch.nodes.append(Node("squeeze", {}, 1, shape=node.out, out=node.out))
    if pair.torch.metric is not None:
        pair.torch.metric = None
        pair.keras.metric = None


def _squeeze_apply(pair: Pair, style: Style) -> None:
    del pair.torch.nodes[-1]


KINDS = (
    Kind("from-logits", "raw outputs given to a loss that expects probabilities", "loss", "D37",
         EVERY_FAMILY, _logits_prepare, _logits_apply, LOSS, ("classes", "binary"), weight=2),
    Kind("softmax-twice", "probabilities given to a loss that expects logits", "loss", "D38",
         EVERY_FAMILY, _twice_prepare, _twice_apply, LOSS, ("classes", "binary"), weight=3),
    Kind("adam-epsilon", "Adam with each framework's default epsilon", "update", "D47",
         ADAPTIVE, _adam_prepare, _adam_apply, OPTIMIZER, causes=("D46",), weight=2),
    Kind("rmsprop-defaults", "RMSprop left at its defaults", "update", "D48", ADAPTIVE,
         _rmsprop_prepare, _rmsprop_apply, OPTIMIZER, weight=2),
    Kind("momentum-rate", "momentum with a rate that drops", "update", "D54", EVERY_FAMILY,
         _momentum_prepare, _momentum_apply, SCHEDULE),
    Kind("clip-norm", "each gradient limited, not their common norm", "update", "D59",
         WITHOUT_TOKENS, _clip_prepare, _clip_apply, OPTIMIZER, weight=2),
    Kind("adamw-decay", "AdamW left at its default decay", "update", "D57", ADAPTIVE,
         _decay_prepare, _decay_apply, OPTIMIZER),
    Kind("schedule-unit", "a decay counted in epochs on one side, in updates on the other",
         "schedule", "D67", EVERY_FAMILY, _unit_prepare, _unit_apply, SCHEDULE,
         accept=("update",), weight=2),
    Kind("bn-momentum", "BatchNorm momentum: the weight of the new or of the old value",
         "buffers", "D19", ("normalised", "residual"), _bn_momentum_prepare, _bn_momentum_apply,
         frozenset({"buffers"}), weight=2),
    Kind("accuracy-threshold", "binary accuracy of logits with the threshold 0.5", "metric",
         "D84", EVERY_FAMILY, _threshold_prepare, _threshold_apply, frozenset({"metric", "head"}),
         ("binary",)),
    Kind("broadcast", "targets (N,) against outputs (N, 1)", "loss", "D44", EVERY_FAMILY,
         _broadcast_prepare, _squeeze_apply, LOSS, ("values",), weight=2),
)  # fmt: skip
