"""Specimens from public threads are complete, and `triptych doctor` finds what their truth says."""

import io
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks.portbench import __main__ as command
from benchmarks.portbench.faults.kind import STAGES
from benchmarks.portbench.harvest import FOLDER, draw, missing, names, truth, write_pairs
from triptych.doctor.catalogue.registry import entries
from triptych.errors import TriptychError

PAGE = Path(__file__).resolve().parents[3] / "docs" / "threads.md"
LARGEST_BATCH = 300_000  # bytes
EVERY = 4  # one specimen of so many is tried by the slow test
SECONDS_FOR_A_PAIR = 300


def arrays(content):
    with np.load(io.BytesIO(content)) as file:
        return {name: file[name] for name in file.files}


@pytest.mark.parametrize("name", names())
def test_a_truth_tells_where_it_is_from_and_what_differs(name):
    facts = truth(name)
    assert facts["source"].startswith("https://")
    assert facts["reported"]
    assert facts["rebuilt"]
    assert facts["explained"] is None or facts["explained"]
    known = set(entries()) | {"outside"}
    for difference in facts["differences"]:
        assert difference["cause"] in known
        assert difference["stage"] in STAGES
        assert difference["text"]
        assert difference["stage"] in facts["accept"]["stages"]
    first = facts["differences"][0] if facts["differences"] else {"stage": "none", "cause": "none"}
    assert (facts["stage"], facts["cause"]) == (first["stage"], first["cause"])
    assert set(facts["also"]) <= known


@pytest.mark.parametrize("name", names())
def test_arrays_are_small_and_the_same_every_time(name):
    files = draw(name)
    assert files == draw(name)
    assert "x" in arrays(files["batch.npz"])
    assert all(0 < len(content) < LARGEST_BATCH for content in files.values())
    loads = any("weights.npz" in path.read_text() for path in (FOLDER / name).glob("*_side.py"))
    assert ("weights.npz" in files) == loads


def test_every_specimen_has_a_thread_of_its_own_which_is_on_the_page():
    page = PAGE.read_text(encoding="utf-8")
    sources = [truth(name)["source"] for name in names()]
    assert len(set(sources)) == len(sources)
    assert [source for source in sources if f"<{source}>" not in page] == []


def test_specimens_become_pairs(tmp_path):
    (folder,) = write_pairs(tmp_path, ("nasbench-pytorch-6",))
    written = {path.name for path in folder.iterdir()}
    expected = {"torch_side.py", "keras_side.py", "batch.npz", "truth.json"}
    assert written == expected


def test_an_unknown_specimen_is_the_users_mistake(tmp_path):
    with pytest.raises(TriptychError, match="specimen 'discuss-1' is unknown; known are cges-1, "):
        write_pairs(tmp_path, ("discuss-1",))


def test_the_command_writes_them(monkeypatch, capsys, tmp_path):
    arguments = ["portbench", "harvest", "--out", str(tmp_path), "--names", "mstgcn-15,sednn-41"]
    monkeypatch.setattr(sys, "argv", arguments)
    command.main()
    assert f"2 specimens are in {tmp_path}" in capsys.readouterr().out
    assert {path.name for path in tmp_path.iterdir()} == {"mstgcn-15", "sednn-41"}


FACTS = {
    "differences": [
        {"stage": "loss", "cause": "D38", "text": "softmax twice"},
        {"stage": "update", "cause": "outside", "text": "another rate"},
    ],
    "also": ["D46"],
}


@pytest.mark.parametrize(
    ("found", "lacking"),
    [
        ([("loss", "D38"), ("update", None)], []),
        ([("loss", "D37"), ("update", None)], ["softmax twice"]),
        ([("loss", "D38"), ("update", "D46")], ["another rate"]),
        ([("forward", "D38"), ("loss", None)], ["another rate"]),
        ([], ["softmax twice", "another rate"]),
    ],
)
def test_what_an_answer_lacks(found, lacking):
    findings = [{"stage": stage, "cause": cause} for stage, cause in found]
    assert missing(FACTS, {"verdict": "differ", "findings": findings}) == lacking


@pytest.mark.parametrize(
    ("verdict", "findings", "lacking"),
    [
        ("rounding", [], []),
        ("undecided", [], ["the verdict is undecided"]),
        ("rounding", [{"stage": "loss", "cause": "D38"}], ["the verdict is rounding"]),
    ],
)
def test_where_nothing_differs_nothing_may_be_found(verdict, findings, lacking):
    answer = {"verdict": verdict, "findings": findings}
    assert missing({"differences": [], "also": []}, answer) == lacking


@pytest.mark.slow
@pytest.mark.process
@pytest.mark.framework
def test_the_doctor_finds_every_difference(tmp_path, scale):
    chosen = names()[:: max(1, EVERY // scale)]
    for folder in write_pairs(tmp_path, tuple(chosen)):
        answer = folder / "answer.json"
        sides = [str(folder / f"{framework}_side.py") for framework in ("torch", "keras")]
        batch = ["--batch", str(folder / "batch.npz"), "--json", str(answer)]
        subprocess.run(
            [sys.executable, "-P", "-m", "triptych", "doctor", *sides, *batch],
            timeout=SECONDS_FOR_A_PAIR,
            capture_output=True,
        )
        assert missing(truth(folder.name), json.loads(answer.read_text())) == [], folder.name
