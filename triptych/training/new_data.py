"""New data for a trained network, in the shape and with the classes of its training data.

Images are scaled and converted to the network's size and colours. The rows of a table are
standardised with the mean and deviation of the training data, never with their own.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import compress
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core import files
from ..core.split import Split
from ..data import loading
from ..data.dataset import border_mean
from ..data.readers.image_file import ENDINGS_READ, scaled
from ..data.readers.images import read_files
from ..data.readers.listing import visible
from ..data.readers.text import listed
from ..data.reading import Options, Progress
from ..data.registry import FOR_ROWS, Format
from ..errors import DataError, counted, one_line
from .trained import TrainedRun

DARK_BORDER = 64  # of 255: a ground below it is dark
LIGHT_BORDER = 160  # of 255: a ground above it is light
# Weights of red, green and blue in a grey, in units of 1/65,536: those of Pillow (ITU-R 601).
GREY_WEIGHTS = (19595, 38470, 7471)
CSV = "CSV"  # the format of files that may have no labels


@dataclass(frozen=True)
class NewData:
    """Samples that a trained network can classify.

    Attributes
    ----------
    name : str
        What to call the data.
    images : ndarray of uint8 or floats, shape (n, h, w, c)
        In the shape of the network's input; rows of a table are standardised.
    labels : ndarray of int32, shape (n,), or None
        The class of each sample among those of the run; None if it is not known.
    files : tuple of Path
        The image file of each sample; empty if the samples come from an array or a table.
    notes : tuple of str
        What was done to the data.
    warnings : tuple of str
        What is probably wrong with the data, and what to do about it.
    left_out : tuple of str
        Which images could not be read, and why.
    is_table : bool
        Whether the samples are rows of a table.
    """

    name: str
    images: NDArray[Any]
    labels: NDArray[np.int32] | None
    files: tuple[Path, ...] = ()
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    is_table: bool = False

    @property
    def kind(self) -> str:
        """What one sample is."""
        return "row" if self.is_table else "image"


def read_new(
    run: TrainedRun,
    sources: Sequence[str],
    options: Options,
    *,
    invert: bool = False,
    progress: Progress | None = None,
) -> NewData:
    """Read data that a trained network shall classify.

    Parameters
    ----------
    run : TrainedRun
        The trained network.
    sources : sequence of str
        Image files, or one file or folder of any format, or the name of a data set. Without any,
        the test split of the run's own data is read.
    options : Options
        What the user has set; everything else is as in the run.
    invert : bool
        Whether light and dark are exchanged.
    progress : callable, optional
        Called with the number of images decoded so far, and of all images.

    Raises
    ------
    DataError
        If the data cannot be read, or does not fit the network or its classes.
    """
    pictures = _picture_files(sources)
    if pictures:
        name = one_line(sources[0]) if len(sources) == 1 else "the named files"
        new = _read_pictures(run, name, pictures, options, progress)
    elif len(sources) > 1:
        raise DataError(
            "several files must all be images; give one table, folder or data set at a time"
        )
    elif not sources or _is_same(sources[0], run.source):
        new = _read_test_split(run, options, progress)
    else:
        new = _read_whole(run, sources[0], options, progress)
    if invert:
        new = _inverted(new)
    return replace(new, warnings=(*new.warnings, *_warnings_of_images(run, new, invert)))


def _is_same(source: str, recorded: str | None) -> bool:
    """Return whether a name or path means the data that a network was trained with."""
    if recorded is None or source == recorded:
        return source == recorded
    with suppress(OSError, ValueError):
        return Path(source).samefile(recorded)
    return False


def _picture_files(sources: Sequence[str]) -> list[Path]:
    """Return the image files that are named, or those in a folder without folders of classes."""
    paths = [Path(source) for source in sources]
    if paths and all(path.name.lower().endswith(ENDINGS_READ) for path in paths):
        for path in paths:
            if not files.is_regular(path):
                raise DataError(f"{one_line(path)}: no such file")
        return paths
    if len(paths) != 1 or not paths[0].is_dir():
        return []
    try:
        inside = visible(paths[0])
    except OSError as error:
        raise DataError(f"{one_line(paths[0])}: cannot be read ({error.strerror})") from None
    pictures = [path for path in inside if path.name.lower().endswith(ENDINGS_READ)]
    return pictures if len(pictures) == len(inside) else []


def _read_pictures(
    run: TrainedRun, name: str, paths: list[Path], options: Options, progress: Progress | None
) -> NewData:
    """Read image files without labels."""
    if run.is_table:
        raise DataError(
            f"{one_line(paths[0])}: an image, but the network was trained with the rows of a table"
        )
    for option in FOR_ROWS:
        if getattr(options, option) is not None:
            reason = f"--{option} is for tables and arrays, not for image files"
            raise DataError(f"{reason}; leave it out")
    height, width = run.network.input_shape[:2]
    read = read_files(paths, replace(options, size=(height, width)), progress)
    images, notes = fit_images(read.images, run.network.input_shape)
    return NewData(
        name=name,
        images=images,
        labels=None,
        files=read.paths,
        notes=(*read.notes, *notes),
        left_out=read.left_out,
    )


def _read_test_split(run: TrainedRun, options: Options, progress: Progress | None) -> NewData:
    """Read the test split of the data that a network was trained with."""
    if run.source is None:
        raise DataError(
            "which data the network was trained with is not recorded; name images, a file, a "
            "folder or a data set"
        )
    reading = _merged(run.reading, options)
    dataset = loading.load(run.source, run.recipe.seed, reading, progress)
    run.check_data(dataset)
    recorded = run.data.get("test_sha256")
    warnings: tuple[str, ...] = ()
    if recorded is not None and dataset.test.digest != recorded:
        warning = (
            f"{run.source} has changed since the network was trained: samples of it may have been "
            "trained on"
        )
        warnings = (warning,)
    return NewData(
        name=f"the test split of {dataset.name}",
        images=dataset.test.images,
        labels=dataset.test.labels,
        warnings=warnings,
        left_out=dataset.left_out,
        is_table=dataset.table is not None,
    )


def _read_whole(
    run: TrainedRun, source: str, options: Options, progress: Progress | None
) -> NewData:
    """Read other data: its test split if it has one, and otherwise all of it."""
    known = loading.format_of(source)
    reading = _reading_for(run, known, options)
    if known is not None and known.name == CSV:
        unsplit, is_labelled = _read_csv(run, source, reading, progress)
    else:
        unsplit = loading.read(source, reading, progress)
        is_labelled = True
    contents = unsplit.contents
    split = contents.train
    notes = [*contents.notes]
    name = f"{unsplit.name} ({unsplit.source})"
    if contents.test is not None:
        split = contents.test
        name = f"the test split of {name}"
    if contents.features:
        images = _standardised_rows(run, source, split, contents.features, notes)
    elif run.is_table:
        raise DataError(
            f"{source}: images, but the network was trained with the rows of a table; add "
            "--shape table if these are numbers of a table"
        )
    else:
        images, more = fit_images(split.images, run.network.input_shape)
        notes += more
    labels = None
    if is_labelled:
        labels = _labels_of_run(run, source, split, contents.classes, notes)
    return NewData(
        name=name,
        images=images,
        labels=labels,
        notes=tuple(notes),
        warnings=contents.warnings,
        left_out=contents.left_out,
        is_table=bool(contents.features),
    )


def _merged(recorded: Options, options: Options) -> Options:
    """Return the options of a run, replaced by those that the user has set."""
    return replace(
        recorded,
        skip_unreadable=options.skip_unreadable or recorded.skip_unreadable,
        label=options.label or recorded.label,
        shape=options.shape or recorded.shape,
        white=options.white or recorded.white,
    )


def _reading_for(run: TrainedRun, known: Format | None, options: Options) -> Options:
    """Return how other data is read: as the user has set, and else as the run's data was.

    What the run's data needed is left out where the format does not follow it.
    """
    recorded = replace(run.reading, size=None)
    if run.is_table:
        recorded = replace(recorded, shape="table")
    if known is None:
        recorded = Options()
    else:
        recorded = replace(recorded, **dict.fromkeys(known.ignores))
        if known.resizes and not run.is_table:
            height, width = run.network.input_shape[:2]
            recorded = replace(recorded, size=(height, width))
    return replace(_merged(recorded, options), for_training=False)


def _read_csv(
    run: TrainedRun, source: str, reading: Options, progress: Progress | None
) -> tuple[loading.Unsplit, bool]:
    """Read a CSV; return also whether it has labels."""
    user_names_labels = reading.label is not None and reading.label != run.reading.label
    if user_names_labels:
        return loading.read(source, reading, progress), True
    inputs = prod(run.network.input_shape)
    unlabelled = replace(reading, label=None, labelled=False)
    try:
        unsplit = loading.read(source, reading, progress)
    except DataError:
        with suppress(DataError):
            unsplit = loading.read(source, unlabelled, progress)
            # With a shape, the reader accepts only rows that fill it: no column is left for labels.
            has_shape = reading.shape not in (None, "table")
            if has_shape or _numbers_of_a_sample(unsplit) == inputs:
                return unsplit, False
        raise
    if _numbers_of_a_sample(unsplit) == inputs - 1:
        # Perhaps one of its columns was taken for the labels.
        with suppress(DataError):
            whole = loading.read(source, unlabelled, progress)
            if _numbers_of_a_sample(whole) == inputs:
                return whole, False
    return unsplit, True


def _numbers_of_a_sample(unsplit: loading.Unsplit) -> int:
    return unsplit.contents.train.images[0].size


def _standardised_rows(
    run: TrainedRun, source: str, split: Split, features: tuple[str, ...], notes: list[str]
) -> NDArray[np.float64]:
    """Return rows (n, 1, 1, features), standardised with the training data's mean and deviation."""
    training = run.standardised
    if training is None:
        raise DataError(
            f"{source}: rows of a table, but the network was trained with images of "
            f"{_size_of(run.network.input_shape)}; give an image, or --shape HEIGHTxWIDTH if each "
            "row is one"
        )
    images = split.images
    if features != training.names:
        order = _order_of_columns(source, features, training.names)
        images = images[..., order]
        if order != list(range(len(features))):
            notes.append("columns put in the order of the training data, by their names")
    notes.append("standardised with the mean and deviation of the training data")
    with np.errstate(over="ignore", invalid="ignore"):
        rows = training.standardise(images)
    is_finite = np.isfinite(rows).all(axis=(1, 2, 3))
    if not is_finite.all():
        raise DataError(
            f"{source}: row {int(np.argmin(is_finite)) + 1:,} is too far from the mean of the "
            "training data to be standardised"
        )
    return rows


