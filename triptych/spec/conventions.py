"""The defaults of PyTorch and Keras that differ from ours, one table for each part of a recipe.

Each table is indexed by framework, then by the name of the part (a layer's class name, the ``name``
of an optimizer, loss or callback); it holds fields of our classes. A missing entry means that the
framework's default is ours. The versions are torch 2.13 and keras 3.15. The formulas behind the
switches are in the modules of the parts; docs/differences.md explains every D number.
"""

from collections.abc import Mapping
from typing import Any

from ..errors import SpecError, suggest

FRAMEWORKS = ("torch", "keras")

Table = dict[str, dict[str, dict[str, Any]]]

_TORCH_WEIGHTS = {"initializer": "torch_uniform", "bias_initializer": "torch_uniform"}
_KERAS_WEIGHTS = {"initializer": "glorot_uniform", "bias_initializer": "zeros"}

# Initial weights and formulas of layers (D01-D03, D18-D20, D23, D26, D28).
LAYERS: Table = {
    "torch": {
        "Dense": _TORCH_WEIGHTS,
        "Conv2D": _TORCH_WEIGHTS,
        "BatchNorm": {"momentum": 0.1, "epsilon": 1e-5, "unbiased": True},
        "LayerNorm": {"epsilon": 1e-5},
        "LeakyReLU": {"slope": 0.01},
        "GELU": {"form": "erf"},
    },
    "keras": {
        "Dense": _KERAS_WEIGHTS,
        "Conv2D": _KERAS_WEIGHTS,
        "BatchNorm": {"momentum": 0.01, "epsilon": 1e-3, "unbiased": False},
        "LayerNorm": {"epsilon": 1e-3},
        "LeakyReLU": {"slope": 0.3},
        "GELU": {"form": "erf"},
    },
}

# torch.optim and keras.optimizers (D46-D57).
OPTIMIZERS: Table = {
    "torch": {
        "sgd": {"rate": 1e-3},
        "rmsprop": {"rate": 0.01, "rho": 0.99},
    },
    "keras": {
        "sgd": {"rate": 0.01, "velocity": "steps", "decoupled": True},
        "adam": {"epsilon": 1e-7, "epsilon_first": True, "decoupled": True},
        "adamw": {"epsilon": 1e-7, "epsilon_first": True, "weight_decay": 4e-3},
        "nadam": {"rate": 1e-3, "epsilon": 1e-7, "psi": 1.0, "decoupled": True},
        "rmsprop": {
            "epsilon": 1e-7,
            "epsilon_inside": True,
            "velocity": "steps",
            "decoupled": True,
        },
        "adagrad": {
            "rate": 1e-3,
            "epsilon": 1e-7,
            "epsilon_inside": True,
            "initial": 0.1,
            "decoupled": True,
        },
        "adadelta": {"rate": 1e-3, "rho": 0.95, "epsilon": 1e-7, "decoupled": True},
    },
}

# torch.nn.CrossEntropyLoss and keras's class_weight (D40).
LOSSES: Table = {
    "torch": {},
    "keras": {"softmax_cross_entropy": {"weigh": "samples", "divide": "samples"}},
}

# torch.nn.utils.clip_grad_norm_ and keras's global_clipnorm (D59, D60).
CLIP: dict[str, dict[str, Any]] = {
    "torch": {"epsilon": 1e-6},
    "keras": {},
}

# The arguments of keras.callbacks and torch.optim.lr_scheduler, under the frameworks' own names but
# with our names of monitored figures; `triptych.spec.callbacks` translates them (D64-D66).
CALLBACKS: Table = {
    "torch": {
        "reduce-lr-on-plateau": {
            "monitor": "validation_loss",
            "factor": 0.1,
            "patience": 10,
            "threshold": 1e-4,
            "threshold_mode": "rel",
            "cooldown": 0,
            "min_lr": 0.0,
            "eps": 1e-8,
        },
    },
    "keras": {
        "early-stopping": {
            "monitor": "validation_loss",
            "min_delta": 0,
            "patience": 0,
            "baseline": None,
            "restore_best_weights": False,
            "start_from_epoch": 0,
        },
        "reduce-lr-on-plateau": {
            "monitor": "validation_loss",
            "factor": 0.1,
            "patience": 10,
            "min_delta": 1e-4,
            "cooldown": 0,
            "min_lr": 0.0,
        },
    },
}


def check_framework(name: Any) -> None:
    """Raise `SpecError` unless `name` is a framework whose conventions are known."""
    if not isinstance(name, str) or name not in FRAMEWORKS:
        raise SpecError(f"like {name!r} is unknown; {suggest(str(name), FRAMEWORKS)}")


def defaults(table: Table, framework: str | None, name: str) -> Mapping[str, Any]:
    """Return the values that a framework has for a part, and no values without a framework."""
    if framework is None:
        return {}
    check_framework(framework)
    return table[framework].get(name, {})


def arguments(callback: str, framework: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return a framework's arguments for a callback: those given, and its defaults for the others.

    Raises
    ------
    SpecError
        If the framework has no such callback, or an argument is unknown.
    """
    having = [name for name in FRAMEWORKS if callback in CALLBACKS[name]]
    if framework not in having:
        raise SpecError(f"{callback}: like {framework!r} is unknown; {suggest(framework, having)}")
    known = CALLBACKS[framework][callback]
    for argument in given:
        if argument not in known:
            raise SpecError(
                f"{callback} like {framework}: unknown argument {argument!r}; "
                f"{suggest(argument, known)}"
            )
    return {**known, **given}
