"""What make says before it sets anything up: which Python it cannot use, and why."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support.commands import ROOT

pytestmark = pytest.mark.skipif(not shutil.which("make"), reason="make is not installed")

SHIM = """#!/bin/sh
echo "pyenv: python3.13: command not found" >&2
echo >&2
echo "The 'python3.13' command exists in these Python versions:" >&2
echo "  3.13.0" >&2
echo >&2
echo "Note: See 'pyenv help global' for tips" >&2
exit 127
"""


def make(
    folder: Path, *arguments: str, python: str | None = None
) -> subprocess.CompletedProcess[str]:
    """Run make without doing anything, in a folder that has not been set up."""
    for name in ("Makefile", "requirements.txt", "requirements-dev.txt", "pyproject.toml"):
        shutil.copy(ROOT / name, folder)
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("MAKE", "MFLAGS"))}
    if python is not None:
        environment["PYTHON"] = python
    command = ["make", "-n", *arguments]
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=60
    )


def fake(folder: Path, text: str) -> str:
    path = folder / "python3.13"
    path.write_text(text)
    path.chmod(0o755)
    return str(path)


def refusal(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 2
    assert not done.stdout
    assert done.stderr.count("\n") == 1, done.stderr
    return done.stderr.partition(" *** ")[2]


def test_a_shim_without_its_version_is_quoted(tmp_path):
    message = refusal(make(tmp_path, "compare", python=fake(tmp_path, SHIM)))
    assert "does not start: pyenv: python3.13: command not found" in message
    assert "exists in these Python versions: 3.13.0" in message
    assert "PYENV_VERSION=3.12.1 make compare" in message
    assert "is needed" not in message


def test_a_python_that_says_nothing(tmp_path):
    message = refusal(make(tmp_path, "verify", python=fake(tmp_path, "#!/bin/sh\nexit 1\n")))
    assert "does not start: it prints nothing." in message
    assert "PYTHON=/path/to/python3.12 make verify" in message
    assert "pyenv" not in message


@pytest.mark.parametrize("version", ["2.7", "3.10", "3.14", "3.1"])
def test_a_version_out_of_range_is_named(tmp_path, version: str):
    message = refusal(
        make(tmp_path, "compare", python=fake(tmp_path, f"#!/bin/sh\necho {version}\n"))
    )
    assert f"is Python {version}; Python 3.11, 3.12 or 3.13 is needed" in message


def test_no_such_python(tmp_path):
    message = refusal(make(tmp_path, "test", python="no-such-python"))
    assert message.startswith("there is no 'no-such-python'; install Python 3.11, 3.12 or 3.13")


def test_a_python_without_venv(tmp_path):
    text = '#!/bin/sh\ncase "$*" in *ensurepip*) exit 1;; esac\necho 3.12\n'
    message = refusal(make(tmp_path, "compare", python=fake(tmp_path, text)))
    assert "has no venv; on Debian and Ubuntu: apt install python3-venv" in message


def test_this_python_is_taken_and_the_size_is_said(tmp_path):
    done = make(tmp_path, "compare", "ARGS=--epochs 20", python=sys.executable)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].endswith("compare_all_implementations.py --epochs 20")
    size = "about 7 GB, or 3 GB with the CPU build" if sys.platform == "linux" else "about 3 GB"
    assert size in done.stdout


def test_help_says_where_options_go(tmp_path):
    done = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert 'make compare ARGS="--epochs 20 --hidden 128,64"' in done.stdout
