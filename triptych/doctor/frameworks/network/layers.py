"""The layers of a Triptych network in canonical terms: kinds, roles and settings."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from ....errors import SpecError
from ....spec import layers as spec
from ....spec.network import Network
from ....spec.placement import Layer as LayerSpec
from ....spec.placement import Parameter, PlacedLayer, Shape
from ...observation import Arrays, Layer, Settings
from ..adapter import Unsupported

# By the leaf of a parameter or buffer, its canonical role.
ROLES = {
    "gamma": "scale",
    "beta": "offset",
    "running_mean": "mean",
    "running_variance": "variance",
}
KINDS: Mapping[type[LayerSpec], str] = {
    spec.Dense: "dense",
    spec.Conv2D: "conv",
    spec.BatchNorm: "batch_norm",
    spec.LayerNorm: "layer_norm",
    spec.Flatten: "flatten",
    spec.MaxPool2D: "pool",
    spec.AvgPool2D: "pool",
    spec.GlobalAvgPool: "pool",
    spec.Dropout: "dropout",
    spec.ReLU: "activation",
    spec.LeakyReLU: "activation",
    spec.GELU: "activation",
    spec.SiLU: "activation",
    spec.Tanh: "activation",
    spec.Sigmoid: "activation",
    spec.Residual: "merge",
}


def _twice(value: int) -> list[int]:
    return [value, value]


def _padding(value: int) -> list[list[int]]:
    return [[value, value], [value, value]]


def _windows(layer: Any) -> Settings:
    return {"strides": _twice(layer.stride), "padding": _padding(layer.padding)}


def _convolution(layer: spec.Conv2D) -> Settings:
    return _windows(layer) | {"dilation": [1, 1], "groups": layer.groups}


def _pool(layer: spec.Pool, pooling: str) -> Settings:
    return _windows(layer) | {"pooling": pooling, "size": _twice(layer.size)}


def _batch_norm(layer: spec.BatchNorm) -> Settings:
    return {
        "epsilon": layer.epsilon,
        "momentum": layer.momentum,
        "unbiased_variance": layer.unbiased,
    }


SETTINGS: Mapping[type[LayerSpec], Callable[[Any], Settings]] = {
    spec.Conv2D: _convolution,
    spec.BatchNorm: _batch_norm,
    spec.LayerNorm: lambda layer: {"epsilon": layer.epsilon},
    spec.MaxPool2D: lambda layer: _pool(layer, "max"),
    spec.AvgPool2D: lambda layer: _pool(layer, "average") | {"count_padding": True},
    spec.GlobalAvgPool: lambda layer: {"pooling": "average", "size": "global"},
    spec.Dropout: lambda layer: {"rate": layer.rate, "active": False},
    spec.ReLU: lambda layer: {"function": "relu"},
    spec.LeakyReLU: lambda layer: {"function": "leaky_relu", "slope": layer.slope},
    spec.GELU: lambda layer: {"function": "gelu", "approximate": layer.form != "erf"},
    spec.SiLU: lambda layer: {"function": "silu"},
    spec.Tanh: lambda layer: {"function": "tanh"},
    spec.Sigmoid: lambda layer: {"function": "sigmoid"},
    spec.Residual: lambda layer: {"function": "add"},
}

# What a canonical setting is called in a specification, where it is called otherwise.
FIELDS = {"strides": "stride", "unbiased_variance": "unbiased", "approximate": "form"}


def kind_of(place: PlacedLayer) -> str:
    """Return the canonical kind of a layer; of one from another package ``other``."""
    return "depthwise_conv" if _is_depthwise(place) else KINDS.get(type(place.layer), "other")


def _is_depthwise(place: PlacedLayer) -> bool:
    """Return whether each output channel of a convolution reads one channel."""
    layer = place.layer
    return isinstance(layer, spec.Conv2D) and layer.groups == place.input_shape[-1] > 1


def settings_of(place: PlacedLayer, samples: int | None = None) -> Settings:
    """Return the canonical settings of a layer, in a pass of so many samples."""
    if isinstance(place.layer, spec.Flatten):
        settings: Settings = {"order": "channels_last"}
        if samples is None:
            return settings
        shapes = {"from": [samples, *place.input_shape], "to": [samples, *place.output_shape]}
        return settings | shapes
    describe = SETTINGS.get(type(place.layer))
    return describe(place.layer) if describe else {}


def describe(place: PlacedLayer) -> Layer:
    """Return a layer as plain values."""
    leaves = [parameter.leaf for parameter in (*place.parameters, *place.buffers)]
    return Layer(
        path=place.layer.name,
        type=type(place.layer).__name__,
        kind=kind_of(place),
        settings=settings_of(place),
        written=_written(place.layer),
        roles=tuple(ROLES.get(leaf, leaf) for leaf in leaves),
    )


def _written(layer: LayerSpec) -> dict[str, str]:
    """Return how each canonical setting is written."""
    names = {each.name for each in fields(layer)}
    describe = SETTINGS.get(type(layer))
    written: dict[str, str] = {}
    for setting in describe(layer) if describe else ():
        name = FIELDS.get(setting, setting)
        if name in names:
            written[setting] = f"{name}={getattr(layer, name)!r}"
    return written


def canonical_name(name: str) -> str:
    """Return the canonical name of a weight: ``norm/scale`` of ``norm/gamma``."""
    layer, _, leaf = name.partition("/")
    return f"{layer}/{ROLES.get(leaf, leaf)}"


@dataclass(frozen=True)
class Names:
    """How the arrays of a network are called and shaped, by canonical names.

    Attributes
    ----------
    own : dict of str to str
        The names in a state.
    own_shapes, shapes : dict of str to tuple of int
        The shapes in a state, and the canonical ones.
    """

    own: Mapping[str, str]
    own_shapes: Mapping[str, Shape]
    shapes: Mapping[str, Shape]

    @classmethod
    def of(cls, network: Network) -> "Names":
        """Return the names of every parameter and buffer of a network."""
        own: dict[str, str] = {}
        own_shapes: dict[str, Shape] = {}
        shapes: dict[str, Shape] = {}
        for place in network.places:
            for each in (*place.parameters, *place.buffers):
                name = canonical_name(each.name)
                own[name] = each.name
                own_shapes[name] = each.shape
                shapes[name] = _canonical_shape(place, each)
        return cls(own, own_shapes, shapes)

    def to_canonical(self, state: Arrays) -> Arrays:
        """Return those arrays of a state that are weights, by canonical names, as copies."""
        return {
            name: np.array(state[own]).reshape(self.shapes[name])
            for name, own in self.own.items()
            if own in state
        }

    def to_own(self, arrays: Arrays) -> Arrays:
        """Return canonical arrays as they are in a state."""
        return {
            self.own[name]: array.reshape(self.own_shapes[name]) for name, array in arrays.items()
        }


def _canonical_shape(place: PlacedLayer, parameter: Parameter) -> Shape:
    if parameter.leaf != "kernel" or not _is_depthwise(place):
        return parameter.shape
    channels = place.input_shape[-1]
    return (*parameter.shape[:2], channels, parameter.shape[-1] // channels)


def changed(network: Network, path: str, setting: str, value: Any) -> Network:
    """Return a network with another setting of one layer.

    Parameters
    ----------
    network : Network
        The network.
    path : str
        The name of the layer.
    setting : str
        A canonical setting.
    value : object
        Its new value.

    Raises
    ------
    Unsupported
        If the layer has no such setting, or cannot have this value.
    """
    place = next((place for place in network.places if place.layer.name == path), None)
    if place is None or setting not in settings_of(place):
        raise Unsupported(f"the setting {setting} of {path} cannot be changed")
    name = FIELDS.get(setting, setting)
    if name not in {each.name for each in fields(place.layer)}:
        raise Unsupported(f"{type(place.layer).__name__} has no {setting} that can be changed")
    new = {name: _field_value(setting, value)}
    try:
        return replace(network, layers=tuple(_replaced(network.layers, path, new)))
    except SpecError as error:
        raise Unsupported(str(error)) from None


def _field_value(setting: str, value: Any) -> Any:
    """Return a canonical value as a specification has it."""
    if setting == "approximate":
        return "tanh" if value else "erf"
    if setting in ("strides", "size", "padding"):
        return _one_number(setting, value)
    return value


def _one_number(setting: str, value: Any) -> int:
    """Return the only number of a setting with an entry for each axis."""
    flat = [value] if isinstance(value, int) else _flat(value)
    if len(set(flat)) != 1 or not isinstance(flat[0], int):
        raise Unsupported(f"{setting}={value} is not the same along both axes")
    return flat[0]


def _flat(value: Any) -> list[Any]:
    if not isinstance(value, list | tuple):
        return [value]
    return [item for each in value for item in _flat(each)]


def _replaced(layers: Iterable[LayerSpec], path: str, new: Settings) -> Iterable[LayerSpec]:
    """Yield layers, the one with a name with other settings."""
    for layer in layers:
        if layer.name == path:
            yield replace(layer, **new)
        elif isinstance(layer, spec.Residual):
            branch = tuple(_replaced(layer.branch, path, new))
            projection = tuple(_replaced(layer.projection, path, new))
            yield replace(layer, branch=branch, projection=projection)
        else:
            yield layer


def without_dropout(network: Network) -> Network:
    """Return a network whose dropout layers keep everything."""
    for place in network.places:
        if isinstance(place.layer, spec.Dropout):
            network = changed(network, place.layer.name, "rate", 0.0)
    return network
