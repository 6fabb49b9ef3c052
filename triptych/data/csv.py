"""CSV: labelled images or rows of a table, in the shapes in which programs write them."""

import codecs
import csv
import io
import re
import warnings
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import chain
from operator import attrgetter
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError, one_line, suggest
from .arrays import Columns, Samples
from .arrays import found as found_in_arrays
from .checks import LIMIT, opened, reading
from .content import HEAD_BYTES, mismatch
from .headers import columns_of, is_pixel_name
from .labels import Values
from .reading import Found, Options
from .text import listed

LINE_LIMIT = 2**20  # characters; a row of 12,288 numbers with 18 decimals has about 300,000
BLANK_LINES = 1000  # besides two for each row
BLOCK = 2**20  # bytes that are read at once
HEAD = 2**16  # bytes from which the encoding is found
SAMPLE_CELLS = 8000  # from which the layout is found, but
SAMPLE_ROWS = (12, 100)  # at least and at most so many rows
PLAIN = bytes([*range(32, 127), *b"\t\r\n"])
CONTROL = bytes(set(range(32)) - set(b"\t\r\n\f\x1a"))
LABELS = ("label", "labels", "class", "classes", "target", "targets", "y")
INDEXES = ("", "index", "id", "idx", "row", "row_id", "rownames", "imageid", "image_id", "sample_id")
SEPARATORS = {"\t": "tabs", ";": "semicolons", "|": "bars", ",": "commas"}
LEAST_COUNTED = 20  # rows
MOST_ONE_HOT = 200  # columns
NEARLY_ALL = 0.95  # of the rows: a few may be wrong
MOST_OF_ONE = 0.6  # of the rows: a label that is more frequent may be a pixel
SURE = 4  # times as many different values: the other of two columns has the labels
BRIEF = 12  # characters of a cell in a message


class NoLabels(DataError):
    """A CSV without a label column: test.csv of a competition, say."""


@dataclass(frozen=True)
class Layout:
    """How the lines of a file are read.

    Attributes
    ----------
    encoding : str
    separator : str, optional
        None for runs of blanks.
    decimal_comma : bool
    skipped : int
        Lines before the first row that are not blank.
    header : tuple of str
        The names of the columns as they are written; empty where there are none.
    columns : int
        Cells in each row.
    rows : list of list of str
        The first rows.
    notes : tuple of str
    """

    encoding: str
    separator: str | None
    decimal_comma: bool
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
            if _are_numbers(row):
                continue
            for at, cell in enumerate(row[: self.columns]):
                if not _is_number(cell):
                    known = cell.strip().lower() not in ("", "?", "na", "null")
                    words[at] += known
                    empty[at] += not known
        filled = {at: len(self.rows) - empty[at] for at in words}
        return frozenset(at for at, count in words.items() if count and 2 * count > filled[at])

    def name(self, column: int) -> str:
        """Return how a message calls a column."""
        if not self.header or not self.header[column]:
            return f"column {column + 1}"
        return f"column {column + 1} ({one_line(self.header[column], 30)!r})"


@dataclass(frozen=True)
class Parsed:
    """The numbers and labels of a file.

    Attributes
    ----------
    samples : Samples
    columns : Columns
        What the names of the features say.
    notes : tuple of str
    label : str
        Where the labels are, in the words of `Options.label`.
    """

    samples: Samples
    columns: Columns
    notes: tuple[str, ...]
    label: str


def read(path: Path, options: Options) -> Found:
    """Read one CSV file, from which a test set is still to be split off.

    Raises
    ------
    DataError
        Naming the line and column of the first cell that is wrong.
    """
    parsed = parse(path, options)
    return found_in_arrays(parsed.samples, None, options, parsed.columns, parsed.notes)


