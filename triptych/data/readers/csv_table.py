"""The rows of a CSV file as numbers and labels, and which cell is wrong."""

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import DataError, one_line
from .csv_dialect import cells_of, is_number, with_decimal_point
from .csv_layout import Layout
from .csv_lines import numbered_rows, open_blocks, rows_of
from .labels import Values

CELL_LIMIT = 12  # characters of a cell in a message


def read_table(
    path: Path,
    layout: Layout,
    used: list[int],
    label: int | None,
) -> tuple[Values, NDArray[Any]]:
    """Return the labels and the numbers of a file.

    Whole bytes are tried first, the fast way, labels included; then labels as text; what still does
    not fit is parsed as float64.

    Parameters
    ----------
    path : Path
    layout : Layout
    used : list of int
        The columns of numbers, in ascending order.
    label : int, optional
        The column of the labels; None where it is one of the columns of numbers.

    Returns
    -------
    labels : list of str, or ndarray of uint8, shape (rows,)
        An empty list where `label` is None.
    values : ndarray of uint8 or float64, shape (rows, used columns)

    Raises
    ------
    DataError
        Naming the line and column of the first cell that is wrong.
    """
    if label is not None:
        every = sorted([*used, label])
        values = _numbers(path, layout, every, None, np.uint8, [])
        if values is not None:
            at = every.index(label)
            return values[:, at], np.delete(values, at, axis=1)
    for dtype in (np.uint8, np.float64):
        labels: list[str] = []
        values = _numbers(path, layout, used, label, dtype, labels)
        if values is not None and (label is None or len(labels) == len(values)):
            return _with_decimal_points(labels, layout), values
    wrong = wrong_cell(path, layout, used) or "rows differ in length"
    raise DataError(f"{path}: {wrong}")


def _with_decimal_points(labels: list[str], layout: Layout) -> list[str]:
    """Return labels as numbers are written elsewhere: 5,0 is 5.0 in a file of decimal commas."""
    if not layout.dialect.decimal_comma:
        return labels
    return [with_decimal_point(label.strip().strip('"')) for label in labels]


def read_packed(
    path: Path,
    layout: Layout,
    pixels: int,
    label: int,
) -> tuple[list[str], NDArray[Any]]:
    """Return the labels and the pixels of a file with all pixels of an image in one cell.

    Parameters
    ----------
    path : Path
    layout : Layout
    pixels : int
        The column of the pixels, which have blanks between them.
    label : int
        The column of the labels.

    Returns
    -------
    labels : list of str
    values : ndarray of uint8 where that is exact, else float64, shape (rows, pixels)

    Raises
    ------
    DataError
        A row has another number of columns or of pixels, or a pixel is no number.
    """
    labels: list[str] = []

    def cells_with_pixels(lines: Iterator[str]) -> Iterator[str]:
        for line in lines:
            cells = _exact_cells(line, layout)
            labels.append(cells[label])
            yield cells[pixels]

    with open_blocks(path, layout.dialect.encoding) as blocks:
        lines = cells_with_pixels(rows_of(blocks, layout.skipped))
        try:
            values = np.loadtxt(lines, np.float64, ndmin=2, comments=None)
        except ValueError as error:
            why = wrong_cell(path, layout, []) or one_line(str(error), 120)
            raise DataError(f"{path}: {why}") from None
    whole = values.astype(np.uint8)
    return labels, whole if np.array_equal(values, whole) else values


def line_of(path: Path, layout: Layout, row: int) -> int:
    """Return the line of the file, from 1, on which a row, from 0, is."""
    with open_blocks(path, layout.dialect.encoding) as blocks:
        for at, (number, _) in enumerate(numbered_rows(blocks)):
            if at == layout.skipped + row:
                return number
    return layout.skipped + row + 1


def wrong_cell(path: Path, layout: Layout, used: list[int]) -> str:
    """Return what is wrong with the first row that is, by its line in the file.

    Parameters
    ----------
    path : Path
    layout : Layout
    used : list of int
        The columns that must be numbers.

    Returns
    -------
    str
        Empty where nothing is wrong.
    """
    with open_blocks(path, layout.dialect.encoding) as blocks:
        lines = numbered_rows(blocks)
        for at, (number, line) in enumerate(lines):
            if at < layout.skipped:
                continue
            cells = cells_of(line, layout.dialect.separator)
            if len(cells) == layout.columns:
                if wrong := _no_number(cells, layout, used):
                    return f"line {number:,}, {wrong}"
                continue
            first = 1 if layout.header or at else number
            count = f"line {number:,} has {len(cells):,} columns"
            wrong = f"{count} where line {first} has {layout.columns:,}"
            if len(cells) < layout.columns and next(lines, None) is None:
                wrong += ", and it is the last line: the file is cut off, fetch it again"
            return wrong
    return ""


