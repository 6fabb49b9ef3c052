"""The folder of a sweep: a log that survives a kill at any moment, and the table made of it."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ...core import files
from ...core.events import CellEnded, Event
from ...errors import TriptychError, printable
from ...training.run_folder import LONGEST_TEXT, Run, read_log
from ...version import __version__

Json = dict[str, Any]

LOG = "events.jsonl"
TABLE = "cells.parquet"
PAGE = "report.html"
FINISHED = "finished"

# The columns of the Parquet file; docs/sweeps.md describes them.
COLUMNS = pa.schema(
    [
        pa.field("key", pa.string(), nullable=False),
        pa.field("engine", pa.string(), nullable=False),
        pa.field("backend", pa.string(), nullable=False),
        pa.field("label", pa.string(), nullable=False),
        pa.field("data", pa.string(), nullable=False),
        pa.field("network", pa.string(), nullable=False),
        pa.field("recipe", pa.string(), nullable=False),
        pa.field("seed", pa.int64(), nullable=False),
        pa.field("threads", pa.int64(), nullable=False),
        pa.field("timed", pa.bool_(), nullable=False),
        pa.field("parameters", pa.int64(), nullable=False),
        pa.field("status", pa.string(), nullable=False),
        pa.field("error", pa.string()),
        pa.field("accuracy", pa.float64()),
        pa.field("right", pa.int64()),
        pa.field("tested", pa.int64()),
        pa.field("low", pa.float64()),
        pa.field("high", pa.float64()),
        pa.field("loss", pa.float64()),
        pa.field("epochs", pa.int64()),
        pa.field("steps", pa.int64()),
        pa.field("seconds", pa.float64()),
        pa.field("cpu_seconds", pa.float64()),
        pa.field("first_step_seconds", pa.float64()),
        pa.field("step_seconds", pa.float64()),
        pa.field("others", pa.float64()),
        pa.field("load", pa.float64()),
        pa.field("busy", pa.bool_()),
        pa.field("attempts", pa.int64()),
        pa.field("runs", pa.int64()),
        pa.field("node", pa.string()),
        pa.field("cell_seconds", pa.float64()),
        pa.field("created", pa.string()),
        pa.field("version", pa.string()),
    ]
)
MEASURED = ("accuracy", "low", "high")  # columns that each finished cell has
METADATA = b"triptych"  # the key of the table's metadata: a JSON object


class SweepFolder:
    """The folder of a sweep, with what was finished in earlier calls.

    Parameters
    ----------
    path : Path
        It is made if it is not there.

    Attributes
    ----------
    ended : dict of str to dict
        What is recorded of each cell that has ended, by its key. A later record of a cell replaces
        an earlier one.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with files.naming(path):
            path.mkdir(parents=True, exist_ok=True)
        self.ended: dict[str, Json] = {}
        earlier = read_log(path)[0] if (path / LOG).exists() else []
        for event in earlier:
            if event.get("type") == CellEnded.type and _is_record(event.get("cell")):
                self._take(event["cell"])
        # What a kill has left of a last line is not in the new log.
        self._log = Run(path, earlier)

    def log(self, event: Event) -> None:
        """Append an event to the log, and hand it to the system at once."""
        if isinstance(event, CellEnded):
            self._take(event.cell)
        self._log.log(event.to_json())

    def close(self) -> None:
        """Close the log."""
        self._log.__exit__(None, None, None)

    def finished(self, keys: Iterable[str], *, or_busy: bool = True) -> list[str]:
        """Return which of some cells are finished; those that have failed are not.

        Parameters
        ----------
        keys : iterable of str
            The cells.
        or_busy : bool
            Whether a cell counts that was timed on a busy node.
        """
        ended = {key: self.ended[key] for key in keys if key in self.ended}
        return [
            key
            for key, record in ended.items()
            if record["status"] == FINISHED and (or_busy or not record.get("busy"))
        ]

    def write_table(self, cells: Sequence[Json], grid: Json) -> None:
        """Write the Parquet file: a row for each of some cells that has ended, in their order.

        Nothing is written if none has ended.
        """
        records = [self.ended[cell["key"]] | cell for cell in cells if cell["key"] in self.ended]
        if not records:
            return
        content = table_bytes(records, {"cells": len(cells), "grid": grid, "version": __version__})
        files.write(self.path / TABLE, content)

    def _take(self, record: Json) -> None:
        self.ended[record["key"]] = record


def _is_record(record: Any) -> bool:
    """Return whether a value of a log, which may be damaged, is a row of the table."""
    try:
        pa.Table.from_pylist([record], schema=COLUMNS).validate()
    except (pa.ArrowException, TypeError, ValueError, AttributeError):
        return False
    needed = [field.name for field in COLUMNS if not field.nullable]
    if record.get("status") == FINISHED:
        needed += MEASURED
    return all(record.get(name) is not None for name in needed)


def table_bytes(records: Sequence[Json], about: Json) -> bytes:
    """Return a Parquet file.

    Parameters
    ----------
    records : sequence of dict
        A row each; a key that is missing is null, one that is no column is left out.
    about : dict
        The metadata of the table, a JSON object.
    """
    table = pa.Table.from_pylist(list(records), schema=COLUMNS)
    table = table.replace_schema_metadata({METADATA: files.to_json(about).encode()})
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    return sink.getvalue().to_pybytes()


def read_table(folder: Path) -> tuple[list[Json], Json]:
    """Return the rows of a sweep's Parquet file, and its metadata.

    Raises
    ------
    TriptychError
        If the folder has none, or it is damaged.
    """
    path = folder / TABLE
    if not path.exists():
        raise TriptychError(f"{folder}: holds no {TABLE}; it is made by triptych sweep")
    with files.refusing(path, "the table of a sweep"):
        table = pq.read_table(path)
        about = json.loads((table.schema.metadata or {})[METADATA])
        rows = table.cast(COLUMNS).to_pylist()
        if not all(_is_record(row) for row in rows):
            raise ValueError("a finished cell has no accuracy")
    return printable(rows, LONGEST_TEXT), printable(about, LONGEST_TEXT)
