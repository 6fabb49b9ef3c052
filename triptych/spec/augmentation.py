"""Augmentation: random changes of the training images.

`triptych.core.augmentation` draws integers for each image, and each engine applies them on its
device. Augmentations that are switched on are applied in the order below. An image has h rows,
counted downwards, and w columns; s, or (s₀, s₁), are the integers that were drawn for it.

* rotate: rotate by s/10 degrees, |s| ≤ 10·rotate, counter-clockwise about the centre
  (cy, cx) = ((h-1)/2, (w-1)/2). Output pixel (i, j) is the bilinear interpolation of the input at
  row cy + cos·(i-cy) + sin·(j-cx) and column cx - sin·(i-cy) + cos·(j-cx); pixels outside of the
  image are 0.
* crop: extend the image by `crop` pixels on each side, mirrored without repeating the edge, and cut
  the window of (h, w) out whose first row is s₀ and whose first column is s₁, 0 ≤ s ≤ 2·crop.
* shift: move the image by s₀ rows down and s₁ columns to the right, |s| ≤ shift; new pixels are 0.
* flip: mirror the image left to right, with probability ½.
* cutout: set a square of side `cutout` to 0, clipped at the border. Its pixel (⌊cutout/2⌋,
  ⌊cutout/2⌋) is at row s₀ and column s₁ (DeVries & Taylor 2017).
"""

from dataclasses import dataclass, fields

from ..errors import SpecError
from .validation import check_flag, check_number, check_whole


@dataclass(frozen=True)
class Augmentation:
    """The augmentations of a recipe; all are off by default.

    Attributes
    ----------
    rotate : float
        Largest angle in degrees, at most 45; 0 for none.
    crop, shift : int
        Largest displacement in pixels, at most 127; 0 for none. New pixels are mirrored ones with
        `crop`, zeros with `shift`.
    flip : bool
        Whether images are mirrored left to right with probability ½.
    cutout : int
        Side of the square in pixels, at most 127; 0 for none.
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
        """The names of the augmentations that are switched on, in order of application."""
        return tuple(f.name for f in fields(self) if getattr(self, f.name))

    def check_fits(self, image: tuple[int, ...]) -> None:
        """Raise `SpecError` if images of this shape, (h, w, c), are too small or no images."""
        if self.active and len(image) != 3:
            raise SpecError(f"augmentation needs images (h, w, c), not {image}")
        least = min(image[:2], default=0)
        images = "images of " + "×".join(str(length) for length in image[:2])
        for name, most in (("shift", least - 1), ("cutout", least)):
            pixels = getattr(self, name)
            if pixels > most >= 0:
                raise SpecError(
                    f"augmentation: a {name} of {pixels} pixels is too much for {images}"
                )
        if self.crop >= least > 0:
            raise SpecError(
                f"augmentation: a crop of {self.crop} pixels cannot be mirrored in {images}"
            )
