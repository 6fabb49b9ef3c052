"""An exported page in a real browser, cut off from the network: drawn on, and verified."""

import json
import math
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.browser import CHROMIUM, Watch, serving
from support.exporting import random_state, samples_of

import triptych as tt
from triptych.data.dataset import Dataset
from triptych.errors import EngineError, TriptychError
from triptych.exporting import web
from triptych.exporting.targets import target
from triptych.exporting.web_runtime import PACKAGE, VERSION, WebRuntime
from triptych.results import TrainingResult

SECONDS_TO_LOAD = 60

pytestmark = pytest.mark.skipif(
    bool(target("web").missing) or not CHROMIUM,
    reason="needs onnx, and Chromium (apt install chromium)",
)

Point = tuple[float, float]  # in shares of the square's side


@pytest.fixture(scope="module")
def trained(digits: Dataset) -> TrainingResult:
    recipe = tt.Recipe(epochs=8, batch_size=32, optimizer=tt.optimizers.Adam())
    return tt.train("numpy", tt.dense(784, 32, 10), recipe, digits, runs=None)


@pytest.fixture(scope="module")
def exported(trained: TrainingResult, digits: Dataset, npm_folder: Path, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("export")
    (result,) = tt.export(trained, "web", data=digits, out=out, web_runtime=npm_folder)
    assert result.verdict == "rounding"
    return result.folder


@pytest.fixture
def serve() -> Iterator[Callable[[Path], str]]:
    """Serve folders until the end of the test."""
    with ExitStack() as servers:
        yield lambda folder: servers.enter_context(serving(folder))


@pytest.fixture
def open_page(browser: Any, serve: Callable[[Path], str]) -> Iterator[Callable[..., Any]]:
    """Open a page of a folder; at the end nothing was asked elsewhere, and nothing went wrong."""
    opened: list[tuple[str, Watch]] = []

    def open_it(folder: Path, name: str = "index.html", **options: Any) -> Any:
        address = serve(folder)
        page = browser.new_page(**options)
        opened.append((address, Watch.of(page)))
        page.goto(f"{address}/{name}")
        return page

    yield open_it
    for address, watch in opened:
        assert [url for url in watch.asked if not url.startswith((f"{address}/", "data:"))] == []
        assert watch.wrong == []


def ready(page: Any) -> Any:
    page.locator("#draw").wait_for(state="visible", timeout=SECONDS_TO_LOAD * 1000)
    return page


def draw(page: Any, points: list[Point]) -> None:
    """Draw a line with the mouse."""
    box = page.locator("#pad").bounding_box()
    places = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in points]
    page.mouse.move(*places[0])
    page.mouse.down()
    for place in places[1:]:
        page.mouse.move(*place, steps=4)
    page.mouse.up()


def circle() -> list[Point]:
    angles = [2 * math.pi * part / 24 for part in range(25)]
    return [(0.5 + 0.2 * math.sin(a), 0.5 - 0.35 * math.cos(a)) for a in angles]


PICTURE = """canvas => Array.from(
    canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data
  ).filter((_, i) => i % 4 === 0)"""


def seen(page: Any) -> np.ndarray:
    """Return what the network sees, as bytes."""
    pixels = page.locator("#picture").evaluate(PICTURE)
    return np.array(pixels, np.uint8).reshape(1, 28, 28, 1)


@pytest.mark.parametrize("width", [390, pytest.param(1200, marks=pytest.mark.slow)])
def test_a_digit_is_drawn_and_read(
    open_page: Any, exported: Path, trained: TrainingResult, width: int
):
    api = pytest.importorskip("playwright.sync_api")
    page = ready(open_page(exported, viewport={"width": width, "height": 860}))
    prediction = page.locator("#prediction")
    assert prediction.inner_text() == "–"
    draw(page, circle())
    picture = seen(page)
    expected = tt.predict(trained, picture)
    api.expect(prediction).to_have_text(str(expected.classes[0]))
    api.expect(prediction).to_have_text("0")
    shown = page.locator("#probabilities td:last-child").all_inner_texts()
    percent = [float(text.removesuffix("%")) for text in shown]
    np.testing.assert_allclose(percent, 100 * expected.probabilities[0], atol=2)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.locator("#clear").click()
    api.expect(prediction).to_have_text("–")
    assert seen(page).max() == 0


@pytest.mark.parametrize(("scale", "shift"), [(0.3, 0.0), (1.0, 0.0), (0.5, 0.15)])
def test_the_picture_is_made_as_that_of_mnist(
    open_page: Any, exported: Path, tmp_path: Path, scale: float, shift: float
):
    """A seven of any size and anywhere: in a box of 20×20, its centre of mass in the middle."""
    folder = tmp_path / "web"
    shutil.copytree(exported, folder)
    about = json.loads((folder / web.PAGE_DESCRIPTION).read_text())
    (folder / web.PAGE_DESCRIPTION).write_text(json.dumps(about | {"box": 20}))
    page = ready(open_page(folder))
    seven = [(0.3, 0.2), (0.7, 0.2), (0.45, 0.8)]
    draw(page, [(0.5 + scale * (x - 0.5) + shift, 0.5 + scale * (y - 0.5)) for x, y in seven])
    picture = seen(page)[0, :, :, 0].astype(float)
    rows, columns = np.nonzero(picture)
    assert np.ptp(rows) + 1 == 20
    assert np.ptp(columns) + 1 <= 20
    mass = picture.sum()
    assert abs((picture.sum(axis=1) @ (np.arange(28) + 0.5)) / mass - 14) <= 0.51
    assert abs((picture.sum(axis=0) @ (np.arange(28) + 0.5)) / mass - 14) <= 0.51
    assert picture.max() > 250


