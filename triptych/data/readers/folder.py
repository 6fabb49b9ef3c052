"""A folder of class-named folders of images, as it is or below ``train`` and ``test``."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np

from ...errors import DataError, one_line
from ..reading import Contents, Options, Progress
from . import decoded, images
from .listing import visible
from .source import Listing
from .text import listed
from .words import PARTS, PICTURES, TEST, TRAIN, VALIDATION

LAYOUT = "CLASS/IMAGE, or train/CLASS/IMAGE and test/CLASS/IMAGE"
SPLIT_OFF = "to have a test set split off"
MOST_NAMES = 5  # that are listed in a sentence
# Folders of data sets for other tasks, such as segmentation, in small letters.
INPUTS = (*PICTURES, "image", "imgs", "input", "inputs", "pictures")
ANSWERS = (
    "annotation",
    "annotations",
    "ground_truth",
    "groundtruth",
    "gt",
    "label",
    "labels",
    "mask",
    "masks",
    "target",
    "targets",
)


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


def read(root: Path, options: Options, progress: Progress | None) -> Contents:
    """Read every image; the classes are the folders' names, sorted.

    Raises
    ------
    LayoutError
        A folder is empty, or holds another, or there are no classes.
    DataError
        Naming the image that cannot be read (see `images.contents_of`).
    """
    listing = list_samples(root, options)

    def samples() -> Iterator[images.Sample]:
        return ((one_line(path), path) for path in listing.files)

    def decode() -> Contents:
        return images.contents_of(
            root,
            samples,
            listing.labels,
            listing.training,
            listing.classes,
            options,
            progress,
            listing.notes,
        )

    digest = _digest(root, listing.files, listing.notes)
    return decoded.load_or_decode(root, options, digest, decode)


def list_samples(root: Path, options: Options) -> Listing:
    """Return which images there are, and their classes.

    Raises
    ------
    LayoutError
        A folder is empty, or holds another, or there are no classes.
    """
    layout = _layout(root)
    classes = tuple(folder.name for folder in _folders(layout.parts[0]))
    paths: list[Path] = []
    labels: list[int] = []
    counts: list[int] = []
    for part in layout.parts:
        before = len(paths)
        for folder in _folders(part):
            label = _label(folder, classes, layout)
            inside = list(_images(folder, root))
            paths += inside
            labels += [label] * len(inside)
        counts.append(len(paths) - before)
    if len(classes) == 1 and options.for_training:
        reason = f"every label is {classes[0]}; a classifier needs at least two classes"
        raise LayoutError(f"{one_line(root)}: {reason}: {LAYOUT}")

    return Listing(
        source=Files(paths),
        labels=np.array(labels, np.int32),
        training=counts[0],
        classes=classes,
        notes=layout.notes,
        files=tuple(paths),
    )


class Files:
    """Image files; a `triptych.data.readers.source.Source` of one group that reads nothing.

    Parameters
    ----------
    paths : list of Path
    """

    def __init__(self, paths: list[Path]) -> None:
        self._paths = paths
        self.sizes = (len(paths),)

    def read(self, group: int) -> list[Path]:
        """Return the paths: each file is read where it is decoded."""
        del group
        return self._paths

    def where(self, group: int, row: int) -> str:
        """Return what a message calls an image."""
        del group
        return one_line(self._paths[row])


def _label(folder: Path, classes: tuple[str, ...], layout: _Layout) -> int:
    """Return which class a folder holds."""
    if folder.name not in classes:
        train = one_line(layout.parts[0])
        reason = f"a class that {train} has not"
        raise DataError(f"{one_line(folder)}: {reason}; {SPLIT_OFF}, give {train}")
    return classes.index(folder.name)


def _layout(root: Path) -> _Layout:
    """Return which folders hold the classes.

    Raises
    ------
    LayoutError
        The folders are the parts of a data set without classes.
    DataError
        The same part of a data set is there twice, or there is no test set.
    """
    folders = _folders(root)
    train = _called(TRAIN, folders)
    test = _called(TEST, folders)
    validation = _called(VALIDATION, folders)
    kinds = [kind for kind in (train, test, validation) if kind]
    others = [folder for folder in folders if folder.name.lower() not in PARTS]
    if not kinds or (len(kinds) == 1 and others):
        _refuse_pairs(root, folders)
        return _Layout((root,))  # where other classes are, one may be called train
    for kind in kinds:
        if len(kind) > 1:
            reason = f"{_names(kind)} are the same part of a data set"
            raise LayoutError(f"{one_line(root)}: {reason}; keep one of them")
    second = test or validation
    if train and second and _folders(train[0]) and _folders(second[0]):
        return _layout_of_parts(folders, train[0], second[0], is_test=bool(test))
    raise _layout_error(root, folders, train, second)


def _refuse_pairs(root: Path, folders: list[Path]) -> None:
    """Raise `LayoutError` for folders of images and of their masks, which are no classes."""
    names = {folder.name.lower() for folder in folders}
    if names & {*INPUTS} and names <= {*INPUTS, *ANSWERS}:
        reason = f"{_names(folders)} are no classes, but images and what belongs to each of them"
        raise LayoutError(f"{one_line(root)}: {reason}; it must hold {LAYOUT}")


def _layout_of_parts(folders: list[Path], train: Path, test: Path, is_test: bool) -> _Layout:
    """Return the layout of a training and a test folder, with notes about the others.

    Parameters
    ----------
    folders : list of Path
    train, test : Path
    is_test : bool
        Whether the test folder is called so; otherwise it is a validation set.
    """
    notes: list[str] = []
    if not is_test:
        notes.append(f"{test.name} is the test set: there is no folder test")
    others = [folder for folder in folders if folder not in (train, test)]
    if others:
        verb = "is" if len(others) == 1 else "are"
        notes.append(f"{_names(others)} {verb} left out: neither training nor test set")
    return _Layout((train, test), tuple(notes))


def _layout_error(
    root: Path, folders: list[Path], train: list[Path], second: list[Path]
) -> DataError:
    """Return what is wrong with the parts of a data set, of which not two hold classes."""
    name = one_line(root)
    parts = _called(PARTS, folders)
    reason = f"{_names(parts)} are no classes, and not both hold folders of classes"
    if len(parts) == 1:
        reason = f"{parts[0].name} is no class, and there is no other folder"
    if train and _folders(train[0]):
        if not second:
            reason = f"there is {train[0].name}, but no test"
        advice = f"{SPLIT_OFF}, give {one_line(train[0])}"
        return DataError(f"{name}: {reason}; {advice}; it must hold {LAYOUT}")
    return LayoutError(f"{name}: {reason}; it must hold {LAYOUT}")


def _called(names: tuple[str, ...], folders: list[Path]) -> list[Path]:
    return [folder for folder in folders if folder.name.lower() in names]


def _names(folders: list[Path]) -> str:
    """Return the names of folders as a sentence lists them."""
    names = [one_line(folder.name, 40) for folder in folders]
    if len(names) > MOST_NAMES:
        return listed(folder.name for folder in folders)
    if len(names) == 1:
        return names[0]
    return f"{', '.join(names[:-1])} and {names[-1]}"


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
    files = _visible(folder)
    if not files:
        raise LayoutError(f"{one_line(folder)}: no images in this class; add some, or remove it")
    for path in files:
        if path.is_dir():
            reason = "a folder inside a class"
            raise LayoutError(f"{one_line(path)}: {reason}; {one_line(root)} must hold {LAYOUT}")
        yield path


def _digest(root: Path, paths: Sequence[Path], notes: tuple[str, ...]) -> str:
    """Return a SHA-256 of names, sizes and times of change.

    Reading every file would take longer than decoding it.
    """
    h = sha256(repr(notes).encode())
    for path in paths:
        try:
            status = path.stat()
            stamp = (status.st_size, status.st_mtime_ns)
        except OSError:  # a link that leads nowhere: decoding will name it
            stamp = None
        h.update(repr((path.relative_to(root).parts, stamp)).encode())
    return h.hexdigest()
