"""What the numbers of images mean: which one is white, and which are no pixels at all."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import DataError
from ..checks import not_whole, shown
from .samples import Samples

ROUNDING = 0.13  # of pixel / 255 · 255, where the fraction was written with three decimals
MANY_FRACTIONS = 50  # from here on fractions may be rounded so; fewer must fit ten times better
FAR_DARKER = 4  # times: so much lower is the highest pixel of a set that may have another range
DARK = 64  # a set without a pixel of this value or above gets a warning


def whole_pixels(
    parts: Sequence[tuple[Samples, NDArray[Any]]],
    white: int | None,
    notes: list[str],
    warnings: list[str],
) -> list[NDArray[Any]]:
    """Return images as whole numbers from 0 to 255, or fractions from 0 to 1 as they are.

    Parameters
    ----------
    parts : sequence of (Samples, ndarray of shape (n, h, w, c))
        The training set and the test set, or one set: where its values are in the file, and its
        images.
    white : int, optional
        The value that becomes 255. None: it is found from the values of all sets together.
    notes, warnings : list of str
        To which is added what was done, and what may be wrong.

    Returns
    -------
    list of ndarray of uint8, or of float where all values are fractions, shape (n, h, w, c)

    Raises
    ------
    DataError
        Naming the first value that is no pixel.
    """
    arrays = [images for _, images in parts]
    if all(array.dtype.kind == "b" for array in arrays):
        notes.append("False and True read as 0 and 255")
        return [_whole(array) * np.uint8(255) for array in arrays]
    _refuse_not_finite(parts)
    least = min(float(array.min()) for array in arrays)
    highest = [float(array.max()) for array in arrays]
    most = max(highest)
    if white is None and len(parts) == 2:
        warnings += compare_ranges(str(parts[1][0].path), highest[0], highest[1])
    if white is not None:
        _refuse_other_numbers(parts, white, least, most)
        return [_scaled(array, white) for array in arrays]
    if least >= 0 and most == 1 and all(map(_are_zeros_and_ones, arrays)):
        notes.append("pixels 0 and 1 read as 0 and 255")
        return [_whole(array) * np.uint8(255) for array in arrays]
    if least >= 0 and 0 < most <= 1 and all(array.dtype.kind == "f" for array in arrays):
        return _fractions(arrays, notes)
    _refuse_other_numbers(parts, 255, least, most)
    if 0 < most < DARK:
        warnings.append(
            f"no pixel is over {most:.0f} of 255, so the images are nearly black; "
            f"if {most:.0f} is white, add --white {most:.0f}"
        )
    return [_whole(array) for array in arrays]


def compare_ranges(where: str, train: float, test: float) -> list[str]:
    """Return a warning where a test set is far darker or lighter than its training set.

    Parameters
    ----------
    where : str
        What a message calls the test set.
    train, test : float
        The highest pixel of each set.

    Raises
    ------
    DataError
        One set goes up to 1 and the other one beyond, so that they have different units.
    """
    low, high = sorted((train, test))
    ranges = f"the training pixels go up to {train:.4g}, the test pixels up to {test:.4g}"
    if 0 < low <= 1 < high:
        raise DataError(f"{where}: {ranges}; save both sets in the same range, from 0 to 255")
    if 0 < low * FAR_DARKER < high:
        return [f"{ranges}; save both sets in the same range if they were saved in different ones"]
    return []


def are_fractions_of_255(values: NDArray[Any]) -> bool:
    """Return whether values are pixels divided by 255, as far as decimals were written."""
    with np.errstate(invalid="ignore", over="ignore"):
        if not (values.min() >= 0 and values.max() <= 1):
            return False
        scaled = values.astype(np.float64) * 255
        distances = np.abs(scaled - np.rint(scaled))
        fractions = np.count_nonzero((values > 0) & (values < 1))
    tolerance = ROUNDING if fractions >= MANY_FRACTIONS else ROUNDING / 10
    return bool(distances.max() <= tolerance)


def _are_zeros_and_ones(array: NDArray[Any]) -> bool:
    """Return whether values, all from 0 to 1, are nothing but 0 and 1."""
    return array.dtype.kind != "f" or bool(np.isin(array, (0, 1)).all())


def _fractions(arrays: list[NDArray[Any]], notes: list[str]) -> list[NDArray[Any]]:
    """Return fractions of 255 as whole pixels; other fractions from 0 to 1 as they are."""
    if all(map(are_fractions_of_255, arrays)):
        notes.append("pixels from 0 to 1 read times 255")
        return [_whole(np.rint(array.astype(np.float64) * 255)) for array in arrays]
    notes.append("pixels from 0 to 1, taken as they are")
    return [np.ascontiguousarray(array) for array in arrays]


def _whole(values: NDArray[Any]) -> NDArray[np.uint8]:
    return np.ascontiguousarray(values, np.uint8)


def _scaled(values: NDArray[Any], white: int) -> NDArray[np.uint8]:
    """Return whole numbers from 0 to `white` as 0 to 255, rounded."""
    if white == 255:
        return _whole(values)
    return ((values.astype(np.uint32) * 255 + white // 2) // white).astype(np.uint8)


def _refuse_not_finite(parts: Sequence[tuple[Samples, NDArray[Any]]]) -> None:
    """Raise `DataError` for the first value that is not a number, or infinite."""
    for part, _ in parts:
        if part.values.dtype.kind != "f":
            continue
        rows = part.values.reshape(len(part.values), -1)  # in the order of the file
        is_finite = np.isfinite(rows)
        if is_finite.all():
            continue
        i, j = np.unravel_index(int(np.argmin(is_finite)), rows.shape)
        text = shown(rows[i, j])
        where = f"{part.path}: {part.cell(int(i), int(j))}"
        raise DataError(
            f"{where}: pixel {text} is not a finite number; mend it, or remove the sample"
        )


def _refuse_other_numbers(
    parts: Sequence[tuple[Samples, NDArray[Any]]], white: int, least: float, most: float
) -> None:
    """Raise `DataError` for the first value that is not a whole number from 0 to `white`."""
    for part, _ in parts:
        if part.values.dtype == np.uint8 and white == 255:
            continue
        rows = part.values.reshape(len(part.values), -1)  # in the order of the file
        wrong = not_whole(rows, white)
        if not wrong.any():
            continue
        i, j = np.unravel_index(int(np.argmax(wrong)), wrong.shape)
        text = shown(rows[i, j])
        where = f"{part.path}: {part.cell(int(i), int(j))}"
        advice = _advice(wrong, least, most) if white == 255 else ", which --white gives"
        raise DataError(f"{where}: pixel {text} is not a whole number from 0 to {white}{advice}")


def _advice(wrong: NDArray[np.bool_], least: float, most: float) -> str:
    """Return what to do about pixels in another range; nothing for single wrong values."""
    share = wrong.mean()
    if least == -1 and 0 < most <= 1:
        return "; pixels from -1 to 1 need (x + 1) · 127.5, rounded"
    values = f"pixels from {least:.3g} to {most:.3g}"
    if (least, most) == (-128, 127):
        return f"; {values} seem to be signed bytes, give them as unsigned ones"
    if -1000 < least < 0 and share > 0.1:
        return f"; {values} seem to be standardised, give them as they were"
    if least >= 0 and 255 < most <= 65535 and share > 0.01:
        return f"; pixels up to {most:.5g} must be scaled to 255: add --white VALUE"
    if least >= 0 and most <= 255 and share > 0.01:
        return "; round them"
    return ""
