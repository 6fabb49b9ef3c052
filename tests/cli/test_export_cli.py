"""``triptych export``: the command, its messages and its exit statuses."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest
from support import exporting
from support.commands import environment, start, wait_until
from support.commands import run as run_command
from typer.testing import CliRunner

from triptych.cli.app import app
from triptych.exporting import export, verification
from triptych.exporting.model import TrainedModel
from triptych.exporting.targets import Target, target
from triptych.spec import zoo
from triptych.training import checkpoint

NETWORK = zoo.dense("tiny", [4])

pytestmark = [
    pytest.mark.process,
    pytest.mark.skipif(
        bool(target("onnx").missing), reason="onnx and onnxruntime are not both installed"
    ),
]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return exporting.save_run(tmp_path / "run", NETWORK)


def test_an_export_and_what_is_printed(driver, run: Path, tmp_path: Path):
    status, output, errors = driver.run("export", str(run), "--to", "onnx")
    assert (status, errors) == (0, "")
    description = json.loads((run / "export" / "onnx" / "export.json").read_text())
    assert description["verdict"] == "rounding"
    assert description["samples"] == 180
    assert str(run / "export" / "onnx" / "model.onnx") in output.replace("\n", "")
    assert "rounding; logits differ by at most" in output
    assert "0 predictions differ" in output
    assert (
        description["state_sha256"] == checkpoint.read_state(run / "last" / checkpoint.STATE).sha256
    )


def test_a_wrong_export_ends_with_status_1(run: Path, monkeypatch: pytest.MonkeyPatch):
    """It is written, so that it can be looked at; the output and export.json tell the verdict."""

    def write_negative(chosen: Target, folder: Path, model: TrainedModel) -> None:
        negative = {name: -array for name, array in model.state.items()}
        chosen.make_exporter().write(replace(model, state=negative), folder)

    monkeypatch.setattr(export, "write_exported", write_negative)
    monkeypatch.setattr(verification, "run_exported", exporting.run_in_this_process)
    ended = CliRunner().invoke(app, ["export", str(run), "--to", "onnx"])
    assert ended.exit_code == 1
    assert "formula" in ended.output
    assert "The first layer that differs: hidden" in ended.output
    assert "Do not use it" in ended.output
    description = json.loads((run / "export" / "onnx" / "export.json").read_text())
    assert description["verdict"] == "formula"
    assert "unchanged" not in ended.output
    (run / "export" / "onnx" / "export.json").write_text('{"verdict": "rounding"}')
    ended = CliRunner().invoke(app, ["export", str(run), "--to", "onnx"])
    assert ended.exit_code == 1
    assert str(run / "export" / "onnx-faulty" / "model.onnx") in ended.output
    assert f"The earlier export is unchanged: {run / 'export' / 'onnx'}\n" in ended.output


def test_an_export_elsewhere(driver, run: Path, tmp_path: Path):
    assert driver.run("export", str(run), "--to", "onnx", "--out", str(tmp_path / "out"))[0] == 0
    assert (tmp_path / "out" / "onnx" / "model.onnx").is_file()
    assert not (run / "export").exists()


@pytest.mark.parametrize(
    ("name", "message"),
    [("onxx", "did you mean 'onnx'?"), ("", "known: onnx,"), ("../onnx", "no export target")],
)
def test_an_unknown_target(driver, run: Path, name: str, message: str):
    status, _, errors = driver.run("export", str(run), "--to", "onnx", "--to", name)
    assert status == 2
    assert message in errors
    assert not (run / "export").exists(), "the first target was exported before"


def test_a_page_without_its_runtime(driver, run: Path, tmp_path: Path):
    """Nothing is exported, not even for the target before it."""
    if shutil.which("node") is None:
        pytest.skip("needs Node.js")
    options = ("--to", "onnx", "--to", "web", "--web-runtime", str(tmp_path))
    status, output, errors = driver.run("export", str(run), *options)
    assert status == 2
    assert "npm install onnxruntime-web@1.30.0" in errors
    assert output == ""  # the data was not read before
    assert not (run / "export").exists()


def test_how_a_page_is_served_is_said_with_its_folder(run: Path, tmp_path: Path, npm_folder: Path):
    out = tmp_path / "a site"
    options = ("--to", "web", "--web-runtime", str(npm_folder), "--out", str(out))
    done = run_command("export", str(run), *options, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    command = f"python -m http.server --bind 127.0.0.1 --directory '{out / 'web'}'; its page"
    assert command in done.stdout


def test_a_damaged_run(driver, run: Path):
    assert driver.run("export", str(run), "--to", "onnx")[0] == 0
    earlier = (run / "export" / "onnx" / "model.onnx").read_bytes()
    state = run / "last" / checkpoint.STATE
    content = bytearray(state.read_bytes())
    content[-1] ^= 1
    state.write_bytes(content)
    status, _, errors = driver.run("export", str(run), "--to", "onnx")
    assert status == 2
    assert "SHA-256 does not match" in errors
    assert (run / "export" / "onnx" / "model.onnx").read_bytes() == earlier


def test_no_run(driver, tmp_path: Path):
    status, _, errors = driver.run("export", str(tmp_path), "--to", "onnx")
    assert status == 2
    assert "name a run folder" in errors


def test_a_run_that_does_not_record_its_data(driver, tmp_path: Path):
    run = exporting.save_run(tmp_path / "run", NETWORK, data=None)
    status, _, errors = driver.run("export", str(run), "--to", "onnx")
    assert status == 2
    assert "--data" in errors
    assert driver.run("export", str(run), "--to", "onnx", "--data", "digits")[0] == 0


def test_data_of_another_shape(driver, run: Path, tmp_path: Path):
    np.savez(
        tmp_path / "other.npz",
        x_train=np.zeros((20, 9, 9), np.uint8),
        y_train=np.arange(20) % 2,
        x_test=np.zeros((20, 9, 9), np.uint8),
        y_test=np.arange(20) % 2,
    )
    status, _, errors = driver.run(
        "export", str(run), "--to", "onnx", "--data", str(tmp_path / "other.npz")
    )
    assert status == 2
    assert "(28, 28, 1)" in errors


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX has this limit")
def test_a_disk_that_is_full(run: Path, tmp_path: Path):
    """No file may be larger than 100 kB: the model is, and so are the files for the process."""
    command = f"ulimit -f 100; exec {sys.executable} -m triptych export {run} --to onnx"
    ended = subprocess.run(
        ["bash", "-c", command],
        cwd=tmp_path,
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert ended.returncode == 2, ended.stderr
    assert "File too large" in ended.stderr
    assert len(ended.stderr.strip().splitlines()) == 1
    assert [path.name for path in (run / "export").iterdir()] == [".onnx.lock"]


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere"
)
def test_a_read_only_folder(driver, run: Path):
    run.chmod(0o500)
    try:
        status, _, errors = driver.run("export", str(run), "--to", "onnx")
    finally:
        run.chmod(0o700)
    assert status == 2
    assert "Permission denied" in errors


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")
def test_ctrl_c_while_a_model_is_written(run: Path, tmp_path: Path):
    process = start("export", str(run), "--to", "onnx", cwd=tmp_path)
    wait_until(lambda: list((run / "export").glob(".onnx.new-*")))
    children = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "Traceback" not in errors
    assert psutil.wait_procs(children, timeout=10)[1] == []
    assert [path.name for path in (run / "export").iterdir()] == [".onnx.lock"]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")
def test_killed_at_any_moment(run: Path, tmp_path: Path, scale: int):
    """The earlier export or the new one is complete, and the next one cleans up."""
    other = exporting.save_run(tmp_path / "other", NETWORK, seed=1)
    out = tmp_path / "out"
    runs = [str(run), str(other)]
    options = ("--to", "onnx", "--out", str(out))
    models: dict[bytes, str] = {}
    seconds = 0.0
    for each in runs:
        began = time.monotonic()
        ended = run_command("export", each, *options, cwd=tmp_path)
        assert ended.returncode == 0, ended.stderr
        seconds = time.monotonic() - began
        models[(out / "onnx" / "model.onnx").read_bytes()] = each
    assert len(models) == 2
    drawn = np.random.default_rng(0)
    for number in range(20 * scale):
        process = start("export", runs[number % 2], *options, cwd=tmp_path)
        time.sleep(seconds * drawn.uniform(0.2, 1))
        children: list[psutil.Process] = []
        if process.poll() is None:
            children = psutil.Process(process.pid).children(recursive=True)
        process.kill()
        process.communicate()
        assert psutil.wait_procs(children, timeout=20)[1] == [], "a process was left behind"
        folder = out / "onnx"
        if not folder.exists():  # killed between the two renames
            (folder,) = out.glob(".onnx.old-*")
        description = json.loads((folder / "export.json").read_text())
        assert (folder / "model.onnx").read_bytes() in models
        assert description["verdict"] == "rounding"
    assert run_command("export", runs[0], *options, cwd=tmp_path).returncode == 0
    assert {path.name for path in out.iterdir()} == {"onnx", ".onnx.lock"}
    assert models[(out / "onnx" / "model.onnx").read_bytes()] == runs[0]
