"""What a side consists of, as plain values."""

import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from ...observation import Component, Description, Layer, Settings
from .. import several_losses
from .model import PlacedLayer, UserModel
from .operations import plain
from .weights import STATISTICS

LONGEST_SOURCE = 2000  # characters of the source code of a user's function
# How an optimizer computes, and not what.
HOW = ("foreach", "fused", "capturable", "differentiable")


def describe_side(model: UserModel, parts: dict[str, Any]) -> Description:
    """Return what a side consists of.

    Parameters
    ----------
    model : UserModel
        The model.
    parts : dict
        What ``build()`` returned.
    """
    optimizer = parts.get("optimizer")
    return Description(
        framework="torch",
        version=f"torch {torch.__version__}",
        model=model.name,
        dtype=str(model.dtype).removeprefix("torch."),
        layers=tuple(describe_layer(layer) for layer in model.layers),
        optimizer=None if optimizer is None else describe_optimizer(optimizer),
        loss=_component(parts, "loss"),
        schedule=_schedule(parts),
        metric=_component(parts, "metric"),
        callbacks=tuple(describe_object(each) for each in parts.get("callbacks") or ()),
        steps_per_epoch=parts.get("steps_per_epoch"),
        batch_size=parts.get("batch_size"),
        given=tuple(key for key, value in parts.items() if value is not None),
        precision=_precision(model),
        compiled=model.is_compiled,
    )


def describe_layer(layer: PlacedLayer) -> Layer:
    """Return a layer as plain values."""
    tensors = [role.tensor(layer.module) for role in layer.roles]
    # Statistics are no parameters.
    parameters = [
        tensor
        for role, tensor in zip(layer.roles, tensors, strict=True)
        if role.attribute not in STATISTICS
    ]
    settings, written = layer.described()
    return Layer(
        path=layer.path,
        type=layer.type,
        kind=layer.kind,
        settings=settings,
        written=written,
        roles=tuple(role.name for role in layer.roles),
        frozen=bool(parameters) and not any(each.requires_grad for each in parameters),
    )


def describe_optimizer(optimizer: Any) -> Component:
    """Return an optimizer: its defaults, and what differs in its groups of parameters."""
    defaults = dict(getattr(optimizer, "defaults", {}))
    settings = {name: plain(value) for name, value in defaults.items() if name not in HOW}
    groups: list[Settings] = []
    for group in optimizer.param_groups:
        different = {
            name: plain(group.get("initial_lr", group[name]) if name == "lr" else group[name])
            for name in settings
            if name in group
        }
        groups.append({name: value for name, value in different.items() if value != settings[name]})
    if len(groups) == 1:
        settings.update(groups[0])
    elif any(groups):
        settings["groups"] = groups
    for kind in ("pre", "post"):
        hooks = getattr(optimizer, f"_optimizer_step_{kind}_hooks", {})
        if hooks:
            settings[f"step_{kind}_hooks"] = [_source(hook) for hook in hooks.values()]
    return Component(type(optimizer).__name__, settings, source=_source_of_users(type(optimizer)))


def _component(parts: dict[str, Any], key: str) -> Component | None:
    value = several_losses.of_parts(parts) if key == "loss" else parts.get(key)
    if isinstance(value, several_losses.SeveralLosses):
        each = [None if loss is None else describe_object(loss) for loss in value.losses]
        return several_losses.described(value, each)
    return None if value is None else describe_object(value)


def _schedule(parts: dict[str, Any]) -> Component | None:
    schedule = _component(parts, "schedule")
    if schedule is None:
        return None
    unit = parts.get("schedule_unit") or "epoch"
    return Component(schedule.type, schedule.settings, unit, schedule.source)


def describe_object(value: Any) -> Component:
    """Return a loss, metric, schedule or callback by its class or function."""
    if inspect.isroutine(value) or hasattr(value, "func"):
        return _describe_function(value)
    attributes = {name: each for name, each in vars(value).items() if not name.startswith("_")}
    if isinstance(value, nn.Module):
        attributes.update(dict(value.named_buffers(recurse=False)))
        attributes.pop("training", None)
    settings = {
        name: plain(each)
        for name, each in attributes.items()
        if _is_plain(each) or isinstance(each, torch.Tensor)
    }
    return Component(type(value).__name__, settings, source=_source_of_users(type(value)))


def _describe_function(value: Any) -> Component:
    given: dict[str, Any] = {}
    function: Callable[..., Any] = value
    if hasattr(value, "func"):
        given = dict(value.keywords)
        function = value.func
    try:
        parameters = inspect.signature(function).parameters.values()
    except ValueError:
        parameters = ()
    defaults = {
        parameter.name: parameter.default
        for parameter in parameters
        if parameter.default is not parameter.empty
    }
    settings = {name: plain(each) for name, each in (defaults | given).items()}
    name = getattr(function, "__name__", type(function).__name__)
    return Component(name, settings, source=_source_of_users(function))


def _is_plain(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return all(_is_plain(each) for each in value)
    if isinstance(value, dict):
        return all(_is_plain(each) for each in value.values())
    return isinstance(value, (bool, int, float, str)) or value is None


def _source_of_users(value: Any) -> str:
    module = getattr(value, "__module__", None) or ""
    return "" if module.partition(".")[0] in ("torch", "builtins") else _source(value)


def _source(value: Any) -> str:
    try:
        return inspect.getsource(value)[:LONGEST_SOURCE]
    except (OSError, TypeError):
        return getattr(value, "__name__", type(value).__name__)


def _precision(model: UserModel) -> str:
    """Return what lowers the precision of the model, as one line."""
    notes: list[str] = []
    if model.dtype in (torch.float16, torch.bfloat16):
        notes.append(f"weights in {str(model.dtype).removeprefix('torch.')}")
    functions = [model.call, *(type(module).forward for module in model.modules())]
    if any(map(_mentions_autocast, functions)):
        notes.append("autocast")
    precision = torch.get_float32_matmul_precision()
    if precision != "highest":
        notes.append(f"float32 matmul precision {precision}")
    return ", ".join(notes)


def _mentions_autocast(function: Any) -> bool:
    """Return whether the user's function names autocast; PyTorch's own only asks for it."""
    if (getattr(function, "__module__", None) or "").startswith("torch."):
        return False
    names: tuple[str, ...] = ()
    while function is not None:
        code = getattr(function, "__code__", None)
        names += code.co_names + code.co_freevars if code else ()
        function = getattr(function, "__wrapped__", None)
    return any("autocast" in name for name in names)
