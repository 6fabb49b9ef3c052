"""Real digits for every test, and the engines that are installed."""

import os

from triptych.process import machine

# One thread for every framework in this process, before the first import of any; and no start-up
# notices.
os.environ.update(machine.environment(1, "cpu"))
# Three workers that are threads of this process wait for each other inside TensorFlow's graphs.
os.environ["TF_NUM_INTEROP_THREADS"] = "3"
# XLA compiles five times as fast without its newer emitters and its optimisations, and most steps
# here are over in milliseconds.
os.environ.setdefault("XLA_FLAGS", "--xla_cpu_use_fusion_emitters=false")
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")

from collections.abc import Iterator
from pathlib import Path

import pytest
from support import compilation, memory, npm
from support.splits import first_digits

from triptych.core import registry
from triptych.core.split import Split
from triptych.data import loading as data
from triptych.data.dataset import Dataset
from triptych.exporting.web_runtime import PACKAGE, VERSION


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add ``--scale``, by which ``make certify`` asks the slow tests for more cases."""
    parser.addoption(
        "--scale",
        type=int,
        default=1,
        help="how many times as many random cases the slow tests try",
    )


TESTS = Path(__file__).parent
SECONDS_FOR_A_SLOW_TEST = 3600
MUTANTS = 100  # of each kind of file
# Markers of whole folders; the other tests that start processes are marked where they are.
FOLDER_MARKERS = {"browser": ("browser", "process"), "process": ("process",)}


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark the tests of some folders, and give slow tests more time."""
    slow_timeout = pytest.mark.timeout(SECONDS_FOR_A_SLOW_TEST * config.getoption("--scale"))
    for item in items:
        if item.get_closest_marker("slow") and not item.get_closest_marker("timeout"):
            item.add_marker(slow_timeout)
        folder = item.path.relative_to(TESTS).parts[0]
        for marker in FOLDER_MARKERS.get(folder, ()):
            item.add_marker(marker)


@pytest.fixture(scope="session", autouse=True)
def _compiled(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Compile the Numba engine in other processes."""
    folder = tmp_path_factory.getbasetemp()
    if hasattr(request.config, "workerinput"):  # each process of pytest-xdist has a folder in it
        folder = folder.parent
    compilation.compile_for(request.session.items, folder)


def pytest_configure(config: pytest.Config) -> None:
    """Free what tests leave in memory, and report at the end how much each process has used."""
    config.pluginmanager.register(memory.Release(), "release-memory")
    config.pluginmanager.register(memory.PeakMemory(config), "peak-memory")


@pytest.fixture(scope="session")
def scale(request: pytest.FixtureRequest) -> int:
    """How many times as many kills, mutants and random cases as usual a slow test shall try."""
    return request.config.getoption("--scale")


@pytest.fixture(scope="session")
def mutants(scale: int) -> int:
    """How many mutants of each kind of file a slow test shall try: 100, or 10,000 in certify."""
    return MUTANTS * scale**2


@pytest.fixture(scope="session")
def digits() -> Dataset:
    """The 1,797 digits inside scikit-learn."""
    return data.load("digits")


@pytest.fixture(scope="session")
def npm_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder into which npm has installed the runtime of exported web pages."""
    return npm.install(f"{PACKAGE}@{VERSION}", tmp_path_factory.mktemp("npm"))


@pytest.fixture(scope="session")
def few() -> Split:
    """200 of them: three batches of 64 and a smaller last one."""
    return first_digits(200)


@pytest.fixture(scope="module")
def optimised() -> Iterator[None]:
    """For tests whose steps take longer than compiling: float64 convolutions."""
    if registry.entry("jax").installed:
        import jax

        jax.config.update("jax_disable_most_optimizations", False)
        yield
        jax.config.update("jax_disable_most_optimizations", True)
    else:
        yield