def test_a_finger_draws_too(open_page: Any, exported: Path):
    options = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
    page = ready(open_page(exported, **options))
    box = page.locator("#pad").bounding_box()
    client = page.context.new_cdp_session(page)
    places = [{"x": box["x"] + box["width"] / 2, "y": box["y"] + y} for y in range(40, 280, 20)]
    client.send("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": [places[0]]})
    for place in places[1:]:
        client.send("Input.dispatchTouchEvent", {"type": "touchMove", "touchPoints": [place]})
    client.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    pytest.importorskip("playwright.sync_api").expect(page.locator("#prediction")).to_have_text("1")
    assert page.evaluate("scrollY") == 0, "the page was scrolled instead"


@pytest.mark.parametrize("width", [390, 1200])
def test_the_verification_page_shows_the_same_verdict(open_page: Any, exported: Path, width: int):
    page = open_page(exported, "verify.html", viewport={"width": width, "height": 860})
    page.locator("#result").wait_for(state="visible", timeout=SECONDS_TO_LOAD * 1000)
    about = json.loads((exported / "export.json").read_text())
    assert page.locator("#verdict").inner_text() == about["verdict"] == "rounding"
    cells = page.locator("#figures tr").evaluate_all(
        "rows => rows.map((row) => Array.from(row.cells, (cell) => cell.textContent))"
    )
    figures = {name: (here, then) for name, here, then in cells}
    # The same WebAssembly computes the same numbers in the browser and in Node.js.
    for name in ("verdict", "largest difference", "bound", "samples", "accuracy"):
        assert figures[name][0] == figures[name][1], name
    assert figures["predictions that differ"] == ("0", "0")
    assert figures["samples"][0] == str(about["samples"])
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_the_verification_page_finds_another_model(
    open_page: Any, exported: Path, trained: TrainingResult, tmp_path: Path
):
    """The page judges what is in the folder, not what was exported."""
    from triptych.exporting.onnx_graph import build_model

    folder = tmp_path / "web"
    shutil.copytree(exported, folder)
    wrong = build_model(trained.network, random_state(trained.network), {})
    (folder / "model.onnx").write_bytes(wrong.SerializeToString())
    page = open_page(folder, "verify.html")
    page.locator("#result").wait_for(state="visible", timeout=SECONDS_TO_LOAD * 1000)
    assert page.locator("#verdict").inner_text() == "formula"


def test_colour_images_are_verified_but_not_drawn(open_page: Any, npm_folder: Path, tmp_path: Path):
    from support import exporting

    from triptych.exporting.export import export_model
    from triptych.exporting.verification import Reference
    from triptych.spec import zoo

    network = zoo.dense("colour", [8], shape=(9, 11, 3), classes=4)
    model = exporting.model_of(network)
    test = samples_of(network)
    result = export_model(
        target("web"),
        tmp_path / "web",
        model,
        Reference.of(model, test),
        test,
        web_runtime=WebRuntime.find(npm_folder, tmp_path),
    )
    assert result.verdict == "rounding"
    page = open_page(result.folder)
    page.get_by_text("cannot be drawn").wait_for(timeout=SECONDS_TO_LOAD * 1000)
    assert not page.locator("#draw").is_visible()
    page.locator("a").click()
    page.locator("#result").wait_for(state="visible", timeout=SECONDS_TO_LOAD * 1000)
    assert page.locator("#verdict").inner_text() == "rounding"


# --- The runtime -------------------------------------------------------------------------------


def test_the_runtime_is_found_upwards(npm_folder: Path):
    below = npm_folder / "a" / "b"
    below.mkdir(parents=True, exist_ok=True)
    assert WebRuntime.find(None, below) == WebRuntime.find(npm_folder, Path("/"))


def test_no_runtime_is_a_clear_message(tmp_path: Path):
    for given in (None, tmp_path):
        with pytest.raises(TriptychError, match=f"npm install onnxruntime-web@{VERSION}"):
            WebRuntime.find(given, tmp_path)


def test_another_version_is_refused(tmp_path: Path):
    package = tmp_path / "node_modules" / PACKAGE
    package.mkdir(parents=True)
    (package / "package.json").write_text(json.dumps({"name": PACKAGE, "version": "1.0.0"}))
    with pytest.raises(TriptychError, match=r"holds onnxruntime-web 1\.0\.0"):
        WebRuntime.find(None, tmp_path)
    (package / "package.json").write_text("{")
    with pytest.raises(TriptychError, match="damaged"):
        WebRuntime.find(None, tmp_path)
    (package / "package.json").write_text(json.dumps({"name": PACKAGE, "version": VERSION}))
    with pytest.raises(TriptychError, match=r"ort\.wasm\.min\.mjs: missing"):
        WebRuntime.find(None, tmp_path).copy(tmp_path / "runtime")


def test_without_node_the_message_says_so(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(EngineError, match=r"Node\.js, which is not installed"):
        web.find_runtime(None)
