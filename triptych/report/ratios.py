"""The ratios of times as the terminal, the page and notebooks show them."""

from typing import Any

Row = dict[str, Any]

MARK = "*"  # of a ratio that was measured on a busy machine


def is_uncertain(row: Row) -> bool:
    """Return whether a row has a ratio that is not 1 by definition."""
    return row["ratio"] is not None and row["ratio"]["low"] < row["ratio"]["high"]


def is_marked(row: Row, busy: bool) -> bool:
    """Return whether the ratio of a row is marked, because the machine was busy."""
    return busy and is_uncertain(row)


def ratio(row: Row, busy: bool = False) -> str:
    """Return the ratio of a row, or why it has none.

    Parameters
    ----------
    row : dict
        One of ``rows`` of a run in results.json.
    busy : bool
        Whether the machine was busy; then the ratio is marked.
    """
    if not row["ratio"]:
        return "not measured" if row["proved"] else "withheld"
    mark = MARK if is_marked(row, busy) else ""
    return f"{row['ratio']['median']:.2f}{mark}"


def ratio_over_seeds(row: Row, busy: bool) -> str:
    """Return the ratio of a row of `triptych.bench.results.spread`.

    Parameters
    ----------
    row : dict
        The row.
    busy : bool
        Whether the machine was busy for one of the seeds; then the ratio is marked.
    """
    if not row["ratio"]:
        return "withheld"
    return f"{row['ratio']:.2f}{MARK if busy else ''}"


def footnote(busy: int = 1, seeds: int = 1) -> str:
    """Return what the mark means.

    Parameters
    ----------
    busy, seeds : int
        For how many seeds the machine was busy, and how many there are.
    """
    when = f" for {busy} of {seeds} seeds" if seeds > 1 else ""
    return f"{MARK} The machine was busy{when}, so this ratio is not reliable."
