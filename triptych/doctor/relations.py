"""How two arrays at the same place are related, where no setting tells it.

Each relation is a formula that reproduces one side's numbers from the other's, or both sides'
numbers from what both had before.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .bounds import multiple, relative_difference
from .carrying import last_of_sequence
from .code_lines import value_text
from .formulas import REDUCTIONS, activate
from .observation import Array, Arrays, Settings

# Activations that are tried, with their usual parameters.
USUAL: tuple[Settings, ...] = (
    {"function": "relu"},
    {"function": "tanh"},
    {"function": "sigmoid"},
    {"function": "softmax", "axis": -1},
    {"function": "log_softmax", "axis": -1},
    {"function": "gelu", "approximate": False},
    {"function": "gelu", "approximate": True},
    {"function": "silu"},
    {"function": "elu", "alpha": 1.0},
    {"function": "selu"},
    {"function": "leaky_relu", "slope": 0.01},
    {"function": "leaky_relu", "slope": 0.2},
    {"function": "leaky_relu", "slope": 0.3},
    {"function": "relu6"},
    {"function": "softplus"},
    {"function": "hard_sigmoid"},
    {"function": "hard_sigmoid", "gain": 0.2},  # of Keras 2
    {"function": "hard_silu"},
    {"function": "mish"},
    {"function": "exponential"},
    {"function": "softmax", "axis": 0},
    {"function": "softmax", "axis": 1},
)

# They turn what a model returns into probabilities.
HEADS = ("softmax", "log_softmax", "sigmoid")


@dataclass(frozen=True)
class Relation:
    """How B's array is related to A's.

    Attributes
    ----------
    title : str
        What one side does and the other does not; ``{a}`` and ``{b}`` stand for the sides' names.
    values : dict
        ``a`` and ``b``: what each side does.
    cause : str or None
        The id in the catalogue.
    head : bool
        Whether it is what turns scores into probabilities.
    functions : dict of str to dict
        By side, the activation that it applies and the other side does not.
    """

    title: str
    values: Mapping[str, Any]
    cause: str | None = None
    head: bool = False
    functions: Mapping[str, Settings] = field(default_factory=dict[str, Settings])


def name_of(settings: Settings) -> str:
    """Return an activation with its parameters: ``leaky_relu(slope=0.3)``."""
    parameters = [f"{key}={value_text(value)}" for key, value in settings.items()]
    return f"{settings['function']}({', '.join(parameters[1:])})"


def relations(
    a: Array, b: Array, before: Array | None, known: Arrays, tolerance: float
) -> Iterator[Relation]:
    """Yield how B's array is related to A's, the most telling relation first.

    Parameters
    ----------
    a, b : ndarray
        What both sides have at a place, in B's form.
    before : ndarray or None
        What both had at the start of the segment, in B's form.
    known : dict of str to ndarray
        What else B has had before, by a description for titles.
    tolerance : float
        The largest relative difference of what counts as reproduced.
    """
    if a.shape == b.shape:
        yield from _activations(a, b, tolerance)
        if before is not None:
            yield from both_activated(a, b, before, tolerance)
    if before is not None and before.ndim > 2:
        yield from _reductions(a, b, before, tolerance)
    if a.shape == b.shape:
        yield from _shortcuts(a, b, known, tolerance)
        yield from _scales(a, b, tolerance)
        yield from _orders(a, b, tolerance)


def _close(first: Array, second: Array, tolerance: float) -> bool:
    return relative_difference(first, second) <= tolerance


def _activations(a: Array, b: Array, tolerance: float) -> Iterator[Relation]:
    """Yield activations that only one side applies, at the end of the segment."""
    for side, source, target in (("b", a, b), ("a", b, a)):
        other = "a" if side == "b" else "b"
        for settings in USUAL:
            axis = settings.get("axis", -1)
            if axis >= source.ndim:
                continue
            made = activate(source, settings)
            if made is not None and _close(made, target, tolerance):
                name = name_of(settings)
                title = f"{{{side}}} applies {name}, {{{other}}} does not"
                values = {side: name, other: None}
                head = settings["function"] in HEADS and axis in (-1, source.ndim - 1)
                yield Relation(title, values, None, head, {side: settings})


def both_activated(a: Array, b: Array, before: Array, tolerance: float) -> Iterator[Relation]:
    """Yield different activations of what both sides had before.

    Parameters
    ----------
    a, b : ndarray
        What both sides have, in B's form.
    before : ndarray
        What both had before, in B's form.
    tolerance : float
        The largest relative difference of what counts as reproduced.
    """
    if not a.shape == b.shape == before.shape:
        return
    found: dict[str, str] = {}
    functions: dict[str, Settings] = {}
    for settings in USUAL:
        if settings.get("axis", -1) >= before.ndim:
            continue
        made = activate(before, settings)
        if made is None:
            continue
        for side, target in (("a", a), ("b", b)):
            if side not in found and _close(made, target, tolerance):
                found[side] = name_of(settings)
                functions[side] = settings
    if len(found) == 2 and found["a"] != found["b"]:
        title = f"the activation is {found['a']} in {{a}} and {found['b']} in {{b}}"
        yield Relation(title, found, _cause_of_functions(found), functions=functions)


def _cause_of_functions(found: Mapping[str, str]) -> str | None:
    functions = {name.partition("(")[0] for name in found.values()}
    if functions == {"leaky_relu"}:
        return "D26"
    if functions == {"gelu"}:
        return "D28"
    return "D29" if functions == {"hard_sigmoid"} else None


def _reductions(a: Array, b: Array, before: Array, tolerance: float) -> Iterator[Relation]:
    """Yield different ways to make one vector of a sequence or an image."""
    found: dict[str, str] = {}
    ways = dict(REDUCTIONS)
    if before.shape[-1] % 2 == 0:
        ways["the last step of each direction"] = lambda x: last_of_sequence(x, 2)
    for name, function in ways.items():
        made = function(before)
        for side, target in (("a", a), ("b", b)):
            if side not in found and made.shape == target.shape and _close(made, target, tolerance):
                found[side] = name
    if len(found) == 2 and found["a"] != found["b"]:
        two = "the last step of each direction"
        cause = "D104" if two in found.values() and "the last position" in found.values() else None
        title = f"{{a}} takes {found['a']}, {{b}} takes {found['b']}"
        yield Relation(title, found, cause)


def _shortcuts(a: Array, b: Array, known: Arrays, tolerance: float) -> Iterator[Relation]:
    """Yield arrays that only one side adds, or that one side adds with a factor."""
    difference = b - a
    for name, array in known.items():
        if array.shape != a.shape or not array.any():
            continue
        factor = float(np.vdot(array, difference) / np.vdot(array, array))
        if abs(factor) < 1e-6 or not _close(difference, factor * array, 10 * tolerance):
            continue
        side, other = ("b", "a") if factor > 0 else ("a", "b")
        times = "" if abs(abs(factor) - 1) < 1e-6 else f"{value_text(abs(factor))} times "
        title = f"{{{side}}} adds {times}{name}, {{{other}}} does not"
        yield Relation(title, {side: f"+ {times}{name}", other: None})


def _scales(a: Array, b: Array, tolerance: float) -> Iterator[Relation]:
    """Yield a factor or a constant between the two sides."""
    if not a.any():
        return
    factor = multiple(a, b, tolerance)
    if factor is not None:
        title = f"what arrives in {{b}} is {value_text(factor)} times that of {{a}}"
        yield Relation(title, {"a": 1.0, "b": float(f"{factor:.6g}")})
    difference = b - a
    constant = float(difference.mean())
    if constant and _close(a + constant, b, tolerance):
        title = f"what arrives in {{b}} is that of {{a}} plus {value_text(constant)}"
        yield Relation(title, {"a": 0.0, "b": float(f"{constant:.6g}")})


def _orders(a: Array, b: Array, tolerance: float) -> Iterator[Relation]:
    """Yield the same numbers in another order."""
    for axis in range(1, a.ndim):
        if _close(np.flip(a, axis), b, tolerance):
            title = f"axis {axis} is in the opposite order in {{b}}"
            yield Relation(title, {"a": "as it is", "b": f"reversed along axis {axis}"})
    if a.ndim > 2 and a.shape[1] == a.shape[-1] and _close(np.swapaxes(a, 1, -1), b, tolerance):
        yield Relation(
            "features and positions are exchanged in {b}", {"a": "as it is", "b": "transposed"}
        )
    if _close(np.sort(a, None), np.sort(b, None), tolerance):
        title = "the same numbers arrive in another order: a reshape stands for a transposition"
        yield Relation(title, {"a": "as it is", "b": "reordered"})
