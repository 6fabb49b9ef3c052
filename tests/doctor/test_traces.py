"""Traces: the recorder of the documentation, round trips, and damaged files."""

import json
import random
import re
from pathlib import Path

import numpy as np
import pytest
from support import damage

from triptych import diagnose
from triptych.doctor.frameworks.adapter import ModelError, Unsupported
from triptych.doctor.trace import RecordedSide, Recording, is_trace, read_trace, write_trace
from triptych.errors import TriptychError

PAGE = Path(__file__).parents[2] / "docs/traces.md"


def recorder():
    """Return the names that the recorder of the documentation defines."""
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    names = {}
    exec(code, names)
    return names


@pytest.fixture
def trace(tmp_path):
    """A trace that the documented recorder has written, and its layers."""
    rng = np.random.default_rng(0)
    layers = {
        "first": (rng.standard_normal((5, 4)), rng.standard_normal(4)),
        "second": (rng.standard_normal((4, 3)), rng.standard_normal(3)),
    }
    folder = tmp_path / "chain.trace"
    recorder()["record"](str(folder), rng.standard_normal((7, 5)), layers)
    return folder, layers


def test_the_documented_recorder_writes_a_trace(trace):
    folder, layers = trace
    side = read_trace(folder)
    weights = side.weights()
    assert np.array_equal(weights["second/kernel"], layers["second"][0])
    inputs = side.inputs({})
    observation = side.observe(inputs, training=False)
    assert [call.layer for call in observation.anchors] == ["first", "second"]
    hidden = np.maximum(inputs["input"] @ layers["first"][0] + layers["first"][1], 0)
    expected = hidden @ layers["second"][0] + layers["second"][1]
    assert np.array_equal(observation.arrays["output"], expected)


def test_a_trace_answers_what_was_asked_then_and_nothing_else(trace):
    folder, _ = trace
    side = read_trace(folder)
    with pytest.raises(Unsupported, match="cannot be run again"):
        side.observe(side.inputs({}), training=False, forced={"0/input": np.zeros((7, 5))})
    with pytest.raises(Unsupported, match="other inputs"):
        side.observe({"input": np.zeros((7, 5))}, training=False)
    with pytest.raises(Unsupported, match="no gradients"):
        side.observe(side.inputs({}), training=True, targets={"y": np.zeros(7)})
    with pytest.raises(ModelError, match="another batch: x differs"):
        side.inputs({"x": np.zeros((7, 5))})
    with pytest.raises(ModelError, match="not recorded in float64"):
        side.description("float64")


def test_a_recorded_metric_is_that_of_the_recorded_targets():
    outputs = {"output": np.eye(3)}
    arrays = {"evaluation/output": outputs["output"]}
    batch = {"x": np.zeros((3, 1)), "y": np.array([0, 1, 2])}
    side = RecordedSide(Path("a"), {"native": Recording({"metric": 1.0}, arrays)}, batch)
    assert side.metric(outputs, {"y": batch["y"]}) == 1.0
    with pytest.raises(Unsupported, match="other targets"):
        side.metric(outputs, {"y": batch["y"][::-1]})


def test_a_trace_is_read_as_it_was_written(trace, tmp_path):
    folder, _ = trace
    side = read_trace(folder)
    text = json.loads((folder / "trace.json").read_text())
    observation = side.observe(side.inputs({}), training=False)
    arrays = {f"evaluation/{name}": array for name, array in observation.arrays.items()}
    copy = tmp_path / "copy.trace"
    write_trace(copy, {"native": Recording(text["native"], arrays)}, side.batch)
    assert is_trace(copy)
    again = read_trace(copy)
    assert again.description() == side.description()
    for name, array in arrays.items():
        part = name.removeprefix("evaluation/")
        assert np.array_equal(again.observe({}, training=False).arrays[part], array)


def test_something_else_is_not_replaced(trace, tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    (folder / "one.png").write_bytes(b"picture")
    with pytest.raises(TriptychError, match="something else than a trace"):
        write_trace(folder, {}, {})
    assert [path.name for path in folder.iterdir()] == ["one.png"]


def test_arrays_of_another_trace_are_refused(trace, tmp_path):
    folder, _ = trace
    side = read_trace(folder)
    text = json.loads((folder / "trace.json").read_text())
    write_trace(folder, {"native": Recording(text["native"], {})}, side.batch)
    content = (folder / "arrays.safetensors").read_bytes()
    (folder / "arrays.safetensors").write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(TriptychError, match="does not belong to"):
        read_trace(folder)


def refusal(folder):
    """Read everything that a trace has; return the error of a user's mistake, or nothing."""
    message = ""
    try:
        side = read_trace(folder)
        side.description()
        side.observe(side.inputs({}), training=False)
    except TriptychError as error:
        message = str(error)
    assert "\n" not in message
    assert len(message) <= 300
    return message


@pytest.mark.parametrize("name", ["trace.json", "arrays.safetensors"])
@pytest.mark.parametrize("spoil", [damage.flipped, damage.cut])
def test_a_damaged_trace_is_refused_in_one_line_or_read(trace, name, spoil, scale):
    folder, _ = trace
    path = folder / name
    whole = path.read_bytes()
    rng = random.Random(0)
    for _ in range(100 * scale):
        path.write_bytes(spoil(whole, rng))
        refusal(folder)


def test_a_forged_description_is_refused_in_one_line_or_read(trace, scale):
    folder, _ = trace
    path = folder / "trace.json"
    whole = path.read_text()
    rng = random.Random(0)
    refused = 0
    for _ in range(200 * scale):
        values = json.loads(whole)
        damage.changed(values, rng)
        path.write_text(json.dumps(values))
        refused += bool(refusal(folder))
    assert refused > 50 * scale


@pytest.mark.process
@pytest.mark.framework
def test_another_side_is_compared_with_a_trace(trace, tmp_path):
    folder, _ = trace
    source = """
import torch


class Chain(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.one = torch.nn.Linear(5, 4).double()
        self.two = torch.nn.Linear(4, 3).double()

    def forward(self, x):
        return self.two(ACTIVATION(self.one(x)))


def build():
    return Chain()
"""
    for function, verdict in (("torch.relu", "equal"), ("torch.tanh", "differ")):
        file = tmp_path / f"{verdict}.py"
        file.write_text(source.replace("ACTIVATION", function))
        diagnosis = diagnose(folder, file)
        assert diagnosis.verdict in (verdict, "rounding" if verdict == "equal" else "undecided")
        assert [finding.stage for finding in diagnosis.findings] == (
            [] if verdict == "equal" else ["forward"]
        )
