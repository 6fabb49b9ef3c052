"""Nothing above the waist imports a contestant, and what should be light is light."""

import subprocess
import sys
from pathlib import Path

import pytest

import triptych
from triptych import engines

HEAVY = {"torch", "tensorflow", "keras", "jax", "sklearn", "matplotlib", "rich", "typer", "einops", "pooch", "safetensors"}
HEAVY |= {"PIL", "pyarrow"}
PACKAGE = Path(triptych.__file__).parent

FRAMEWORKS = {entry.requires for name, entry in engines.entries().items() if name != "numpy"} | {"keras"}

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


def modules_after(code: str) -> set[str]:
    done = subprocess.run([sys.executable, "-c", f"{code}\nimport sys; print(*sys.modules)"], capture_output=True, text=True, check=True)
    return {name.partition(".")[0] for name in done.stdout.split()}


def test_the_package_imports_nothing_heavy():
    assert not modules_after("import triptych") & HEAVY


def test_help_imports_no_framework():
    loaded = modules_after("from triptych.cli import main\ntry: main(['--help'])\nexcept SystemExit: pass")
    assert not loaded & {"torch", "tensorflow", "keras", "sklearn", "matplotlib", "numpy"}


def test_everything_above_the_waist_works_without_any_framework():
    names = [
        ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)
        for path in PACKAGE.rglob("*.py")
        if not {path.stem, path.parent.name} & FRAMEWORKS and path.name != "__main__.py"
    ]
    code = ABSENT + "".join(f"import {name.removesuffix('.__init__')}\n" for name in sorted(names))
    assert len(names) > 30
    modules_after(code)


@pytest.mark.parametrize("folder", ["parity", "bench", "report"])
def test_no_harness_asks_which_engine_it_holds(folder: str):
    """Engines' names occur in the original's table of expectations and nowhere else."""
    for path in (PACKAGE / folder).rglob("*.py"):
        if path.name not in ("answers.py", "estimate.py"):
            assert not [name for name in FRAMEWORKS if f'"{name}"' in path.read_text()], path
