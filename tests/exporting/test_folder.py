"""The folder of an export: complete, or as it was before."""

import errno
import json
import os
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from support import exporting

from triptych.errors import EngineError, TriptychError
from triptych.exporting import export as module
from triptych.exporting import process, targets
from triptych.exporting.export import DESCRIPTION, ExportResult, export_model, read_description
from triptych.exporting.model import TrainedModel
from triptych.exporting.onnx import OnnxExporter
from triptych.exporting.targets import Target, target
from triptych.exporting.verification import Reference
from triptych.spec import zoo

NETWORK = zoo.dense("tiny", [4])
TEST = exporting.samples_of(NETWORK)
NAME = "onnx"

pytestmark = pytest.mark.skipif(
    bool(target(NAME).missing), reason="onnx and onnxruntime are not both installed"
)


@pytest.fixture
def written_here(monkeypatch: pytest.MonkeyPatch, in_this_process: None) -> None:
    """Write exports in this process, too."""

    def write(chosen: Target, folder: Path, model: TrainedModel) -> None:
        chosen.make_exporter().write(model, folder)

    monkeypatch.setattr(module, "write_exported", write)


def export(folder: Path, seed: int = 0, **options: Any) -> ExportResult:
    """Export a network with random weights for ONNX into a folder."""
    model = exporting.model_of(NETWORK, exporting.random_state(NETWORK, seed))
    reference = Reference.of(model, TEST)
    return export_model(target(NAME), folder, model, reference, TEST, **options)


def content(folder: Path) -> dict[str, bytes]:
    """Return the bytes of all files under a folder; a lock, which stays, is not one."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.suffix != ".lock")
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


# --- What is written -----------------------------------------------------------------------------


@pytest.mark.process
def test_what_export_json_holds(tmp_path: Path):
    stages: list[tuple[str, int, int]] = []
    result = export(tmp_path / NAME, on_stage=lambda *stage: stages.append(stage))
    description = json.loads((tmp_path / NAME / DESCRIPTION).read_text())
    model = tmp_path / NAME / "model.onnx"
    assert result.file == model
    assert description == read_description(tmp_path / NAME)
    assert description["target"] == NAME
    assert description["runtime"].startswith("ONNX Runtime 1.")
    assert description["verdict"] == result.verdict == "rounding"
    assert 0 < description["largest"] <= description["bound"] < 1e-4
    assert description["differing"] == 0
    assert description["samples"] == len(TEST)
    assert description["batch_sizes"] == [1, 256]
    assert description["first_layer"] is None
    assert description["low"] <= description["accuracy"] <= description["high"]
    assert description["accuracy"] == description["reference_accuracy"]
    assert description["seconds"] > 0
    assert description["file"] == "model.onnx"
    assert description["size"] == result.size == model.stat().st_size
    assert description["sha256"] == {"model.onnx": sha256(model.read_bytes()).hexdigest()}
    assert description["input"] == {"name": "images", "shape": ["batch", 28, 28, 1]}
    assert description["output"] == {
        "name": "logits",
        "classes": [str(number) for number in range(10)],
    }
    assert description["network"] == "tiny"
    assert description["engine"] == "numpy"
    assert set(content(tmp_path)) == {"onnx/model.onnx", "onnx/export.json"}
    assert stages[0] == ("writing", 0, 0)
    assert {stage for stage, _, _ in stages} <= {"writing", "verifying"}


@pytest.mark.usefixtures("written_here")
def test_a_later_export_takes_the_place_of_an_earlier_one(tmp_path: Path):
    export(tmp_path / NAME)
    before = content(tmp_path)
    export(tmp_path / NAME, seed=1)
    after = content(tmp_path)
    assert after.keys() == before.keys()
    assert after["onnx/model.onnx"] != before["onnx/model.onnx"]


def test_an_export_that_cannot_be_read_is_none(tmp_path: Path):
    assert read_description(tmp_path) is None
    (tmp_path / DESCRIPTION).write_text("[1")
    assert read_description(tmp_path) is None
    (tmp_path / DESCRIPTION).write_text("[1]")
    assert read_description(tmp_path) is None


# --- What is refused -----------------------------------------------------------------------------


def a_file(path: Path) -> None:
    path.write_text("mine")


def a_link(path: Path) -> None:
    other = path.with_name("other")
    other.mkdir()
    path.symlink_to(other)


def a_broken_link(path: Path) -> None:
    path.symlink_to(path.with_name("nothing"))


def a_folder_of_the_user(path: Path) -> None:
    path.mkdir()
    (path / "thesis.txt").write_text("mine")


@pytest.mark.usefixtures("written_here")
@pytest.mark.parametrize(
    ("occupy", "message"),
    [
        (a_file, "not a folder"),
        (a_link, "a link, where a folder is needed"),
        (a_broken_link, "a link, where a folder is needed"),
        (a_folder_of_the_user, "holds files that no export wrote"),
    ],
)
def test_what_no_export_wrote_is_not_replaced(
    occupy: Callable[[Path], None], message: str, tmp_path: Path
):
    occupy(tmp_path / NAME)
    before = content(tmp_path)
    with pytest.raises(TriptychError, match=message) as error:
        export(tmp_path / NAME)
    assert "give another --out" in str(error.value)
    assert content(tmp_path) == before


@pytest.mark.usefixtures("written_here")
def test_an_empty_folder_is_used(tmp_path: Path):
    (tmp_path / NAME).mkdir()
    assert export(tmp_path / NAME).verdict == "rounding"


@pytest.mark.usefixtures("written_here")
def test_a_parent_that_is_a_file(tmp_path: Path):
    (tmp_path / "out").write_text("mine")
    with pytest.raises(TriptychError, match="cannot be written"):
        export(tmp_path / "out" / NAME)
    assert content(tmp_path) == {"out": b"mine"}


def test_a_missing_package_is_named_with_its_remedy(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(targets, "find_spec", lambda module: None)
    with pytest.raises(EngineError, match=r"ONNX needs onnx, onnxruntime.*pip install") as error:
        export(tmp_path / NAME)
    assert "'triptych[export]'" in str(error.value)
    assert list(tmp_path.iterdir()) == []


def test_logits_that_are_not_finite():
    state = exporting.random_state(NETWORK)
    state["hidden/bias"][0] = float("nan")
    with pytest.raises(TriptychError, match="no finite logits"):
        Reference.of(exporting.model_of(NETWORK, state), TEST)


def test_the_engine_of_a_run_need_not_be_installed():
    """The bound then contains the reference engine's float32 error."""
    of_another = Reference.of(exporting.model_of(NETWORK, engine="somebody-elses"), TEST)
    assert of_another.bound == Reference.of(exporting.model_of(NETWORK), TEST).bound


