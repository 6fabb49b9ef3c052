"""Augmentation in JAX, on the device; `triptych.spec.augmentation` has the formulas.

Each function changes one image (rows, columns, channels); `jax.vmap` makes it one of a batch.
`draw` is what was drawn for it.
"""

from collections.abc import Callable
from functools import partial
from math import pi

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.scipy.ndimage import map_coordinates

from ...spec.augmentation import Augmentation


def augment(augmentation: Augmentation, images: Array, draws: dict[str, Array]) -> Array:
    """Return the images changed by every kind of augmentation that is switched on."""
    for name in augmentation.active:
        strength = getattr(augmentation, name)
        change_image = partial(AUGMENTATIONS[name], strength=strength)
        images = jax.vmap(change_image)(images, draws[name].astype(jnp.int64))
    return images


def rotate(image: Array, draw: Array, strength: float) -> Array:
    """Rotate by tenths of a degree, bilinearly; outside the image there are zeros."""
    height, width, _ = image.shape
    angle = draw * (pi / 1800)
    center_row = (height - 1) / 2
    center_column = (width - 1) / 2
    i = jnp.arange(height)[:, None] - center_row
    j = jnp.arange(width) - center_column
    source = [
        center_row + jnp.cos(angle) * i + jnp.sin(angle) * j,
        center_column - jnp.sin(angle) * i + jnp.cos(angle) * j,
    ]
    interpolate = partial(map_coordinates, coordinates=source, order=1)
    return jax.vmap(interpolate, in_axes=-1, out_axes=-1)(image)


def crop(image: Array, draw: Array, strength: int) -> Array:
    """Cut a window out of the image, which was mirrored beyond its border."""
    return cut_window(image, draw, strength, "reflect")


def shift(image: Array, draw: Array, strength: int) -> Array:
    """Move the image; zeros come in."""
    return cut_window(image, strength - draw, strength, "constant")


def cut_window(image: Array, corner: Array, border: int, padding: str) -> Array:
    """Return a window as large as the image; `corner` (2,) is its first row and column."""
    padded = jnp.pad(image, ((border, border), (border, border), (0, 0)), padding)
    return lax.dynamic_slice(padded, (corner[0], corner[1], 0), image.shape)


def flip(image: Array, draw: Array, strength: bool) -> Array:
    """Mirror left and right where 1 was drawn."""
    return jnp.where(draw, image[:, ::-1], image)


def cutout(image: Array, draw: Array, strength: int) -> Array:
    """Set a square to zero, of which the part inside the image counts."""
    first = draw - strength // 2
    rows = jnp.arange(image.shape[0])
    columns = jnp.arange(image.shape[1])
    in_rows = (rows >= first[0]) & (rows < first[0] + strength)
    in_columns = (columns >= first[1]) & (columns < first[1] + strength)
    square = in_rows[:, None] & in_columns
    return jnp.where(square[..., None], 0, image)


AUGMENTATIONS: dict[str, Callable[..., Array]] = {
    "rotate": rotate,
    "crop": crop,
    "shift": shift,
    "flip": flip,
    "cutout": cutout,
}
