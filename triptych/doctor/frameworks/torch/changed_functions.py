"""Functions and forward passes with other settings than the user's."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch.nn import functional

from ...observation import Settings
from .. import geometry
from ..adapter import Unsupported
from .functions import RESHAPES, FunctionCall, describe_reduction, settings_of
from .layout import CHANNELS_FIRST, axis_in_tensor
from .operations import OPERATIONS, SETTINGS, Operation, Raw

IDENTITY = "linear"  # the activation that changes nothing
# What another activation than the user's may have.
ACTIVATION_SETTINGS = (
    "function",
    "slope",
    "alpha",
    "approximate",
    "axis",
    "max_value",
    "threshold",
)
# By canonical name, what takes a list of axes.
REDUCTIONS: dict[str, Callable[..., torch.Tensor]] = {
    "mean": torch.mean,
    "sum": torch.sum,
    "max": torch.amax,
    "min": torch.amin,
    "variance": torch.var,
    "deviation": torch.std,
    "logsumexp": torch.logsumexp,
}
LINEAR_INTERPOLATIONS = ("linear", "bilinear", "bicubic", "trilinear")


def activation(settings: Settings, axis: int = -1) -> Callable[[torch.Tensor], torch.Tensor]:
    """Return an activation by its canonical settings.

    Parameters
    ----------
    settings : dict
        ``function`` and those of `ACTIVATION_SETTINGS` that it has; others are ignored.
    axis : int
        The axis of a softmax.

    Raises
    ------
    Unsupported
        If PyTorch has no such activation.
    """
    wanted = settings["function"]
    if wanted == IDENTITY:
        return lambda tensor: tensor
    if wanted == "relu" and any(settings.get(name) for name in ("slope", "max_value", "threshold")):
        return partial(_general_relu, settings)
    for name, operation in OPERATIONS.items():
        if operation.kind == "activation" and operation.function == wanted:
            raw = {
                argument: SETTINGS[argument].write(settings[setting])
                for setting, argument in raw_names(operation).items()
                if setting in settings
            }
            if "dim" in operation.arguments:
                raw["dim"] = axis
            function = getattr(functional, name, None) or getattr(torch, name)
            return lambda tensor: function(tensor, **raw)
    raise Unsupported(f"there is no activation {wanted!r}")


def _general_relu(settings: Settings, tensor: torch.Tensor) -> torch.Tensor:
    """Return a ReLU with a slope, a largest value and a threshold, as Keras has it."""
    threshold = settings.get("threshold") or 0.0
    slope = settings.get("slope") or 0.0
    result = torch.where(tensor >= threshold, tensor, slope * (tensor - threshold))
    largest = settings.get("max_value")
    return result if largest is None else result.clamp(max=largest)


def activate(call: FunctionCall, change: Settings, layout: str) -> torch.Tensor:
    """Return the activation of a call or of a module with changed settings.

    Parameters
    ----------
    call : FunctionCall
        The user's call.
    change : dict
        Canonical settings that replace the user's.
    layout : str
        The layout of its tensor.
    """
    source = call.tensors[0]
    settings = settings_of(call, source, layout) | change
    axis = axis_in_tensor(settings.get("axis", -1), source.ndim, layout)
    return activation(settings, axis)(source)


def raw_names(operation: Operation) -> dict[str, str]:
    """Return PyTorch's argument of each canonical setting of an operation."""
    return {SETTINGS[name].name: name for name in operation.arguments if name in SETTINGS}


def check_function_change(name: str, kind: str, setting: str) -> None:
    """Raise an error if a setting of a function cannot be changed.

    Parameters
    ----------
    name : str
        The short name of the function.
    kind : str
        The canonical kind of the call.
    setting : str
        The canonical setting.

    Raises
    ------
    Unsupported
        If it cannot be changed.
    """
    operation = OPERATIONS.get(name)
    possible = set(raw_names(operation)) if operation else set()
    special = {
        "activation": set(ACTIVATION_SETTINGS),
        "dropout": {"active"},
        "padding": {"padding"},
        "rescaling": {"scale", "offset"},
        "reduction": {"function", "axis", "unbiased"},
        "flatten": {"order"},
        "reshape": {"order"},
    }
    possible |= special.get(kind, set()) | {"then"}
    if name == "scaled_dot_product_attention":
        possible |= {"rate"}
    if setting not in possible:
        raise Unsupported(f"the setting {setting} of a call of {name} cannot be changed")


def call_changed(
    call: FunctionCall, function: Callable[..., Any], change: Settings, layout: str
) -> Any:
    """Call a function with changed settings.

    Parameters
    ----------
    call : FunctionCall
        The user's call.
    function : callable
        What is called.
    change : dict
        Canonical settings that replace the user's.
    layout : str
        The layout of the first tensor.
    """
    change = dict(change)
    then = change.pop("then", None)
    made = (
        _changed(call, function, change, layout) if change else function(*call.args, **call.kwargs)
    )
    return made if then is None else applied(made, then, layout)


