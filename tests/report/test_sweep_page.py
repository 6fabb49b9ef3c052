"""The page of a sweep, from given rows."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from support.sweeps import cell

from triptych.core.events import CellEnded
from triptych.report.sweep import illustrate, page
from triptych.scale.sweep.folder import PAGE, SweepFolder

pytest.importorskip("jinja2")

ABOUT = {"cells": 6, "grid": {"name": "widths <b>"}, "version": "2.0.0"}
NO_TIMES: dict[str, Any] = {
    "seconds": None,
    "step_seconds": None,
    "first_step_seconds": None,
    "busy": None,
    "error": None,
    "created": "2026-01-01T12:00:00Z",
    "node": "here",
}


def row(seed: int, accuracy: float, **values: Any) -> dict[str, Any]:
    figures = {"accuracy": accuracy, "low": accuracy - 0.01, "high": accuracy + 0.01}
    return cell(f"{seed} {values}", seed=seed, **figures | NO_TIMES | values)


def rows() -> list[dict[str, Any]]:
    timed = {"timed": True, "busy": False, "step_seconds": 0.001, "first_step_seconds": 0.1}
    return [
        row(0, 0.9, network="dense-4", seconds=1.0, **timed),
        row(1, 0.92, network="dense-4"),
        row(0, 0.95, network="dense-64", seconds=4.0, **timed),
        row(1, 0.97, network="dense-64"),
        row(0, 0.85, network="dense-64", engine="torch", label="PyTorch", seconds=9.0, **timed),
        cell("f", seed=1, network="<script>", **NO_TIMES | {"status": "failed", "error": "<img>"}),
    ]


class Text(HTMLParser):
    """The text of a page and the names of its elements."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.words: list[str] = []
        self.tags: list[str] = []
        self.feed(source)

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def charts(source: str) -> dict[str, Any]:
    (data,) = re.findall(r'id="data">(.*?)</script>', source, re.DOTALL)
    return json.loads(data)


def test_accuracies_have_a_dot_for_each_seed_and_an_interval() -> None:
    drawn = charts(page(rows(), ABOUT))["accuracy-0"]["rows"]
    narrow = drawn[0]
    assert narrow["name"] == "NumPy · dense-4"
    assert narrow["values"] == pytest.approx([90, 92])
    assert narrow["median"] == pytest.approx(91)
    # Student's interval of two values: 12.706 times half their distance.
    assert narrow["high"] == 100.0
    assert narrow["low"] == pytest.approx(91 - 12.7062, abs=1e-3)
    assert len(drawn) == 3


def test_the_front_has_the_fast_one_and_the_accurate_one() -> None:
    points = charts(page(rows(), ABOUT))["time-0"]["points"]
    best = {point["text"].splitlines()[0]: point["best"] for point in points}
    assert best == {
        "NumPy · dense-4": True,
        "NumPy · dense-64": True,
        "PyTorch · dense-64": False,
    }
    assert [point["x"] for point in points] == [1.0, 4.0, 9.0]


def test_failures_are_named_and_nothing_of_the_data_is_markup() -> None:
    source = page(rows(), ABOUT)
    text = Text(source)
    joined = " ".join(text.words)
    assert "5 of 6 cells finished, 1 failed" in joined
    assert "<img>" in joined
    assert "Sweep: widths <b>" in joined
    assert "img" not in text.tags
    assert text.tags.count("script") == 2  # the data and the charts


def test_what_is_missing_is_counted() -> None:
    source = page(rows()[:2], ABOUT)
    assert "2 of 6 cells finished." in source
    assert "4 not run yet" in source


def test_without_a_timed_cell_there_is_no_front_but_advice() -> None:
    untimed = [row(0, 0.9), row(1, 0.8)]
    source = page(untimed, ABOUT)
    assert "No cell was timed" in source
    assert "time-0" not in re.findall(r'data-scatter="([^"]*)"', source)


def test_a_time_of_a_busy_node_is_marked_and_not_drawn() -> None:
    cells = [row(0, 0.9, timed=True, busy=True, seconds=3.0)]
    source = page(cells, ABOUT | {"cells": 1})
    assert "Read before you trust the times" in source
    assert charts(source)["time-0"]["points"] == []


def test_each_data_set_has_its_own_charts() -> None:
    cells = [row(0, 0.9, data="digits"), row(0, 0.7, data="flowers")]
    source = page(cells, ABOUT | {"cells": 2})
    drawn = charts(source)
    assert [len(drawn[f"accuracy-{number}"]["rows"]) for number in (0, 1)] == [1, 1]
    assert Text(source).words.count("flowers") == 1


def test_a_folder_gets_its_page(tmp_path: Path) -> None:
    kept = SweepFolder(tmp_path)
    kept.log(CellEnded(cell("a", accuracy=0.5, low=0.4, high=0.6)))
    kept.write_table([{"key": "a"}], {"name": "grid"})
    kept.close()
    assert illustrate(tmp_path) is None
    assert "1 of 1 cell finished" in (tmp_path / PAGE).read_text(encoding="utf-8")
