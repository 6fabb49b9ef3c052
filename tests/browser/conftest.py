"""The browser of the tests."""

from collections.abc import Iterator
from typing import Any

import pytest
from support.browser import CHROMIUM, FLAGS


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Return Chromium, started by Playwright."""
    api = pytest.importorskip("playwright.sync_api")
    with api.sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield opened
        opened.close()


@pytest.fixture(autouse=True)
def close_pages(browser: Any) -> Iterator[None]:
    """Close the pages of each test at its end, so that their processes do not add up."""
    yield
    for context in browser.contexts:
        context.close()
