"""The faults of frameworks: each program is on the page, and prints what the page quotes."""

import math
import re
import shlex
import shutil
from pathlib import Path

import pytest
from support.commands import ROOT, TRIPTYCH, run_python

PAGE = (ROOT / "docs" / "found.md").read_text(encoding="utf-8")
PROGRAMS = sorted((ROOT / "docs" / "found").glob("*.py"))
# Blocks of the page: commands behind a dollar sign, each with lines of its output.
SESSIONS = re.findall(r"^```console\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
NUMBER = r"-?\d+\.\d+(?:e[-+]\d+)?"
ERROR_FACTOR = 4  # between errors of rounding on two processors


def agrees(quoted: str, printed: str) -> bool:
    """Return whether two numbers agree; those with an exponent are errors."""
    one = float(quoted)
    other = float(printed)
    if "e" in quoted and one and other:
        return abs(math.log(other / one)) <= math.log(ERROR_FACTOR)
    return math.isclose(one, other, rel_tol=2e-3, abs_tol=1e-9)


def same_line(quoted: str, printed: str) -> bool:
    """Return whether two lines have the same words, and numbers that agree."""
    if re.split(NUMBER, quoted) != re.split(NUMBER, printed):
        return False
    pairs = zip(re.findall(NUMBER, quoted), re.findall(NUMBER, printed), strict=True)
    return all(agrees(one, other) for one, other in pairs)


def test_lines_with_other_numbers_or_words_differ():
    assert same_line("eager  0.2156  1.8e-06", "eager  0.2157  4.1e-06")
    assert not same_line("eager  0.2156", "eager  0.2256")
    assert not same_line("eager  0.2156", "eager  0.0000")
    assert not same_line("error 1.8e-06", "error 9.8e-06")
    assert not same_line("error 1.8e-06", "error 0.0e+00")
    assert not same_line("eager  0.2156", "compiled  0.2156")
    assert not same_line("torch 2.13.0", "torch 2.14.1")


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.stem)
def test_the_page_contains_the_program(program: Path):
    text = program.read_text(encoding="utf-8")
    assert f"```python\n{text}```" in PAGE
    assert len(text.splitlines()) < 30
    assert "import triptych" not in text
    assert any(f"docs/found/{program.name}" in session for session in SESSIONS)


def environment_and_words(command: str) -> tuple[dict[str, str], list[str]]:
    """Return the variables in front of a command, and its words."""
    words = shlex.split(command)
    variables: dict[str, str] = {}
    while re.match(r"[A-Z_]+[A-Z0-9_]*=", words[0]):
        name, _, value = words.pop(0).partition("=")
        variables[name] = value
    return variables, words


def run(command: str, cwd: Path) -> list[str]:
    """Return the lines that a command of the page prints."""
    variables, (program, *arguments) = environment_and_words(command)
    start = {"python": (), "triptych": TRIPTYCH}[program]
    done = run_python(*start, *arguments, cwd=cwd, COLUMNS="100", **variables)
    assert "Traceback" not in done.stderr, done.stderr
    return done.stdout.splitlines()


@pytest.mark.slow
@pytest.mark.process
@pytest.mark.framework
@pytest.mark.parametrize("session", SESSIONS, ids=lambda session: session.splitlines()[0])
def test_commands_print_what_the_page_quotes(session: str, tmp_path: Path):
    for framework in ("torch", "tensorflow", "jax"):
        pytest.importorskip(framework)
    shutil.copytree(ROOT / "docs" / "found", tmp_path / "docs" / "found")
    printed: list[str] = []
    for line in session.splitlines():
        if line.startswith("$ "):
            printed = run(line.removeprefix("$ "), tmp_path)
        elif line:
            assert any(same_line(line, each) for each in printed), (line, printed)
