"""The benchmarks, in miniature: who is proved, what is written. Nothing here depends on how fast anything is."""

import json
import sys
from dataclasses import replace

import pytest

from benchmarks import __main__ as command
from benchmarks.race import Race
from benchmarks.workloads import WORKLOADS, Workload, r3
from triptych.bench.rows import Spec
from triptych.errors import EngineError
from triptych.optimizers import optimizer

pytest.importorskip("torch")


def small(**recipe) -> Workload:
    workload = r3()
    return replace(workload, recipe=replace(workload.recipe, batch_size=2, **recipe), steps=1, ours=(Spec("numpy", "eager"),))


def test_ratios_are_printed_and_written(monkeypatch, tmp_path, capsys):
    monkeypatch.setitem(WORKLOADS, "R3", small)
    monkeypatch.setattr("triptych.bench.rows.DISTURBED", 100.0)  # on a busy machine, too
    monkeypatch.setattr(sys, "argv", ["benchmarks", "R3", "--rounds", "3", "--json", str(tmp_path / "ratios.json")])
    command.main()
    (entry,) = json.loads((tmp_path / "ratios.json").read_text())
    assert (entry["workload"], entry["engine"], entry["peer"], entry["threads"]) == ("R3", "numpy", "torch-plain", 1)
    assert 0 < entry["low"] <= entry["ratio"] <= entry["high"]
    said = capsys.readouterr().out
    assert "float64 weights equal" in said
    assert f"numpy is {entry['ratio']:.2f}" in said


def test_a_contestant_that_computes_something_else_is_not_timed():
    race = Race(small(optimizer=optimizer("adam", 0.01)), 1)  # the peer uses PyTorch's default, 0.001
    try:
        with pytest.raises(EngineError, match="PyTorch plain computes something else: update, layer conv1"):
            race.prove()
    finally:
        race.close()


@pytest.mark.parametrize(
    ("arguments", "message"), [(["R33"], "workload 'R33' is unknown; did you mean 'R3'?"), (["--rounds", "0"], "must be at least 1")]
)
def test_mistakes_are_answered_in_a_line(monkeypatch, capsys, arguments, message):
    monkeypatch.setattr(sys, "argv", ["benchmarks", *arguments])
    with pytest.raises(SystemExit) as ended:
        command.main()
    assert message in f"{ended.value.code} {capsys.readouterr().err}"
