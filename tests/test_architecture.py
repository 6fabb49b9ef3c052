"""Nothing above the waist imports a contestant, and what should be light is light."""

import subprocess
import sys
from pathlib import Path

import pytest

import triptych
from triptych.core import registry

HEAVY = {
    "torch",
    "tensorflow",
    "keras",
    "jax",
    "sklearn",
    "matplotlib",
    "rich",
    "typer",
    "einops",
    "pooch",
    "safetensors",
}
HEAVY |= {"PIL", "pyarrow"}
PACKAGE = Path(triptych.__file__).parent

FRAMEWORKS = {entry.requires for name, entry in registry.entries().items() if name != "numpy"} | {
    "keras"
}

# None in sys.modules would do the same, if scipy did not look into what it finds there.
ABSENT = f"""
import sys
class Absent:
    @staticmethod
    def find_spec(name, path, target=None):
        if name in {FRAMEWORKS}:
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Absent)
"""


def modules_after(code: str, cwd: Path | None = None) -> set[str]:
    code = f"{code}\nimport sys; print('loaded', *sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=cwd
    )
    return {name.partition(".")[0] for name in done.stdout.rpartition("loaded")[2].split()}


def test_the_package_imports_nothing_heavy():
    assert not modules_after("import triptych") & HEAVY


@pytest.mark.parametrize(
    ("command", "needed"),
    [
        ("--help", {"rich", "typer"}),
        ("train --help", {"rich", "typer"}),
        ("show --network fast", {"rich", "typer"}),
        ("data list", {"numpy", "rich", "typer"}),
        ("train numpy --data digits --epochs 2", {"numpy", "rich", "typer", "safetensors"}),
        (
            "verify --data digits --engines torch --steps 2",
            {"numpy", "rich", "typer", "safetensors"},
        ),
    ],
)
def test_a_command_imports_what_it_needs(command: str, needed: set[str], tmp_path: Path):
    """No framework that it does not use, in this process; verify and compare have theirs in processes of their own."""
    code = (
        f"from triptych.cli.app import main\ntry: main({command.split()})\nexcept SystemExit: pass"
    )
    assert modules_after(code, tmp_path) & (HEAVY | {"numpy", "scipy"}) == needed


def test_everything_above_the_waist_works_without_any_framework():
    names = [
        ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)
        for path in PACKAGE.rglob("*.py")
        if not {path.stem, path.parent.name} & FRAMEWORKS and path.name != "__main__.py"
    ]
    code = ABSENT + "".join(f"import {name.removesuffix('.__init__')}\n" for name in sorted(names))
    assert len(names) > 30
    modules_after(code)


@pytest.mark.parametrize("folder", ["parity", "bench", "advise", "report"])
def test_no_harness_asks_which_engine_it_holds(folder: str):
    """Engines' names occur in the original's table of expectations and nowhere else."""
    for path in (PACKAGE / folder).rglob("*.py"):
        if path.name != "answers.py":
            assert not [name for name in FRAMEWORKS if f'"{name}"' in path.read_text()], path
