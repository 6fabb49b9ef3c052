"""``triptych doctor`` and ``triptych record``: mistakes of a user get one line and status 2."""

import json

import numpy as np
import pytest
from support.commands import run, run_here

from triptych.doctor.model_file import KEYS

pytestmark = pytest.mark.process

SIDES = {
    "no_build.py": "model = 1\n",
    "raises.py": "def build():\n    x = 1\n    raise ValueError('no such file: data.bin')\n",
    "broken.py": "def build(:\n",
    "leaves.py": "import sys\nsys.exit(3)\n",
    "argument.py": "def build(width):\n    return width\n",
    "unknown_key.py": "def build():\n    return {'model': len, 'optimiser': 1}\n",
    "no_model.py": "def build():\n    return {'loss': len}\n",
    "a_number.py": "def build():\n    return 3\n",
    "missing_package.py": "import frobnicate\n",
}
MISTAKES = {
    "no_build.py": "no_build.py: has no function build()",
    "raises.py": "raises.py: line 3: ValueError: no such file: data.bin",
    "broken.py": "broken.py: SyntaxError: invalid syntax",
    "leaves.py": "leaves.py: line 2: SystemExit: 3",
    "argument.py": "build() needs the argument 'width'",
    "unknown_key.py": "the unknown key 'optimiser'",
    "no_model.py": "build() returns no model",
    "a_number.py": "the model is of type int, neither",
    "missing_package.py": "line 1: ModuleNotFoundError: No module named 'frobnicate'",
    "nothing.py": "nothing.py: no such file",
}


@pytest.fixture
def folder(tmp_path):
    for name, text in SIDES.items():
        (tmp_path / name).write_text(text)
    np.savez(tmp_path / "batch.npz", x=np.zeros((4, 3), np.float32))
    return tmp_path


def refused(folder, *arguments, command=run_here):
    """Return the only line that a refused command printed."""
    ended = command(*arguments, cwd=folder)
    assert ended.returncode == 2, ended.stderr
    assert not ended.stdout.strip()
    assert "Traceback" not in ended.stderr
    (line,) = ended.stderr.strip().splitlines()
    return line


@pytest.mark.parametrize("name", MISTAKES)
def test_a_file_that_cannot_be_used_is_named(folder, name):
    assert MISTAKES[name] in refused(
        folder, "record", name, "--batch", "batch.npz", "-o", "out.trace"
    )
    assert not (folder / "out.trace").exists()


BATCHES = {
    "without x": ({"inputs": np.zeros(3)}, "has no array x, but inputs"),
    "empty": ({"x": np.zeros((0, 3))}, "x has no samples"),
    "a number": ({"x": np.array(3.0)}, "x has no samples"),
    "of two sizes": ({"x": np.zeros((4, 3)), "x2": np.zeros((5, 3))}, "x2 has 5 samples, x has 4"),
    "objects": ({"x": np.array([{"a": 1}], dtype=object)}, "not of numbers"),
}


@pytest.mark.parametrize("name", BATCHES)
def test_a_batch_that_cannot_be_used_is_named(folder, name):
    arrays, message = BATCHES[name]
    np.savez(folder / "bad.npz", **arrays)
    line = refused(folder, "doctor", "a_number.py", "a_number.py", "--batch", "bad.npz")
    assert "bad.npz" in line
    assert message in line


def test_a_batch_is_needed(folder):
    assert "a batch is needed" in refused(folder, "doctor", "a_number.py", "a_number.py")


def test_a_pair_must_be_two_paths(folder):
    line = refused(folder, "doctor", "raises.py", "raises.py", "--pair", "conv1")
    assert "'conv1' is not A=B" in line


def test_a_trace_can_only_be_the_reference(folder):
    (folder / "a.trace").mkdir()
    empty = {"layers": [], "given": [], "callbacks": []} | dict.fromkeys(
        ("optimizer", "loss", "schedule", "metric")
    )
    description = {"framework": "x", "version": "1", "model": "m", "dtype": "float32"} | empty
    section = {"description": description, "evaluation": [], "training": []}
    (folder / "a.trace/trace.json").write_text(json.dumps({"schema": 1, "native": section}))
    from safetensors.numpy import save_file

    save_file({"batch/x": np.zeros((4, 3))}, folder / "a.trace/arrays.safetensors")
    line = refused(folder, "doctor", "raises.py", "a.trace", "--batch", "batch.npz")
    assert "give it first: triptych doctor a.trace raises.py" in line


def test_modules_of_the_working_directory_are_not_imported(folder, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / "helper.py").write_text("VALUE = 3\n")
    (elsewhere / "side.py").write_text("import helper\n\ndef build():\n    return helper.VALUE\n")
    for name in ("helper", "torch", "json"):
        (folder / f"{name}.py").write_text("raise SystemExit('the working directory was read')\n")
    arguments = ("record", str(elsewhere / "side.py"), "--batch", "batch.npz", "-o", "out.trace")
    line = refused(folder, *arguments, command=run)
    assert "the model is of type int" in line


def test_the_help_names_every_key_of_build(tmp_path):
    help_text = run_here("doctor", "--help", cwd=tmp_path).stdout
    words = set(help_text.replace(",", " ").replace(".", " ").replace("│", " ").split())
    assert set(KEYS) <= words