def applied(tensor: torch.Tensor, settings: Settings, layout: str) -> torch.Tensor:
    """Return what an activation or a rescaling with canonical settings makes of a tensor."""
    if "function" in settings:
        axis = axis_in_tensor(settings.get("axis", -1), tensor.ndim, layout)
        return activation(settings, axis)(tensor)
    return tensor * settings.get("scale", 1.0) + settings.get("offset", 0.0)


def reduced(
    call: FunctionCall, source: torch.Tensor, change: Settings, layout: str
) -> torch.Tensor:
    """Return a reduction with changed settings."""
    described = describe_reduction(call, source, layout)[1]
    settings = {"unbiased": False} | described | change
    function = REDUCTIONS[settings["function"]]
    axes = settings["axis"] if isinstance(settings["axis"], list) else [settings["axis"]]
    dim = [axis_in_tensor(axis, source.ndim, layout) for axis in axes]
    further = {}
    if settings["function"] in ("variance", "deviation"):
        further = {"correction": int(settings["unbiased"])}
    return function(source, dim=dim, keepdim=settings["keepdims"], **further)


def _changed(
    call: FunctionCall, function: Callable[..., Any], change: Settings, layout: str
) -> Any:
    """Call a function with one or more changed settings."""
    source = call.tensors[0]
    if call.operation and call.operation.kind == "activation":
        return activate(call, change, layout)
    if call.operation and call.operation.kind == "reduction":
        return reduced(call, source, change, layout)
    if "scale" in change or "offset" in change:
        return applied(source, change, layout)
    if call.name in RESHAPES:
        return function(reordered(source, change["order"]), *call.args[1:], **call.kwargs)
    operation = call.operation
    assert operation
    padding = change.pop("padding", None)
    raw = {name: value for name, value in call.raw.items() if value is not None}
    raw.update(_raw_changes(operation, change, source.ndim, layout))
    if padding is not None and call.name == "pad":
        raw["pad"] = pad_list(padding, source.ndim, layout)
    elif padding is not None:
        return pool_padded(source, padding, operation.function, raw, function)
    if raw.get("mode") not in LINEAR_INTERPOLATIONS:
        raw.pop("align_corners", None)
    return function(call.first, **raw)


def reordered(tensor: torch.Tensor, order: str) -> torch.Tensor:
    """Return images or signals in the order of axes in which they shall be flattened."""
    return tensor.movedim(1, -1).contiguous() if order == "channels_last" else tensor


def _raw_changes(operation: Operation, change: Settings, dimensions: int, layout: str) -> Raw:
    names = raw_names(operation) | {"active": "training"}
    if "dropout_p" in operation.arguments:
        names["rate"] = "dropout_p"
    raw: Raw = {}
    for setting, value in change.items():
        name = names[setting]
        if name == "dim" and isinstance(value, int):
            raw[name] = axis_in_tensor(value, dimensions, layout)
        else:
            raw[name] = SETTINGS[name].write(value) if name in SETTINGS else value
    return raw


def pad_list(padding: list[list[int]], dimensions: int, layout: str) -> list[int]:
    """Return the padding of each spatial axis as `torch.nn.functional.pad` takes it."""
    pairs = [list(pair) for pair in padding]
    if layout != CHANNELS_FIRST and len(pairs) == dimensions - 2:
        pairs.append([0, 0])  # of the features
    return [number for pair in reversed(pairs) for number in pair]


def for_each_axis(value: Any, axes: int) -> list[int]:
    """Return a list with an entry for each axis, of a number or a sequence."""
    return list(value) if isinstance(value, (list, tuple)) else [value] * axes


def pool_padded(
    tensor: torch.Tensor, padding: Any, pooling: str, raw: Raw, function: Callable[..., Any]
) -> Any:
    """Return a pooling whose padding may differ before and after.

    Parameters
    ----------
    tensor : Tensor
        Images or signals, channels first.
    padding : list of list of int, or str
        What is added before and after each spatial axis, ``"same"`` or ``"valid"``.
    pooling : str
        ``max`` or ``average``.
    raw : dict
        PyTorch's arguments.
    function : callable
        PyTorch's function or the forward pass of its module, which gets the tensor and `raw`.
    """
    axes = tensor.ndim - 2
    raw = raw | {"padding": 0}
    if isinstance(padding, str):
        size = for_each_axis(raw["kernel_size"], axes)
        strides = for_each_axis(raw.get("stride") or size, axes)
        dilation = for_each_axis(raw.get("dilation", 1), axes)
        padding = geometry.resolve(padding, tensor.shape[2:], size, strides, dilation)
    pad = pad_list(padding, tensor.ndim, CHANNELS_FIRST)
    if pooling == "max":
        return function(functional.pad(tensor, pad, value=-torch.inf), **raw)
    counted = bool(raw.pop("count_include_pad", True))
    average = function(functional.pad(tensor, pad), **raw)
    if counted:
        return average
    share = function(functional.pad(torch.ones_like(tensor), pad), **raw)
    return average / share
