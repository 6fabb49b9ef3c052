"""The notebook of the documentation runs from its first cell to its last."""

import subprocess
import sys

import pytest
from support.commands import ROOT


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_first_steps_run():
    pytest.importorskip("torch")
    pytest.importorskip("nbmake")
    command = [sys.executable, "-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider"]
    notebook = ROOT / "docs" / "first-steps.ipynb"
    done = subprocess.run(
        [*command, "--nbmake", "--nbmake-timeout=500", str(notebook)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
