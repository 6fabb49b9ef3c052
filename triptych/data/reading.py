"""What a reader is told, and what it returns."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from ..errors import DataError
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
    label : str, optional
        The column of labels, where a file has several or gives it another name.
    """

    size: tuple[int, int] | None = None
    skip_unreadable: bool = False
    label: str | None = None

    def __post_init__(self) -> None:
        if self.size and not all(1 <= side <= LARGEST for side in self.size):
            raise DataError(f"size {self.size[0]}×{self.size[1]}: give whole numbers from 1 to {LARGEST}")

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "Options":
        """Read what `to_json` wrote."""
        size = tuple(data["size"]) if data["size"] else None
        return cls(size, data["skip_unreadable"], data.get("label"))


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
    notes : tuple of str
        What the reader decided by itself and a user has to know: a line each.
    """

    train: Split
    test: Split | None = None
    classes: tuple[str, ...] = DIGITS
    left_out: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
