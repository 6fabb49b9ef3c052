"""Frozen dataclasses that are chosen by a name, as they stand in JSON: ``{"name": "cosine", "warmup": 0.5, …}``."""

from collections.abc import Mapping
from dataclasses import MISSING, asdict, fields
from typing import Any, TypeVar

from ..errors import SpecError, suggest
from .validation import check_keys

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
