"""Engines by name: those of the package, and one that another distribution brings."""

import sys
from pathlib import Path

import numpy as np
import pytest
from support import distributions

from triptych.core import registry, state
from triptych.core.plan import Plan
from triptych.core.split import Split
from triptych.errors import EngineError
from triptych.spec import zoo
from triptych.spec.recipe import Recipe

INFO = """
from triptych.core.engine_info import EngineInfo

INFO = EngineInfo(
    name="echo",
    label="Echo",
    requires="numpy",
    install="pip install echo-engine",
    backends={"eager": "as NumPy does it"},
    argued={},
    module="echo_engine",
)
"""
ENGINE = "from triptych.engines.numpy.engine import Engine as Engine\n"


@pytest.fixture
def echo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A distribution, as pip installs one, whose engine is NumPy's under another name."""
    distributions.write_metadata(
        tmp_path, "echo_engine", {"triptych.engines": {"echo": "echo_info:INFO"}}
    )
    (tmp_path / "echo_info.py").write_text(INFO)
    (tmp_path / "echo_engine.py").write_text(ENGINE)
    distributions.search(monkeypatch, tmp_path)
    registry.entries.cache_clear()
    yield
    for name in ("echo_info", "echo_engine"):
        sys.modules.pop(name, None)
    monkeypatch.undo()
    registry.entries.cache_clear()


@pytest.mark.usefixtures("echo")
def test_an_engine_of_another_distribution():
    network = zoo.dense("n", [4], shape=(3, 3, 1), classes=2)
    recipe = Recipe(1, "full")
    assert next(iter(registry.entries())) == "numpy"
    assert registry.entry("echo").installed
    assert "echo_engine" not in sys.modules
    engine = registry.create("echo", network, recipe)
    engine.load(state.initial(network, recipe))
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (6, 3, 3, 1), dtype=np.uint8)
    data = engine.upload(Split(images, np.array([0, 1] * 3, np.int32)))
    engine.run(data, Plan(indices=None, rates=np.full(3, 0.1)))
    losses = engine.wait()
    assert losses.shape == (3,)
    assert losses[-1] < losses[0]


def test_without_it_the_name_is_unknown():
    with pytest.raises(EngineError, match="engine 'echo' is unknown"):
        registry.entry("echo")


@pytest.mark.parametrize(
    ("info", "reason"),
    [
        ("raise OSError('no driver')", "OSError: no driver"),
        ("INFO = 'echo'", "must be an EngineInfo with a name other than numpy"),
        (INFO.replace('name="echo"', 'name="torch"'), "with a name other than numpy, numba, torch"),
    ],
)
def test_an_engine_that_cannot_be_used_is_left_out(echo, tmp_path: Path, info: str, reason: str):
    (tmp_path / "echo_info.py").write_text(info)
    with pytest.warns(UserWarning, match=f"'echo' .* is left out: .*{reason}"):
        names = list(registry.entries())
    assert names[0] == "numpy"
    assert "echo" not in names
    assert registry.entry("torch").requires == "torch"
