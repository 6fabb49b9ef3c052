"""The one exception for a user's mistake: its message is the whole story, and no traceback follows it."""

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any


class TriptychError(Exception):
    """Something the user can mend: says what was wrong, with which input, and what to do."""


class DataError(TriptychError):
    """A data source that is missing, malformed, truncated or hostile."""


class SpecError(TriptychError):
    """A network or recipe that does not make sense."""


class EngineError(TriptychError):
    """An engine, backend or device that cannot be had here."""


def suggest(word: Any, known: Iterable[str]) -> str:
    """Return `` (did you mean 'x'?)`` or the list of what is known, for the end of a message."""
    known = list(known)
    close = get_close_matches(str(word), known, n=1)
    return f"did you mean {close[0]!r}?" if close else f"known: {', '.join(known)}"
