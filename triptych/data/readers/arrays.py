"""Numbers as a CSV, an .npz or IDX files hold them, into splits: images of any size, or a table."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...core.split import Split
from ...errors import DataError
from ..checks import shown
from ..reading import Contents, Options
from .array_shapes import Layout, find_layout, layout_of_part
from .labels import classes_of, codes_of, lone
from .pixel_values import whole_pixels
from .samples import Columns, Samples

NO_COLUMNS = Columns()


def contents_of(
    train: Samples,
    test: Samples | None,
    options: Options,
    columns: Columns = NO_COLUMNS,
    notes: tuple[str, ...] = (),
    classes: tuple[str, ...] = (),
) -> Contents:
    """Check samples and return them as splits.

    Parameters
    ----------
    train : Samples
    test : Samples, optional
    options : Options
    columns : Columns
        What is known of the columns of a CSV.
    notes : tuple of str
        What the user should know so far.
    classes : tuple of str
        What the labels 0, 1, 2 … stand for, where that is known. Otherwise the training labels
        decide.

    Raises
    ------
    DataError
        Naming the file and the first value that is wrong.
    """
    parts = [train] if test is None else [train, test]
    for part in parts:
        _check_counts(part)
    all_notes = list(notes)
    names, labels = _labels(parts, classes, fewest=2 if options.for_training else 1)
    once = lone(names, labels[0], train.where)
    if once and options.for_training:
        all_notes.append(once)
    layout = find_layout(train, columns, options, all_notes)
    if layout is None:
        _refuse_white(train, options)
        tables = _tables(parts)
        features = columns.names or tuple(str(i + 1) for i in range(tables[0].shape[-1]))
        splits = _splits(tables, labels)
        return Contents(*splits, names, notes=tuple(all_notes), features=features)
    warnings: list[str] = []
    images = _images(parts, layout, options.white, all_notes, warnings)
    splits = _splits(images, labels)
    return Contents(*splits, names, notes=tuple(all_notes), warnings=tuple(warnings))


def _splits(
    arrays: list[NDArray[Any]], labels: list[NDArray[np.int32]]
) -> tuple[Split, Split | None]:
    """Return the training split, and the test split where there is one."""
    train = Split(arrays[0], labels[0])
    if len(arrays) == 1:
        return train, None
    return train, Split(arrays[1], labels[1])


def _check_counts(part: Samples) -> None:
    """Raise `DataError` unless there are samples of numbers, and one label for each."""
    values = part.values
    labels = part.labels
    if not values.ndim or (isinstance(labels, np.ndarray) and not labels.ndim):
        raise DataError(f"{part.path}: images or labels are a single number")
    if isinstance(labels, np.ndarray) and labels.size != len(labels):
        needed = "one whole number or word a sample is needed"
        if labels.size == len(values):
            needed += ": labels.reshape(-1)"
        else:
            needed += ", not one-hot rows (labels.argmax(axis=-1) makes numbers of them)"
        raise DataError(f"{part.about_labels}: labels of shape {labels.shape}; {needed}")
    if len(values) != len(labels):
        counts = f"{len(values):,} images but {len(labels):,} labels"
        also = "" if part.labels_path is None else f" in {part.labels_path.name}"
        raise DataError(f"{part.path}: {counts}{also}; {_advice_on_counts(part)}")
    if not len(labels):
        raise DataError(f"{part.path}: holds no samples")
    if values.dtype.kind not in "uifb":
        raise DataError(f"{part.path}: values are of type {values.dtype}, not numbers")
    if values.ndim == 1:
        raise DataError(f"{part.path}: one number a sample; images or rows of a table are needed")


def _advice_on_counts(part: Samples) -> str:
    """Return what to do where there are not as many images as labels."""
    values = part.values
    if values.ndim > 1 and values.shape[-1] == len(part.labels):
        order = [values.ndim - 1, *range(values.ndim - 1)]
        axes = ", ".join(map(str, order))
        return f"the samples are the last axis of {values.shape}: x.transpose({axes})"
    return "they must be as many"


def _labels(
    parts: list[Samples], classes: tuple[str, ...], fewest: int
) -> tuple[tuple[str, ...], list[NDArray[np.int32]]]:
    """Return the classes, and the labels of each part as indices into them, int32 of shape (n,)."""
    train, *others = parts
    if classes:
        names = classes
        written = tuple(str(i) for i in range(len(classes)))
        codes = codes_of(train.about_labels, _flat(train), train.where, written)
    else:
        names, codes = classes_of(train.about_labels, _flat(train), train.where, fewest)
        written = names
    other_codes = [codes_of(part.about_labels, _flat(part), part.where, written) for part in others]
    return names, [codes, *other_codes]


def _flat(part: Samples) -> Any:
    """Return labels (n,), also of an array (n, 1)."""
    return part.labels.reshape(-1) if isinstance(part.labels, np.ndarray) else part.labels


def _images(
    parts: list[Samples],
    layout: Layout,
    white: int | None,
    notes: list[str],
    warnings: list[str],
) -> list[NDArray[Any]]:
    """Return the images of each part, uint8 or float of shape (n, h, w, c)."""
    train = parts[0]
    layouts = [layout_of_part(part, train, layout) for part in parts]
    arrays = [own.arrange(part.values) for part, own in zip(parts, layouts, strict=True)]
    arranged = list(zip(parts, arrays, strict=True))
    return whole_pixels(arranged, white, notes, warnings)


def _refuse_white(part: Samples, options: Options) -> None:
    if options.white is not None:
        reason = "its rows are read as a table; --white is for the pixels of images"
        raise DataError(f"{part.path}: {reason}: add --shape HEIGHTxWIDTH, or leave --white out")


def _tables(parts: list[Samples]) -> list[NDArray[np.float64]]:
    """Return the rows of each part, float64 of shape (n, 1, 1, features)."""
    tables = [_features(part) for part in parts]
    counts = [table.shape[-1] for table in tables]
    if counts[0] != counts[-1]:
        train, test = parts
        reason = f"{counts[1]:,} features, but {train.path.name} has {counts[0]:,}"
        raise DataError(f"{test.path}: {reason}")
    return tables


def _features(part: Samples) -> NDArray[np.float64]:
    """Return the rows of a table, float64 of shape (n, 1, 1, features), all finite."""
    table = part.values.reshape(len(part.values), -1).astype(np.float64)
    is_finite = np.isfinite(table)
    if not is_finite.all():
        i, j = np.unravel_index(int(np.argmin(is_finite)), is_finite.shape)
        text = shown(table[i, j])
        where = part.cell(int(i), int(j))
        advice = "fill it in, or remove the row"
        raise DataError(f"{part.path}: {where}: {text} is not a finite number; {advice}")
    return table.reshape(len(table), 1, 1, -1)
