"""One line of code of a side, as its user would write it, with the values of the case."""

from collections.abc import Mapping, Sequence
from typing import Any

from .observation import Arrays, Call, Layer

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
    },
}

PREFIXES = {"torch": "nn.", "keras": "layers."}
FRAMEWORKS = {"torch": "PyTorch", "keras": "Keras"}


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
    main = weights.get("kernel", weights.get("scale", weights.get("embeddings")))
    if main is None:
        return []
    torch = framework == "torch"
    numbers: list[Any] = []
    if kind in ("conv", "conv_transpose"):
        groups = layer.settings.get("groups", 1)
        numbers = [main.shape[-2] * groups] if torch else []
        numbers += [main.shape[-1], value_text(main.shape[:-2])]
    elif kind == "dense":
        numbers = [*main.shape] if torch else [main.shape[-1]]
    elif kind in ("rnn", "lstm", "gru") and "recurrent_kernel" in weights:
        units = weights["recurrent_kernel"].shape[0]
        numbers = [main.shape[0], units] if torch else [units]
    elif kind == "embedding":
        numbers = [*main.shape]
    elif kind == "group_norm":
        numbers = [layer.settings.get("groups", ""), *(main.shape if torch else ())]
    elif kind in ("batch_norm", "layer_norm", "rms_norm"):
        numbers = [*main.shape] if torch else []
    return [str(number) for number in numbers]


def keyword(framework: str, setting: str, value: Any) -> str:
    """Return a setting as an argument, for example ``eps=1e-3``; empty if there is none."""
    if framework == "keras" and setting == "padding_index":
        return f"mask_zero={value == 0}"
    if framework == "keras" and setting == "momentum":
        value = 1 - value
    if framework == "torch" and setting == "approximate":
        value = "tanh" if value else "none"
    if setting == "padding" and not isinstance(value, str):
        value = _padding(framework, value)
    name = KEYWORDS.get(framework, {}).get(setting)
    return "" if name is None or value is None else f"{name}={value_text(value)}"


def _padding(framework: str, value: Any) -> Any:
    """Return [before, after] of each axis as one argument; None where there is none."""
    equal_ends = all(before == after for before, after in value)
    if not any(before or after for before, after in value):
        return 0 if framework == "torch" else "valid"
    return [before for before, _ in value] if framework == "torch" and equal_ends else None


def _arguments(framework: str, settings: Mapping[str, Any]) -> list[str] | None:
    """Return settings as arguments; None if the framework has not all of them."""
    if framework not in PREFIXES:
        return None
    written = [keyword(framework, setting, value) for setting, value in settings.items()]
    return written if all(written) else None


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
    arguments = ", ".join([*sizes(framework, layer, weights), *written])
    return f"{PREFIXES[framework]}{layer.type}({arguments})"


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
        return f"{PREFIXES[framework]}{layer.type}({', '.join(written)})"
    return f"{call.name}({', '.join(['x', *written])})"
