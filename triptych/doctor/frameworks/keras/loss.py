"""The user's loss and metric, and the same with changes."""

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

import keras
import numpy as np
from keras import ops
from keras.src.trainers import compile_utils

from ...observation import Settings
from ..adapter import Unsupported
from . import backend

PROBABILITIES = "probabilities"
WRAPPINGS: dict[str, Callable[[Any], Any]] = {
    # A new tensor, from which Keras cannot find the logits again.
    "softmax": lambda output: backend.new_tensor(ops.softmax(output, axis=-1)),
    "log_softmax": lambda output: ops.log_softmax(output, axis=-1),
    "sigmoid": lambda output: backend.new_tensor(ops.sigmoid(output)),
    "log": ops.log,
    "logit": lambda output: ops.log(output) - ops.log1p(-output),
}

# Settings of a loss or metric that are no parameters of it.
OUTPUT_SETTINGS = ("wrap", "squeeze", "clip")
LOSS_SETTINGS = (*OUTPUT_SETTINGS, "scale", "type")
METRIC_SETTINGS = ("wrap", "squeeze")


def check_setting(name: str, value: Any) -> None:
    """Raise `Unsupported` if a setting of the loss or metric has no such value."""
    if name == "wrap" and value not in (*WRAPPINGS, PROBABILITIES):
        raise Unsupported(f"the output cannot go through {value!r}")
    if name == "type" and _loss_class(value) is None:
        raise Unsupported(f"keras.losses has no loss {value}")


def _loss_class(name: Any) -> Any:
    cls = getattr(keras.losses, str(name), None)
    if isinstance(cls, type) and issubclass(cls, keras.losses.Loss):
        return cls
    return None


def loss_of(loss: Any, output: Any, target: Any, settings: Settings) -> Any:
    """Return the loss as a number; what is no number is averaged.

    Parameters
    ----------
    loss : str, keras.losses.Loss or callable
        The user's loss. A name means what ``compile`` makes of it.
    output, target : tensor or list
        What the model returned, and the targets.
    settings : dict
        Changes; see `triptych.doctor.frameworks.keras.changes.Changes`.
    """
    if settings:
        loss = changed_loss(loss, settings)
        output = changed_output(output, target, settings, binary=_is_binary(loss))
    if isinstance(loss, str):
        loss = compile_utils.get_loss(loss, target, output)
    made = ops.mean(loss(target, output))
    return made * settings["scale"] if "scale" in settings else made


def _is_binary(loss: Any) -> bool:
    name = loss if isinstance(loss, str) else getattr(loss, "__name__", type(loss).__name__)
    return "binary" in name.lower()


def changed_output(output: Any, target: Any, settings: Settings, *, binary: bool = False) -> Any:
    """Return what a loss or metric gets in place of the model's output.

    Parameters
    ----------
    output, target : tensor or list
        What the model returned, and the targets.
    settings : dict
        ``squeeze``, ``clip`` and ``wrap``, in this order.
    binary : bool
        Whether the loss is one of a single probability.
    """
    if not set(OUTPUT_SETTINGS) & set(settings):
        return output
    if not backend.is_tensor(output):
        raise Unsupported("the model returns several tensors; the loss cannot be changed")
    if settings.get("squeeze") and np.prod(output.shape) == np.prod(target.shape):
        output = ops.reshape(output, target.shape)
    if "clip" in settings:
        output = ops.clip(output, settings["clip"], 1 - settings["clip"])
    wrap = settings.get("wrap")
    if wrap == PROBABILITIES:
        wrap = "logit" if binary else "log"
    return WRAPPINGS[wrap](output) if wrap else output


def changed_loss(loss: Any, settings: Settings) -> Any:
    """Return the loss of another type, or with other parameters."""
    arguments = settings.get("arguments", {})
    if "type" in settings:
        cls = _loss_class(settings["type"])
        return rebuilt(cls, common(cls, _config_of(loss)) | arguments)
    if not arguments:
        return loss
    if isinstance(loss, keras.losses.Loss):
        return rebuilt(type(loss), _config_of(loss) | arguments)
    if isinstance(loss, str):
        function = keras.losses.get(loss)
        if isinstance(function, keras.losses.Loss):
            return rebuilt(type(function), _config_of(function) | arguments)
        names = ("name", "reduction", "dtype")
        options = {name: arguments[name] for name in names if name in arguments}
        inner = partial(function, **{k: v for k, v in arguments.items() if k not in names})
        return keras.losses.MeanSquaredError.__bases__[0](inner, **{"name": loss} | options)
    return partial(loss, **arguments)


def _config_of(loss: Any) -> Settings:
    if not isinstance(loss, keras.losses.Loss):
        return {}
    config = dict(loss.get_config()) | dict(getattr(loss, "_fn_kwargs", {}))
    return config | {"dtype": loss.dtype}


def rebuilt(cls: Any, config: Settings) -> Any:
    """Return an object of a class with these parameters, of which it may lack the dtype."""
    if "dtype" not in inspect.signature(cls.__init__).parameters:
        config = {name: value for name, value in config.items() if name != "dtype"}
    return cls.from_config(config)


def common(cls: Any, config: Settings) -> Settings:
    """Return those parameters of another class that a class has, too."""
    parameters = inspect.signature(cls.__init__).parameters
    return {name: value for name, value in config.items() if name in parameters}


def has_parameter(component: Any, name: str) -> bool:
    """Return whether a loss, metric, schedule or function has a parameter of this name."""
    if isinstance(component, str):
        component = keras.losses.get(component)
    if inspect.isfunction(component):
        return name in list(inspect.signature(component).parameters)[2:]
    return name in inspect.signature(type(component).__init__).parameters
