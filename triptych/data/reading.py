"""What a reader is told, and what it returns."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from numbers import Integral
from typing import Any

from ..core.split import Split
from ..errors import DataError, SpecError
from ..spec.validation import check_flag, check_keys, check_whole
from .published import DIGITS

LARGEST = 4096  # pixels of a side that images are scaled to
HIGHEST_WHITE = 65_535  # of 16 bits

NOT_RECORDED = ("for_training", "labelled")  # fields of `Options` that no run folder has

Progress = Callable[[int, int], None]  # images so far, images in all


@dataclass(frozen=True)
class Options:
    """How files are turned into arrays.

    Attributes
    ----------
    size : tuple of int, optional
        (h, w), to which every image is scaled; without it all must have one size.
    skip_unreadable : bool
        Leave out an image that cannot be read, instead of stopping there.
    label : str, optional
        The column that holds the labels; ``first`` and ``last`` count from the edges of a CSV.
    shape : str, optional
        What a row of numbers is: ``28x28`` (height × width), ``28x28x3`` (the colours of a pixel
        are neighbours), ``3x28x28`` (each colour is a block of its own) or ``table`` (no image).
    white : int, optional
        The number that is white in an array of pixels, from 1 to 65,535. Without it, white
        is 1 if all pixels are 0 or 1, and else 255.
    stream : bool
        Whether images are read from the files while they are trained on, and not before.
    for_training : bool
        Whether there must be at least two classes, each with enough samples. Otherwise the data is
        for a trained network. It is not recorded.
    labelled : bool
        Whether a CSV has a column of labels. Without one, all labels are 0. It is not recorded.
    """

    size: tuple[int, int] | None = None
    skip_unreadable: bool = False
    label: str | None = None
    shape: str | None = None
    white: int | None = None
    stream: bool = field(default=False, repr=False)  # the pixels are the same
    for_training: bool = True
    labelled: bool = True

    def __post_init__(self) -> None:
        self._check_size()
        for name, example in (("label", "class"), ("shape", "28x28")):
            value = getattr(self, name)
            if not isinstance(value, str | None):
                raise DataError(f"{name} {value!r}: give a text, for example {example!r}")
        if self.shape is not None:
            image_shape(self.shape)
        if self.white is not None:
            is_whole = isinstance(self.white, Integral)
            if not is_whole or not 1 <= self.white <= HIGHEST_WHITE:
                raise DataError(
                    f"white {self.white!r}: give a whole number from 1 to {HIGHEST_WHITE:,}"
                )

    def _check_size(self) -> None:
        size: Any = self.size
        if size is None:
            return
        is_pair = isinstance(size, list | tuple) and len(size) == 2
        if not is_pair or not all(isinstance(side, Integral) for side in size):
            raise DataError(f"size {size!r}: give height and width in pixels, such as (28, 28)")
        height, width = size
        if not all(1 <= side <= LARGEST for side in size):
            raise DataError(f"size {height}×{width}: give whole numbers from 1 to {LARGEST}")

    def to_json(self) -> dict[str, Any]:
        """Return the options as a JSON object."""
        options = asdict(self)
        for name in NOT_RECORDED:
            del options[name]
        return options

    @classmethod
    def from_json(cls, data: Any) -> "Options":
        """Read what `to_json` wrote; older versions wrote only ``size`` and ``skip_unreadable``.

        Raises
        ------
        SpecError
            Naming the key that is missing, unknown or of a wrong type.
        DataError
            Where a shape is malformed.
        """
        optional = {"label", "shape", "white", "stream"}
        values = check_keys(data, {"size", "skip_unreadable"} | optional, "reading", optional)
        check_flag("reading", "skip_unreadable", values["skip_unreadable"])
        check_flag("reading", "stream", values.get("stream", False))
        for name in ("label", "shape"):
            if not isinstance(values.get(name), str | None):
                raise SpecError(f"reading: {name} must be a text, or null, not {values[name]!r}")
        white = values.get("white")
        if white is not None:
            check_whole("reading", "white", white, 1)
        return cls(
            size=_size(values["size"]),
            skip_unreadable=values["skip_unreadable"],
            label=values.get("label"),
            shape=values.get("shape"),
            white=white,
            stream=values.get("stream", False),
        )


def _size(value: Any) -> tuple[int, int] | None:
    """Return the size that a file names.

    Raises
    ------
    SpecError
        Where it is neither null nor two whole numbers.
    """
    if value is None:
        return None
    if not isinstance(value, list) or len(value) != 2:
        raise SpecError(f"reading: size must be a list of height and width, or null, not {value!r}")
    for side in value:
        check_whole("reading", "size", side, 1)
    return value[0], value[1]


def image_shape(text: str) -> tuple[tuple[int, int, int], bool] | None:
    """Return what `Options.shape` means.

    Returns
    -------
    tuple of (h, w, c) and bool, or None
        The shape of an image, and whether each colour is a block of its own; None for a table.

    Raises
    ------
    DataError
        Where it is neither of these.
    """
    if text == "table":
        return None
    sides = text.lower().replace("×", "x").split("x")
    numbers = [int(side) for side in sides if side.isdecimal()]
    are_sides = len(numbers) == len(sides) and all(1 <= n <= LARGEST for n in numbers)
    if not are_sides or len(numbers) not in (2, 3):
        raise DataError(
            f"--shape {text[:40]!r}: give height and width, for example 28x28, with colours "
            "28x28x3 (or 3x28x28 where each colour is a block of its own), or: table"
        )
    if len(numbers) == 2:
        return (numbers[0], numbers[1], 1), False
    if numbers[0] in (1, 3, 4) and numbers[2] not in (1, 3, 4):
        return (numbers[1], numbers[2], numbers[0]), True
    return (numbers[0], numbers[1], numbers[2]), False


PLAIN = Options()


@dataclass(frozen=True)
class Contents:
    """What a file or folder contains, as a reader returns it.

    Attributes
    ----------
    train : Split
    test : Split, optional
        None where there is one set only, from which a test set is split off.
    classes, left_out, notes, warnings : tuple of str
        As in `Dataset`.
    features : tuple of str
        The names of the columns of a table, whose rows are not standardised yet. Empty for images.
    """

    train: Split
    test: Split | None = None
    classes: tuple[str, ...] = DIGITS
    left_out: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    features: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
