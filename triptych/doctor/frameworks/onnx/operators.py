"""What the operators of ONNX are in canonical terms: kinds and settings."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import onnx

from ...observation import Settings

Proto = Any
Attributes = dict[str, Any]
Shape = tuple[int, ...]

# Operators that only look at an array in another way, or describe one; they are not recorded.
UNSEEN = frozenset(
    {"Transpose", "Identity", "Cast", "CastLike", "Shape", "Size", "Constant", "ConstantOfShape"}
    | {"Squeeze", "Unsqueeze", "Split", "Expand", "Range", "EyeLike"}
)
MERGES = {"Add": "add", "Sub": "subtract", "Mul": "multiply", "Max": "maximum", "Min": "minimum"}
# By the operator the canonical function, and how each attribute is called as a setting.
ACTIVATIONS: Mapping[str, tuple[str, Mapping[str, tuple[str, Any]]]] = {
    "Relu": ("relu", {}),
    "LeakyRelu": ("leaky_relu", {"slope": ("alpha", 0.01)}),
    "Elu": ("elu", {"alpha": ("alpha", 1.0)}),
    "Celu": ("celu", {"alpha": ("alpha", 1.0)}),
    "Selu": ("selu", {}),
    "Sigmoid": ("sigmoid", {}),
    "Tanh": ("tanh", {}),
    "Softplus": ("softplus", {}),
    "Softsign": ("softsign", {}),
    "HardSwish": ("hard_silu", {}),
    "Mish": ("mish", {}),
    "Exp": ("exponential", {}),
    "Swish": ("silu", {}),
}
POOLS = {"MaxPool": "max", "AveragePool": "average"}
GLOBAL_POOLS = {"GlobalMaxPool": "max", "GlobalAveragePool": "average"}


def attributes_of(node: Proto) -> Attributes:
    """Return the attributes of a node; bytes as text."""
    values = {each.name: onnx.helper.get_attribute_value(each) for each in node.attribute}
    return {
        name: value.decode(errors="replace") if isinstance(value, bytes) else value
        for name, value in values.items()
    }


def kind_and_settings(
    node: Proto, shapes: Sequence[Shape], result: Shape, channels_first: bool
) -> tuple[str, Settings]:
    """Return the kind and the settings of a node without weights.

    Parameters
    ----------
    node : NodeProto
        The node.
    shapes : sequence of tuple of int
        Of the arrays that it takes, without constants.
    result : tuple of int
        Of its first output.
    channels_first : bool
        Whether its input has the channels as the second axis.
    """
    attributes = attributes_of(node)
    operator = node.op_type
    shape = shapes[0] if shapes else ()
    if operator in ACTIVATIONS:
        function, names = ACTIVATIONS[operator]
        settings = {name: attributes.get(*key) for name, key in names.items()}
        return "activation", {"function": function} | settings
    special = _SPECIAL.get(operator)
    if special:
        return special(attributes, shape, channels_first)
    if operator in POOLS:
        return "pool", windows(attributes, len(shape) - 2) | _pool(operator, attributes)
    if operator in GLOBAL_POOLS:
        return "pool", {"pooling": GLOBAL_POOLS[operator], "size": "global"}
    if operator in MERGES and len(shapes) > 1:
        return "merge", {"function": MERGES[operator]}
    if operator in ("Flatten", "Reshape"):
        return _reshape(shape, result, channels_first)
    return "function", {}


def _pool(operator: str, attributes: Attributes) -> Settings:
    settings: Settings = {"pooling": POOLS[operator], "size": list(attributes["kernel_shape"])}
    if operator == "AveragePool":
        settings["count_padding"] = bool(attributes.get("count_include_pad", 0))
    return settings


def windows(attributes: Attributes, axes: int) -> Settings:
    """Return strides and padding of a convolution or pool with so many spatial axes."""
    settings: Settings = {"strides": list(attributes.get("strides", [1] * axes))}
    automatic = attributes.get("auto_pad", "NOTSET")
    if automatic == "SAME_UPPER":
        settings["padding"] = "same"
    elif automatic != "SAME_LOWER":
        pads = list(attributes.get("pads", [0] * 2 * axes))
        pairs = zip(pads[:axes], pads[axes:], strict=True)
        settings["padding"] = [[before, after] for before, after in pairs]
    return settings


def _softmax(function: str) -> Callable[[Attributes, Shape, bool], tuple[str, Settings]]:
    def describe(
        attributes: Attributes, shape: Shape, channels_first: bool
    ) -> tuple[str, Settings]:
        axis = attributes.get("axis", -1)
        axis = canonical_axis(axis, len(shape), channels_first)
        return "activation", {"function": function, "axis": axis}

    return describe


def canonical_axis(axis: int, rank: int, channels_first: bool) -> int:
    """Return an axis counted from the end, where the channels are the last one."""
    axis = axis % rank if rank else axis
    if channels_first and rank > 2:
        if axis == 1:
            return -1
        if axis > 1:
            return axis - rank - 1
    return axis - rank


def _gelu(attributes: Attributes, shape: Shape, channels_first: bool) -> tuple[str, Settings]:
    approximate = attributes.get("approximate", "none") == "tanh"
    return "activation", {"function": "gelu", "approximate": approximate}


def _concatenation(
    attributes: Attributes, shape: Shape, channels_first: bool
) -> tuple[str, Settings]:
    axis = canonical_axis(attributes["axis"], len(shape), channels_first)
    return "merge", {"function": "concatenate", "axis": axis}


def _dropout(attributes: Attributes, shape: Shape, channels_first: bool) -> tuple[str, Settings]:
    return "dropout", {"active": False}


def _padding(attributes: Attributes, shape: Shape, channels_first: bool) -> tuple[str, Settings]:
    return "padding", {}


def _resize(attributes: Attributes, shape: Shape, channels_first: bool) -> tuple[str, Settings]:
    modes = {"linear": "bilinear", "cubic": "bicubic"}
    mode = attributes.get("mode", "nearest")
    aligned = attributes.get("coordinate_transformation_mode") == "align_corners"
    return "resize", {
        "interpolation": modes.get(mode, mode),
        "align_corners": aligned,
        "antialias": bool(attributes.get("antialias", 0)),
    }


_SPECIAL: Mapping[str, Callable[[Attributes, Shape, bool], tuple[str, Settings]]] = {
    "Softmax": _softmax("softmax"),
    "LogSoftmax": _softmax("log_softmax"),
    "Gelu": _gelu,
    "Concat": _concatenation,
    "Dropout": _dropout,
    "Pad": _padding,
    "Resize": _resize,
}


def _reshape(shape: Shape, result: Shape, channels_first: bool) -> tuple[str, Settings]:
    """Return a reshape, or a flatten if one axis of features is left."""
    ordered = [*shape]
    if channels_first and len(shape) > 2:
        ordered = [shape[0], *shape[2:], shape[1]]
    kind = "flatten" if len(result) == 2 and len(shape) > 2 else "reshape"
    order = "channels_first" if channels_first else "channels_last"
    return kind, {"from": ordered, "to": [*result], "order": order}
