"""Downloads into the user's cache: several mirrors, SHA-256 of every file, resumed where they broke off."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import DataError, suggest

Progress = Callable[[str, int, int], None]  # file, bytes so far, bytes in all


@dataclass(frozen=True)
class Published:
    """A data set as its authors publish it: where, and the SHA-256 of each gzipped IDX file."""

    mirrors: tuple[str, ...]
    sha256: dict[str, str]


_NAMES = ("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz", "t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz")

PUBLISHED: dict[str, Published] = {
    "mnist": Published(
        ("https://ossci-datasets.s3.amazonaws.com/mnist/", "https://storage.googleapis.com/cvdf-datasets/mnist/"),
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
            "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
            "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/",
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
    ),
    "kmnist": Published(
        ("http://codh.rois.ac.jp/kmnist/dataset/kmnist/", "https://codh.rois.ac.jp/kmnist/dataset/kmnist/"),
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
    ),
}

# SHA-256 of MNIST's files after gunzip: the same whoever compressed them.
MNIST_CONTENT = {
    "train-images": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}


def cache() -> Path:
    """Return where downloads live: ``$TRIPTYCH_DATA``, or the user's cache folder."""
    if set_by_user := os.environ.get("TRIPTYCH_DATA"):
        return Path(set_by_user)
    from platformdirs import user_cache_path

    return user_cache_path("triptych")


def fetch(name: str, progress: Progress | None = None) -> Path:
    """Download a data set into the cache, file by file, and return its folder.

    A file that is there and whole is not fetched again; a broken download goes on where it stopped.

    Raises
    ------
    DataError
        Where the name is unknown, or no mirror gave a file with the right SHA-256.
    """
    import pooch

    if name not in PUBLISHED:
        raise DataError(f"data set {name!r} is unknown; {suggest(name, PUBLISHED)}")
    folder, published = cache() / name, PUBLISHED[name]
    pooch.get_logger().setLevel("ERROR")
    for file, sha256 in published.sha256.items():
        failures: list[str] = []
        for mirror in published.mirrors:
            try:
                resuming: Any = _Resuming(folder / f"{file}.part", progress)
                pooch.retrieve(mirror + file, f"sha256:{sha256}", file, folder, downloader=resuming)
                break
            except (OSError, ValueError) as error:  # requests' errors are OSErrors; a wrong hash is a ValueError
                failures.append(f"  {mirror}: {_brief(error)}")
        else:
            raise DataError(f"{name}: no mirror gave a good {file}; what is here is kept, try again\n" + "\n".join(failures))
    return folder


class _Resuming:
    """A pooch downloader that asks only for the bytes it lacks."""

    def __init__(self, part: Path, progress: Progress | None) -> None:
        self.part, self.progress = part, progress

    def __call__(self, url: str, output_file: Any, pooch: Any) -> None:
        import requests

        have = self.part.stat().st_size if self.part.exists() else 0
        asked = {"Range": f"bytes={have}-"} if have else {}
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
                    file.write(piece)
                    have += len(piece)
                    if self.progress:
                        self.progress(self.part.stem, have, total)
        os.replace(self.part, output_file)


def _brief(error: Exception) -> str:
    text = str(error)
    return "the file's SHA-256 is wrong" if "hash" in text else text.split("(Caused by")[-1][:160]
