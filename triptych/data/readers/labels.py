"""Labels of any kind into classes: whole numbers from anywhere, or words."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import DataError, one_line
from .text import listed

MOST_CLASSES = 10_000
LONGEST_NAME = 100  # characters
MISSING = ("", "?", "nan", "null", "<na>")  # where a label should be, in lower case
FEW = 0.05  # of the rows: words that are rarer among whole numbers are taken for mistakes

Values = NDArray[Any] | Sequence[str]


def classes_of(
    path: Path,
    labels: Values,
    where: Callable[[int], str],
) -> tuple[tuple[str, ...], NDArray[np.int32]]:
    """Return the classes that occur, and which of them each label is.

    Parameters
    ----------
    path : Path
        The file that an error is about.
    labels : ndarray of numbers, text or bool, shape (n,), or sequence of str
    where : callable
        Given the index of a label, says where it is: ``line 7``.

    Returns
    -------
    classes : tuple of str
        The distinct labels as they are written, sorted; by value where all are whole numbers.
    codes : ndarray of int32, shape (n,)
        The index of each label in `classes`.

    Raises
    ------
    DataError
        Naming the first label that is missing, or neither a whole number nor a word.
    """
    distinct, inverse, first = _distinct(path, labels)
    names: list[str] = []
    numbers: list[int] = []
    for value, at in zip(distinct, first, strict=True):
        name = _named(value)
        if name.lower() in MISSING:
            raise DataError(f"{path}: {where(at)}: no label; fill it in, or remove the row")
        if not name.isprintable() or len(name) > LONGEST_NAME:
            shown = one_line(repr(name), 40)
            raise DataError(f"{path}: {where(at)}: {shown} cannot be the name of a class")
        number = _whole(name)
        if number is not None:
            numbers.append(number)
        names.append(name if number is None else str(number))
    counts = np.bincount(inverse, minlength=len(names))
    _refuse_numbers(path, names, numbers, counts, first, where, len(inverse))
    ordered = [str(number) for number in sorted(set(numbers))] if len(numbers) == len(names) else []
    ordered = ordered or sorted(set(names))
    place = {name: at for at, name in enumerate(ordered)}
    codes = np.array([place[name] for name in names], np.int32)[inverse]
    if len(ordered) == 1:
        raise DataError(
            f"{path}: every label is {one_line(ordered[0], 40)}; a classifier needs at least two classes"
        )
    return tuple(ordered), codes


def codes_of(
    path: Path,
    labels: Values,
    where: Callable[[int], str],
    classes: tuple[str, ...],
) -> NDArray[np.int32]:
    """Return which of the training classes each label of a test set is, int32 of shape (n,).

    Raises
    ------
    DataError
        Naming the first label that no training sample has.
    """
    distinct, inverse, first = _distinct(path, labels)
    place = {name: at for at, name in enumerate(classes)}
    codes: list[int] = []
    for value, at in zip(distinct, first, strict=True):
        name = _named(value)
        number = _whole(name)
        name = name if number is None else str(number)
        if name not in place:
            shown = one_line(name, 40) or "nothing"
            raise DataError(
                f"{path}: {where(at)}: label {shown} has no training sample; the training labels are {listed(classes)}"
            )
        codes.append(place[name])
    return np.array(codes, np.int32)[inverse]


def lone(classes: tuple[str, ...], codes: NDArray[np.int32], where: Callable[[int], str]) -> str:
    """Return a note about the classes that have one sample, which is trained on or tested and not both."""
    counts = np.bincount(codes, minlength=len(classes))
    once = np.flatnonzero(counts == 1)
    if not len(once):
        return ""
    at = int(np.flatnonzero(codes == once[0])[0])
    more = f" and {len(once) - 1:,} more" if len(once) > 1 else ""
    return f"label {one_line(classes[once[0]], 40)}{more} occurs once ({where(at)})"


def _distinct(path: Path, labels: Values) -> tuple[list[Any], NDArray[np.intp], list[int]]:
    """Return the distinct values, which of them each label is, and where each occurs first."""
    if isinstance(labels, np.ndarray):
        if labels.dtype.kind not in "uifbUS":
            raise DataError(
                f"{path}: labels are of type {labels.dtype}; whole numbers or words are needed"
            )
        values, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
        found = values.tolist()
        return found, inverse.reshape(-1), first.tolist()
    place: dict[str, int] = {}
    inverse = np.fromiter(
        (place.setdefault(label, len(place)) for label in labels), np.intp, len(labels)
    )
    _, first = np.unique(inverse, return_index=True)
    return list(place), inverse, first.tolist()


def _named(value: Any) -> str:
    """Return a label as text, without quotes around it."""
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    if not isinstance(value, str):
        return str(value)
    text = value.strip()
    if len(text) > 1 and text[0] == text[-1] and text[0] in "'\"":
        text = text[1:-1].strip()
    return text


def _whole(text: str) -> int | None:
    """Return the whole number that `text` is, also as 5.0 or 5e0; None where it is none."""
    try:
        return int(text)
    except ValueError:
        pass
    number = _number(text)
    return int(number) if number is not None and number.is_integer() else None


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if np.isfinite(number) else None


def _refuse_numbers(
    path: Path,
    names: list[str],
    numbers: list[int],
    counts: NDArray[np.intp],
    first: list[int],
    where: Callable[[int], str],
    count: int,
) -> None:
    """Raise `DataError` for quantities, for a word among numbers, and for labels that hardly repeat."""
    words = [at for at, name in enumerate(names) if _number(name) is None]
    for at, name in enumerate(names):
        if not words and _whole(name) is None:
            raise DataError(
                f"{path}: {where(first[at])}: label {name} is not a whole number or a word; only classes can be learned, not quantities"
            )
    if numbers and words and counts[words].sum() < FEW * count:
        at = words[0]
        raise DataError(
            f"{path}: {where(first[at])}: label {one_line(names[at], 40)!r} is not a whole number, "
            "as other labels are; mend it, or give every class a word"
        )
    most = MOST_CLASSES if count > 2 * MOST_CLASSES else max(20, count // 2)
    if len(names) > most:
        raise DataError(
            f"{path}: {len(names):,} different labels in {count:,} rows, for example "
            f"{listed(names[:3])}: these are no classes; is it the right column? see --label"
        )