def _order_of_columns(source: str, features: tuple[str, ...], names: tuple[str, ...]) -> list[int]:
    """Return at which place of the new data each column of the training data is."""
    if len(features) != len(names):
        missing = [name for name in names if name not in features]
        detail = f", without {one_line(missing[0], 40)!r}" if missing else ""
        raise DataError(
            f"{source}: {counted(len(features), 'column')} of features, but the network was "
            f"trained with {len(names):,}{detail}"
        )
    if sorted(features) == sorted(names):
        return [features.index(name) for name in names]
    nameless = [str(place + 1) for place in range(len(names))]
    if nameless in (list(features), list(names)):
        return list(range(len(names)))  # one of the two files has no names
    missing = next(name for name in names if name not in features)
    raise DataError(
        f"{source}: has no column {one_line(missing, 40)!r}, which the network was trained with"
    )


def fit_images(
    images: NDArray[Any], shape: tuple[int, ...]
) -> tuple[NDArray[Any], tuple[str, ...]]:
    """Return images in the size and colours of a network's input, and what was done.

    Parameters
    ----------
    images : ndarray of uint8 or floats, shape (n, h, w, c)
    shape : tuple of int
        The shape of one input, (h, w, c).

    Raises
    ------
    DataError
        If images of fractions have another size, or their channels are neither grey nor colours.
    """
    if len(shape) != 3:
        raise DataError(f"images, but the network takes inputs of shape {shape}")
    height, width, channels = shape
    notes: list[str] = []
    if images.shape[3] != channels:
        images = _recoloured(images, channels)
        notes.append("colours read as grey" if channels == 1 else "grey read as three colours")
    if images.shape[1:3] != (height, width):
        before = f"{images.shape[1]}×{images.shape[2]}"
        images = _resized(images, height, width)
        notes.append(f"scaled from {before} to {height}×{width} pixels")
    return images, tuple(notes)


