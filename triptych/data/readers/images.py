"""Image files into one array: of one size and colour; what cannot be read is named or left out."""

import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...core.split import Split
from ...errors import DataError, one_line
from .. import checks
from ..checks import check_varied
from ..reading import Contents, Options, Progress
from .image_file import Content, UnreadableError, read_image
from .image_survey import Rules, Survey
from .pixel_values import compare_ranges

IMAGES_BETWEEN_REPORTS = 50
# Bytes of the decoded images: one image and what its decoder needs come on top.
LIMIT = checks.LIMIT - 2**28
MOST_LEFT_OUT = 100_000  # images that --skip-unreadable may leave out
DARK = 32  # the highest pixel of a set that is taken for a mistake in its range

Sample = tuple[str, Content]  # what a message calls it, and its image


@dataclass(frozen=True)
class FilesRead:
    """Image files without labels.

    Attributes
    ----------
    images : ndarray of uint8, shape (n, h, w, 1 or 3)
    paths : tuple of Path
        The file of each image.
    left_out, notes : tuple of str
        As in `Contents`.
    """

    images: NDArray[np.uint8]
    paths: tuple[Path, ...]
    left_out: tuple[str, ...]
    notes: tuple[str, ...]


def contents_of(
    path: Path,
    samples: Callable[[], Iterable[Sample]],
    labels: NDArray[np.int32],
    training: int,
    classes: tuple[str, ...],
    options: Options,
    progress: Progress | None,
    notes: tuple[str, ...] = (),
) -> Contents:
    """Decode samples and return them as splits.

    Parameters
    ----------
    path : Path
        What an error is about.
    samples : callable
        Returns the samples anew at each call: they are read a second time where the whole set has
        shown that its pixels mean something else than usual.
    labels : ndarray of int32, shape (n,)
        In the order of `samples`.
    training : int
        How many of them, from the first, are for training; n where a test set is still to be split
        off.
    classes : tuple of str
    options : Options
    progress : callable, optional
        Called with the number of images decoded so far, and of all images.
    notes : tuple of str
        What is known about the set before it is decoded.

    Raises
    ------
    DataError
        Naming the first image that cannot be read or has another size, or the class with too few.
    """
    name = one_line(path)
    survey = Survey()
    decoded = _decode(samples(), len(labels), options, progress, Rules(), survey)
    is_one_set = training == len(labels)
    count = int(decoded.is_read[:training].sum())
    test_count = len(decoded.images) - count
    check_some_left(name, count, is_one_set or test_count > 0, decoded.left_out)
    rules = survey.rules(path)
    if rules != Rules():
        del decoded  # before the second array is allocated
        decoded = _decode(samples(), len(labels), options, progress, rules, Survey())
    images = decoded.images
    labels = labels[decoded.is_read]
    train = Split(images[:count], labels[:count])
    test = None if is_one_set else Split(images[count:], labels[count:])
    if options.for_training:
        check_classes(name, labels, count, classes)
    ranges = _ranges(name, train, test)
    stretched = _stretch_masks(images)
    all_notes = (*notes, *survey.notes(rules), *stretched, *_faults(images), *ranges)
    return Contents(train, test, classes, tuple(decoded.left_out), all_notes)


def read_files(
    paths: Sequence[Path], options: Options, progress: Progress | None = None
) -> FilesRead:
    """Decode image files that have no labels.

    Parameters
    ----------
    paths : sequence of Path
        At least one.
    options : Options
    progress : callable, optional
        Called with the number of images decoded so far, and of all images.

    Raises
    ------
    DataError
        Naming the first image that cannot be read or has another size.
    """

    def decode(rules: Rules, survey: Survey) -> _Decoded:
        samples = [(one_line(path), path) for path in paths]
        return _decode(samples, len(paths), options, progress, rules, survey)

    survey = Survey()
    decoded = decode(Rules(), survey)
    if not len(decoded.images):
        raise DataError(f"no image is left; {decoded.left_out[0]}")
    rules = survey.rules(paths[0])
    if rules != Rules():
        del decoded  # before the second array is allocated
        decoded = decode(rules, Survey())
    images = decoded.images
    notes = (
        *survey.notes(rules),
        *survey.notes_of_size(options.size),
        *_stretch_masks(images),
    )
    used = zip(paths, decoded.is_read, strict=True)
    return FilesRead(
        images=images,
        paths=tuple(path for path, is_read in used if is_read),
        left_out=tuple(decoded.left_out),
        notes=notes,
    )


