"""What a reader is told, and what it returns."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from ..errors import DataError, SpecError
from ..named import check_flag, check_keys, check_whole
from .dataset import DIGITS, Split

LARGEST = 4096  # pixels of a side that images are scaled to

Progress = Callable[[int, int], None]  # images so far, images in all


@dataclass(frozen=True)
class Options:
    """How image files are turned into arrays.

    Attributes
    ----------
    size : tuple of int, optional
        (h, w), to which every image is scaled; without it all must have one size.
    skip_unreadable : bool
        Leave out an image that cannot be read, instead of stopping there.
    """

    size: tuple[int, int] | None = None
    skip_unreadable: bool = False

    def __post_init__(self) -> None:
        if self.size and not all(1 <= side <= LARGEST for side in self.size):
            raise DataError(f"size {self.size[0]}×{self.size[1]}: give whole numbers from 1 to {LARGEST}")

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: Any) -> "Options":
        """Read what `to_json` wrote.

        Raises
        ------
        SpecError
            Naming the key that is missing, unknown or of a wrong type.
        """
        values = check_keys(data, {"size", "skip_unreadable"}, "reading")
        check_flag("reading", "skip_unreadable", values["skip_unreadable"])
        size = values["size"]
        if size is None:
            return cls(None, values["skip_unreadable"])
        if not isinstance(size, list) or len(size) != 2:
            raise SpecError(f"reading: size must be a list of height and width, or null, not {size!r}")
        for side in size:
            check_whole("reading", "size", side, 1)
        return cls((size[0], size[1]), values["skip_unreadable"])


PLAIN = Options()


@dataclass(frozen=True)
class Found:
    """What a reader found.

    Attributes
    ----------
    train : Split
    test : Split, optional
        None where there is one set only, from which a test set is split off.
    classes, left_out : tuple of str
        As in `Dataset`.
    """

    train: Split
    test: Split | None = None
    classes: tuple[str, ...] = DIGITS
    left_out: tuple[str, ...] = ()
