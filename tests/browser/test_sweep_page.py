"""The page of a sweep in a real browser: it fits, draws every configuration, and asks nothing."""

import random
from typing import Any

import pytest
from support.browser import CHROMIUM, Watch
from support.sweeps import cell

from triptych.core.events import CellEnded
from triptych.report.sweep import illustrate
from triptych.scale.sweep.folder import PAGE, SweepFolder

pytestmark = pytest.mark.skipif(not CHROMIUM, reason="needs Chromium (apt install chromium)")

ENGINES = [("numpy", "NumPy"), ("torch", "PyTorch"), ("tensorflow", "TensorFlow xla")]
WIDTHS = [8, 32, 128]


def records() -> list[dict[str, Any]]:
    """Return the cells of 3 engines, 3 widths and 4 seeds, of which one has failed."""
    drawn = random.Random(0)
    made = []
    for (engine, label), width in [(e, w) for e in ENGINES for w in WIDTHS]:
        for seed in range(4):
            accuracy = 0.8 + width / 1000 + drawn.random() / 50
            values = {
                "seed": seed,
                "engine": engine,
                "label": label,
                "network": f"dense-{width}",
                "accuracy": accuracy,
                "low": accuracy - 0.02,
                "high": accuracy + 0.02,
                "timed": seed == 0,
                "busy": False if seed == 0 else None,
                "seconds": 0.02 * width + drawn.random(),
                "step_seconds": 0.001,
                "first_step_seconds": 0.2,
                "node": "a-node",
            }
            made.append(cell(f"{engine} {width} {seed}", **values))
    made[-1] |= {"status": "failed", "error": "not enough memory " * 8, "accuracy": None}
    return made


@pytest.mark.parametrize("width", [390, 1200])
def test_the_page_fits_and_draws_all(tmp_path, browser, width: int):
    kept = SweepFolder(tmp_path)
    for record in records():
        kept.log(CellEnded(record))
    kept.write_table(records(), {"name": "widths"})
    kept.close()
    illustrate(tmp_path)
    opened = browser.new_page(viewport={"width": width, "height": 800})
    watch = Watch.of(opened)
    address = (tmp_path / PAGE).as_uri()
    opened.goto(address)
    assert opened.evaluate("document.documentElement.scrollWidth") <= width
    accuracies = opened.locator("[data-intervals] svg")
    assert accuracies.locator("circle").count() == 35  # a dot for each finished cell
    assert accuracies.locator(".median").count() == 9
    times = opened.locator("[data-scatter] svg")
    assert times.locator("circle").count() == 9
    assert times.locator(".front").count() == 1
    for chart in ("[data-intervals] svg text", "[data-scatter] svg text"):
        outside = opened.locator(chart).evaluate_all(
            "all => all.filter(t => t.getBBox().x < 0 || t.getBBox().x + t.getBBox().width"
            " > t.ownerSVGElement.clientWidth + 1).map(t => t.textContent)"
        )
        assert outside == []
    circle = times.locator("circle").first
    circle.hover()
    assert opened.locator("[data-scatter] .tip").is_visible()
    assert " s" in opened.locator("[data-scatter] .tip").inner_text()
    assert opened.get_by_text("35 of 36 cells finished, 1 failed").is_visible()
    assert watch.wrong == []
    assert [url for url in watch.asked if not url.startswith("data:")] == [address]
