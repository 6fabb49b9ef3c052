"""What the images of a set are like, and how their pixels become whole numbers from 0 to 255."""

from dataclasses import dataclass
from pathlib import Path

from ...errors import DataError, counted, one_line

CONTRAST = 64  # by which a shape must differ from its ground, of 255
USUAL_BITS = (1, 8, 10, 12, 14)  # in use by masks, cameras and scanners that write 16
LEAST_COLOUR = 64  # the upper 8 bits of some colour of 16 bits must reach it
# How the counts of two parts of a set become those of the set.
LOWEST = ("on_white", "on_black")
HIGHEST = ("highest", "highest_colour")
SUMS = (
    "deep",
    "deep_colour",
    "transparent",
    "hidden",
    "pages",
    "turned",
    "scaled",
    "stretched",
)


@dataclass(frozen=True)
class Rules:
    """How pixels become whole numbers from 0 to 255, the same for every image of a set.

    Attributes
    ----------
    bits : int
        The number of bits in use by images of 16 bits.
    ground : int, optional
        The grey, 0 or 255, on which an image is put whose shape is only in its transparency.
        Without it, transparency is dropped.
    """

    bits: int = 16
    ground: int | None = None


@dataclass
class Survey:
    """Counts of what the images of a set are like, taken in one pass over them.

    Attributes
    ----------
    deep, highest : int
        Images of 16 bits and one channel, and the highest value in them.
    deep_colour, highest_colour : int
        Images of 16 bits and several channels, and the highest value in the upper 8 bits, which are
        all that Pillow gives.
    transparent, hidden : int
        Images of which some pixel is transparent; those of them of one colour, so that only
        transparency shows a shape.
    on_white, on_black : int
        The least contrast that a hidden shape has on either ground.
    pages : int
        Files with more than one picture.
    turned : int
        Images with a camera's note that they are to be turned or mirrored, which is not done.
    scaled, stretched : int
        Images that are scaled to another size; those of them whose proportions change.
    """

    deep: int = 0
    highest: int = 0
    deep_colour: int = 0
    highest_colour: int = 0
    transparent: int = 0
    hidden: int = 0
    on_white: int = 255
    on_black: int = 255
    pages: int = 0
    turned: int = 0
    scaled: int = 0
    stretched: int = 0

    def add(self, other: "Survey") -> None:
        """Add the counts of other images of the same set."""
        for name in SUMS:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for name in HIGHEST:
            setattr(self, name, max(getattr(self, name), getattr(other, name)))
        for name in LOWEST:
            setattr(self, name, min(getattr(self, name), getattr(other, name)))

    def count_size(self, actual: tuple[int, ...], wanted: tuple[int, int] | None) -> None:
        """Count an image of (h, w) pixels that becomes an image of another size.

        Proportions that differ by less than a pixel of the new image count as equal.
        """
        if wanted is None or actual == wanted:
            return
        self.scaled += 1
        height, width = actual
        self.stretched += abs(height * wanted[1] / width - wanted[0]) >= 1

    def notes_of_size(self, wanted: tuple[int, int] | None) -> list[str]:
        """Return how images were scaled, for the user."""
        if wanted is None or not self.scaled:
            return []
        note = f"{counted(self.scaled, 'image')} scaled to {wanted[0]}×{wanted[1]} pixels"
        if self.stretched:
            return [f"{note}, of which {self.stretched:,} changed their proportions"]
        return [note]

    def rules(self, path: Path) -> Rules:
        """Return how the set is to be read.

        Raises
        ------
        DataError
            Naming `path`, where this is not certain.
        """
        return Rules(self._bits(path), self._ground(path))

    def _bits(self, path: Path) -> int:
        """Return how many bits of 16 are in use."""
        name = one_line(path)
        if self.deep_colour and self.highest_colour < LEAST_COLOUR:
            raise DataError(
                f"{name}: colours of 16 bits of which only the lower are in use; "
                "save the images with 8 bits a channel, from 0 to 255"
            )
        used = self.highest.bit_length()
        if not self.highest or used >= 15:
            return 16
        if 1 < used < 8:
            reason = f"images of 16 bits with no pixel over {self.highest}"
            raise DataError(f"{name}: {reason}; save them with 8 bits, from 0 to 255")
        return next(bits for bits in USUAL_BITS if bits >= used)

    def _ground(self, path: Path) -> int | None:
        """Return the ground on which every hidden shape is seen; None where no shape is hidden."""
        if not self.hidden:
            return None
        if self.on_white >= CONTRAST:
            return 255
        if self.on_black >= CONTRAST:
            return 0
        raise DataError(
            f"{one_line(path)}: the shape of {self.hidden:,} images is only in their transparency, "
            "and some are light, some dark; "
            "put all on one ground and save them without transparency"
        )

    def notes(self, rules: Rules) -> list[str]:
        """Return what was decided, for the user."""
        notes: list[str] = []
        if self.hidden:
            ground = "white" if rules.ground else "black"
            shape = f"{_have(self.hidden, 'image')} a shape only in the transparency"
            notes.append(f"{shape}: put on a {ground} ground")
        dropped = self.transparent - self.hidden
        if dropped:
            pixels = f"{_have(dropped, 'image')} transparent pixels"
            notes.append(f"{pixels}: the transparency is dropped")
        if rules.bits < 16:
            deep = f"{_have(self.deep, 'image')} 16 bits a pixel"
            verb = "is" if rules.bits == 1 else "are"
            highest = 2**rules.bits - 1
            use = f"of which {rules.bits} {verb} in use: 0 to {highest:,} become 0 to 255"
            notes.append(f"{deep}, {use}")
        if self.pages:
            pages = f"{_have(self.pages, 'file')} more than one picture"
            notes.append(f"{pages}: the first of each is read")
        if self.turned:
            turned = f"{_have(self.turned, 'image')} a camera's note to turn or mirror them"
            notes.append(f"{turned}: it is not followed")
        return notes


def _have(count: int, noun: str) -> str:
    """Return a count with its noun and verb: ``1 image has``, ``2 images have``."""
    return f"1 {noun} has" if count == 1 else f"{count:,} {noun}s have"
