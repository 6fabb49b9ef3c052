"""Downloads from a real server on this machine: checked, resumed, and from the next mirror where
one fails.
"""

import contextlib
import gzip
import hashlib
import http.server
import io
import random
import re
import tarfile
import threading
from functools import partial
from pathlib import Path

import pytest

from triptych.data import download, inventory
from triptych.data.published import PUBLISHED, Published
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
        if self.path.startswith(("/endless/", "/bomb/")):
            self.send_without_end(packed=self.path.startswith("/bomb/"))
            return
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0
        self.send_response(206 if asked else 200)
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        self.wfile.write(content[start : start + 100_000] if self.broken else content[start:])

    def send_without_end(self, packed: bool) -> None:
        """Send zeros until the other side has had enough, at most 64 MiB, so that a missing limit
        shows as a file.
        """
        self.send_response(200)
        if packed:
            self.send_header("Content-Encoding", "gzip")
        self.end_headers()
        piece = gzip.compress(bytes(2**20)) if packed else bytes(2**20)
        with contextlib.suppress(OSError):
            for _ in range(64):
                self.wfile.write(piece)

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

    def publish(*mirrors: str, most: int = 2**20) -> None:
        urls = tuple(m if "://" in m else f"{server.url}/{m}/" for m in mirrors)
        monkeypatch.setitem(PUBLISHED, "mnist", Published(urls, sums, most=most))

    return publish


def test_files_arrive_whole_and_only_once(server, published, tmp_path):
    published("good")
    seen: list = []
    folder = download.fetch("mnist", lambda *said: seen.append(said))
    assert folder == tmp_path / "mnist"
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == CONTENT
    assert seen[-1] == ("b.gz", len(CONTENT["b.gz"]), len(CONTENT["b.gz"]))
    server.log.clear()
    download.fetch("mnist")
    assert server.log == []


def test_a_broken_download_goes_on_where_it_stopped(server, published, tmp_path):
    published("good")
    server.set_broken(True)
    with pytest.raises(DataError, match=r"no mirror gave a good a\.gz"):
        download.fetch("mnist")
    assert (tmp_path / "mnist" / "a.gz.part").stat().st_size == 2**16
    server.set_broken(False)
    server.log.clear()
    download.fetch("mnist")
    assert server.log[0] == ("/good/a.gz", "bytes=65536-")
    assert (tmp_path / "mnist" / "a.gz").read_bytes() == CONTENT["a.gz"]


def test_the_next_mirror_is_asked_and_a_wrong_file_is_never_kept(published, tmp_path):
    published("gone", "wrong", "good")
    download.fetch("mnist")
    assert (tmp_path / "mnist" / "a.gz").read_bytes() == CONTENT["a.gz"]


def test_when_every_mirror_fails_it_says_how(published, tmp_path):
    published("gone", "wrong")
    with pytest.raises(DataError) as error:
        download.fetch("mnist")
    assert "404" in str(error.value)
    assert "SHA-256 is wrong" in str(error.value)
    assert not list((tmp_path / "mnist").glob("*.gz"))


@pytest.mark.parametrize("mirror", ["endless", "bomb"])
def test_a_mirror_without_end_is_left_at_the_limit(published, tmp_path, mirror: str):
    published(mirror)
    largest = []
    with pytest.raises(DataError) as error:
        download.fetch("mnist", lambda _, have, __: largest.append(have))
    assert "it sends more than 1,048,576 bytes" in str(error.value)
    assert max(largest) <= 2**20 + 2**16
    assert not list((tmp_path / "mnist").iterdir())
    published(mirror, "good")
    download.fetch("mnist")
    assert (tmp_path / "mnist" / "a.gz").read_bytes() == CONTENT["a.gz"]


def test_what_is_left_of_an_endless_download_is_not_gone_on_with(published, tmp_path):
    published("good", most=150_000)
    with pytest.raises(DataError, match="it sends more than 150,000 bytes"):
        download.fetch("mnist")
    assert not list((tmp_path / "mnist").iterdir())


def test_without_a_network_it_says_what_to_do(published, tmp_path):
    published("http://127.0.0.1:9/", "http://127.0.0.1:1/")
    with pytest.raises(DataError) as error:
        download.fetch("mnist")
    assert str(error.value) == (
        "mnist: no mirror gave a good a.gz (the connection is refused); "
        "what is here is kept: try again, or without a network put the four files into "
        f"{tmp_path / 'mnist'}, or use --data FOLDER"
    )


def test_a_failure_is_one_short_line():
    unresolved = OSError(
        "HTTPSConnectionPool(host='x', port=443): Max retries (Caused by NameResolutionError(…))"
    )
    assert download._brief(unresolved) == "its name cannot be resolved: no network?"
    assert len(download._brief(OSError("a\n\x1b[2J" * 500))) <= 100
    assert download._brief(OSError("a\n\x1b[2J")).isprintable()


