"""What the frameworks' optimizers are called, as the rules of `triptych.doctor.rules`."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .observation import Description, Settings
from .rules import Rule


@dataclass(frozen=True)
class Written:
    """How a framework writes a rule.

    Attributes
    ----------
    family : str
        One of `triptych.doctor.rules.FAMILIES`.
    names : dict of str to str
        For each setting of the rule, the framework's name; ``betas[0]`` is an entry of a list.
    fixed : dict
        Settings of the rule that this framework's formula has, and that cannot be changed.
    rate : float
        The default learning rate.
    rate_name : str
        What the learning rate is called.
    """

    family: str
    names: Mapping[str, str]
    fixed: Settings = field(default_factory=dict[str, Any])
    rate: float = 0.001
    rate_name: str = "lr"


_TORCH = {"decay": "weight_decay", "maximize": "maximize"}
_BETAS = {"beta1": "betas[0]", "beta2": "betas[1]", "epsilon": "eps"}
_ADAM = {**_TORCH, **_BETAS, "amsgrad": "amsgrad"}

TORCH: dict[str, Written] = {
    "SGD": Written(
        "sgd",
        {**_TORCH, "momentum": "momentum", "dampening": "dampening", "nesterov": "nesterov"},
    ),
    "Adam": Written("adam", _ADAM),
    "AdamW": Written("adam", _ADAM, {"decay_form": "decoupled"}),
    "NAdam": Written(
        "nadam", {**_TORCH, **_BETAS, "momentum_decay": "momentum_decay"}, {"rounded": True}, 0.002
    ),
    "RAdam": Written("radam", {**_TORCH, **_BETAS}),
    "Adamax": Written("adamax", {**_TORCH, **_BETAS}, rate=0.002),
    "RMSprop": Written(
        "rmsprop",
        {
            **_TORCH,
            "rho": "alpha",
            "epsilon": "eps",
            "momentum": "momentum",
            "centered": "centered",
        },
        rate=0.01,
    ),
    "Adagrad": Written(
        "adagrad",
        {
            **_TORCH,
            "epsilon": "eps",
            "initial": "initial_accumulator_value",
            "rate_decay": "lr_decay",
        },
        rate=0.01,
    ),
    "Adadelta": Written("adadelta", {**_TORCH, "rho": "rho", "epsilon": "eps"}, rate=1.0),
    "Adafactor": Written(
        "adafactor",
        {
            **_TORCH,
            "beta2_decay": "beta2_decay",
            "epsilon1": "eps[0]",
            "epsilon2": "eps[1]",
            "threshold": "d",
        },
        {"decay_form": "decoupled"},
        rate=0.01,
    ),
    "ASGD": Written("asgd", {**_TORCH, "shrink": "lambd", "power": "alpha"}, rate=0.01),
    "Rprop": Written(
        "rprop",
        {
            "maximize": "maximize",
            "cut": "etas[0]",
            "grow": "etas[1]",
            "smallest": "step_sizes[0]",
            "largest": "step_sizes[1]",
        },
        rate=0.01,
    ),
}

_KERAS = {"decay": "weight_decay", "accumulate": "gradient_accumulation_steps"}
_KERAS_BETAS = {"beta1": "beta_1", "beta2": "beta_2", "epsilon": "epsilon"}
_KERAS_FIXED: Settings = {"decay_form": "decoupled", "single": True}

KERAS: dict[str, Written] = {
    "SGD": Written(
        "sgd",
        {**_KERAS, "momentum": "momentum", "nesterov": "nesterov"},
        {**_KERAS_FIXED, "rate_inside": True},
        rate=0.01,
    ),
    "Adam": Written(
        "adam",
        {**_KERAS, **_KERAS_BETAS, "amsgrad": "amsgrad"},
        {**_KERAS_FIXED, "epsilon_place": "hat"},
    ),
    "AdamW": Written(
        "adam",
        {**_KERAS, **_KERAS_BETAS, "amsgrad": "amsgrad"},
        {**_KERAS_FIXED, "epsilon_place": "hat"},
    ),
    "Nadam": Written("nadam", {**_KERAS, **_KERAS_BETAS}, {**_KERAS_FIXED, "momentum_decay": 1.0}),
    "Adamax": Written(
        "adamax", {**_KERAS, **_KERAS_BETAS}, {**_KERAS_FIXED, "epsilon_place": "outside"}
    ),
    "RMSprop": Written(
        "rmsprop",
        {
            **_KERAS,
            "rho": "rho",
            "epsilon": "epsilon",
            "momentum": "momentum",
            "centered": "centered",
        },
        {**_KERAS_FIXED, "epsilon_place": "inside", "rate_inside": True},
    ),
    "Adagrad": Written(
        "adagrad",
        {**_KERAS, "epsilon": "epsilon", "initial": "initial_accumulator_value"},
        {**_KERAS_FIXED, "epsilon_place": "inside"},
    ),
    "Adadelta": Written(
        "adadelta", {**_KERAS, "rho": "rho", "epsilon": "epsilon"}, dict(_KERAS_FIXED)
    ),
    "Lamb": Written("lamb", {**_KERAS, **_KERAS_BETAS}, dict(_KERAS_FIXED)),
    "Adafactor": Written(
        "adafactor",
        {
            **_KERAS,
            "beta2_decay": "beta_2_decay",
            "epsilon1": "epsilon_1",
            "epsilon2": "epsilon_2",
            "threshold": "clip_threshold",
        },
        {**_KERAS_FIXED, "limited": False, "spatial_last": False},
    ),
    "Lion": Written("lion", {**_KERAS, "beta1": "beta_1", "beta2": "beta_2"}, dict(_KERAS_FIXED)),
    "Ftrl": Written(
        "ftrl",
        {
            **_KERAS,
            "power": "learning_rate_power",
            "l1": "l1_regularization_strength",
            "l2": "l2_regularization_strength",
            "shrinkage": "l2_shrinkage_regularization_strength",
            "beta": "beta",
            "initial": "initial_accumulator_value",
        },
        dict(_KERAS_FIXED),
    ),
}

_OURS = {"decay": "weight_decay"}
_OUR_MOMENTS = {**_OURS, "beta1": "beta1", "beta2": "beta2", "epsilon": "epsilon"}
_OUR_ROOTS = {**_OURS, "rho": "rho", "epsilon": "epsilon"}

TRIPTYCH: dict[str, Written] = {
    "SGD": Written(
        "sgd",
        {**_OURS, "momentum": "momentum", "nesterov": "nesterov"},
        rate=0.1,
        rate_name="rate",
    ),
    "Adam": Written("adam", _OUR_MOMENTS, rate_name="rate"),
    "AdamW": Written("adam", _OUR_MOMENTS, rate_name="rate"),
    "Nadam": Written(
        "nadam", {**_OUR_MOMENTS, "momentum_decay": "psi"}, rate=0.002, rate_name="rate"
    ),
    "RMSprop": Written("rmsprop", {**_OUR_ROOTS, "momentum": "momentum"}, rate_name="rate"),
    "Adagrad": Written(
        "adagrad",
        {**_OURS, "epsilon": "epsilon", "initial": "initial"},
        rate=0.01,
        rate_name="rate",
    ),
    "Adadelta": Written("adadelta", _OUR_ROOTS, rate=1.0, rate_name="rate"),
}
# What else is in the settings of Triptych's optimizers, and what it stands for in a rule.
_OUR_SWITCHES: dict[tuple[str, Any], Settings] = {
    ("decoupled", True): {"decay_form": "decoupled"},
    ("velocity", "steps"): {"rate_inside": True},
    ("epsilon_first", True): {"epsilon_place": "hat"},
    ("epsilon_inside", True): {"epsilon_place": "inside"},
}
_OUR_CLIPPING = {"norm": "global_norm", "value": "value"}

# By Keras' name, the kind of clipping; the first that is set holds.
CLIPPING = {"clipnorm": "norm", "global_clipnorm": "global_norm", "clipvalue": "value"}


def described_rule(description: Description) -> Rule | None:
    """Return the rule that an optimizer's type and settings stand for; None if it is another."""
    component = description.optimizer
    assert component
    if description.framework == "torch":
        return torch_rule(component.type, component.settings)
    if description.framework == "triptych":
        return triptych_rule(component.type, component.settings)
    return keras_rule(component.type, component.settings)