def check_some_left(name: str, training: int, has_test: bool, left_out: Sequence[str]) -> None:
    """Raise `DataError` if no training image or no test image is left."""
    if not training or not has_test:
        part = "test" if training else "training"
        raise DataError(f"{name}: no {part} image is left; {left_out[0]}")


def check_classes(
    name: str, labels: NDArray[np.int32], training: int, classes: tuple[str, ...]
) -> None:
    """Raise `DataError` unless there are two classes, each with enough training images.

    One is enough where there is a test set; where it is still to be split off, two are needed.

    Parameters
    ----------
    name : str
        What the message names.
    labels : ndarray of int32, shape (n,)
        Those of the training set first.
    training : int
        How many they are; n where a test set is still to be split off.
    classes : tuple of str
    """
    is_one_set = training == len(labels)
    check_varied(Path(name), labels[:training], classes)
    counts = np.bincount(labels[:training], minlength=len(classes))
    for label in np.unique(labels):
        class_name = f"{name}: class {classes[label]!r}"
        if is_one_set and counts[label] < 2:
            advice = "of which one could be set aside for testing; give at least 2"
            raise DataError(f"{class_name} has {counts[label] or 'no'} training image, {advice}")
        if not counts[label]:
            raise DataError(f"{class_name} has no training images, but some in the test set")


def _ranges(name: str, train: Split, test: Split | None) -> list[str]:
    """Return a note where the test images are far darker or lighter than the training images.

    Raises
    ------
    DataError
        One of the sets has no other pixels than 0 and 1.
    """
    if test is None:
        return []
    return compare_ranges(name, float(train.images.max()), float(test.images.max()))


def _stretch_masks(images: NDArray[np.uint8]) -> list[str]:
    """Multiply a set of which every pixel is 0 or 1 by 255, in place; return a note if so."""
    if images[0].max() > 1 or images.max() != 1 or images.min() != 0:
        return []
    images *= 255
    return [masks_note()]


def masks_note() -> str:
    """Return a note about a set of which every pixel is 0 or 1."""
    return "pixels 0 and 1 read as 0 and 255"


def _faults(images: NDArray[np.uint8]) -> list[str]:
    """Return a note where every pixel of every image has one colour, or all are nearly black."""
    first = images[0, 0, 0]
    if not (images[0] != first).any() and not (images != first).any():
        color = " ".join(map(str, first.tolist()))
        return [f"every pixel of every image is {color}: there is nothing to learn from"]
    return faults(int(images.min()), int(images.max()))


def faults(lowest: int, highest: int) -> list[str]:
    """Return a note about a set whose pixels are all the same number, or all nearly black."""
    if lowest == highest:
        return [f"every pixel of every image is {lowest}: there is nothing to learn from"]
    if highest < DARK:
        advice = "save the images again with their whole range from 0 to 255"
        return [f"no pixel is over {highest} of 255: nearly black; {advice}"]
    return []


@dataclass(frozen=True)
class _Decoded:
    """The images that could be read.

    Attributes
    ----------
    images : ndarray of uint8, shape (k, h, w, 1 or 3)
    is_read : ndarray of bool, shape (samples,)
        Which of the samples they are.
    left_out : list of str
        Why each of the others cannot be read.
    """

    images: NDArray[np.uint8]
    is_read: NDArray[np.bool_]
    left_out: list[str]


