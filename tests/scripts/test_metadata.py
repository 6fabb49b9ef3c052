"""The project's metadata agree with the project: packages, version, files of the repository."""

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from support.commands import ROOT

import triptych

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
INSTALLED = packages_distributions()
# Packages with modules that are imported when they are asked for.
LATE = (
    "engines",
    "exporting",
    "serve",
    "doctor/frameworks/torch",
    "doctor/frameworks/keras",
    "doctor/frameworks/onnx",
    "doctor/script/torch",
    "doctor/frameworks/function/backends",
)
OURS = {"triptych", "benchmarks", "tests", "support", "conftest", "lesson"}

# The distributions that contain a module on every system, where packages_distributions() may not
# know the module because it is not installed.
DISTRIBUTIONS = {
    "PIL": "pillow",
    "sklearn": "scikit-learn",
    "tensorboardX": "tensorboardx",
}


def names(requirements: list[str]) -> set[str]:
    return {str(canonicalize_name(Requirement(line).name)) for line in requirements}


BASE = names(PROJECT["dependencies"])
EXTRAS = {extra: names(lines) for extra, lines in PROJECT["optional-dependencies"].items()}


def imports(path: Path) -> set[str]:
    """Return the top-level modules that a file imports, anywhere in it."""
    modules: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            modules.update(alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            modules.add(node.module.partition(".")[0])
    return modules - set(sys.stdlib_module_names) - OURS


def distributions(module: str) -> set[str]:
    """Return the names of the distributions that may provide a module."""
    known = INSTALLED.get(module, [DISTRIBUTIONS.get(module, module)])
    return {str(canonicalize_name(name)) for name in known}


def test_every_import_of_the_package_is_declared():
    declared = BASE.union(*EXTRAS.values())
    missing = {}
    for path in sorted((ROOT / "triptych").rglob("*.py")):
        for module in imports(path):
            if not distributions(module) & declared:
                missing[f"{path.relative_to(ROOT)}: {module}"] = distributions(module)
    assert not missing


def test_outside_of_the_engines_modules_begin_with_base_packages_alone():
    """An optional package is imported inside of the function that needs it."""
    missing = []
    for path in sorted((ROOT / "triptych").rglob("*.py")):
        late = any(path.is_relative_to(ROOT / "triptych" / name) for name in LATE)
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in tree.body:
            if not isinstance(node, ast.Import | ast.ImportFrom) or getattr(node, "level", 0):
                continue
            module = ast.unparse(node).split()[1].partition(".")[0]
            if module in sys.stdlib_module_names or module in OURS or late:
                continue
            if not distributions(module) & BASE:
                missing.append(f"{path.relative_to(ROOT)}: {module}")
    assert not missing


def test_requirements_txt_has_every_declared_package():
    pinned = set()
    for line in (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            pinned.add(str(canonicalize_name(Requirement(line).name)))
    assert BASE | EXTRAS["torch"] | EXTRAS["tensorflow"] | EXTRAS["report"] <= pinned


def test_pinned_versions_satisfy_what_is_declared():
    declared = [Requirement(line) for line in PROJECT["dependencies"]]
    for extra in ("torch", "tensorflow", "report"):
        declared += [Requirement(line) for line in PROJECT["optional-dependencies"][extra]]
    pins = {}
    for line in (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            requirement = Requirement(line)
            pins[canonicalize_name(requirement.name)] = requirement
    for requirement in declared:
        pinned = pins[canonicalize_name(requirement.name)]
        (version,) = [s.version for s in pinned.specifier if s.operator == "=="]
        assert requirement.specifier.contains(version), f"{requirement} against {pinned}"


def test_the_version_is_the_same_everywhere():
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert f"\nversion: {triptych.__version__}\n" in citation
    released = re.findall(r"^## \[(\d+\.\d+\.\d+)\]", changelog, re.MULTILINE)
    assert released[0] == triptych.__version__


@pytest.mark.parametrize("name", ["ci.yml", "bug.yml", "difference.yml", "idea.yml", "config.yml"])
def test_files_for_the_forge_are_yaml(name: str):
    yaml = pytest.importorskip("yaml")
    path = next((ROOT / ".github").rglob(name))
    assert isinstance(yaml.safe_load(path.read_text(encoding="utf-8")), dict)


def test_the_matrix_has_every_supported_python_and_system():
    yaml = pytest.importorskip("yaml")
    text = (ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8")
    matrix = yaml.safe_load(text)["jobs"]["test"]["strategy"]["matrix"]
    classifiers = [line.rpartition(" ")[2] for line in PROJECT["classifiers"]]
    assert matrix["python"] == [version for version in classifiers if version.startswith("3.")]
    assert matrix["os"] == ["ubuntu-latest", "macos-latest", "windows-latest"]
