"""Faults of the optimizer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..design import DEFAULTS, Node, Pair, Part
from ..style import Style
from .kind import EVERY_FAMILY, OUTSIDE, Kind, Unsuitable, culprit, other, set_on

OPTIMIZER = frozenset({"optimizer"})
SCHEDULE = frozenset({"schedule", "optimizer"})
WITHOUT_TOKENS = tuple(family for family in EVERY_FAMILY if family not in ("tokens", "masked"))
# Adaptive optimizers amplify gradients that are nothing but rounding, as in attention, and
# Keras treats the gradients of an embedding differently.
ADAPTIVE = tuple(family for family in WITHOUT_TOKENS if family != "attention")
TINY = 1e-15  # an epsilon that is too small to matter wherever it is added
Prepare = Callable[[Pair, Style], None]


def optimizer_of(pair: Pair, framework: str) -> Part:
    """Return the optimizer of a side."""
    optimizer = pair.side(framework).optimizer
    if optimizer is None:
        raise Unsuitable("no optimizer")
    return optimizer


def both(kind: str, **options: Any) -> Prepare:
    """Return ``prepare`` that gives both sides an optimizer.

    Parameters
    ----------
    kind : str
        The optimizer.
    **options : object
        Its settings; one of a tuple is drawn.
    """

    def prepare(pair: Pair, style: Style) -> None:
        drawn = {
            name: style.pick(name, value) if isinstance(value, tuple) else value
            for name, value in options.items()
        }
        for side in pair.sides:
            side.optimizer = Part(kind, dict(drawn))

    return prepare


def left_out(*names: str) -> Prepare:
    """Return ``apply`` that leaves settings of the culprit's optimizer at their defaults."""

    def apply(pair: Pair, style: Style) -> None:
        framework = culprit(style)
        part = optimizer_of(pair, framework)
        innocent = optimizer_of(pair, other(framework))
        for name in names:
            part[name] = DEFAULTS[framework][part.kind, name]
        if "lr" in names:
            part["lr left out"] = True
        if all(part[name] == innocent[name] for name in names):
            raise Unsuitable("the default is right")

    return apply


def _epsilon_apply(pair: Pair, style: Style) -> None:
    for framework in ("torch", "keras"):
        part = optimizer_of(pair, framework)
        part["eps"] = DEFAULTS[framework][part.kind, "eps"]


def _same_epsilon_apply(pair: Pair, style: Style) -> None:
    """Both sides have the same epsilon, which has another place in the formula."""
    eps = style.pick("eps", (1e-7, 1e-6, 1e-8))
    for framework in ("torch", "keras"):
        optimizer_of(pair, framework)["eps"] = eps


def _momentum_prepare(pair: Pair, style: Style) -> None:
    """Plain SGD with a rate that drops after a few updates."""
    rate = style.pick("lr", (0.05, 0.1, 0.2))
    at = style.pick("at", (3, 4, 5))
    for side in pair.sides:
        side.optimizer = Part("sgd", {"lr": rate})
        side.schedule = Part("piecewise", {"at": [at], "gamma": 0.1, "unit": "batch"})


def _momentum_apply(pair: Pair, style: Style) -> None:
    for framework in ("torch", "keras"):
        optimizer_of(pair, framework)["momentum"] = 0.9


def _clip_apply(pair: Pair, style: Style) -> None:
    part = optimizer_of(pair, "keras")
    part["clip"] = ("each", part["clip"][1])


def _clip_value_apply(pair: Pair, style: Style) -> None:
    part = optimizer_of(pair, culprit(style))
    part["clip"] = ("value", part["clip"][1])


def _no_clip_apply(pair: Pair, style: Style) -> None:
    optimizer_of(pair, culprit(style))["clip"] = None


def _clipped(pair: Pair, style: Style) -> None:
    rate = style.pick("lr", (0.05, 0.1))
    bound = style.pick("bound", (0.1, 0.05, 0.2))
    for side in pair.sides:
        side.optimizer = Part("sgd", {"lr": rate, "clip": ("global", bound)})


def _decay_apply(pair: Pair, style: Style) -> None:
    """Leave the decay out on one side, or on both if its default was right."""
    framework = culprit(style)
    for name in (framework, other(framework)):
        part = optimizer_of(pair, name)
        usual = DEFAULTS[name]["adamw", "weight_decay"]
        if part["weight_decay"] != usual:
            part["weight_decay"] = usual
            return


