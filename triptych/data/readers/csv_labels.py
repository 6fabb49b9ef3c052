"""The column of a CSV file that holds the labels."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import DataError, one_line, suggest
from .csv_dialect import are_numbers, is_number
from .csv_layout import Layout
from .headers import is_pixel_name
from .text import listed
from .words import LABELS

MOST_ONE_HOT = 200  # columns
NEARLY_ALL = 0.95  # of the rows: a few may be wrong
MOST_OF_ONE = 0.6  # of the rows: a label that is more frequent may be a pixel
SURE = 4  # times as many different values: the other of two columns has the labels


class NoLabels(DataError):
    """A CSV without a label column: test.csv of a competition, say."""


def label_column(path: Path, layout: Layout, dropped: set[int], asked: str | None) -> int | None:
    """Return the column with the labels.

    Parameters
    ----------
    path : Path
        For messages.
    layout : Layout
    dropped : set of int
        The columns that are not used.
    asked : str, optional
        What the user says it is: its name, first, or last.

    Returns
    -------
    int, optional
        None where it is the first or the last of columns without names that all hold numbers.

    Raises
    ------
    NoLabels
        The header names no such column.
    DataError
        No column is left, or two of them may be the labels.
    """
    left = [i for i in range(layout.columns) if i not in dropped]
    if not left:
        raise DataError(f"{path}: no column is left to learn from")
    if asked is not None:
        return asked_column(path, layout, left, asked)
    words = [i for i in left if i in layout.words]
    only_words = words[0] if len(words) == 1 else None
    if not layout.header or are_numbers(list(layout.header)):
        return only_words
    named = _named_column(path, layout, left)
    if named is None:
        named = only_words
    if named is not None:
        return named
    if all(is_pixel_name(layout.lower[i]) for i in left):
        raise NoLabels(
            f"{path}: {len(left):,} columns of pixels and no label column; a test file of a "
            "competition has no labels, use its train file; or name the column: --label NAME"
        )
    raise NoLabels(
        f"{path}: the header names no 'label' column (nor class, target or y); name it with "
        f"--label NAME; the columns are {listed(layout.header)}"
    )


def asked_column(path: Path, layout: Layout, left: list[int], asked: str) -> int:
    """Return the column that --label names.

    Parameters
    ----------
    path : Path
        For messages.
    layout : Layout
    left : list of int
        The columns of which the first and the last one can be asked for.
    asked : str
        A name from the header, first, or last.

    Raises
    ------
    NoLabels
        The header does not have this name.
    DataError
        There is no header.
    """
    if layout.header:
        exact = [i for i in range(layout.columns) if layout.header[i] == asked]
        in_lower_case = [i for i in range(layout.columns) if layout.lower[i] == asked.lower()]
        if matching := exact or in_lower_case:
            return matching[0]
    if asked.lower() in ("first", "last"):
        return left[0 if asked.lower() == "first" else -1]
    if not layout.header:
        why = f"--label may be first or last, not {asked[:40]!r}"
        raise DataError(f"{path}: has no header, so {why}")
    advice = suggest(asked, layout.header)
    if not advice.startswith("did"):
        advice = f"the columns are {listed(layout.header)}"
    raise NoLabels(f"{path}: no column {one_line(asked, 40)!r}; {advice}")


def refuse_words(path: Path, layout: Layout, dropped: set[int], label: int | None) -> None:
    """Refuse a column of words that is not the labels.

    Parameters
    ----------
    path : Path
        For messages.
    layout : Layout
    dropped : set of int
        The columns that are not used.
    label : int, optional
        The column with the labels, where it is known.

    Raises
    ------
    DataError
        Naming the column.
    """
    for column in sorted(layout.words - dropped - {label}):
        if label is None and layout.columns < 3:
            raise DataError(f"{path}: a label and at least one column of numbers are needed")
        words = [cell for cell in layout.cells(column) if cell and not is_number(cell)]
        example = one_line(words[0], 20)
        raise DataError(
            f"{path}: {layout.name(column)} holds words, for example {example!r}; numbers are "
            "needed in every column but that of the labels: leave it out, make numbers of it, or "
            "name the labels: --label NAME"
        )


def refuse_one_hot(path: Path, values: NDArray[Any]) -> None:
    """Refuse columns at an edge that have a 1 for the class and 0 elsewhere.

    Parameters
    ----------
    path : Path
        For messages.
    values : ndarray, shape (rows, columns)
        All numbers of the file.

    Raises
    ------
    DataError
        Naming these columns.
    """
    for edge, columns in (("last", values[:, ::-1]), ("first", values)):
        binary = columns[:, :MOST_ONE_HOT]
        wrong = ~np.isin(binary, (0, 1)).all(axis=0)
        width = int(np.argmax(wrong)) if wrong.any() else binary.shape[1]
        sums = np.cumsum(binary[:, :width], axis=1)
        ones = np.flatnonzero((sums == 1).all(axis=0) & (width > 2))
        if len(ones) and ones[0] > 0 and width < columns.shape[1]:
            raise DataError(
                f"{path}: the {edge} {ones[0] + 1} columns hold a 1 in each row and 0 elsewhere, "
                "as one-hot labels do; write one column of labels instead (argmax)"
            )


def label_edge(path: Path, values: NDArray[Any]) -> int:
    """Return at which edge of a file without names the labels are.

    A column of labels has whole numbers, at least two and far fewer than rows. Where both columns
    look so, the labels are those that are spread evenly over 0, 1, 2 … where the others are not, or
    that have far fewer values: a pixel at the edge of an image is mostly of one colour, or takes
    many values.

    Parameters
    ----------
    path : Path
        For messages.
    values : ndarray, shape (rows, columns)
        All numbers of the file.

    Returns
    -------
    int
        0 for the first column, -1 for the last.

    Raises
    ------
    DataError
        It may be both, or all labels are equal.
    """
    first = _spread(values[:, 0])
    last = _spread(values[:, -1])
    constant = bool((values[:, 0] == values[0, 0]).all())
    if first is None and constant and (last is None or not last.even):
        raise DataError(
            f"{path}: every label is {values[0, 0]:g} if the labels are in the first column, and a "
            "classifier needs at least two classes; if they are in the last: --label last"
        )
    if last is None:
        return 0
    if first is None:
        return -1
    if first.even != last.even:
        return 0 if first.even else -1
    if first.even and first.count * SURE <= last.count:
        return 0
    if last.even and last.count * SURE <= first.count:
        return -1
    raise DataError(
        f"{path}: without a header the labels may be in the first column ({first.count} values) or "
        f"in the last ({last.count}); say which: --label first, or --label last"
    )


def _named_column(path: Path, layout: Layout, left: list[int]) -> int | None:
    """Return the column that is called label, or so; "y" only where no other is."""
    named = [i for i in left if layout.lower[i] in LABELS]
    if len(named) > 1:
        named = [i for i in named if layout.lower[i] != "y"]
    if len(named) > 1:
        both = " and ".join(repr(layout.header[i]) for i in named[:3])
        raise DataError(f"{path}: columns {both} may both be the labels; name one with --label")
    return named[0] if named else None


@dataclass(frozen=True)
class _Spread:
    """The values of a column.

    Attributes
    ----------
    count : int
        How many different ones there are.
    even : bool
        Whether they are about 0, 1, 2 … with none of them in most rows.
    """

    count: int
    even: bool


def _spread(column: NDArray[Any]) -> _Spread | None:
    """Return how the whole numbers of a column are spread, None where they can be no labels.

    A few wrong values do not change what a column is; they are refused later.
    """
    if column.dtype.kind == "f":
        whole = np.isfinite(column) & (column == np.floor(column))
        if whole.mean() < NEARLY_ALL:
            return None
        column = column[whole]
    distinct, counts = np.unique(column, return_counts=True)
    if not 2 <= len(distinct) <= max(2, len(column) // 2):
        return None
    dense = distinct[0] >= -1 and distinct[-1] + 1 <= 2 * len(distinct)
    return _Spread(len(distinct), bool(dense and counts.max() <= MOST_OF_ONE * len(column)))
