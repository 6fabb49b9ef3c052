"""The layout of a CSV file: its header, and which columns hold words or only number the rows."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import DataError, one_line
from .csv_dialect import Dialect, are_numbers, find_dialect, is_number
from .headers import is_pixel_name
from .words import LABELS

INDEXES = (
    "",
    "index",
    "id",
    "idx",
    "row",
    "row_id",
    "rownames",
    "imageid",
    "image_id",
    "sample_id",
)
LEAST_COUNTED = 20  # rows
LEAST_PACKED = 64  # numbers in one cell: all pixels of an image


@dataclass(frozen=True)
class Layout:
    """Where the header, the rows and the columns of a file are.

    Attributes
    ----------
    dialect : Dialect
    skipped : int
        Lines that are not blank before the first row, the header included.
    header : tuple of str
        The names of the columns as they are written; empty where there are none.
    columns : int
        Cells in each row.
    rows : list of list of str
        The cells of the first rows.
    notes : tuple of str
        What to tell the user.
    """

    dialect: Dialect
    skipped: int
    header: tuple[str, ...]
    columns: int
    rows: list[list[str]] = field(repr=False)
    notes: tuple[str, ...] = ()

    @cached_property
    def lower(self) -> tuple[str, ...]:
        """The names of the columns in lower case."""
        return tuple(name.lower() for name in self.header)

    @cached_property
    def words(self) -> frozenset[int]:
        """The columns of whose first cells most are neither numbers nor empty."""
        words = dict.fromkeys(range(self.columns), 0)
        empty = dict(words)
        for row in self.rows:
            if are_numbers(row):
                continue
            for column, cell in enumerate(row[: self.columns]):
                if is_number(cell):
                    continue
                is_empty = cell.strip().lower() in ("", "?", "na", "null")
                (empty if is_empty else words)[column] += 1
        filled = {column: len(self.rows) - empty[column] for column in words}
        return frozenset(i for i, count in words.items() if count and 2 * count > filled[i])

    def name(self, column: int) -> str:
        """Return how a message calls a column."""
        if not self.header or not self.header[column]:
            return f"column {column + 1}"
        return f"column {column + 1} ({one_line(self.header[column], 30)!r})"

    def cells(self, column: int) -> list[str]:
        """Return the first cells of a column, without the rows that are too short."""
        return [row[column].strip() for row in self.rows if len(row) > column]


def find_layout(path: Path) -> Layout:
    """Find out where the header, the rows and the columns of a file are, from its first lines.

    Raises
    ------
    DataError
        As `find_dialect`; and where there is a header without rows, or pandas took the first row
        for the header when it wrote the file.
    """
    dialect = find_dialect(path)
    first = dialect.sample[0]
    rows = dialect.sample[1:]
    width = len(rows[0]) if rows else len(first)
    header = _header(path, first, rows, width)
    notes = list(dialect.notes)
    names = tuple(map(_clean, first))
    if header is None and _is_summary(names, rows):
        notes.append("line 1 left out: it counts the rows and names the classes")
        return Layout(dialect, dialect.skipped + 1, (), width, rows, tuple(notes))
    if header is None:
        return Layout(dialect, dialect.skipped, (), len(first), dialect.sample, tuple(notes))
    if not rows:
        raise DataError(f"{path}: a header but no rows")
    if are_numbers(list(header)):
        notes.append("line 1 taken for a header")
    return Layout(dialect, dialect.skipped + 1, header, len(header), rows, tuple(notes))


def index_columns(layout: Layout) -> tuple[set[int], list[str]]:
    """Return the columns that only number the rows or are empty, and what to say about each."""
    dropped: set[int] = set()
    notes: list[str] = []
    for column, name in enumerate(layout.lower):
        if name not in INDEXES and not name.startswith("unnamed: "):
            continue
        cells = layout.cells(column)
        if any(cells) and len(cells) == len(set(cells)):
            dropped.add(column)
            shown = name or "no name"
            notes.append(f"column {column + 1} ({shown}) left out: it numbers the rows")
    last = layout.columns - 1
    if not any(layout.cells(last)):
        dropped.add(last)
        notes.append("the lines end in a separator")
    return dropped, notes


def counts_rows(column: NDArray[Any]) -> bool:
    """Return whether a column, of shape (rows,), numbers the rows from 0 or from 1."""
    if len(column) < LEAST_COUNTED or column[0] not in (0, 1):
        return False
    return bool((column == np.arange(len(column)) + column[0]).all())


def packed_column(layout: Layout) -> int | None:
    """Return the column whose cells hold all pixels of an image with blanks between them."""
    if not layout.rows or layout.dialect.separator is None:
        return None
    for column, cell in enumerate(layout.rows[0]):
        numbers = cell.split()
        if len(numbers) >= LEAST_PACKED and all(map(is_number, numbers)):
            return column
    return None


def _header(
    path: Path,
    first: list[str],
    rows: list[list[str]],
    width: int,
) -> tuple[str, ...] | None:
    """Return the names of the columns by the first line; None where it has none.

    Parameters
    ----------
    path : Path
        For messages.
    first : list of str
        The cells of the first line.
    rows : list of list of str
        The cells of the lines after it.
    width : int
        The cells of a row.
    """
    names = tuple(map(_clean, first))
    one_more = bool(rows) and width == len(first) + 1
    if one_more and not any(row[-1].strip() for row in rows if row):
        return (*names, "")  # each line but the header ends in a separator
    if len(names) == width + 1 and not names[-1]:
        names = names[:-1]  # the header alone ends in a separator
    if one_more and _names_rows(rows) and _is_header(path, names, [row[1:] for row in rows]):
        return ("", *names)  # as R writes the names of rows
    return names if _is_header(path, names, rows) else None


def _names_rows(rows: list[list[str]]) -> bool:
    """Return whether the first cells of the rows count them, or are words, all different."""
    cells = [_clean(row[0]) for row in rows if row]
    if cells[0] in ("0", "1") and cells == _counted(len(cells), int(cells[0])):
        return True
    return len(set(cells)) == len(cells) and not any(map(is_number, cells))


def _counted(count: int, start: int) -> list[str]:
    """Return whole numbers, as a file writes them."""
    return list(map(str, range(start, start + count)))


def _is_summary(names: tuple[str, ...], rows: list[list[str]]) -> bool:
    """Return whether the first line is as in scikit-learn's files: rows, features, class names."""
    counts = [name for name in names[:2] if name.isdecimal()]
    words = names[2:]
    if len(counts) < 2 or len(words) < 2 or any(map(is_number, words)) or not rows:
        return False
    return all(len(row) == int(counts[1]) + 1 for row in rows)


