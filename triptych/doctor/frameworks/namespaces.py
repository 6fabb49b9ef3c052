"""Entries of namespaces that are replaced for a while."""

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

_MISSING = object()


@contextmanager
def replaced_entry(namespace: dict[str, Any], name: str, value: Any) -> Generator[None]:
    """Set an entry of a dict, and put the former one back."""
    before = namespace.get(name, _MISSING)
    namespace[name] = value
    try:
        yield
    finally:
        if before is _MISSING:
            del namespace[name]
        else:
            namespace[name] = before