def _penalty_prepare(pair: Pair, style: Style) -> None:
    """Weight decay in PyTorch, and the penalty on the Keras side that equals it."""
    if any(node.kind not in _PLAIN for node in pair.keras.walk()):
        raise Unsuitable("layers without a penalty")
    rate = style.pick("lr", (0.05, 0.1))
    decay = style.pick("decay", (0.01, 0.02, 0.001))
    options: dict[str, Any] = {"lr": rate, "momentum": 0.9}
    pair.torch.optimizer = Part("sgd", {**options, "weight_decay": decay})
    pair.keras.optimizer = Part("sgd", options)
    pair.keras.l2 = decay / 2
    pair.not_compared += ["loss", "gradient"]


_PLAIN = {"dense", "conv2d", "conv1d", "relu", "tanh", "elu", "silu", "gelu", "leaky_relu",
          "sigmoid", "softplus", "softmax", "log_softmax", "flatten", "mean", "max_pool",
          "avg_pool", "dropout"}  # fmt: skip


def _double_penalty_apply(pair: Pair, style: Style) -> None:
    pair.keras.l2 = optimizer_of(pair, "torch")["weight_decay"]


def _decoupled_apply(pair: Pair, style: Style) -> None:
    pair.keras.l2 = None
    optimizer_of(pair, "keras")["weight_decay"] = optimizer_of(pair, "torch")["weight_decay"]


def _coupled_apply(pair: Pair, style: Style) -> None:
    optimizer_of(pair, "torch")["coupled"] = True


def _nadam_prepare(pair: Pair, style: Style) -> None:
    rate = style.pick("lr", (1e-3, 2e-3))
    for side in pair.sides:
        side.optimizer = Part("nadam", {"lr": rate, "eps": 1e-7, "momentum_decay": 1.0})


def _nadam_apply(pair: Pair, style: Style) -> None:
    optimizer_of(pair, "torch")["momentum_decay"] = DEFAULTS["torch"]["nadam", "momentum_decay"]


def _dampening_apply(pair: Pair, style: Style) -> None:
    optimizer_of(pair, "torch")["dampening"] = style.pick("dampening", (0.9, 0.5, 0.1))


def _setting_removed(name: str) -> Prepare:
    def apply(pair: Pair, style: Style) -> None:
        optimizer_of(pair, culprit(style))[name] = None

    return apply


def _part_apply(pair: Pair, style: Style) -> Node:
    """Give the PyTorch optimizer the parameters of the output layer only."""
    node = [node for node in pair.torch.nodes if node.kind == "dense"][-1]
    optimizer_of(pair, "torch")["parameters"] = "list(model.parameters())[-2:]"
    return node


def _table_prepare(pair: Pair, style: Style) -> None:
    """Adam, with an embedding of the user's own on the Keras side."""
    both("adam", lr=(1e-3, 5e-3), eps=TINY)(pair, style)
    set_on(pair.keras, "embedding", "table", True)


def _table_apply(pair: Pair, style: Style) -> Node:
    return set_on(pair.keras, "embedding", "table", False)


def _bias_prepare(pair: Pair, style: Style) -> None:
    """Train one of the two biases of PyTorch's LSTM only."""
    if pair.torch.first("lstm") is None:
        raise Unsuitable("no LSTM")
    for side in pair.sides:
        set_on(side, "lstm", "bias", True)
        side.optimizer = Part("sgd", {"lr": style.pick("lr", (0.05, 0.1, 0.2))})
    set_on(pair.torch, "lstm", "one bias", True)


def _bias_apply(pair: Pair, style: Style) -> Node:
    return set_on(pair.torch, "lstm", "one bias", False)


