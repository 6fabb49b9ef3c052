"""Differences of settings that may be the cause, each as a change that can be tried on B."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .code_lines import value_text
from .observation import CONVOLUTIONS, RECURRENT, Call, Change, Settings

LAYER = "layer"
FUNCTION = "function"

# Settings that do not change what a call makes of its input in evaluation mode.
IGNORED = (
    "momentum",
    "rate",
    "active",
    "dropout",
    "recurrent_dropout",
    "unbiased_variance",
    "from",
    "to",
    "order",
    "masked",
    "packed",
    "keepdims",
    "return_indices",
)

# By kind and setting, the id in the catalogue.
CAUSES: Mapping[tuple[str, str], str] = {
    ("batch_norm", "epsilon"): "D18",
    ("layer_norm", "epsilon"): "D23",
    ("group_norm", "epsilon"): "D24",
    ("rms_norm", "epsilon"): "D25",
    ("conv", "padding"): "D70",
    ("depthwise_conv", "padding"): "D70",
    ("conv_transpose", "padding"): "D13",
    ("pool", "padding"): "D112",
    ("pool", "count_padding"): "D72",
    ("activation", "slope"): "D26",
    ("activation", "approximate"): "D28",
    ("activation", "axis"): "D121",
    ("reduction", "unbiased"): "D78",
    ("scores", "scale"): "D109",
    ("embedding", "padding_index"): "D101",
    ("embedding", "mask"): "D101",
    ("embedding", "packing"): "D101",
    ("gru", "reset_after"): "D106",
    ("attention", "batch_first"): "D99",
    **{(kind, "batch_first"): "D99" for kind in RECURRENT},
}

# Words for titles.
NOUNS: Mapping[str, str] = {
    "size": "window",
    "approximate": "tanh form",
    "count_padding": "average counts the padding",
    "function": "function",
    "padding_index": "index of the padding",
    "mask": "a mask of the padding",
    "packing": "padded steps left out",
    "pooling": "kind",
    "unbiased": "division by n - 1",
}

# Values that users meet, where one side does not show its setting.
KNOWN_VALUES: Mapping[str, Sequence[Any]] = {
    "epsilon": (1e-5, 1e-3, 1e-6, 1e-12, 1e-8),
    "slope": (0.01, 0.3, 0.2, 0.1),
    "alpha": (1.0,),
    "approximate": (False, True),
}

# The arguments that an activation has, besides its name.
PARAMETERS = ("slope", "alpha", "approximate", "axis", "max_value", "threshold")


@dataclass(frozen=True)
class Hypothesis:
    """What may be the cause of a difference at a place.

    Attributes
    ----------
    kind : str
        The kind of the call, or of what it is a part of.
    values : dict of str to tuple
        By setting, the values of A and of B.
    changes : tuple of Change
        What makes B compute as A.
    a, b : Call
        The calls.
    lacks : str
        ``a`` or ``b`` if one side lacks what the other calls; otherwise empty.
    """

    kind: str
    values: Mapping[str, tuple[Any, Any]]
    changes: tuple[Change, ...]
    a: Call
    b: Call
    lacks: str = ""

    @property
    def cause(self) -> str | None:
        """The id in the catalogue of the first setting that has one."""
        for setting, (first, second) in self.values.items():
            cause = cause_of(self.kind, setting, first, second, self.b.settings)
            if cause is not None:
                return cause
        return None

    @property
    def key(self) -> tuple[Any, ...]:
        """What two places have in common that have the same cause."""
        return (self.kind, repr(sorted(self.values.items(), key=str)))


def cause_of(kind: str, setting: str, a: Any, b: Any, settings: Settings) -> str | None:
    """Return the id in the catalogue of a setting that differs, or None.

    Parameters
    ----------
    kind : str
        Of the call.
    setting : str
        Its canonical name.
    a, b : object
        The values of both sides.
    settings : dict
        All settings of B's call.
    """
    if kind == "pool" and setting == "padding" and settings.get("pooling") == "average":
        return "D72" if "count_padding" in settings else "D112"
    if kind == "resize":
        names = f"{a} {b} {settings.get('interpolation')}"
        return next((cause for word, cause in RESIZING if word in names), None)
    if kind in CONVOLUTIONS and setting == "padding":
        strided = max(np.ravel(settings.get("strides", 1))) > 1
        return CAUSES[kind, setting] if strided and _asymmetric(a, b) else None
    return CAUSES.get((kind, setting))


RESIZING = (("cubic", "D74"), ("nearest", "D73"), ("linear", "D75"))


def _asymmetric(a: Any, b: Any) -> bool:
    """Return whether one side pads an end more than the other: TensorFlow's ``same``."""
    for padding in (a, b):
        if isinstance(padding, list) and any(before != after for before, after in padding):
            return True
    return False


