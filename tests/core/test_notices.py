"""Start-up notices are left out, and nothing else is."""

import subprocess
import sys

import pytest
from support.commands import ROOT

from triptych.core import registry

pytestmark = pytest.mark.process

WRITES = """
import os, sys
from triptych.core import notices
with notices.left_out(("a notice",)):
    os.write(2, b"native: a notice, once\\nnative: an error\\n")
    print("python: a notice", file=sys.stderr)
    print("python: a warning", file=sys.stderr)
    raise_it
print("after", file=sys.stderr)
"""


def errors(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )


def test_only_notices_are_left_out():
    done = errors(WRITES.replace("raise_it", "pass"))
    assert done.stderr.splitlines() == ["native: an error", "python: a warning", "after"]


def test_what_was_written_before_an_exception_is_shown():
    done = errors(WRITES.replace("raise_it", "raise SystemExit('stopped')"))
    assert done.returncode == 1
    assert done.stderr.splitlines() == ["native: an error", "python: a warning", "stopped"]


@pytest.mark.slow
@pytest.mark.skipif(
    not registry.entry("tensorflow").installed, reason="TensorFlow is not installed"
)
def test_the_first_step_of_tensorflow_writes_nothing():
    """In a process in which no variable is set, as in a notebook; in float64, as the estimator's
    default.
    """
    code = (
        "import os\n"
        "for name in [n for n in os.environ if n.startswith('TF_CPP')]: del os.environ[name]\n"
        "import numpy as np\n"
        "from triptych.sklearn import TriptychClassifier\n"
        "x, y = np.random.default_rng(0).random((40, 8)), np.arange(40) % 2\n"
        "TriptychClassifier('tensorflow', (4,), max_iter=1, early_stopping=False, tol=0).fit(x, "
        "y).predict(x)\n"
    )
    done = errors("import warnings; warnings.simplefilter('ignore')\n" + code)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
