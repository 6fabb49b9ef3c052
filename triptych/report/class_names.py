"""Names of classes that stay different when they are cut to the room that there is."""

from collections import Counter, defaultdict
from itertools import takewhile

ENDS = 6  # letters of each end that are left of a long name in a caption


def brief_names(names: list[str]) -> list[str]:
    """Return names without the ends that they share, where cutting out the middle would merge them.

    Parameters
    ----------
    names : list of str
        All different.

    Returns
    -------
    list of str
        All different, for example ``…02…`` for ``number_02_of_them`` and ``number_03_of_them``.
        A name whose first and last letters differ from those of all others stays as it is.
    """
    same_ends: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
    for name in names:
        if len(name) > 2 * ENDS:
            same_ends[name[:ENDS], name[-ENDS:]].append(name)
    brief = {name: name for name in names}
    for group in same_ends.values():
        if len(group) > 1:
            brief |= _without_shared_ends(group)
    counts = Counter(brief.values())
    for name, short in brief.items():
        if counts[short] > 1:  # another group has the same middle
            brief[name] = name[:ENDS] + short + name[-ENDS:]
    return [brief[name] for name in names]


def _without_shared_ends(names: list[str]) -> dict[str, str]:
    """Return each of several different names without what all of them begin and end with."""
    start = _shared_start(names)
    rests = [name[start:] for name in names]
    end = _shared_start([rest[::-1] for rest in rests])
    middles = [rest[: len(rest) - end] for rest in rests]
    return {name: f"…{middle}…" for name, middle in zip(names, middles, strict=True)}


def _shared_start(names: list[str]) -> int:
    """Return how many letters all names begin with in common."""
    pairs = zip(min(names), max(names), strict=False)
    return len(list(takewhile(lambda pair: pair[0] == pair[1], pairs)))