def test_mirrors_that_are_encrypted_come_first():
    for published in PUBLISHED.values():
        plain = [mirror.startswith("http://") for mirror in published.mirrors]
        assert plain == sorted(plain)


def test_the_limit_leaves_room_for_every_published_file():
    """MNIST's largest file has 9.9 MB, Fashion-MNIST's 26.4, KMNIST's 18.2, CIFAR-10's archive
    170.1.
    """
    for name, megabytes in {
        "mnist": 9.92,
        "fashion-mnist": 26.43,
        "kmnist": 18.17,
        "cifar10": 170.06,
    }.items():
        assert PUBLISHED[name].most > megabytes * 1e6


def archive(members: dict[str, bytes]) -> bytes:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as tar:
        for name, member in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(member)
            tar.addfile(info, io.BytesIO(member))
    return content.getvalue()


@pytest.fixture
def packed(server, tmp_path, monkeypatch):
    """Publish an archive of which x.bin and y.bin are wanted."""
    monkeypatch.setenv("TRIPTYCH_DATA", str(tmp_path))

    def publish(content: bytes) -> None:
        monkeypatch.setitem(CONTENT, "c.tar.gz", content)
        sums = {"c.tar.gz": hashlib.sha256(content).hexdigest()}
        monkeypatch.setitem(
            PUBLISHED,
            "cifar10",
            Published((f"{server.url}/good/",), sums, members=("x.bin", "y.bin")),
        )

    return publish


def test_of_an_archive_only_the_members_are_kept(server, packed, tmp_path):
    packed(archive({"set/x.bin": b"x", "set/x": b"a pickle", "set/y.bin": b"y", "set/z.bin": b"z"}))
    folder = download.fetch("cifar10")
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == {
        "x.bin": b"x",
        "y.bin": b"y",
    }
    assert [item.file for item in inventory.inventory() if item.name == "cifar10"] == [
        str(folder / "x.bin"),
        str(folder / "y.bin"),
    ]
    server.log.clear()
    download.fetch("cifar10")
    assert server.log == []


BAD_ARCHIVES = {
    "a name that escapes": (
        archive({"../x.bin": b"x", "y.bin": b"y"}),
        "'../x.bin' would lie outside the folder",
    ),
    "an absolute name": (
        archive({"x.bin": b"x", "/tmp/y.bin": b"y"}),
        "'/tmp/y.bin' would lie outside",
    ),
    "a member that is missing": (archive({"x.bin": b"x"}), "holds no y.bin"),
    "no archive": (b"x" * 1000, "cannot be unpacked"),
    "a truncated archive": (
        archive({"x.bin": bytes(random.Random(0).randbytes(90_000)), "y.bin": b"y"})[:-5000],
        "cannot be unpacked",
    ),
}


@pytest.mark.parametrize("kind", BAD_ARCHIVES)
def test_a_bad_archive_gets_one_clear_line(packed, tmp_path, kind: str):
    content, says = BAD_ARCHIVES[kind]
    packed(content)
    with pytest.raises(DataError) as error:
        download.fetch("cifar10")
    assert says in str(error.value)
    assert "\n" not in str(error.value)
    assert {path.name for path in tmp_path.iterdir()} == {"cifar10"}


def test_an_unknown_name():
    with pytest.raises(DataError, match="did you mean 'kmnist'"):
        download.fetch("kmnis")


def test_the_inventory_says_what_is_here(tmp_path, monkeypatch):
    monkeypatch.setenv("TRIPTYCH_DATA", str(tmp_path))
    (tmp_path / "mnist").mkdir()
    (tmp_path / "mnist" / "train-labels-idx1-ubyte.gz").write_bytes(
        gzip.compress(b"not the labels")
    )
    items = {(item.name, item.file): item for item in inventory.inventory()}
    path = str(tmp_path / "mnist" / "train-labels-idx1-ubyte.gz")
    assert items["mnist", path].note == "not the published file"
    assert items["mnist", "3 of 4 files missing"].note == "triptych data fetch mnist"
    written = Path(path).read_bytes()
    assert items["mnist", path].sha256 == hashlib.sha256(written).hexdigest()


def test_a_damaged_file_does_not_end_the_inventory(tmp_path, monkeypatch):
    monkeypatch.setenv("TRIPTYCH_DATA", str(tmp_path))
    (tmp_path / "mnist").mkdir()
    path = tmp_path / "mnist" / "train-images-idx3-ubyte.gz"
    path.write_bytes(gzip.compress(CONTENT["a.gz"])[:-9000])
    assert {item.file: item.note for item in inventory.inventory()}[str(path)] == "damaged"


def test_every_published_file_has_a_sum():
    for published in PUBLISHED.values():
        assert published.count in (4, 6)
        assert len(published.classes) == 10
        assert len(set(published.sha256.values())) == len(published.sha256)
        for value in published.sha256.values():
            assert re.fullmatch("[0-9a-f]{64}", value)
