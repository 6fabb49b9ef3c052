"""The page of a diagnosis, and its lines in the terminal."""

import json
import re
from dataclasses import replace
from io import StringIO
from math import inf

import pytest
from rich.console import Console

from triptych.bench.statistics import Interval
from triptych.cli.doctor_view import show
from triptych.core import files
from triptych.doctor.findings import Acquittal, Diagnosis, Finding, LayerRow, StageRow
from triptych.doctor.observation import Description
from triptych.doctor.timing import SideTime, TimedPart, Timing
from triptych.report.diagnosis import place, write_diagnosis

SIDES = (
    Description("torch", "torch 2.13.0", "Net<script>", "float32", ()),
    Description("keras", "keras 3.15.1", "Functional", "float32", ()),
)


def diagnosis():
    finding = Finding(
        "forward",
        "D23",
        "Epsilon of LayerNorm",
        {"a": "norm", "b": "layer_normalization"},
        {
            "a": "eps=1e-05",
            "b": "epsilon=0.001",
            "also": [{"a": f"norm{i}", "b": f"layer_normalization_{i}"} for i in range(1, 6)],
        },
        {"layer": 7.8e-3, "bound": 2.4e-7},
        {"a": "nn.LayerNorm(16, eps=1e-3)", "b": None},
        True,
        "the difference falls to 3.1e-16",
    )
    suspected = Finding("loss", None, "The losses differ", evidence="nothing reproduces it")
    return Diagnosis(
        *SIDES,
        dtype="float64",
        verdict="differ",
        findings=(finding, suspected),
        acquitted=(Acquittal("weights", "D01", "initialisation", "equal after transplanting"),),
        layers=(
            LayerRow("norm", "layer_normalization", "LayerNorm", "LayerNormalization", 0.0, 7.8e-3),
            LayerRow("fc", "dense", "Linear", "Dense", inf, 1e-16, 2e-16),
        ),
        stages=(
            StageRow("forward", 3e-16, 2.4e-7, 1),
            StageRow("loss", 0.0, 0.0, 1),
            StageRow("metric", 0.0, 0.0, 0, compared=False),
            StageRow("update", 0.0, 0.0, 0, "update: LBFGS needs a closure"),
        ),
        seconds=4.5,
    )


def test_the_page_shows_every_part_and_escapes_what_it_is_given(tmp_path):
    answer = json.loads(files.to_json(diagnosis().to_json()))
    write_diagnosis(tmp_path / "page.html", answer, "a.py", "<b>.py")
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "Net&lt;script&gt;" in page
    assert "<script" not in page
    assert "&lt;b&gt;.py" in page
    for text in (
        "Epsilon of LayerNorm",
        "(D23)",
        "nn.LayerNorm(16, eps=1e-3)",
        "proved",
        "suspected",
        "equal after transplanting",
        "not given on both sides",
        "LBFGS needs a closure",
        "another shape",
        "layer_normalization_5",
    ):
        assert text in page
    assert not re.search(r"https?://", page)


def test_a_page_without_findings_claims_agreement_only_if_all_was_compared(tmp_path):
    nothing = replace(diagnosis(), findings=(), layers=())
    pages = {}
    for verdict in ("equal", "undecided"):
        answer = json.loads(files.to_json(replace(nothing, verdict=verdict).to_json()))
        write_diagnosis(tmp_path / "page.html", answer, "a.py", "b.py")
        pages[verdict] = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "every stage of a training step agrees" in pages["equal"]
    assert "every stage of a training step agrees" not in pages["undecided"]
    assert "Not everything was compared" in pages["undecided"]


@pytest.mark.parametrize(
    ("difference", "expected"), [(0.0, 0.0), (1e-17, 0.0), (1e-8, 50.0), (1e1, 100.0), (None, 100)]
)
def test_the_scale_is_logarithmic(difference, expected):
    assert place(difference) == pytest.approx(expected)


def test_the_terminal_shows_causes_first_and_acquittals_last():
    console = Console(width=100, record=True, file=StringIO())
    show(console, diagnosis(), "a.py", "b.py")
    text = console.export_text()
    order = ["They differ.", "(D23)", "fix A: nn.LayerNorm", "proved:", "suspected, not proved"]
    order += ["Not compared: update: LBFGS", "layer_normalization Layer", "Not the cause:", "(D01)"]
    places = [text.index(part) for part in order]
    assert places == sorted(places)
    assert "shape" in text


def timing(busy=""):
    sides = (
        SideTime("step()", 0.2, Interval(0.0012, 0.0011, 0.0013)),
        SideTime("train_on_batch(x, y)", 3.5, Interval(0.0024, 0.0023, 0.0026)),
    )
    ratio = Interval(2.0, 1.9, 2.1)
    faster = None if busy else "a"
    part = TimedPart("training", *sides, ratio, faster, 15, 0.01, busy)
    return Timing(2, (part,), notes=("A draws random numbers",))


def shown(timed, tmp_path):
    """Return the page and the terminal's text of a diagnosis with times."""
    timed_diagnosis = replace(diagnosis(), timing=timed)
    answer = json.loads(files.to_json(timed_diagnosis.to_json()))
    write_diagnosis(tmp_path / "page.html", answer, "a.py", "b.py")
    console = Console(width=120, record=True, file=StringIO())
    show(console, timed_diagnosis, "a.py", "b.py")
    return (tmp_path / "page.html").read_text(encoding="utf-8"), console.export_text()


def test_times_are_shown_with_their_ratio(tmp_path):
    sentence = "training: B takes 2 times as long as A (1.9 to 2.1, 15 rounds)"
    for text in shown(timing(), tmp_path):
        assert f"{sentence}; A is faster" in text
        assert "2 threads" in text
        for part in ("1.2 ms", "2.3 to 2.6", "3,500 ms", "train_on_batch(x, y)", "A draws random"):
            assert part in text
    for text in shown(timing("other programs used 40% of it"), tmp_path):
        assert sentence in text
        assert "is faster" not in text
        assert "other programs used 40% of it" in text


def test_where_nothing_was_timed_the_reason_is_shown(tmp_path):
    for text in shown(Timing(1, reason="the two sides differ"), tmp_path):
        assert "Not timed: the two sides differ" in text
        assert "times as long" not in text


def test_figures_are_whole_on_a_narrow_terminal():
    row = LayerRow("encoder.layers.0.norm", "b" * 40, "LayerNorm", "Layer", 0.0, 7.8e-3, 2.3e-15)
    console = Console(width=80, record=True, file=StringIO())
    show(console, replace(diagnosis(), layers=(row,)), "a.py", "b.py")
    text = console.export_text()
    assert re.search(r"arriving +output +gradient", text)
    assert re.search(r"0\.0e\+00 +7\.8e-03 +2\.3e-15", text)


def test_the_sentence_of_an_assertion_has_the_places_the_values_and_the_fix():
    text = str(diagnosis())
    assert "A: in norm, norm1, norm2, norm3 and 2 more: eps=1e-05" in text
    assert "forward: Epsilon of LayerNorm (D23)" in text
    assert "fix A: nn.LayerNorm(16, eps=1e-3)" in text
    assert "not compared: update: LBFGS needs a closure" in text