def differing(a: Settings, b: Settings) -> dict[str, tuple[Any, Any]]:
    """Return the settings that both sides show with other values."""
    return {
        setting: (a[setting], b[setting])
        for setting in b
        if setting in a and setting not in IGNORED and not equal_values(a[setting], b[setting])
    }


def equal_values(first: Any, second: Any) -> bool:
    """Return whether two values of a setting mean the same; floats may have passed float32."""
    if isinstance(first, float) and isinstance(second, float):
        return abs(first - second) <= 1e-6 * max(abs(first), abs(second))
    if isinstance(first, list) and len(first) == 1 and not isinstance(second, list):
        first = first[0]
    if isinstance(second, list) and len(second) == 1 and not isinstance(first, list):
        second = second[0]
    return bool(first == second)


def hypotheses(a: Call, b: Call) -> Iterator[Hypothesis]:
    """Yield what may make two calls differ: single settings, all together, usual values.

    Parameters
    ----------
    a, b : Call
        Calls that belong together, or that return different numbers.
    """
    if a.kind == b.kind == "activation" and a.settings.get("function") != b.settings.get(
        "function"
    ):
        yield another_function(a, b)
        return
    if a.kind != b.kind:
        return
    values = differing(a.settings, b.settings)
    for setting, pair in values.items():
        yield _hypothesis(a, b, {setting: pair})
    if len(values) > 1:
        yield _hypothesis(a, b, values)
    for setting, known in KNOWN_VALUES.items():
        if setting in b.settings and setting not in a.settings:
            for value in known:
                if not equal_values(value, b.settings[setting]):
                    yield _hypothesis(a, b, {setting: (value, b.settings[setting])})
    if b.kind in CONVOLUTIONS:
        yield from _other_ends(a, b)


def _other_ends(a: Call, b: Call) -> Iterator[Hypothesis]:
    """Yield that A pads as much as B at other ends, whatever its setting.

    A layer of the user's that is derived from a convolution may pad in its own forward pass.
    """
    padding = b.settings.get("padding")
    if not isinstance(padding, list) or not any(before + after for before, after in padding):
        return
    totals = [before + after for before, after in padding]
    ways = (
        [[total, 0] for total in totals],
        [[0, total] for total in totals],
        [[total // 2, total - total // 2] for total in totals],
        [[total - total // 2, total // 2] for total in totals],
    )
    known = [padding, a.settings.get("padding")]
    for way in ways:
        if way not in known:
            known.append(way)
            yield _hypothesis(a, b, {"padding": (way, padding)})


def another_function(a: Call, b: Call) -> Hypothesis:
    """Return the hypothesis that two activations are different functions."""
    values = {"function": (a.settings.get("function"), b.settings.get("function"))}
    # What both have, such as the axis of a softmax and of its logarithm, may be the cause.
    values |= differing(a.settings, b.settings)
    settings = [name for name in ("function", *PARAMETERS) if name in a.settings]
    changes = tuple(change_of(b, name, a.settings[name]) for name in settings)
    return Hypothesis("activation", values, changes, a, b)


def _hypothesis(a: Call, b: Call, values: Mapping[str, tuple[Any, Any]]) -> Hypothesis:
    changes = tuple(change_of(b, setting, first) for setting, (first, _) in values.items())
    return Hypothesis(b.kind, values, changes, a, b)


def change_of(call: Call, setting: str, value: Any) -> Change:
    """Return the change that gives a call of B another setting."""
    if call.layer:
        return Change(LAYER, call.layer, setting, value)
    return Change(FUNCTION, str(call.number), setting, value)


def words_of(
    values: Mapping[str, tuple[Any, Any]], names: Mapping[str, str], title: str | None
) -> str:
    """Return how settings differ: ``1e-5 in PyTorch, 1e-3 in Keras``.

    Parameters
    ----------
    values : mapping of str to tuple
        By setting, the values of A and of B.
    names : mapping of str to str
        ``a`` and ``b``: what the sides are called.
    title : str or None
        What comes before; a setting that it mentions is not repeated.
    """
    parts: list[str] = []
    for setting, (first, second) in values.items():
        noun = f"{NOUNS.get(setting, setting.replace('_', ' '))} "
        if title is not None and noun.strip() in title.lower():
            noun = ""
        parts.append(f"{noun}{shown(first)} in {names['a']}, {shown(second)} in {names['b']}")
    return "; ".join(parts)


def shown(value: Any) -> str:
    """Return a value for a title."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "none" if value is None else value_text(value)
