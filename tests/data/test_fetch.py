"""Downloads from a real server on this machine: checked, resumed, and from the next mirror where one fails."""

import gzip
import hashlib
import http.server
import random
import threading
from functools import partial

import pytest

from triptych.data import fetch, inventory
from triptych.errors import DataError

CONTENT = {f"{name}.gz": random.Random(name).randbytes(200_000) for name in ("a", "b")}


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves CONTENT with ranges, as the mirrors do; `broken` cuts every answer short."""

    def __init__(self, *args, log: list, broken: bool, **kwargs) -> None:
        self.log, self.broken = log, broken
        super().__init__(*args, **kwargs)

    def do_GET(self) -> None:
        content = CONTENT.get(self.path.rpartition("/")[2])
        if content is None or self.path.startswith("/gone/"):
            self.send_error(404)
            return
        if self.path.startswith("/wrong/"):
            content = b"x" * len(content)
        asked = self.headers.get("Range")
        self.log.append((self.path, asked))
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0
        self.send_response(206 if asked else 200)
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        self.wfile.write(content[start : start + 100_000] if self.broken else content[start:])

    def log_message(self, *_) -> None:
        pass


@pytest.fixture
def server():
    log: list = []
    handler = partial(Handler, log=log, broken=False)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as serving:
        threading.Thread(target=serving.serve_forever, daemon=True).start()
        serving.log = log
        serving.set_broken = lambda broken: handler.keywords.update(broken=broken)
        serving.url = f"http://127.0.0.1:{serving.server_port}"
        yield serving
        serving.shutdown()


@pytest.fixture
def published(server, tmp_path, monkeypatch):
    monkeypatch.setenv("TRIPTYCH_DATA", str(tmp_path))
    sums = {name: hashlib.sha256(content).hexdigest() for name, content in CONTENT.items()}

    def publish(*mirrors: str) -> None:
        monkeypatch.setitem(fetch.PUBLISHED, "mnist", fetch.Published(tuple(f"{server.url}/{m}/" for m in mirrors), sums))

    return publish


def test_files_arrive_whole_and_only_once(server, published, tmp_path):
    published("good")
    seen: list = []
    folder = fetch.fetch("mnist", lambda *said: seen.append(said))
    assert folder == tmp_path / "mnist"
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == CONTENT
    assert seen[-1] == ("b.gz", len(CONTENT["b.gz"]), len(CONTENT["b.gz"]))
    server.log.clear()
    fetch.fetch("mnist")
    assert server.log == []


def test_a_broken_download_goes_on_where_it_stopped(server, published, tmp_path):
    published("good")
    server.set_broken(True)
    with pytest.raises(DataError, match=r"no mirror gave a good a\.gz"):
        fetch.fetch("mnist")
    assert (tmp_path / "mnist" / "a.gz.part").stat().st_size == 2**16
    server.set_broken(False)
    server.log.clear()
    fetch.fetch("mnist")
    assert server.log[0] == ("/good/a.gz", "bytes=65536-")
    assert (tmp_path / "mnist" / "a.gz").read_bytes() == CONTENT["a.gz"]


def test_the_next_mirror_is_asked_and_a_wrong_file_is_never_kept(published, tmp_path):
    published("gone", "wrong", "good")
    fetch.fetch("mnist")
    assert (tmp_path / "mnist" / "a.gz").read_bytes() == CONTENT["a.gz"]


def test_when_every_mirror_fails_it_says_how(published, tmp_path):
    published("gone", "wrong")
    with pytest.raises(DataError) as error:
        fetch.fetch("mnist")
    assert "404" in str(error.value)
    assert "SHA-256 is wrong" in str(error.value)
    assert not list((tmp_path / "mnist").glob("*.gz"))


def test_an_unknown_name():
    with pytest.raises(DataError, match="did you mean 'kmnist'"):
        fetch.fetch("kmnis")


def test_the_inventory_says_what_is_here(tmp_path, monkeypatch):
    monkeypatch.setenv("TRIPTYCH_DATA", str(tmp_path))
    (tmp_path / "mnist").mkdir()
    (tmp_path / "mnist" / "train-labels-idx1-ubyte.gz").write_bytes(gzip.compress(b"not the labels"))
    items = {(item.name, item.file): item for item in inventory.inventory()}
    path = str(tmp_path / "mnist" / "train-labels-idx1-ubyte.gz")
    assert items["mnist", path].note == "not the published file"
    assert items["mnist", "3 of 4 files missing"].note == "triptych data fetch mnist"
    assert len(items["mnist", path].sha256) == 64


def test_every_published_file_has_a_sum():
    for published in fetch.PUBLISHED.values():
        assert len(published.sha256) == 4
        assert len(published.mirrors) >= 2
        assert all(len(value) == 64 for value in published.sha256.values())
