"""Text for messages: one line, bounded, without control characters."""

from collections.abc import Iterable

MESSAGE = 300  # characters of a message, its path left aside


def one_line(text: str, most: int = MESSAGE) -> str:
    """Return `text` as one line of at most `most` characters, control characters escaped."""
    line = " ".join(text.split())
    if not line.isprintable():
        line = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in line)
    return line if len(line) <= most else line[: most - 1] + "…"


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
