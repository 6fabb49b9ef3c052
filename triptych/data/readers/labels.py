"""Labels of any kind into classes: whole numbers from anywhere, or words."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import DataError, one_line
from .text import listed

MOST_CLASSES = 10_000
MOST_CLASSES_OF_FEW_ROWS = 20
LONGEST_NAME = 100  # characters
MISSING = ("", "?", "nan", "null", "<na>")  # where a label should be, in lower case
RARE_SHARE = 0.05  # of the rows: words that are rarer among whole numbers are taken for mistakes

Values = NDArray[Any] | Sequence[str]
Where = Callable[[int], str]  # takes the index of a label; returns where it is: "line 7"


@dataclass(frozen=True)
class _Distinct:
    """The different labels of a set.

    Attributes
    ----------
    values : list
        As they are written.
    inverse : ndarray of int, shape (n,)
        Which of them each label is.
    first : list of int
        Where each occurs first.
    """

    values: list[Any]
    inverse: NDArray[np.intp]
    first: list[int]


def classes_of(
    path: Path, labels: Values, where: Where, fewest: int = 2
) -> tuple[tuple[str, ...], NDArray[np.int32]]:
    """Return the classes that occur, and which of them each label is.

    Parameters
    ----------
    path : Path
        The file that an error is about.
    labels : ndarray of numbers, text or bool, shape (n,), or sequence of str
    where : callable
        Takes the index of a label; returns where it is: ``line 7``.
    fewest : int
        How many classes there must be: 2, or 1 where nothing is learned from them.

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
    distinct = _distinct(path, labels)
    texts = [_text(value) for value in distinct.values]
    for text, at in zip(texts, distinct.first, strict=True):
        fault = _fault_of_name(text)
        if fault:  # `where` may read the file again, so it is called for an error only
            raise DataError(f"{path}: {where(at)}: {fault}")
    names = list(map(_canonical, texts))
    _refuse_quantities(path, names, distinct, where)
    _refuse_rare_words(path, names, distinct, where)
    _refuse_many(path, names, len(distinct.inverse))
    classes = _sorted_classes(names)
    place = {name: at for at, name in enumerate(classes)}
    codes = np.array([place[name] for name in names], np.int32)[distinct.inverse]
    if len(classes) < fewest:
        only = one_line(classes[0], 40)
        raise DataError(f"{path}: every label is {only}; a classifier needs at least two classes")
    return classes, codes


def codes_of(
    path: Path, labels: Values, where: Where, classes: tuple[str, ...]
) -> NDArray[np.int32]:
    """Return which of the training classes each label of a test set is, int32 of shape (n,).

    Raises
    ------
    DataError
        Naming the first label that no training sample has.
    """
    distinct = _distinct(path, labels)
    place = {name: at for at, name in enumerate(classes)}
    codes: list[int] = []
    for value, at in zip(distinct.values, distinct.first, strict=True):
        name = _canonical(_text(value))
        if name not in place:
            shown = one_line(name, 40) or "nothing"
            known = f"the training labels are {listed(classes)}"
            raise DataError(f"{path}: {where(at)}: label {shown} has no training sample; {known}")
        codes.append(place[name])
    return np.array(codes, np.int32)[distinct.inverse]


def lone(classes: tuple[str, ...], codes: NDArray[np.int32], where: Where) -> str:
    """Return a note about the classes that have one sample only; nothing without one.

    Such a sample is either trained on or tested, and never both.
    """
    counts = np.bincount(codes, minlength=len(classes))
    once = np.flatnonzero(counts == 1)
    if not len(once):
        return ""
    at = int(np.flatnonzero(codes == once[0])[0])
    more = f" and {len(once) - 1:,} more" if len(once) > 1 else ""
    return f"label {one_line(classes[once[0]], 40)}{more} occurs once ({where(at)})"


