"""The settings of one call: "same" as numbers, axes counted from the end."""

from collections.abc import Sequence
from typing import Any

from ...observation import Settings
from .. import geometry
from .activations import from_end
from .layers import AVERAGE_POOLS, GLOBAL_AVERAGE_POOLS, MAX_POOLS, SEPARABLE, TRANSPOSED, Leaf


def resolved(
    leaf: Leaf,
    arguments: dict[str, Any],
    inputs: list[Any],
    output: Any,
    *,
    training: bool,
    channels_first: bool,
) -> Settings:
    """Return the settings of a layer's call.

    Parameters
    ----------
    leaf : Leaf
        The layer.
    arguments : dict
        The arguments of the call.
    inputs : list of tensor
        Its inputs.
    output : tensor or None
        Its first output.
    training : bool
        The mode of the model.
    channels_first : bool
        Whether the model's images have their channels first.
    """
    layer = leaf.layer
    kind = leaf.described.kind
    settings = dict(leaf.described.settings)
    if not inputs or output is None:
        return settings
    shape = tuple(inputs[0].shape)
    if kind in ("flatten", "reshape"):
        # Keras' Flatten moves the channels to the end before it reads them.
        order = "channels_first" if kind == "reshape" and channels_first else "channels_last"
        return reshaping(shape, output.shape, order, channels_first=channels_first)[1]
    if isinstance(settings.get("padding"), str) and isinstance(layer.padding, str):
        settings["padding"] = resolve_padding(layer, kind, shape, tuple(output.shape))
    if settings.get("axis") is not None:
        settings["axis"] = from_end(settings["axis"], len(shape))
    if kind == "dropout":
        settings["active"] = bool(arguments.get("training", training) and settings["rate"])
    if kind == "pool" and isinstance(layer, GLOBAL_AVERAGE_POOLS):
        settings["masked"] = arguments.get("mask") is not None
    return settings


def reshaping(
    before: Sequence[int], after: Sequence[int], order: str, *, channels_first: bool
) -> tuple[str, Settings]:
    """Return the kind and the settings of a call that gives an array another shape."""
    kind = "reshape"
    if len(after) == 2 and len(before) > 2 and before[0] == after[0]:
        kind = "flatten"
    shapes = [_features_last(shape, channels_first) for shape in (before, after)]
    return kind, {"from": shapes[0], "to": shapes[1], "order": order}


def _features_last(shape: Sequence[int], channels_first: bool) -> list[int]:
    sizes = [int(size) for size in shape]
    if channels_first and len(sizes) > 3:
        return [sizes[0], *sizes[2:], sizes[1]]
    return sizes


def resolve_padding(layer: Any, kind: str, shape: Sequence[int], output: Sequence[int]) -> Any:
    """Return a layer's padding as [before, after] for each spatial axis."""
    first = getattr(layer, "data_format", "channels_last") == "channels_first"
    spatial = slice(2, None) if first else slice(1, -1)
    sizes = list(shape[spatial])
    if isinstance(layer, (*MAX_POOLS, *AVERAGE_POOLS)):
        return geometry.resolve(layer.padding, sizes, layer.pool_size, layer.strides)
    if isinstance(layer, SEPARABLE) and kind == "conv":
        return [[0, 0] for _ in sizes]
    window = layer.kernel_size
    if isinstance(layer, TRANSPOSED):
        outputs = list(output[spatial])
        return geometry.resolve_transposed(
            layer.padding, sizes, outputs, window, layer.strides, layer.dilation_rate
        )
    return geometry.resolve(layer.padding, sizes, window, layer.strides, layer.dilation_rate)
