"""What a function or an object refers to: the models and weights of a model that is no module."""

import functools
import inspect
from collections.abc import Callable
from types import FunctionType, MethodType
from typing import Any

DEEPEST = 4  # how far parts are looked for in what a function refers to
LIBRARIES = ("torch", "numpy", "keras", "tensorflow")


def parts_of(model: Any, is_part: Callable[[Any], bool]) -> dict[str, Any]:
    """Return what a model refers to by its attributes and variables, by their names.

    Parameters
    ----------
    model : object
        A function or an object.
    is_part : callable
        Whether a value is wanted; what it refers to is not looked at.

    Returns
    -------
    dict of str to object
        Each part once; a part without a name has that of its class.
    """
    parts: dict[str, Any] = {}
    seen: set[int] = set()
    waiting: list[tuple[str, Any, int]] = [("", model, 0)]
    while waiting:
        name, value, depth = waiting.pop(0)
        if id(value) in seen or depth > DEEPEST:
            continue
        seen.add(id(value))
        if is_part(value):
            parts[name or type(value).__name__] = value
        else:
            waiting += [(key, held, depth + 1) for key, held in held_by(name, value)]
    return parts


def held_by(name: str, value: Any) -> list[tuple[str, Any]]:
    """Return what a function or an object refers to, with names."""
    if isinstance(value, functools.partial):
        return [("", value.func), *held_by(name, list(value.args)), *value.keywords.items()]
    if isinstance(value, MethodType):
        return [("", value.__self__), ("", value.__func__)]
    if isinstance(value, FunctionType):
        if value.__module__.partition(".")[0] in LIBRARIES:
            return []
        variables = inspect.getclosurevars(value)
        return [*variables.nonlocals.items(), *variables.globals.items()]
    prefix = f"{name}." if name else ""
    if isinstance(value, (list, tuple)):
        return [(f"{prefix}{place}", each) for place, each in enumerate(value)]
    if isinstance(value, dict):
        return [(f"{prefix}{key}", each) for key, each in value.items()]
    if callable(value) and hasattr(value, "__dict__") and not inspect.isclass(value):
        call = type(value).__call__
        functions = [("", call)] if isinstance(call, FunctionType) else []
        return [*vars(value).items(), *functions]
    return []
