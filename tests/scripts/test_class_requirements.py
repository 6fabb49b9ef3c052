"""The lists for a class room: complete, without markers, and as requirements.txt has them."""

import importlib.util
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from support.commands import ROOT

spec = importlib.util.spec_from_file_location(
    "class_requirements", ROOT / "tools" / "class_requirements.py"
)
assert spec
assert spec.loader
tool = importlib.util.module_from_spec(spec)
spec.loader.exec_module(tool)


@pytest.mark.parametrize("system", tool.SYSTEMS)
def test_the_committed_lists_are_those_of_requirements_txt(system: str):
    committed = (ROOT / "docs" / "in-class" / f"{system}.txt").read_text(encoding="utf-8")
    assert committed == tool.without_markers((ROOT / "requirements.txt").read_text(), system)
    requirements = [
        Requirement(line) for line in committed.splitlines() if not line.startswith("#")
    ]
    assert all(r.marker is None for r in requirements)
    names = {r.name for r in requirements}
    assert {"numpy", "torch", "keras", "matplotlib", "wheel", "setuptools"} <= names
    assert ("tensorflow-cpu" in names, "tensorflow" in names) == (
        system != "macos",
        system == "macos",
    )
    assert ("colorama" in names) == (system == "windows")


def wheel(folder: Path, name: str, version: str, *requires: str) -> None:
    metadata = "".join(f"Requires-Dist: {line}\n" for line in requires)
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as archive:
        archive.writestr(
            f"{name}-{version}.dist-info/METADATA", f"Name: {name}\nVersion: {version}\n{metadata}"
        )


def test_the_check_finds_what_a_wheel_needs_on_its_system_alone(tmp_path, monkeypatch, capsys):
    (tmp_path / "windows.txt").write_text("# for windows\na==1.0\n")
    (tmp_path / "linux.txt").write_text("# for linux\na==1.0\nb==2.0\n")
    monkeypatch.setattr(tool, "LISTS", tmp_path)
    windows = 'colorama; platform_system == "Windows"'
    wheel(tmp_path, "a", "1.0", windows, 'c; extra == "test"', 'd; python_version < "3.12"', "b>=2")
    wheel(tmp_path, "b", "1.5")
    assert tool.main(["windows", str(tmp_path)]) == 1
    assert capsys.readouterr().out.splitlines() == [
        "a-1.0-py3-none-any.whl needs colorama, and no wheel has it",
        "a-1.0-py3-none-any.whl needs b>=2, and the wheel is 1.5",
    ]
    assert tool.main(["linux", str(tmp_path), "--python", "3.11"]) == 1
    assert capsys.readouterr().out.splitlines() == [
        "linux.txt needs b==2.0, and the wheel is 1.5",
        "a-1.0-py3-none-any.whl needs d, and no wheel has it",
        "a-1.0-py3-none-any.whl needs b>=2, and the wheel is 1.5",
    ]
    wheel(tmp_path, "b", "2.0")
    (tmp_path / "b-1.5-py3-none-any.whl").unlink()
    assert tool.main(["linux", str(tmp_path)]) == 0
    assert capsys.readouterr().out == f"{tmp_path}: every requirement is met\n"


def test_a_folder_that_is_not_there_is_a_wrong_command_line(tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        tool.main(["linux", str(tmp_path / "nope")])
    assert ended.value.code == 2
    assert "give the folder with the wheels" in capsys.readouterr().err
