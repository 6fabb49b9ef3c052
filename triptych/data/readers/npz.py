"""NumPy archives: images and labels of one set or two, under the names that people use."""

import re
import zipfile
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from numpy.lib import format as npy
from numpy.typing import NDArray

from ...core.npy import NpyHeader, read_npy_header
from ...errors import DataError, one_line
from ..checks import LIMIT, reading
from ..reading import Contents, Options, Progress
from .arrays import contents_of
from .content import HEAD_BYTES, mismatch
from .samples import Samples
from .text import listed
from .words import LABELS, TEST, TRAIN, VALIDATION

IMAGES = (
    "x",
    "image",
    "images",
    "img",
    "imgs",
    "data",
    "feature",
    "features",
    "pixels",
    "input",
    "inputs",
)
# The part of a data set, by a word in the name of an array.
PART_OF_WORD = (
    dict.fromkeys((*TRAIN, "tr"), "train")
    | dict.fromkeys((*TEST, "te"), "test")
    | dict.fromkeys(VALIDATION, "val")
)
KNOWN = "x_train, y_train, x_test, y_test, or x and y"


@dataclass(frozen=True)
class Archive:
    """An open archive.

    Attributes
    ----------
    path : Path
    zip : ZipFile
    names : tuple of str
        Of the arrays.
    """

    path: Path
    zip: zipfile.ZipFile
    names: tuple[str, ...]

    def pick(self, part: str, label: str | None) -> tuple[str, str] | None:
        """Return the names of images and labels of a part; None unless it has both.

        Parameters
        ----------
        part : str
            ``train``, ``test``, ``val``, or nothing.
        label : str, optional
            The array of the labels, or a word in its name.

        Raises
        ------
        DataError
            Two arrays may be the same.
        """
        images = self.one(part, "images")
        labels = self.one(part, "labels")
        if label is not None:
            asked = [name for name in self.names if name == label or _split(name, label)[0] == part]
            labels = next((name for name in asked if name != images), None)
        return (images, labels) if images and labels else None

    def one(self, part: str, kind: str) -> str | None:
        """Return the name of the array of this part and kind, None without one."""
        names = [name for name in self.names if _split(name) == (part, kind)]
        if len(names) > 1:
            what = f"the {kind} of {part or 'the'} set"
            raise DataError(f"{self.path}: {listed(names)} may all be {what}; needed are {KNOWN}")
        return names[0] if names else None

    def pick_unnamed(self) -> tuple[str, str]:
        """Return the names of images and labels of two arrays that were saved without names.

        The images have more axes. Where both have as many, they are the first.
        """
        first, second = (len(self._header(name).shape) for name in ("arr_0", "arr_1"))
        return ("arr_0", "arr_1") if first >= second else ("arr_1", "arr_0")

    def _header(self, name: str) -> NpyHeader:
        with self.zip.open(f"{name}.npy") as member:
            return read_npy_header(member)

    def array(self, name: str) -> NDArray[Any]:
        """Read one array, if its header and its size agree: some kilobytes can become gigabytes."""
        info = self.zip.getinfo(f"{name}.npy")
        shown = one_line(name, 40)
        header = self._header(name)
        if header.dtype.hasobject:
            advice = f"save numbers or text, for example {one_line(name, 20)}.astype(str)"
            reason = f"{shown} holds Python objects, which are never loaded"
            raise DataError(f"{self.path}: {reason}; {advice}")
        needed = prod(header.shape) * header.dtype.itemsize
        if needed > LIMIT or needed > info.file_size:
            held = f"the archive holds {info.file_size:,} and the limit is {LIMIT:,}"
            raise DataError(f"{self.path}: {shown} claims {needed:,} bytes, {held}")
        with self.zip.open(info) as member:
            return npy.read_array(member, allow_pickle=False)

    def samples(self, names: tuple[str, str]) -> Samples:
        """Return images and labels."""
        return Samples(self.path, self.array(names[0]), self.array(names[1]))

    def lacking(self, needed: str) -> DataError:
        """Return the error that names the arrays that there are, and those that are needed."""
        return DataError(f"{self.path}: holds {listed(sorted(self.names))}; needed are {needed}")