def read_pair(train: Path, test: Path, options: Options) -> Found:
    """Read a training and a test file with the same columns.

    Where the test file has no labels, a test set is still to be split off.

    Raises
    ------
    DataError
        As `read`; and where the files have other columns.
    """
    first = parse(train, options)
    try:
        second = parse(test, replace(options, label=first.label))
    except NoLabels:
        notes = (*first.notes, f"{test.name} has no labels and is not used")
        return found_in_arrays(first.samples, None, options, first.columns, notes)
    names = (first.columns.names, second.columns.names)
    if all(names) and names[0] != names[1]:
        odd = next((b for a, b in zip(*names, strict=False) if a != b), names[1][-1])
        raise DataError(f"{test}: has other columns than {train.name}: {one_line(odd, 40)!r} is not in its place there")
    notes = tuple(dict.fromkeys((*first.notes, *second.notes)))
    return found_in_arrays(first.samples, second.samples, options, first.columns, notes)


def parse(path: Path, options: Options) -> Parsed:
    """Return numbers and labels as they are in the file.

    Raises
    ------
    NoLabels
        Where there is no label column.
    DataError
        Where a cell is wrong.
    """
    layout = _layout(path)
    notes = list(layout.notes)
    if packed := _packed(layout):
        return _unpacked(path, layout, packed, options, notes)
    dropped = _indexes(layout, notes)
    at = _label_column(path, layout, dropped, options)
    _refuse_words(path, layout, dropped, at)
    used = [i for i in range(layout.columns) if i not in dropped and i != at]
    if not used:
        raise DataError(f"{path}: no columns besides the labels, so there is nothing to learn from")
    labels, values = _table(path, layout, used, at)
    if not layout.header and len(used) > 1 and _counts(values[:, 0]):
        values = values[:, 1:]
        used = used[1:]
        notes.append("column 1 left out: it numbers the rows")
    if at is None:
        _refuse_one_hot(path, values)
        edge = _edge(path, values)
        at = used[edge]
        notes.append(f"labels in the {'first' if edge == 0 else 'last'} column")
        labels = values[:, edge]
        values = np.ascontiguousarray(values[:, 1:] if edge == 0 else values[:, :-1])
        used.remove(at)
    elif layout.header and options.label is None and layout.lower[at] not in LABELS:
        notes.append(f"labels in {layout.name(at)}")
    columns, order = columns_of(tuple(layout.header[i] for i in used) if layout.header else ())
    if order is not None:
        values = np.ascontiguousarray(values[:, order])
        used = [used[i] for i in order]
        notes.append("columns put in the order of the numbers in their names")
    label_at, used_now = at, tuple(used)

    def where(i: int) -> str:
        return f"line {_line_of(path, layout, i):,}"

    def cell(i: int, j: int) -> str:
        return f"{where(i)}, {layout.name(used_now[j])}"

    samples = Samples(path, values, labels, where, cell)
    name = layout.lower[label_at] if layout.header else ""
    place = name or ("first" if label_at < min(used) else "last")
    return Parsed(samples, columns, tuple(notes), place)


# ---------------------------------------------------------------- text


@dataclass(frozen=True)
class _Block:
    """Some lines of a file: the number of the first, all of them, and those that are not blank."""

    number: int
    every: list[str]
    rows: list[str]


@contextmanager
def _text(path: Path, encoding: str, size: int = BLOCK) -> Generator[Iterator[_Block]]:
    """Open a file as blocks of lines, of about `size` bytes each."""
    with opened(path, ".csv") as stream:
        yield _blocks(path, stream, encoding, size)


def _blocks(path: Path, stream: IO[bytes], encoding: str, size: int) -> Iterator[_Block]:
    """Yield the lines of a file, without their ends, as long as neither lines nor file are too long."""
    decoder = codecs.getincrementaldecoder(encoding)()
    decode = io.IncrementalNewlineDecoder(decoder, translate=True).decode
    total, number, rows, blank = 0, 1, 0, 0
    rest = ""
    while True:
        content = stream.read(size)
        try:
            every = (rest + decode(content, not content)).split("\n")
        except UnicodeError:
            raise DataError(f"{path}: after line {number:,}: not {encoding} text; save it as UTF-8") from None
        rest = every.pop() if content else ""
        block = _Block(number, every, [line for line in every if line and not line.isspace()])
        total += len(content)
        rows += len(block.rows)
        blank += len(every) - len(block.rows)
        number += len(every)
        if max(len(rest), max(map(len, block.rows), default=0)) > LINE_LIMIT:
            raise DataError(f"{path}: line {number:,}: a line is too long for a CSV")
        if total > LIMIT:
            raise DataError(f"{path}: over the limit of {LIMIT:,} bytes")
        if blank > BLANK_LINES + 2 * rows:
            raise DataError(f"{path}: line {number:,}: more blank lines than rows")
        yield block
        if not content:
            return


