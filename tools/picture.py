"""Make the picture in the README from the report of a run (needs Chromium and make setup).

    python tools/picture.py runs/RUN

The run is the comparison that the README describes, on an idle machine, so that the report has no
warnings::

    triptych compare --engines numba,torch,tensorflow --data mnist_test.csv
"""

import io
import shutil
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

HEIGHT = 1080  # pixels
DOCS = Path(__file__).resolve().parent.parent / "docs"


def draw(run: Path) -> None:
    """Write docs/report.png from the report in a run folder."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium") or shutil.which("google-chrome"),
            args=[
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--host-resolver-rules=MAP * ~NOTFOUND",
            ],
        )
        page = browser.new_page(viewport={"width": 1200, "height": HEIGHT}, color_scheme="light")
        page.goto((run / "report.html").resolve().as_uri())
        page.locator("svg").first.wait_for()
        shot = page.screenshot()
        browser.close()

    picture = Image.open(io.BytesIO(shot)).convert("RGB").quantize(128)
    picture.save(DOCS / "report.png", optimize=True)


if __name__ == "__main__":
    draw(Path(sys.argv[1]))