def read(path: Path, options: Options, _progress: Progress | None = None) -> Contents:
    """Read the training and, where the archive has one, the test split.

    Raises
    ------
    DataError
        The archive is damaged, lacks the arrays, or would need a pickle to be read.
    """
    with _opened(path) as archive:
        return _splits(archive, options)


def read_files(train: Path, test: Path | None, options: Options) -> Contents:
    """Read the training split from one archive and the test split from another.

    Raises
    ------
    DataError
        As `read`.
    """
    train_samples = _only_set(train, "train", options)
    test_samples = None if test is None else _only_set(test, "test", options)
    return contents_of(train_samples, test_samples, options)


def _only_set(path: Path, part: str, options: Options) -> Samples:
    """Return the images and labels of an archive that holds one set, whatever it is called."""
    with _opened(path) as archive:
        names = archive.pick("", options.label) or archive.pick(part, options.label)
        if names is None:
            raise archive.lacking("x and y (images or rows, and labels): np.savez(file, x=x, y=y)")
        return archive.samples(names)


@contextmanager
def _opened(path: Path) -> Generator[Archive]:
    with reading(path):
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
        wrong = None if head.startswith(b"PK") else mismatch(head, "an .npz")
        if wrong:
            raise DataError(f"{path}: {wrong}")
        with zipfile.ZipFile(path) as opened:
            members = opened.namelist()
            names = tuple(name.removesuffix(".npy") for name in members if name.endswith(".npy"))
            yield Archive(path, opened, names)


def _splits(archive: Archive, options: Options) -> Contents:
    """Return the splits of an archive: a training and a test set, or one set."""
    train = archive.pick("train", options.label)
    test = archive.pick("test", options.label)
    validation = archive.pick("val", options.label)
    whole = archive.pick("", options.label)
    notes: list[str] = []
    if train and whole:
        both = listed(sorted((*train, *whole)))
        reason = f"holds {both}, a training set and another one"
        raise DataError(f"{archive.path}: {reason}; needed are {KNOWN}")
    if train and not test:
        without_labels = archive.one("test", "images")
        if without_labels:
            notes.append(f"{without_labels} has no labels and is not used")
    if validation and train and not test:
        test = validation
        notes.insert(0, f"{test[0]} and {test[1]} are the test set")
    elif validation:
        notes.insert(0, f"{validation[0]} and {validation[1]} left out")
    if not whole and not train and set(archive.names) == {"arr_0", "arr_1"}:
        whole = archive.pick_unnamed()
        notes.append(f"{whole[0]} taken for the images, {whole[1]} for the labels")
    chosen = train or whole
    if chosen is None:
        advice = "np.savez(file, x=x, y=y)"
        raise archive.lacking(f"{KNOWN} (images or rows, and labels): {advice}")
    test_samples = archive.samples(test) if test and train else None
    return contents_of(archive.samples(chosen), test_samples, options, notes=tuple(notes))


def _split(name: str, label: str = "") -> tuple[str, str]:
    """Return what the name of an array says.

    Parameters
    ----------
    name : str
        X_train, trainLabels, test_images …
    label : str
        A word that stands for the labels, too.

    Returns
    -------
    part : str
        ``train``, ``test``, ``val`` or nothing.
    kind : str
        ``images``, ``labels`` or nothing.
    """
    words = _words(name)
    parts = [PART_OF_WORD[word] for word in words if word in PART_OF_WORD]
    kinds = [word for word in words if word not in PART_OF_WORD]
    part = parts[0] if len(parts) == 1 else ""
    if len(kinds) != 1 or len(parts) > 1:
        return part, ""
    if kinds[0] in IMAGES:
        return part, "images"
    if kinds[0] in LABELS or kinds[0] == label.lower():
        return part, "labels"
    return part, ""


def _words(name: str) -> list[str]:
    """Return the words of a name such as trainLabels, X_train or xtrain, in small letters."""
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)
    words = [word for word in re.split(r"[\s_\-./]+", spaced.lower()) if word]
    if len(words) != 1:
        return words
    glued = re.fullmatch(r"([xy])(train|test|val)|(train|test|val)([xy])", words[0])
    return [piece for piece in glued.groups() if piece] if glued else words
