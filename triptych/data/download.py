"""Downloads into the user's cache: from mirrors, with checked SHA-256, resumed after a break."""

import os
import tarfile
import zlib
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

from ..core import files
from ..errors import DataError, one_line, suggest
from .cache import cache_folder
from .checks import LIMIT
from .published import PUBLISHED
from .readers import idx

# What requests and urllib3 write about common failures, and the same in a few words.
_REASONS = (
    ("NameResolutionError", "its name cannot be resolved: no network?"),
    ("getaddrinfo", "its name cannot be resolved: no network?"),
    ("Connection refused", "the connection is refused"),
    ("Network is unreachable", "no network"),
    ("No route to host", "no network"),
    ("timed out", "no answer in 30 seconds"),
    ("ProxyError", "the proxy gives no connection"),
    ("CERTIFICATE_VERIFY_FAILED", "its certificate cannot be verified"),
    ("No space left", "no space left on the disk"),
    ("IncompleteRead", "the connection broke off"),
)

PARTIAL_CONTENT = 206  # status codes of HTTP
RANGE_NOT_SATISFIABLE = 416
TIMEOUT_SECONDS = 30
PIECE_BYTES = 2**16

Progress = Callable[[str, int, int], None]  # file, bytes so far, bytes in all


def files_present(name: str) -> dict[str, Path]:
    """Return the files of a data set that are in the cache, by stem (IDX) or by name."""
    folder = cache_folder() / name
    members = PUBLISHED[name].members
    if members:
        return {member: folder / member for member in members if (folder / member).is_file()}
    return idx.files(folder)


def fetch(name: str, progress: Progress | None = None) -> Path:
    """Download a data set into the cache, file by file, and return its folder.

    A file that is there and whole is not fetched again. A broken download is continued.

    Raises
    ------
    DataError
        The name is unknown, no mirror gave a file with the right SHA-256, or its archive is not
        what it should be.
    """
    import pooch

    if name not in PUBLISHED:
        raise DataError(f"data set {name!r} is unknown; {suggest(name, PUBLISHED)}")
    folder = cache_folder() / name
    published = PUBLISHED[name]
    if published.members and len(files_present(name)) == published.count:
        return folder
    pooch.get_logger().setLevel("ERROR")
    for file, sha256 in published.sha256.items():
        _fetch_file(name, file, sha256, progress)
        if published.members:
            _unpack(folder / file, published.members)
    return folder


def _fetch_file(name: str, file: str, sha256: str, progress: Progress | None) -> None:
    """Download one file from the first mirror that has it whole.

    Raises
    ------
    DataError
        Naming what went wrong at each mirror.
    """
    import pooch

    published = PUBLISHED[name]
    folder = cache_folder() / name
    failures: list[tuple[str, str]] = []
    for mirror in published.mirrors:
        resuming: Any = _Resuming(folder / f"{file}.part", published.most, progress)
        try:
            pooch.retrieve(mirror + file, f"sha256:{sha256}", file, folder, downloader=resuming)
        except (OSError, ValueError) as error:  # of requests; a wrong hash is a ValueError
            failures.append((urlsplit(mirror).netloc, _brief(error)))
        else:
            return
    raise DataError(_failed(name, file, failures))


def _failed(name: str, file: str, failures: list[tuple[str, str]]) -> str:
    """Return what went wrong at each mirror, by its host, and what to do."""
    files_needed = "its files" if PUBLISHED[name].members else "the four files"
    reasons = {reason for _, reason in failures}
    why = "; ".join(f"{host}: {reason}" for host, reason in failures)
    if len(reasons) == 1:  # the same at every mirror
        (why,) = reasons
    return (
        f"{name}: no mirror gave a good {file} ({one_line(why, 100)}); what is here is kept: "
        f"try again, or without a network put {files_needed} into {cache_folder() / name}, "
        "or use --data FOLDER"
    )


def _unpack(archive: Path, members: tuple[str, ...]) -> None:
    """Put the members of an archive, and nothing else, next to it; then delete the archive."""
    try:
        with tarfile.open(archive, "r:gz") as tar:
            for info in tar:
                path = PurePosixPath(info.name)
                if path.is_absolute() or ".." in path.parts:
                    member = one_line(info.name, 80)
                    raise DataError(
                        f"{archive}: '{member}' would lie outside the folder; "
                        "nothing of the kind is unpacked"
                    )
                is_wanted = path.name in members and info.isfile() and info.size <= LIMIT
                content = tar.extractfile(info) if is_wanted else None
                if content is not None:
                    files.write(archive.parent / path.name, content.read())
    except (tarfile.TarError, EOFError, zlib.error, OSError) as error:
        raise DataError(f"{archive}: cannot be unpacked ({one_line(error, 100)})") from None
    for member in members:
        if not (archive.parent / member).is_file():
            raise DataError(f"{archive}: holds no {member}")
    archive.unlink()


class _Resuming:
    """A downloader for pooch that asks only for the bytes it lacks.

    Attributes
    ----------
    part : Path
        The file that grows until it is whole.
    most : int
        The most bytes that the file may have.
    progress : callable, optional
    """

    def __init__(self, part: Path, most: int, progress: Progress | None) -> None:
        self.part = part
        self.most = most
        self.progress = progress

    def __call__(self, url: str, output_file: Any, pooch: Any) -> None:
        """Download `url` into `output_file`; pooch then checks its hash."""
        import requests

        size = self.part.stat().st_size if self.part.exists() else 0
        headers = {"Accept-Encoding": "identity"}  # the files are compressed already
        if size:
            headers["Range"] = f"bytes={size}-"
        with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT_SECONDS) as answer:
            if answer.status_code == RANGE_NOT_SATISFIABLE:  # the part may be the whole file
                os.replace(self.part, output_file)
                return
            answer.raise_for_status()
            size = self._save(answer, size if answer.status_code == PARTIAL_CONTENT else 0)
        if size > self.most:  # whatever it sends, it is not the file
            self.part.unlink()
            raise ValueError(f"it sends more than {self.most:,} bytes")
        os.replace(self.part, output_file)

    def _save(self, answer: Any, size: int) -> int:
        """Append what is sent to the first `size` bytes; return how many there are then."""
        total = size + int(answer.headers.get("Content-Length", 0))
        with self.part.open("ab" if size else "wb") as file:
            for piece in answer.iter_content(PIECE_BYTES):
                size += len(piece)
                if size > self.most:
                    break
                file.write(piece)
                if self.progress:
                    self.progress(self.part.stem, size, total)
        return size


def _brief(error: Exception) -> str:
    """Return in one short line why a mirror failed."""
    text = str(error)
    if "hash" in text:
        return "the file's SHA-256 is wrong"
    for sign, why in _REASONS:
        if sign in text:
            return why
    return one_line(" ".join(text.split("(Caused by")[-1].split()), 100)
