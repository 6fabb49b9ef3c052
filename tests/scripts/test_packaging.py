"""Wheel and source distribution: built, installed in a clean environment, and tried."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support.commands import ROOT, run_python

pytestmark = [pytest.mark.slow, pytest.mark.process]

NOT_COPIED = shutil.ignore_patterns(
    ".*", "__pycache__", "build", "dist", "*.egg-info", "runs", "tests"
)
INSTALLED_FILES = """
from importlib.resources import files
import triptych
package = files("triptych")
print(package)
print((package / "py.typed").is_file())
for part in ("report", "exporting"):
    print(*sorted(path.name for path in (package / part / "assets").iterdir()))
"""


@pytest.fixture(scope="module")
def distributions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build both from a copy of the sources; return the folder in which they are."""
    pytest.importorskip("build")
    sources = tmp_path_factory.mktemp("sources") / "triptych"
    shutil.copytree(ROOT, sources, ignore=NOT_COPIED)
    output = tmp_path_factory.mktemp("distributions")
    done = run_python("-m", "build", "--no-isolation", "--outdir", str(output), cwd=sources)
    assert done.returncode == 0, done.stdout + done.stderr
    return output


@pytest.fixture(params=["*.whl", "*.tar.gz"], ids=["wheel", "sdist"])
def python(request: pytest.FixtureRequest, distributions: Path, tmp_path: Path) -> Path:
    """Install a distribution without its dependencies; return the Python of that environment.

    The dependencies are those of the environment of this test, which are on the path.
    """
    (distribution,) = distributions.glob(request.param)
    environment = tmp_path / "environment"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", environment], check=True)
    scripts = environment / ("Scripts" if sys.platform == "win32" else "bin")
    found = scripts / Path(sys.executable).name
    (site,) = environment.rglob("site-packages")
    dependencies = [folder for folder in sys.path if folder.endswith("site-packages")]
    (site / "dependencies.pth").write_text("\n".join(dependencies))
    pip = ["-m", "pip", "--disable-pip-version-check", "--python", str(found), "install"]
    options = ["--quiet", "--no-deps", "--no-index", "--no-build-isolation", str(distribution)]
    done = run_python(*pip, *options, cwd=tmp_path, PYTHONPATH="")
    assert done.returncode == 0, done.stdout + done.stderr
    return found


def test_an_installed_distribution_works(python: Path, tmp_path: Path):
    def run(*command: str) -> str:
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
        done = subprocess.run(
            [python, *command],
            cwd=tmp_path,
            env=inherited | {"TRIPTYCH_DATA": str(tmp_path / "no-data")},
            capture_output=True,
            text=True,
            timeout=250,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    package, typed, *assets = run("-c", INSTALLED_FILES).splitlines()
    assert Path(package).is_relative_to(tmp_path)
    assert typed == "True"
    for part, names in zip(("report", "exporting"), assets, strict=True):
        folder = ROOT / "triptych" / part / "assets"
        assert names.split() == sorted(path.name for path in folder.iterdir())
    triptych = str(python.with_name("triptych"))
    assert "Usage: triptych" in run(triptych, "--help")
    run(triptych, "train", "numpy", "--data", "digits", "--epochs", "1")
    (folder,) = (tmp_path / "runs").iterdir()
    assert (folder / "results.json").is_file()