def _is_header(path: Path, names: tuple[str, ...], rows: list[list[str]]) -> bool:
    """Return whether the first line has names and not data."""
    if any(name.lower() in LABELS for name in names):
        return True
    is_word = [not is_number(name) for name in names]
    if not any(is_word):
        return _is_numbered_header(path, names, rows)
    words = [i for i, name in enumerate(names) if is_word[i] and name.lower() != "nan"]
    above_numbers = [i for i in words if _is_numeric(rows, i)]
    if len(words) > len(names) // 2:
        return bool(above_numbers) or not rows or all(map(is_pixel_name, names))
    if len(above_numbers) == 1 and above_numbers[0] in (0, len(names) - 1):
        return _count_up(name for name in names if name.isdecimal())
    return False


def _count_up(names: Iterable[str]) -> bool:
    """Return whether names are the numbers from 0 or from 1, one after the other."""
    numbers = list(map(int, names))
    return numbers in (list(range(len(numbers))), list(range(1, len(numbers) + 1)))


def _is_numbered_header(path: Path, names: tuple[str, ...], rows: list[list[str]]) -> bool:
    """Return whether a first line of nothing but numbers counts the columns.

    Raises
    ------
    DataError
        The numbers are a row that pandas has changed so that all names differ: 0, 0.1, 0.2 …
    """
    if len(names) > 2 and list(names) in (_counted(len(names), 0), _counted(len(names), 1)):
        return bool(rows) and rows[0] != list(names)
    changed = sum(re.fullmatch(r"\d{1,3}\.\d*[1-9]\d*", name) is not None for name in names)
    cells = [cell.strip() for row in rows[:5] for cell in row]
    whole = all(re.fullmatch(r"\d{1,3}(\.0)?", cell) for cell in cells)
    if rows and whole and changed > len(names) // 2:
        raise DataError(
            f"{path}: line 1 holds {', '.join(names[1:3])} … where other lines hold whole numbers: "
            "pandas took the first row for a header when it wrote this file; write it anew with "
            "header=None"
        )
    return False


def _is_numeric(rows: list[list[str]], column: int) -> bool:
    """Return whether a column holds numbers, or nothing, in the first rows."""
    cells = [row[column].strip().strip("'") for row in rows if len(row) > column]
    numbers = sum(is_number(cell) for cell in cells)
    return numbers > 0 and numbers >= 0.5 * len(cells)


def _clean(name: str) -> str:
    """Return a name without quotes, byte order mark, and the # of NumPy before a header."""
    return name.strip("\ufeff \t").lstrip("#").strip(" \t\"'")