class _Array:
    """An array of images, allocated at the first image, and again at the first in colour."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._used = 0
        self._first = ""  # what a message calls the first image
        self._images = np.empty((0, 0, 0, 1), np.uint8)

    @property
    def images(self) -> NDArray[np.uint8]:
        """The images so far, uint8 of shape (k, h, w, 1 or 3)."""
        return self._images[: self._used]

    def append(self, where: str, pixels: NDArray[np.uint8]) -> None:
        """Add an image (h, w, 1 or 3); `where` is what a message calls it."""
        if not self._first:
            self._first = where
            self._images = self._allocated(where, pixels.shape)
        refuse_size(where, pixels.shape, self._first, self._images.shape[1:])
        if pixels.shape[2] > self._images.shape[3]:
            grey = self.images
            self._images = self._allocated(where, pixels.shape)
            self._images[: self._used] = grey  # becomes RGB with three equal channels
        self._images[self._used] = pixels
        self._used += 1

    def _allocated(self, where: str, shape: tuple[int, ...]) -> NDArray[np.uint8]:
        """Return memory for all images of a shape, if that is within the limit."""
        height, width, channels = shape
        size = self._count * height * width * channels
        if size > LIMIT:
            images = f"{self._count:,} images of {height}×{width} take {size:,} bytes"
            raise DataError(
                f"{where}: {images}, over the limit of {LIMIT:,}; give a smaller --size"
            )
        return np.empty((self._count, *shape), np.uint8)


def _decode(
    samples: Iterable[Sample],
    count: int,
    options: Options,
    progress: Progress | None,
    rules: Rules,
    survey: Survey,
) -> _Decoded:
    """Read every sample; what cannot be read ends this, or is left out.

    Parameters
    ----------
    samples : iterable of Sample
    count : int
        How many samples there are.
    options : Options
    progress : callable, optional
    rules : Rules
    survey : Survey
        Counts what the images are like.
    """
    array = _Array(count)
    is_read = np.zeros(count, bool)
    left_out: list[str] = []
    with warnings.catch_warnings():
        # Pillow's warnings are about metadata, and about too many pixels, which are refused.
        warnings.simplefilter("ignore")
        for at, (where, content) in enumerate(samples):
            if progress and at % IMAGES_BETWEEN_REPORTS == 0:
                progress(at, count)
            pixels = read_sample((where, content), options, rules, survey)
            if isinstance(pixels, str):
                left_out.append(pixels)
                check_left_out(left_out)
                continue
            array.append(where, pixels)
            is_read[at] = True
    return _Decoded(array.images, is_read, left_out)


def read_sample(
    sample: Sample, options: Options, rules: Rules, survey: Survey
) -> NDArray[np.uint8] | str:
    """Return the image of a sample, or a line that says why it is left out.

    Raises
    ------
    DataError
        It cannot be read, and `options` do not leave it out.
    """
    where, content = sample
    try:
        return read_image(content, options.size, rules, survey)
    except UnreadableError as error:
        if not options.skip_unreadable:
            raise DataError(f"{where}: {error}; {error.advice}") from None
        # What to do if it is good data of another format.
        return f"{where}: {error}; {error.remedy}" if error.useful else f"{where}: {error}"


def check_left_out(left_out: Sequence[str]) -> None:
    """Raise `DataError` if too many images are left out."""
    if len(left_out) > MOST_LEFT_OUT:
        raise DataError(f"{left_out[0]}; over {MOST_LEFT_OUT:,} images cannot be read")


def refuse_size(where: str, shape: tuple[int, ...], first: str, expected: tuple[int, ...]) -> None:
    """Raise `DataError` for an image that has not the height and width of the first image.

    Parameters
    ----------
    where, first : str
        What a message calls the image, and the first one.
    shape, expected : tuple of int
        Of both, (h, w, c).
    """
    if shape[:2] == expected[:2]:
        return
    size = "×".join(map(str, shape[:2]))
    height, width = expected[:2]
    raise DataError(
        f"{where}: an image of {size}, where {first} has {height}×{width}; "
        f"scale all to one size, as with --size {height}x{width}"
    )
