"""What a folder or a file of somebody else can do: nothing but be refused."""

import gzip
import os
import sys
from pathlib import Path

import pytest
from support.commands import ROOT, run, run_python, start

pytestmark = pytest.mark.process

TRAINED = ("--data", "digits", "--hidden", "8", "--batch-size", "256", "--epochs", "1")


@pytest.fixture(scope="module")
def compared(tmp_path_factory) -> Path:
    """A folder in which NumPy was trained and timed alone."""
    folder = tmp_path_factory.mktemp("compared")
    done = run("compare", "--engines", "numpy", *TRAINED, "--wait", "0", cwd=folder)
    assert done.returncode == 0, done.stderr
    return next((folder / "runs").iterdir())


@pytest.mark.slow
def test_the_settings_of_matplotlib_are_not_those_of_the_working_directory(compared, tmp_path):
    """This one makes every figure fail, or start LaTeX where that is installed."""
    (tmp_path / "matplotlibrc").write_text("text.usetex: True\nbackend: module://trap\n")
    (tmp_path / "trap.py").write_text("raise SystemExit('the trap was imported')\n")
    done = run("report", str(compared), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGPIPE")
def test_show_into_a_closed_pipe_blames_no_file(compared):
    reading, writing = os.pipe()
    os.close(reading)
    process = start("show", str(compared), cwd=ROOT, stdout=writing)
    os.close(writing)
    _, errors = process.communicate(timeout=120)
    assert (process.returncode, errors) == (141, "")


def test_control_characters_of_results_are_escaped(compared, tmp_path):
    """Schema 1 has no digest, so that anybody can write such a file."""
    text = (compared / "results.json").read_text()
    forged = text.replace('"schema": 4', '"schema": 1').replace(
        '"label": "NumPy"', '"label": "\\u001b[2JNumPy\\u0007"'
    )
    assert forged != text
    (tmp_path / "results.json").write_text(forged)
    done = run("show", str(tmp_path), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "\x1b" not in done.stdout
    assert "\\x1b[2JNumPy\\x07" in done.stdout


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
@pytest.mark.parametrize("damage", ["a flipped bit", "a named pipe"])
def test_damaged_pictures_are_refused(compared, tmp_path, damage: str):
    run_folder = tmp_path / "run"
    run_folder.mkdir()
    for name in ("results.json", "events.jsonl"):
        (run_folder / name).write_bytes((compared / name).read_bytes())
    (run_folder / "numpy").mkdir()
    (run_folder / "numpy" / "state.safetensors").write_bytes(
        (compared / "numpy" / "state.safetensors").read_bytes()
    )
    path = run_folder / "misclassified.safetensors"
    if damage == "a named pipe":
        os.mkfifo(path)
    else:
        content = bytearray((compared / path.name).read_bytes())
        content[-1] ^= 1
        path.write_bytes(content)
    done = run("report", "run", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("triptych: run/misclassified.safetensors: ")
    assert done.stderr.count("\n") == 1


@pytest.mark.skipif(sys.platform == "win32", reason="links need a privilege on Windows")
@pytest.mark.parametrize("name", ["last", "best"])
def test_a_training_does_not_follow_links_out_of_its_folder(tmp_path, name: str):
    done = run("train", "numpy", *TRAINED, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (folder,) = (tmp_path / "runs").iterdir()
    elsewhere = tmp_path / "elsewhere"
    (folder / name).rename(elsewhere)
    (folder / name).symlink_to(elsewhere)
    other = elsewhere / ".state.safetensors.abcdefgh"
    other.write_bytes(b"")
    before = (elsewhere / "state.safetensors").read_bytes()
    done = run("train", "numpy", "--resume", str(folder), "--epochs", "2", cwd=tmp_path)
    assert done.returncode == 2
    assert f"{name}: a link, where a folder is needed" in done.stderr
    assert other.exists()
    assert (elsewhere / "state.safetensors").read_bytes() == before


def test_a_quote_that_is_never_closed_costs_little(tmp_path):
    """Read as one cell, these 50 MB would take seconds and hundreds of megabytes."""
    pytest.importorskip("resource")
    with gzip.open(tmp_path / "q.csv.gz", "wb", 9) as file:
        file.write(b'label,a,b\n1,2,"' + b"x\n" * 25 * 2**20)
    code = (
        "import resource; resource.setrlimit(resource.RLIMIT_CPU, (20, 20))\n"
        "from triptych.data import loading as data\n"
        "from triptych.process import machine\n"
        "try:\n    data.load('q.csv.gz')\n"
        "except data.DataError as error:\n    print(error)\n"
        "print(machine.peak_memory() or 0)\n"
    ).replace("data.DataError", "Exception")
    done = run_python("-c", code, cwd=tmp_path)
    said, peak_bytes = done.stdout.splitlines()
    assert said.startswith("q.csv.gz: line 2")
    assert int(peak_bytes) < 400 * 2**20


@pytest.mark.parametrize("option", ["--network", "--recipe"])
def test_what_is_wrong_in_a_file_names_the_file(tmp_path, option: str):
    (tmp_path / "mine.json").write_text('{"name": "x", "colour": 1}')
    done = run("train", "numpy", option, "mine.json", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("triptych: mine.json: ")
