"""Plug-ins: loaded once, left out if they cannot be used, never from the working directory."""

import os
import sys
from importlib import import_module
from pathlib import Path
from pkgutil import walk_packages

import pytest
from support import commands, distributions

from triptych import plugins, spec
from triptych.engines.numpy import layers as layers_in_numpy
from triptych.spec.registry import Registry

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


HALF = """
from dataclasses import dataclass

from triptych.data.registry import Format, register_format
from triptych.engines.numpy import layers as in_numpy
from triptych.spec import callbacks, layers, losses, optimizers, schedules

class Half(layers.Tanh):
    name = "half"

class HalfOfSGD(optimizers.SGD):
    name = "half"

class HalfOfTheLoss(losses.MeanSquaredError):
    name = "half"
    shorthand = "hm"

def register():
    layers.register_layer(Half)
    optimizers.register_optimizer(HalfOfSGD, {"halved": {"momentum": 0.5}})
    losses.register_loss(HalfOfTheLoss)
    schedules.register_schedule(type("HalfTime", (schedules.Cosine,), {"name": "half"}))
    callbacks.register_callback(type("HalfStop", (callbacks.EarlyStopping,), {"name": "half"}))
    register_format(Format("half", print, "", (".half",)))
    in_numpy.register_layer(Half, print)
    in_numpy.register_layer(layers.Dense, print)

FAILURE
"""
FAILURES = {
    "counted": "register()\nraise OSError('no driver')",
    "counted:fail": "def fail():\n    register()\n    raise OSError('no driver')",
}


@pytest.mark.parametrize("value", FAILURES)
def test_one_that_fails_half_way_leaves_nothing(site: Path, value: str):
    assert layers_in_numpy.LAYERS.builders in plugins.contents()  # as the engine is imported first
    before = plugins.contents()
    install(site, "triptych.plugins", value, HALF.replace("FAILURE", FAILURES[value]))
    with pytest.warns(UserWarning, match="OSError: no driver"):
        plugins.load()
    assert plugins.contents() == before


def test_the_same_plug_in_without_the_error_registers_all(site: Path):
    before = plugins.contents()
    install(site, "triptych.plugins", "counted", HALF.replace("FAILURE", "register()"))
    plugins.load()
    after = plugins.contents()
    plugins.restore(before)
    assert sum(map(len, after)) == sum(map(len, before)) + 11
    assert plugins.contents() == before


def test_tables_that_a_failed_plug_in_has_imported_keep_their_own_entries(site: Path):
    """In a process of its own, in which the plug-in is the first that needs the tables."""
    install(
        site, "triptych.plugins", "counted:fail", HALF.replace("FAILURE", FAILURES["counted:fail"])
    )
    code = """
from triptych.spec.schedules import SCHEDULES
names = set(SCHEDULES)
from triptych.data.registry import formats
from triptych.spec.callbacks import CALLBACKS
from triptych.spec.layers import LAYERS
from triptych.spec.losses import LOSS_NAMES
from triptych.spec.optimizers import OPTIMIZERS, SHORTHANDS
names |= {*CALLBACKS, *LAYERS, *LOSS_NAMES, *OPTIMIZERS, *SHORTHANDS}
names |= {known.name for known in formats()}
assert {"cosine", "early-stopping", "Dense", "mse", "adam", "nesterov", "CSV"} <= names, names
assert not names & {"half", "halved", "hm", "Half"}, names
"""
    done = commands.run_python("-c", code, cwd=site.parent, PYTHONPATH=path_with(site))
    assert done.returncode == 0, done.stderr
    assert "OSError: no driver" in done.stderr


def test_the_modules_with_tables_are_all_that_have_any():
    known = [vars(import_module(name)) for name in plugins.MODULES_WITH_TABLES]
    in_known = {id(value) for names in known for value in names.values()}
    for module in walk_packages(spec.__path__, f"{spec.__name__}."):
        for name, value in vars(import_module(module.name)).items():
            assert not isinstance(value, Registry) or id(value) in in_known, (module.name, name)


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
