"""What a sweep keeps: its log after kills and damage, and the table."""

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from support.sweeps import cell

from triptych.core.events import CellEnded, CellStarted
from triptych.errors import TriptychError
from triptych.scale.sweep.folder import (
    COLUMNS,
    LOG,
    METADATA,
    TABLE,
    SweepFolder,
    read_table,
    table_bytes,
)


def keep(folder: Path, *records: dict[str, Any]) -> None:
    kept = SweepFolder(folder)
    for record in records:
        kept.log(CellStarted(record["key"], ""))
        kept.log(CellEnded(record))
    kept.close()


def test_what_was_finished_is_known_in_the_next_call(tmp_path: Path) -> None:
    keep(tmp_path, cell("a", accuracy=0.25), cell("b", status="failed", error="too large"))
    again = SweepFolder(tmp_path)
    assert again.finished(["b", "c", "a"]) == ["a"]
    assert again.ended["a"]["accuracy"] == 0.25
    assert again.ended["b"]["error"] == "too large"
    again.close()


def test_a_cell_of_a_busy_node_may_be_timed_again(tmp_path: Path) -> None:
    keep(tmp_path, cell("calm", timed=True, busy=False), cell("busy", timed=True, busy=True))
    keep(tmp_path, cell("untimed"))
    again = SweepFolder(tmp_path)
    keys = ["untimed", "busy", "calm"]
    assert again.finished(keys) == keys
    assert again.finished(keys, or_busy=False) == ["untimed", "calm"]
    again.close()


def test_a_later_record_of_a_cell_counts(tmp_path: Path) -> None:
    keep(tmp_path, cell("a", status="failed", error="the worker process has ended"))
    keep(tmp_path, cell("a", accuracy=0.5))
    again = SweepFolder(tmp_path)
    assert again.finished(["a"]) == ["a"]
    again.close()


@pytest.mark.parametrize("cut", [1, 2, 40, 100])
def test_a_line_that_a_kill_has_cut_off_is_left_out(tmp_path: Path, cut: int) -> None:
    keep(tmp_path, cell("a"), cell("b"))
    log = tmp_path / LOG
    log.write_bytes(log.read_bytes()[:-cut])
    again = SweepFolder(tmp_path)
    assert again.finished(["a", "b"]) == (["a", "b"] if cut == 1 else ["a"])
    again.log(CellEnded(cell("c")))
    again.close()
    # The next line is not appended to what is left of the last one.
    last = SweepFolder(tmp_path)
    assert set(last.finished(["a", "b", "c"])) >= {"a", "c"}
    last.close()


@pytest.mark.parametrize(
    "damage",
    [
        b"\xff\xfe\n",
        b"[]\n",
        b'{"type": "cell"}\n',
        b'{"type": "cell", "cell": 3}\n',
        b'{"type": "cell", "cell": {"key": "x", "status": "finished"}}\n',
        json.dumps({"type": "cell", "cell": cell("x") | {"accuracy": "high"}}).encode() + b"\n",
        json.dumps({"type": "cell", "cell": cell("x") | {"seed": None}}).encode() + b"\n",
        json.dumps({"type": "cell", "cell": cell("x") | {"accuracy": None}}).encode() + b"\n",
    ],
)
def test_a_damaged_line_is_no_finished_cell(tmp_path: Path, damage: bytes) -> None:
    keep(tmp_path, cell("a"))
    log = tmp_path / LOG
    log.write_bytes(damage + log.read_bytes())
    again = SweepFolder(tmp_path)
    assert set(again.ended) == {"a"}
    again.write_table([cell("a"), cell("x")], {"name": "grid"})
    again.close()
    assert [row["key"] for row in read_table(tmp_path)[0]] == ["a"]


def test_the_table_has_the_cells_that_have_ended_in_the_order_of_the_grid(tmp_path: Path) -> None:
    keep(tmp_path, cell("c", accuracy=0.125), cell("old"), cell("a", status="failed", error="no"))
    kept = SweepFolder(tmp_path)
    planned = [cell("a"), cell("b"), cell("c", recipe="its new name")]
    results = ("status", "accuracy", "low", "high")
    labels = [{k: v for k, v in each.items() if k not in results} for each in planned]
    kept.write_table(labels, {"name": "grid", "seeds": 3})
    kept.close()
    rows, about = read_table(tmp_path)
    assert [(row["key"], row["status"]) for row in rows] == [("a", "failed"), ("c", "finished")]
    assert rows[1]["accuracy"] == 0.125
    assert rows[1]["recipe"] == "its new name"
    assert rows[0]["accuracy"] is None
    assert about["cells"] == 3
    assert about["grid"] == {"name": "grid", "seeds": 3}


def test_any_reader_of_parquet_reads_the_table(tmp_path: Path) -> None:
    kept = SweepFolder(tmp_path)
    kept.log(CellEnded(cell("a", accuracy=0.5, busy=True)))
    kept.write_table([cell("a")], {"name": "grid"})
    kept.close()
    table = pq.read_table(tmp_path / TABLE)
    assert table.schema.names == COLUMNS.names
    assert table.column("busy").to_pylist() == [True]
    assert json.loads(table.schema.metadata[METADATA])["grid"] == {"name": "grid"}


def test_a_folder_without_a_table_or_with_a_damaged_one_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TriptychError, match=r"holds no cells\.parquet"):
        read_table(tmp_path)
    (tmp_path / TABLE).write_bytes(b"PAR1 no table PAR1")
    with pytest.raises(TriptychError, match="not the table of a sweep"):
        read_table(tmp_path)
    incomplete = table_bytes([cell("a") | {"accuracy": None}], {"cells": 1})
    (tmp_path / TABLE).write_bytes(incomplete)
    with pytest.raises(TriptychError, match="not the table of a sweep"):
        read_table(tmp_path)