def _rows(blocks: Iterator[_Block], skipped: int) -> Iterator[str]:
    """Yield the lines after the first `skipped` that are not blank."""
    rows = chain.from_iterable(map(attrgetter("rows"), blocks))
    for _ in range(skipped):
        next(rows, None)
    return rows


def _numbered(blocks: Iterator[_Block]) -> Iterator[tuple[int, str]]:
    """Yield the lines that are not blank, with their numbers in the file, from 1."""
    for block in blocks:
        for number, line in enumerate(block.every, block.number):
            if line and not line.isspace():
                yield number, line


def _encoding(path: Path, head: bytes) -> tuple[str, str]:
    """Return the encoding of a file by its first bytes, and what to say of it."""
    marks = (
        (codecs.BOM_UTF8, "utf-8-sig", ""),
        (codecs.BOM_UTF32_LE, "utf-32", "UTF-32"),
        (codecs.BOM_UTF16_LE, "utf-16", "UTF-16"),
        (codecs.BOM_UTF16_BE, "utf-16", "UTF-16"),
    )
    found = next(((name, note) for mark, name, note in marks if head.startswith(mark)), None)
    if found is None and len(head) > 3 and head.count(0) > len(head) // 3:
        found = ("utf-16-be" if head[0] == 0 else "utf-16-le", "UTF-16")
    if found is None:
        try:
            codecs.getincrementaldecoder("utf-8")().decode(head)
            found = ("utf-8", "")
        except UnicodeDecodeError:
            found = ("cp1252", "Windows-1252, as it is not UTF-8")
    try:
        text = codecs.getincrementaldecoder(found[0])().decode(head)
    except UnicodeError:
        text = ""
    coded = text.encode("utf-8", "replace")
    plain = len(coded) - len(coded.translate(None, PLAIN))
    control = len(coded) - len(coded.translate(None, CONTROL))
    if control or 2 * plain < len(text) or (head and not text):
        raise DataError(f"{path}: not a text file")
    return found


