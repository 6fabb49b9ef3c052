"""Chromium for the tests, cut off from every network but this machine."""

import shutil
import threading
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

CHROMIUM = (
    shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
)
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",
]


@dataclass
class Watch:
    """What a page has asked for, and what went wrong on it.

    Attributes
    ----------
    asked : list of str
        The addresses of all requests.
    wrong : list of str
        Uncaught errors, and errors and warnings of the console.
    """

    asked: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, page: Any) -> "Watch":
        """Watch a page from now on."""
        watch = cls()
        page.on("request", lambda request: watch.asked.append(request.url))
        page.on("pageerror", lambda error: watch.wrong.append(str(error)))
        page.on("console", watch._see_message)
        return watch

    def _see_message(self, message: Any) -> None:
        if message.type in ("error", "warning"):
            self.wrong.append(message.text)


class _QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def serving(folder: Path) -> Generator[str]:
    """Serve a folder on this machine alone, with a server that knows nothing of the pages in it.

    Its address is yielded, without a slash at the end.
    """
    handler = partial(_QuietHandler, directory=folder)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
