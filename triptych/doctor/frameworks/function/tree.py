"""Parameters as a user holds them: arrays in dicts, lists and tuples, inside each other."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..adapter import ModelError

# What Flax calls the dicts that each hold a part of every layer: names of layers come after them.
COLLECTIONS = ("params", "batch_stats")

# The layer of arrays that are in no dict or list of their own.
TOP = "parameters"


@dataclass(frozen=True)
class Parameter:
    """An array of floating numbers.

    Attributes
    ----------
    keys : tuple of str
        The keys that lead to it.
    value : object
        The user's array.
    """

    keys: tuple[str, ...]
    value: Any

    @property
    def path(self) -> str:
        """The dict or list that holds it, as the path of a layer."""
        keys = self.keys[:-1]
        inside = keys[1:] if keys and keys[0] in COLLECTIONS else keys
        return ".".join(inside) or TOP

    @property
    def name(self) -> str:
        """Its canonical name, ``PATH/ROLE``."""
        return f"{self.path}/{self.keys[-1]}"

    @property
    def user_name(self) -> str:
        """Its keys as one name."""
        return "/".join(self.keys)


def parameters_of(tree: Any) -> list[Parameter]:
    """Return all arrays of floating numbers, in the user's order.

    Raises
    ------
    ModelError
        If there are none, or two have the same name.
    """
    found = [Parameter(keys or ("value",), value) for keys, value in _walk(tree, ())]
    parameters = [each for each in found if is_floating(each.value)]
    if not parameters:
        raise ModelError("parameters holds no arrays of floating numbers")
    names = [each.name for each in parameters]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice:
        raise ModelError(f"parameters holds two arrays {twice}; give one of them another key")
    return parameters


def is_floating(value: Any) -> bool:
    """Return whether a value is an array of floating numbers of any framework."""
    return hasattr(value, "shape") and "float" in str(getattr(value, "dtype", ""))


def _walk(tree: Any, keys: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    items = _items(tree)
    if items is None:
        yield keys, tree
        return
    for key, value in items:
        yield from _walk(value, (*keys, _text(key)))


def _text(key: Any) -> str:
    """Return a key without what separates keys and roles."""
    return str(key).replace("/", ".")


def _items(tree: Any) -> list[tuple[Any, Any]] | None:
    """Return the entries of a container, None if it is something else."""
    if isinstance(tree, Mapping):
        return list(tree.items())
    if isinstance(tree, list | tuple):
        names: Sequence[Any] = getattr(tree, "_fields", range(len(tree)))
        return list(zip(names, tree, strict=True))
    return None


def rebuilt(tree: Any, arrays: Sequence[Any]) -> Any:
    """Return the same containers with other arrays in place of those of `parameters_of`."""
    left = iter(arrays)
    return _mapped(tree, lambda value: next(left) if is_floating(value) else value)


def _mapped(tree: Any, function: Callable[[Any], Any]) -> Any:
    items = _items(tree)
    if items is None:
        return function(tree)
    values = [(key, _mapped(value, function)) for key, value in items]
    if isinstance(tree, Mapping):
        kind: Any = type(tree)
        return kind(dict(values))
    made = [value for _, value in values]
    kind = type(tree)
    return kind(*made) if hasattr(tree, "_fields") else kind(made)
