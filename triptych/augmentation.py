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

from collections.abc import Callable
from dataclasses import dataclass, fields
from math import isfinite
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import random
from .errors import SpecError

Draws = dict[str, NDArray[Any]]


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
            value: Any = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= 127:
                raise SpecError(f"augmentation: {name} must be a whole number of pixels from 0 to 127, not {value!r}")
        if (
            isinstance(self.rotate, bool)
            or not isinstance(self.rotate, int | float)
            or not (isfinite(self.rotate) and 0 <= self.rotate <= 45)
        ):
            raise SpecError(f"augmentation: rotate must be a number of degrees from 0 to 45, not {self.rotate!r}")
        if not isinstance(self.flip, bool):
            raise SpecError(f"augmentation: flip must be true or false, not {self.flip!r}")

    @property
    def active(self) -> tuple[str, ...]:
        """The names of what is asked for, in order of application."""
        return tuple(f.name for f in fields(self) if getattr(self, f.name))

    def check_fits(self, image: tuple[int, ...]) -> None:
        """Raise `SpecError` where images of this shape cannot be treated so."""
        if self.active and len(image) != 3:
            raise SpecError(f"augmentation needs images (h, w, c), not {image}")
        if self.crop >= min(image[:2], default=0) > 0:
            raise SpecError(f"augmentation: a crop of {self.crop} pixels cannot be mirrored in images of {image[0]}×{image[1]}")

    def draw(self, steps: int, batch: int, image: tuple[int, ...], *key: int | str, start: int = 0) -> Draws:
        """Draw what K steps do to their batches, each step's a pure function of the key and its number.

        Returns
        -------
        dict of str to ndarray
            ``rotate`` int16 (K, B), ``crop`` int16 (K, B, 2), ``shift`` int16 (K, B, 2), ``flip`` bool (K, B), ``cutout``
            int16 (K, B, 2); only those that are asked for.
        """
        h, w = image[:2] if self.active else (0, 0)
        degrees = round(10 * self.rotate)
        kinds: dict[str, Callable[..., NDArray[Any]]] = {
            "rotate": lambda *k: _between(batch, -degrees, degrees, *k),
            "crop": lambda *k: np.stack([_between(batch, 0, 2 * self.crop, *k, axis) for axis in (0, 1)], axis=-1),
            "shift": lambda *k: np.stack([_between(batch, -self.shift, self.shift, *k, axis) for axis in (0, 1)], axis=-1),
            "flip": lambda *k: _between(batch, 0, 1, *k) == 1,
            "cutout": lambda *k: np.stack([_between(batch, 0, n - 1, *k, axis) for axis, n in ((0, h), (1, w))], axis=-1),
        }
        return {name: np.stack([kinds[name](*key, name, start + k) for k in range(steps)]) for name in self.active}


def _between(count: int, low: int, high: int, *key: int | str) -> NDArray[np.int16]:
    """Return whole numbers from `low` to `high`, both included; even to within 2⁻³²."""
    words = random.bits(count, *key) >> np.uint64(32)
    return (low + ((words * np.uint64(high - low + 1)) >> np.uint64(32)).astype(np.int64)).astype(np.int16)
