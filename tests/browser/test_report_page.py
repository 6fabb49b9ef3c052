"""The report in a real browser: offline, in light and dark, on a phone, with curves that can be
hidden and read.
"""

from pathlib import Path

import numpy as np
import pytest
from support import made
from support.browser import CHROMIUM, Watch, serving

from triptych.bench import artifacts
from triptych.bench.comparison import compare_rows
from triptych.bench.contestants import Settings
from triptych.bench.results import result
from triptych.core import registry
from triptych.core.selection import specs
from triptych.data import loading as data
from triptych.report import page as report_page
from triptych.report.artifacts import illustrate
from triptych.spec.recipe import Recipe
from triptych.spec.zoo import get
from triptych.training.run_folder import Run

pytestmark = pytest.mark.skipif(
    not CHROMIUM or not registry.entry("torch").installed,
    reason="needs Chromium (apt install chromium) and PyTorch",
)


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """The report of a short comparison of NumPy and PyTorch, served on this machine alone."""
    settings = Settings(get("classic"), Recipe(30), specs(["torch"]), patience=0)
    with Run.create(tmp_path_factory.mktemp("runs"), "compare") as run:

        def logged():
            """Run the comparison, and return it as `compare_rows` does."""
            events = compare_rows(data.load("digits"), settings)
            while True:
                try:
                    run.log({"seed": 0} | next(events).to_json())
                except StopIteration as end:
                    return end.value

        comparison = logged()
        artifacts.save_states(run, comparison, "")
        artifacts.save(run, settings, [result(comparison)])
    with (
        pytest.MonkeyPatch.context() as patch
    ):  # a machine that is not calibrated, whatever this one is
        patch.setenv("TRIPTYCH_DATA", str(tmp_path_factory.mktemp("no-data")))
        assert illustrate(run.folder) is None
    with serving(run.folder) as address:
        yield f"{address}/report.html"


@pytest.fixture
def page(browser, request):
    """A page that collects what it asked for and what went wrong: of the report, or of the run
    folder that is given.
    """

    def open_page(folder: Path | None = None, **options):
        opened = browser.new_page(**options)
        opened.watch = Watch.of(opened)
        if folder is None:
            opened.goto(request.getfixturevalue("report"))
        else:
            opened.goto(report_page.write(folder).resolve().as_uri())
        opened.locator("svg").first.wait_for()
        return opened

    return open_page


def test_it_asks_nothing_of_anybody_and_nothing_goes_wrong(page, report):
    opened = page()
    assert [url for url in opened.watch.asked if not url.startswith("data:")] == [report]
    assert opened.watch.wrong == []
    assert opened.locator("svg").count() == 5
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
    assert names == ["PyTorch", "NumPy + 1 ulp (1)", "NumPy + 1 ulp (2)", "NumPy + 1 ulp (3)"]
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


@pytest.fixture
def uncalibrated(tmp_path, monkeypatch):
    """A folder for runs, on a machine of which there is no calibration."""
    monkeypatch.setenv("TRIPTYCH_DATA", str(tmp_path / "no-data"))
    return tmp_path


WIDER = """[...document.querySelectorAll(".scroll")]
  .filter((e) => e.scrollWidth > e.clientWidth)
  .map((e) => e.innerText)"""
OUTSIDE = """[...document.querySelectorAll(".outcome")].filter((cell) => {
  const place = cell.getBoundingClientRect();
  const seen = cell.closest(".scroll").getBoundingClientRect();
  return place.left < seen.left || place.right > seen.right + 0.5 || place.right > innerWidth;
}).map((cell) => cell.innerText)"""


@pytest.mark.parametrize("name", ["sgd", "momentum", "adam", "nadam", "adadelta"])
def test_no_table_is_wider_than_its_column_with_any_optimizer(page, uncalibrated, name: str):
    rows, recipe = made.with_optimizer(made.every_row(), name)
    opened = page(
        made.folder(uncalibrated, made.results(rows, recipe)),
        viewport={"width": 1200, "height": 800},
    )
    opened.locator("details").evaluate_all("all => all.forEach((one) => (one.open = true))")
    assert opened.locator("table.proof tbody tr").count() == len(rows)
    assert opened.evaluate(WIDER) == []
    assert opened.evaluate(OUTSIDE) == []
    assert not opened.locator(".hint").evaluate_all(
        "all => all.some((one) => one.checkVisibility())"
    )


