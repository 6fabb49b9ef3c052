"""Checks of user input: keys, numbers, flags, names. A failed check raises `SpecError`.

In all checks, `where` is the beginning of the message, for example ``recipe`` or
``layer 'hidden'``, and `field` is the name of the value.
"""

import inspect
from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass
from functools import cache
from math import inf, isfinite
from typing import Annotated, Any

from ..errors import SpecError, suggest


@dataclass(frozen=True)
class Range:
    """The numbers that a field of a description may have: metadata of the field's type.

    Attributes
    ----------
    low, high : float
        The bounds.
    above, below : bool
        Whether `low` is excluded, and whether `high` is.
    """

    low: float = -inf
    high: float = inf
    above: bool = False
    below: bool = False


Positive = Annotated[float, Range(0, above=True)]
Fraction = Annotated[float, Range(0, 1, below=True)]


@cache
def ranges_of(cls: type[Any]) -> dict[str, Range]:
    """Return the ranges of the fields of a description, by their names.

    A subclass that repeats a field to give it another default need not repeat its range.
    """
    ranges: dict[str, Range] = {}
    for base in reversed(cls.__mro__):
        for name, kind in inspect.get_annotations(base).items():
            for each in getattr(kind, "__metadata__", ()):
                if isinstance(each, Range):
                    ranges[name] = each
    return ranges


def check_keys(
    data: Any, known: Set[str], where: str, optional: Set[str] = frozenset()
) -> dict[str, Any]:
    """Return `data` if it is a mapping with the `known` keys; `optional` keys may be missing."""
    if not isinstance(data, Mapping):
        raise SpecError(f"{where}: expected an object with the keys {', '.join(sorted(known))}")
    keys: dict[str, Any] = {str(key): value for key, value in data.items()}
    for key in keys:
        if key not in known:
            raise SpecError(f"{where}: unknown key {key!r}; {suggest(key, sorted(known))}")
    missing = known - optional - set(keys)
    if missing:
        raise SpecError(f"{where}: missing key {min(missing)!r}")
    return keys


def is_number(value: Any) -> bool:
    """Return whether a value is a finite number; an integer beyond the largest float is not."""
    try:
        return isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value)
    except OverflowError:
        return False


def is_whole(value: Any) -> bool:
    """Return whether a value is an integer; True and False are not."""
    return isinstance(value, int) and not isinstance(value, bool)


def check_number(
    where: str,
    field: str,
    value: Any,
    low: float = -inf,
    high: float = inf,
    *,
    above: bool = False,
    below: bool = False,
) -> None:
    """Raise `SpecError` unless a value is a finite number between `low` and `high`.

    Parameters
    ----------
    where, field : str
        The beginning of the message, and the name of the value.
    value : object
        The value to check.
    low, high : float
        The bounds, inclusive.
    above, below : bool
        Whether `low` is excluded, and whether `high` is.
    """
    fits = is_number(value) and low <= value <= high
    if fits and not (above and value == low) and not (below and value == high):
        return
    raise SpecError(f"{where}: {field} must be {_range(low, high, above, below)}, not {value!r}")


def _range(low: float, high: float, above: bool, below: bool) -> str:
    if below:
        opening = "(" if above else "["
        return f"in {opening}{low:g}, {high:g})"
    parts: list[str] = []
    if low != -inf:
        parts.append(f"above {low:g}" if above else f"of at least {low:g}")
    if high != inf:
        parts.append(f"at most {high:g}")
    return " ".join(["a number", " and ".join(parts)]).strip()


def check_range(where: str, field: str, value: Any, allowed: Range) -> None:
    """Raise `SpecError` unless a value is a number in a range."""
    check_number(
        where,
        field,
        value,
        allowed.low,
        allowed.high,
        above=allowed.above,
        below=allowed.below,
    )


def check_whole(
    where: str, field: str, value: Any, least: int, also: str = "", most: int | None = None
) -> None:
    """Raise `SpecError` unless a value is an integer from `least` to `most`.

    `also` completes the message where something else is possible, for example `` or 'full'``.
    """
    if not is_whole(value) or value < least:
        raise SpecError(
            f"{where}: {field} must be a whole number of at least {least}{also}, not {value!r}"
        )
    if most is not None and value > most:
        raise SpecError(f"{where}: {field} must be at most {most:,}")


def check_flag(where: str, field: str, value: Any) -> None:
    """Raise `SpecError` unless a value is true or false."""
    if not isinstance(value, bool):
        raise SpecError(f"{where}: {field} must be true or false, not {value!r}")


def check_choice(where: str, field: str, value: Any, known: Iterable[str]) -> None:
    """Raise `SpecError` unless a value is one of the known names, with the nearest of them."""
    names = list(known)
    if value not in names:
        raise SpecError(f"{where}: {field} {value!r} is unknown; {suggest(str(value), names)}")
