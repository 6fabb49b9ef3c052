"""Downloads into the user's cache: from mirrors, SHA-256 of every file, resumed where they broke off."""

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

Progress = Callable[[str, int, int], None]  # file, bytes so far, bytes in all


def files_present(name: str) -> dict[str, Path]:
    """Return the files of a data set that are in the cache, by stem (IDX) or by name."""
    folder = cache_folder() / name
    if members := PUBLISHED[name].members:
        return {member: folder / member for member in members if (folder / member).is_file()}
    return idx.files(folder)


def fetch(name: str, progress: Progress | None = None) -> Path:
    """Download a data set into the cache, file by file, and return its folder.

    A file that is there and whole is not fetched again; a broken download goes on where it stopped.

    Raises
    ------
    DataError
        Where the name is unknown, no mirror gave a file with the right SHA-256, or its archive is not what it should be.
    """
    import pooch

    if name not in PUBLISHED:
        raise DataError(f"data set {name!r} is unknown; {suggest(name, PUBLISHED)}")
    folder, published = cache_folder() / name, PUBLISHED[name]
    if published.members and len(files_present(name)) == published.count:
        return folder
    pooch.get_logger().setLevel("ERROR")
    for file, sha256 in published.sha256.items():
        failures: list[tuple[str, str]] = []
        for mirror in published.mirrors:
            try:
                resuming: Any = _Resuming(folder / f"{file}.part", published.most, progress)
                pooch.retrieve(mirror + file, f"sha256:{sha256}", file, folder, downloader=resuming)
                break
            except (
                OSError,
                ValueError,
            ) as error:  # requests' errors are OSErrors; a wrong hash is a ValueError
                failures.append((urlsplit(mirror).netloc, _brief(error)))
        else:
            raise DataError(_failed(name, file, failures))
        if published.members:
            _unpack(folder / file, published.members)
    return folder


def _failed(name: str, file: str, failures: list[tuple[str, str]]) -> str:
    """Return what went wrong at each mirror, by its host, and what to do."""
    what = "its files" if PUBLISHED[name].members else "the four files"
    reasons = {reason for _, reason in failures}
    why = "; ".join(f"{host}: {reason}" for host, reason in failures)
    if len(reasons) == 1:  # that of every mirror
        (why,) = reasons
    return (
        f"{name}: no mirror gave a good {file} ({one_line(why, 100)}); what is here is kept: try again, "
        f"or without a network put {what} into {cache_folder() / name}, or use --data FOLDER"
    )


def _unpack(archive: Path, members: tuple[str, ...]) -> None:
    """Put the members, and nothing else of it, beside the archive, which is then deleted."""
    try:
        with tarfile.open(archive, "r:gz") as tar:
            for info in tar:
                path = PurePosixPath(info.name)
                if path.is_absolute() or ".." in path.parts:
                    raise DataError(
                        f"{archive}: '{one_line(info.name, 80)}' would lie outside the folder; nothing of the kind is unpacked"
                    )
                if (
                    path.name in members
                    and info.isfile()
                    and info.size <= LIMIT
                    and (content := tar.extractfile(info))
                ):
                    files.write(archive.parent / path.name, content.read())
    except (tarfile.TarError, EOFError, zlib.error, OSError) as error:
        raise DataError(f"{archive}: cannot be unpacked ({one_line(error, 100)})") from None
    if missing := [member for member in members if not (archive.parent / member).is_file()]:
        raise DataError(f"{archive}: holds no {missing[0]}")
    archive.unlink()


class _Resuming:
    """A pooch downloader that asks only for the bytes it lacks."""

    def __init__(self, part: Path, most: int, progress: Progress | None) -> None:
        self.part, self.most, self.progress = part, most, progress

    def __call__(self, url: str, output_file: Any, pooch: Any) -> None:
        import requests

        have = self.part.stat().st_size if self.part.exists() else 0
        asked = {"Accept-Encoding": "identity"}  # the files are compressed already
        if have:
            asked["Range"] = f"bytes={have}-"
        with requests.get(url, headers=asked, stream=True, timeout=30) as answer:
            if answer.status_code == 416:  # nothing beyond what is here: let the hash judge it
                os.replace(self.part, output_file)
                return
            answer.raise_for_status()
            if answer.status_code != 206:
                have = 0
            total = have + int(answer.headers.get("Content-Length", 0))
            with self.part.open("ab" if have else "wb") as file:
                for piece in answer.iter_content(2**16):
                    have += len(piece)
                    if have > self.most:
                        break
                    file.write(piece)
                    if self.progress:
                        self.progress(self.part.stem, have, total)
        if have > self.most:  # whatever it sends, it is not the file
            self.part.unlink()
            raise ValueError(f"it sends more than {self.most:,} bytes")
        os.replace(self.part, output_file)


def _brief(error: Exception) -> str:
    """Return in one short line why a mirror failed."""
    text = str(error)
    if "hash" in text:
        return "the file's SHA-256 is wrong"
    for sign, why in _REASONS:
        if sign in text:
            return why
    return one_line(" ".join(text.split("(Caused by")[-1].split()), 100)