# --- What fails ----------------------------------------------------------------------------------


def full(*_: Any, **__: Any) -> Any:
    raise OSError(errno.ENOSPC, "No space left on device")


def forbidden(*_: Any, **__: Any) -> Any:
    raise PermissionError(errno.EACCES, "Permission denied")


def converter_fails(*_: Any) -> None:
    raise ValueError("the converter is confused")


@pytest.mark.usefixtures("written_here")
@pytest.mark.parametrize(
    ("where", "failure", "message"),
    [
        ((os, "fsync"), full, "No space left on device"),
        ((Path, "write_text"), full, "No space left on device"),
        ((Path, "mkdir"), forbidden, "Permission denied"),
    ],
)
def test_an_error_of_the_disk_leaves_the_earlier_export(
    where: tuple[Any, str], failure: Any, message: str, tmp_path: Path, monkeypatch
):
    export(tmp_path / NAME)
    before = content(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(*where, failure)
        with pytest.raises(TriptychError, match=message) as error:
            export(tmp_path / NAME, seed=1)
    assert str(tmp_path / NAME) in str(error.value)
    assert content(tmp_path) == before


@pytest.mark.usefixtures("written_here")
def test_a_folder_that_cannot_be_put_in_place(tmp_path: Path, monkeypatch):
    """The second of the two renames fails: the first one is undone."""
    export(tmp_path / NAME)
    before = content(tmp_path)
    rename = os.rename

    def fail_for_new(source: Any, destination: Any) -> None:
        if ".new-" in str(source):
            full()
        rename(source, destination)

    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", fail_for_new)
        with pytest.raises(TriptychError, match="No space left"):
            export(tmp_path / NAME, seed=1)
    assert content(tmp_path) == before


@pytest.mark.usefixtures("in_this_process")
@pytest.mark.process
@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("raise ValueError('the converter is confused')", "ValueError: the converter is confused"),
        ("import os; print('last words', flush=True); os.abort()", "status -6: last words"),
        ("import os; os._exit(0)", "status 0: the process printed nothing"),
    ],
)
def test_a_process_that_fails_leaves_the_earlier_export(
    code: str, message: str, tmp_path: Path, monkeypatch
):
    """The message of a converter, or what it printed at last, is in the error."""
    (tmp_path / "broken_exporter.py").write_text(
        f"class Broken:\n    def write(self, model, folder):\n        {code}\n"
    )
    earlier = tmp_path / "export" / NAME
    earlier.mkdir(parents=True)
    (earlier / DESCRIPTION).write_text("{}")
    start = process.subprocess.Popen

    def start_with_broken_target(command: list[str], **options: Any) -> Any:
        script = (
            "from dataclasses import replace; from triptych.exporting import runner, targets; "
            "old = targets.TARGETS['onnx']; "
            "targets.TARGETS['onnx'] = replace(old, exporter='broken_exporter:Broken'); "
            "runner.main()"
        )
        paths = os.pathsep.join((str(tmp_path), options["env"].get("PYTHONPATH", "")))
        options["env"] = options["env"] | {"PYTHONPATH": paths}
        return start([command[0], "-P", "-c", script], **options)

    monkeypatch.setattr(process.subprocess, "Popen", start_with_broken_target)
    with pytest.raises(TriptychError, match=message) as error:
        export(earlier)
    assert str(error.value).startswith("ONNX could not be written")
    assert content(tmp_path / "export") == {"onnx/export.json": b"{}"}