def _layout(path: Path) -> Layout:
    """Find out how a file is written, from its first lines."""
    with reading(path):
        size = _size(path)
    if size > LIMIT:
        raise DataError(f"{path}: {size:,} bytes, over the limit of {LIMIT:,}")
    with opened(path, ".csv") as stream:
        head = stream.read(HEAD)
    if not head.strip():
        raise DataError(f"{path}: the file is empty")
    if wrong := mismatch(head[:HEAD_BYTES], "a CSV"):
        raise DataError(f"{path}: {wrong}")
    encoding, note = _encoding(path, head)
    lines: list[str] = []
    with _text(path, encoding, HEAD) as blocks:
        for line in _rows(blocks, 0):
            lines.append(line)
            cells = max(line.count(mark) for mark in (*SEPARATORS, " ")) + 1
            if len(lines) > min(max(SAMPLE_CELLS // cells, SAMPLE_ROWS[0]), SAMPLE_ROWS[1]):
                break
    if not lines:
        raise DataError(f"{path}: the file is empty")
    skipped, separator = 0, None
    if found := re.fullmatch(r'"?sep=(.)"?\s*', lines[0]):  # Excel's first line
        skipped, separator = 1, found[1]
    while len(lines) > skipped + 1 and lines[skipped].startswith("#"):
        if not lines[skipped + 1].startswith("#"):
            break
        skipped += 1
    body = lines[skipped:]
    separator = _separator(body) if separator is None else separator
    if separator is None and len(body[0].split()) < 2:
        raise DataError(
            f"{path}: one column only (commas, semicolons, tabs, bars and blanks were tried); a label and numbers are needed in each line"
        )
    notes = [note] if note else []
    if separator != ",":
        notes.append(f"separated by {SEPARATORS.get(separator or '', separator or 'blanks')}")
    cells = [_cells(line, separator) for line in body]
    comma = separator != "," and _decimal_comma(path, cells[1:] or cells)
    if comma:
        notes.append("decimal commas")
        cells = [[cell.replace(",", ".") if _comma(cell) else cell for cell in row] for row in cells]
    return _with_header(path, cells, Layout(encoding, separator, comma, skipped, (), 0, [], tuple(notes)))


def _size(path: Path) -> int:
    """Return how large a file is, a gzipped one as it says itself at its end."""
    size = path.stat().st_size
    with path.open("rb") as file:
        if file.read(2) != b"\x1f\x8b" or size < 18:
            return size
        file.seek(-4, io.SEEK_END)
        return max(size, int.from_bytes(file.read(4), "little"))


def _separator(lines: list[str]) -> str | None:
    """Return what separates the cells of every line; None for blanks."""
    bare = [re.sub(r'"[^"]*"', "", line) if '"' in line else line for line in lines[:20]]
    commas = min(line.count(",") for line in bare)
    for mark in SEPARATORS:
        least = min(line.count(mark) for line in bare)
        if least and (mark == "," or commas <= least + 1):
            return mark
    counts = [bare[0].count(mark) for mark in SEPARATORS]
    return list(SEPARATORS)[int(np.argmax(counts))] if any(counts) else None


def _cells(line: str, separator: str | None) -> list[str]:
    if separator is None:
        return line.split()
    if '"' not in line:
        return line.split(separator)
    return next(csv.reader([line], delimiter=separator, skipinitialspace=True))


def _comma(cell: str) -> bool:
    return re.fullmatch(r"\s*[-+]?\d*,\d+\s*", cell) is not None


def _decimal_comma(path: Path, rows: list[list[str]]) -> bool:
    """Return whether commas in cells are decimal points; where thousands are as likely, refuse."""
    commas = [cell.strip() for row in rows for cell in row if _comma(cell)]
    if not commas:
        return False
    if all(re.fullmatch(r"[-+]?[1-9]\d{0,2},\d{3}", cell) for cell in commas):
        raise DataError(f"{path}: {commas[0]!r} may be a decimal comma or a thousands separator; write decimal points")
    return True


# ---------------------------------------------------------------- names and columns


def _with_header(path: Path, cells: list[list[str]], layout: Layout) -> Layout:
    """Return the layout with the header, if there is one, and the first rows."""
    first, rows = cells[0], cells[1:]
    names = tuple(_clean(name) for name in first)
    notes = list(layout.notes)
    width = len(rows[0]) if rows else len(first)
    if rows and width == len(first) + 1 and all(not row[-1].strip() for row in rows if row):
        names, header = (*names, ""), True  # each line but the header ends in a separator
    elif rows and width == len(first) + 1 and _names_rows(rows) and _is_header(path, names, [row[1:] for row in rows]):
        names, header = ("", *names), True  # as R writes the names of rows
    else:
        header = _is_header(path, names, rows)
    if not header and _is_summary(names, rows):
        notes.append("line 1 left out: it counts the rows and names the classes")
        skipped = layout.skipped + 1
        return replace(layout, skipped=skipped, columns=width, rows=rows, notes=tuple(notes))
    if not header:
        return replace(layout, columns=len(first), rows=cells)
    if not rows:
        raise DataError(f"{path}: a header but no rows")
    if _are_numbers(list(names)):
        notes.append("line 1 taken for a header")
    return replace(
        layout,
        skipped=layout.skipped + 1,
        header=names,
        columns=len(names),
        rows=rows,
        notes=tuple(notes),
    )


def _names_rows(rows: list[list[str]]) -> bool:
    """Return whether the first cells of the rows count them, or are words that are all different."""
    cells = [_clean(row[0]) for row in rows if row]
    counted = [str(int(cells[0]) + i) for i in range(len(cells))] if cells[0] in ("0", "1") else []
    return cells == counted or (len(set(cells)) == len(cells) and not any(map(_is_number, cells)))


def _is_summary(names: tuple[str, ...], rows: list[list[str]]) -> bool:
    """Return whether the first line is the one of scikit-learn's own files: rows, features, names of classes."""
    counts = [name for name in names[:2] if name.isdecimal()]
    words = names[2:]
    if len(counts) < 2 or len(words) < 2 or any(map(_is_number, words)) or not rows:
        return False
    return all(len(row) == int(counts[1]) + 1 for row in rows)


def _is_header(path: Path, names: tuple[str, ...], rows: list[list[str]]) -> bool:
    """Return whether the first line has names and not data."""
    if any(name.lower() in LABELS for name in names):
        return True
    numbers = [_is_number(name) for name in names]
    if all(numbers):
        counting = [str(n) for n in range(len(names))]
        counting_from_1 = [str(n + 1) for n in range(len(names))]
        if len(names) > 2 and list(names) in (counting, counting_from_1):
            return bool(rows) and rows[0] != list(names)
        mangled = sum(re.fullmatch(r"\d{1,3}\.\d*[1-9]\d*", name) is not None for name in names)
        whole = all(re.fullmatch(r"\d{1,3}(\.0)?", cell.strip()) for row in rows[:5] for cell in row)
        if rows and whole and mangled > len(names) // 2:
            raise DataError(
                f"{path}: line 1 holds {', '.join(names[1:3])} … where other lines hold whole numbers: pandas "
                "took the first row for a header when it wrote this file; write it anew with header=None"
            )
        return False
    words = [i for i, number in enumerate(numbers) if not number and names[i].lower() != "nan"]
    named = [i for i in words if _numeric(rows, i)]
    if len(words) > len(names) // 2:
        return len(named) > 0 or not rows or all(map(is_pixel_name, names))
    counted = [int(name) for name in names if name.isdecimal()]
    if len(named) == 1 and named[0] in (0, len(names) - 1):
        return counted in (list(range(len(counted))), list(range(1, len(counted) + 1)))
    return False


def _numeric(rows: list[list[str]], column: int) -> bool:
    """Return whether a column holds numbers, or nothing, in the first rows."""
    cells = [row[column].strip().strip("'") for row in rows if len(row) > column]
    numbers = sum(_is_number(cell) for cell in cells)
    return numbers > 0 and numbers >= 0.5 * len(cells)


def _clean(name: str) -> str:
    """Return a name without quotes, a byte order mark, and the # that NumPy writes before a header."""
    return name.strip("\ufeff \t").lstrip("#").strip(" \t\"'")


def _indexes(layout: Layout, notes: list[str]) -> set[int]:
    """Return the columns that only number the rows, or are empty."""
    dropped: set[int] = set()
    for at, name in enumerate(layout.lower):
        if name in INDEXES or name.startswith("unnamed: "):
            cells = [row[at].strip() for row in layout.rows if len(row) > at]
            if any(cells) and len(cells) == len(set(cells)):
                dropped.add(at)
                notes.append(f"column {at + 1} ({name or 'no name'}) left out: it numbers the rows")
    last = layout.columns - 1
    if not any(row[last].strip() for row in layout.rows if len(row) > last):
        dropped.add(last)
        notes.append("the lines end in a separator")
    return dropped


def _counts(column: NDArray[Any]) -> bool:
    """Return whether a column without a name numbers the rows, from 0 or from 1."""
    if len(column) < LEAST_COUNTED or column[0] not in (0, 1):
        return False
    return bool((column == np.arange(len(column)) + column[0]).all())


def _label_column(path: Path, layout: Layout, dropped: set[int], options: Options) -> int | None:
    """Return the column with the labels; None where it is the first or the last of nothing but numbers.

    Raises
    ------
    NoLabels
        Where the header names none.
    """
    left = [i for i in range(layout.columns) if i not in dropped]
    if not left:
        raise DataError(f"{path}: no column is left to learn from")
    asked = options.label
    if asked is not None:
        return _asked(path, layout, left, asked)
    words = [i for i in left if i in layout.words]
    if not layout.header or _are_numbers(list(layout.header)):
        return words[0] if len(words) == 1 else None
    names = {i: layout.lower[i] for i in left}
    named = [i for i in left if names[i] in LABELS]
    if len(named) > 1:
        named = [i for i in named if names[i] != "y"]
    if len(named) > 1:
        both = " and ".join(repr(layout.header[i]) for i in named[:3])
        raise DataError(f"{path}: columns {both} may both be the labels; name one with --label")
    if named:
        return named[0]
    if len(words) == 1:
        return words[0]
    if all(is_pixel_name(names[i]) for i in left):
        raise NoLabels(
            f"{path}: {len(left):,} columns of pixels and no label column; a test file of a competition "
            "has no labels, use its train file; or name the column: --label NAME"
        )
    raise NoLabels(
        f"{path}: the header names no 'label' column (nor class, target or y); name it with --label NAME; "
        f"the columns are {listed(layout.header)}"
    )


def _asked(path: Path, layout: Layout, left: list[int], asked: str) -> int:
    """Return the column that --label names."""
    if layout.header:
        exact = [i for i in range(layout.columns) if layout.header[i] == asked]
        alike = [i for i in range(layout.columns) if layout.lower[i] == asked.lower()]
        if found := exact or alike:
            return found[0]
    if asked.lower() in ("first", "last"):
        return left[0 if asked.lower() == "first" else -1]
    if not layout.header:
        raise DataError(f"{path}: has no header, so --label may be first or last, not {asked[:40]!r}")
    raise NoLabels(f"{path}: no column {one_line(asked, 40)!r}; {_suggestion(asked, layout.header)}")


def _suggestion(word: str, names: tuple[str, ...]) -> str:
    said = suggest(word, names)
    return said if said.startswith("did") else f"the columns are {listed(names)}"


def _refuse_words(path: Path, layout: Layout, dropped: set[int], at: int | None) -> None:
    """Raise `DataError` for a column of words that is not the labels."""
    for column in range(layout.columns):
        if column in dropped or column == at or column not in layout.words:
            continue
        cells = [row[column].strip() for row in layout.rows if len(row) > column]
        if at is None and layout.columns < 3:
            raise DataError(f"{path}: a label and at least one column of numbers are needed")
        raise DataError(
            f"{path}: {layout.name(column)} holds words, for example {one_line(cells[0], 20)!r}; numbers are "
            "needed beside the labels: leave it out, make numbers of it, or name the labels: --label NAME"
        )


def _refuse_one_hot(path: Path, values: NDArray[Any]) -> None:
    """Raise `DataError` where columns at an edge have a 1 for the class and 0 elsewhere."""
    for edge, columns in (("last", values[:, ::-1]), ("first", values)):
        binary = columns[:, :MOST_ONE_HOT]
        wrong = ~np.isin(binary, (0, 1)).all(axis=0)
        width = int(np.argmax(wrong)) if wrong.any() else binary.shape[1]
        sums = np.cumsum(binary[:, :width], axis=1)
        ones = np.flatnonzero((sums == 1).all(axis=0) & (width > 2))
        if len(ones) and ones[0] > 0 and width < columns.shape[1]:
            raise DataError(
                f"{path}: the {edge} {ones[0] + 1} columns hold a 1 in each row and 0 elsewhere, as one-hot "
                "labels do; write one column of labels instead (argmax)"
            )


def _edge(path: Path, values: NDArray[Any]) -> int:
    """Return 0 or -1: whether the labels are in the first or the last column of a file without names.

    A column of labels has whole numbers, at least two and far fewer than rows. Where both columns look
    so, the labels are those that are spread evenly over 0, 1, 2 … where the others are not, or that
    have far fewer values: a pixel at the edge of an image is mostly of one colour, or takes many values.
    """
    first, last = _looks_like_labels(values[:, 0]), _looks_like_labels(values[:, -1])
    constant = bool((values[:, 0] == values[0, 0]).all())
    if first is None and constant and (last is None or not last.even):
        raise DataError(
            f"{path}: every label is {values[0, 0]:g} if the labels are in the first column, and a classifier needs "
            "at least two classes; if they are in the last: --label last"
        )
    if first is None or last is None:
        return -1 if first is None and last is not None else 0
    if first.even != last.even:
        return 0 if first.even else -1
    if first.even and first.count * SURE <= last.count:
        return 0
    if last.even and last.count * SURE <= first.count:
        return -1
    raise DataError(
        f"{path}: without a header the labels may be in the first column ({first.count} values) or in the last "
        f"({last.count}); say which: --label first, or --label last"
    )


@dataclass(frozen=True)
class _Spread:
    """How many values a column has, and whether they are about 0, 1, 2 … with none of them in most rows."""

    count: int
    even: bool


def _looks_like_labels(column: NDArray[Any]) -> _Spread | None:
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


# ---------------------------------------------------------------- rows


def _table(path: Path, layout: Layout, used: list[int], label: int | None) -> tuple[Values, NDArray[Any]]:
    """Return the labels (none where `label` is None) and the numbers of the used columns.

    Whole bytes are tried first, the fast way, labels included; then labels as text; what still does not
    fit is parsed as float64.
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
            return labels, values
    raise DataError(f"{path}: {_wrong_cell(path, layout, used) or 'rows differ in length'}")


def _numbers(
    path: Path, layout: Layout, used: list[int], label: int | None, dtype: type[np.generic], labels: list[str]
) -> NDArray[Any] | None:
    """Return the numbers of the used columns; None where a cell is none of `dtype`, or rows differ in length.

    Parameters
    ----------
    path : Path
    layout : Layout
    used : list of int
    label : int, optional
        The column that is cut out of each line, and goes to `labels`.
    dtype : type
    labels : list of str
    """
    left = [i for i in range(layout.columns) if i != label]
    with _text(path, layout.encoding) as blocks, warnings.catch_warnings():
        warnings.simplefilter("error")
        lines = _rows(blocks, layout.skipped)
        if label is not None:
            edge = layout.separator is not None and label in (0, layout.columns - 1)
            lines = (_without_edge if edge else _without)(lines, layout, label, labels)
        if layout.decimal_comma:
            lines = (line.replace(",", ".") for line in lines)
        columns = None
        if used != left:  # NumPy then takes rows of any length
            place = {column: at for at, column in enumerate(left)}
            columns = [place[i] for i in used]
            lines = _of_length(lines, layout.separator, len(left))
        try:
            values = np.loadtxt(
                lines,
                dtype,
                delimiter=layout.separator,
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


def _of_length(lines: Iterator[str], separator: str | None, columns: int) -> Iterator[str]:
    """Yield lines as long as they have so many cells."""
    for line in lines:
        simple = separator is not None and '"' not in line
        count = line.count(separator or "") + 1 if simple else len(_cells(line, separator))
        if count != columns:
            raise ValueError("rows differ in length")
        yield line


def _without_edge(lines: Iterator[str], layout: Layout, label: int, labels: list[str]) -> Iterator[str]:
    """Yield lines without their first or last cell, which goes to `labels`."""
    separator = layout.separator or ","
    keep = labels.append
    for line in lines:
        if label == 0:
            cell, _, rest = line.partition(separator)
        else:
            rest, _, cell = line.rpartition(separator)
        if '"' in cell and cell.count('"') % 2:  # a separator between quotes
            cells = _cells(line, separator)
            if len(cells) != layout.columns:
                raise ValueError("rows differ in length")
            cell = cells.pop(label)
            rest = separator.join(cells)
        if not rest:
            raise ValueError("a line with one cell")
        keep(cell)
        yield rest


def _without(lines: Iterator[str], layout: Layout, label: int, labels: list[str]) -> Iterator[str]:
    """Yield lines without the cell of the label, which goes to `labels`."""
    for line in lines:
        cells = _cells(line, layout.separator)
        if len(cells) != layout.columns:
            raise ValueError("rows differ in length")
        labels.append(cells.pop(label))
        yield (layout.separator or " ").join(cells)


def _wrong_cell(path: Path, layout: Layout, used: list[int]) -> str:
    """Return what is wrong with the first row that is, by its line in the file; nothing where none is."""
    wanted = set(used)
    cells: list[str] = []
    said = ""
    with _text(path, layout.encoding) as blocks:
        for at, (number, line) in enumerate(_numbered(blocks)):
            if said:  # more lines follow
                return said
            if at < layout.skipped:
                continue
            cells = _cells(line, layout.separator)
            if len(cells) != layout.columns:
                said = f"line {number:,} has {len(cells):,} columns where line {_first(at, number, layout)} has {layout.columns:,}"
                continue
            for column, cell in enumerate(cells):
                text = cell.replace(",", ".") if layout.decimal_comma else cell
                if column in wanted and not _is_number(text.strip().strip('"')):
                    return f"line {number:,}, {layout.name(column)}: {_cell(cell)}"
    if said and len(cells) < layout.columns:
        said += ", and it is the last line: the file is cut off, fetch it again"
    return said


def _first(at: int, number: int, layout: Layout) -> int:
    return 1 if layout.header or at else number


def _cell(cell: str) -> str:
    cell = cell.strip()
    if not cell or cell.lower() in ("na", "nan", "?", "null"):
        return f"{cell!r} is not a number; fill it in, or remove the row"
    return f"{one_line(cell, BRIEF)!r} is not a number"


def _line_of(path: Path, layout: Layout, row: int) -> int:
    """Return the line of the file on which a row is."""
    with _text(path, layout.encoding) as blocks:
        for at, (number, _) in enumerate(_numbered(blocks)):
            if at == layout.skipped + row:
                return number
    return layout.skipped + row + 1


def _are_numbers(cells: list[str]) -> bool:
    try:
        return bool(list(map(float, cells)))
    except ValueError:
        return False


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return "_" not in text


# ---------------------------------------------------------------- all pixels in one cell


def _packed(layout: Layout) -> int | None:
    """Return the column whose cells hold all pixels of an image with blanks between them."""
    row = layout.rows[0] if layout.rows else []
    for at, cell in enumerate(row):
        numbers = cell.split()
        if layout.separator is not None and len(numbers) >= 64 and all(map(_is_number, numbers)):
            return at + 1
    return None


def _unpacked(path: Path, layout: Layout, packed: int, options: Options, notes: list[str]) -> Parsed:
    """Read a file whose rows hold a label and a cell of pixels, as FER2013 does."""
    pixels = packed - 1
    dropped = _indexes(layout, notes)
    left = [i for i in range(layout.columns) if i not in dropped and i != pixels]
    numbered = [i for i in left if i not in layout.words]
    if options.label is not None:
        at = _asked(path, layout, left, options.label)
    elif len(numbered) == 1 or len(left) == 1:
        at = (numbered or left)[0]
    else:
        named = [i for i in left if layout.header and layout.lower[i] in LABELS]
        if len(named) != 1:
            raise NoLabels(f"{path}: which column has the labels? name it with --label NAME")
        at = named[0]
    notes += [f"{layout.name(column)} left out" for column in left if column != at]
    labels: list[str] = []

    def strings(lines: Iterator[str]) -> Iterator[str]:
        for line in lines:
            cells = _cells(line, layout.separator)
            if len(cells) != layout.columns:
                raise ValueError("rows differ in length")
            labels.append(cells[at])
            yield cells[pixels]

    with _text(path, layout.encoding) as blocks:
        try:
            values = np.loadtxt(strings(_rows(blocks, layout.skipped)), np.float64, ndmin=2, comments=None)
        except ValueError as error:
            why = _wrong_cell(path, layout, []) or one_line(str(error), 120)
            raise DataError(f"{path}: {why}") from None
    if np.array_equal(values, values.astype(np.uint8)):
        values = values.astype(np.uint8)

    def where(i: int) -> str:
        return f"line {_line_of(path, layout, i):,}"

    samples = Samples(path, values, labels, where, lambda i, j: f"{where(i)}, pixel {j + 1}")
    label = layout.lower[at] if layout.header else "first"
    return Parsed(samples, Columns(pixels=True), tuple(notes), label)
