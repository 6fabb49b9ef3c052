"""What a folder or a file of somebody else can do: nothing but be refused."""

import gzip
import os
import subprocess
import sys
from pathlib import Path

import pytest

import triptych

ROOT = Path(triptych.__file__).parents[1]
TRAINED = ("--data", "digits", "--hidden", "8", "--batch-size", "256", "--epochs", "1")


def run(cwd: Path, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    own = {"PYTHONPATH": str(ROOT), "TRIPTYCH_DATA": str(cwd / "no-data"), "COLUMNS": "120"} | more
    command = [sys.executable, "-m", "triptych", *arguments]
    return subprocess.run(
        command, cwd=cwd, env=os.environ | own, capture_output=True, text=True, timeout=300
    )


@pytest.fixture(scope="module")
def compared(tmp_path_factory) -> Path:
    """A folder in which NumPy was trained and timed alone."""
    folder = tmp_path_factory.mktemp("compared")
    done = run(folder, "compare", "--engines", "numpy", *TRAINED, "--wait", "0")
    assert done.returncode == 0, done.stderr
    return next((folder / "runs").iterdir())


def test_the_settings_of_matplotlib_are_not_those_of_the_working_directory(compared, tmp_path):
    """This one makes every figure fail, or start LaTeX where that is installed."""
    (tmp_path / "matplotlibrc").write_text("text.usetex: True\nbackend: module://trap\n")
    (tmp_path / "trap.py").write_text("raise SystemExit('the trap was imported')\n")
    done = run(tmp_path, "report", str(compared))
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGPIPE")
def test_show_into_a_closed_pipe_blames_no_file(compared):
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "triptych", "show", str(compared)]
    done = subprocess.run(
        command, cwd=ROOT, stdout=writing, stderr=subprocess.PIPE, text=True, timeout=120
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (141, "")


def test_control_characters_of_results_are_escaped(compared, tmp_path):
    """Schema 1 has no digest, so that anybody can write such a file."""
    text = (compared / "results.json").read_text()
    forged = text.replace('"schema": 2', '"schema": 1').replace(
        '"label": "NumPy"', '"label": "\\u001b[2JNumPy\\u0007"'
    )
    assert forged != text
    (tmp_path / "results.json").write_text(forged)
    done = run(tmp_path, "show", str(tmp_path))
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
    done = run(tmp_path, "report", "run")
    assert done.returncode == 2
    assert done.stderr.startswith("triptych: run/misclassified.safetensors: ")
    assert done.stderr.count("\n") == 1


@pytest.mark.skipif(sys.platform == "win32", reason="links need a privilege on Windows")
@pytest.mark.parametrize("name", ["last", "best"])
def test_a_training_does_not_follow_links_out_of_its_folder(tmp_path, name: str):
    done = run(tmp_path, "train", "numpy", *TRAINED)
    assert done.returncode == 0, done.stderr
    (folder,) = (tmp_path / "runs").iterdir()
    elsewhere = tmp_path / "elsewhere"
    (folder / name).rename(elsewhere)
    (folder / name).symlink_to(elsewhere)
    other = elsewhere / ".state.safetensors.abcdefgh"
    other.write_bytes(b"")
    before = (elsewhere / "state.safetensors").read_bytes()
    done = run(tmp_path, "train", "numpy", "--resume", str(folder), "--epochs", "2")
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
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    said, peak_bytes = done.stdout.splitlines()
    assert said.startswith("q.csv.gz: line 2")
    assert int(peak_bytes) < 400 * 2**20


@pytest.mark.parametrize("option", ["--network", "--recipe"])
def test_what_is_wrong_in_a_file_names_the_file(tmp_path, option: str):
    (tmp_path / "mine.json").write_text('{"name": "x", "colour": 1}')
    done = run(tmp_path, "train", "numpy", option, "mine.json")
    assert done.returncode == 2
    assert done.stderr.startswith("triptych: mine.json: ")
