"""Whole processes: readers of one file, and commands that end badly."""

import json

import numpy as np
import pytest

from benchmarks import loading, reading
from benchmarks.loading import Loading, write_csv
from benchmarks.processes import Command, Ended, alternate
from benchmarks.reading import READERS
from benchmarks.timing import Settings
from triptych.errors import EngineError


def test_readers_read_the_same(tmp_path):
    write_csv(tmp_path / "digits.csv", 60)
    tables = {
        key: READERS[key].read(tmp_path / "digits.csv")
        for key in ("triptych", "loadtxt", "genfromtxt", "pyarrow")
    }
    for table in tables.values():
        assert (table.shape, table.dtype) == ((60, 785), np.uint8)
        np.testing.assert_array_equal(table, tables["loadtxt"])


def test_a_reader_prints_what_it_took_and_read(tmp_path, capsys):
    for name in ("digits.csv", "few.csv"):
        write_csv(tmp_path / name, 60)
    reading.main("loadtxt", tmp_path / "digits.csv")
    printed = json.loads(capsys.readouterr().out)
    assert set(printed) == {"wall", "cpu", "digest"}
    assert printed["wall"] > 0


def test_a_reader_of_another_table_is_left_out(monkeypatch):
    def read(commands, settings):
        digests = {
            command.key: "other" if command.key == "pyarrow" else "same" for command in commands
        }
        return {
            key: [Ended(1, 1, json.dumps({"wall": 1, "cpu": 1, "digest": d}).encode())]
            for key, d in digests.items()
        }, 0.0

    monkeypatch.setattr(loading, "alternate", read)
    (timing,) = Loading("a CSV", 60).measure("csv", Settings())
    assert "pyarrow" not in [line.key for line in timing.lines]
    assert timing.failed == ["pyarrow: reads another table than numpy.loadtxt"]
    assert {entry["engine"] for entry in timing.entries()} == {"triptych"}


def test_processes_are_started_in_turn():
    say = Command("say", "", ("-c", "print(1)"))
    ended, others = alternate([say, Command("nothing", "", ("-c", ""))], Settings(rounds=2))
    assert [run.output for run in ended["say"]] == [b"1\n"] * 2
    assert all(
        run.seconds(Settings(threads=1)) == run.cpu > 0
        and run.seconds(Settings(threads=2)) == run.wall
        for run in ended["nothing"]
    )
    assert 0 <= others < 1


def test_the_error_of_a_process_is_reported_in_one_line():
    with pytest.raises(EngineError, match="bad ended with status 1: no"):
        Command("bad", "", ("-c", "raise SystemExit('no')")).run(1)