@pytest.mark.parametrize("name", ["adam", "nadam", "adadelta"])
def test_on_a_phone_the_verdict_is_seen_without_scrolling_and_wide_tables_say_that_they_scroll(
    page, uncalibrated, name: str
):
    rows, recipe = made.with_optimizer(made.every_row(), name)
    opened = page(
        made.folder(uncalibrated, made.results(rows, recipe)),
        viewport={"width": 390, "height": 800},
    )
    assert opened.evaluate("document.documentElement.scrollWidth") <= 390
    assert opened.evaluate(OUTSIDE) == []
    unsaid = """[...document.querySelectorAll(".scroll")]
      .filter((e) => e.checkVisibility())
      .filter((e) => (e.scrollWidth > e.clientWidth) !== e.previousElementSibling.checkVisibility())
      .map((e) => e.innerText)"""
    assert opened.evaluate(unsaid) == []
    assert opened.locator(".hint:visible").count() >= 3


@pytest.mark.parametrize(("color_scheme", "which"), [("light", 0), ("dark", 1)])
def test_a_row_has_one_colour_in_every_chart_and_table(
    page, uncalibrated, color_scheme: str, which: int
):
    every = made.every_row()
    for names in (["numpy", "tensorflow"], list(every)):
        folder = made.folder(uncalibrated, made.results({name: every[name] for name in names}))
        opened = page(folder, color_scheme=color_scheme)
        expected = registry.entry("tensorflow").color
        assert expected
        wanted = "rgb({}, {}, {})".format(*bytes.fromhex(expected[which][1:]))
        at = names.index("tensorflow")
        seen = {
            "card": opened.locator(".card.engine")
            .nth(at)
            .evaluate("e => getComputedStyle(e).borderTopColor"),
            "swatch": opened.locator("table.results .swatch")
            .nth(at)
            .evaluate("e => getComputedStyle(e).backgroundColor"),
            "line": opened.locator("[data-lines=loss] path.line")
            .nth(at)
            .evaluate("e => getComputedStyle(e).stroke"),
            "interval": opened.locator("[data-intervals] line.interval")
            .nth(at)
            .evaluate("e => getComputedStyle(e).stroke"),
        }
        assert seen == dict.fromkeys(seen, wanted)


@pytest.mark.parametrize("width", [1200, 390])
def test_class_names_with_the_same_ends_stay_different(page, uncalibrated, width: int):
    """They neither become the same letters nor make the page wider than the screen."""
    count = 12
    names = [f"a_very_long_class_name_number_{i:02}_of_the_whole_zoo" for i in range(count)]
    rows = {name: made.row(name, "eager") for name in ("numpy", "torch")}
    results = made.results(rows)
    run = results["runs"][0]
    run["data"]["class_names"] = names
    for row in run["rows"].values():
        row["confusion"] = (np.eye(count, dtype=int) * 7 + 1).tolist()
    opened = page(made.folder(uncalibrated, results), viewport={"width": width, "height": 800})
    texts = opened.locator("[data-confusion] text.tick").evaluate_all(
        "all => all.map((e) => e.firstChild.textContent)"
    )
    assert sorted(set(texts)) == [f"…{i:02}…" for i in range(count)]
    boxes = (
        "all => all.map((e) => { const b = e.getBoundingClientRect(); return [b.left, b.right]; })"
    )
    ((left, _),) = opened.locator("[data-confusion] svg").evaluate_all(boxes)
    sides = np.array(opened.locator("[data-confusion] text.tick").evaluate_all(boxes))
    assert (sides[:, 0] >= left - 1).all(), "a label is cut off"
    assert opened.evaluate("document.documentElement.scrollWidth") <= width
    sentence = opened.locator(".confusions p").inner_text()
    assert f"{names[0]} taken for {names[1]} (1)" in sentence
    assert opened.watch.wrong == []


