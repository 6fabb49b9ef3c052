"""A folder of class-named folders of images, as it is or below ``train`` and ``test``."""

from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import numpy as np

from ..errors import DataError
from . import decoded, images
from .reading import Found, Options, Progress

LITTER = ("thumbs.db", "desktop.ini", "__macosx")  # what systems leave in a folder; so do names that begin with a dot
LAYOUT = "CLASS/IMAGE, or train/CLASS/IMAGE and test/CLASS/IMAGE"


def fits(folder: Path) -> bool:
    """Return whether there are folders in it."""
    return bool(_folders(folder))


def read(root: Path, options: Options, progress: Progress | None) -> Found:
    """Read every image; the classes are the folders' names, sorted.

    Raises
    ------
    DataError
        Naming the folder that is empty, or holds another, or has no classes, or the image that is in the way (see `images.found`).
    """
    parts = [root / "train", root / "test"]
    if not all(part.is_dir() and _folders(part) for part in parts):
        parts = [root]
    classes = tuple(folder.name for folder in _folders(parts[0]))
    if parts == [root] and classes == ("test", "train"):
        raise DataError(f"{root}: test and train are no classes, and not both hold folders of classes; it must hold {LAYOUT}")
    paths: list[Path] = []
    labels: list[int] = []
    training = 0
    for part in parts:
        for folder in _folders(part):
            if folder.name not in classes:
                raise DataError(f"{folder}: a class that {parts[0]} has not")
            inside = list(_images(folder, root))
            paths += inside
            labels += [classes.index(folder.name)] * len(inside)
        training = training or len(paths)

    def decode() -> Found:
        samples = ((str(path), path) for path in paths)
        return images.found(root, samples, np.array(labels, np.int32), training, classes, options, progress)

    return decoded.kept(root, options, _digest(root, paths), decode)


def _visible(folder: Path) -> list[Path]:
    try:
        found = sorted(folder.iterdir())
    except OSError as error:
        raise DataError(f"{folder}: cannot be read ({error.strerror})") from None
    return [path for path in found if not path.name.startswith(".") and path.name.lower() not in LITTER]


def _folders(folder: Path) -> list[Path]:
    return [path for path in _visible(folder) if path.is_dir()]


def _images(folder: Path, root: Path) -> Iterator[Path]:
    """Yield the files of one class."""
    if not folder.name.isprintable():
        raise DataError(f"{str(folder)!r}: a class needs a name that can be printed")
    path = None
    for path in _visible(folder):
        if path.is_dir():
            raise DataError(f"{path}: a folder inside a class; {root} must hold {LAYOUT}")
        yield path
    if path is None:
        raise DataError(f"{folder}: no images in this class")


def _digest(root: Path, paths: list[Path]) -> str:
    """Return a SHA-256 of names, sizes and times of change: reading every file would take longer than decoding it."""
    h = sha256()
    for path in paths:
        try:
            status = path.stat()
            stamp = status.st_size, status.st_mtime_ns
        except OSError:  # a link that leads nowhere: decoding will name it
            stamp = None
        h.update(repr((path.relative_to(root).parts, stamp)).encode())
    return h.hexdigest()
