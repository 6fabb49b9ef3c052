"""Augmentation in TensorFlow, on the device; `triptych.spec.augmentation` has the formulas.

Images are (batch, rows, columns, channels). `draws` are the integers drawn for each image.
"""

from collections.abc import Callable
from math import pi
from typing import Any

import tensorflow as tf

from ...spec.augmentation import Augmentation


def augment(
    augmentation: Augmentation, images: tf.Tensor, draws: dict[str, tf.Tensor]
) -> tf.Tensor:
    """Return the images changed by every kind of augmentation that is switched on."""
    for name in augmentation.active:
        integers = tf.cast(draws[name], tf.int32)
        strength = getattr(augmentation, name)
        images = AUGMENTATIONS[name](images, integers, strength)
    return images


def rotate(images: tf.Tensor, draws: tf.Tensor, degrees: float) -> tf.Tensor:
    """Rotate by tenths of a degree, bilinearly; outside the image there are zeros."""
    height, width = images.shape[1:3]
    dtype = images.dtype
    angle = (tf.cast(draws, dtype) * tf.constant(pi / 1800, dtype))[:, None, None]
    center_row = (height - 1) / 2
    center_column = (width - 1) / 2
    i = tf.cast(tf.range(height)[:, None], dtype) - center_row
    j = tf.cast(tf.range(width), dtype) - center_column
    # Where each output pixel comes from, (batch, rows, columns).
    source_row = center_row + tf.cos(angle) * i + tf.sin(angle) * j
    source_column = center_column - tf.sin(angle) * i + tf.cos(angle) * j

    first_row = tf.floor(source_row)
    first_column = tf.floor(source_column)
    rotated = tf.zeros_like(images)
    for down in (0, 1):
        for right in (0, 1):
            row = tf.cast(first_row + down, tf.int32)
            column = tf.cast(first_column + right, tf.int32)
            row_weight = 1 - tf.abs(source_row - tf.cast(row, dtype))
            column_weight = 1 - tf.abs(source_column - tf.cast(column, dtype))
            weight = row_weight * column_weight
            inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
            weight *= tf.cast(inside, dtype)
            nearest_row = tf.clip_by_value(row, 0, height - 1)
            nearest_column = tf.clip_by_value(column, 0, width - 1)
            places = tf.stack([nearest_row, nearest_column], axis=-1)
            rotated += tf.gather_nd(images, places, batch_dims=1) * weight[..., None]
    return rotated


def crop(images: tf.Tensor, draws: tf.Tensor, pixels: int) -> tf.Tensor:
    """Cut a window out of each image, which was mirrored beyond its border."""
    padded = tf.pad(images, ((0, 0), (pixels, pixels), (pixels, pixels), (0, 0)), "REFLECT")
    return cut_windows(padded, draws, *images.shape[1:3])


def shift(images: tf.Tensor, draws: tf.Tensor, pixels: int) -> tf.Tensor:
    """Move each image; zeros come in."""
    padded = tf.pad(images, ((0, 0), (pixels, pixels), (pixels, pixels), (0, 0)))
    return cut_windows(padded, pixels - draws, *images.shape[1:3])


def cut_windows(images: tf.Tensor, corners: tf.Tensor, height: int, width: int) -> tf.Tensor:
    """Return a window of each image; `corners` (batch, 2) are its first row and column."""
    rows = corners[:, :1] + tf.range(height)
    columns = corners[:, 1:] + tf.range(width)
    cut = tf.gather(images, rows, axis=1, batch_dims=1)
    columns_of_each_row = tf.repeat(columns[:, None], height, axis=1)
    return tf.gather(cut, columns_of_each_row, axis=2, batch_dims=2)


def flip(images: tf.Tensor, draws: tf.Tensor, switched_on: bool) -> tf.Tensor:
    """Mirror left and right where 1 was drawn."""
    mirrored = draws[:, None, None, None] == 1
    return tf.where(mirrored, tf.reverse(images, [2]), images)


def cutout(images: tf.Tensor, draws: tf.Tensor, side: int) -> tf.Tensor:
    """Set a square to zero, of which the part inside the image counts."""
    first = draws - side // 2
    rows = tf.range(images.shape[1])
    columns = tf.range(images.shape[2])
    in_rows = (rows >= first[:, :1]) & (rows < first[:, :1] + side)
    in_columns = (columns >= first[:, 1:]) & (columns < first[:, 1:] + side)
    square = in_rows[:, :, None] & in_columns[:, None, :]
    return tf.where(square[..., None], tf.zeros_like(images), images)


AUGMENTATIONS: dict[str, Callable[[tf.Tensor, tf.Tensor, Any], tf.Tensor]] = {
    "rotate": rotate,
    "crop": crop,
    "shift": shift,
    "flip": flip,
    "cutout": cutout,
}