@contextmanager
def written_wrong() -> Generator[None]:
    """Write networks whose weights have the wrong sign."""
    write = OnnxExporter.write

    def write_wrong(self: OnnxExporter, model: TrainedModel, folder: Path) -> None:
        wrong = {name: -array for name, array in model.state.items()}
        write(self, replace(model, state=wrong), folder)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(OnnxExporter, "write", write_wrong)
        yield


@pytest.mark.usefixtures("written_here")
def test_an_export_that_is_wrong_is_written_and_says_so(tmp_path: Path):
    """It is there to be looked at; its verdict is what counts."""
    with written_wrong():
        result = export(tmp_path / NAME)
    description = read_description(tmp_path / NAME)
    assert description
    assert description["verdict"] == result.verdict == "formula"
    assert description["first_layer"] == "hidden"
    assert description["differing"] > 0
    assert result.earlier is None


@pytest.mark.usefixtures("written_here")
def test_a_wrong_export_does_not_replace_a_right_one(tmp_path: Path):
    export(tmp_path / NAME)
    right = content(tmp_path)
    for seed in (1, 2):  # the second one replaces the first one
        with written_wrong():
            result = export(tmp_path / NAME, seed)
        assert result.verdict == "formula"
        assert result.earlier == tmp_path / NAME
        assert result.folder == tmp_path / "onnx-faulty"
        now = content(tmp_path)
        wrong = {name: now.pop(name) for name in list(now) if name.startswith("onnx-faulty/")}
        assert now == right
        assert json.loads(wrong["onnx-faulty/export.json"])["verdict"] == "formula"
        assert wrong["onnx-faulty/model.onnx"] == result.file.read_bytes()
    result = export(tmp_path / NAME, 3)
    assert result.earlier is None
    assert result.folder == tmp_path / NAME
    assert content(tmp_path / NAME)["model.onnx"] != right["onnx/model.onnx"]


@pytest.mark.usefixtures("written_here")
def test_a_right_export_replaces_a_wrong_one(tmp_path: Path):
    with written_wrong():
        export(tmp_path / NAME)
        assert export(tmp_path / NAME, 1).earlier is None  # nothing right is lost
    assert export(tmp_path / NAME).verdict == "rounding"
    assert set(content(tmp_path)) == {"onnx/model.onnx", "onnx/export.json"}


@pytest.mark.usefixtures("written_here")
def test_a_wrong_export_does_not_replace_files_of_the_user(tmp_path: Path):
    export(tmp_path / NAME)
    a_folder_of_the_user(tmp_path / "onnx-faulty")
    before = content(tmp_path)
    with written_wrong(), pytest.raises(TriptychError, match=r"onnx-faulty: holds files"):
        export(tmp_path / NAME)
    assert content(tmp_path) == before


# --- Killed, or several at once ------------------------------------------------------------------


@pytest.mark.usefixtures("written_here")
def test_what_a_killed_export_left_is_cleaned_up(tmp_path: Path):
    export(tmp_path / NAME)
    before = content(tmp_path)
    left = tmp_path / ".onnx.new-0123abcd" / NAME
    left.mkdir(parents=True)
    (left / "model.onnx").write_text("half")
    mine = tmp_path / ".litert.new-0123abcd"  # of another target, which may be exported right now
    mine.mkdir()
    # Killed between the two renames: the earlier export has a temporary name.
    os.rename(tmp_path / NAME, tmp_path / ".onnx.old-0123abcd")
    module.clean_up(tmp_path / NAME)
    assert content(tmp_path) == before
    assert {path.name for path in tmp_path.iterdir()} - {".onnx.lock"} == {NAME, mine.name}


@pytest.mark.usefixtures("written_here")
def test_two_exports_into_one_folder(tmp_path: Path, monkeypatch):
    """The second one is refused, and the first one is finished."""
    write = module.write_exported
    refusals: list[str] = []

    def export_again() -> None:
        with pytest.raises(TriptychError, match="another process is exporting") as error:
            export(tmp_path / NAME, seed=1)
        refusals.append(str(error.value))

    def write_while_another_exports(*arguments: Any) -> None:
        write(*arguments)
        other = threading.Thread(target=export_again)
        other.start()
        other.join()

    monkeypatch.setattr(module, "write_exported", write_while_another_exports)
    assert export(tmp_path / NAME).verdict == "rounding"
    assert len(refusals) == 1
    assert set(content(tmp_path)) == {"onnx/model.onnx", "onnx/export.json"}
