"""Finds out how two arrays of inputs, made of the same samples, are related.

Each hypothesis is a change of A's array; it explains B's array if it reproduces its numbers.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from math import isclose, sqrt
from typing import Any

import numpy as np

from .bounds import relative_difference
from .code_lines import value_text
from .observation import Array
from .resizing import cause_of, methods_used

# Preprocessing is often done in float32.
SAME = 2e-6

MOST_SHIFT = 8  # pixels
MOST_NUMBERS = 16  # of features, that are shown
FEWEST_SAMPLES = 4  # for two numbers that are fitted to each feature

# Subtracted from BGR pixels by Keras' preprocess_input in its mode "caffe".
CAFFE_MEANS = (103.939, 116.779, 123.68)


@dataclass(frozen=True)
class Explanation:
    """What was done to one side's inputs and not to the other's.

    Attributes
    ----------
    cause : str or None
        The id in the catalogue.
    title : str
        What B's inputs are, compared with A's.
    values : dict
        ``a`` and ``b``: what each side has.
    fix : dict of str to str
        ``a`` and ``b``: a line that makes this side's ``x`` equal to the other's.
    residual : float
        What remains, as `triptych.doctor.bounds.relative_difference`.
    """

    cause: str | None
    title: str
    values: Mapping[str, Any]
    fix: Mapping[str, str | None]
    residual: float


@dataclass(frozen=True)
class Arrangement:
    """The same numbers in another order.

    Attributes
    ----------
    title : str
        What B's array is, compared with A's; empty if nothing was rearranged.
    apply : callable
        From A's array to B's order.
    code : str
        The line that does it, where ``x`` is the array.
    """

    title: str
    apply: Callable[[Array], Array]
    code: str = ""


@dataclass(frozen=True)
class Scaling:
    """B's values as a multiple of A's plus an offset.

    Attributes
    ----------
    scale, offset : ndarray
        One number, or one for each entry of `axis`.
    axis : int or None
        To which axis the numbers belong.
    residual : float
        What remains.
    """

    scale: Array
    offset: Array
    axis: int | None
    residual: float


@dataclass(frozen=True)
class Raw:
    """The batch before preprocessing.

    Attributes
    ----------
    images : ndarray or None
        Shape (batch, height, width, channels), if it has images.
    counts : tuple of int
        Numbers of values of which a standard deviation may have been taken.
    """

    images: Array | None = None
    counts: tuple[int, ...] = field(default=())


def explain(a: Array, b: Array, raw: Raw, names: Mapping[str, str]) -> Explanation | None:
    """Return how B's inputs come from A's, or None.

    Parameters
    ----------
    a, b : ndarray
        The inputs, with the same axes; the first one is the batch.
    raw : Raw
        What is known of the batch before preprocessing.
    names : mapping of str to str
        ``a`` and ``b``: what the sides are called in titles.
    """
    for arrangement in arrangements(a, b):
        arranged = arrangement.apply(a)
        if arranged.shape != b.shape:
            continue
        if relative_difference(arranged, b) <= SAME:
            return _rearranged(arrangement, relative_difference(arranged, b), names)
        scaling = fitted(arranged, b)
        if scaling is not None and scaling.axis == 0:
            return standardised(a, b, raw, names) or _scaled(
                arranged, b, scaling, arrangement, raw, names
            )
        if scaling is not None:
            return _scaled(arranged, b, scaling, arrangement, raw, names)
    return (
        rounded(a, b, names)
        or resized(a, b, raw, names)
        or shifted(a, b, names)
        or standardised(a, b, raw, names)
    )


def arrangements(a: Array, b: Array) -> Iterator[Arrangement]:
    """Yield orders in which the same numbers may be, from the most to the least usual."""
    yield Arrangement("", lambda x: x)
    for axis in _feature_axes(a):
        if a.shape[axis] == 3 and a.ndim > 2:
            line = _index(axis, a.ndim, "::-1")
            yield Arrangement(
                "the channels are in the opposite order (RGB against BGR)",
                lambda x, axis=axis: np.flip(x, axis),
                f"x = x{line}",
            )
    if a.ndim > 2:
        spatial = _spatial_axes(a)
        for first, second in pairwise(spatial):
            yield Arrangement(
                "height and width are exchanged",
                lambda x, first=first, second=second: np.swapaxes(x, first, second),
                f"x = np.swapaxes(x, {first}, {second})",
            )
        for axis in spatial:
            place = {1: "vertically", 2: "horizontally"}.get(spatial.index(axis) + 1, "in time")
            place = "in time" if len(spatial) == 1 else place
            line = _index(axis, a.ndim, "::-1")
            yield Arrangement(
                f"mirrored {place}", lambda x, axis=axis: np.flip(x, axis), f"x = x{line}"
            )
    if a.ndim == 2:
        yield Arrangement("in reverse order", lambda x: np.flip(x, 1), "x = x[:, ::-1]")
    order = _row_order(a, b)
    if order is not None:
        yield Arrangement("in another order of the samples", lambda x: x[order])


def _index(axis: int, dimensions: int, entry: str) -> str:
    entries = [entry if each == axis else ":" for each in range(dimensions)]
    return f"[{', '.join(entries)}]"


def _feature_axes(array: Array) -> list[int]:
    """Return the axes that may hold channels, the usual one first."""
    if array.ndim < 3:
        return [array.ndim - 1] if array.ndim == 2 else []
    last, second = array.shape[-1], array.shape[1]
    return [array.ndim - 1, 1] if last <= second else [1, array.ndim - 1]


def _spatial_axes(array: Array) -> list[int]:
    channels = _feature_axes(array)[0]
    return [axis for axis in range(1, array.ndim) if axis != channels]


def _row_order(a: Array, b: Array) -> Array | None:
    """Return which sample of A each sample of B is, if B has the same samples in another order."""
    if a.shape != b.shape or len(a) < 2 or not (np.isfinite(a).all() and np.isfinite(b).all()):
        return None
    weights = np.random.default_rng(0).normal(size=a[0].size)
    first = a.reshape(len(a), -1) @ weights
    second = b.reshape(len(b), -1) @ weights
    order = np.empty(len(a), int)
    order[np.argsort(second, kind="stable")] = np.argsort(first, kind="stable")
    return order if relative_difference(a[order], b) <= SAME else None


def fitted(a: Array, b: Array) -> Scaling | None:
    """Return the scale and offset that make A's values B's: one for all, or for each feature.

    Parameters
    ----------
    a, b : ndarray
        Arrays of the same shape.
    """
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        return None
    whole = _fit(a.reshape(1, -1), b.reshape(1, -1), None, b)
    if whole is not None:
        return whole
    for axis in (*_feature_axes(a), 0):
        rows = np.moveaxis(a, axis, 0).reshape(a.shape[axis], -1)
        wanted = np.moveaxis(b, axis, 0).reshape(b.shape[axis], -1)
        if rows.shape[1] >= FEWEST_SAMPLES:
            scaling = _fit(rows, wanted, axis, b)
            if scaling is not None:
                return scaling
    return None


def _fit(rows: Array, wanted: Array, axis: int | None, b: Array) -> Scaling | None:
    rows = rows.astype(np.float64)
    wanted = wanted.astype(np.float64)
    centred = rows - rows.mean(1, keepdims=True)
    spread = (centred**2).sum(1)
    constant = spread <= 1e-24 * np.maximum(1.0, (rows**2).sum(1))
    products = (centred * wanted).sum(1)
    scale = np.where(constant, 1.0, products / np.where(constant, 1.0, spread))
    offset = wanted.mean(1) - scale * rows.mean(1)
    # A constant feature tells only the sum: nothing is scaled there.
    difference = np.abs(scale[:, None] * rows + offset[:, None] - wanted).max()
    size = np.abs(b).max()
    if constant.all() or not np.isfinite(difference) or difference > SAME * max(size, 1e-30):
        return None
    if np.all(np.abs(scale) < 1e-12):
        return None
    kept = ~constant
    return Scaling(scale[kept], offset[kept], axis, float(difference / max(size, 1e-30)))


def _rearranged(
    arrangement: Arrangement, residual: float, names: Mapping[str, str]
) -> Explanation | None:
    if not arrangement.title:
        return None
    title = f"the inputs of {names['b']} are those of {names['a']}, {arrangement.title}"
    line = arrangement.code or None
    values = {"a": "as they are", "b": arrangement.title}
    return Explanation(None, title, values, {"a": line, "b": line}, residual)


def _scaled(
    a: Array,
    b: Array,
    scaling: Scaling,
    arrangement: Arrangement,
    raw: Raw,
    names: Mapping[str, str],
) -> Explanation:
    """Return an explanation by a scale and an offset."""
    scales, offsets = scaling.scale, scaling.offset
    size = np.abs(b).max()
    no_offset = bool(np.all(np.abs(offsets) <= 1e-5 * size))
    cause: str | None = "D77"
    text = _scaling_text(scales, offsets, names, no_offset=no_offset)
    count = _ddof_count(scales, a, raw) if no_offset else None
    if count is not None:
        cause = "D78"
        divisors = ("n - 1", "n") if scales.flat[0] > 1 else ("n", "n - 1")
        text = (
            f"the standard deviation of {count} values is divided by {divisors[0]} in {names['a']} "
            f"and by {divisors[1]} in {names['b']}"
        )
    elif arrangement.title and _is_caffe(offsets):
        cause = "D113"
    lower = _lower_median_side(a, b, scaling)
    if lower:
        cause = "D79"
        other = "b" if lower == "a" else "a"
        text = (
            f"a median is subtracted: the lower of the two middle values in {names[lower]}, their "
            f"mean in {names[other]}"
        )
    if scaling.axis == 0:
        text = f"each sample of {names['b']} is scaled in its own way"
    if arrangement.title:
        text += f", and {arrangement.title}"
    values = {
        "a": _range_text(a),
        "b": _range_text(b),
        "scale": _numbers(scales),
        "offset": 0.0 if no_offset else _numbers(offsets),
    }
    fix = {"a": _forward_line(scales, offsets, no_offset=no_offset)}
    fix["b"] = _backward_line(scales, offsets, no_offset=no_offset)
    if arrangement.code:
        fix = {side: f"{arrangement.code}; {line}" for side, line in fix.items()}
    return Explanation(cause, text, values, fix, scaling.residual)


def _lower_median_side(a: Array, b: Array, scaling: Scaling) -> str:
    """Return the side from which the lower of two medians is subtracted, the other one's mean.

    It is empty if that is not the difference. Of an even number of values the lower median is that
    of PyTorch, the mean of the two in the middle that of NumPy.
    """
    if scaling.axis is None:
        rows = {"a": a.reshape(1, -1), "b": b.reshape(1, -1)}
    else:
        axis = scaling.axis
        rows = {
            side: np.moveaxis(array, axis, 0).reshape(array.shape[axis], -1)
            for side, array in (("a", a), ("b", b))
        }
    bound = SAME * max(np.abs(a).max(), np.abs(b).max())
    for side, other in (("a", "b"), ("b", "a")):
        lower = np.sort(rows[side], axis=1)[:, (rows[side].shape[1] - 1) // 2]
        middle = np.median(rows[other], axis=1)
        if np.abs(lower).max() <= bound and np.abs(middle).max() <= bound:
            return side
    return ""


def _is_caffe(offsets: Array) -> bool:
    return len(offsets) == 3 and bool(np.allclose(np.sort(-offsets), CAFFE_MEANS, rtol=1e-3))


def _ddof_count(scales: Array, a: Array, raw: Raw) -> int | None:
    """Return n if the scale is that of a standard deviation divided by n - 1 instead of n."""
    scale = float(scales.flat[0])
    if np.abs(scales - scale).max() > 1e-5 * abs(scale):
        return None
    counts = {len(a), a.size, *a.shape, a.size // max(1, a.shape[-1]), *raw.counts}
    counts |= {a.size // len(a), a.size // max(1, a.shape[1] if a.ndim > 1 else 1)}
    for count in sorted(counts):
        if count < 2:
            continue
        ratio = sqrt(count / (count - 1))
        for candidate in (ratio, 1 / ratio):
            if isclose(scale, candidate, rel_tol=min(1e-5, 0.05 / count)):
                return count
    return None


def _numbers(numbers: Array) -> float | list[float]:
    values = [float(f"{number:.6g}") for number in numbers.flat]
    if np.ptp(numbers) <= 1e-5 * np.abs(numbers).max():
        return values[0]
    return values[:MOST_NUMBERS]


def _scaling_text(
    scales: Array, offsets: Array, names: Mapping[str, str], *, no_offset: bool
) -> str:
    scale = float(scales.flat[0])
    uniform = np.ptp(scales) <= 1e-5 * np.abs(scales).max()
    start = f"the inputs of {names['b']} are"
    if uniform and no_offset:
        for factor, side, other in ((scale, "a", "b"), (1 / scale, "b", "a")):
            if isclose(factor, 255, rel_tol=1e-4):
                return (
                    f"{start} {value_text(scale)} times those of {names['a']}: "
                    f"{names[side]} divides by 255 once more than {names[other]}"
                )
        return f"{start} {value_text(scale)} times those of {names['a']}"
    if np.all(np.abs(scales - 1) <= 1e-5):
        return f"{start} those of {names['a']} plus {_text(_numbers(offsets))}"
    mean, deviation = -offsets / scales, 1 / scales
    if no_offset:
        shown = _text(_numbers(deviation))
        return f"{start} those of {names['a']}, each feature divided by its own of {shown}"
    return (
        f"{start} those of {names['a']} minus {_text(_numbers(mean))}, "
        f"divided by {_text(_numbers(deviation))}"
    )


def _text(numbers: float | Sequence[float]) -> str:
    if isinstance(numbers, float | int):
        return value_text(numbers)
    shown = ", ".join(value_text(number) for number in numbers[:4])
    return f"({shown}, …)" if len(numbers) > 4 else f"({shown})"


def _code(numbers: float | Sequence[float]) -> str:
    """Return one number, or one for each feature, as code."""
    if isinstance(numbers, float | int):
        return value_text(numbers)
    written = ", ".join(value_text(number) for number in numbers)
    return f"np.array([{written}{', ...' if len(numbers) == MOST_NUMBERS else ''}])"


def _range_text(array: Array) -> str:
    return (
        f"from {value_text(float(array.min()))} to {value_text(float(array.max()))}, "
        f"mean {value_text(float(array.mean()))}, deviation {value_text(float(array.std()))}"
    )


def _forward_line(scales: Array, offsets: Array, *, no_offset: bool) -> str:
    """Return the line that makes A's inputs B's."""
    scale, offset = _numbers(scales), _numbers(offsets)
    if no_offset:
        return f"x = x {_times(scale)}"
    return f"x = x * {_code(scale)} + {_code(offset)}"


def _backward_line(scales: Array, offsets: Array, *, no_offset: bool) -> str:
    """Return the line that makes B's inputs A's."""
    if no_offset:
        return f"x = x {_times(_numbers(1 / scales))}"
    return f"x = (x - {_code(_numbers(offsets))}) / {_code(_numbers(scales))}"


def _times(scale: float | Sequence[float]) -> str:
    if isinstance(scale, float) and 0 < abs(scale) < 1:
        return f"/ {_code(float(f'{1 / scale:.6g}'))}"
    return f"* {_code(scale)}"


def rounded(a: Array, b: Array, names: Mapping[str, str]) -> Explanation | None:
    """Return an explanation by a conversion to whole numbers, or None."""
    conversions = {"rounded down": np.floor, "rounded": np.round, "truncated": np.trunc}
    for first, second, side in ((a, b, "b"), (b, a, "a")):
        for word, function in conversions.items():
            if np.all(first == function(first)):
                continue
            residual = relative_difference(function(first), second)
            if residual <= SAME:
                title = f"the inputs of {names[side]} are {word} to whole numbers"
                other = "b" if side == "a" else "a"
                values = {side: "whole numbers", other: "fractions"}
                return Explanation("D76", title, values, {"a": None, "b": None}, residual)
    return None


@dataclass(frozen=True)
class Standardising:
    """A way to standardise each sample by itself.

    Attributes
    ----------
    each : str
        What has a mean and a deviation of its own: a sample, or a channel of it.
    floor : bool
        Whether the deviation is at least 1/√n, where n is the number of values of a sample.
    """

    each: str
    floor: bool

    def axes(self, array: Array) -> tuple[int, ...]:
        """Return the axes of an array that one mean is taken of."""
        if self.each == "sample":
            return tuple(range(1, array.ndim))
        return tuple(_spatial_axes(array))

    def apply(self, array: Array) -> Array:
        """Return a standardised array; NaN where a deviation is 0."""
        wide = array.astype(np.float64)
        axes = self.axes(array)
        deviation = wide.std(axes, keepdims=True)
        if self.floor:
            deviation = np.maximum(deviation, 1 / sqrt(wide[0].size))
        with np.errstate(all="ignore"):
            return (wide - wide.mean(axes, keepdims=True)) / deviation

    @property
    def text(self) -> str:
        """What is done, in words."""
        floor = ", which is at least 1/√n" if self.floor else ""
        return f"each {self.each} by its own mean and deviation{floor}"

    def line(self, array: Array) -> str:
        """Return the line that does it."""
        axes = f"{self.axes(array)}, keepdims=True"
        deviation = f"x.std({axes})"
        if self.floor:
            deviation = f"np.maximum({deviation}, {array[0].size} ** -0.5)"
        return f"x = (x - x.mean({axes})) / {deviation}"


STANDARDISINGS = tuple(
    Standardising(each, floor)
    for each in ("sample", "channel of a sample")
    for floor in (True, False)
)


def standardised(a: Array, b: Array, raw: Raw, names: Mapping[str, str]) -> Explanation | None:
    """Return an explanation by samples that are standardised one by one, or None."""
    if a.ndim < 3 or a.shape != b.shape:
        return None
    first, second = _standardising(a, b, raw), _standardising(b, a, raw)
    if first == second:
        return None
    texts = {
        "a": first.text if first else "in another way",
        "b": second.text if second else "in another way",
    }
    title = f"inputs are standardised: {texts['a']} in {names['a']}, {texts['b']} in {names['b']}"
    fix = {"a": second.line(a) if second else None, "b": first.line(b) if first else None}
    return Explanation(None, title, texts, fix, 0.0)


def _standardising(array: Array, other: Array, raw: Raw) -> Standardising | None:
    """Return how an array was made of the raw images, or of the other side's array; None if not."""
    sources = [other]
    if raw.images is not None:
        channels = _feature_axes(array)[0]
        sources.insert(0, np.moveaxis(raw.images, -1, channels))
    for source in sources:
        if source.shape != array.shape:
            continue
        for each in STANDARDISINGS:
            if relative_difference(each.apply(source), array) <= SAME:
                return each
    return None


