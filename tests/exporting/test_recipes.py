"""The recipes of docs/export.md: each block of Python runs, with a run folder as it says."""

import re
from pathlib import Path

import pytest
from support import exporting
from support.commands import ROOT, run, run_python

from triptych.exporting.targets import target
from triptych.spec import zoo

PAGE = (ROOT / "docs" / "export.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
FAST = "onnx"


def target_of(block: str) -> str:
    """Return the target whose folder a block names."""
    (name,) = set(re.findall(r"runs/digits/export/([a-z0-9-]+)/", block))
    return name


def test_every_target_has_a_section():
    for name in ("onnx", "torch-export", "torchscript", "saved-model", "litert"):
        assert name in {target_of(block) for block in BLOCKS}
    for name in ("litert-int8", "web", "triton"):
        assert f"--to {name}" in PAGE


@pytest.mark.process
@pytest.mark.parametrize(
    "block",
    [
        pytest.param(
            block,
            id=target_of(block),
            marks=[] if target_of(block) == FAST else [pytest.mark.slow, pytest.mark.framework],
        )
        for block in BLOCKS
    ],
)
def test_a_recipe(block: str, tmp_path: Path):
    name = target_of(block)
    if target(name).missing:
        pytest.skip(f"needs {', '.join(target(name).missing)}")
    exporting.save_run(tmp_path / "runs" / "digits", zoo.get("custom"))
    exported = run("export", "runs/digits", "--to", name, cwd=tmp_path)
    assert exported.returncode == 0, exported.stderr
    ended = run_python("-W", "error", "-c", block, cwd=tmp_path)
    assert ended.returncode == 0, ended.stderr
    assert len(re.findall(r"\d", ended.stdout)) >= 2  # a class for each of the two images
