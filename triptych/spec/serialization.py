"""Descriptions as JSON objects, in both directions.

A part of a recipe that is chosen by name is ``{"name": "cosine", "warmup": 0.5, …}``, a layer is
``{"type": "Dense", "name": "hidden", "units": 64, …}``. Settings with a default may be missing.
Every reader raises `SpecError` if a key is missing or unknown, and suggests the closest known one.
"""

from collections.abc import Mapping
from dataclasses import MISSING, asdict, fields
from typing import Any, TypeVar

from ..errors import SpecError
from . import conventions
from .augmentation import Augmentation
from .callbacks import CALLBACKS, ImprovementTracker
from .layers import LAYERS
from .losses import LOSS_NAMES, Clip, Loss, SoftmaxCrossEntropy
from .optimizers import Optimizer, optimizer
from .placement import Layer
from .registry import Registry
from .validation import check_keys

T = TypeVar("T")

DEEPEST_NESTING = 20  # layers inside one another, in a file


def to_json(part: Any) -> dict[str, Any]:
    """Return the name and every number of a part that is chosen by name."""
    return {"name": part.name} | asdict(part)


def from_json(data: Any, kinds: Registry[type[T]], what: str) -> T:
    """Read what `to_json` wrote.

    Parameters
    ----------
    data : object
        A mapping with a ``name`` among those of `kinds`.
    kinds : Registry
        The registry of the part.
    what : str
        What messages call the part.
    """
    name = data.get("name") if isinstance(data, Mapping) else None
    if not isinstance(name, str):
        example = f'{{"name": "{next(iter(kinds))}"}}'
        raise SpecError(f"{what} must be an object with a name, such as {example}, not {data!r}")
    cls = kinds.find(what, name)
    optional, every = _field_names(cls)
    values = check_keys(data, every | {"name"}, f"{what} {name}", optional)
    del values["name"]
    return cls(**_with_tuples(values))


def layer_to_json(layer: Layer) -> dict[str, Any]:
    """Return the type and every field of a layer, with the layers inside it."""
    values: dict[str, Any] = {"type": type(layer).__name__}
    chains = _fields_with_layers(type(layer))
    for f in fields(layer):
        value = getattr(layer, f.name)
        if f.name in chains:
            value = [layer_to_json(part) for part in value]
        values[f.name] = value
    return values


def layer_from_json(data: Any, like: str | None = None, depth: int = 0) -> Layer:
    """Read a layer; with `like` what it leaves out is that framework's own."""
    if depth > DEEPEST_NESTING:
        raise SpecError(f"network: layers are nested more than {DEEPEST_NESTING} deep; nest fewer")
    kind = data.get("type") if isinstance(data, Mapping) else None
    cls = LAYERS.find("layer type", kind)
    optional, every = _field_names(cls)
    values = check_keys(data, every | {"type"}, f"layer {kind}", optional)
    del values["type"]
    for key in _fields_with_layers(cls):
        if key in values:
            if not isinstance(values[key], list):
                raise SpecError(
                    f"layer {kind}: {key} must be a list of layers, not {values[key]!r}"
                )
            values[key] = tuple(layer_from_json(part, like, depth + 1) for part in values[key])
    return cls(**{**conventions.defaults(conventions.LAYERS, like, cls.__name__), **values})


def optimizer_from_json(data: Any, like: str | None) -> Optimizer:
    """Read an optimizer, named as on the command line; see `triptych.spec.optimizers.optimizer`."""
    values: dict[str, Any] = {"like": like}
    if isinstance(data, Mapping):
        values |= dict(data)
    name = values.pop("name", None)
    if not isinstance(name, str):
        example = '{"name": "adam", "rate": 0.001}'
        raise SpecError(
            f"recipe: optimizer must be an object with a name, such as {example}, not {data!r}"
        )
    return optimizer(name, **values)


def loss_from_json(data: Any, like: str | None) -> Loss:
    """Read a loss; one without a name, as version 1 wrote it, is softmax cross-entropy."""
    if not isinstance(data, Mapping):
        example = '{"name": "mean_squared_error"}'
        raise SpecError(
            f"recipe: loss must be an object with a name, such as {example}, not {data!r}"
        )
    values: dict[str, Any] = dict(data)
    name = values.pop("name", SoftmaxCrossEntropy.name)
    cls = LOSS_NAMES.find("loss", name)
    return _part(cls, "loss", values, conventions.defaults(conventions.LOSSES, like, cls.name))


def clip_from_json(data: Any, like: str | None) -> Clip:
    """Read a bound on gradients."""
    return _part(Clip, "clip", data, {} if like is None else conventions.CLIP[like])


def augmentation_from_json(data: Any) -> Augmentation:
    """Read what is done to training images."""
    return _part(Augmentation, "augmentation", data, {})


def callback_from_json(data: Any) -> ImprovementTracker:
    """Read a callback; one with ``like`` is described by that framework's own arguments."""
    if not isinstance(data, Mapping) or "like" not in data:
        return from_json(data, CALLBACKS, "callback")
    values: dict[str, Any] = {str(key): value for key, value in data.items()}
    name = values.pop("name", None)
    framework = values.pop("like")
    return CALLBACKS.find("callback", name).like(str(framework), **values)


def _part(cls: type[T], what: str, data: Any, defaults: Mapping[str, Any]) -> T:
    """Read a part whose class is known and whose fields may all be missing."""
    _, every = _field_names(cls)
    values = check_keys(data, every, what, every)
    return cls(**_with_tuples({**defaults, **values}))


def _fields_with_layers(cls: type[Layer]) -> list[str]:
    """Return the names of the fields that hold layers, such as ``branch`` of a Residual."""
    return [f.name for f in fields(cls) if f.type == tuple[Layer, ...]]


def _field_names(cls: type[Any]) -> tuple[set[str], set[str]]:
    """Return the names of the fields that have a default, and of all fields."""
    every: tuple[Any, ...] = fields(cls)
    return {f.name for f in every if f.default is not MISSING}, {f.name for f in every}


def _with_tuples(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values with tuples for lists: descriptions are hashable."""
    return {
        key: tuple(value) if isinstance(value, list) else value for key, value in values.items()
    }
