"""Frozen dataclasses that are chosen by a name, as they stand in JSON: ``{"name": "cosine", "warmup": 0.5, …}``."""

from collections.abc import Mapping, Set
from dataclasses import MISSING, asdict, fields
from math import inf, isfinite
from typing import Any, TypeVar

from ..errors import SpecError, suggest

T = TypeVar("T")


def to_json(choice: Any) -> dict[str, Any]:
    """Return the name and every number."""
    return {"name": choice.name} | asdict(choice)


def from_json(data: Any, kinds: Mapping[str, type[T]], what: str) -> T:
    """Read what `to_json` wrote; numbers with a default may be missing.

    Raises
    ------
    SpecError
        Where there is no name; or naming the unknown name, or the unknown or missing key, and its nearest valid one.
    """
    if not isinstance(data, Mapping) or not isinstance(name := data.get("name"), str):
        raise SpecError(
            f'{what} must be an object with a name, such as {{"name": "{next(iter(kinds))}"}}, not {data!r}'
        )
    if name not in kinds:
        raise SpecError(f"{what} {name!r} is unknown; {suggest(name, kinds)}")
    own: tuple[Any, ...] = fields(kinds[name])  # pyright: ignore[reportArgumentType]
    optional = {f.name for f in own if f.default is not MISSING}
    values = check_keys(data, {"name"} | {f.name for f in own}, f"{what} {name}", optional)
    del values["name"]
    return kinds[name](
        **{key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}
    )


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
