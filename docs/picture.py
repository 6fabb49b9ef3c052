"""Make the picture in the README: ``python docs/picture.py runs/<time>-compare`` (needs Chromium and make setup).

The run is the original's job, on an idle machine, so that the report needs no warnings::

    env -u OPENBLAS_CORETYPE -u OPENBLAS_L2_SIZE triptych compare --engines torch,tensorflow --data mnist_test.csv
"""

import io
import shutil
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

HEIGHT = 1080

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
    page.goto((Path(sys.argv[1]) / "report.html").resolve().as_uri())
    page.locator("svg").first.wait_for()
    shot = page.screenshot()
    browser.close()

picture = Image.open(io.BytesIO(shot)).convert("RGB").quantize(128)
picture.save(Path(__file__).with_name("report.png"), optimize=True)
