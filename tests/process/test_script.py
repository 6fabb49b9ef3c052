"""What a script at the root does before and after its lesson."""

import re
import subprocess
import sys

import pytest
from support.commands import ROOT

from triptych.process import script


@pytest.mark.parametrize(("text", "value"), [("full", "full"), ("64", 64), ("0", 0)])
def test_a_batch_size_is_a_whole_number_or_full(text: str, value):
    assert script.whole_or_full(text) == value


@pytest.mark.parametrize("text", ["", "all", "1.5"])
def test_other_words_are_refused(text: str):
    with pytest.raises(ValueError, match="invalid literal"):
        script.whole_or_full(text)


def test_the_number_of_threads_is_in_words():
    assert re.fullmatch(r"\d+ threads?", script.threads())


def test_a_users_mistake_is_one_line_and_status_2(capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["folder/mine.py"])
    with pytest.raises(SystemExit) as ended:
        script.fail(ValueError("no such file"))
    assert ended.value.code == 2
    assert capsys.readouterr().err == "mine.py: no such file\n"


def test_threads_are_limited_but_a_variable_that_is_set_stays():
    code = (
        "import os; os.environ['MKL_NUM_THREADS'] = '2'\n"
        "from triptych.process import script; script.prepare_imports(threads=1)\n"
        "print(os.environ['OPENBLAS_NUM_THREADS'], os.environ['MKL_NUM_THREADS'])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={"PATH": "", "HOME": "."},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["1", "2"]


@pytest.mark.parametrize(("modules", "expected"), [({}, False), ({"ipykernel": object()}, True)])
def test_a_notebook_is_recognised(monkeypatch, modules, expected: bool):
    monkeypatch.delitem(sys.modules, "ipykernel", raising=False)
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    assert script.in_notebook() is expected
