"""The exceptions for mistakes of a user; the command line prints them without a traceback."""

import os
from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any

LONGEST_MESSAGE = 300  # characters of any message
LONGEST_PART = 300  # characters of what a message quotes from a file
LONGEST_WORD = 100  # characters that are compared with what is known

DEBUG_VARIABLE = "TRIPTYCH_DEBUG"
LONGEST_UNFORESEEN = 120  # characters of an error that nothing foresees

_BLANKS = {ord(character): " " for character in "\t\n\v\f\r\x85\u2028\u2029"}


def one_line(text: Any, limit: int = LONGEST_PART) -> str:
    """Return a text as one line that is safe to print and not too long.

    Parameters
    ----------
    text : object
        A message, or a value from an untrusted file; `str` converts it.
    limit : int
        The most characters that are returned, at least 3.

    Returns
    -------
    str
        Line breaks and tabs are replaced by spaces, other control characters by escapes. The middle
        of a text that is too long is left out, because a message begins with the name of the file
        and ends with advice.
    """
    text = str(text)
    head = limit * 2 // 3
    tail = limit - head - 1
    # The middle of a long text is cut off first, so that no time is spent on it.
    long = len(text) > limit
    if long:
        text = text[:limit] + text[-limit:]
    text = text.translate(_BLANKS)
    if not text.isprintable():
        text = "".join(map(_printable, text))
    if long or len(text) > limit:
        text = f"{text[:head]}…{text[-tail:]}"
    return text


def _printable(character: str) -> str:
    return character if character.isprintable() else ascii(character)[1:-1]


def printable(value: Any, limit: int) -> Any:
    """Return a value of JSON whose texts are safe to print.

    Parameters
    ----------
    value : object
        Of types that JSON can hold.
    limit : int
        The most characters of a text that is not printable as it is.

    Returns
    -------
    object
        The same, with such texts as `one_line` returns them.
    """
    if isinstance(value, dict):
        return {printable(key, limit): printable(item, limit) for key, item in value.items()}
    if isinstance(value, list):
        return [printable(item, limit) for item in value]
    if isinstance(value, str) and not value.isprintable():
        return one_line(value, limit)
    return value


def debugging() -> bool:
    """Return whether ``TRIPTYCH_DEBUG`` asks for tracebacks."""
    return bool(os.environ.get(DEBUG_VARIABLE))


def unforeseen(error: BaseException) -> str:
    """Return one line about an error that nothing foresees, and how to get its traceback."""
    text = one_line(error, LONGEST_UNFORESEEN)
    return (
        f"an error that is not foreseen, {type(error).__name__}: {text} "
        f"({DEBUG_VARIABLE}=1 shows where, for a report of the error)"
    )


class TriptychError(Exception):
    """A mistake that the user can correct.

    The message is one line, which names the input, the mistake and a remedy.
    """

    def __init__(self, message: object = "") -> None:
        super().__init__(one_line(message, LONGEST_MESSAGE))


class DataError(TriptychError):
    """A data source that is missing, malformed, truncated or hostile."""


class SpecError(TriptychError):
    """A network or recipe that does not make sense."""


class EngineError(TriptychError):
    """An engine, backend or device that is unknown or not available on this machine."""


def suggest(word: Any, known: Iterable[str]) -> str:
    """Return ``did you mean 'x'?``, or the list of known words, for the end of a message."""
    known = list(known)
    written = {name.lower(): name for name in reversed(known)}
    close = get_close_matches(str(word)[:LONGEST_WORD].lower(), written, n=1)
    return f"did you mean {written[close[0]]!r}?" if close else f"known: {', '.join(known)}"


def counted(number: int, noun: str) -> str:
    """Return a number with its noun, for example ``1 thread`` or ``2 threads``."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
