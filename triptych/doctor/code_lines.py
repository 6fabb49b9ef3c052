"""One line of code of a side, as its user would write it, with the values of the case."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ..core.registry import entries
from .observation import Array, Arrays, Call, Layer

# What each framework calls a setting.
KEYWORDS = {
    "torch": {
        "epsilon": "eps",
        "momentum": "momentum",
        "strides": "stride",
        "dilation": "dilation",
        "size": "kernel_size",
        "padding": "padding",
        "groups": "groups",
        "count_padding": "count_include_pad",
        "slope": "negative_slope",
        "alpha": "alpha",
        "approximate": "approximate",
        "axis": "dim",
        "rate": "p",
        "batch_first": "batch_first",
        "bidirectional": "bidirectional",
        "heads": "num_heads",
        "padding_index": "padding_idx",
        "interpolation": "mode",
        "align_corners": "align_corners",
        "antialias": "antialias",
    },
    "keras": {
        "epsilon": "epsilon",
        "momentum": "momentum",
        "strides": "strides",
        "dilation": "dilation_rate",
        "size": "pool_size",
        "padding": "padding",
        "groups": "groups",
        "slope": "negative_slope",
        "alpha": "alpha",
        "approximate": "approximate",
        "axis": "axis",
        "rate": "rate",
        "heads": "num_heads",
        "interpolation": "interpolation",
        "antialias": "antialias",
        "scale": "scale",
        "offset": "offset",
        "activation": "activation",
        "recurrent_activation": "recurrent_activation",
    },
    "triptych": {
        "epsilon": "epsilon",
        "momentum": "momentum",
        "unbiased_variance": "unbiased",
        "strides": "stride",
        "size": "size",
        "padding": "padding",
        "groups": "groups",
        "slope": "slope",
        "approximate": "form",
        "rate": "rate",
    },
}

PREFIXES = {"torch": "nn.", "keras": "layers.", "triptych": "tt.layers."}

# By kind, the class of a layer; ``{n}`` is the number of its spatial axes.
CLASSES = {
    "torch": {
        "dense": "Linear",
        "conv": "Conv{n}d",
        "depthwise_conv": "Conv{n}d",
        "conv_transpose": "ConvTranspose{n}d",
        "embedding": "Embedding",
        "batch_norm": "BatchNorm{n}d",
        "layer_norm": "LayerNorm",
        "group_norm": "GroupNorm",
        "rms_norm": "RMSNorm",
        "rnn": "RNN",
        "lstm": "LSTM",
        "gru": "GRU",
        "attention": "MultiheadAttention",
        "prelu": "PReLU",
    },
    "keras": {
        "dense": "Dense",
        "conv": "Conv{n}D",
        "depthwise_conv": "DepthwiseConv{n}D",
        "conv_transpose": "Conv{n}DTranspose",
        "embedding": "Embedding",
        "batch_norm": "BatchNormalization",
        "layer_norm": "LayerNormalization",
        "group_norm": "GroupNormalization",
        "rms_norm": "RMSNormalization",
        "rnn": "SimpleRNN",
        "lstm": "LSTM",
        "gru": "GRU",
        "attention": "MultiHeadAttention",
        "prelu": "PReLU",
    },
}

# By framework, the classes of an average and of a maximum.
POOLS = {
    "torch": ("AvgPool{n}d", "MaxPool{n}d"),
    "keras": ("AveragePooling{n}D", "MaxPooling{n}D"),
}

# The settings that are written where a layer takes the place of another one, unless they are usual.
CHOSEN = ("strides", "dilation", "padding", "epsilon", "bidirectional", "batch_first")
USUAL: Mapping[str, tuple[Any, ...]] = {
    "padding": ("valid",),
    "bidirectional": (False,),
    "batch_first": (False,),
}

# How a layer is written that lacks a role.
WITHOUT: Mapping[str, Mapping[Any, str]] = {
    "torch": {
        "bias": "bias=False",
        ("layer_norm", "offset"): "bias=False",
        ("layer_norm", "scale"): "elementwise_affine=False",
        "offset": "affine=False",
        "scale": "affine=False",
    },
    "keras": {
        "bias": "use_bias=False",
        "offset": "center=False",
        "scale": "scale=False",
    },
}
WITH_BIAS = {"torch": "bias=True", "keras": "use_bias=True"}
BIASED = ("dense", "conv", "depthwise_conv", "conv_transpose", "rnn", "lstm", "gru", "attention")
ENGINES = {name: entry.label for name, entry in entries().items()}
FRAMEWORKS = {"keras": "Keras", "triptych": "Triptych", "onnx": "ONNX"} | ENGINES


def side_names(a_framework: str, b_framework: str) -> dict[str, str]:
    """Return what both sides are called in a title: their frameworks, or A and B."""
    if a_framework == b_framework:
        return {"a": "A", "b": "B"}
    return {
        "a": FRAMEWORKS.get(a_framework, "A"),
        "b": FRAMEWORKS.get(b_framework, "B"),
    }


def value_text(value: Any) -> str:
    """Return a value as it is written in code: ``1e-3``, ``0.25``, ``"same"``, ``True``."""
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, Sequence):
        items = [value_text(item) for item in value]
        if items and all(item == items[0] for item in items):
            return items[0]
        return f"({', '.join(items)})"
    if isinstance(value, bool) or not isinstance(value, float):
        return str(value)
    if value and (abs(value) < 0.01 or abs(value) >= 1e5):
        mantissa, _, exponent = f"{value:.4e}".partition("e")
        mantissa = mantissa.rstrip("0").rstrip(".")
        return f"{mantissa}e{int(exponent)}"
    return f"{value:.6g}"


def sizes(framework: str, layer: Layer, weights: Arrays) -> list[str]:
    """Return the sizes that a layer is made with, in the order of its arguments.

    Parameters
    ----------
    framework : str
        ``torch`` or ``keras``.
    layer : Layer
        The layer.
    weights : dict of str to ndarray
        Its weights by role.
    """
    kind = layer.kind
    names = ("kernel", "scale", "embeddings", "query_kernel")
    main = next((weights[name] for name in names if name in weights), None)
    if main is None:
        return []
    torch = framework == "torch"
    numbers: list[Any] = []
    if kind in ("conv", "conv_transpose"):
        groups = layer.settings.get("groups", 1)
        numbers = [main.shape[-2] * groups] if torch else []
        numbers += [main.shape[-1], value_text(main.shape[:-2])]
    elif kind == "depthwise_conv":
        inputs, multiplier = main.shape[-2:]
        numbers = [inputs, inputs * multiplier] if torch else []
        numbers.append(value_text(main.shape[:-2]))
        numbers.append(f"groups={inputs}" if torch else f"depth_multiplier={multiplier}")
    elif kind == "attention":
        heads = layer.settings.get("heads", 1)
        numbers = [main.shape[0], heads] if torch else [heads, main.shape[1] // heads]
    elif kind == "dense":
        numbers = [*main.shape] if torch else [main.shape[-1]]
    elif kind in ("rnn", "lstm", "gru") and "recurrent_kernel" in weights:
        units = weights["recurrent_kernel"].shape[0]
        numbers = [main.shape[0], units] if torch else [units]
    elif kind == "embedding":
        numbers = [*main.shape]
    elif kind == "group_norm":
        numbers = _sizes_of_groups(layer, main, torch=torch)
    elif kind in ("batch_norm", "layer_norm", "rms_norm"):
        numbers = [*main.shape] if torch else []
    return [str(number) for number in numbers]


def _sizes_of_groups(layer: Layer, scale: Array, *, torch: bool) -> list[Any]:
    """Return the sizes of a normalisation of groups, or of each channel."""
    groups = layer.settings.get("groups", "")
    if not torch:
        return [groups]
    one_for_each = layer.type.startswith("InstanceNorm")
    return [scale.shape[0]] if one_for_each else [groups, scale.shape[0]]


def keyword(framework: str, setting: str, value: Any) -> str:
    """Return a setting as an argument, for example ``eps=1e-3``; empty if there is none."""
    if framework == "keras" and setting == "padding_index":
        return f"mask_zero={value == 0}"
    if framework == "keras" and setting == "momentum":
        value = 1 - value
    if setting == "approximate":
        exact = {"torch": "none", "triptych": "erf"}
        if framework in exact:
            value = "tanh" if value else exact[framework]
    if setting == "padding" and not isinstance(value, str):
        value = _padding(framework, value)
    name = KEYWORDS.get(framework, {}).get(setting)
    return "" if name is None or value is None else f"{name}={value_text(value)}"


def _padding(framework: str, value: Any) -> Any:
    """Return [before, after] of each axis as one argument; None where there is none."""
    equal_ends = all(before == after for before, after in value)
    if not any(before or after for before, after in value):
        return "valid" if framework == "keras" else 0
    return [before for before, _ in value] if framework != "keras" and equal_ends else None


# How a user leaves padded steps out, or reads them: of a recurrent layer, and of a mean.
MASK_LINES = {
    ("torch", "packing", True): "x = pack_padded_sequence(x, lengths, batch_first=True, "
    "enforce_sorted=False)  # before the recurrent layer",
    ("torch", "packing", False): "x  # without pack_padded_sequence",
    ("torch", "mask", True): "x = (x * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)",
    ("torch", "mask", False): "x = x.mean(1)",
    ("keras", "packing", True): "layers.Embedding(words, size, mask_zero=True)",
    ("keras", "packing", False): "layers.Embedding(words, size, mask_zero=False)",
    ("keras", "mask", True): "layers.Embedding(words, size, mask_zero=True)",
    ("keras", "mask", False): "layers.Embedding(words, size, mask_zero=False)",
}


def mask_line(framework: str, wanted: Mapping[str, Any]) -> str | None:
    """Return how a side leaves padded steps out or reads them; None if that is not wanted."""
    for name, value in wanted.items():
        if name in ("mask", "packing"):
            return MASK_LINES.get((framework, name, value))
    return None


def padding_line(framework: str, value: Sequence[Sequence[int]]) -> str | None:
    """Return how the input of a convolution is padded before it, or None.

    Parameters
    ----------
    framework : str
        ``torch`` or ``keras``.
    value : sequence
        [before, after] of each spatial axis.
    """
    if framework == "torch":
        ends = tuple(end for pair in reversed(value) for end in pair)
        return f"x = F.pad(x, {ends})  # with padding=0"
    if framework == "keras":
        pairs = tuple(tuple(pair) for pair in value)
        given: Any = pairs[0] if len(pairs) == 1 else pairs
        if len({end for pair in pairs for end in pair}) == 1:
            given = pairs[0][0]
        return f'x = layers.ZeroPadding{len(pairs)}D({given})(x)  # with padding="valid"'
    return None


def _arguments(framework: str, settings: Mapping[str, Any]) -> list[str] | None:
    """Return settings as arguments; None if the framework has not all of them."""
    if framework not in PREFIXES:
        return None
    written = [keyword(framework, setting, value) for setting, value in settings.items()]
    return written if all(written) else None


def _first_arguments(framework: str, layer: Layer, weights: Arrays) -> list[str]:
    """Return what a layer is made with before its settings: in Triptych its name, else sizes."""
    if framework == "triptych":
        return [value_text(layer.path)]
    return sizes(framework, layer, weights)


def layer_line(
    framework: str, layer: Layer, weights: Arrays, settings: Mapping[str, Any]
) -> str | None:
    """Return how the user writes a layer with other settings, or None if it has no such argument.

    Parameters
    ----------
    framework : str
        ``torch`` or ``keras``.
    layer : Layer
        The layer.
    weights : dict of str to ndarray
        Its weights by role; they tell its sizes.
    settings : mapping of str to object
        Canonical settings with their new values.
    """
    written = _arguments(framework, settings)
    if written is None:
        return None
    arguments = ", ".join([*_first_arguments(framework, layer, weights), *written])
    return f"{PREFIXES[framework]}{layer.type}({arguments})"


# What a framework calls a reduction.
REDUCTIONS = {
    "torch": {"max": "amax", "min": "amin", "variance": "var", "deviation": "std"},
    "keras": {"variance": "var", "deviation": "std"},
}


def arithmetic_line(settings: Mapping[str, Any]) -> str:
    """Return arithmetic with one number as it is written: ``x * 0.5``, ``x + 1e-5``."""
    scale = settings.get("scale", 1.0)
    offset = settings.get("offset", settings.get("epsilon", 0.0))
    product = "x" if scale == 1 else f"x * {value_text(scale)}"
    if not offset:
        return product
    sign = "-" if offset < 0 else "+"
    return f"{product} {sign} {value_text(abs(offset))}"


def reduction_line(framework: str, settings: Mapping[str, Any]) -> str | None:
    """Return how a reduction is written in a framework; None if it has none."""
    function = settings.get("function", "")
    name = REDUCTIONS.get(framework, {}).get(function, function)
    unbiased = settings.get("unbiased")
    axis = value_text(settings["axis"]) if settings.get("axis") else "None"
    if framework == "torch":
        further = "" if unbiased is None else f", unbiased={unbiased}"
        return f"torch.{name}(x, dim={axis}{further})"
    factor = ""
    if unbiased:
        factor = " * n / (n - 1)" if function == "variance" else " * (n / (n - 1)) ** 0.5"
    return f"ops.{name}(x, axis={axis}){factor}" if framework == "keras" else None


def call_line(
    framework: str, call: Call, layer: Layer | None, settings: Mapping[str, Any]
) -> str | None:
    """Return how the user writes a call without weights with other settings; None if not at all.

    Parameters
    ----------
    framework : str
        ``torch`` or ``keras``.
    call : Call
        The call.
    layer : Layer or None
        The layer that was called; None for a function.
    settings : mapping of str to object
        Canonical settings with their new values.
    """
    written = _arguments(framework, settings)
    if written is None:
        return None
    if layer is not None and not layer.roles:
        arguments = [*_first_arguments(framework, layer, {}), *written]
        return f"{PREFIXES[framework]}{layer.type}({', '.join(arguments)})"
    return f"{call.name}({', '.join(['x', *written])})"


def layer_like(
    framework: str, layer: Layer, weights: Arrays, axes: int, *, bias: bool | None = None
) -> str | None:
    """Return how a layer of either side is written in a framework; None if it has no such layer.

    Parameters
    ----------
    framework : str
        ``torch`` or ``keras``: in which the line is.
    layer : Layer
        The layer; it may be one of the other framework.
    weights : dict of str to ndarray
        Its weights by role; they tell its sizes, and what it lacks.
    axes : int
        The number of axes of what it returns.
    bias : bool, optional
        Whether it has a bias, if the line must say so.
    """
    name = CLASSES.get(framework, {}).get(layer.kind)
    if name is None:
        return None
    main = weights.get("kernel")
    spatial = axes - 2 if main is None or main.ndim < 3 else main.ndim - 2
    named = replace(layer, type=name.format(n=max(1, spatial)))
    settings = {
        setting: layer.settings[setting]
        for setting in CHOSEN
        if _is_chosen(layer.settings, setting)
    }
    written = [keyword(framework, setting, value) for setting, value in settings.items()]
    written.append(_bias_argument(framework, layer.kind, weights, bias))
    arguments = [*sizes(framework, named, weights), *filter(None, written)]
    return f"{PREFIXES[framework]}{named.type}({', '.join(arguments)})"


def _is_chosen(settings: Mapping[str, Any], setting: str) -> bool:
    """Return whether a setting is not what one gets without writing it."""
    if setting not in settings:
        return False
    value = settings[setting]
    if value in USUAL.get(setting, ()):
        return False
    numbers = np.ravel(value) if isinstance(value, list) else np.array([])
    nothing = 0 if setting == "padding" else 1
    return not (numbers.size and np.all(numbers == nothing))


def _bias_argument(framework: str, kind: str, weights: Arrays, bias: bool | None) -> str:
    """Return what is written of the bias: that there is none, or what is wanted."""
    if kind not in BIASED or not weights:
        return ""
    has = bool(weights.keys() & {"bias", "query_bias"})
    wanted = has if bias is None else bias
    if not wanted:
        return WITHOUT[framework]["bias"]
    return "" if bias is None else WITH_BIAS[framework]


def pool_line(framework: str, settings: Mapping[str, Any]) -> str | None:
    """Return how a pooling is written in a framework, or None where its axes are not known.

    Parameters
    ----------
    framework : str
        ``torch`` or ``keras``.
    settings : mapping of str to object
        Its canonical settings.
    """
    names = POOLS.get(framework)
    size = settings.get("size")
    if names is None or not isinstance(size, list):
        return None
    written = [
        keyword(framework, setting, settings[setting])
        for setting, usual in (("strides", size), ("padding", "valid"))
        if settings.get(setting) != usual and _is_chosen(settings, setting)
    ]
    arguments = ", ".join([value_text(size), *filter(None, written)])
    name = names[settings.get("pooling") == "max"].format(n=len(size))
    return f"{PREFIXES[framework]}{name}({arguments})"


def without_line(framework: str, layer: Layer, weights: Arrays, role: str) -> str | None:
    """Return how a layer is written without one of its roles, for example a scale."""
    lacking = WITHOUT.get(framework, {})
    role = "bias" if role.endswith("bias") else role
    argument = lacking.get((layer.kind, role), lacking.get(role))
    if argument is None:
        return None
    of_attention = layer.kind == "dense" and layer.type == CLASSES[framework]["attention"]
    numbers = ["..."] if of_attention else sizes(framework, layer, weights)
    arguments = [*numbers, argument]
    return f"{PREFIXES[framework]}{layer.type}({', '.join(arguments)})"
