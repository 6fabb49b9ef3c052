"""The page of all runs in a real browser: readable on a phone, links to reports, nothing asked."""

import pytest
from support.browser import CHROMIUM

from triptych.report.inventory import RunEntry
from triptych.report.overview import write_overview

pytestmark = pytest.mark.skipif(not CHROMIUM, reason="needs Chromium (apt install chromium)")


@pytest.mark.parametrize("width", [390, 1200])
def test_the_page_fits_and_links_reports(tmp_path, browser, width: int):
    folder = tmp_path / "runs" / "20260101-120000-compare-x"
    folder.mkdir(parents=True)
    report = folder / "report.html"
    report.write_text("<title>the report</title>")
    entries = [
        RunEntry(
            folder=folder,
            time="2026-01-01 12:00:00",
            kind="compare",
            status="finished",
            network="a-network-with-a-long-name",
            data="digits",
            engines=["numpy", "torch", "tensorflow", "jax"],
            accuracy=0.9,
            low=0.8,
            high=0.95,
            seconds=12.0,
            exported={"onnx": "rounding", "torchscript": "rounding"},
            report=report,
        ),
        RunEntry(folder, "2026-01-01 11:00:00", "train", "damaged", note="damaged " * 20),
    ]
    page = tmp_path / "index.html"
    write_overview(page, tmp_path / "runs", entries)
    opened = browser.new_page(viewport={"width": width, "height": 800})
    asked: list[str] = []
    wrong: list[str] = []
    opened.on("request", lambda request: asked.append(request.url))
    opened.on("console", lambda message: wrong.append(message.text))
    opened.goto(page.as_uri())
    assert opened.evaluate("document.documentElement.scrollWidth") <= width
    table = opened.locator(".scroll")
    assert table.evaluate("box => box.scrollWidth <= box.clientWidth")
    assert opened.locator("thead").is_visible() == (width > 640)
    for text in ("90.00 %", "torchscript: rounding", "NumPy, PyTorch"):
        assert opened.get_by_text(text).first.is_visible()
    assert [url for url in asked if not url.startswith("data:")] == [page.as_uri()]
    assert wrong == []
    opened.get_by_role("link", name="compare").click()
    assert opened.title() == "the report"