RATES = (1e-3, 2e-3, 5e-3)
KINDS = (
    Kind("adam-epsilon", "Adam with each framework's default epsilon", "update", "D47", ADAPTIVE,
         both("adam", lr=RATES, eps=TINY), _epsilon_apply, OPTIMIZER, causes=("D46",), weight=3),
    Kind("adam-epsilon-place", "Adam adds the same epsilon at another place", "update", "D47",
         ADAPTIVE, both("adam", lr=RATES, eps=TINY), _same_epsilon_apply, OPTIMIZER, weight=2),
    Kind("rmsprop-defaults", "RMSprop left at its defaults", "update", "D48", ADAPTIVE,
         both("rmsprop", lr=RATES, rho=(0.95, 0.8), eps=1e-20), left_out("rho", "eps"),
         OPTIMIZER, weight=2),
    Kind("adagrad-defaults", "Adagrad left at its defaults", "update", "D49", ADAPTIVE,
         both("adagrad", lr=(0.02, 0.05), initial=0.1, eps=1e-7), left_out("initial", "eps"),
         OPTIMIZER, weight=2),
    Kind("adadelta-rate", "Adadelta left at its default rate", "update", "D50", ADAPTIVE,
         both("adadelta", lr=(0.5, 0.1), rho=0.9, eps=1e-6), left_out("lr"), OPTIMIZER,
         weight=2),
    Kind("adamax-rate", "Adamax left at its default rate", "update", "D51", ADAPTIVE,
         both("adamax", lr=(5e-3, 1e-2), eps=1e-15), left_out("lr"), OPTIMIZER),
    Kind("nadam-decay", "Nadam with another schedule of its momentum", "update", "D52", ADAPTIVE,
         _nadam_prepare, _nadam_apply, OPTIMIZER),
    Kind("sgd-rate", "SGD left at its default rate", "update", "D53", EVERY_FAMILY,
         both("sgd", lr=(0.05, 0.1)), left_out("lr"), OPTIMIZER, weight=2),
    Kind("momentum-rate", "momentum with a rate that drops", "update", "D54", EVERY_FAMILY,
         _momentum_prepare, _momentum_apply, SCHEDULE, weight=2),
    Kind("dampening", "momentum with dampening on one side", "update", "D55", EVERY_FAMILY,
         both("sgd", lr=(0.05, 0.02), momentum=0.9), _dampening_apply, OPTIMIZER),
    Kind("decoupled-decay", "weight decay inside or outside of the momentum", "update", "D56",
         ("dense", "conv", "series"), _penalty_prepare, _decoupled_apply, OPTIMIZER,
         accept=("loss", "gradient"), weight=2),
    Kind("adam-decay", "Adam with weight decay against AdamW", "update", "D56", ADAPTIVE,
         both("adamw", lr=RATES, eps=TINY, weight_decay=(0.05, 0.1)), _coupled_apply, OPTIMIZER,
         weight=2),
    Kind("adamw-decay", "AdamW left at its default decay", "update", "D57", ADAPTIVE,
         both("adamw", lr=RATES, eps=TINY, weight_decay=(0.01, 0.02, 0.05)), _decay_apply,
         OPTIMIZER, weight=2),
    Kind("penalty-factor", "an L2 penalty twice as large as the decay", "update", "D58",
         ("dense", "conv", "series"), _penalty_prepare, _double_penalty_apply, OPTIMIZER,
         accept=("loss", "gradient"), weight=2),
    Kind("clip-norm", "each gradient limited, not their common norm", "update", "D59",
         WITHOUT_TOKENS, _clipped, _clip_apply, OPTIMIZER, weight=3),
    Kind("two-biases", "both biases of an LSTM are trained", "update", "D16", ("recurrent",),
         _bias_prepare, _bias_apply, OPTIMIZER | {"time"}, accept=("gradient",), weight=2),
    Kind("embedding-gradient", "Adam squares the gradients of a repeated word one by one",
         "update", "D95", ("tokens",), _table_prepare, _table_apply, OPTIMIZER | {"mask"},
         weight=2),
    Kind("clip-value", "gradients limited by value instead of by norm", "update", OUTSIDE,
         WITHOUT_TOKENS, _clipped, _clip_value_apply, OPTIMIZER, causes=("D59",)),
    Kind("no-clip", "gradients limited on one side only", "update", OUTSIDE, WITHOUT_TOKENS,
         _clipped, _no_clip_apply, OPTIMIZER, causes=("D59",)),
    Kind("no-momentum", "momentum on one side only", "update", OUTSIDE, EVERY_FAMILY,
         both("sgd", lr=(0.05, 0.02), momentum=0.9), _setting_removed("momentum"), OPTIMIZER),
    Kind("no-nesterov", "Nesterov's momentum on one side only", "update", OUTSIDE, EVERY_FAMILY,
         both("sgd", lr=(0.05, 0.02), momentum=0.9, nesterov=True),
         _setting_removed("nesterov"), OPTIMIZER),
    Kind("second-beta", "Adam's second beta on one side only", "update", OUTSIDE, ADAPTIVE,
         both("adam", lr=RATES, eps=TINY, beta_2=(0.98, 0.95)), _setting_removed("beta_2"),
         OPTIMIZER),
    Kind("optimizer-part", "the optimizer has a part of the parameters", "update", OUTSIDE,
         WITHOUT_TOKENS, both("sgd", lr=(0.05, 0.1)), _part_apply, OPTIMIZER),
)  # fmt: skip