def written(description: Description) -> Written | None:
    """Return how this side's framework writes its optimizer; None if it is the user's own."""
    component = description.optimizer
    return table_of(description).get(component.type) if component else None


def table_of(description: Description) -> dict[str, Written]:
    """Return how this side's framework writes its optimizers, by their types."""
    return {"torch": TORCH, "triptych": TRIPTYCH}.get(description.framework, KERAS)


def torch_rule(name: str, settings: Settings) -> Rule | None:
    """Return the rule of an optimizer of PyTorch."""
    form = TORCH.get(name)
    if form is None:
        return None
    rule = Rule.make(form.family, **form.fixed, **settings_of(form, settings))
    if settings.get("decoupled_weight_decay"):
        rule = rule.with_settings(decay_form="decoupled")
    return rule


def keras_rule(name: str, settings: Settings) -> Rule | None:
    """Return the rule of an optimizer of Keras."""
    form = KERAS.get(name)
    if form is None:
        return None
    rule = Rule.make(form.family, **form.fixed, **settings_of(form, settings))
    if settings.get("use_ema") and settings.get("ema_overwrite_frequency"):
        every, decay = settings["ema_overwrite_frequency"], settings["ema_momentum"]
        rule = rule.with_settings(average=decay, overwrite=every)
    for key, kind in CLIPPING.items():
        if settings.get(key):
            return rule.with_settings(clip=kind, limit=settings[key])
    return rule


def triptych_rule(name: str, settings: Settings) -> Rule | None:
    """Return the rule of an optimizer of Triptych, with the clipping of the recipe."""
    form = TRIPTYCH.get(name)
    if form is None:
        return None
    rule = Rule.make(form.family, **form.fixed, **settings_of(form, settings))
    for (switch, value), meaning in _OUR_SWITCHES.items():
        if settings.get(switch) == value:
            rule = rule.with_settings(**meaning)
    if settings.get("clip_limit"):
        rule = rule.with_settings(
            clip=_OUR_CLIPPING[settings["clip_by"]],
            limit=settings["clip_limit"],
            clip_epsilon=settings["clip_epsilon"],
        )
    return rule


def settings_of(form: Written, settings: Settings) -> Settings:
    """Return the settings of a rule that are among a framework's."""
    found: Settings = {}
    for part, name in form.names.items():
        value = entry(settings, name)
        if value is not None:
            found[part] = value
    return found


def entry(settings: Settings, name: str) -> Any:
    """Return a setting; ``betas[0]`` is an entry of a list; None if there is none."""
    key, bracket, rest = name.partition("[")
    value = settings.get(key)
    if not bracket or value is None:
        return value
    place = int(rest.rstrip("]"))
    # Another optimizer may have one number by the same name.
    known = isinstance(value, (list, tuple)) and len(value) > place
    return value[place] if known else None