def _recoloured(images: NDArray[Any], channels: int) -> NDArray[Any]:
    if (images.shape[3], channels) == (1, 3):
        return np.repeat(images, 3, axis=3)
    if (images.shape[3], channels) != (3, 1):
        raise DataError(
            f"images of {counted(images.shape[3], 'channel')}, but the network takes {channels}"
        )
    if images.dtype.kind == "f":
        shares = np.array(GREY_WEIGHTS, images.dtype) / 2**16
        return (images * shares).sum(axis=3, keepdims=True)
    weighed = images.astype(np.uint32) * np.array(GREY_WEIGHTS, np.uint32)
    return ((weighed.sum(axis=3, keepdims=True) + 2**15) >> 16).astype(np.uint8)


def _resized(images: NDArray[Any], height: int, width: int) -> NDArray[Any]:
    """Return images in another size, bilinear; it averages where it shrinks, as for image files."""
    if images.dtype.kind == "f":
        size = f"{images.shape[1]}×{images.shape[2]}"
        raise DataError(
            f"images of {size}, but the network takes {height}×{width}; only whole pixels from 0 "
            "to 255 are scaled, not fractions"
        )
    resized = np.empty((len(images), height, width, images.shape[3]), np.uint8)
    for at, pixels in enumerate(images):
        resized[at] = scaled(pixels, (height, width))
    return resized


