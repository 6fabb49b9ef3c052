"""The tables of a comparison: they fit, no name is broken, and no winner is named without good
reason.
"""

import io
import re
from typing import Any

import pytest
from rich.console import Console

from triptych.cli.table import show, show_spread, verdict
from triptych.core.selection import specs

LABELS = {
    "numpy": "NumPy",
    "torch": "PyTorch",
    "torch-compiled": "PyTorch compiled",
    "tensorflow-xla": "TensorFlow xla",
}


def row(label: str, ratio: float | None = 1.66, **changes: Any) -> dict[str, Any]:
    """Return a row as results.json has it, with figures as wide as they come."""
    first = label == "NumPy"
    made = {
        "label": label,
        "device": "cpu",
        "failed": None,
        "proved": True,
        "unproved": None,
        "accuracy": {"value": 0.9611, "low": 0.922, "high": 0.981},
        "differing_predictions": 12,
        "float64": {"largest": 4e-15, "steps": 50, "divergence": None},
        "blocks": {"divergence": None},
        "float32": {"verdict": "precision"},
        "weights_apart": 0.21,
        "step": {"median": 0.00338, "low": 0.00305, "high": 0.00358},
        "ratio": {"median": 1.0, "low": 1.0, "high": 1.0}
        if first
        else {"median": ratio, "low": 0.978, "high": 1.83},
        "training_seconds": 1234.5,
        "seconds": {"first_step": 10.08, "import": 12.3, "build": 3.472, "transfer": 1.234},
        "peak_bytes": 2**31,
    }
    return made | changes


def result(keys: list[str], **changes: Any) -> dict[str, Any]:
    made = {
        "title": "784-10-10: SGD 0.1, full batch, float32, seed 0",
        "parameters": 7960,
        "steps": 500,
        "rounds": {"timed": 15, "valid": 15, "calm": 15},
        "busy": None,
        "fastest": None,
        "notes": [],
        "rows": {key: row(LABELS[key]) for key in keys},
    }
    return made | changes


def shown(found: dict[str, Any], width: int) -> str:
    out = io.StringIO()
    show(Console(file=out, width=width, force_terminal=True, color_system=None), found)
    return out.getvalue()


@pytest.mark.parametrize("width", [60, 80, 120])
def test_no_line_is_too_long_and_no_name_is_broken(width: int):
    text = shown(result(list(LABELS), busy="other programs used 62% of it"), width)
    lines = text.splitlines()
    assert max(len(line.rstrip()) for line in lines) <= width
    assert "…" not in text
    for label in LABELS.values():
        assert sum(re.match(rf" {label} +\d", line) is not None for line in lines) == 3, (
            label
        )  # in each table
    for column in (
        "accuracy",
        "float64",
        "weights apart",
        "ms/step",
        "NumPy = 1",
        "import",
        "peak memory",
    ):
        assert f" {column} " in text.replace("\n", " \n"), column


def test_nothing_is_left_out_on_80_columns():
    text = shown(result(["numpy", "torch-compiled"]), 80)
    columns = ("differ", "float32", "(95 %)", "training", "first step", "build", "transfer")
    assert not [column for column in columns if f" {column} " not in text]
    assert text.count(" 95 % ") >= 2


def test_ratios_of_a_busy_machine_are_marked_and_explained():
    keys = ["numpy", "torch"]
    busy = shown(result(keys, busy="other programs used 62% of it"), 100)
    assert " 1.66* " in busy
    assert " 1.00 " in busy  # NumPy is 1 by definition
    assert "* The machine was busy, so this ratio is not reliable." in busy
    assert (
        "No engine is named the fastest, because the machine was busy during the timing."
        in " ".join(busy.split())
    )
    calm = shown(result(keys), 100)
    assert " 1.66 " in calm
    assert "*" not in calm


def test_weights_that_end_apart_are_explained():
    text = " ".join(shown(result(["numpy", "torch"]), 80).split())
    assert "weights may end apart although the engines compute the same" in text
    assert "up to 1e-11 means equal" in text


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"fastest": "torch"}, "Fastest on this machine: PyTorch."),
        ({}, "No engine is significantly faster than the others."),
        (
            {"busy": "other programs used 62% of it"},
            "No engine is named the fastest, because the machine was busy during the timing.",
        ),
        (
            {"rounds": {"timed": 15, "valid": 3, "calm": 3}},
            "No engine is named the fastest: fewer than 6 rounds could be timed.",
        ),
    ],
)
def test_the_verdict_on_speed(changes: dict[str, Any], said: str):
    found = verdict(result(["numpy", "torch"], **changes))
    assert (
        found
        == f"Proved equal: NumPy, PyTorch (float64: 4e-15 at most, at each of 50 steps). {said}"
    )


def test_numpy_alone_has_nothing_that_compares():
    missing = row("PyTorch", failed="PyTorch is not installed: pip install 'triptych[torch]'")
    alone = result(["numpy"])
    alone["rows"]["torch"] = missing
    text = shown(alone, 80)
    assert "PyTorch is not installed: pip install 'triptych[torch]'" in text
    assert "not in the table" not in text
    assert text.rstrip().endswith("Nothing to compare with: NumPy was trained and timed alone.")
    for word in ("float64", "rounding", "NumPy = 1", "differ"):
        assert word not in text


def test_over_seeds_the_ratio_is_the_median_of_each_seeds_own():
    """0.3 over 0.2 is 1.5, but the paired ratios say 1.66; the table says which one it shows."""
    seeds = [result(["numpy", "torch"]) for _ in range(3)]
    for found, ratio in zip(seeds, (1.5, 1.66, 1.9), strict=True):
        found["rows"]["torch"] = row("PyTorch", ratio)
    seeds[1]["busy"] = "other programs used 62% of it"
    out = io.StringIO()
    show_spread(Console(file=out, width=100, force_terminal=True, color_system=None), seeds)
    text = " ".join(out.getvalue().split())
    assert "1.66*" in text
    assert (
        "NumPy = 1: median over seeds of each seed's own ratio to NumPy, not the ratio of the "
        "two medians." in text
    )
    assert "* The machine was busy for 1 of 3 seeds" in text
    assert "vs NumPy" not in text


def test_labels_here_are_those_of_the_rows():
    known = {spec.key: spec.label for spec in specs(all_backends=True)}
    assert {key: known[key] for key in LABELS} == LABELS
