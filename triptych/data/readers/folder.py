"""A folder of class-named folders of images, as it is or below ``train`` and ``test``."""

from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np

from ...errors import DataError, one_line
from ..reading import Found, Options, Progress
from . import decoded, images
from .listing import visible
from .text import listed

LAYOUT = "CLASS/IMAGE, or train/CLASS/IMAGE and test/CLASS/IMAGE"
SPLIT_OFF = "to have a test set split off"
# What the folders of the parts of a data set are called, in small letters.
TRAIN = ("train", "training")
TEST = ("test", "testing")
VALIDATION = ("val", "valid", "validation")
PARTS = (*TRAIN, *TEST, *VALIDATION)


def fits(folder: Path) -> bool:
    """Return whether there are folders in it."""
    return bool(_folders(folder))


class LayoutError(DataError):
    """Folders where they should not be, or none where they should."""


@dataclass(frozen=True)
class _Layout:
    """Which folders hold the classes.

    Attributes
    ----------
    parts : tuple of Path
        The folder of the training set and that of the test set; or one folder for both.
    notes : tuple of str
        What was left out or taken for something else: a line each.
    """

    parts: tuple[Path, ...]
    notes: tuple[str, ...] = ()


def read(root: Path, options: Options, progress: Progress | None) -> Found:
    """Read every image; the classes are the folders' names, sorted.

    Raises
    ------
    DataError
        Naming the folder that is empty, or holds another, or has no classes, or the image that is in the way (see `images.found`).
    """
    layout = _layout(root)
    first = layout.parts[0]
    classes = tuple(folder.name for folder in _folders(first))
    paths: list[Path] = []
    labels: list[int] = []
    training = 0
    for part in layout.parts:
        for folder in _folders(part):
            if folder.name not in classes:
                raise DataError(
                    f"{one_line(folder)}: a class that {one_line(first)} has not; {SPLIT_OFF}, give {one_line(first)}"
                )
            inside = list(_images(folder, root))
            paths += inside
            labels += [classes.index(folder.name)] * len(inside)
        training = training or len(paths)

    if len(classes) == 1:
        raise LayoutError(
            f"{one_line(root)}: every label is {classes[0]}; a classifier needs at least two classes: {LAYOUT}"
        )

    def samples() -> Iterator[images.Sample]:
        return ((one_line(path), path) for path in paths)

    def decode() -> Found:
        whole = np.array(labels, np.int32)
        return images.found(
            root, samples, whole, training, classes, options, progress, layout.notes
        )

    return decoded.kept(root, options, _digest(root, paths, layout.notes), decode)


def _layout(root: Path) -> _Layout:
    """Return which folders hold the classes, or raise `LayoutError` where they are the parts of a data set without classes."""
    folders = _folders(root)
    train = _called(TRAIN, folders)
    test = _called(TEST, folders)
    validation = _called(VALIDATION, folders)
    kinds = [kind for kind in (train, test, validation) if kind]
    others = [folder for folder in folders if folder.name.lower() not in PARTS]
    if not kinds or (len(kinds) == 1 and others):
        return _Layout((root,))  # where other classes are, one may be called train
    for kind in kinds:
        if len(kind) > 1:
            raise LayoutError(
                f"{one_line(root)}: {_names(kind)} are the same part of a data set; keep one of them"
            )
    second = test or validation
    if train and second and all(_folders(part) for part in (train[0], second[0])):
        notes = [] if test else [f"{second[0].name} is the test set: there is no folder test"]
        if others := [folder for folder in folders if folder not in (train[0], second[0])]:
            notes.append(
                f"{_names(others)} {'is' if len(others) == 1 else 'are'} left out: neither training nor test set"
            )
        return _Layout((train[0], second[0]), tuple(notes))
    parts = _called(PARTS, folders)
    what = f"{_names(parts)} are no classes, and not both hold folders of classes"
    if len(parts) == 1:
        what = f"{parts[0].name} is no class, and there is no other folder"
    if train and _folders(train[0]):
        what = what if second else f"there is no test beside {train[0].name}"
        raise DataError(
            f"{one_line(root)}: {what}; {SPLIT_OFF}, give {one_line(train[0])}; it must hold {LAYOUT}"
        )
    raise LayoutError(f"{one_line(root)}: {what}; it must hold {LAYOUT}")


def _called(names: tuple[str, ...], folders: list[Path]) -> list[Path]:
    return [folder for folder in folders if folder.name.lower() in names]


def _names(folders: list[Path]) -> str:
    names = [one_line(folder.name, 40) for folder in folders]
    if len(names) > 5:
        return listed(folder.name for folder in folders)
    return " and ".join([", ".join(names[:-1]), names[-1]]) if len(names) > 1 else names[0]


def _visible(folder: Path) -> list[Path]:
    try:
        return visible(folder)
    except OSError as error:
        raise DataError(f"{one_line(folder)}: cannot be read ({error.strerror})") from None


def _folders(folder: Path) -> list[Path]:
    return [path for path in _visible(folder) if path.is_dir()]


def _images(folder: Path, root: Path) -> Iterator[Path]:
    """Yield the files of one class."""
    if not folder.name.isprintable():
        raise DataError(f"{one_line(folder)}: a class needs a name that can be printed")
    path = None
    for path in _visible(folder):
        if path.is_dir():
            raise LayoutError(
                f"{one_line(path)}: a folder inside a class; {one_line(root)} must hold {LAYOUT}"
            )
        yield path
    if path is None:
        raise LayoutError(f"{one_line(folder)}: no images in this class")


def _digest(root: Path, paths: list[Path], notes: tuple[str, ...]) -> str:
    """Return a SHA-256 of names, sizes and times of change: reading every file would take longer than decoding it."""
    h = sha256(repr(notes).encode())
    for path in paths:
        try:
            status = path.stat()
            stamp = status.st_size, status.st_mtime_ns
        except OSError:  # a link that leads nowhere: decoding will name it
            stamp = None
        h.update(repr((path.relative_to(root).parts, stamp)).encode())
    return h.hexdigest()
