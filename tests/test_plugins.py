"""Plug-ins: loaded once, left out if they cannot be used, never from the working directory."""

import os
import sys
from pathlib import Path

import pytest
from support import commands, distributions

from triptych import plugins

PLUGIN = """
import builtins
builtins.LOADED.append("module")

def register():
    builtins.LOADED.append("function")
"""


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A folder of installed packages that this process searches."""
    folder = tmp_path / "site"
    folder.mkdir()
    distributions.search(monkeypatch, folder)
    yield folder
    sys.modules.pop("counted", None)


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the plug-in `PLUGIN` has written down."""
    lines: list[str] = []
    monkeypatch.setattr("builtins.LOADED", lines, raising=False)
    return lines


def install(site: Path, group: str, value: str, source: str) -> None:
    (site / "counted.py").write_text(source)
    distributions.write_metadata(site, "counted", {group: {"counting": value}})


def path_with(site: Path) -> str:
    return os.pathsep.join([str(commands.ROOT), str(site)])


@pytest.mark.parametrize(
    ("value", "expected"),
    [("counted", ["module"]), ("counted:register", ["module", "function"])],
)
def test_a_plug_in_is_a_module_or_a_function_and_is_loaded_once(
    site: Path, loaded: list[str], value: str, expected: list[str]
):
    install(site, "triptych.plugins", value, PLUGIN)
    plugins.load()
    plugins.load()
    assert loaded == expected


def test_builders_are_loaded_with_their_engine(site: Path, loaded: list[str]):
    install(site, "triptych.plugins.torch", "counted", PLUGIN)
    plugins.load()
    plugins.load("numpy")
    assert loaded == []
    plugins.load("torch")
    assert loaded == ["module"]


def test_every_table_is_complete_at_the_first_look_up(site: Path):
    """In a process of its own, in which nothing is loaded before."""
    source = """
from triptych.data.registry import Format, register_format
from triptych.spec.layers import LAYERS, Tanh, register_layer
from triptych.spec.optimizers import SGD, register_optimizer

@register_layer
class Twice(Tanh):
    pass

assert "Twice" in LAYERS  # a look-up while it is loaded
class Slow(SGD):
    name = "slow"
register_optimizer(Slow)
register_format(Format("dots", print, "", (".dots",)))
"""
    install(site, "triptych.plugins", "counted", source)
    look_ups = {
        "spec.layers": "assert 'Twice' in module.LAYERS",
        "spec.optimizers": "assert 'slow' in module.optimizer_names()",
        "data.registry": "assert '.dots' in module.sources_help()",
    }
    for name, look_up in look_ups.items():
        code = f"import triptych.{name} as module; {look_up}"
        done = commands.run_python("-c", code, cwd=site.parent, PYTHONPATH=path_with(site))
        assert done.returncode == 0, done.stderr


def test_one_that_raises_an_error_is_left_out(site: Path):
    install(site, "triptych.plugins", "counted", "raise OSError('no\\ndriver')")
    reason = r"the plug-in 'counting' \(counted\) is left out: OSError: no driver"
    with pytest.warns(UserWarning, match=reason):
        plugins.load()
    assert len(plugins.left_out) == 1


def test_the_warning_of_the_command_line_is_one_line(site: Path):
    install(site, "triptych.plugins", "counted", "raise OSError('no driver')")
    done = commands.run("train", "--help", cwd=site.parent, PYTHONPATH=path_with(site))
    assert done.returncode == 0
    (line,) = done.stderr.splitlines()
    assert line.endswith("the plug-in 'counting' (counted) is left out: OSError: no driver")


def test_a_name_belongs_to_one_class(site: Path):
    source = """
from triptych.spec.layers import Tanh, register_layer

@register_layer
class Dense(Tanh):
    pass
"""
    install(site, "triptych.plugins", "counted", source)
    with pytest.warns(UserWarning, match=r"'Dense' is the name of triptych\.spec\.layers\.Dense"):
        plugins.load()


def test_a_slot_has_the_same_power_in_every_optimizer(site: Path):
    source = """
from triptych.spec.optimizers import SGD, Slot, register_optimizer

class Slow(SGD):
    name = "slow"
    slot_kinds = {"v": Slot("the sum of gradients", 1)}

register_optimizer(Slow)
"""
    install(site, "triptych.plugins", "counted", source)
    with pytest.warns(UserWarning, match="slow: the slot 'v' has power 2 in adam"):
        plugins.load()


@pytest.mark.process
def test_what_is_in_the_working_directory_is_not_loaded(site: Path):
    install(site, "triptych.plugins", "counted", "import os; os._exit(7)")
    look_up = "from triptych.spec.layers import LAYERS; print(len(LAYERS))"
    for arguments in (["-m", "triptych", "train", "--help"], ["-c", look_up]):
        for cwd, status in ((site, 0), (site.parent, 7)):
            done = commands.run_python(*arguments, cwd=cwd, PYTHONPATH=path_with(site))
            assert done.returncode == status, done.stderr