def _inverted(new: NewData) -> NewData:
    """Return data with light and dark exchanged."""
    if new.is_table:
        raise DataError("--invert is for images, not for the rows of a table; leave it out")
    white = 1 if new.images.dtype.kind == "f" else 255
    images = white - new.images
    return replace(new, images=images, notes=(*new.notes, "light and dark exchanged"))


def _warnings_of_images(run: TrainedRun, new: NewData, invert: bool) -> list[str]:
    """Return what is probably wrong with images: blank ones, and ones on another ground."""
    if new.is_table:
        return []
    is_blank = _are_blank(new.images)
    if not is_blank.any():
        return _warnings_of_ground(run, new, invert)
    warnings = [_blank_warning(new, is_blank)]
    if not is_blank.all():
        files_shown = tuple(compress(new.files, ~is_blank))
        shown = replace(new, images=new.images[~is_blank], files=files_shown)
        warnings += _warnings_of_ground(run, shown, invert)
    return warnings


def _are_blank(images: NDArray[Any]) -> NDArray[np.bool_]:
    """Return of each image whether it has one colour everywhere; one of a single pixel has not."""
    if images.shape[1] * images.shape[2] == 1:
        return np.zeros(len(images), bool)
    is_even = images.min(axis=(1, 2)) == images.max(axis=(1, 2))
    return is_even.all(axis=1)


def _blank_warning(new: NewData, is_blank: NDArray[np.bool_]) -> str:
    """Return a warning that names the first blank image and counts the others."""
    blank = np.flatnonzero(is_blank)
    first = blank[0]
    named = one_line(new.files[first].name) if new.files else f"image {first:,}"
    if len(blank) == 1:
        return f"{named} is blank (one colour everywhere), so its prediction means nothing"
    return (
        f"{named} and {len(blank) - 1:,} more are blank (one colour everywhere), so their "
        "predictions mean nothing"
    )


def _warnings_of_ground(run: TrainedRun, new: NewData, invert: bool) -> list[str]:
    """Return a warning if images are dark on light and the training images light on dark.

    Image files without labels are judged one by one as well: in the mean over all of them a few
    with another ground are not noticed.
    """
    if new.is_table or run.border is None:
        return []
    in_training = _ground(run.border)
    if in_training is None:
        return []
    other = "light" if in_training == "dark" else "dark"
    if _ground(border_mean(new.images)) == other:
        advice = "leave --invert out" if invert else "add --invert to exchange light and dark"
        warning = (
            f"the ground is {other}, but that of the training images is {in_training}, so the "
            f"prediction is probably wrong; {advice}"
        )
        return [warning]
    if new.labels is not None:
        return []
    differing = [
        path
        for path, image in zip(new.files, new.images, strict=False)
        if _ground(border_mean(image[np.newaxis])) == other
    ]
    if not differing:
        return []
    named = one_line(differing[0].name)
    if len(differing) > 1:
        named += f" and {len(differing) - 1:,} more"
    manner = "without --invert" if invert else "with --invert"
    warning = (
        f"the ground of {named} is {other}, but that of the training images is {in_training}, so "
        f"the prediction there is probably wrong; classify such images separately, {manner}"
    )
    return [warning]


def _ground(border: float) -> str | None:
    """Return whether the ground of images is dark or light, None where it is neither."""
    if border < DARK_BORDER:
        return "dark"
    if border > LIGHT_BORDER:
        return "light"
    return None


def _labels_of_run(
    run: TrainedRun, source: str, split: Split, classes: tuple[str, ...], notes: list[str]
) -> NDArray[np.int32]:
    """Return labels as indices into the classes of the run, which are found by their names."""
    if not run.names_classes:
        if len(classes) != run.network.classes:
            raise DataError(
                f"{source}: {counted(len(classes), 'class')}, but the network has "
                f"{run.network.classes}"
            )
        if list(classes) != run.classes:
            notes.append(
                "the run does not record what its classes are called; they are taken in the order "
                "of the data"
            )
        return split.labels
    place = {name: index for index, name in enumerate(run.classes)}
    codes = np.full(len(classes), -1, np.int32)
    for index in np.unique(split.labels):
        name = classes[int(index)]
        if name not in place:
            raise DataError(
                f"{source}: class {one_line(name, 40)!r} is none of those of the run, "
                f"{listed(run.classes)}"
            )
        codes[index] = place[name]
    return codes[split.labels]


def _size_of(shape: tuple[int, ...]) -> str:
    return "×".join(map(str, shape[:2]))
