"""Lists of names for messages."""

from collections.abc import Iterable

from ..errors import one_line


def listed(names: Iterable[str], most: int = 150) -> str:
    """Return names for a message, with commas between them; of many, the first ones and the last."""
    names = list(names)
    if not names:
        return "nothing"
    shown = [one_line(name, 40) for name in names]
    if len(", ".join(shown)) <= most:
        return ", ".join(shown)
    first: list[str] = []
    for name in shown[:-1]:
        if len(", ".join([*first, name, shown[-1]])) > most - 5:
            break
        first.append(name)
    return ", ".join([*first, "…", shown[-1]])
