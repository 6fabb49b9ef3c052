"""No module above the engines imports a framework, and light commands load little."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest
from support.commands import run_python

import triptych
from triptych.core import registry
from triptych.spec.layers import LAYERS
from triptych.spec.optimizers import SHORTHANDS

HEAVY = {
    "torch",
    "tensorflow",
    "keras",
    "jax",
    "numba",
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
ENGINES = set(registry.entries())
# What the package's own file needs in order to import a public name on first use (PEP 562).
LAZY_IMPORT = ("__getattr__", "__dir__")
LINT_IMPORTS = """
import sys
from importlinter.cli import lint_imports
sys.exit(lint_imports(no_cache=True))
"""

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
    """No framework that it does not use, in this process; verify and compare have theirs in
    processes of their own.
    """
    code = (
        f"from triptych.cli.app import main\ntry: main({command.split()})\nexcept SystemExit: pass"
    )
    assert modules_after(code, tmp_path) & (HEAVY | {"numpy", "scipy"}) == needed


def test_everything_above_the_waist_works_without_any_framework():
    names = [
        ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)
        for path in PACKAGE.rglob("*.py")
        if not {path.stem, path.parent.name} & FRAMEWORKS
        and path.parent.parent.name != "numba"  # its kernels
        and path.name != "__main__.py"
    ]
    code = ABSENT + "".join(f"import {name.removesuffix('.__init__')}\n" for name in sorted(names))
    assert len(names) > 30
    modules_after(code)


# The original's expectations name the original's three implementations.
EXPECTATIONS = PACKAGE / "report" / "answers.py"


@pytest.mark.parametrize("folder", ["parity", "bench", "advise", "report"])
def test_no_harness_names_an_engine(folder: str):
    """The reference is named once, in the registry; no other engine is treated in its own way."""
    for path in (PACKAGE / folder).rglob("*.py"):
        named = set(_strings(ast.parse(path.read_text()))) & ENGINES
        assert not named or path == EXPECTATIONS, f"{path} names {named}"


def _strings(tree: ast.AST) -> list[str]:
    """Return the string literals of a syntax tree."""
    nodes = [node for node in ast.walk(tree) if isinstance(node, ast.Constant)]
    return [node.value for node in nodes if isinstance(node.value, str)]


def test_the_import_contracts_are_kept():
    """The contracts of pyproject.toml: which layer may import which."""
    pytest.importorskip("importlinter")
    done = run_python("-c", LINT_IMPORTS, cwd=PACKAGE.parent)
    assert done.returncode == 0, done.stdout + done.stderr
    assert " 0 broken" in done.stdout


def test_no_package_file_holds_an_implementation():
    """An `__init__.py` has imports; that of the package also the names it imports lazily."""
    for path in PACKAGE.rglob("__init__.py"):
        for node in ast.parse(path.read_text()).body:
            docstring = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
            imports = isinstance(node, ast.Import | ast.ImportFrom)
            lazy = isinstance(node, ast.If | ast.Assign) or _name(node) in LAZY_IMPORT
            allowed = docstring or imports or (lazy and path.parent == PACKAGE)
            assert allowed, f"{path}, line {node.lineno}"


def _name(node: ast.AST) -> str:
    """Return the name of a function, or an empty string."""
    return node.name if isinstance(node, ast.FunctionDef) else ""


# The files in which names may be listed; the conventions are PyTorch's and Keras's defaults.
REGISTRIES = {
    # The catalogue names packages that are measured, and the divergence finder those in which it
    # does not look for a user's model.
    "engines": (
        "core/registry.py",
        "report/answers.py",
        "doctor/catalogue/registry.py",
        "doctor/frameworks/references.py",
    ),
    "layers": ("spec/layers.py", "spec/conventions.py"),
    # The calibration times a choice of optimizers; the divergence finder has the rules of PyTorch
    # and Keras, not of our engines.
    "optimizers": (
        "spec/optimizers.py",
        "spec/conventions.py",
        "advise/sampling.py",
        "doctor/parts.py",
        "doctor/rules.py",
    ),
}
NAMES = {"engines": ENGINES, "layers": set(LAYERS), "optimizers": set(SHORTHANDS)}
LISTED = 3  # names in one literal make it a list of names


@pytest.mark.parametrize("kind", REGISTRIES)
def test_no_list_of_names_outside_the_registry(kind: str):
    """A new layer, optimizer or engine is entered in one place."""
    allowed = [PACKAGE / name for name in REGISTRIES[kind]]
    for path in PACKAGE.rglob("*.py"):
        if path in allowed:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            listed = set(_listed_strings(node)) & NAMES[kind]
            assert len(listed) < LISTED, f"{path}, line {node.lineno}: {sorted(listed)}"


def _listed_strings(node: ast.AST) -> list[str]:
    """Return the strings of a list, tuple or set, or the keys of a dict."""
    if isinstance(node, ast.List | ast.Tuple | ast.Set):
        items = node.elts
    elif isinstance(node, ast.Dict):
        items = node.keys
    else:
        return []
    return [item.value for item in items if isinstance(item, ast.Constant)]
