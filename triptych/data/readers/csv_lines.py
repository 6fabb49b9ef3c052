"""The lines of a CSV file: its encoding, and its text in blocks of bounded size."""

import codecs
import io
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from operator import attrgetter
from pathlib import Path
from typing import IO

from ...errors import DataError
from ..checks import LIMIT, opened

LINE_LIMIT = 2**20  # characters; a row of 12,288 numbers with 18 decimals has about 300,000
BLANK_LINES = 1000  # besides two for each row
BLOCK_BYTES = 2**20  # that are read at once
PLAIN = bytes([*range(32, 127), *b"\t\r\n"])
CONTROL = bytes(set(range(32)) - set(b"\t\r\n\f\x1a"))
# The first bytes of a file, its encoding, and what to tell the user about it.
BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig", ""),
    (codecs.BOM_UTF32_LE, "utf-32", "UTF-32"),  # before UTF-16, whose mark it begins with
    (codecs.BOM_UTF16_LE, "utf-16", "UTF-16"),
    (codecs.BOM_UTF16_BE, "utf-16", "UTF-16"),
)


@dataclass(frozen=True)
class Block:
    """Some lines of a file, without their ends.

    Attributes
    ----------
    number : int
        The number of the first line in the file, from 1.
    every : list of str
        All lines.
    rows : list of str
        Those that are not blank.
    """

    number: int
    every: list[str]
    rows: list[str]


@contextmanager
def open_blocks(path: Path, encoding: str, size: int = BLOCK_BYTES) -> Generator[Iterator[Block]]:
    """Open a file, which may be compressed, as blocks of lines.

    Parameters
    ----------
    path : Path
    encoding : str
        As `find_encoding` returns it.
    size : int
        Bytes of a block, about.

    Raises
    ------
    DataError
        From the blocks: the text is not of this encoding, a line or the file is too long,
        or there are more blank lines than rows.
    """
    with opened(path, ".csv") as stream:
        yield _blocks(path, stream, encoding, size)


def _blocks(path: Path, stream: IO[bytes], encoding: str, size: int) -> Iterator[Block]:
    """Yield the lines of a file, as long as neither lines nor file are too long."""
    decoder = codecs.getincrementaldecoder(encoding)()
    decode = io.IncrementalNewlineDecoder(decoder, translate=True).decode
    total = 0
    number = 1
    rows = 0
    blank = 0
    rest = ""
    while True:
        content = stream.read(size)
        try:
            every = (rest + decode(content, not content)).split("\n")
        except UnicodeError:
            why = f"not {encoding} text; save it as UTF-8"
            raise DataError(f"{path}: after line {number:,}: {why}") from None
        rest = every.pop() if content else ""
        block = Block(number, every, [line for line in every if line and not line.isspace()])
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


def rows_of(blocks: Iterator[Block], skipped: int) -> Iterator[str]:
    """Return the lines that are not blank, after the first `skipped` of them."""
    rows = chain.from_iterable(map(attrgetter("rows"), blocks))
    for _ in range(skipped):
        next(rows, None)
    return rows


def numbered_rows(blocks: Iterator[Block]) -> Iterator[tuple[int, str]]:
    """Yield the lines that are not blank, each after its number in the file, from 1."""
    for block in blocks:
        for number, line in enumerate(block.every, block.number):
            if line and not line.isspace():
                yield number, line


def unpacked_size(path: Path) -> int:
    """Return the bytes of a file; of a gzipped one, the bytes that it promises at its end.

    Raises
    ------
    OSError
        The file cannot be read.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        if file.read(2) != b"\x1f\x8b" or size < 18:
            return size
        file.seek(-4, io.SEEK_END)
        return max(size, int.from_bytes(file.read(4), "little"))


def find_encoding(path: Path, head: bytes) -> tuple[str, str]:
    """Return the encoding of a file.

    Parameters
    ----------
    path : Path
        For messages.
    head : bytes
        The first bytes of the file.

    Returns
    -------
    encoding : str
        In Python's words.
    note : str
        What to tell the user about it; empty for UTF-8.

    Raises
    ------
    DataError
        It is no text.
    """
    encoding, note = _guessed_encoding(head)
    try:
        text = codecs.getincrementaldecoder(encoding)().decode(head)
    except UnicodeError:
        text = ""
    coded = text.encode("utf-8", "replace")
    plain = len(coded) - len(coded.translate(None, PLAIN))
    control = len(coded) - len(coded.translate(None, CONTROL))
    if control or 2 * plain < len(text) or (head and not text):
        raise DataError(f"{path}: not a text file")
    return encoding, note


def _guessed_encoding(head: bytes) -> tuple[str, str]:
    """Return the encoding that the first bytes of a file suggest, and what to say about it."""
    for mark, encoding, note in BYTE_ORDER_MARKS:
        if head.startswith(mark):
            return encoding, note
    if len(head) > 3 and head.count(0) > len(head) // 3:
        return "utf-16-be" if head[0] == 0 else "utf-16-le", "UTF-16"
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        return "cp1252", "Windows-1252, as it is not UTF-8"
    return "utf-8", ""
