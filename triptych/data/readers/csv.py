"""CSV: labelled images or rows of a table, in the shapes in which programs write them.

A file is read in four steps: its dialect (`csv_dialect`), its layout (`csv_layout`), the column of
its labels (`csv_labels`), and its rows (`csv_table`). Here they follow each other.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import DataError, one_line
from ..reading import Contents, Options, Progress
from .arrays import contents_of
from .csv_labels import (
    NoLabels,
    asked_column,
    label_column,
    label_edge,
    refuse_one_hot,
    refuse_words,
)
from .csv_layout import Layout, counts_rows, find_layout, index_columns, packed_column
from .csv_table import line_of, read_packed, read_table
from .headers import columns_of
from .labels import Values
from .samples import Columns, Samples
from .words import LABELS


@dataclass(frozen=True)
class Parsed:
    """The numbers and labels of a file.

    Attributes
    ----------
    samples : Samples
    columns : Columns
        What the names of the features mean.
    notes : tuple of str
        What to tell the user.
    label : str
        Where the labels are, in the words of `Options.label`; empty without labels.
    """

    samples: Samples
    columns: Columns
    notes: tuple[str, ...]
    label: str


def read(path: Path, options: Options, _progress: Progress | None = None) -> Contents:
    """Read one CSV file, from which a test set is still to be split off.

    Parameters
    ----------
    path : Path
        May be compressed with gzip, or in a zip archive of one file.
    options : Options

    Raises
    ------
    NoLabels
        There is no label column.
    DataError
        Naming the line and column of the first cell that is wrong.
    """
    parsed = parse(path, options)
    return contents_of(parsed.samples, None, options, parsed.columns, parsed.notes)


def read_pair(train: Path, test: Path | None, options: Options) -> Contents:
    """Read a training and a test file with the same columns.

    Where the test file has no labels, or there is none, a test set is still to be split off.

    Parameters
    ----------
    train : Path
    test : Path, optional
        As for `read`.
    options : Options

    Raises
    ------
    DataError
        As `read`; and where the files have other columns.
    """
    if test is None:
        return read(train, options)
    first = parse(train, options)
    try:
        second = parse(test, replace(options, label=first.label))
    except NoLabels:
        notes = (*first.notes, f"{test.name} has no labels and is not used")
        return contents_of(first.samples, None, options, first.columns, notes)
    expected = first.columns.names
    names = second.columns.names
    if expected and names and expected != names:
        pairs = zip(expected, names, strict=False)
        odd = next((name for right, name in pairs if right != name), names[-1])
        why = f"{one_line(odd, 40)!r} is not in its place there"
        raise DataError(f"{test}: has other columns than {train.name}: {why}")
    notes = tuple(dict.fromkeys((*first.notes, *second.notes)))
    return contents_of(first.samples, second.samples, options, first.columns, notes)


def parse(path: Path, options: Options) -> Parsed:
    """Return numbers and labels as they are in the file.

    Raises
    ------
    NoLabels
        There is no label column.
    DataError
        A cell is wrong.
    """
    layout = find_layout(path)
    pixels = packed_column(layout)
    if pixels is not None:
        return _parse_packed(path, layout, pixels, options)
    return _parse_columns(path, layout, options)


@dataclass(frozen=True)
class _Table:
    """The rows of a file.

    Attributes
    ----------
    label : int, optional
        The column of the labels; None as long as they are one of the columns of `values`.
    labels : list of str, or ndarray, shape (rows,)
        Empty where `label` is None.
    used : list of int
        The column of the file from which each column of `values` comes.
    values : ndarray, shape (rows, used columns)
    """

    label: int | None
    labels: Values
    used: list[int]
    values: NDArray[Any]


def _parse_columns(path: Path, layout: Layout, options: Options) -> Parsed:
    """Read a file with one number in each cell."""
    dropped, dropped_notes = index_columns(layout)
    notes = [*layout.notes, *dropped_notes]
    label = None
    if options.labelled:
        label = label_column(path, layout, dropped, options.label)
    refuse_words(path, layout, dropped, label)
    used = [i for i in range(layout.columns) if i not in dropped and i != label]
    if not used:
        raise DataError(f"{path}: no columns besides the labels, so there is nothing to learn from")
    labels, values = read_table(path, layout, used, label)
    table = _without_row_numbers(_Table(label, labels, used, values), layout, notes)
    label = table.label
    if not options.labelled:
        table = replace(table, labels=np.zeros(len(table.values), np.uint8))
    elif label is None:
        table, label = _with_labels_of_edge(path, table, notes)
    elif layout.header and options.label is None and layout.lower[label] not in LABELS:
        notes.append(f"labels in {layout.name(label)}")
    names = tuple(layout.header[i] for i in table.used) if layout.header else ()
    columns, order = columns_of(names)
    if order is not None:
        table = _in_order(table, order)
        notes.append("columns put in the order of the numbers in their names")
    where = _line_names(path, layout)
    in_order = tuple(table.used)

    def cell(i: int, j: int) -> str:
        return f"{where(i)}, {layout.name(in_order[j])}"

    samples = Samples(path, table.values, table.labels, where, cell)
    return Parsed(samples, columns, tuple(notes), _place_of_labels(layout, label, table.used))


def _place_of_labels(layout: Layout, label: int | None, used: list[int]) -> str:
    """Return where the labels are, in the words of `Options.label`; nothing without labels."""
    if label is None:
        return ""
    name = layout.lower[label] if layout.header else ""
    return name or ("first" if label < min(used) else "last")


def _parse_packed(path: Path, layout: Layout, pixels: int, options: Options) -> Parsed:
    """Read a file whose rows hold a label and a cell of pixels, as FER2013 does."""
    dropped, dropped_notes = index_columns(layout)
    left = [i for i in range(layout.columns) if i not in dropped and i != pixels]
    label = _label_of_packed(path, layout, left, options.label)
    left_out = [f"{layout.name(column)} left out" for column in left if column != label]
    notes = (*layout.notes, *dropped_notes, *left_out)
    labels, values = read_packed(path, layout, pixels, label)
    where = _line_names(path, layout)
    samples = Samples(path, values, labels, where, lambda i, j: f"{where(i)}, pixel {j + 1}")
    place = layout.lower[label] if layout.header else "first"
    return Parsed(samples, Columns(pixels=True), notes, place)


def _label_of_packed(path: Path, layout: Layout, left: list[int], asked: str | None) -> int:
    """Return the column of the labels: of those left the only one, of numbers, or named so."""
    if asked is not None:
        return asked_column(path, layout, left, asked)
    numbers = [i for i in left if i not in layout.words]
    if len(numbers) == 1:
        return numbers[0]
    if len(left) == 1:
        return left[0]
    named = [i for i in left if layout.header and layout.lower[i] in LABELS]
    if len(named) != 1:
        raise NoLabels(f"{path}: which column has the labels? name it with --label NAME")
    return named[0]


def _line_names(path: Path, layout: Layout) -> Callable[[int], str]:
    """Return how a message names the line of a row, of which the first is 0."""

    def where(i: int) -> str:
        return f"line {line_of(path, layout, i):,}"

    return where


def _without_row_numbers(table: _Table, layout: Layout, notes: list[str]) -> _Table:
    """Return a table without its first column where that has no name and numbers the rows."""
    if layout.header or len(table.used) < 2 or not counts_rows(table.values[:, 0]):
        return table
    notes.append("column 1 left out: it numbers the rows")
    return replace(table, used=table.used[1:], values=table.values[:, 1:])


def _with_labels_of_edge(path: Path, table: _Table, notes: list[str]) -> tuple[_Table, int]:
    """Return a table whose labels are its first or last column, and which column of the file."""
    refuse_one_hot(path, table.values)
    edge = label_edge(path, table.values)
    notes.append(f"labels in the {'first' if edge == 0 else 'last'} column")
    rest = slice(1, None) if edge == 0 else slice(None, -1)
    label = table.used[edge]
    values = np.ascontiguousarray(table.values[:, rest])
    return _Table(label, table.values[:, edge], table.used[rest], values), label


def _in_order(table: _Table, order: NDArray[np.intp]) -> _Table:
    """Return a table with its columns in another order.

    Parameters
    ----------
    table : _Table
    order : ndarray of int, shape (used columns,)
        The place in `table` of each column.
    """
    values = np.ascontiguousarray(table.values[:, order])
    return replace(table, used=[table.used[i] for i in order], values=values)
