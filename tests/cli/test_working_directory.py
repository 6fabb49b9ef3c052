"""A folder of downloaded files may hold modules of any name: no command runs them."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support import serving
from support.commands import NO_WAIT, ROOT

from triptych import search_path
from triptych.core import registry
from triptych.process.client import Remote
from triptych.spec import zoo

pytestmark = pytest.mark.process

TRAPS = (  # noqa: SIM905 - a list literal would be fifty lines
    "numpy torch tensorflow keras jax jaxlib sklearn scipy matplotlib jinja2 yaml pandas "
    "rich typer click einops psutil safetensors "
    "pooch requests PIL pyarrow tensorboardX tensorboard threadpoolctl joblib optree h5py "
    "cupy triton tensorrt ml_dtypes "
    "typing json random contextlib collections functools dataclasses enum signal subprocess "
    "logging multiprocessing "
    "struct tempfile threading ast inspect re warnings sitecustomize usercustomize"
).split()
PACKAGES = ("triptych", "benchmarks", "google")
SCRIPTS = ("", "_pytorch", "_tensorflow")
NETWORK = ("--data", "digits", "--hidden", "4", "--batch-size", "256", "--epochs", "1")
INSTALLED = [name for name, entry in registry.entries().items() if entry.installed]


@pytest.fixture
def traps(tmp_path: Path) -> Path:
    """Return a folder of modules, each of which writes its name down when it runs."""
    folder = tmp_path / "downloaded"
    for name in PACKAGES:
        (folder / name).mkdir(parents=True)
    trap = (
        f"open({str(tmp_path / 'executed')!r}, 'a').write(__file__ + chr(10))\nraise "
        "ImportError('a trap')\n"
    )
    for path in [
        *(folder / f"{name}.py" for name in TRAPS),
        *(folder / name / "__init__.py" for name in PACKAGES),
    ]:
        path.write_text(trap)
    # What is installed: a file in a folder of its own, as pip makes it.
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "triptych").write_text(
        "import sys\nfrom triptych.__main__ import main\nsys.exit(main())\n"
    )
    return folder


def executed(traps: Path) -> list[str]:
    log = traps.parent / "executed"
    return log.read_text().splitlines() if log.exists() else []


def clean(traps: Path, **more: str) -> dict[str, str]:
    """Return an environment without what the tests themselves have set to be safe."""
    left_out = ("PYTHONPATH", "PYTHONSAFEPATH")
    return {name: value for name, value in os.environ.items() if name not in left_out} | {
        "TRIPTYCH_DATA": str(traps.parent / "cache"),
        "PYTHONPATH": str(ROOT),
        **more,
    }


def run(traps: Path, *command: str, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *command],
        cwd=traps,
        env=clean(traps, **more),
        capture_output=True,
        text=True,
        timeout=500,
    )


def test_the_traps_work(traps):
    """Without protection each of these runs a module of the folder: what the other tests assert can
    fail.
    """
    run(traps, "-m", "triptych.process.server", "numpy")
    assert executed(traps)
    (traps.parent / "executed").unlink()
    run(traps, "-c", "import torch")
    assert executed(traps) == [str(traps / "torch.py")]


@pytest.mark.parametrize("inherited", ["", f".{os.pathsep}/nowhere"])
def test_a_worker_runs_none_of_them(traps, monkeypatch, inherited: str):
    monkeypatch.chdir(traps)
    monkeypatch.delenv("PYTHONSAFEPATH", raising=False)
    monkeypatch.setenv("PYTHONPATH", inherited)
    remote = Remote("numpy", "eager")
    try:
        assert remote.greet() > 0
        assert remote.ask("memory")[0]["peak_bytes"] > 1e6
    finally:
        remote.close()
    assert executed(traps) == []


def test_what_a_child_inherits(traps, monkeypatch):
    monkeypatch.chdir(traps)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(["", ".", str(traps), "/elsewhere", "sub"]))
    found = search_path.for_children()
    assert found["PYTHONPATH"].split(os.pathsep) == [str(ROOT), "/elsewhere", str(traps / "sub")]
    assert found["PYTHONSAFEPATH"] == "1"


def test_the_working_directory_leaves_the_path_and_nothing_else_does(traps, monkeypatch, tmp_path):
    monkeypatch.chdir(traps)
    others = [str(ROOT), "/elsewhere", str(Path(os.__file__).parent)]
    monkeypatch.setattr(sys, "path", ["", str(traps), *others, "."])
    search_path.leave_out()
    assert sys.path == others
    monkeypatch.chdir(ROOT)  # a checkout: what is in it is this package
    monkeypatch.setattr(sys, "path", [str(ROOT), "/elsewhere"])
    search_path.leave_out()
    assert sys.path == [str(ROOT), "/elsewhere"]
    (installed := tmp_path / "site-packages").mkdir()
    monkeypatch.chdir(installed)
    monkeypatch.setattr(sys, "path", [str(installed)])
    search_path.leave_out()
    assert sys.path == [str(installed)]


def test_light_commands_run_none_of_them(traps):
    for command in (["show"], ["--version"], ["train", "numpy", *NETWORK]):
        done = run(traps, str(traps.parent / "bin" / "triptych"), *command)
        assert done.returncode == 0, done.stderr
    assert executed(traps) == []


def test_a_script_in_such_a_folder_runs_none_of_them(traps):
    name = "artificial_neural_network_MNIST.py"
    shutil.copy(ROOT / name, traps / name)
    done = run(traps, name, "--data", "digits", "--epochs", "1")
    assert done.returncode == 0, done.stderr
    assert executed(traps) == []


def test_the_workers_of_a_server_run_none_of_them(traps):
    pytest.importorskip("uvicorn")
    serving.save_run(traps / "run", zoo.dense("small", [4]))
    launch = traps.parent / "bin" / "triptych"
    script = launch.read_text().replace("sys.exit(", "if __name__ == '__main__': sys.exit(")
    launch.write_text(script)  # as pip writes it: multiprocessing imports it in each worker
    command = (str(launch), "serve", "run", "--workers", "2")
    with serving.started(*command, cwd=traps, env=clean(traps)) as server:
        assert server.ask("/v2/health/ready").status == 200
        assert server.stop() == 0
    assert server.errors == []
    assert executed(traps) == []


def command(traps: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run an installed ``triptych``, which must not run any of the traps."""
    done = run(traps, str(traps.parent / "bin" / "triptych"), *arguments)
    assert executed(traps) == [], arguments
    return done


