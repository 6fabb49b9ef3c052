"""The report in a real browser: offline, in light and dark, on a phone, with curves that can be hidden and read."""

import shutil
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from triptych import data, engines
from triptych.bench import outputs
from triptych.bench.compare import Comparison, Settings
from triptych.bench.rows import specs
from triptych.recipe import Recipe
from triptych.runs import Run
from triptych.zoo import get

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1"),
]

pytestmark = pytest.mark.skipif(
    not CHROMIUM or not engines.entry("torch").installed, reason="needs Chromium (apt install chromium) and PyTorch"
)


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_) -> None:
        pass


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """The report of a short comparison of NumPy and PyTorch, served on this machine alone."""
    settings = Settings(get("classic"), Recipe(30), specs(["torch"]))
    comparison = Comparison(data.load("digits"), settings)
    results = []
    with Run.create(tmp_path_factory.mktemp("runs"), "compare") as run:
        for event in comparison.events():
            run.log({"seed": 0} | event)
            if event["type"] == "result":
                results.append(event["result"])
        outputs.save_states(run, comparison, "")
        outputs.save(run, settings, results)
    with pytest.MonkeyPatch.context() as patch:  # a machine that is not calibrated, whatever this one is
        patch.setenv("TRIPTYCH_DATA", str(tmp_path_factory.mktemp("no-data")))
        assert outputs.illustrate(run.folder) is None
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=run.folder)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/report.html"
        server.shutdown()


@pytest.fixture(scope="module")
def browser():
    api = pytest.importorskip("playwright.sync_api")
    with api.sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield opened
        opened.close()


@pytest.fixture
def page(browser, report):
    """A page that collects what it asked for and what went wrong."""

    def open_page(**options):
        opened = browser.new_page(**options)
        opened.asked, opened.wrong = [], []
        opened.on("request", lambda request: opened.asked.append(request.url))
        opened.on("pageerror", lambda error: opened.wrong.append(str(error)))
        opened.on("console", lambda message: opened.wrong.append(message.text) if message.type in ("error", "warning") else None)
        opened.goto(report)
        opened.locator("svg").first.wait_for()
        return opened

    return open_page


def test_it_asks_nothing_of_anybody_and_nothing_goes_wrong(page, report):
    opened = page()
    assert [url for url in opened.asked if not url.startswith("data:")] == [report]
    assert opened.wrong == []
    assert opened.locator("svg").count() == 4
    assert opened.title().startswith("784-10-10")


def test_equal_curves_are_drawn_thick_to_thin(page):
    opened = page()
    paths = opened.locator("[data-lines=loss] path.line")
    widths = [float(paths.nth(i).get_attribute("stroke-width")) for i in range(paths.count())]
    assert len(widths) == 2
    assert widths == sorted(widths, reverse=True)
    assert widths[0] > 2 * widths[1]
    first, second = (paths.nth(i).get_attribute("d") for i in range(2))
    assert first.count("L") == 29
    assert first == second  # to a tenth of a pixel


def test_a_name_hides_its_curve_and_brings_it_back(page):
    opened = page()
    key = opened.locator("[data-lines=loss] button", has_text="PyTorch")
    key.click()
    assert opened.locator("[data-lines=loss] path.line").count() == 1
    assert key.get_attribute("aria-pressed") == "false"
    key.click()
    assert opened.locator("[data-lines=loss] path.line").count() == 2


def test_hovering_reads_the_values(page):
    opened = page()
    chart = opened.locator("[data-lines=loss] svg")
    box = chart.bounding_box()
    chart.hover(position={"x": box["width"] * 0.6, "y": box["height"] * 0.5})
    tip = opened.locator("[data-lines=loss] .tip")
    tip.wait_for(state="visible")
    assert "NumPy" in tip.inner_text()
    assert "step" in tip.inner_text()


def test_the_difference_is_on_a_log_axis_with_twins(page):
    opened = page()
    names = opened.locator("[data-lines=apart] button").all_inner_texts()
    assert names == ["PyTorch", "one-ulp twin 1", "one-ulp twin 2", "one-ulp twin 3"]
    ticks = opened.locator("[data-lines=apart] .tick").all_text_contents()
    assert any("e−" in tick for tick in ticks)


def test_dark_and_light_are_both_there(page):
    background = "getComputedStyle(document.body).backgroundColor"
    light, dark = (page(color_scheme=scheme).evaluate(background) for scheme in ("light", "dark"))
    assert sum(map(int, light[4:-1].split(","))) > 600
    assert sum(map(int, dark[4:-1].split(","))) < 150


@pytest.mark.parametrize("width", [360, 768, 1400])
def test_nothing_overflows_the_page(page, width: int):
    opened = page(viewport={"width": width, "height": 800})
    assert opened.evaluate("document.documentElement.scrollWidth") <= width


def test_it_prints(page, tmp_path: Path):
    opened = page()
    opened.pdf(path=tmp_path / "report.pdf")
    assert (tmp_path / "report.pdf").read_bytes()[:4] == b"%PDF"
