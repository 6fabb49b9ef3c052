"""One server for the tests that only ask; it serves small networks with random weights."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from support import serving

from triptych.spec import zoo
from triptych.spec.layers import BatchNorm, Conv2D, Dense, Flatten, ReLU
from triptych.spec.network import Network

SHAPE = (4, 3, 1)
SMALL = zoo.dense("small", [5], shape=SHAPE, classes=3)
TABLE = zoo.dense("table", [5], shape=(1, 1, 4), classes=3)
# The third column has a mean that float32 stores with an error of a tenth of the deviation.
STANDARDISED = {
    "names": ["length", "width", "year", "constant"],
    "mean": [5.8, 3.1, 20_000_000.5, 1.0],
    "deviation": [0.8, 0.4, 5.0, 1.0],
}
CONVOLUTION = Network(
    "convolution",
    SHAPE,
    (
        Conv2D("conv", 4, 3, padding=1),
        BatchNorm("norm"),
        ReLU("relu"),
        Flatten("flatten"),
        Dense("output", 3),
    ),
)


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the runs ``first`` and ``second`` of one network, and with other runs."""
    folder = tmp_path_factory.mktemp("served")
    serving.save_run(folder / "first", SMALL)
    serving.save_run(folder / "second", SMALL, seed=1, dtype="float64")
    serving.save_run(folder / "convolution", CONVOLUTION)
    serving.save_run(folder / "fractions", SMALL, data={"pixels": [0.0, 1.0], "box": 3})
    serving.save_run(folder / "centred", SMALL, data={"pixels": [-1.0, 3.0], "box": "3"})
    serving.save_run(folder / "table", TABLE, data={"standardised": STANDARDISED})
    return folder


@pytest.fixture(scope="session")
def server(runs: Path) -> Iterator[serving.RunningServer]:
    """A server with two versions of ``small``, and with other models of one version."""
    pytest.importorskip("uvicorn")
    models = (
        "first",
        "small=second",
        "conv=convolution",
        "fractions=fractions",
        "centred=centred",
        "table",
    )
    with serving.running(*models, cwd=runs) as running:
        yield running


@pytest.fixture(scope="session")
def images() -> np.ndarray:
    """Five images for these networks."""
    return np.random.default_rng(7).random((5, *SHAPE), np.float32)
