"""Checks of what a user writes: keys, numbers, flags. Each raises `SpecError` with one line."""

from collections.abc import Mapping, Set
from math import inf, isfinite
from typing import Any

from ..errors import SpecError, suggest


def check_keys(
    data: Any, known: set[str], what: str, optional: Set[str] = frozenset()
) -> dict[str, Any]:
    """Return `data` if it is a mapping with the `known` keys, of which those in `optional` may be missing; else raise `SpecError`."""
    if not isinstance(data, Mapping):
        raise SpecError(f"{what}: expected an object with the keys {', '.join(sorted(known))}")
    keys: dict[str, Any] = {str(k): v for k, v in data.items()}
    for key in keys:
        if key not in known:
            raise SpecError(f"{what}: unknown key {key!r}; {suggest(key, sorted(known))}")
    if missing := known - set(optional) - set(keys):
        raise SpecError(f"{what}: missing key {min(missing)!r}")
    return keys


def is_number(value: Any) -> bool:
    """Return whether a value is a finite number; a whole number beyond the largest float is not."""
    try:
        return isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value)
    except OverflowError:
        return False


def check_number(
    name: str, field: str, value: Any, low: float = -inf, high: float = inf, *, above: bool = False
) -> None:
    """Raise `SpecError` unless a value is a finite number from `low`, or above it, to `high`."""
    if not is_number(value) or not low <= value <= high or (above and value == low):
        at_least = "" if low == -inf else f" above {low:g}" if above else f" of at least {low:g}"
        at_most = "" if high == inf else f"{' and' if at_least else ''} at most {high:g}"
        raise SpecError(f"{name}: {field} must be a number{at_least}{at_most}, not {value!r}")


def check_whole(name: str, field: str, value: Any, least: int, also: str = "") -> None:
    """Raise `SpecError` unless a value is a whole number of at least `least`; `also` says what else it may be."""
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise SpecError(
            f"{name}: {field} must be a whole number of at least {least}{also}, not {value!r}"
        )


def check_flag(name: str, field: str, value: Any) -> None:
    """Raise `SpecError` unless a value is true or false."""
    if not isinstance(value, bool):
        raise SpecError(f"{name}: {field} must be true or false, not {value!r}")
