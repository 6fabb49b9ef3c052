"""The page of a divergence finder's answer: one file, offline, without a script."""

from math import log10
from pathlib import Path
from typing import Any

from ..core import files
from .page import render_template, style_sheet
from .units import milliseconds

SMALLEST = 1e-17  # the left end of the logarithmic scale of differences
LARGEST = 1e1  # the right end
TICKS = (1e-16, 1e-12, 1e-8, 1e-4, 1e0)
# What is drawn of each layer: the key in the answer, and what the legend calls it.
MARKS = (
    ("arriving", "what arrives at the layer"),
    ("output", "what it makes of the same input"),
    ("gradient", "gradient of its weights"),
)
HEADINGS = {
    "equal": "Equal",
    "rounding": "Equal up to rounding",
    "differ": "They differ",
    "undecided": "Undecided",
}
# The look of the heading, by the verdict; see style.css.
CLASSES = {"equal": "", "rounding": "", "differ": "broken", "undecided": "alone"}

Json = dict[str, Any]


def write_diagnosis(path: Path, answer: Json, a: str, b: str) -> None:
    """Write the page.

    Parameters
    ----------
    path : Path
        The file.
    answer : dict
        The answer as its JSON file has it (docs/doctor.md).
    a, b : str
        What was compared, as the user named it.
    """
    bounds = {row["stage"]: row["bound"] for row in answer["stages"]}
    values = {
        "answer": answer,
        "sources": {"a": a, "b": b},
        "heading": HEADINGS[answer["verdict"]],
        "look": CLASSES[answer["verdict"]],
        "marks": MARKS,
        "layers": [_layer(row) for row in answer["layers"]],
        "ticks": [{"place": place(tick), "power": round(log10(tick))} for tick in TICKS],
        "rounding": place(bounds.get("forward", 0.0)),
        "milliseconds": milliseconds,
        "style": style_sheet(),
    }
    files.write(path, render_template("diagnosis.html", values))


def _layer(row: Json) -> Json:
    """Return a row of the answer with the place of each mark, in per cent of the scale."""
    marks = [
        {"kind": kind, "value": row[kind], "place": place(row[kind])}
        for kind, _ in MARKS
        if kind in ("arriving", "output") or row[kind] is not None
    ]
    return {**row, "marks": marks}


def place(difference: float | None) -> float:
    """Return where a difference is on the scale, in per cent; none is one that JSON cannot hold."""
    if difference is None:
        return 100.0
    clipped = min(max(difference, SMALLEST), LARGEST)
    return 100 * (log10(clipped) - log10(SMALLEST)) / (log10(LARGEST) - log10(SMALLEST))
