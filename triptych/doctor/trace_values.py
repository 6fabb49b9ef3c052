"""What ``trace.json`` holds: checked, because it may come from anybody."""

import json
import math
from collections.abc import Iterable
from dataclasses import fields
from functools import cache
from pathlib import Path
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

from ..core import files
from ..errors import TriptychError, one_line, printable
from ..importing.arrays import without_duplicates
from .observation import Call, Description

LARGEST_TEXT = 16 * 2**20  # bytes of JSON
MOST_ITEMS = 10**6  # commas and opening brackets, counted before anything is made of them
LONGEST_TEXT = 10_000  # characters of a text that has control characters
LARGEST_COUNT = 10**9  # of samples, updates and the like
MOST_CALLS = 10_000
MOST_INPUTS = 1_000  # of one call
MOST_UPDATES = 1_000
MOST_BATCHES = 10_000

PASSES = {False: "evaluation", True: "training"}

Json = dict[str, Any]


def read_values(path: Path) -> Json:
    """Read the file; control characters in its texts are escaped, because they are printed.

    Raises
    ------
    TriptychError
        If it is too large, holds a name twice, or is something else than an object of JSON. Hostile
        bytes can raise other exceptions, too.
    """
    if path.stat().st_size > LARGEST_TEXT:
        raise TriptychError(f"{path}: more than {LARGEST_TEXT:,} bytes")
    content = files.read_bytes(path)
    items = sum(content.count(character) for character in (b",", b"[", b"{"))
    if items > MOST_ITEMS:
        raise TriptychError(f"{path}: has {items:,} items, over the limit of {MOST_ITEMS:,}")
    values = json.loads(content, object_pairs_hook=without_duplicates)
    if not isinstance(values, dict):
        raise TriptychError("not an object")
    return printable(values, LONGEST_TEXT)


def checked(values: Json) -> Json:
    """Return the entries of a recording, if they are of the right types.

    Parameters
    ----------
    values : dict
        What ``native`` or ``float64`` holds.

    Returns
    -------
    dict
        The same; a number that is null, because it was not finite, is NaN.

    Raises
    ------
    TriptychError
        If something is of another type, or too large. Hostile values can raise other exceptions.
    """
    _check_description(values["description"])
    result = dict(values)
    for name in PASSES.values():
        _check_calls(name, values.get(name, []))
    if PASSES[False] not in values:
        raise TriptychError(f"{PASSES[False]} is missing")
    for name in ("update_rates", "update_shares", "rates", "losses"):
        if name in values:
            _check(name, values[name], list[Any])
            result[name] = [_number(name, each) for each in values[name]]
    if "shares_per_epoch" in values:
        _check("shares_per_epoch", values["shares_per_epoch"], bool)
    if len(values.get("update_rates", ())) > MOST_UPDATES:
        raise TriptychError(f"more than {MOST_UPDATES:,} updates")
    if "metric" in values:
        result["metric"] = _number("metric", values["metric"])
    if "epochs" in values:
        _check("epochs", values["epochs"], dict[str, Any])
    if "batches" in values:
        _check("batches", values["batches"], int)
        _check_limit("batches", values["batches"], MOST_BATCHES)
    return result


def _check_description(values: Any) -> None:
    description = Description.from_json(values)
    parts = [description.optimizer, description.loss, description.schedule, description.metric]
    for each in (*description.layers, *description.callbacks, *filter(None, parts), description):
        _check_fields(each)


def _check_calls(name: str, values: Any) -> None:
    """Raise an error unless these are the calls of a pass, in their order."""
    _check(name, values, list[dict[str, Any]])
    if len(values) > MOST_CALLS:
        raise TriptychError(f"{name} has {len(values):,} calls, over the limit of {MOST_CALLS:,}")
    for position, each in enumerate(values):
        call = Call(**each)
        _check_fields(call)
        _check_limit("inputs", call.inputs, MOST_INPUTS)
        if call.number != position:
            raise TriptychError(f"{name}: the call at position {position} has another number")


def _check_limit(name: str, value: int, limit: int) -> None:
    if value > limit:
        raise TriptychError(f"{name} is {one_line(value, 40)}, over the limit of {limit:,}")


def _number(name: str, value: Any) -> float:
    if value is None:
        return math.nan
    _check(name, value, float)
    return float(value)


_hints = cache(get_type_hints)


def _check_fields(described: Any) -> None:
    hints = _hints(type(described))
    for each in fields(described):
        _check(each.name, getattr(described, each.name), hints[each.name])


def _check(name: str, value: Any, hint: Any) -> None:
    """Raise an error if a value is not of the type of an annotation."""
    if not _fits(value, hint):
        raise TriptychError(f"{name} is {one_line(value, 40)!r}")


def _fits(value: Any, hint: Any) -> bool:
    kind = get_origin(hint) or hint
    inner = get_args(hint)
    if hint is Any:
        return True
    if kind is UnionType:
        return any(_fits(value, each) for each in inner)
    if kind in (list, tuple):
        return isinstance(value, kind) and _all_fit(value, inner[0])
    if kind is dict:
        return isinstance(value, dict) and _all_fit(value.values(), inner[1])
    if kind is int:
        return type(value) is int and 0 <= value <= LARGEST_COUNT
    if kind is float:
        return type(value) in (int, float)
    return isinstance(value, kind)


def _all_fit(values: Iterable[Any], hint: Any) -> bool:
    return all(_fits(each, hint) for each in values)
