"""The scorer runs tools; the tools are programs of a few lines."""

import json
import sys
from contextlib import closing

import numpy as np
import pytest

from benchmarks.portbench.function_tool import FunctionTool
from benchmarks.portbench.score import CommandTool, read, score
from triptych.errors import TriptychError

TOOL = """\
import json, pathlib, sys, time
a, b, batch, out, log = map(pathlib.Path, sys.argv[1:])
with log.open("a") as file:
    file.write(a.read_text() + "\\n")
assert b.exists() and batch.exists()
assert not (a.parent / "truth.json").exists()
word = a.read_text()
if word == "crash":
    sys.exit("cannot compare")
if word == "hang":
    time.sleep(60)
answer = {"schema": 1, "verdict": "differ", "findings": [{"stage": "loss", "cause": "D38"}]}
if word == "damaged":
    out.write_text("{")
elif word == "list":
    out.write_text("[]")
else:
    out.write_text(json.dumps(answer))
"""
TRUTH = {"stage": "loss", "cause": "D38", "accept": {"stages": ["loss"], "causes": ["D38"]}}


@pytest.fixture
def pairs(tmp_path):
    """Return a function that writes pairs whose program tells the tool what to do."""

    def write(*words):
        for place, word in enumerate(words):
            folder = tmp_path / "pairs" / f"{place}-{word}"
            folder.mkdir(parents=True)
            (folder / "torch_side.py").write_text(word)
            (folder / "keras_side.py").write_text("")
            (folder / "batch.npz").write_bytes(b"")
            (folder / "truth.json").write_text(json.dumps(TRUTH))
        return tmp_path / "pairs"

    return write


@pytest.fixture
def tool(tmp_path):
    script = tmp_path / "tool.py"
    script.write_text(TOOL)
    log = tmp_path / "log.txt"
    return CommandTool(f"{sys.executable} {script} {{a}} {{b}} {{batch}} {{json}} {log}", limit=5)


@pytest.mark.process
def test_answers_crashes_and_hangs(tmp_path, pairs, tool):
    folder = pairs("good", "crash", "hang", "damaged", "list")
    outcomes = score(folder, tool, tmp_path / "results")
    problems = [outcome.problem for outcome in outcomes]
    assert [outcome.right_cause for outcome in outcomes] == [True, False, False, False, False]
    assert problems[0] == ""
    assert problems[1] == "no JSON was written (exit status 1)"
    assert problems[2] == "stopped after 5 seconds"
    assert problems[3].startswith("the JSON cannot be read")
    assert problems[4].startswith("the JSON is not of schema 1")
    assert outcomes[2].seconds >= 5
    kept = json.loads((tmp_path / "results" / "1-crash.json").read_text())
    assert "cannot compare" in kept["output"]


@pytest.mark.process
def test_a_stopped_score_continues(tmp_path, pairs, tool):
    folder = pairs("good", "crash")
    first = score(folder, tool, tmp_path / "results")
    assert score(folder, tool, tmp_path / "results") == first
    assert (tmp_path / "log.txt").read_text().split() == ["good", "crash"]
    score(folder, CommandTool(tool.command + " ", limit=5), tmp_path / "results")
    assert (tmp_path / "log.txt").read_text().split() == ["good", "crash"] * 2


@pytest.mark.process
def test_memory_of_the_whole_family_of_processes(tmp_path, pairs):
    script = tmp_path / "large.py"
    script.write_text(
        "import subprocess, sys\n"
        "child = 'x = bytearray(200 * 2**20); import time; time.sleep(2)'\n"
        "subprocess.run([sys.executable, '-c', child])\n"
    )
    tool = CommandTool(f"{sys.executable} {script} {{a}} {{b}} {{batch}} {{json}}", limit=60)
    (outcome,) = score(pairs("good"), tool, tmp_path / "results")
    assert 200 < outcome.peak < 600
    assert 0 < outcome.processor_seconds < 2 < outcome.seconds  # the child sleeps


def test_a_command_without_places_is_refused():
    with pytest.raises(TriptychError, match=r"the command has no \{batch\} and no \{json\}"):
        CommandTool("doctor {a} {b}", limit=60)


