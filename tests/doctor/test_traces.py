"""Traces: the recorder of the documentation, round trips, and damaged files."""

import json
import random
import re
import tracemalloc
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from safetensors.numpy import load_file, save_file
from support import damage

from triptych import diagnose
from triptych.cli.doctor_view import show
from triptych.doctor.diagnosis import diagnose as diagnose_sides
from triptych.doctor.frameworks.adapter import ModelError, Unsupported
from triptych.doctor.recorded import RecordedOther
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


@pytest.mark.parametrize(("limit", "value"), [("LARGEST", 200), ("MOST_ARRAYS", 1)])
def test_a_trace_that_could_not_be_read_is_not_written(tmp_path, monkeypatch, limit, value):
    monkeypatch.setattr(f"triptych.doctor.trace.{limit}", value)
    folder = tmp_path / "large.trace"
    arrays = {"weights/a": np.zeros(10), "weights/b": np.zeros(20)}
    with pytest.raises(TriptychError, match="would have 2 arrays of 240 bytes, where at most"):
        write_trace(folder, {"native": Recording({}, arrays)}, {})
    assert not folder.exists()


def test_a_trace_with_more_batches_than_are_read_is_not_written(tmp_path):
    folder = tmp_path / "long.trace"
    with pytest.raises(TriptychError, match="would have 10,001 batches, where at most 10,000 are"):
        write_trace(folder, {"native": Recording({"batches": 10_001}, {})}, {})
    assert not folder.exists()


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


def rewritten(folder, change):
    """Change the values of a trace; return the error with which it is refused, or nothing."""
    values = json.loads((folder / "trace.json").read_text())
    change(values["native"])
    (folder / "trace.json").write_text(json.dumps(values))
    return refusal(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda values: values.update(batches=10**12), "batches is '1000000000000'"),
        (lambda values: values.update(batches=10**7), "over the limit of 10,000"),
        (lambda values: values.update(batches=-1), "batches is '-1'"),
        (lambda values: values.update(batches=True), "batches is 'True'"),
        (lambda values: values.update(update_rates=[0.1] * 1001), "more than 1,000 updates"),
        (lambda values: values.update(rates=["a"]), "rates is 'a'"),
        (lambda values: values.update(losses={"0": 1.0}), "losses is"),
        (lambda values: values["evaluation"][0].update(inputs=10**6), "over the limit of 1,000"),
        (lambda values: values["evaluation"][1].update(number=0), "position 1 has another number"),
        (lambda values: values["evaluation"][1].update(number=10**400), "number is '1000"),
        (lambda values: values["description"]["layers"][0].update(roles=[[]]), "roles is"),
        (lambda values: values.pop("evaluation"), "evaluation is missing"),
        (lambda values: values["training"].extend(values["training"] * 5_000), "calls, over the"),
    ],
)
def test_values_that_make_no_sense_are_refused(trace, change, message):
    folder, _ = trace
    refused = rewritten(folder, change)
    assert refused.startswith(f"{folder / 'trace.json'}: ")
    assert message in refused


def test_numbers_that_are_not_finite_are_null(trace):
    """JSON has no other word for them."""
    folder, _ = trace
    values = {"rates": [0.5, None], "metric": None, "losses": [1]}
    assert rewritten(folder, lambda native: native.update(values)) == ""
    side = read_trace(folder)
    assert side.rates(2) == [0.5, pytest.approx(np.nan, nan_ok=True)]
    assert np.isnan(side.recordings["native"].values["metric"])


def test_names_and_settings_cannot_change_what_is_printed(trace):
    folder, _ = trace
    name = "[/nope]\x1b[2J\nEqual: all is well\u202e"

    def forged(values):
        values["description"] |= {"model": name, "version": name}
        values["description"]["layers"][0] |= {"type": name, "settings": {"rate": name}}

    whole = read_trace(folder)
    assert rewritten(folder, forged) == ""
    diagnosis = diagnose_sides(whole, RecordedOther(read_trace(folder)), whole.batch)
    console = Console(file=StringIO(), width=500)
    show(console, diagnosis, "a.trace", "b.trace")
    shown = console.file.getvalue()
    escaped = r"[/nope]\x1b[2J Equal: all is well\u202e"
    assert f"B: b.trace  {escaped}, {escaped}\n" in shown
    assert all(line.isprintable() for line in shown.splitlines())
    assert "first [/nope]" in shown.partition("gradient that A has")[2]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[" * 1000 + "]" * 1000, "trace.json"),
        ("[" * 100_000, "trace.json"),
        ('{"schema": 1, "schema": 1}', "holds 'schema' twice"),
        ("[" + "[]," * 1_000_001 + "0]", "items, over the limit of 1,000,000"),
        (" " * (16 * 2**20 + 1), "more than 16,777,216 bytes"),
        ("[]", "not an object"),
        ("\xff", "trace.json"),
        ('{"schema": ' + "9" * 5000 + "}", "trace.json"),
    ],
)
def test_text_that_would_take_much_memory_is_refused(trace, text, message):
    folder, _ = trace
    (folder / "trace.json").write_text(text, encoding="latin-1")
    tracemalloc.start()
    refused = refusal(folder)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert message in refused
    assert peak < 100 * 2**20


def test_the_batch_of_a_trace_must_be_one(trace):
    folder, _ = trace
    arrays = load_file(folder / "arrays.safetensors")
    for x, message in ((np.full((7, 5), np.nan), "x has NaN"), (np.zeros((0, 5)), "no samples")):
        save_file(arrays | {"batch/x": x}, folder / "arrays.safetensors")
        assert message in refusal(folder)
        assert refusal(folder).startswith(f"{folder / 'arrays.safetensors'}: batch")


def test_a_loss_with_an_axis_is_a_number(trace):
    folder, _ = trace
    arrays = load_file(folder / "arrays.safetensors")
    save_file(arrays | {"training/loss": np.ones(1)}, folder / "arrays.safetensors")
    loss = read_trace(folder).observe({}, training=True, targets={"y": np.zeros(7)}).arrays["loss"]
    assert loss.shape == ()
    save_file(arrays | {"training/loss": np.ones(2)}, folder / "arrays.safetensors")
    assert "arrays of a trace" in refusal(folder)


def test_links_and_pipes_in_a_trace_are_not_followed_to_devices(trace):
    folder, _ = trace
    path = folder / "arrays.safetensors"
    path.unlink()
    path.symlink_to("/dev/zero")
    assert "not a regular file" in refusal(folder)


def test_an_error_that_a_forged_trace_raises_names_it(trace, monkeypatch):
    folder, _ = trace

    def broken(examination, mapping=None):
        raise KeyError("1/input")

    monkeypatch.setattr("triptych.doctor.diagnosis.aligned", broken)
    side = read_trace(folder)
    with pytest.raises(ModelError, match=f"^{folder}: damaged, or an error"):
        diagnose_sides(side, RecordedOther(side), side.batch)


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
