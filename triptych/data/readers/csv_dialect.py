"""The dialect of a CSV file: what separates its cells, and how numbers are written in them."""

import csv
import re
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ...errors import DataError
from ..checks import LIMIT, opened, reading
from .content import HEAD_BYTES, mismatch
from .csv_lines import find_encoding, open_blocks, rows_of, unpacked_size

ENCODING_BYTES = 2**16  # from which the encoding is found
SAMPLE_CELLS = 8000  # from which the layout is found, but
SAMPLE_ROWS = (12, 100)  # at least and at most this number of rows
SEPARATORS = {"\t": "tabs", ";": "semicolons", "|": "bars", ",": "commas"}


@dataclass(frozen=True)
class Dialect:
    """How the lines of a file are written.

    Attributes
    ----------
    encoding : str
        In Python's words.
    separator : str, optional
        What separates the cells; None for runs of blanks.
    decimal_comma : bool
        Whether a comma in a cell is a decimal point.
    skipped : int
        Lines that are not blank before the header or the first row.
    sample : list of list of str
        The cells of the first lines after those, with decimal points.
    notes : tuple of str
        What to tell the user.
    """

    encoding: str
    separator: str | None
    decimal_comma: bool
    skipped: int
    sample: list[list[str]] = field(repr=False)
    notes: tuple[str, ...] = ()


def find_dialect(path: Path) -> Dialect:
    """Find out how a file is written, from its first lines.

    Raises
    ------
    DataError
        The file is no CSV, is empty or too large, has one column only, or has commas that may be
        decimal points or thousands separators.
    """
    encoding, note = _encoding(path)
    lines = _first_lines(path, encoding)
    skipped, separator = _preamble(lines)
    body = lines[skipped:]
    if separator is None:
        separator = _separator(body)
    if separator is None and len(body[0].split()) < 2:
        why = "one column only (commas, semicolons, tabs, bars and blanks were tried)"
        raise DataError(f"{path}: {why}; a label and numbers are needed in each line")
    notes = [note] if note else []
    if separator != ",":
        notes.append(f"separated by {SEPARATORS.get(separator or '', separator or 'blanks')}")
    sample = [cells_of(line, separator) for line in body]
    decimal_comma = separator != "," and _has_decimal_commas(path, sample[1:] or sample)
    if decimal_comma:
        notes.append("decimal commas")
        sample = [list(map(with_decimal_point, row)) for row in sample]
    return Dialect(encoding, separator, decimal_comma, skipped, sample, tuple(notes))


def cells_of(line: str, separator: str | None) -> list[str]:
    """Return the cells of a line, without the quotes around them.

    Parameters
    ----------
    line : str
    separator : str, optional
        None for runs of blanks, in which quotes have no meaning.
    """
    if separator is None:
        return line.split()
    if '"' not in line:
        return line.split(separator)
    return next(csv.reader([line], delimiter=separator, skipinitialspace=True))


def is_number(text: str) -> bool:
    """Return whether a text is a number as CSV files have them, NaN and infinity included."""
    try:
        float(text)
    except ValueError:
        return False
    return "_" not in text


def are_numbers(cells: list[str]) -> bool:
    """Return whether there are cells and all of them are numbers."""
    try:
        return bool(list(map(float, cells)))
    except ValueError:
        return False


def _encoding(path: Path) -> tuple[str, str]:
    """Return the encoding of a file, and what to say about it; refuse what is no text."""
    with reading(path):
        size = unpacked_size(path)
    if size > LIMIT:
        raise DataError(f"{path}: {size:,} bytes, over the limit of {LIMIT:,}")
    with opened(path, ".csv") as stream:
        head = stream.read(ENCODING_BYTES)
    if not head.strip():
        raise DataError(f"{path}: the file is empty")
    if wrong := mismatch(head[:HEAD_BYTES], "a CSV"):
        raise DataError(f"{path}: {wrong}")
    return find_encoding(path, head)


def _first_lines(path: Path, encoding: str) -> list[str]:
    """Return lines that are not blank, about `SAMPLE_CELLS` cells of them."""
    least, most = SAMPLE_ROWS
    lines: list[str] = []
    with open_blocks(path, encoding, ENCODING_BYTES) as blocks:
        for line in rows_of(blocks, 0):
            lines.append(line)
            cells = max(line.count(mark) for mark in (*SEPARATORS, " ")) + 1
            if len(lines) > min(max(SAMPLE_CELLS // cells, least), most):
                break
    if not lines:
        raise DataError(f"{path}: the file is empty")
    return lines


def _preamble(lines: list[str]) -> tuple[int, str | None]:
    """Return how many lines come before the header or the rows, and the separator they name.

    Excel's first line may name the separator. Of the comments after it the last one is the header,
    as NumPy writes it, and is not counted, if it has as many cells as a row; one more or less may
    be due to a separator at the end of the lines.
    """
    skipped = 0
    separator = None
    if named := re.fullmatch(r'"?sep=(.)"?\s*', lines[0]):
        skipped = 1
        separator = named[1]
    while len(lines) > skipped + 1 and lines[skipped].startswith("#"):
        if not lines[skipped + 1].startswith("#"):
            break
        skipped += 1
    if len(lines) > skipped + 1 and lines[skipped].startswith("#"):
        mark = separator or _separator(lines[skipped + 1 :])
        comment, row = (len(cells_of(line, mark)) for line in lines[skipped : skipped + 2])
        skipped += abs(comment - row) > 1
    return skipped, separator


def _separator(lines: list[str]) -> str | None:
    """Return what separates the cells of every line; None for blanks."""
    bare = [re.sub(r'"[^"]*"', "", line) if '"' in line else line for line in lines[:20]]
    commas = min(line.count(",") for line in bare)
    for mark in SEPARATORS:
        least = min(line.count(mark) for line in bare)
        if least and (mark == "," or commas <= least + 1):  # commas may be decimal points
            return mark
    counts = [bare[0].count(mark) for mark in SEPARATORS]
    return list(SEPARATORS)[int(np.argmax(counts))] if any(counts) else None


def _has_comma(cell: str) -> bool:
    """Return whether a cell is a number with a comma in it."""
    return re.fullmatch(r"\s*[-+]?\d*,\d+\s*", cell) is not None


def with_decimal_point(cell: str) -> str:
    """Return a number with a decimal comma with a point; any other text as it is."""
    return cell.replace(",", ".") if _has_comma(cell) else cell


def _has_decimal_commas(path: Path, rows: list[list[str]]) -> bool:
    """Return whether commas in cells are decimal points; refuse where thousands are as likely."""
    commas = [cell.strip() for row in rows for cell in row if _has_comma(cell)]
    if not commas:
        return False
    if all(re.fullmatch(r"[-+]?[1-9]\d{0,2},\d{3}", cell) for cell in commas):
        why = "may be a decimal comma or a thousands separator; write decimal points"
        raise DataError(f"{path}: {commas[0]!r} {why}")
    return True