def test_a_folder_without_pairs_is_refused(tmp_path, tool):
    with pytest.raises(TriptychError, match="no pairs"):
        score(tmp_path, tool, tmp_path / "results")


def test_a_tool_that_is_not_there_is_the_users_mistake(tmp_path, pairs):
    tool = CommandTool("no-such-tool {a} {b} {batch} {json}", limit=60)
    with pytest.raises(TriptychError, match="no-such-tool: cannot be run"):
        score(pairs("good"), tool, tmp_path / "results")


# A tool as a function. It imports a module that this test does not use, and changes a global value.
FUNCTION = """\
import os, sys

calls = 0

def compare(a, b, batch):
    global calls
    calls += 1
    print("not an answer")
    known = "colorsys" in sys.modules
    import colorsys
    word = a()
    if word == "crash":
        raise ValueError("cannot compare")
    if word == "hang":
        import time
        time.sleep(60)
    findings = [{"stage": "loss", "cause": "D38", "calls": calls, "known": known,
                 "sum": int(batch["x"].sum()), "b": b(), "process": os.getpid()}]
    return {"schema": 1, "verdict": "differ", "findings": findings}
"""


@pytest.fixture
def function(tmp_path, monkeypatch):
    """Return a tool that is a function."""
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules" / "own_tool.py").write_text(FUNCTION)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "modules"))
    tool = FunctionTool("own_tool:compare", limit=20)
    yield tool
    tool.close()


def write_programs(folder):
    """Make each program's ``build`` return the word of its pair."""
    for pair in folder.iterdir():
        word = (pair / "torch_side.py").read_text()
        (pair / "torch_side.py").write_text(f"def build():\n    return {word!r}\n")
        (pair / "keras_side.py").write_text("def build():\n    return 'keras'\n")
        np.savez(pair / "batch.npz", x=np.arange(4))


@pytest.mark.process
def test_a_function_is_called_in_forks_of_one_process(tmp_path, pairs, function):
    folder = pairs("good", "crash", "good")
    write_programs(folder)
    outcomes = score(folder, function, tmp_path / "results")
    assert [outcome.right_cause for outcome in outcomes] == [True, False, True]
    assert outcomes[1].problem == "own_tool:compare: ValueError: cannot compare"
    assert {outcome.seconds for outcome in outcomes} == {None}
    kept = [
        json.loads((tmp_path / "results" / f"{place}-good.json").read_text()) for place in (0, 2)
    ]
    first, second = (result["answer"]["findings"][0] for result in kept)
    assert first["calls"] == second["calls"] == 1  # neither sees what the other has changed
    assert first["process"] != second["process"]
    assert not first["known"]
    assert second["known"]  # what the first call had to import was there already
    assert first["sum"] == 6
    assert first["b"] == "keras"


@pytest.mark.slow
@pytest.mark.process
def test_a_function_that_hangs_is_stopped_and_the_next_pair_is_judged(tmp_path, pairs, function):
    folder = pairs("good", "hang", "good")
    write_programs(folder)
    outcomes = score(folder, function, tmp_path / "results")
    assert [outcome.right_cause for outcome in outcomes] == [True, False, True]
    assert outcomes[1].problem == "own_tool:compare: no answer after 20 seconds"


@pytest.mark.process
def test_a_function_that_is_not_there_is_the_users_mistake(tmp_path, pairs):
    with (
        closing(FunctionTool("no_such_module:compare", limit=60)) as tool,
        pytest.raises(TriptychError, match="no_such_module:compare: cannot be imported"),
    ):
        score(pairs("good"), tool, tmp_path / "results")


@pytest.mark.parametrize("name", ["triptych.api", ":compare", "triptych.api:2"])
def test_names_that_are_no_function_are_refused(name):
    with pytest.raises(TriptychError, match="is not MODULE:NAME"):
        FunctionTool(name, limit=60)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ('{"schema": 2}', "the JSON is not of schema 1"),
        ('{"schema": 1, "verdict": "equal", "findings": [3]}', "findings must be a list"),
        ('{"schema": 1, "findings": []}', "verdict must be a text"),
    ],
)
def test_answers_that_are_not_of_the_form(tmp_path, content, problem):
    path = tmp_path / "answer.json"
    path.write_text(content)
    answer, text = read(path)
    assert answer is None
    assert text.startswith(problem)
