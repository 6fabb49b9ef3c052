"""Two traces against each other: neither side can be run again."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from support.fake_side import FakeSide, activation, dense, layer_norm

from triptych.doctor.diagnosis import diagnose
from triptych.doctor.frameworks.adapter import ModelError, Unsupported
from triptych.doctor.recorded import RecordedOther
from triptych.doctor.trace import RecordedSide, record

X = np.random.default_rng(3).normal(size=(7, 5))
Y = np.random.default_rng(4).integers(0, 3, 7)
BATCH = {"x": X, "y": Y}
CHAIN = (
    dense("first", 5, 6, 1),
    layer_norm("norm", 6, 1e-3),
    activation("leaky_relu", slope=0.2),
    dense("second", 6, 4, 2),
    activation("tanh"),
    dense("third", 4, 3, 3),
)


def trace(name, steps, batch=None, **options):
    """Return a side that was recorded."""
    batch = BATCH if batch is None else batch
    side = FakeSide(name, "numpy", list(steps), **options)
    return RecordedSide(Path(name), record(side, batch), batch)


def compared(a_steps, b_steps, **b_options):
    b = RecordedOther(trace("B", b_steps, **b_options))
    return diagnose(trace("A", a_steps), b, BATCH)


def with_step(number, step):
    return (*CHAIN[:number], step, *CHAIN[number + 1 :])


def test_two_traces_of_the_same_are_equal():
    diagnosis = compared(CHAIN, CHAIN)
    assert diagnosis.verdict == "equal"
    assert not [row.note for row in diagnosis.stages if row.note]


def test_the_first_faulty_layer_is_named_and_its_consequences_are_not():
    wrong = layer_norm("norm", 6, 0.5)
    diagnosis = compared(CHAIN, with_step(1, wrong))
    (finding,) = diagnosis.findings
    assert (finding.stage, finding.cause) == ("forward", "D23")
    assert finding.layer == {"a": "norm", "b": "norm"}
    assert finding.values == {"a": 1e-3, "b": 0.5}
    assert not finding.proved
    assert "both sides are recorded" in finding.evidence
    assert diagnosis.verdict == "differ"
    (note,) = [row.note for row in diagnosis.stages if row.note.startswith("forward")]
    assert note.startswith("forward: not second, third, the model's outputs: after the first")


def test_a_difference_between_two_layers_is_found_where_the_next_one_shows_it():
    diagnosis = compared(CHAIN, with_step(2, activation("leaky_relu", slope=0.01)))
    (finding,) = diagnosis.findings
    assert (finding.stage, finding.cause) == ("forward", "D26")


def test_an_unknown_difference_is_undecided():
    strange = replace(CHAIN[4], kind="function", settings={"factor": 3.0}, name="strange")
    diagnosis = compared(CHAIN, with_step(4, strange))
    assert diagnosis.findings[0].stage == "forward"
    assert diagnosis.findings[0].layer["a"] in ("tanh", "third")
    assert not diagnosis.findings[0].proved


def test_other_weights_leave_the_outputs_undecided():
    diagnosis = compared(CHAIN, with_step(0, dense("first", 5, 6, 9)))
    assert diagnosis.verdict == "undecided"
    assert not [each for each in diagnosis.findings if each.stage == "forward"]
    notes = [row.note for row in diagnosis.stages if row.note]
    assert "forward: the traces were recorded with other weights" in notes[0]
    assert not [each for each in diagnosis.acquitted if "was given" in each.evidence]


def test_another_preprocessing_is_a_finding_of_the_data():
    diagnosis = compared(CHAIN, CHAIN, preprocess=lambda x: x / 255)
    assert diagnosis.findings[0].stage == "data"


def test_a_recorded_side_is_neither_changed_nor_run():
    side = RecordedOther(trace("B", CHAIN))
    with pytest.raises(Unsupported, match="cannot be changed"):
        side.change([])
    with pytest.raises(Unsupported, match="no weights by a framework"):
        side.framework_weights()


def test_another_batch_is_a_mistake():
    other = RecordedOther(trace("B", CHAIN, {"x": X + 1, "y": Y}))
    with pytest.raises(ModelError, match="recorded with another batch"):
        diagnose(trace("A", CHAIN), other, BATCH)


def in_float32(side, *, magnitude=0.0, double=True):
    """Return a trace whose pass as written is off by this share, as rounding in float32 may be.

    Without `double` the trace does not hold the pass in double precision.
    """
    rng = np.random.default_rng(round(magnitude * 1e6))
    recording = side.recordings["native"]
    arrays = {
        name: array * (1 + magnitude * rng.uniform(-1, 1, array.shape))
        if not name.startswith("inputs") and name.endswith(("/output", "/input"))
        else array
        for name, array in recording.arrays.items()
    }
    native = replace(recording, arrays=arrays)
    rest = {"float64": side.recordings["float64"]} if double else {}
    return RecordedSide(Path(side.name), {"native": native, **rest}, side.batch)


@pytest.mark.parametrize("measured", ["A", "B", ""])
def test_rounding_in_float32_is_what_a_trace_tells_that_it_loses(measured):
    # More than the fixed bound: it is rounding if a trace tells so.
    a = in_float32(trace("A", CHAIN), magnitude=4e-5, double=measured == "A")
    b = in_float32(trace("B", CHAIN), magnitude=3e-5, double=measured == "B")
    diagnosis = diagnose(a, RecordedOther(b), BATCH)
    assert diagnosis.dtype == "native"
    assert {each.stage for each in diagnosis.findings} == (set() if measured else {"forward"})
    assert (diagnosis.verdict == "equal") == bool(measured)


def test_a_bound_that_is_not_measured_says_so():
    wrong = with_step(1, layer_norm("norm", 6, 0.5))
    said = "the bound is not measured"
    for double in (True, False):
        a = in_float32(trace("A", CHAIN), double=double)
        b = in_float32(trace("B", wrong), double=False)
        (finding,) = diagnose(a, RecordedOther(b), BATCH).findings
        assert finding.cause == "D23"
        assert (said in finding.evidence) == (not double)
    (finding,) = compared(CHAIN, wrong).findings  # both hold double precision
    assert said not in finding.evidence


def test_a_trace_that_loses_little_has_a_bound_below_the_fixed_one():
    # The same model but for 5e-6, which the fixed bound of 1e-5 would hide.
    a = in_float32(trace("A", CHAIN))
    slightly = with_step(1, layer_norm("norm", 6, 1e-3 + 1e-6))
    b = in_float32(trace("B", slightly), double=False)
    (finding,) = diagnose(a, RecordedOther(b), BATCH).findings
    assert finding.cause == "D23"
    assert 1e-6 < finding.effect["layer"] < 1e-5
