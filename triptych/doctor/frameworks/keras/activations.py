"""What is known of activation functions: their canonical names and settings."""

import functools
import inspect
from collections.abc import Callable
from typing import Any

import keras

from ...observation import Settings
from ..adapter import Unsupported

# Names that differ from the canonical one.
ALIASES = {
    "swish": "silu",
    "hard_swish": "hard_silu",
    "exp": "exponential",
    "softmax_v2": "softmax",
    "log_softmax_v2": "log_softmax",
}

ACTIVATIONS = frozenset(
    ("relu", "relu6", "leaky_relu", "elu", "selu", "celu", "gelu", "silu", "mish", "glu")
    + ("sigmoid", "log_sigmoid", "hard_sigmoid", "sparse_sigmoid", "hard_silu")
    + ("tanh", "hard_tanh", "tanh_shrink", "hard_shrink", "soft_shrink", "threshold")
    + ("softmax", "log_softmax", "sparsemax", "softplus", "softsign", "sparse_plus")
    + ("squareplus", "exponential", "linear", "crelu")
)

# By a parameter of a function, the canonical setting.
PARAMETERS = {
    "negative_slope": "slope",
    "alpha": "alpha",
    "approximate": "approximate",
    "axis": "axis",
    "max_value": "max_value",
    "threshold": "threshold",
}


# As it is when nothing is replaced.
LINEAR = keras.activations.linear


def canonical_name(name: str) -> str:
    """Return the canonical name of a function."""
    return ALIASES.get(name, name)


def name_of(function: Any) -> str:
    """Return the name of a function as its author wrote it."""
    if isinstance(function, functools.partial):
        return name_of(function.func)
    return getattr(function, "__name__", type(function).__name__)


def arguments_of(function: Any, args: Any = (), kwargs: Any = None) -> dict[str, Any]:
    """Return the arguments of a call by name, with those that have their default values."""
    try:
        bound = inspect.signature(function).bind_partial(*args, **(kwargs or {}))
    except (TypeError, ValueError):
        return dict(kwargs or {})
    bound.apply_defaults()
    return dict(bound.arguments)


def settings_of(name: str, arguments: dict[str, Any], rank: int | None = None) -> Settings:
    """Return the canonical settings of an activation function.

    Parameters
    ----------
    name : str
        The canonical name of the function.
    arguments : dict
        Its arguments by the framework's names.
    rank : int, optional
        The number of axes of its input, by which an axis is counted from the end.
    """
    settings: Settings = {"function": name}
    for parameter, setting in PARAMETERS.items():
        value = arguments.get(parameter)
        if parameter == "axis" and value is None:
            value = -1  # tf.nn.softmax
        if value is None or not isinstance(value, (bool, int, float, list, tuple)):
            continue
        settings[setting] = from_end(value, rank) if setting == "axis" else value
    if name == "leaky_relu" and "alpha" in settings:
        settings["slope"] = settings.pop("alpha")  # tf.nn.leaky_relu
    if name == "relu":
        _name_relu(settings)
    if name not in ("softmax", "log_softmax", "glu"):
        settings.pop("axis", None)
    return settings


def _name_relu(settings: Settings) -> None:
    """Name the special cases of the general ReLU, in place."""
    slope = settings.pop("slope", 0.0)
    largest = settings.pop("max_value", None)
    threshold = settings.pop("threshold", 0.0)
    if slope and largest is None and not threshold:
        settings |= {"function": "leaky_relu", "slope": slope}
    elif largest == 6 and not slope and not threshold:
        settings["function"] = "relu6"
    elif slope or threshold or largest is not None:
        settings |= {"slope": slope, "max_value": largest, "threshold": threshold}


def from_end(axis: Any, rank: int | None) -> Any:
    """Return an axis, or several, counted from the end."""
    if isinstance(axis, (list, tuple)):
        return [from_end(each, rank) for each in axis]
    if rank is not None and axis >= 0:
        return int(axis) - rank
    return int(axis)


def describe_activation(function: Any, rank: int | None = None) -> tuple[str, Settings]:
    """Return the name and the settings of an activation that a layer applies.

    Parameters
    ----------
    function : callable
        What the layer applies: a function, a partial function, or a layer.
    rank : int, optional
        The number of axes of its input.
    """
    name = name_of(function)
    arguments = arguments_of(function)
    if isinstance(function, functools.partial):
        arguments |= function.keywords
    canonical = canonical_name(name)
    if canonical not in ACTIVATIONS:
        return name, {"function": name}
    return name, settings_of(canonical, arguments, rank)


def is_linear(function: Callable[..., Any] | None) -> bool:
    """Return whether an activation does nothing."""
    return function is None or function is LINEAR


def make_activation(value: str | Settings) -> Any:
    """Return an activation function.

    Parameters
    ----------
    value : str or dict
        Its canonical name, or canonical settings with the entry ``function``.
    """
    settings: Settings = {"function": value} if isinstance(value, str) else dict(value)
    name = settings.pop("function")
    function = getattr(keras.activations, str(name), None)
    if name not in ACTIVATIONS or function is None:
        raise Unsupported(f"Keras has no activation {name}")
    names = {setting: parameter for parameter, setting in PARAMETERS.items()}
    arguments = {names.get(setting, setting): each for setting, each in settings.items()}
    unknown = set(arguments) - set(inspect.signature(function).parameters)
    if unknown:
        raise Unsupported(f"the activation {name} has no {min(unknown)}")
    return functools.partial(function, **arguments) if arguments else function