@pytest.mark.slow
@pytest.mark.parametrize("engine", INSTALLED)
def test_no_training_runs_any_of_them(traps, engine: str):
    for backend in registry.entry(engine).backends:
        if backend != "compiled" or engine != "torch" or shutil.which("g++"):
            done = command(traps, "train", engine, "--backend", backend, *NETWORK)
            assert done.returncode == 0, (backend, done.stderr)


@pytest.mark.slow
def test_no_comparison_runs_any_of_them(traps):
    assert command(traps, "compare", *NETWORK, *NO_WAIT).returncode == 0
    compared = next((traps / "runs").glob("*-compare-*"))
    assert (compared / "results.json").exists()
    assert command(traps, "show", str(compared)).returncode == 0
    assert command(traps, "report", str(compared)).returncode == 0


@pytest.mark.slow
def test_no_proof_runs_any_of_them(traps):
    proof = ("verify", "--data", "digits", "--hidden", "4", "--steps", "3")
    assert command(traps, *proof).returncode == 0


@pytest.mark.slow
def test_no_map_runs_any_of_them(traps):
    measured = ("map", "--engines", "numpy", "--backends", "default", "--minutes", "1")
    assert command(traps, *measured).returncode in (0, 2)
    assert command(traps, "advise").returncode in (0, 2)


def test_the_list_of_data_runs_none_of_them(traps):
    assert command(traps, "data", "list").returncode == 0


@pytest.mark.slow
@pytest.mark.parametrize("copied", [False, True])
def test_the_four_scripts_run_none_of_them(traps, copied: bool):
    for ending in SCRIPTS:
        path = ROOT / f"artificial_neural_network_MNIST{ending}.py"
        if copied:
            path = Path(shutil.copy(path, traps))
        done = run(traps, str(path), "--data", "digits", "--epochs", "1")
        assert done.returncode == 0, done.stderr
        assert executed(traps) == [], path
    path = ROOT / "compare_all_implementations.py"
    if copied:
        path = Path(shutil.copy(path, traps))
    done = run(traps, str(path), *NETWORK, *NO_WAIT, "--engines", "numpy,torch")
    assert done.returncode == 0, done.stderr
    assert executed(traps) == []


def test_matplotlib_is_loaded_from_a_working_directory_that_was_deleted(tmp_path):
    gone = tmp_path / "gone"
    gone.mkdir()
    code = (
        "import os, sys; os.rmdir(os.getcwd());"
        "from triptych.search_path import load_matplotlib; load_matplotlib();"
        "print('matplotlib' in sys.modules)"
    )
    done = run(gone, "-P", "-c", code)
    assert done.stdout.strip() == "True", done.stderr