def _no_number(cells: list[str], layout: Layout, used: list[int]) -> str:
    """Return the first cell of a row that must be a number and is none; nothing without one."""
    for column in used:
        cell = cells[column].strip()
        text = cell.replace(",", ".") if layout.dialect.decimal_comma else cell
        if is_number(text.strip('"')):
            continue
        if not cell or cell.lower() in ("na", "nan", "?", "null"):
            advice = "is not a number; fill it in, or remove the row"
            return f"{layout.name(column)}: {cell!r} {advice}"
        return f"{layout.name(column)}: {one_line(cell, CELL_LIMIT)!r} is not a number"
    return ""


def _numbers(
    path: Path,
    layout: Layout,
    used: list[int],
    label: int | None,
    dtype: type[np.generic],
    labels: list[str],
) -> NDArray[Any] | None:
    """Return the numbers of the used columns.

    Parameters
    ----------
    path : Path
    layout : Layout
    used : list of int
        Columns, in ascending order.
    label : int, optional
        The column that is cut out of each line.
    dtype : type
        Of the numbers.
    labels : list of str
        To which the cells of the column `label` are appended.

    Returns
    -------
    ndarray of `dtype`, shape (rows, used columns), optional
        None where a cell is no such number, or rows differ in length.
    """
    left = [i for i in range(layout.columns) if i != label]
    places = {column: place for place, column in enumerate(left)}
    columns = None if used == left else [places[i] for i in used]
    with open_blocks(path, layout.dialect.encoding) as blocks, warnings.catch_warnings():
        warnings.simplefilter("error")
        rows = _without_open_quotes(rows_of(blocks, layout.skipped))
        lines = _lines_of_numbers(rows, layout, label, labels)
        if columns is not None:  # NumPy then takes rows of any length
            lines = _of_length(lines, layout.dialect.separator, len(left))
        try:
            values = np.loadtxt(
                lines,
                dtype,
                delimiter=layout.dialect.separator,
                ndmin=2,
                comments=None,
                quotechar='"',
                usecols=columns,
            )
        except UserWarning:
            raise DataError(f"{path}: a header but no rows") from None
        except (ValueError, DeprecationWarning, OverflowError):
            return None
    return values if values.shape[1] == len(used) else None


def _without_open_quotes(lines: Iterator[str]) -> Iterator[str]:
    """Yield the lines, each of which is a row; NumPy would read a cell on to the end of the file.

    Raises
    ------
    ValueError
        A quote is not closed in its line.
    """
    for line in lines:
        if '"' in line and line.count('"') % 2:
            raise ValueError("a quote is not closed")
        yield line


def _lines_of_numbers(
    lines: Iterator[str],
    layout: Layout,
    label: int | None,
    labels: list[str],
) -> Iterator[str]:
    """Return lines without the cell of the label, if any, and with decimal points."""
    if label is not None:
        is_edge = layout.dialect.separator is not None and label in (0, layout.columns - 1)
        cut = _without_edge if is_edge else _without
        lines = cut(lines, layout, label, labels)
    if layout.dialect.decimal_comma:
        lines = (line.replace(",", ".") for line in lines)
    return lines


def _exact_cells(line: str, layout: Layout) -> list[str]:
    """Return the cells of a row.

    Raises
    ------
    ValueError
        The row does not have `layout.columns` cells.
    """
    cells = cells_of(line, layout.dialect.separator)
    if len(cells) != layout.columns:
        raise ValueError("rows differ in length")
    return cells


def _of_length(lines: Iterator[str], separator: str | None, columns: int) -> Iterator[str]:
    """Yield lines; raise `ValueError` at the first with another number of cells."""
    for line in lines:
        simple = separator is not None and '"' not in line
        count = line.count(separator or "") + 1 if simple else len(cells_of(line, separator))
        if count != columns:
            raise ValueError("rows differ in length")
        yield line


def _without_edge(
    lines: Iterator[str],
    layout: Layout,
    label: int,
    labels: list[str],
) -> Iterator[str]:
    """Yield lines without their first or last cell, which goes to `labels`."""
    separator = layout.dialect.separator or ","
    keep = labels.append
    for line in lines:
        if label == 0:
            cell, _, rest = line.partition(separator)
        else:
            rest, _, cell = line.rpartition(separator)
        if '"' in cell and cell.count('"') % 2:  # a separator between quotes
            cells = _exact_cells(line, layout)
            cell = cells.pop(label)
            rest = separator.join(cells)
        if not rest:
            raise ValueError("a line with one cell")
        keep(cell)
        yield rest


def _without(lines: Iterator[str], layout: Layout, label: int, labels: list[str]) -> Iterator[str]:
    """Yield lines without the cell of the label, which goes to `labels`."""
    separator = layout.dialect.separator or " "
    for line in lines:
        cells = _exact_cells(line, layout)
        labels.append(cells.pop(label))
        yield separator.join(cells)