def _distinct(path: Path, labels: Values) -> _Distinct:
    """Return the different labels, in the order of their first occurrence where they are texts."""
    if isinstance(labels, np.ndarray):
        if labels.dtype.kind not in "uifbUS":
            needed = "whole numbers or words are needed"
            raise DataError(f"{path}: labels are of type {labels.dtype}; {needed}")
        values, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
        return _Distinct(values.tolist(), inverse.reshape(-1), first.tolist())
    place: dict[str, int] = {}
    places = (place.setdefault(label, len(place)) for label in labels)
    inverse = np.fromiter(places, np.intp, len(labels))
    _, first = np.unique(inverse, return_index=True)
    return _Distinct(list(place), inverse, first.tolist())


def _text(value: Any) -> str:
    """Return a label as text, without quotes around it."""
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    if not isinstance(value, str):
        return str(value)
    text = value.strip()
    if len(text) > 1 and text[0] == text[-1] and text[0] in "'\"":
        text = text[1:-1].strip()
    return text


def _canonical(text: str) -> str:
    """Return the name of a label's class: a whole number without decimals, or the text as it is."""
    number = _whole(text)
    return text if number is None else str(number)


def _sorted_classes(names: list[str]) -> tuple[str, ...]:
    """Return the different names, sorted; by value where all are whole numbers."""
    different = set(names)
    if all(_whole(name) is not None for name in different):
        return tuple(sorted(different, key=int))
    return tuple(sorted(different))


def _whole(text: str) -> int | None:
    """Return the whole number that `text` is, also as 5.0 or 5e0; None where it is none."""
    try:
        return int(text)
    except ValueError:
        pass
    number = _number(text)
    return int(number) if number is not None and number.is_integer() else None


def _number(text: str) -> float | None:
    """Return the finite number that `text` is; None where it is none."""
    try:
        number = float(text)
    except ValueError:
        return None
    return number if np.isfinite(number) else None


def _fault_of_name(name: str) -> str:
    """Return what is wrong with a label that is missing, or that cannot be the name of a class."""
    if name.lower() in MISSING:
        return "no label; fill it in, or remove the row"
    if not name.isprintable() or len(name) > LONGEST_NAME:
        return f"{one_line(repr(name), 40)} cannot be the name of a class"
    return ""


def _refuse_quantities(path: Path, names: list[str], distinct: _Distinct, where: Where) -> None:
    """Raise `DataError` for a number that is not whole, where all labels are numbers."""
    if any(_number(name) is None for name in names):
        return
    for name, at in zip(names, distinct.first, strict=True):
        if _whole(name) is None:
            reason = f"label {name} is not a whole number or a word"
            advice = "only classes can be learned, not quantities"
            raise DataError(f"{path}: {where(at)}: {reason}; {advice}")


def _refuse_rare_words(path: Path, names: list[str], distinct: _Distinct, where: Where) -> None:
    """Raise `DataError` for a word among whole numbers, if words are rare."""
    words = [at for at, name in enumerate(names) if _number(name) is None]
    has_whole_numbers = any(_whole(name) is not None for name in names)
    if not words or not has_whole_numbers:
        return
    counts = np.bincount(distinct.inverse, minlength=len(names))
    if counts[words].sum() < RARE_SHARE * len(distinct.inverse):
        word = one_line(names[words[0]], 40)
        place = where(distinct.first[words[0]])
        raise DataError(
            f"{path}: {place}: label {word!r} is not a whole number, as other labels are; "
            "mend it, or give every class a word"
        )


def _refuse_many(path: Path, names: list[str], count: int) -> None:
    """Raise `DataError` for labels that hardly repeat in `count` rows."""
    most = MOST_CLASSES
    if count <= 2 * MOST_CLASSES:
        most = max(MOST_CLASSES_OF_FEW_ROWS, count // 2)
    if len(names) > most:
        counts = f"{len(names):,} different labels in {count:,} rows"
        raise DataError(
            f"{path}: {counts}, for example {listed(names[:3])}: these are no classes; "
            "is it the right column? see --label"
        )