def shifted(a: Array, b: Array, names: Mapping[str, str]) -> Explanation | None:
    """Return an explanation by another window of the same images or sequences, or None."""
    if a.ndim < 2 or a.shape != b.shape:
        return None
    axes = _spatial_axes(a) if a.ndim > 2 else [1]
    most = [min(MOST_SHIFT, a.shape[axis] // 2) for axis in axes[:2]]
    steps = [range(-largest, largest + 1) for largest in most]
    grid = [(step,) for step in steps[0]]
    if len(steps) > 1:
        grid = [(first, second) for first in steps[0] for second in steps[1]]
    for shift in sorted(grid, key=lambda shift: sum(abs(step) for step in shift)):
        if not any(shift) or any(
            abs(s) * 2 > a.shape[x] for s, x in zip(shift, axes, strict=False)
        ):
            continue
        first = _window(a, axes, shift)
        second = _window(b, axes, tuple(-step for step in shift))
        if np.ptp(first) and relative_difference(first, second) <= SAME:
            title = (
                f"the inputs of {names['b']} are those of {names['a']} moved by "
                f"{', '.join(str(step) for step in shift)} along axis "
                f"{', '.join(str(axis) for axis in axes[: len(shift)])}: another crop or padding"
            )
            values = {"a": [0] * len(shift), "b": list(shift)}
            return Explanation(None, title, values, {"a": None, "b": None}, 0.0)
    return None


def _window(array: Array, axes: Sequence[int], shift: Iterable[int]) -> Array:
    """Return what remains of an array if so many entries are cut off at the start or the end."""
    window: list[slice] = [slice(None)] * array.ndim
    for axis, step in zip(axes, shift, strict=False):
        window[axis] = slice(step, None) if step > 0 else slice(None, step or None)
    return array[tuple(window)]


def resized(a: Array, b: Array, raw: Raw, names: Mapping[str, str]) -> Explanation | None:
    """Return an explanation by two ways of resizing the raw images, or None."""
    if raw.images is None or a.ndim != 4 or a.shape != b.shape:
        return None
    channels = _feature_axes(a)[0]
    first, second = (np.moveaxis(array, channels, -1) for array in (a, b))
    if first.shape[1:3] == raw.images.shape[1:3] or first.shape[-1] != raw.images.shape[-1]:
        return None
    used = methods_used(
        raw.images, first, second, lambda image, array: fitted(image, array) is not None
    )
    if not used:
        return None
    title = f"images are resized by {used['a']} in {names['a']} and by {used['b']} in {names['b']}"
    return Explanation(cause_of(used), title, used, {"a": None, "b": None}, 0.0)
