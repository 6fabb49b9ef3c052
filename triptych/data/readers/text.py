"""Lists of names for messages."""

from collections.abc import Iterable

from ...errors import one_line

NAME_LIMIT = 40  # characters of one name


def listed(names: Iterable[str], most: int = 150) -> str:
    """Return names for a message, with commas between them.

    Parameters
    ----------
    names : iterable of str
        Of any characters; each is cut to `NAME_LIMIT`.
    most : int
        Characters of the list, about. Of a longer one, the first names and the last are shown,
        and how many there are in all.

    Returns
    -------
    str
        "nothing" where there are no names.
    """
    names = list(names)
    if not names:
        return "nothing"
    shown = [one_line(name, NAME_LIMIT) for name in names]
    if len(", ".join(shown)) <= most:
        return ", ".join(shown)
    last = shown.pop()
    first: list[str] = []
    for name in shown:
        if first and len(", ".join([*first, name, last])) > most - 5:
            break
        first.append(name)
    if len(first) == len(shown):
        return ", ".join([*first, last])
    return f"{', '.join([*first, '…', last])} ({len(names):,} in all)"
