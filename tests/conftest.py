"""Real digits for every test, and the engines that are installed."""

import os

# One thread for every framework in this process, before the first import of any; and no start-up notices.
for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"):
    os.environ[name] = "1"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")

import shutil

import pytest

from triptych import data, engines
from triptych.data.dataset import Dataset, Split


@pytest.fixture(scope="session")
def digits() -> Dataset:
    """The 1,797 digits inside scikit-learn."""
    return data.load("digits")


@pytest.fixture(scope="session")
def few(digits: Dataset) -> Split:
    """200 of them: three batches of 64 and a smaller last one."""
    return Split(digits.train.images[:200], digits.train.labels[:200])


def rows(*, numpy: bool = True, slow: bool = True) -> list:
    """Every engine and backend that can run here, as pytest parameters."""
    found = []
    for name, entry in engines.entries().items():
        for backend in entry.backends:
            if (name == "numpy" and not numpy) or (backend != entry.default_backend and not slow):
                continue
            marks = []
            if not entry.installed:
                marks.append(pytest.mark.skip(reason=f"{entry.label} is not installed"))
            elif (name, backend) == ("torch", "compiled") and not shutil.which("g++"):
                marks.append(pytest.mark.skip(reason="torch.compile needs g++"))
            found.append(pytest.param(name, backend, id=f"{name}-{backend}", marks=marks))
    return found
