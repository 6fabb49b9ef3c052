"""Augmentation: what is done to training images, drawn here as integers and applied by each engine on its device.

In this order, each only where it is asked for. With B images of h rows and w columns, and s a sample's drawn integers:

* rotate: by s/10 degrees, |s| ≤ 10·rotate, counter-clockwise about the centre ((h-1)/2, (w-1)/2), rows counted downwards.
  Bilinear: output pixel (i, j) looks at i' = cy + cos·(i-cy) + sin·(j-cx), j' = cx - sin·(i-cy) + cos·(j-cx), and takes
  the four pixels around it by their nearness; what lies outside the image is 0.
* crop: the image is mirrored `crop` pixels beyond its border, without repeating the edge, and the (h, w) window at rows s₀
  and columns s₁ of that is taken, 0 ≤ s ≤ 2·crop.
* shift: s₀ rows down and s₁ columns to the right, |s| ≤ shift; zeros come in.
* flip: mirrored left to right, with probability ½.
* cutout: zeros in a square of side `cutout` whose pixel (cutout/2, cutout/2), halves rounded down, lies at row s₀ and
  column s₁, clipped at the border (DeVries & Taylor 2017).
"""

from dataclasses import dataclass, fields

from ..errors import SpecError
from .validation import check_flag, check_number, check_whole


@dataclass(frozen=True)
class Augmentation:
    """What may be done to an image; everything off by default.

    Attributes
    ----------
    rotate : float
        Largest angle in degrees, at most 45.
    crop, shift : int
        Largest displacement in pixels; `crop` mirrors at the border, `shift` brings zeros in.
    flip : bool
    cutout : int
        Side of the square in pixels.
    """

    rotate: float = 0.0
    crop: int = 0
    shift: int = 0
    flip: bool = False
    cutout: int = 0

    def __post_init__(self) -> None:
        for name in ("crop", "shift", "cutout"):
            check_whole("augmentation", name, getattr(self, name), 0)
            if getattr(self, name) > 127:
                raise SpecError(
                    f"augmentation: {name} must be at most 127 pixels, not {getattr(self, name)}"
                )
        check_number("augmentation", "rotate", self.rotate, 0, 45)
        if self.rotate and not round(10 * self.rotate):
            raise SpecError(
                f"augmentation: rotate is by tenths of a degree, and {self.rotate:g} is none"
            )
        check_flag("augmentation", "flip", self.flip)

    @property
    def active(self) -> tuple[str, ...]:
        """The names of what is asked for, in order of application."""
        return tuple(f.name for f in fields(self) if getattr(self, f.name))

    def check_fits(self, image: tuple[int, ...]) -> None:
        """Raise `SpecError` where images of this shape cannot be treated so."""
        if self.active and len(image) != 3:
            raise SpecError(f"augmentation needs images (h, w, c), not {image}")
        least = min(image[:2], default=0)
        for name, most in (("shift", least - 1), ("cutout", least)):
            if getattr(self, name) > most >= 0:
                raise SpecError(
                    f"augmentation: a {name} of {getattr(self, name)} pixels is too much for images of {image[0]}×{image[1]}"
                )
        if self.crop >= least > 0:
            raise SpecError(
                f"augmentation: a crop of {self.crop} pixels cannot be mirrored in images of {image[0]}×{image[1]}"
            )