@pytest.mark.parametrize(
    ("count", "width"),
    [
        (2, 390),
        (10, 1200),
        (26, 1200),
        (100, 390),
        pytest.param(2, 1200, marks=pytest.mark.slow),
        pytest.param(10, 390, marks=pytest.mark.slow),
        pytest.param(26, 390, marks=pytest.mark.slow),
        pytest.param(100, 1200, marks=pytest.mark.slow),
    ],
)
def test_a_confusion_matrix_is_readable_with_any_number_of_classes(
    page, uncalibrated, count: int, width: int
):
    names = [f"a_long_name_of_class_{i}" for i in range(count)]
    results = made.results(
        {
            name: made.row(name, backend)
            for name, backend in (("numpy", "eager"), ("torch", "eager"))
        }
    )
    run = results["runs"][0]
    run["data"]["class_names"] = names
    for row in run["rows"].values():
        row["confusion"] = (np.eye(count, dtype=int) * 7).tolist()
    opened = page(made.folder(uncalibrated, results), viewport={"width": width, "height": 800})
    chart = opened.locator("[data-confusion] svg")
    boxes = (
        "all => all.map((e) => { const b = e.getBoundingClientRect(); return [b.left, b.top, "
        "b.right, b.bottom]; })"
    )
    (frame,) = chart.evaluate_all(boxes)
    (matrix,) = chart.locator(".matrix").evaluate_all(boxes)
    labels = np.array(chart.locator("text.tick").evaluate_all(boxes))
    assert matrix[2] - matrix[0] > 0.5 * (frame[2] - frame[0]) or count < 10
    assert (labels[:, :2] >= np.array(frame[:2]) - 1).all()
    assert (labels[:, 2:] <= np.array(frame[2:]) + 1).all()
    beside = labels[:, 2] <= matrix[0] + 1
    above = labels[:, 3] <= matrix[1] + 1
    assert (beside | above).all(), "a label is drawn over the cells"
    for some, start in ((labels[beside & ~above], 1), (labels[above & ~beside], 0)):
        assert len(some) >= min(count, 10)
        assert (np.diff((some[:, start] + some[:, start + 2]) / 2) >= 7).all(), (
            "labels are drawn over each other"
        )
    texts = chart.locator("text.tick").evaluate_all(
        "all => all.map((e) => e.firstChild.textContent)"
    )
    assert len(set(texts)) >= beside.sum(), "names that differ are cut to the same letters"
    titles = set(chart.locator("text.tick title").all_text_contents())
    assert titles <= set(names)
    last = {"x": matrix[2] - frame[0] - 1.2, "y": matrix[3] - frame[1] - 1.2}
    chart.hover(position=last)
    tip = opened.locator("[data-confusion] .tip").inner_text()
    assert tip.splitlines() == [f"true: {names[-1]}", f"predicted: {names[-1]}", "7 test images"]
    assert opened.watch.wrong == []


def test_cards_of_a_pair_end_at_the_same_line_and_so_do_their_charts(page):
    opened = page(viewport={"width": 1200, "height": 800})
    for i in range(2):
        pair = opened.locator("section.pair").nth(i)
        cards = pair.locator(".plotted").evaluate_all(
            "all => all.map((e) => e.getBoundingClientRect().bottom)"
        )
        assert len(cards) == 2
        assert cards[0] == pytest.approx(cards[1], abs=1)
        below = (
            "all => all.map((e) => e.closest('.card').getBoundingClientRect().bottom - "
            "e.getBoundingClientRect().bottom)"
        )
        gaps = pair.locator("svg").evaluate_all(below)
        texts = pair.locator(".below").evaluate_all("all => all.map((e) => e.offsetHeight)")
        assert max(gaps) <= 40 + sum(texts)


def test_no_card_of_a_row_is_alone_in_a_line_that_has_room(page, uncalibrated):
    """Cards fill their lines at any width, for any number of rows."""
    every = made.every_row()
    for count in (2, 4, 5, 6, 7, 9):
        rows = dict(list(every.items())[:count])
        opened = page(
            made.folder(uncalibrated, made.results(rows)), viewport={"width": 1200, "height": 800}
        )
        boxes = opened.locator(".cards .card").evaluate_all(
            "all => all.map((e) => e.getBoundingClientRect().toJSON())"
        )
        rights = {
            box["top"]: max(other["right"] for other in boxes if other["top"] == box["top"])
            for box in boxes
        }
        assert max(rights.values()) - min(rights.values()) < 1
        widths = [box["width"] for box in boxes]
        assert max(widths) < 1.5 * min(widths), "one card is as wide as several others"
        opened.close()
