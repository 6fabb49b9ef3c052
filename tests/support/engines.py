"""The engines that can run here: as pytest parameters, and marks of tests that need some."""

import shutil
from typing import Any

import pytest

from triptych.core import registry, state
from triptych.spec.network import Network
from triptych.spec.recipe import Recipe

ALL_INSTALLED = all(entry.installed or entry.optional for entry in registry.entries().values())
needs_torch = pytest.mark.skipif(
    not registry.entry("torch").installed, reason="PyTorch is not installed"
)
needs_numba = pytest.mark.skipif(
    not registry.entry("numba").installed, reason="Numba is not installed"
)
needs_all = pytest.mark.skipif(
    not ALL_INSTALLED, reason="PyTorch and TensorFlow are not both installed"
)


# Each new engine of these compiles for seconds, so that most of their tests are slow.
COMPILED_BACKENDS = {"torch-compiled", "tensorflow-xla", "tensorflow-fit"}


def slow_if(condition: bool) -> list[pytest.MarkDecorator]:
    """Return the mark of a slow test, or no mark."""
    return [pytest.mark.slow] if condition else []


def loaded_engine(
    name: str,
    network: Network,
    recipe: Recipe,
    backend: str | None = None,
    start: state.State | None = None,
) -> Any:
    """Create an engine and load a state, by default the initial one."""
    engine = registry.create(name, network, recipe, backend=backend)
    engine.load(state.initial(network, recipe) if start is None else start)
    return engine


def rows(*, numpy: bool = True, others: bool = True, fast: bool = False) -> list:
    """Return the engines and backends that can run here, as pytest parameters.

    Parameters
    ----------
    numpy : bool
        Whether the reference is one of them.
    others : bool
        Whether the backends that are not the default are among them.
    fast : bool
        Whether the test is also fast for the backends that compile for seconds.
    """
    found = []
    for name, entry in registry.entries().items():
        for backend in entry.backends:
            if (name == "numpy" and not numpy) or (backend != entry.default_backend and not others):
                continue
            label = f"{name}-{backend}"
            marks = [] if name == "numpy" else [pytest.mark.framework]
            marks += slow_if(label in COMPILED_BACKENDS and not fast)
            if not entry.installed:
                marks.append(pytest.mark.skip(reason=f"{entry.label} is not installed"))
            elif label == "torch-compiled" and not shutil.which("g++"):
                marks.append(pytest.mark.skip(reason="torch.compile needs g++"))
            found.append(pytest.param(name, backend, id=label, marks=marks))
    return found
