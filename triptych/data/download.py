"""Downloads into the user's cache: from mirrors, SHA-256 of every file, resumed where they broke off."""

import os
import tarfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

from ..core import files
from ..errors import DataError, one_line, suggest
from .cache import cache_folder
from .checks import LIMIT
from .dataset import DIGITS
from .readers import cifar, idx

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


@dataclass(frozen=True)
class Published:
    """A data set as its authors publish it.

    Attributes
    ----------
    mirrors : tuple of str
        Where, best first.
    sha256 : dict of str to str
        Of each file to download: gzipped IDX, or one archive.
    classes : tuple of str
    members : tuple of str
        The files that are taken out of the archive.
    most : int
        Bytes that a file to download may have.
    """

    mirrors: tuple[str, ...]
    sha256: dict[str, str]
    classes: tuple[str, ...] = DIGITS
    members: tuple[str, ...] = ()
    most: int = 32 * 2**20

    @property
    def count(self) -> int:
        """How many files it is, once it is here."""
        return len(self.members or self.sha256)


_NAMES = (
    "train-images-idx3-ubyte.gz",
    "train-labels-idx1-ubyte.gz",
    "t10k-images-idx3-ubyte.gz",
    "t10k-labels-idx1-ubyte.gz",
)

PUBLISHED: dict[str, Published] = {
    "mnist": Published(
        (
            "https://ossci-datasets.s3.amazonaws.com/mnist/",
            "https://storage.googleapis.com/cvdf-datasets/mnist/",
        ),
        dict(
            zip(
                _NAMES,
                (
                    "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
                    "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
                    "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
                    "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
                ),
                strict=True,
            )
        ),
    ),
    "fashion-mnist": Published(
        (
            "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/",
            "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        ),
        dict(
            zip(
                _NAMES,
                (
                    "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
                    "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
                    "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
                    "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
                ),
                strict=True,
            )
        ),
        (
            "T-shirt/top",
            "trouser",
            "pullover",
            "dress",
            "coat",
            "sandal",
            "shirt",
            "sneaker",
            "bag",
            "ankle boot",
        ),
    ),
    "kmnist": Published(
        (
            "https://codh.rois.ac.jp/kmnist/dataset/kmnist/",
            "http://codh.rois.ac.jp/kmnist/dataset/kmnist/",
        ),
        dict(
            zip(
                _NAMES,
                (
                    "51467d22d8cc72929e2a028a0428f2086b092bb31cfb79c69cc0a90ce135fde4",
                    "e38f9ebcd0f3ebcdec7fc8eabdcdaef93bb0df8ea12bee65224341c8183d8e17",
                    "edd7a857845ad6bb1d0ba43fe7e794d164fe2dce499a1694695a792adfac43c5",
                    "20bb9a0ef54c7db3efc55a92eef5582c109615df22683c380526788f98e42a1c",
                ),
                strict=True,
            )
        ),
        ("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo"),
    ),
    "cifar10": Published(
        ("https://www.cs.toronto.edu/~kriz/",),
        {
            "cifar-10-binary.tar.gz": "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd"
        },
        cifar.CLASSES,
        (*cifar.TRAIN, *cifar.TEST),
        most=256 * 2**20,
    ),
}

# SHA-256 of MNIST's files after gunzip: the same whoever compressed them.
MNIST_CONTENT = {
    "train-images": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}


def here(name: str) -> dict[str, Path]:
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
    if published.members and len(here(name)) == published.count:
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
