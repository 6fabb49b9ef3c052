"""The page of ``triptych serve`` in a real browser: a digit drawn with the mouse and by touch."""

from base64 import b64decode
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from support import serving
from support.browser import CHROMIUM, Watch

from triptych.spec import zoo

pytest.importorskip("uvicorn")
pytestmark = pytest.mark.skipif(not CHROMIUM, reason="needs Chromium (apt install chromium)")

SEVEN = [(90, 60), (190, 60), (150, 130), (120, 220)]  # in pixels of the square
TOKEN = "open-sesame"
COLOUR = zoo.dense("colour", [4], shape=(8, 8, 3))
GREY = zoo.dense("grey", [16])
SMALL = zoo.dense("small", [16], shape=(14, 14, 1))


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("served")
    for network in (COLOUR, GREY, SMALL):
        serving.save_run(folder / network.name, network)
    return folder


@pytest.fixture(scope="module")
def server(runs: Path) -> Iterator[serving.RunningServer]:
    with serving.running("colour", "grey", "small", cwd=runs) as running:
        yield running


@pytest.fixture
def open_page(browser: Any) -> Iterator[Callable[..., Any]]:
    """Open the page of a server; at the end, check that nothing went wrong or was fetched."""
    pages: list[Any] = []

    def open_(server: serving.RunningServer, **options: Any) -> Any:
        page = browser.new_page(**{"viewport": {"width": 1200, "height": 900}} | options)
        page.watch = Watch.of(page)
        page.goto(server.url)
        page.server = server
        pages.append(page)
        return page

    yield open_
    for page in pages:
        asked = page.watch.asked
        assert page.watch.wrong == []
        elsewhere = [url for url in asked if not url.startswith((page.server.url, "data:"))]
        assert elsewhere == []


def draw(page: Any, points: list[tuple[int, int]] = SEVEN) -> None:
    page.locator("#pad").wait_for()  # it is shown when the models are listed
    box = page.locator("#pad").bounding_box()
    moved = [(box["x"] + x, box["y"] + y) for x, y in points]
    page.mouse.move(*moved[0])
    page.mouse.down()
    for point in moved[1:]:
        page.mouse.move(*point, steps=5)
    page.mouse.up()


def seen(page: Any) -> np.ndarray:
    """Return the image that the network has got, 0 to 255."""
    url = page.locator("#seen").evaluate("canvas => canvas.toDataURL()")
    with Image.open(BytesIO(b64decode(url.partition(",")[2]))) as image:
        return np.array(image)[np.newaxis, :, :, :1]


def check_prediction(page: Any, run: Path) -> None:
    """Compare what the page shows with the reference engine."""
    from playwright.sync_api import expect

    expect(page.locator("#bars li")).to_have_count(10)
    page.wait_for_load_state("networkidle")
    logits = serving.reference_logits(run, seen(page))[0]
    probabilities = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
    shown = [
        float(text.rstrip(" %")) for text in page.locator("#bars span:last-child").all_inner_texts()
    ]
    np.testing.assert_allclose(shown, 100 * probabilities, atol=0.2)
    best = page.locator("#result").inner_text()
    assert best.startswith(f"{int(np.argmax(shown))}, ")


def test_a_digit_is_drawn_with_the_mouse(open_page: Any, server: Any, runs: Path):
    page = open_page(server)
    draw(page)
    check_prediction(page, runs / "grey")
    image = seen(page)[0, :, :, 0]
    rows = np.flatnonzero(image.max(axis=1) > 8)
    assert image.shape == (28, 28)
    assert rows[-1] - rows[0] + 1 == 20  # as MNIST's digits
    weights = image / image.sum()
    centre = (weights.sum(1) @ np.arange(28), weights.sum(0) @ np.arange(28))
    assert centre == pytest.approx((13.5, 13.5), abs=0.6)
    page.locator("#clear").click()
    page.get_by_text("Nothing is drawn yet.").wait_for()
    assert page.locator("#bars li").count() == 0


def test_a_drawing_is_as_large_as_the_training_images(open_page: Any, tmp_path: Path):
    run = serving.save_run(tmp_path / "run", GREY, data={"box": 28})
    with serving.running("run", cwd=tmp_path) as server:
        page = open_page(server)
        draw(page)
        check_prediction(page, run)
        assert np.ptp(np.flatnonzero(seen(page).max(axis=(0, 2, 3)))) + 1 == 28


def test_a_digit_is_drawn_by_touch(browser: Any, open_page: Any, server: Any, runs: Path):
    page = open_page(server, has_touch=True, viewport={"width": 390, "height": 844})
    page.locator("#pad").tap(position={"x": 140, "y": 100})
    check_prediction(page, runs / "grey")


def test_another_model_is_chosen(open_page: Any, server: Any, runs: Path):
    page = open_page(server)
    draw(page)
    options = page.locator("#model option").all_inner_texts()
    assert options == ["grey, version 1", "small, version 1"]  # no model of colour images
    page.locator("#model").select_option(index=1)
    page.wait_for_load_state("networkidle")
    check_prediction(page, runs / "small")
    assert seen(page).shape == (1, 14, 14, 1)


def test_all_models_are_in_the_table(open_page: Any, server: Any):
    page = open_page(server)
    page.locator("#models tr").nth(2).wait_for()
    assert page.locator("#models td:first-child").all_inner_texts() == ["colour", "grey", "small"]
    assert "/v1/models/colour:predict" in page.locator("#example").inner_text()


def test_the_example_of_a_table_sends_rows(open_page: Any, tmp_path: Path):
    standardised = {"names": ["a", "b"], "mean": [0.5, 7.0], "deviation": [1.0, 0.1]}
    network = zoo.dense("table", [4], shape=(1, 1, 2), classes=3)
    serving.save_run(tmp_path / "run", network, data={"standardised": standardised})
    with serving.running("run", cwd=tmp_path) as server:
        page = open_page(server)
        page.locator("#models tr").wait_for()
        example = page.locator("#example").inner_text()
        assert """-d '{"instances": [{"rows": [NUMBERS]}]}' """ in example
        assert not page.locator("#drawing").is_visible()


@pytest.mark.parametrize("width", [390, 1200])
@pytest.mark.parametrize("color_scheme", ["light", "dark"])
def test_nothing_overflows_the_page(open_page: Any, server: Any, width: int, color_scheme: str):
    viewport = {"width": width, "height": 800}
    page = open_page(server, viewport=viewport, color_scheme=color_scheme)
    draw(page)
    page.locator("#bars li").first.wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_the_token_is_asked_for(open_page: Any, runs: Path):
    with serving.running("grey", cwd=runs, TRIPTYCH_TOKEN=TOKEN) as server:
        page = open_page(server)
        page.locator("#token").fill("wrong")
        page.locator("#access button").click()
        page.get_by_role("alert").get_by_text("an access token is needed").wait_for()
        page.locator("#token").fill(TOKEN)
        page.locator("#access button").click()
        page.locator("#models tr").wait_for()
        assert page.locator("#access").is_hidden()
        assert page.get_by_role("alert").is_hidden()
        draw(page)
        check_prediction(page, runs / "grey")
        assert TOKEN not in page.content()
        # The browser itself reports the answers 401, which are meant.
        assert all("401" in line for line in page.watch.wrong)
        page.watch.wrong.clear()


def test_the_page_may_run_no_foreign_code(server: Any):
    policy = server.ask("/").headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    page = server.ask("/").body.decode()
    assert "style=" not in page
    assert page.count("<script") == page.count('<script type="module" src=') == 1
