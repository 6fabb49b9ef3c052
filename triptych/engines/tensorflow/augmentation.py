"""Augmentation in TensorFlow, on the device. What each does, and the formulas, stands in `triptych.spec.augmentation`."""

from collections.abc import Callable
from math import pi
from typing import Any

import tensorflow as tf

from ...spec.augmentation import Augmentation


def augment(how: Augmentation, x: tf.Tensor, drawn: dict[str, tf.Tensor]) -> tf.Tensor:
    """Return the batch (B, h, w, c) as the integers drawn for it say."""
    for name in how.active:
        x = KINDS[name](x, tf.cast(drawn[name], tf.int32), getattr(how, name))
    return x


def rotate(x: tf.Tensor, s: tf.Tensor, most: float) -> tf.Tensor:
    h, w = x.shape[1:3]
    angle = (tf.cast(s, x.dtype) * tf.constant(pi / 1800, x.dtype))[:, None, None]
    i, j = tf.range(h)[:, None], tf.range(w)
    i, j = tf.cast(i, x.dtype) - (h - 1) / 2, tf.cast(j, x.dtype) - (w - 1) / 2
    up, left = (
        (h - 1) / 2 + tf.cos(angle) * i + tf.sin(angle) * j,
        (w - 1) / 2 - tf.sin(angle) * i + tf.cos(angle) * j,
    )
    top, west, y = tf.floor(up), tf.floor(left), tf.zeros_like(x)
    for down in (0, 1):
        for right in (0, 1):
            row, column = tf.cast(top + down, tf.int32), tf.cast(west + right, tf.int32)
            near = (1 - tf.abs(up - tf.cast(row, x.dtype))) * (
                1 - tf.abs(left - tf.cast(column, x.dtype))
            )
            near *= tf.cast((row >= 0) & (row < h) & (column >= 0) & (column < w), x.dtype)
            places = tf.stack(
                [tf.clip_by_value(row, 0, h - 1), tf.clip_by_value(column, 0, w - 1)], axis=-1
            )
            y += tf.gather_nd(x, places, batch_dims=1) * near[..., None]
    return y


def window(wide: tf.Tensor, at: tf.Tensor, h: int, w: int) -> tf.Tensor:
    rows = tf.gather(wide, at[:, :1] + tf.range(h), axis=1, batch_dims=1)
    return tf.gather(
        rows, tf.repeat((at[:, 1:] + tf.range(w))[:, None], h, axis=1), axis=2, batch_dims=2
    )


def crop(x: tf.Tensor, s: tf.Tensor, most: int) -> tf.Tensor:
    return window(
        tf.pad(x, ((0, 0), (most, most), (most, most), (0, 0)), "REFLECT"), s, *x.shape[1:3]
    )


def shift(x: tf.Tensor, s: tf.Tensor, most: int) -> tf.Tensor:
    return window(tf.pad(x, ((0, 0), (most, most), (most, most), (0, 0))), most - s, *x.shape[1:3])


def flip(x: tf.Tensor, s: tf.Tensor, on: bool) -> tf.Tensor:
    return tf.where(s[:, None, None, None] == 1, tf.reverse(x, [2]), x)


def cutout(x: tf.Tensor, s: tf.Tensor, side: int) -> tf.Tensor:
    first = s - side // 2
    rows, columns = (
        (tf.range(n) >= first[:, axis, None]) & (tf.range(n) < first[:, axis, None] + side)
        for axis, n in enumerate(x.shape[1:3])
    )
    return tf.where((rows[:, :, None] & columns[:, None, :])[..., None], tf.zeros_like(x), x)


KINDS: dict[str, Callable[[tf.Tensor, tf.Tensor, Any], tf.Tensor]] = {
    "rotate": rotate,
    "crop": crop,
    "shift": shift,
    "flip": flip,
    "cutout": cutout,
}
