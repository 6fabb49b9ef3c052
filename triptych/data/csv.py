"""MNIST as CSV, in every shape that Kaggle ships: with a header or without, the label first or last, gzipped or not."""

import io
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError
from .checks import LIMIT, PIXELS, opened, split_of
from .dataset import Split

LINE_LIMIT = 2**16  # characters; a row of 785 numbers has about 3,000


def read(path: Path) -> Split:
    """Read one CSV file.

    Parameters
    ----------
    path : Path
        785 columns: a label 0–9 and 784 pixels 0–255. A header, if any, names the label column ``label``; without a
        header the label comes first.

    Raises
    ------
    DataError
        Naming the row and column of the first cell that is wrong.
    """
    with opened(path) as stream:
        first = next(_lines(path, stream), None)
    if first is None or not first.strip():
        raise DataError(f"{path}: the file is empty")
    names = [name.strip().strip('"').lower() for name in first.rstrip("\r\n").split(",")]
    if len(names) != PIXELS + 1:
        raise DataError(f"{path}: {len(names)} columns; a label and {PIXELS} pixels make {PIXELS + 1}")
    header = not all(map(_is_number, names))
    if header and sum(map(_is_number, names)) > PIXELS // 2:
        bad = next(i for i, name in enumerate(names) if not _is_number(name))
        raise DataError(f"{path}: row 1, column {bad + 1}: {names[bad]!r} is not a number")
    if header and names[0] != "label" and names[-1] != "label":
        raise DataError(f"{path}: the header names no 'label' column, first or last (it begins {names[0]!r}, ends {names[-1]!r})")
    at = PIXELS if header and names[0] != "label" else 0
    table = _table(path, int(header))
    return split_of(path, np.delete(table, at, axis=1), table[:, at])


def _table(path: Path, skip: int) -> NDArray[Any]:
    """Parse as whole bytes, the fast way; whatever does not fit is parsed again as float64, to accept 7.0 or to say why not."""
    for dtype in (np.uint8, np.float64):
        with opened(path) as stream, warnings.catch_warnings():
            warnings.simplefilter("error")
            lines = _lines(path, stream)
            try:
                return np.loadtxt(lines, dtype, delimiter=",", skiprows=skip, ndmin=2, comments=None, quotechar='"')
            except UserWarning:
                raise DataError(f"{path}: a header but no rows") from None
            except (ValueError, DeprecationWarning, OverflowError) as error:
                if dtype is np.float64:
                    raise DataError(f"{path}: {_explain(str(error))}") from None
    raise AssertionError("unreachable")


def _lines(path: Path, stream: Any) -> Iterator[str]:
    total = 0
    try:
        with io.TextIOWrapper(stream, encoding="utf-8-sig") as text:
            while line := text.readline(LINE_LIMIT):
                total += len(line)
                if len(line) == LINE_LIMIT or total > LIMIT:
                    raise DataError(f"{path}: {'a line is' if len(line) == LINE_LIMIT else 'the file is'} too long to be MNIST")
                if line.strip():
                    yield line
    except UnicodeDecodeError:
        raise DataError(f"{path}: not a text file") from None


def _explain(message: str) -> str:
    if found := re.search(r"could not convert string '(.*)' to \w+ at row (\d+), column (\d+)", message):
        return f"row {int(found[2]) + 1:,}, column {found[3]}: {found[1]!r} is not a number"
    if found := re.search(r"number of columns changed from (\d+) to (\d+) at row (\d+)", message):
        return f"row {int(found[3]):,} has {found[2]} columns where the first has {found[1]}"
    return message


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
