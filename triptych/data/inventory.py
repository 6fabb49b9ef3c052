"""What data is on this machine."""

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path

from ..errors import DataError
from . import download
from .checks import opened
from .published import MNIST_CONTENT, PUBLISHED
from .readers import decoded


@dataclass(frozen=True)
class Item:
    """One file, or one data set without a file.

    Attributes
    ----------
    name : str
        Of the data set.
    file : str
        The path of the file, or where the data is.
    size : int, optional
        In bytes.
    sha256 : str
        In hexadecimal digits.
    note : str
        What the user should know about it.
    """

    name: str
    file: str
    size: int | None = None
    sha256: str = ""
    note: str = ""


def inventory() -> list[Item]:
    """Return every data set with a name, its files that are here, and decoded images."""
    items = [Item("digits", "inside scikit-learn", note="always here")]
    if Path("mnist_test.csv").is_file():
        items.append(_file("mnist_test.csv", Path("mnist_test.csv"), "used by default"))
    for name, published in PUBLISHED.items():
        present = download.files_present(name)
        for stem, path in present.items():
            item = _file(name, path)
            if not published.members:
                item = replace(item, note=_published(name, stem, path, item.sha256))
            items.append(item)
        missing = published.count - len(present)
        if missing:
            files = f"{missing} of {published.count} files missing"
            items.append(Item(name, files, note=f"triptych data fetch {name}"))
    images = [path for path in sorted(decoded.folder().glob("*.npz")) if path.is_file()]
    return items + [_file("(decoded images)", path, "may be deleted") for path in images]


def _file(name: str, path: Path, note: str = "") -> Item:
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    return Item(name, str(path), path.stat().st_size, sha256, note)


def _published(name: str, stem: str, path: Path, sha256: str) -> str:
    """Return whether a file with this SHA-256 is the published one, in words."""
    if sha256 == PUBLISHED[name].sha256.get(path.name):
        return "as published"
    try:
        with opened(path) as stream:
            content = hashlib.file_digest(stream, "sha256").hexdigest()  # pyright: ignore[reportArgumentType]
    except DataError:
        return "damaged"
    if name == "mnist" and content == MNIST_CONTENT[stem]:
        return "as published, compressed anew"
    return "not the published file"
